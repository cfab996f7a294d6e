//! How fast it goes: bytes a second from what arrives. Time comes in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes a second over the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes that arrived in a slice of time, by the slice's beginning.
    slices: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// What counts as now: long enough to be steady, short enough to show a stall.
    const WINDOW: Duration = Duration::from_secs(5);
    /// Bounds what is remembered to fifty slices.
    const SLICE: Duration = Duration::from_millis(100);

    /// Takes in that `bytes` arrived at `now`.
    pub(crate) fn observe(&mut self, now: Instant, bytes: u64) {
        self.forget(now);
        match self.slices.back_mut() {
            Some((began, sum)) if now.duration_since(*began) < Self::SLICE => {
                *sum = sum.saturating_add(bytes)
            }
            _ => self.slices.push_back((now, bytes)),
        }
    }

    /// Returns bytes a second.
    pub(crate) fn rate(&mut self, now: Instant) -> u64 {
        self.forget(now);
        let Some((began, _)) = self.slices.front() else { return 0 };
        let bytes: u128 = self.slices.iter().map(|(_, sum)| u128::from(*sum)).sum();
        // A transfer that has just begun is measured over its own time, but never over next to nothing.
        let span = now.duration_since(*began).clamp(Duration::from_secs(1), Self::WINDOW);
        u64::try_from(bytes * 1000 / span.as_millis()).unwrap_or(u64::MAX)
    }

    fn forget(&mut self, now: Instant) {
        while self.slices.front().is_some_and(|(began, _)| now.duration_since(*began) > Self::WINDOW) {
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut meter, began) = (Meter::default(), Instant::now());
        let at = |millis| began + Duration::from_millis(millis);
        assert_eq!(meter.rate(at(0)), 0);
        for tenth in 0..100 {
            meter.observe(at(tenth * 100), 1000);
        }
        assert!(meter.slices.len() <= 52);
        let rate = meter.rate(at(10_000));
        assert!((9_500..=10_500).contains(&rate), "{rate}");
        assert_eq!(meter.rate(at(20_000)), 0, "a stall is seen");
    }
}
