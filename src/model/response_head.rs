//! What the head of one HTTP answer said, as values: no HTTP library's types pass this line.

use super::claim::Claim;
use super::revision::Revision;

/// The part of an answer's head that matters for a transfer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Head {
    pub status: u16,
    /// `Content-Range`, where there is one.
    pub content_range: Option<ContentRange>,
    /// `Content-Length` of this message.
    pub content_length: Option<u64>,
    /// The body is encoded (`Content-Encoding` other than `identity`), so its bytes are not the file's.
    pub encoded: bool,
    /// Gzip, and nothing else, is what it is encoded with.
    pub gzip: bool,
    /// `multipart/byteranges`.
    pub multipart: bool,
    /// Validators; `length` is the whole length, where this response has it.
    pub revision: Revision,
    /// What the server claims about the whole file's bytes; claims about a part or an encoded body are left out.
    pub claims: Vec<Claim>,
}

/// A `Content-Range` header (RFC 9110 section 14.4), half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes 0-4/10`, or `bytes 0-4/*`.
    Part {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// The whole length, unless `*`.
        total: Option<u64>,
    },
    /// `bytes */10` (with 416).
    Unsatisfied {
        /// The whole length.
        total: u64,
    },
    /// Anything else.
    Malformed,
}

impl ContentRange {
    /// Reads the header's text; what is not understood is [`Self::Malformed`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::read(text).unwrap_or(Self::Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = rest.trim().split_once('/')?;
        let total = match total.trim() {
            "*" => None,
            digits => Some(number(digits)?),
        };
        if range.trim() == "*" {
            return total.map(|total| Self::Unsatisfied { total });
        }
        let (first, last) = range.split_once('-')?;
        let (start, last) = (number(first.trim())?, number(last.trim())?);
        let end = last.checked_add(1)?;
        (start < end && total.is_none_or(|total| end <= total)).then_some(Self::Part { start, end, total })
    }
}

/// Reads digits alone: no sign, no space, nothing that `u64::from_str` would also take.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_range_that_fits_or_malformed(text in "(bytes )?[0-9*/ +-]{0,40}|\\PC*") {
            match ContentRange::parse(&text) {
                ContentRange::Part { start, end, total } => {
                    prop_assert!(start < end && total.is_none_or(|total| end <= total));
                }
                ContentRange::Unsatisfied { .. } | ContentRange::Malformed => {}
            }
        }

        #[test]
        fn what_is_written_is_read(start in 0..1_u64 << 50, length in 1..1_u64 << 50, more in 0..1_u64 << 50) {
            let (end, total) = (start + length, start + length + more);
            let expected = ContentRange::Part { start, end, total: Some(total) };
            prop_assert_eq!(ContentRange::parse(&format!("bytes {start}-{}/{total}", end - 1)), expected);
        }
    }

    #[test]
    fn content_range_is_strict() {
        for (text, expected) in [
            ("bytes 0-4/10", ContentRange::Part { start: 0, end: 5, total: Some(10) }),
            ("BYTES 5-9/*", ContentRange::Part { start: 5, end: 10, total: None }),
            ("bytes */10", ContentRange::Unsatisfied { total: 10 }),
            ("bytes */*", ContentRange::Malformed),
            ("bytes 4-0/10", ContentRange::Malformed),
            ("bytes 0-10/10", ContentRange::Malformed),
            ("bytes +0-4/10", ContentRange::Malformed),
            ("bytes 0-18446744073709551615/*", ContentRange::Malformed),
            ("items 0-4/10", ContentRange::Malformed),
            ("bytes=0-4/10", ContentRange::Malformed),
            ("", ContentRange::Malformed),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text}");
        }
    }
}
