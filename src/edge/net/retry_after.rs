//! `Retry-After`: seconds or a date (RFC 9110 section 10.2.3).

use std::time::{Duration, SystemTime};

/// Longer waits are not believed: a quarter of an hour later it costs nothing to ask.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Reads the header; a date in the past is no wait, anything unreadable is `None`.
#[must_use]
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(Duration::from_secs(seconds.max(0).unsigned_abs()).min(LONGEST));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_bounded_wait_or_none(text in "-?[0-9]{0,30}|\\PC*", now in 0_u64..1 << 35) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            prop_assert!(retry_after(&text, now).is_none_or(|wait| wait <= LONGEST));
        }
    }

    #[test]
    fn seconds_and_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("-5", Some(0)),
            ("999999999", Some(900)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sat, 06 Nov 1993 08:49:47 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:47 GMT", Some(900)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
