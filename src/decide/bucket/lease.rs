//! Who may write: the lease, and what an answer to a swap means.

use std::time::Duration;

use super::head::{Head, Owner, Seen};

/// What a look at the head says of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can be taken now.
    Takeable,
    /// Another worker holds it; it can be taken after this long, unless it changes until then.
    Held { wait: Duration },
}

/// Judges the lease. `age` is how long ago the head was written, by the store's own clock; `observed` is how long this
/// worker has seen the same head by its own clock. Neither is trusted for safety: a swap decides.
#[must_use]
pub(crate) fn standing(
    head: Option<&Head>,
    age: Option<Duration>,
    observed: Duration,
    lease: Duration,
) -> Standing {
    let Some(head) = head else { return Standing::Takeable };
    let age = age.unwrap_or_default().max(observed);
    if head.free || age >= lease { Standing::Takeable } else { Standing::Held { wait: lease - age } }
}

/// Whether what a worker polled before it took the lease may be older than what the head has: it waited, or another worker
/// wrote the head meanwhile. `before` is the head that it read, `seen` what that had of the job.
#[must_use]
pub(crate) fn is_outdated(
    before: Option<&Head>,
    seen: Option<&Seen>,
    taken: &Head,
    has_waited: bool,
) -> bool {
    let is_next = taken.sequence == before.map_or(1, |before| before.sequence + 1);
    has_waited || !is_next || taken.seen.as_ref() != seen
}

/// How often the owner writes the head when it has nothing to say: often enough that two lost beats cost no lease.
#[must_use]
pub(crate) fn beat(lease: Duration) -> Duration {
    lease / 3
}

/// What the head shows after a swap whose answer was a refusal, or never came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AfterSwap {
    /// The swap was carried out.
    Ours,
    /// It was not carried out, and may be sent again: the head is the one that it was to replace.
    NotYet,
    /// Another worker wrote the head.
    Lost {
        /// Which one, where a head is there.
        owner: Option<Owner>,
    },
}

/// Judges the head `now` after `sent` was to replace `before` (R6, R7).
#[must_use]
pub(crate) fn after_swap(before: Option<&Head>, sent: &Head, now: Option<&Head>) -> AfterSwap {
    let is = |one: &Head, other: &Head| one.is_of(&other.owner) && one.sequence == other.sequence;
    match (before, now) {
        (_, Some(now)) if is(now, sent) => AfterSwap::Ours,
        (None, None) => AfterSwap::NotYet,
        (Some(before), Some(now)) if is(now, before) => AfterSwap::NotYet,
        (_, now) => AfterSwap::Lost { owner: now.map(|now| now.owner.clone()) },
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::Publish;
    use crate::model::job::JobStatus;

    use super::*;

    fn owner(id: &str) -> Owner {
        Owner { id: id.to_owned(), host: "h".to_owned(), pid: 1 }
    }

    fn head(id: &str, sequence: u64) -> Head {
        let first = Head::first("job".parse().unwrap(), "o".to_owned(), owner(id), Publish::Complete);
        Head { sequence, ..first }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_over() {
        let seconds = Duration::from_secs;
        let lease = seconds(60);
        let held = head("a", 7);
        let free = Head { free: true, ..held.clone() };
        for (head, age, observed, expected) in [
            (None, None, seconds(0), Standing::Takeable),
            (Some(&free), Some(seconds(0)), seconds(0), Standing::Takeable),
            (Some(&held), Some(seconds(59)), seconds(0), Standing::Held { wait: seconds(1) }),
            (Some(&held), Some(seconds(60)), seconds(0), Standing::Takeable),
            // A store without a clock: what this worker has seen itself counts.
            (Some(&held), None, seconds(20), Standing::Held { wait: seconds(40) }),
            (Some(&held), None, seconds(61), Standing::Takeable),
        ] {
            assert_eq!(standing(head, age, observed, lease), expected);
        }
    }

    #[test]
    fn what_was_polled_is_outdated_after_a_wait_and_after_another_worker() {
        let seen = |resumes| Some(Seen { status: JobStatus::Running, resumes });
        let (before, after) = (head("a", 7), |sequence, seen| Head { seen, ..head("b", sequence) });
        for (before, last, taken, waited, expected) in [
            (Some(&before), seen(1), after(8, seen(1)), false, false),
            (Some(&before), seen(1), after(8, seen(1)), true, true),
            (Some(&before), seen(1), after(9, seen(1)), false, true),
            (Some(&before), seen(1), after(8, seen(2)), false, true),
            (Some(&before), None, after(8, seen(0)), false, true),
            (None, None, after(1, None), false, false),
            (None, None, after(2, None), false, true),
        ] {
            assert_eq!(is_outdated(before, last.as_ref(), &taken, waited), expected, "{taken:?}, {waited}");
        }
    }

    #[test]
    fn a_swap_is_ours_by_id_and_sequence_alone() {
        let (before, sent) = (head("a", 7), head("b", 8));
        let after = |now: Option<&Head>| after_swap(Some(&before), &sent, now);
        assert_eq!(after(Some(&head("b", 8))), AfterSwap::Ours);
        assert_eq!(after(Some(&head("a", 7))), AfterSwap::NotYet);
        let lost = |id| AfterSwap::Lost { owner: Some(owner(id)) };
        assert_eq!(after(Some(&head("a", 8))), lost("a"), "the same sequence of another owner");
        assert_eq!(after(Some(&head("b", 9))), lost("b"));
        assert_eq!(after(None), AfterSwap::Lost { owner: None });
        assert_eq!(after_swap(None, &sent, None), AfterSwap::NotYet);
        assert_eq!(after_swap(None, &sent, Some(&head("c", 1))), lost("c"));
    }
}
