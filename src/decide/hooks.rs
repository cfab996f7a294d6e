//! What follows the failure of a hook. The file is safe in any case.

use std::time::Duration;

use serde::Serialize;

use crate::decide::transfer::backoff::Policy;
use crate::model::hook_fault::HookFault;

/// Tries of one event, over all runs. A hook that fails as often is broken or does not want this event.
const TRIES: u32 = 3;

/// Requests of one try of a webhook: a service that is being restarted answers a moment later. A wait that it asks for is
/// granted up to a minute.
pub(crate) const REQUESTS: Policy = Policy::patient(3, Duration::from_millis(500), Duration::from_secs(60));

/// A failed event is tried again after this long, or by the next run: what failed it may need a moment to pass.
pub(crate) const AGAIN: Duration = Duration::from_secs(60);

/// A hook that ran too long, or did not answer in time, for so many events in a row is not called again in this run: each costs
/// its whole time, and the run waits for it at the end.
const MOST_TIMEOUTS: u32 = 3;

/// Returns how many events in a row took all the time that the hook has for one, after `before` of them.
#[must_use]
pub(crate) fn timeouts(before: u32, outcome: &Result<(), HookFault>) -> u32 {
    match outcome {
        Err(fault) if fault.is_timeout() => before + 1,
        _ => 0,
    }
}

/// What follows the failure of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// It is tried again.
    Again,
    /// The event is given up.
    GivenUp {
        /// Tries of it.
        tries: u32,
    },
    /// The hook is not used any more in this run.
    Unused,
}

/// Decides what follows the `times`th failure of one event, after so many timeouts of the hook in a row.
#[must_use]
pub(crate) const fn after_failure(times: u32, timeouts: u32) -> AfterFailure {
    if times >= TRIES {
        AfterFailure::GivenUp { tries: times }
    } else if timeouts >= MOST_TIMEOUTS {
        AfterFailure::Unused
    } else {
        AfterFailure::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::transport_fault::TransportFault;

    #[test]
    fn timeouts_in_a_row_are_counted_whatever_the_hook_is() {
        let (place, cause) = (String::new(), TransportFault::TimedOut { after: AGAIN });
        let ended = HookFault::TimedOut { after: AGAIN, output: String::new() };
        let silent = HookFault::NoAnswer { place: place.clone(), cause: cause.clone() };
        let closed = HookFault::Unreachable { place, cause };
        for (outcome, expected) in [(Err(ended), 3), (Err(silent), 3), (Err(closed), 0), (Ok(()), 0)] {
            assert_eq!(timeouts(2, &outcome), expected, "{outcome:?}");
        }
    }

    #[test]
    fn an_event_is_given_up_before_a_hook_is() {
        for (times, timeouts, expected) in [
            (1, 0, AfterFailure::Again),
            (2, 2, AfterFailure::Again),
            (3, 0, AfterFailure::GivenUp { tries: 3 }),
            (4, 9, AfterFailure::GivenUp { tries: 4 }),
            (1, 3, AfterFailure::Unused),
            (2, 4, AfterFailure::Unused),
        ] {
            assert_eq!(after_failure(times, timeouts), expected, "{times} failures, {timeouts} timeouts");
        }
    }
}
