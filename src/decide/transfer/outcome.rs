//! What a fault means for the transfer it happened to.

use std::time::Duration;

use crate::model::fault::Fault;

/// What to do after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same request may succeed later; the server may have answered when.
    Retry {
        /// At least this long from now.
        at_least: Option<Duration>,
    },
    /// The link may have expired, or the file may be gone: ask the job again what it offers.
    Relist {
        /// The host answers that there is no such file, not that the link is no longer valid.
        gone: bool,
    },
    /// No later request can succeed.
    GiveUp,
}

/// Judges a fault.
#[must_use]
pub const fn verdict(fault: &Fault) -> Verdict {
    match fault {
        Fault::Connect { .. }
        | Fault::Stalled { .. }
        | Fault::Dripped { .. }
        | Fault::Interrupted { .. }
        | Fault::Range(_) => Verdict::Retry { at_least: None },
        Fault::Status { status, retry_after, .. } => match *status {
            // Object stores answer 400, 401 or 403 to a link that expired.
            400 | 401 | 403 => Verdict::Relist { gone: false },
            404 | 410 | 451 => Verdict::Relist { gone: true },
            // What is wrong with the request itself, or with who sends it: the next one would be the same.
            402 | 405 | 406 | 411 | 413 | 414 | 415 | 417 | 422 | 426 | 428 | 431 => Verdict::GiveUp,
            // A redirect that leads nowhere.
            300..=399 => Verdict::GiveUp,
            // Everything else may be over in a moment, also what only some CDN knows the meaning of.
            _ => Verdict::Retry { at_least: *retry_after },
        },
        Fault::Forbidden { .. } | Fault::Untrusted { .. } => Verdict::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_verdict() {
        let of = |status| verdict(&Fault::Status { status, retry_after: None, excerpt: None });
        for status in 100..=599 {
            let expected = match status {
                400 | 401 | 403 => Verdict::Relist { gone: false },
                404 | 410 | 451 => Verdict::Relist { gone: true },
                402 | 405 | 406 | 411 | 413 | 414 | 415 | 417 | 422 | 426 | 428 | 431 => Verdict::GiveUp,
                300..=399 => Verdict::GiveUp,
                _ => Verdict::Retry { at_least: None },
            };
            assert_eq!(of(status), expected, "{status}");
        }
    }
}
