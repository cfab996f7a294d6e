//! What a fault means for the transfer it happened to.

use std::time::Duration;

use crate::model::fault::Fault;

/// A single pass fails a file rather than wait longer than this for a busy host; the next pass will find it less busy.
pub(crate) const LONGEST_WAIT_IN_ONE_PASS: Duration = Duration::from_secs(60);

/// A file keeps its memory over a wait that is no longer than this. Over a longer one the bytes that are not sent yet are
/// dropped, a few parts at most, so that files of other hosts get their memory.
const LONGEST_WAIT_WITH_MEMORY: Duration = Duration::from_secs(5);

/// A file is gone when the host denies it this often in a row while it is still listed.
pub(crate) const TRIES_OF_A_GONE_FILE: u32 = 2;

/// What to do after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
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

#[must_use]
pub(crate) const fn verdict(fault: &Fault) -> Verdict {
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

/// What follows a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The file is given up in this pass.
    Fail,
    /// The request is sent again after a wait of at least this long.
    Wait(Option<Duration>),
    /// The API is asked for a newer link.
    Relist {
        /// The host reports that there is no such file.
        gone: bool,
    },
}

/// Decides what follows a fault. `exhausted`: there were enough tries without progress; `once`: a single pass.
#[must_use]
pub(crate) fn after(fault: &Fault, exhausted: bool, once: bool) -> After {
    match verdict(fault) {
        Verdict::GiveUp => After::Fail,
        Verdict::Retry { .. } if exhausted => After::Fail,
        Verdict::Retry { at_least: Some(wait) } if once && wait > LONGEST_WAIT_IN_ONE_PASS => After::Fail,
        Verdict::Retry { at_least } => After::Wait(at_least),
        Verdict::Relist { gone } => After::Relist { gone },
    }
}

/// What a file does whose host may not be asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtGate {
    /// It fails in this pass.
    Fail,
    /// It waits.
    Wait,
    /// It waits, and gives its memory to others first.
    WaitWithoutMemory,
}

/// Decides what a file does whose host may be asked after `wait`. `once`: a single pass.
#[must_use]
pub(crate) fn at_gate(wait: Duration, once: bool) -> AtGate {
    match wait {
        wait if once && wait > LONGEST_WAIT_IN_ONE_PASS => AtGate::Fail,
        wait if wait > LONGEST_WAIT_WITH_MEMORY => AtGate::WaitWithoutMemory,
        _ => AtGate::Wait,
    }
}

/// What follows the answer to a question for a newer link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterLink {
    /// The newer link is used at once.
    Use,
    /// The file is gone.
    Vanish,
    /// The file is given up in this pass.
    Fail,
    /// The same is tried again, after a wait.
    Wait,
}

/// Decides what follows where the file is still listed. `is_renewed`: with another link than before; `gone` is what the
/// host reported, `tries` how often in a row without progress.
#[must_use]
pub(crate) const fn after_link(is_renewed: bool, gone: bool, tries: u32, exhausted: bool) -> AfterLink {
    if is_renewed && !exhausted {
        AfterLink::Use
    } else if gone && tries >= TRIES_OF_A_GONE_FILE {
        AfterLink::Vanish
    } else if exhausted {
        AfterLink::Fail
    } else {
        AfterLink::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_costs_memory_and_a_single_pass_its_file() {
        let rows = [
            (Duration::ZERO, AtGate::Wait, AtGate::Wait),
            (LONGEST_WAIT_WITH_MEMORY, AtGate::Wait, AtGate::Wait),
            (LONGEST_WAIT_WITH_MEMORY * 2, AtGate::WaitWithoutMemory, AtGate::WaitWithoutMemory),
            (LONGEST_WAIT_IN_ONE_PASS, AtGate::WaitWithoutMemory, AtGate::WaitWithoutMemory),
            (LONGEST_WAIT_IN_ONE_PASS * 2, AtGate::WaitWithoutMemory, AtGate::Fail),
        ];
        for (wait, follows, once) in rows {
            assert_eq!((at_gate(wait, false), at_gate(wait, true)), (follows, once), "{wait:?}");
        }
    }

    #[test]
    fn what_follows_a_fault() {
        let status = |status, wait: Option<u64>| Fault::Status {
            status,
            retry_after: wait.map(Duration::from_secs),
            excerpt: None,
        };
        let wait = |seconds| After::Wait(Some(Duration::from_secs(seconds)));
        for (name, fault, exhausted, once, expected) in [
            ("busy", status(503, None), false, false, After::Wait(None)),
            ("busy, with a wish", status(503, Some(7)), false, true, wait(7)),
            ("a long wish in one pass", status(429, Some(61)), false, true, After::Fail),
            ("a long wish while following", status(429, Some(61)), false, false, wait(61)),
            ("too often", status(503, None), true, false, After::Fail),
            ("an expired link", status(403, None), true, false, After::Relist { gone: false }),
            ("no such file", status(404, None), false, true, After::Relist { gone: true }),
            ("a wrong request", status(405, None), false, false, After::Fail),
        ] {
            assert_eq!(after(&fault, exhausted, once), expected, "{name}");
        }
        for (is_renewed, gone, tries, exhausted, expected) in [
            (true, true, 3, false, AfterLink::Use),
            (true, true, 3, true, AfterLink::Vanish),
            (false, true, 1, false, AfterLink::Wait),
            (false, true, 2, false, AfterLink::Vanish),
            (false, false, 9, false, AfterLink::Wait),
            (false, false, 9, true, AfterLink::Fail),
        ] {
            let row = (is_renewed, gone, tries, exhausted);
            assert_eq!(after_link(is_renewed, gone, tries, exhausted), expected, "{row:?}");
        }
    }

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
