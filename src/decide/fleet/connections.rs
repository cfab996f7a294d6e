//! One budget of connections for all jobs of a process: which of those that wait may send a request next.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A checkpoint that the trainer may delete at its next save: when that is, where the pace is known.
    AtRisk(Due),
    /// Anything else: samples, and all files of a job that is over.
    Ordinary,
}

/// When the next save of a job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Then, since any fixed moment.
    At(Duration),
    /// The pace is not known yet.
    Unknown,
}

/// A connection that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The job, by number.
    pub job: usize,
    pub need: Need,
}

/// One grant in this many goes to the job that holds the fewest connections, whatever is at risk elsewhere: so samples
/// of one job arrive while checkpoints of all others do.
const FAIR_TURN: u64 = 4;

/// Returns which of those that wait, in the order in which they came, is next. `held` counts connections a job; `grant`
/// counts grants.
#[must_use]
pub fn next<S: BuildHasher>(
    waiting: &[Waiting],
    held: &HashMap<usize, usize, S>,
    grant: u64,
) -> Option<usize> {
    let holds = |waiting: &Waiting| held.get(&waiting.job).copied().unwrap_or(0);
    let all = || waiting.iter().enumerate();
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
            assert_eq!(next(waiting, &held, grant), chosen, "{name}");
        }
    }

    #[test]
    fn nothing_starves() {
        let mut held = HashMap::new();
        held.insert(1, 0);
        let mut served = 0;
        for grant in 0..40 {
            // One job always has a checkpoint at risk.
            if next(&[risk(1, 1), sample(2)], &held, grant) == Some(1) {
                served += 1;
            } else {
                *held.entry(1).or_insert(0) += 1;
            }
        }
        assert_eq!(served, 10);
    }
}
