//! How long to wait before trying again: exponential backoff with full jitter.

use std::time::Duration;

/// Grows the range of a random wait from try to try. Deterministic for a seed.
#[derive(Debug, Clone)]
pub struct Backoff {
    random: fastrand::Rng,
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// Begins with waits up to `first`, which double up to `longest`.
    #[must_use]
    pub fn new(seed: u64, first: Duration, longest: Duration) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), first, longest, tries: 0 }
    }

    /// Returns the next wait: random, so that many who failed together do not come back together, but never less than
    /// what the server asked for.
    pub fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let range = self.first.saturating_mul(1 << self.tries.min(16)).min(self.longest);
        self.tries += 1;
        // Half of the range is certain: a wait of nothing would be no wait.
        let wait = range.mul_f64(0.5 + self.random.f64() / 2.0);
        at_least.map_or(wait, |asked| asked + wait.min(Duration::from_secs(1)))
    }

    /// Starts over: the last try brought something.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}
