//! How long to wait before trying again: exponential backoff with jitter, and a server's own wish as the floor.

use std::time::Duration;

use crate::model::fault::granted_wait;

/// Clients that were given the same number of seconds do not come back in the same instant.
const SPREAD_BEHIND_WISH: Duration = Duration::from_secs(1);

/// The longest wait is reached long before; a bound keeps the shift from overflowing.
const MOST_DOUBLINGS: u32 = 16;

/// How long something is tried, and how long is waited in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    limit: Limit,
    /// The longest wait that the other side may ask for where tries are counted.
    most_asked: Duration,
    /// The first wait, which doubles from try to try …
    first: Duration,
    /// … up to this.
    pub longest: Duration,
}

/// After which failure there is no further try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// After so many tries, and after one that asks for a longer wait than the policy accepts.
    Tries(u32),
    /// After one whose wait would not be over so long after the first try began.
    Time(Duration),
    /// There always is one.
    None,
}

impl Policy {
    #[must_use]
    pub(crate) const fn patient(tries: u32, first: Duration, longest: Duration) -> Self {
        Self { limit: Limit::Tries(tries), most_asked: longest, first, longest }
    }

    /// The same tries, also after a longer wait that the other side asks for.
    #[cfg(any(test, feature = "buckets"))]
    #[must_use]
    pub(crate) const fn however_long_asked(self) -> Self {
        Self { most_asked: Duration::MAX, ..self }
    }

    /// The same waits without an end.
    #[must_use]
    pub(crate) const fn endless(self) -> Self {
        Self { limit: Limit::None, ..self }
    }

    /// The same waits, as often as there is time for: no wait lasts until `time` after the first try began.
    #[must_use]
    pub(crate) const fn within(self, time: Duration) -> Self {
        Self { limit: Limit::Time(time), ..self }
    }
}

/// Counts the tries of a [`Policy`].
#[derive(Debug, Clone)]
pub(crate) struct Tries {
    policy: Policy,
    failed: u32,
    backoff: Backoff,
}

impl Tries {
    /// Begins before the first try.
    #[must_use]
    pub(crate) fn new(policy: Policy, seed: u64) -> Self {
        Self { policy, failed: 0, backoff: Backoff::new(seed, policy.first, policy.longest) }
    }

    /// A try failed `elapsed` after the first one began, and the other side may have asked for a wait. Returns the wait
    /// before the next try; `None` where there is none.
    pub(crate) fn next_wait(&mut self, elapsed: Duration, asked: Option<Duration>) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        let wait = self.backoff.next(asked);
        let continues = match self.policy.limit {
            Limit::Tries(tries) => {
                self.failed < tries && asked.is_none_or(|asked| asked <= self.policy.most_asked)
            }
            Limit::Time(time) => elapsed.saturating_add(wait) < time,
            Limit::None => true,
        };
        continues.then_some(wait)
    }
}

/// Grows the range of a random wait from try to try. Deterministic for a seed.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    random: fastrand::Rng,
    first: Duration,
    longest: Duration,
    doublings: u32,
}

impl Backoff {
    /// Begins with waits up to `first`, which double up to `longest`.
    #[must_use]
    pub(crate) fn new(seed: u64, first: Duration, longest: Duration) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), first, longest, doublings: 0 }
    }

    /// Returns the next wait: random, so that many who failed together do not come back together, but never less
    /// than what the server asked for (of which a quarter of an hour is believed).
    pub(crate) fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let range = self.first.saturating_mul(1 << self.doublings).min(self.longest);
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        // Half of the range is certain, against the textbook's full jitter: a wait of nothing would be no wait.
        let wait = range.mul_f64(0.5 + self.random.f64() / 2.0);
        match at_least.map(granted_wait) {
            Some(wish) => wait.max(wish + wait.min(SPREAD_BEHIND_WISH)),
            None => wait,
        }
    }

    /// Starts over: the last try made progress.
    pub(crate) const fn reset(&mut self) {
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::fault::LONGEST_WAIT;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn doubles_up_to_the_longest_and_starts_over() {
        let mut backoff = Backoff::new(7, FIRST, LONGEST);
        for range in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000].map(Duration::from_millis)
        {
            let wait = backoff.next(None);
            assert!(wait >= range / 2 && wait <= range, "{wait:?} for {range:?}");
        }
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn a_policy_ends_after_so_many_tries_after_so_long_or_never() {
        const SECOND: Duration = Duration::from_secs(1);
        let patient = Policy::patient(3, SECOND, 8 * SECOND);
        // Waits are from half of their range to all of it: half a second to a second at first.
        for (policy, failed, elapsed, asked, continues) in [
            (patient, 2, 0, None, true),
            (patient, 3, 0, None, false),
            (patient, 1, 900, None, true),
            (patient, 1, 0, Some(8), true),
            (patient, 1, 0, Some(9), false),
            (patient.however_long_asked(), 1, 0, Some(900), true),
            (patient.however_long_asked(), 3, 0, Some(900), false),
            (patient.within(10 * SECOND), 1, 8, None, true),
            (patient.within(10 * SECOND), 1, 10, None, false),
            (patient.within(10 * SECOND), 5, 0, None, true),
            (patient.within(10 * SECOND), 5, 6, None, false),
            (patient.within(20 * SECOND), 1, 0, Some(18), true),
            (patient.within(20 * SECOND), 1, 0, Some(20), false),
            (patient.within(Duration::MAX), 99, 900, Some(900), true),
            (patient.endless(), 99, 900, Some(900), true),
        ] {
            let mut tries = Tries::new(policy, 7);
            for _ in 1..failed {
                tries.next_wait(Duration::ZERO, None);
            }
            let wait = tries.next_wait(SECOND * elapsed, asked.map(Duration::from_secs));
            assert_eq!(wait.is_some(), continues, "{policy:?}, {failed} failed, {elapsed} s, {asked:?}");
        }
    }

    #[test]
    fn the_same_seed_waits_the_same() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed, FIRST, LONGEST);
            [(); 20].map(|()| backoff.next(None))
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn a_wish_is_a_floor_but_not_for_ever() {
        let mut backoff = Backoff::new(7, FIRST, LONGEST);
        let wish = Duration::from_secs(20);
        let wait = backoff.next(Some(wish));
        assert!(wait > wish && wait <= wish + FIRST, "{wait:?}");
        let wait = backoff.next(Some(Duration::MAX));
        assert!(wait > LONGEST_WAIT && wait <= LONGEST_WAIT + SPREAD_BEHIND_WISH, "{wait:?}");
    }

    #[test]
    fn a_wish_of_nothing_shortens_no_wait() {
        let mut backoff = Backoff::new(7, LONGEST, LONGEST);
        assert!(backoff.next(Some(Duration::ZERO)) >= LONGEST / 2);
    }

    proptest! {
        #[test]
        fn never_less_than_asked_and_never_too_long(
            seed: u64,
            tries in 1_usize..100,
            wish in prop::option::of(0_u64..10_000),
        ) {
            let mut backoff = Backoff::new(seed, FIRST, LONGEST);
            let wish = wish.map(Duration::from_secs);
            for _ in 0..tries {
                let wait = backoff.next(wish);
                prop_assert!(wait >= wish.unwrap_or_default().min(LONGEST_WAIT));
                prop_assert!(wait >= FIRST / 2);
                prop_assert!(wait <= LONGEST.max(wish.unwrap_or_default().min(LONGEST_WAIT) + SPREAD_BEHIND_WISH));
            }
        }
    }
}
