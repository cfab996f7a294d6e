//! Times as people read them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::html::Html;

/// Adds a moment, in seconds since 1970: in UTC, which the script turns into the reader's own time.
pub(super) fn instant(html: &mut Html, at: i64) {
    // A time that no calendar has came from a broken clock; the line has the rest all the same.
    let Ok(time) = Timestamp::from_second(at) else { return };
    html.raw("<time").attribute("datetime", &time.to_string()).raw(">");
    html.text(&time.strftime("%Y-%m-%d %H:%M UTC").to_string()).raw("</time>");
}

/// Adds a time as the API wrote it: as a moment where it is one (in UTC, where it names no zone), else as text.
pub(super) fn written(html: &mut Html, text: &str) {
    let zoneless = |text: &str| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    let time: Option<Timestamp> = text.parse().ok().or_else(|| zoneless(text));
    match time {
        Some(time) => instant(html, time.as_second()),
        None => {
            html.text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_api() {
        let shown = |text| {
            let mut html = Html::default();
            written(&mut html, text);
            html.into_string()
        };
        let noon = "<time datetime=\"2026-01-31T12:00:00Z\">2026-01-31 12:00 UTC</time>";
        for text in ["2026-01-31T12:00:00.143086", "2026-01-31 12:00:00Z", "2026-01-31T13:00:00+01:00"] {
            assert_eq!(shown(text), noon, "{text}");
        }
        assert_eq!(shown("a while <ago>"), "a while &lt;ago&gt;");
    }
}
