//! How many connections: more while more deliver more, fewer when a host pushes back.
//!
//! A host that throttles each connection is worth many; a full link, a full disk or a busy processor is not. Which
//! it is cannot be seen from outside, so the count is raised, twofold or fourfold, and again only if that gained something.

use std::time::Duration;

/// A trial that gains less than this was not worth it: noise between two measurements is about as large.
const WORTH: f64 = 1.15;

/// How long a count that did not pay is not tried again, the first time: the first measurement may have seen the burst
/// that hosts let pass before they throttle, and a short download is over soon. Each further time is twice as long …
const FIRST_HOLD: Duration = Duration::from_millis(150);

/// … up to this: links change, but not from second to second.
const LONGEST_HOLD: Duration = Duration::from_secs(8);

/// A measurement needs this long: shorter ones see bursts, longer ones leave a throttled host idle.
const WINDOW: Duration = Duration::from_millis(150);

/// A trial that gains as much as this is believed sooner …
const CLEAR: f64 = 1.5;

/// … after this long: a throttled host is reached in half a second, and a doubtful gain is still measured in full.
const GLANCE: Duration = Duration::from_millis(50);

/// What is tried instead of a doubling where the round trip is short and the hash is not what takes the time: such a host
/// may throttle each connection, its downloads are short, and each trial costs a tenth of a second of them.
const LEAP: usize = 4;

/// The first measurement of all is this short: many downloads would be over before a longer one.
const FIRST_WINDOW: Duration = Duration::from_millis(75);

/// From this rate on, in bytes a second, hashing is what takes time: one processor hashes some 1.4 GB a second, and has
/// the network and the disk to serve besides.
const HASH_BOUND: f64 = 500e6;

/// Whether each connection should take a file of its own. Connections on one file deliver its bytes out of order, which are
/// then read back, and one after the other they pass one hash; a file each keeps every processor busy. On slower links
/// the oldest file is whole sooner when all fetch its pieces, and where a save would else be lost (`hurry`) it must be.
#[must_use]
pub(crate) fn deserve_one_each(bytes_a_second: f64, hurry: bool) -> bool {
    bytes_a_second > HASH_BOUND && !hurry
}

/// One kind of work's count of connections. Times are durations since any fixed moment.
#[derive(Debug, Clone)]
pub(crate) struct Tuner {
    level: usize,
    most: usize,
    /// What the level below delivered, while a higher one is on trial.
    on_trial: Option<(usize, f64)>,
    hold_until: Duration,
    hold: Duration,
    window: Option<(Duration, f64)>,
    is_new: bool,
}

/// What was seen since the last look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// What has been done since the beginning, in bytes or files.
    pub done: f64,
    /// Every connection that may work had work to do.
    pub saturated: bool,
    /// Most connections wait until this machine has written their bytes: more of them are not tried. A trial under way is judged by
    /// what it delivers.
    pub held_up: bool,
    /// A host answered 429 or 503 since the last look.
    pub pushed_back: bool,
    /// The round trip is known to be short, so a gain is not the slow start of a connection.
    pub is_near: bool,
}

impl Tuner {
    /// Begins with `first` connections; there are never more than `most`.
    #[must_use]
    pub(crate) fn new(first: usize, most: usize) -> Self {
        let most = most.max(1);
        Self {
            level: first.clamp(1, most),
            most,
            on_trial: None,
            hold_until: Duration::ZERO,
            hold: FIRST_HOLD,
            window: None,
            is_new: true,
        }
    }

    #[cfg(test)]
    const fn level(&self) -> usize {
        self.level
    }

    /// Raises the count without a trial, where something else than its own measurements shows that it will pay.
    pub(crate) fn raise_to(&mut self, level: usize) {
        if level > self.level {
            self.level = level.min(self.most);
            self.on_trial = None;
            self.window = None;
        }
    }

    /// Takes a look in; returns the count from now on.
    pub(crate) fn observe(&mut self, now: Duration, sample: &Sample) -> usize {
        if sample.pushed_back {
            self.level = (self.level / 2).max(1);
            self.settle(now);
            return self.level;
        }
        if !sample.saturated {
            // What idle connections deliver shows nothing of what busy ones would.
            self.window = None;
            return self.level;
        }
        let Some((since, done)) = self.window else {
            self.window = Some((now, sample.done));
            return self.level;
        };
        let elapsed = now.saturating_sub(since);
        let rate = (sample.done - done) / elapsed.as_secs_f64();
        let is_clear = self.on_trial.is_some_and(|(_, delivered)| rate >= delivered * CLEAR);
        let enough = match (is_clear, self.is_new) {
            (true, _) => GLANCE,
            (false, true) => FIRST_WINDOW,
            (false, false) => WINDOW,
        };
        // A rate of nothing is nothing to compare with.
        if elapsed < enough || rate <= 0.0 {
            return self.level;
        }
        self.is_new = false;
        self.window = Some((now, sample.done));
        match self.on_trial {
            Some((before, delivered)) if rate < delivered * WORTH => {
                self.level = before;
                self.settle(now);
            }
            _ if now >= self.hold_until && self.level < self.most && !sample.held_up => {
                let factor = if sample.is_near && rate < HASH_BOUND { LEAP } else { 2 };
                self.on_trial = Some((self.level, rate));
                self.level = (self.level * factor).min(self.most);
                // The first moments of new connections are slow and would count against them.
                self.window = None;
            }
            _ => self.on_trial = None,
        }
        self.level
    }

