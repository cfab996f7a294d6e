//! What follows the end of a run of one job in a fleet, and what the fleet itself ends with.

use std::time::Duration;

use crate::error::ExitStatus;

/// How a run of one job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub exit: ExitStatus,
    /// The next look, by its last event; `None` where it had no last event.
    pub outlook: Option<Outlook>,
    /// Another process has the job: nothing failed.
    pub is_held: bool,
}

/// What a run's last event reports of the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Nothing more will come.
    Over,
    /// Looking again is worth it after this long.
    Again(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The job is over for this fleet.
    Over,
    /// Run again after this long.
    After(Duration),
}

/// Runs in a row that end without success before a job is given up; the waits between them sum up to 7 min 45 s at the least.
const MOST_FAILURES: u32 = 6;

/// The wait after the first failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Another process has the folder: it is asked for this often.
const HELD: Duration = Duration::from_secs(30);

/// Counts runs in a row that ended badly. One that found the job held by another process changes nothing.
#[must_use]
pub(crate) const fn failures(before: u32, ended: &Ended) -> u32 {
    match ended.exit {
        _ if ended.is_held => before,
        ExitStatus::Complete => 0,
        _ => before.saturating_add(1),
    }
}

/// Decides what follows. `failures` counts runs in a row that ended badly, this one included.
#[must_use]
pub(crate) fn next(ended: &Ended, failures: u32) -> Next {
    let backoff = || {
        if failures >= MOST_FAILURES {
            return Next::Over;
        }
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        Next::After(FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT))
    };
    match (ended.exit, ended.outlook) {
        _ if ended.is_held => Next::After(HELD),
        (_, Some(Outlook::Over)) => Next::Over,
        (ExitStatus::TryAgain, None) => Next::After(HELD),
        (ExitStatus::TryAgain | ExitStatus::Disk, Some(Outlook::Again(wait))) => match backoff() {
            Next::After(backoff) => Next::After(backoff.max(wait)),
            Next::Over => Next::Over,
        },
        (ExitStatus::Unavailable | ExitStatus::Protocol | ExitStatus::Disk, _) => backoff(),
        // What the command line, the token or the settings are wrong about stays wrong.
        _ => Next::Over,
    }
}

/// Returns the worse of two codes: what a person has to do something about comes before what time may heal.
#[must_use]
pub(crate) fn worse(a: ExitStatus, b: ExitStatus) -> ExitStatus {
    if badness(b) > badness(a) { b } else { a }
}

const fn badness(status: ExitStatus) -> u8 {
    match status {
        ExitStatus::Complete => 0,
        ExitStatus::TryAgain => 1,
        ExitStatus::Negative => 2,
        ExitStatus::Unavailable => 3,
        ExitStatus::Protocol => 4,
        ExitStatus::BadData => 5,
        ExitStatus::NoInput => 6,
        ExitStatus::Disk => 7,
        ExitStatus::CannotCreate => 8,
        ExitStatus::NoPermission => 9,
        ExitStatus::Config => 10,
        ExitStatus::Usage => 11,
        ExitStatus::Interrupted => 12,
        ExitStatus::Terminated => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_run() {
        use ExitStatus::{
            BadData, CannotCreate, Complete, Disk, Negative, NoPermission, Protocol, TryAgain, Unavailable,
        };
        let seconds = Duration::from_secs;
        let again = |wait| Some(Outlook::Again(seconds(wait)));
        let after = |wait| Next::After(seconds(wait));
        let over = Some(Outlook::Over);
        for (name, exit, outlook, failures, expected) in [
            ("finished", Complete, over, 0, Next::Over),
            ("failed or canceled", Negative, over, 0, Next::Over),
            ("stopped early, all is here", TryAgain, over, 1, Next::Over),
            ("a file is missing", TryAgain, again(60), 1, after(60)),
            ("… still", TryAgain, again(60), 4, after(120)),
            ("… for too long", TryAgain, again(60), 6, Next::Over),
            ("another process has it", TryAgain, None, 1, after(30)),
            ("… for days", TryAgain, None, 9999, after(30)),
            ("the API is away", Unavailable, None, 1, after(15)),
            ("… still", Unavailable, None, 5, after(240)),
            ("… for too long", Unavailable, None, 6, Next::Over),
            ("the API makes no sense", Protocol, None, 2, after(30)),
            ("the disk is full", Disk, again(15), 1, after(15)),
            ("the disk is broken", Disk, None, 1, after(15)),
            ("unknown job", BadData, None, 1, Next::Over),
            ("no folder", CannotCreate, None, 1, Next::Over),
            ("no token", NoPermission, None, 1, Next::Over),
        ] {
            let ended = Ended { exit, outlook, is_held: false };
            assert_eq!(next(&ended, failures), expected, "{name}");
        }
    }

    #[test]
    fn a_job_that_another_process_has_is_asked_for_for_ever() {
        let held = Ended { exit: ExitStatus::TryAgain, outlook: None, is_held: true };
        let mut count = 0;
        for _ in 0..1000 {
            count = failures(count, &held);
            assert_eq!(next(&held, count), Next::After(HELD));
        }
        let missing = Ended { outlook: Some(Outlook::Again(Duration::ZERO)), is_held: false, ..held };
        count = failures(count, &missing);
        assert_eq!((count, next(&missing, count)), (1, Next::After(FIRST_WAIT)), "held was no failure");
        assert_eq!(failures(5, &Ended { exit: ExitStatus::Complete, ..missing }), 0);
    }

    #[test]
    fn the_worst_code_wins() {
        use ExitStatus::{Complete, Negative, NoPermission, Terminated, TryAgain};
        assert_eq!(worse(Complete, TryAgain), TryAgain);
        assert_eq!(worse(Negative, TryAgain), Negative);
        assert_eq!(worse(NoPermission, Negative), NoPermission);
        assert_eq!(worse(Terminated, NoPermission), Terminated);
        assert_eq!(worse(Complete, Complete), Complete);
    }
}
