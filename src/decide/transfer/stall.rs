//! What connections usually deliver, and when one that still delivers something is given up all the same: one that drips
//! for as long as the time-out of a silent one is as good as silent.

use std::time::Duration;

use crate::model::units::as_f64;

/// A connection is judged by what it delivered in so long: shorter looks see the pauses of healthy ones.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// Less than this is dripping, in bytes a second: no link that a training is followed over is slower.
const FLOOR: f64 = 1024.0;

/// One connection's flow. Times are durations since any fixed moment.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    patience: Duration,
    since: Duration,
    bytes: u64,
    dripping: Duration,
}

/// What a connection usually delivers: the mean of those that delivered all they were asked for, each by the time that it
/// took, the latest weighing most. Hosts that throttle each connection send the first bytes of an answer at once: by
/// their time, short answers count for little.
#[derive(Debug, Clone, Copy, Default)]
pub struct Typical {
    pieces: f64,
    bytes: f64,
    seconds: f64,
    waited: f64,
}

impl Typical {
    /// The weight of the latest.
    const LATEST: f64 = 0.125;

    /// Takes in what a connection delivered in how long, and how long it had waited for the answer's head.
    pub fn learn(&mut self, bytes: u64, took: Duration, waited: Duration) {
        if took.is_zero() {
            return;
        }
        let add = |sum: &mut f64, latest: f64| *sum = sum.mul_add(1.0 - Self::LATEST, latest);
        add(&mut self.pieces, 1.0);
        add(&mut self.bytes, as_f64(bytes));
        add(&mut self.seconds, took.as_secs_f64());
        add(&mut self.waited, waited.as_secs_f64());
    }

    /// Returns bytes a second; 0 where unknown.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes / self.seconds } else { 0.0 }
    }

    /// Returns how many bytes a connection was asked for; 0 where unknown.
    #[must_use]
    pub fn length(&self) -> f64 {
        if self.pieces > 0.0 { self.bytes / self.pieces } else { 0.0 }
    }

    /// Returns how long a connection waits for the head of an answer.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let mean = if self.pieces > 0.0 { self.waited / self.pieces } else { 0.0 };
        Duration::try_from_secs_f64(mean).unwrap_or_default()
    }
}

impl Pulse {
    /// Begins to watch a connection; one that drips for `patience` is given up.
    #[must_use]
    pub(crate) const fn new(now: Duration, patience: Duration) -> Self {
        Self { patience, since: now, bytes: 0, dripping: Duration::ZERO }
    }

    /// Takes in what came since the last look; returns whether the connection has dripped for too long.
    pub(crate) fn observe(&mut self, now: Duration, bytes: u64) -> bool {
        self.bytes += bytes;
        let elapsed = now.saturating_sub(self.since);
        if elapsed < LOOK {
            return false;
        }
        let rate = as_f64(self.bytes) / elapsed.as_secs_f64();
        self.since = now;
        self.bytes = 0;
        self.dripping = if rate < FLOOR { self.dripping + elapsed } else { Duration::ZERO };
        self.dripping >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watches a connection that delivers `rate` bytes a second; returns after how many seconds it is given up.
    fn watch(rate: u64) -> Option<u64> {
        let mut pulse = Pulse::new(Duration::ZERO, Duration::from_secs(30));
        (1..600)
            .find(|tenths| pulse.observe(Duration::from_millis(tenths * 100), rate / 10))
            .map(|tenths| tenths / 10)
    }

    #[test]
    fn a_drip_is_given_up_after_as_long_as_silence() {
        assert_eq!(watch(500), Some(30));
        assert_eq!(watch(0), Some(30));
        assert_eq!(watch(2000), None, "slow is not dripping");
    }

    #[test]
    fn what_is_typical_follows_what_comes() {
        let mut typical = Typical::default();
        assert_eq!(typical.rate(), 0.0, "nothing is known");
        typical.learn(8 << 20, Duration::from_secs(1), Duration::ZERO);
        assert_eq!(typical.rate(), 8_388_608.0);
        for _ in 0..50 {
            typical.learn(1 << 20, Duration::from_secs(1), Duration::ZERO);
        }
        assert!(typical.rate() < 1_100_000.0);
    }

    #[test]
    fn one_good_moment_is_enough() {
        let mut pulse = Pulse::new(Duration::ZERO, Duration::from_secs(30));
        for second in 1..200 {
            let bytes = if second % 20 == 0 { 10_000 } else { 0 };
            assert!(!pulse.observe(Duration::from_secs(second), bytes), "{second}");
        }
    }
}
