//! `Retry-After`: seconds or a date (RFC 9110 section 10.2.3).

use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap};

use crate::model::fault::granted_wait;

/// Reads the wait that an answer asks for. A date is measured from the answer's own `Date`, so that a local clock that is
/// off by a day changes nothing; the local clock counts only where the answer has no `Date`.
#[must_use]
pub(crate) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    retry_after(text, answered_at(headers).unwrap_or_else(SystemTime::now))
}

/// What the server's clock showed when it answered.
#[must_use]
pub(crate) fn answered_at(headers: &HeaderMap) -> Option<SystemTime> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    httpdate::parse_http_date(date.trim()).ok()
}

/// Reads the header's text; a date in the past is no wait, anything unreadable is `None`.
#[must_use]
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(granted_wait(Duration::from_secs(seconds.max(0).unsigned_abs())));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(granted_wait(date.duration_since(now).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::fault::LONGEST_WAIT;

    proptest! {
        #[test]
        fn any_text_is_a_bounded_wait_or_none(text in "-?[0-9]{0,30}|\\PC*", now in 0_u64..1 << 35) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            prop_assert!(retry_after(&text, now).is_none_or(|wait| wait <= LONGEST_WAIT));
        }
    }

    #[test]
    fn a_date_is_measured_from_the_date_of_the_answer() {
        let wait = |date: Option<&str>, wish: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, wish.parse().unwrap());
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().unwrap());
            }
            asked_wait(&headers).map(|wait| wait.as_secs())
        };
        let (then, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:47 GMT");
        assert_eq!(wait(Some(then), later), Some(10), "the local clock is decades ahead");
        let (then, later) = ("Sat, 06 Nov 2094 08:49:37 GMT", "Sat, 06 Nov 2094 08:49:47 GMT");
        assert_eq!(wait(Some(then), later), Some(10), "the local clock is decades behind");
        assert_eq!(wait(Some(then), "7"), Some(7));
        assert_eq!(
            wait(None, "Sun, 06 Nov 1994 08:49:47 GMT"),
            Some(0),
            "without `Date` the local clock counts"
        );
        assert_eq!(wait(Some("yesterday"), "Sat, 06 Nov 2094 08:49:47 GMT"), Some(900));
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
