//! How fast it goes: seconds a step from what the job says, bytes a second from what arrives. Time comes in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The pace of a training, from the steps that successive looks saw.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seen: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// Looks that are remembered: enough to smooth saves and samples, which stop the training for a while.
    const MEMORY: usize = 20;

    /// Takes in that `step` was reached at `now`.
    pub(crate) fn observe(&mut self, now: Instant, step: u64) {
        match self.seen.back() {
            Some((_, last)) if step == *last => return,
            // The job was resumed from an older save: what was known of its pace is another run's.
            Some((_, last)) if step < *last => self.seen.clear(),
            _ => {}
        }
        self.seen.push_back((now, step));
        if self.seen.len() > Self::MEMORY {
            self.seen.pop_front();
        }
    }

    /// Returns the seconds that a step takes, once two looks saw different steps.
    pub(crate) fn seconds_per_step(&self) -> Option<f64> {
        let ((began, first), (ended, last)) = (self.seen.front()?, self.seen.back()?);
        let steps = last.checked_sub(*first).filter(|steps| *steps > 0)?;
        let seconds = ended.duration_since(*began).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        Some(seconds / steps as f64)
    }

    /// Returns how long it is until step `total`.
    pub(crate) fn remaining(&self, now: Instant, total: u64) -> Option<Duration> {
        let (seen, last) = self.seen.back()?;
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let seconds = self.seconds_per_step()? * total.saturating_sub(*last) as f64;
        let whole = Duration::try_from_secs_f64(seconds).ok()?;
        Some(whole.saturating_sub(now.duration_since(*seen)))
    }
}

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
    fn the_pace_needs_two_looks_and_survives_a_resume() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        pace.observe(at(0), 100);
        assert_eq!(pace.seconds_per_step(), None);
        pace.observe(at(10), 100);
        pace.observe(at(20), 140);
        assert_eq!(pace.seconds_per_step(), Some(0.5));
        assert_eq!(pace.remaining(at(20), 200), Some(Duration::from_secs(30)));
        assert_eq!(pace.remaining(at(30), 200), Some(Duration::from_secs(20)));
        assert_eq!(pace.remaining(at(300), 200), Some(Duration::ZERO));
        pace.observe(at(400), 90);
        assert_eq!(pace.seconds_per_step(), None, "another run");
    }

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
