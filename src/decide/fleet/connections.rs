//! One budget of connections for all jobs of a process: which of those that wait may send a request next.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A checkpoint that the trainer may delete at its next save: when that is, where the pace is known.
    AtRisk(Due),
    /// Anything else: samples, and all files of a job that is over.
    Ordinary,
}

/// When the next save of a job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Then, since any fixed moment.
    At(Duration),
    /// The pace is not known yet.
    Unknown,
}

/// A connection that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The job, by number.
    pub job: usize,
    pub need: Need,
}

/// One grant in this many goes to the job that holds the fewest connections, whatever is at risk elsewhere: so samples
/// of one job arrive while checkpoints of all others do.
const FAIR_TURN: u64 = 4;

/// A job keeps a connection for up to this many requests in a row …
const LONGEST_SPAN: u32 = 64;

/// … each of which takes less than this: what is slow, or large, leaves the connection to others.
const QUICK: Duration = Duration::from_millis(100);

/// A connection that a job gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Returned {
    pub job: usize,
    /// How long its last request and the answer took.
    pub took: Duration,
    /// Requests that the job sent over it in a row.
    pub in_a_row: u32,
}

/// Returns which of those that wait, in the order in which they came, is next. `held` counts connections a job; `grant`
/// counts grants.
///
/// While nothing is at risk, a job keeps a connection for a span of quick requests: the small files of one job arrive one behind the
/// other, and are recorded together. All jobs in turn, file by file, would cost a flush of a journal for each file.
#[must_use]
pub(crate) fn next<S: BuildHasher>(
    waiting: &[Waiting],
    held: &HashMap<usize, usize, S>,
    grant: u64,
    returned: Option<Returned>,
) -> Option<usize> {
    let holds = |waiting: &Waiting| held.get(&waiting.job).copied().unwrap_or(0);
    let all = || waiting.iter().enumerate();
    if let Some(Returned { job, took, in_a_row }) = returned
        && took < QUICK
        && in_a_row < LONGEST_SPAN
        && let Some(again) = waiting.iter().position(|waiting| waiting.job == job)
        && waiting.iter().all(|waiting| waiting.need == Need::Ordinary)
    {
        return Some(again);
    }
    if grant % FAIR_TURN == FAIR_TURN - 1 {
        return all().min_by_key(|(at, waiting)| (holds(waiting), *at)).map(|(at, _)| at);
    }
    all().min_by_key(|(at, waiting)| (waiting.need, holds(waiting), *at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn risk(job: usize, seconds: u64) -> Waiting {
        Waiting { job, need: Need::AtRisk(Due::At(Duration::from_secs(seconds))) }
    }

    const fn unknown(job: usize) -> Waiting {
        Waiting { job, need: Need::AtRisk(Due::Unknown) }
    }

    const fn sample(job: usize) -> Waiting {
        Waiting { job, need: Need::Ordinary }
    }

    #[test]
    fn the_next_one() {
        let held = HashMap::from([(1, 5), (2, 1)]);
        for (name, waiting, grant, chosen) in [
            ("nothing waits", &[][..], 0, None),
            ("the nearest save", &[sample(3), risk(1, 90), risk(2, 30)], 0, Some(2)),
            ("a known save before an unknown one", &[unknown(2), risk(1, 90)], 0, Some(1)),
            ("an unknown one before samples", &[sample(3), unknown(1)], 0, Some(1)),
            ("of two alike, the job that holds fewer", &[sample(1), sample(2), sample(3)], 0, Some(2)),
            ("of two alike, the first that came", &[risk(3, 30), risk(4, 30)], 0, Some(0)),
            ("each fourth is fair", &[risk(1, 1), sample(2)], 3, Some(1)),
            ("… and the fifth is not", &[risk(1, 1), sample(2)], 4, Some(0)),
        ] {
            assert_eq!(next(waiting, &held, grant, None), chosen, "{name}");
        }
    }

    #[test]
    fn a_job_keeps_a_connection_for_a_span_of_quick_requests() {
        let held = HashMap::from([(1, 3)]);
        let of = |job, millis, in_a_row| Returned { job, took: Duration::from_millis(millis), in_a_row };
        for (name, waiting, returned, chosen) in [
            ("quick", &[sample(2), sample(1), sample(1)][..], of(1, 99, 63), Some(1)),
            ("slow", &[sample(2), sample(1)], of(1, 100, 1), Some(0)),
            ("long enough", &[sample(2), sample(1)], of(1, 1, 64), Some(0)),
            ("it has nothing more", &[sample(2)], of(1, 1, 1), Some(0)),
            ("a checkpoint of another job is at risk", &[sample(1), unknown(2)], of(1, 1, 1), Some(1)),
            ("one of its own is", &[sample(2), sample(1), unknown(1)], of(1, 1, 1), Some(2)),
        ] {
            assert_eq!(next(waiting, &held, 0, Some(returned)), chosen, "{name}");
        }
    }

    #[test]
    fn nothing_starves() {
        let mut held = HashMap::new();
        held.insert(1, 0);
        let mut served = 0;
        for grant in 0..40 {
            // One job always has a checkpoint at risk.
            if next(&[risk(1, 1), sample(2)], &held, grant, None) == Some(1) {
                served += 1;
            } else {
                *held.entry(1).or_insert(0) += 1;
            }
        }
        assert_eq!(served, 10);
    }
}
