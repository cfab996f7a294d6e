//! The words for durations, states and names: everything from outside is made harmless here before people see it.

use std::time::Duration;

use crate::model::job::{JobStatus, Progress};
use crate::model::names::sanitize;
use crate::model::units::ByteCount;

/// The longest text from outside that is shown in one line; more than any path and most sentences.
const LONGEST: usize = 1000;

/// Returns text from outside as it may be shown.
pub(crate) fn shown(text: &str) -> String {
    sanitize::for_terminal(text, LONGEST)
}

/// The same for what was typed or set: an address in it may carry a key in its query, or a password before its host. The
/// question marks of a pattern begin no query. What cannot be read as an address may be one with a typing error in it.
pub(crate) fn shown_value(text: &str) -> String {
    let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + 3));
    let is_address = !scheme.is_empty();
    let query = rest.find('?').filter(|at| is_address || rest[*at..].contains('='));
    let user = rest.rfind('@').filter(|at| is_address || rest[..*at].contains(':'));
    let text = match (user, query) {
        // Whether it is a password or a key, and where either ends, is unknown.
        (Some(user), Some(query)) if query < user => format!("{scheme}…"),
        (user, query) => {
            let hidden = if user.is_some() { "…" } else { "" };
            let rest = &rest[user.unwrap_or(0)..];
            let rest = if query.is_some() { sanitize::secrets_removed(rest) } else { rest.to_owned() };
            format!("{scheme}{hidden}{rest}")
        }
    };
    shown(&text)
}

/// Returns a duration as people say it: `4.2 s`, `3m 20s`, `1h 02m`, `2d 03h`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns a time to come: `42 s`, and from a minute on as [`span`] has it. Tenths would only tremble.
pub(crate) fn countdown(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=59 => format!("{seconds} s"),
        _ => span(duration),
    }
}

/// Returns the columns that text takes on a terminal: some characters take two, some none.
pub(crate) fn columns(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// Keeps the end of a name that is too long: the step is there, before an ending that is always the same.
pub(crate) fn end_of(name: &str, room: usize, dots: &str) -> String {
    if columns(name) <= room {
        return name.to_owned();
    }
    let name = name.strip_suffix(".safetensors").unwrap_or(name);
    if columns(name) <= room {
        return name.to_owned();
    }
    let mut rest = name.chars();
    while columns(rest.as_str()) + columns(dots) > room && rest.next().is_some() {}
    format!("{dots}{}", rest.as_str())
}

/// Returns `1 file` or `3 files`.
pub(crate) fn files(count: u64) -> String {
    counted(count, "file")
}

/// Returns a number with its noun: `1 error`, `3 errors`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Returns how far a check of local files is.
pub(crate) fn checking(read: u64, of: u64, bytes: u64, of_bytes: u64) -> String {
    format!("{read} of {}, {} of {}", files(of), ByteCount(bytes), ByteCount(of_bytes))
}

/// Returns `step 320 of 2000 (16 %)`, or less where less is known.
pub(crate) fn steps(progress: &Progress) -> Option<String> {
    let percent =
        progress.percent_done().map_or_else(String::new, |percent| format!(" ({} %)", percent.floor()));
    match (progress.current_step, progress.total_steps) {
        (Some(current), Some(total)) if total > 0 => Some(format!("step {current} of {total}{percent}")),
        (Some(current), _) if current > 0 => Some(format!("step {current}{percent}")),
        _ => None,
    }
}

/// Returns what a job is doing, in words.
pub(crate) fn state(status: &JobStatus, progress: &Progress) -> &'static str {
    match status {
        JobStatus::InQueue => "waiting for a GPU",
        JobStatus::Running => "training",
        JobStatus::Stopped if progress.is_complete() => "finished its last step",
        JobStatus::Stopped => "stopped before its last step, or before it could be confirmed",
        JobStatus::Failed => "ended by an error",
        JobStatus::Canceled => "canceled",
        JobStatus::Other(_) => "in a state that this version does not know, taken as still running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.04, "0.0 s"),
            (4.25, "4.2 s"),
            (59.9, "59 s"),
            (200.0, "3m 20s"),
            (3725.0, "1h 02m"),
            (200_000.0, "2d 07h"),
        ] {
            assert_eq!(span(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn percent_is_reported_or_computed() {
        let progress =
            |current, total, percent| Progress { current_step: current, total_steps: total, percent };
        assert_eq!(progress(Some(320), Some(2000), None).percent_done(), Some(16.0));
        assert_eq!(progress(Some(1), Some(3), None).percent_done(), Some(33.33));
        assert_eq!(progress(Some(320), Some(2000), Some(17.0)).percent_done(), Some(17.0));
        assert_eq!(progress(Some(3), Some(0), None).percent_done(), None);
        assert_eq!(progress(Some(1), Some(2), Some(f64::NAN)).percent_done(), Some(50.0));
        assert_eq!(steps(&progress(Some(320), Some(2000), None)).as_deref(), Some("step 320 of 2000 (16 %)"));
        assert_eq!(steps(&progress(Some(7), None, None)).as_deref(), Some("step 7"));
        assert_eq!(steps(&progress(Some(0), Some(0), None)), None);
    }

    #[test]
    fn the_end_of_a_name_is_kept() {
        for (name, room, short) in [
            ("dog_000000250.safetensors", 25, "dog_000000250.safetensors"),
            ("dog_000000250.safetensors", 24, "dog_000000250"),
            ("dog_000000250.safetensors", 8, "…0000250"),
            ("samples/1__000000250_0.jpg", 9, "…50_0.jpg"),
            ("犬犬犬.jpg", 8, "…犬.jpg"),
            ("abc", 0, "…"),
        ] {
            assert_eq!(end_of(name, room, "…"), short, "{name} {room}");
        }
    }

    #[test]
    fn no_password_and_no_key_is_shown() {
        for (typed, said) in [
            ("https://h/x?key=s3cret", "https://h/x?…"),
            ("https://me:s3cret@h/x", "https://…@h/x"),
            ("https://me:s3cret@h/x?key=s3cret", "https://…@h/x?…"),
            ("https://me:s3/cret@h:port", "https://…@h:port"),
            ("https://me:s3?cret@h", "https://…"),
            ("https://h/?key=a@s3cret", "https://…"),
            ("me:s3cret@h:8188", "…@h:8188"),
            ("h/x?key=s3cret", "h/x?…"),
            ("h:8188/x?key=a@s3cret", "…"),
            ("samples/*_0?.jpg", "samples/*_0?.jpg"),
            ("dog@2x.png", "dog@2x.png"),
            ("30s", "30s"),
        ] {
            assert_eq!(shown_value(typed), said, "{typed}");
        }
    }

    #[test]
    fn a_terminal_is_not_painted_from_outside() {
        assert!(!shown("a\u{1b}[31mb\u{202e}").contains(['\u{1b}', '\u{202e}']));
    }
}
