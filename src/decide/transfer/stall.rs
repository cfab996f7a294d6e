//! When a connection that still brings something is given up all the same.
//!
//! Two cases. One that drips for as long as a silent one would be borne is as good as silent. And at the end of the
//! work, when others have nothing left to do, one that is far slower than they were holds everybody up: its range is
//! asked for again on a fresh connection, and what came stays.

use std::time::Duration;

/// A connection is judged by what it brought in so long: shorter looks see the pauses of healthy ones.
pub const LOOK: Duration = Duration::from_secs(2);

/// Less than this is dripping, in bytes a second: no link that anybody trains over is slower.
const FLOOR: f64 = 1024.0;

/// At the end of the work, a connection may take this many times as long as another would …
const FAR_SLOWER: f64 = 4.0;

/// … and this much longer, in seconds, which a new request could cost.
const WORTH_A_REQUEST: f64 = 2.0;

/// One connection's flow. Times are durations since any fixed moment.
#[derive(Debug, Clone)]
pub struct Pulse {
    patience: Duration,
    since: Duration,
    bytes: u64,
    dripping: Duration,
}

/// What a connection brings as a rule: the mean of those that brought all they were asked for, each by the time that it
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

    /// Less than this is over before it has found its speed, in bytes.
    const FROM: u64 = 512 << 10;

    /// Takes in what a connection brought in how long, and how long it had waited for the answer's head.
    pub fn learn(&mut self, bytes: u64, took: Duration, waited: Duration) {
        if bytes < Self::FROM || took.is_zero() {
            return;
        }
        let add = |sum: &mut f64, latest: f64| *sum = sum.mul_add(1.0 - Self::LATEST, latest);
        add(&mut self.pieces, 1.0);
        add(&mut self.bytes, as_f64(bytes));
        add(&mut self.seconds, took.as_secs_f64());
        add(&mut self.waited, waited.as_secs_f64());
    }

    /// Returns bytes a second; 0 where nobody knows.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes / self.seconds } else { 0.0 }
    }

    /// Returns how many bytes a connection was asked for; 0 where nobody knows.
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

/// What a connection is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// Bytes that its piece still wants.
    pub left: u64,
    /// What a connection brings as a rule, in bytes a second; 0 where nobody knows.
    pub typical: f64,
    /// Others have nothing to do, and could take what is left of its piece.
    pub others_wait: bool,
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// It has dripped for too long.
    Drips,
    /// Another would be done long before it.
    HoldsUp,
}

impl Pulse {
    /// Begins to watch a connection; one that drips for `patience` is given up.
    #[must_use]
    pub const fn new(now: Duration, patience: Duration) -> Self {
        Self { patience, since: now, bytes: 0, dripping: Duration::ZERO }
    }

    /// Takes in what came since the last look; says whether the connection is given up.
    pub fn observe(&mut self, now: Duration, bytes: u64, around: impl FnOnce() -> Around) -> Option<GivenUp> {
        self.bytes += bytes;
        let elapsed = now.saturating_sub(self.since);
        if elapsed < LOOK {
            return None;
        }
        let rate = as_f64(self.bytes) / elapsed.as_secs_f64();
        self.since = now;
        self.bytes = 0;
        self.dripping = if rate < FLOOR { self.dripping + elapsed } else { Duration::ZERO };
        if self.dripping >= self.patience {
            return Some(GivenUp::Drips);
        }
        let around = around();
        let left = as_f64(around.left);
        let holds_up = around.others_wait
            && around.typical > 0.0
            && left / rate > left / around.typical * FAR_SLOWER + WORTH_A_REQUEST;
        holds_up.then_some(GivenUp::HoldsUp)
    }
}

/// Counts are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "a rate does not need the last bit")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Around = Around { left: 1 << 24, typical: 1e6, others_wait: false };
    const TAIL: Around = Around { others_wait: true, ..BUSY };

    /// Watches a connection that brings `rate` bytes a second; returns what became of it, and when.
    fn watch(rate: u64, around: &Around) -> Option<(u64, GivenUp)> {
        let mut pulse = Pulse::new(Duration::ZERO, Duration::from_secs(30));
        (1..600).find_map(|tenths| {
            let now = Duration::from_millis(tenths * 100);
            pulse.observe(now, rate / 10, || *around).map(|given_up| (tenths / 10, given_up))
        })
    }

    #[test]
    fn a_drip_is_given_up_after_as_long_as_silence() {
        assert_eq!(watch(500, &BUSY), Some((30, GivenUp::Drips)));
        assert_eq!(watch(0, &BUSY), Some((30, GivenUp::Drips)));
        assert_eq!(watch(2000, &BUSY), None, "slow is not dripping");
    }

    #[test]
    fn at_the_end_nobody_waits_for_the_slowest() {
        assert_eq!(watch(100_000, &TAIL), Some((2, GivenUp::HoldsUp)));
        assert_eq!(watch(0, &TAIL), Some((2, GivenUp::HoldsUp)));
        assert_eq!(watch(100_000, &BUSY), None, "others have work");
        assert_eq!(watch(400_000, &TAIL), None, "not far slower");
        assert_eq!(watch(100_000, &Around { typical: 0.0, ..TAIL }), None, "nobody knows better");
        assert_eq!(watch(100_000, &Around { left: 100_000, ..TAIL }), None, "soon done anyway");
    }

    #[test]
    fn what_is_typical_follows_what_comes() {
        let mut typical = Typical::default();
        typical.learn(1000, Duration::from_secs(1), Duration::ZERO);
        assert_eq!(typical.rate(), 0.0, "too little to tell");
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
            assert_eq!(pulse.observe(Duration::from_secs(second), bytes, || BUSY), None, "{second}");
        }
    }
}
