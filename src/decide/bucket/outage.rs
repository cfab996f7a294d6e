//! When a store that does not answer is worth a line: not what passes at once, and once for each outage.

use std::time::Duration;

use crate::error::Unanswered;

/// A single failed request is ridden out without a word where it takes no longer than this.
const NOTICED: Duration = Duration::from_secs(2);

/// Whether a request that has failed so often, and is without an answer for so long when its next try begins, is an outage.
pub(crate) fn is_outage(failed: u32, without_answer: Duration) -> bool {
    failed >= 2 || without_answer >= NOTICED
}

/// Whether the store itself gave no usable answer; else another writer was faster, which is no outage.
pub(crate) const fn is_away(cause: &Unanswered) -> bool {
    match cause {
        Unanswered::Connect(_)
        | Unanswered::Transport(_)
        | Unanswered::TimedOut { .. }
        | Unanswered::Status(_)
        | Unanswered::Busy(_)
        | Unanswered::Unreadable(_)
        | Unanswered::JobTimeOver
        | Unanswered::FleetTimeOver => true,
        Unanswered::NameTaken | Unanswered::SwapRefused | Unanswered::WrittenMeanwhile => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_short_failure_is_no_outage() {
        let millis = Duration::from_millis;
        for (failed, without_answer, outage) in [
            (1, millis(500), false),
            (1, millis(1999), false),
            (1, millis(2000), true),
            (2, millis(500), true),
        ] {
            assert_eq!(is_outage(failed, without_answer), outage, "{failed} in {without_answer:?}");
        }
    }

    #[test]
    fn a_lost_race_is_no_outage() {
        assert!(is_away(&Unanswered::Busy(503)));
        assert!(is_away(&Unanswered::TimedOut { after: NOTICED }));
        assert!(!is_away(&Unanswered::NameTaken));
        assert!(!is_away(&Unanswered::SwapRefused));
        assert!(!is_away(&Unanswered::WrittenMeanwhile));
    }
}