    fn settle(&mut self, now: Duration) {
        self.on_trial = None;
        self.window = None;
        self.hold_until = now + self.hold;
        self.hold = (self.hold * 2).min(LONGEST_HOLD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a tuner against a host that gives `rate(level)` a second; returns the levels seen.
    fn run(mut tuner: Tuner, rate: impl Fn(usize) -> f64, steps: u32) -> Vec<usize> {
        let (mut now, mut done) = (Duration::ZERO, 0.0);
        let mut levels = Vec::new();
        for _ in 0..steps {
            now += Duration::from_millis(50);
            done += rate(tuner.level()) / 20.0;
            levels.push(tuner.observe(
                now,
                &Sample { done, saturated: true, held_up: false, pushed_back: false, is_near: false },
            ));
        }
        levels
    }

    fn connections(level: usize) -> f64 {
        f64::from(u32::try_from(level).unwrap())
    }

    #[test]
    fn the_oldest_file_has_all_connections_unless_hashing_takes_the_time() {
        assert!(!deserve_one_each(0.0, false), "nothing is known yet");
        assert!(!deserve_one_each(125e6, false), "a gigabit");
        assert!(deserve_one_each(1e9, false));
        assert!(!deserve_one_each(1e9, true), "the trainer deletes it next");
    }

    #[test]
    fn a_throttled_host_gets_all_it_can_take() {
        let levels = run(Tuner::new(8, 64), |level| 20e6 * connections(level), 20);
        assert_eq!(levels.last(), Some(&64), "{levels:?}");
    }

    #[test]
    fn a_near_host_that_throttles_each_connection_is_reached_in_two_steps() {
        let (mut tuner, mut done, mut levels) = (Tuner::new(3, 48), 0.0, vec![3]);
        for look in 1..20 {
            done += 0.5e6 * connections(tuner.level());
            let sample = Sample { done, saturated: true, held_up: false, pushed_back: false, is_near: true };
            let level = tuner.observe(Duration::from_millis(look * 25), &sample);
            levels.push(level);
        }
        levels.dedup();
        assert_eq!(levels, [3, 12, 48]);
    }

    #[test]
    fn a_full_link_keeps_what_it_had() {
        let levels = run(Tuner::new(8, 64), |_| 1e9, 200);
        assert_eq!(levels.last(), Some(&8));
        assert!(levels.iter().all(|level| *level <= 16));
        assert!(levels.iter().filter(|level| **level > 8).count() < 40, "trials are rare: {levels:?}");
    }

    /// Connections of 10 MB a second each, and a disk that takes `disk`.
    fn onto_a_disk(disk: f64, held_up: fn(usize) -> bool) -> usize {
        let (mut tuner, mut done) = (Tuner::new(3, 48), 0.0);
        for look in 1..400 {
            let level = tuner.level();
            done += (10e6 * connections(level)).min(disk) / 40.0;
            let held_up = held_up(level);
            let sample = Sample { done, saturated: true, held_up, pushed_back: false, is_near: true };
            tuner.observe(Duration::from_millis(look * 25), &sample);
        }
        tuner.level()
    }

    #[test]
    fn where_the_machine_is_what_is_slow_no_more_connections_are_tried() {
        assert_eq!(onto_a_disk(20e6, |_| true), 3);
        assert_eq!(
            onto_a_disk(200e6, |level| level > 24),
            48,
            "the trial delivered more, though its connections wait"
        );
        assert_eq!(onto_a_disk(1e9, |_| false), 48);
    }

    #[test]
    fn a_host_that_pushes_back_gets_fewer() {
        let mut tuner = Tuner::new(8, 64);
        let pushed = Sample { done: 0.0, saturated: true, held_up: false, pushed_back: true, is_near: false };
        assert_eq!(tuner.observe(Duration::from_secs(1), &pushed), 4);
        for second in 2..10 {
            tuner.observe(Duration::from_secs(second), &pushed);
        }
        assert_eq!(tuner.level(), 1);
    }

    #[test]
    fn the_user_s_cap_is_a_cap() {
        let levels = run(Tuner::new(8, 3), |level| 20e6 * connections(level), 50);
        assert!(levels.iter().all(|level| *level == 3));
    }
}
