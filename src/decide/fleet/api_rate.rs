//! One budget of API requests for all jobs of a process: a token bucket that halves when the API asks for less.

use std::time::Duration;

/// The rate is never halved below this share of what the user allows.
const LEAST_SHARE: f64 = 1.0 / 64.0;

/// After so long without a refusal the rate grows again …
const CALM: Duration = Duration::from_secs(5);

/// … by this factor, and once more for each further span of the same length.
const GROWTH: f64 = 1.25;

/// How long all wait after a 429 without `Retry-After`.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the API may be asked. Times are durations since any fixed moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiRate {
    /// Requests a second that the user allows.
    full: f64,
    /// Requests a second that are made now.
    rate: f64,
    /// When the next request may go.
    next: Duration,
    /// When the rate was last changed, or a refusal last came.
    changed: Duration,
    /// When it was last halved: refusals of what was asked before do not halve it again.
    halved: Option<Duration>,
}

impl ApiRate {
    /// Allows `full` requests a second, evenly spaced: a burst would be refused by an API that counts short spans.
    #[must_use]
    pub(crate) const fn new(full: f64) -> Self {
        Self { full, rate: full, next: Duration::ZERO, changed: Duration::ZERO, halved: None }
    }

    /// Takes the right to one request; otherwise returns how long to wait before trying again.
    ///
    /// # Errors
    /// The wait.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.recover(now);
        if now < self.next {
            return Err(self.next - now);
        }
        self.next = now + Duration::from_secs_f64(1.0 / self.rate);
        Ok(())
    }

    /// The API refused a request that was sent at `sent`, since there were too many (429).
    pub(crate) fn refused(&mut self, now: Duration, sent: Duration, retry_after: Option<Duration>) {
        if self.halved.is_none_or(|halved| sent >= halved) {
            self.rate = (self.rate / 2.0).max(self.full * LEAST_SHARE);
            self.halved = Some(now);
        }
        self.changed = self.changed.max(now);
        self.pause(now, retry_after.unwrap_or(PAUSE));
    }

    /// Nothing is asked for this long.
    pub(crate) fn pause(&mut self, now: Duration, wait: Duration) {
        self.next = self.next.max(now.saturating_add(wait));
        self.changed = self.changed.max(self.next);
    }

    /// Returns how many requests a second are made now.
    #[cfg(test)]
    const fn rate(&self) -> f64 {
        self.rate
    }

    fn recover(&mut self, now: Duration) {
        while self.rate < self.full && now >= self.changed + CALM {
            self.rate = (self.rate * GROWTH).min(self.full);
            self.changed += CALM;
        }
        if self.rate >= self.full {
            self.changed = self.changed.max(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Takes all it gets until `until`, and returns when.
    fn taken(rate: &mut ApiRate, mut now: Duration, until: Duration) -> Vec<Duration> {
        let mut taken = Vec::new();
        while now < until {
            match rate.take(now) {
                Ok(()) => taken.push(now),
                Err(wait) => now += wait,
            }
        }
        taken
    }

    #[test]
    fn requests_are_evenly_spaced() {
        let mut rate = ApiRate::new(4.0);
        assert_eq!(taken(&mut rate, ms(0), ms(1000)), [ms(0), ms(250), ms(500), ms(750)]);
        // What was not asked for is not saved up.
        assert_eq!(taken(&mut rate, ms(60_000), ms(60_600)), [ms(60_000), ms(60_250), ms(60_500)]);
    }

    #[test]
    fn a_refusal_halves_once_and_all_wait() {
        let mut rate = ApiRate::new(4.0);
        assert_eq!(rate.take(ms(0)), Ok(()));
        rate.refused(ms(100), ms(0), Some(ms(3000)));
        assert_eq!(rate.rate(), 2.0);
        // Asked before the halving, answered after it.
        rate.refused(ms(120), ms(50), None);
        assert_eq!(rate.rate(), 2.0);
        assert_eq!(rate.take(ms(200)), Err(ms(2900)), "the longer wish counts");
        assert_eq!(taken(&mut rate, ms(200), ms(4000)), [ms(3100), ms(3600)]);
        rate.refused(ms(4000), ms(3600), None);
        assert_eq!(rate.rate(), 1.0);
        assert_eq!(rate.take(ms(4000)), Err(ms(1000)));
    }

    #[test]
    fn it_never_stops_and_recovers() {
        let mut rate = ApiRate::new(4.0);
        for second in 0..100 {
            rate.refused(ms(second * 1000), ms(second * 1000), Some(ms(10)));
        }
        assert_eq!(rate.rate(), 4.0 / 64.0);
        let _ = rate.take(ms(200_000));
        assert_eq!(rate.rate(), 4.0, "a minute and a half later");
        // In the storm's middle it grows slowly.
        let mut rate = ApiRate::new(4.0);
        rate.refused(ms(0), ms(0), None);
        let _ = rate.take(ms(5500));
        assert_eq!(rate.rate(), 2.0, "the pause does not count as calm");
        let _ = rate.take(ms(6000));
        assert_eq!(rate.rate(), 2.5);
    }

    #[test]
    fn another_fault_with_a_wish_to_wait_pauses_alone() {
        let mut rate = ApiRate::new(4.0);
        rate.pause(ms(0), ms(700));
        assert_eq!(rate.rate(), 4.0);
        assert_eq!(rate.take(ms(0)), Err(ms(700)));
    }
}
