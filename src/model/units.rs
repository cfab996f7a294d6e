//! Byte counts: one way to read them, one way to show them. KiB is 1024.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serializer;

/// A number of bytes. Shown as `1.4 GiB`; read as `1400`, `10k`, `1.5M`, `2G` or `1T` (powers of 1024, as in curl).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let text = match UNITS.iter().find(|(_, size)| self.0 >= *size) {
            None => format!("{} B", self.0),
            Some((unit, size)) => {
                let tenths = (u128::from(self.0) * 10 + u128::from(*size) / 2) / u128::from(*size);
                if tenths < 1000 {
                    format!("{}.{} {unit}", tenths / 10, tenths % 10)
                } else {
                    format!("{} {unit}", (tenths + 5) / 10)
                }
            }
        };
        f.pad(&text)
    }
}

/// The text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: write a number with an optional K, M, G or T, such as `10M`")]
pub struct ByteCountError;

impl FromStr for ByteCount {
    type Err = ByteCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower).trim_end();
        let (number, shift) = match bare.char_indices().last() {
            Some((at, 'k')) => (&bare[..at], 10),
            Some((at, 'm')) => (&bare[..at], 20),
            Some((at, 'g')) => (&bare[..at], 30),
            Some((at, 't')) => (&bare[..at], 40),
            _ => (bare, 0),
        };
        let number = number.trim_end();
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or(ByteCountError);
        }
        let (whole, fraction) = number.split_once('.').ok_or(ByteCountError)?;
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
            return Err(ByteCountError);
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| ByteCountError)?);
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| ByteCountError)?;
        let bytes = digits.checked_mul(1 << shift).ok_or(ByteCountError)? / scale;
        u64::try_from(bytes).map(Self).map_err(|_| ByteCountError)
    }
}

/// Returns seconds, to the millisecond: how events have a duration.
#[must_use]
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Serializes a duration as [`seconds`].
pub(crate) fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*duration))
}

/// The same for a duration that may not be known.
pub(crate) fn as_seconds_or_none<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// A count to reckon rates and shares with.
#[expect(clippy::cast_precision_loss, reason = "bytes, steps and seconds are far below 2^53")]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (120_000, "117 KiB"),
            (99 * 1024 + 1000, "100 KiB"),
            (1_503_238_553, "1.4 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(ByteCount(bytes).to_string(), text);
        }
    }

    #[test]
    fn read_like_curl() {
        for (text, bytes) in [
            ("0", 0),
            ("10M", 10 << 20),
            ("10m", 10 << 20),
            ("1.5G", 3 << 29),
            ("2GiB", 2 << 30),
            ("7 kb", 7 << 10),
            ("9B", 9),
        ] {
            assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
        }
        for bad in ["", "M", "-1", "1.M", ".5M", "ten", "1e3", "99999999999T", "1.5.5", "1é"] {
            assert_eq!(bad.parse::<ByteCount>(), Err(ByteCountError), "{bad}");
        }
    }
}
