//! When a file is asked for without a range: some hosts refuse every request that has one, and serve the same file to a
//! plain one.

use std::time::Duration;

/// What is known of a host's way with ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Habit {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It has served a range: what it refuses, it does not refuse for that.
    Serves,
    /// It refused a range and served the same file without: its other files are asked for without at once.
    Refuses,
}

/// Whether to ask once without a range after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    /// The refusal is the answer.
    No,
    /// In the same breath.
    AtOnce,
    /// With the next try, after the wait that such a status calls for.
    NextTime,
}

/// Decides, from the refusal's status, its `Retry-After`, and whether this file was asked for without a range already.
#[must_use]
pub(crate) const fn instead(
    habit: Habit,
    asked_plain: bool,
    status: u16,
    retry_after: Option<Duration>,
) -> Instead {
    if asked_plain || matches!(habit, Habit::Serves) {
        return Instead::No;
    }
    match status {
        // These speak of the file, or lead elsewhere.
        404 | 410 | 451 | 300..=399 => Instead::No,
        // These may be over in a moment, and a host that is busy is not asked twice.
        408 | 425 | 429 | 500..=599 => Instead::NextTime,
        _ if retry_after.is_some() => Instead::NextTime,
        _ => Instead::AtOnce,
    }
}

/// What the answer to a plain request, sent right after a refusal, shows of the host. After a wait it shows nothing: the
/// refusal may have been over by then.
#[must_use]
pub(crate) const fn learned(at_once: bool, served: bool, before: Habit) -> Habit {
    match (at_once, served, before) {
        (true, true, Habit::Unknown) => Habit::Refuses,
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_tried_once_without_a_range() {
        let wait = Some(Duration::from_secs(1));
        for (status, retry_after, expected) in [
            (400, None, Instead::AtOnce),
            (401, None, Instead::AtOnce),
            (403, None, Instead::AtOnce),
            (403, wait, Instead::NextTime),
            (405, None, Instead::AtOnce),
            (416, None, Instead::AtOnce),
            (302, None, Instead::No),
            (404, None, Instead::No),
            (410, None, Instead::No),
            (451, None, Instead::No),
            (408, None, Instead::NextTime),
            (429, None, Instead::NextTime),
            (429, wait, Instead::NextTime),
            (500, None, Instead::NextTime),
            (503, wait, Instead::NextTime),
        ] {
            for habit in [Habit::Unknown, Habit::Refuses] {
                assert_eq!(instead(habit, false, status, retry_after), expected, "{status} {habit:?}");
            }
            assert_eq!(
                instead(Habit::Unknown, true, status, retry_after),
                Instead::No,
                "{status}: asked already"
            );
            assert_eq!(
                instead(Habit::Serves, false, status, retry_after),
                Instead::No,
                "{status}: serves ranges"
            );
        }
    }

    #[test]
    fn only_what_follows_a_refusal_at_once_is_about_the_host() {
        for (at_once, served, before, expected) in [
            (true, true, Habit::Unknown, Habit::Refuses),
            (false, true, Habit::Unknown, Habit::Unknown),
            (true, false, Habit::Unknown, Habit::Unknown),
            (true, true, Habit::Serves, Habit::Serves),
            (true, false, Habit::Refuses, Habit::Refuses),
        ] {
            assert_eq!(learned(at_once, served, before), expected);
        }
    }
}
