//! How many connections: by the round trip to the host, by what more of them deliver, and by what the host refuses.
//!
//! A small file on a far host costs a round trip and little else, so connections are worth as many files as fit into a
//! round trip: they are opened in one step as soon as the first responses show how long it takes, or as soon as the first
//! request has waited for longer than it does at a near host. From then on their count only goes down: when the host refuses,
//! or lets every request wait. Large files are worth more connections while more of them deliver more; on a link that is
//! faster than the processors hash, more than the processors cost time.

mod busy_machine;
mod fast_link;
mod round_trip;

use std::time::Duration;

use crate::decide::transfer::concurrency::{Sample, Tuner, deserve_one_each};
use crate::model::units::as_f64;

use busy_machine::{Machine, Waits};
use fast_link::Link;
use round_trip::RoundTrip;

/// Connections where the user does not set a count: enough to fill most links, few enough for any host.
const FIRST: usize = 8;

/// One connection in this many is for small files at the beginning.
const SMALL_SHARE: usize = 4;

/// More connections than this for large files were not worth it on any measured host.
const MOST_LARGE: usize = 48;

/// More connections than this overflow queues on the way (measured: 128 were slower than 96).
pub(crate) const MOST: usize = 96;

/// On a near host more connections than this for small files cost more than they gain.
const MOST_SMALL_NEAR: usize = 8;

/// On a far host there is a connection for this many waiting small files.
const FILES_EACH: usize = 8;

/// Before the round trip is known, there is a connection for this many.
const FILES_EACH_AT_FIRST: usize = 4;

/// While both kinds wait, small files get one connection for this many of large files. They cost a round trip each
/// whatever the order, and those that are left fill the connections that the last large ranges leave idle.
const LARGE_TO_ONE_SMALL: usize = 3;

/// Fewer connections than this are not the reason when waits for heads grow.
const CROWD: usize = 32;

/// What connections that were opened together report together is one refusal.
const ONE_REFUSAL: Duration = Duration::from_millis(500);

/// Connections that break in the middle of responses within [`ONE_REFUSAL`] are a refusal when they are this share of those
/// in use: fewer break on any long link.
const SHARE_OF_BREAKS: usize = 8;

/// After this long without a refusal, twice as many connections may be tried again.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Where a rate limit is set, one connection shares it for each so many bytes a second: shared by more, a slow rate
/// delivers the oldest checkpoint as late as the newest.
const RATE_OF_ONE: u64 = 8 << 20;

/// How many connections may work on each kind of file while both kinds wait; what one kind leaves, the other takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    /// For samples: many small responses, each of which costs a round trip.
    pub small: usize,
    /// For checkpoints and the configuration.
    pub large: usize,
}

impl Shares {
    /// Returns the connections of both kinds.
    #[must_use]
    pub(crate) const fn all(self) -> usize {
        self.small + self.large
    }
}

/// How many connections are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// On small files.
    pub small: usize,
    /// On large files.
    pub large: usize,
}

impl Load {
    /// Returns the connections of both kinds.
    #[must_use]
    pub(crate) const fn all(self) -> usize {
        self.small + self.large
    }
}

/// What bounds the count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The user's count.
    pub cap: Option<usize>,
    /// What the process's file handles allow.
    pub bearable: usize,
    /// The user's rate limit in bytes a second.
    pub rate: Option<u64>,
    /// Processors of this machine.
    pub processors: usize,
    /// Other jobs share the connections, and a pool bounds them: a job that asks for fewer than it could use loses its place
    /// in it.
    pub is_pooled: bool,
}

/// What connections did since the beginning, and what holds them up now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Connections that wait until another thread has written their last bytes.
    pub held_up: usize,
    /// How long connections have written and hashed themselves, all their threads together.
    pub writing: Duration,
    /// A save would be lost for want of speed.
    pub hurry: bool,
}

/// What was seen since the beginning, or is waiting now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub traffic: Traffic,
    /// Connections in use.
    pub load: Load,
    /// Those of them whose requests wait for a host or are answered.
    pub requests: usize,
    /// A connection found nothing to do since the last look.
    pub starved: bool,
    /// Small files that wait for a connection.
    pub small_waiting: usize,
    /// Large files, or ranges of them, wait or are under way.
    pub large_is_left: bool,
    /// What one connection delivers, in bytes a second; 0 where unknown.
    pub typical_rate: f64,
}

/// Counts connections. Times are durations since any fixed moment.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    processors: usize,
    is_pooled: bool,
    /// A rate limit decides the count instead of the round trip.
    is_rate_limited: bool,
    /// Bytes that come twice take from a rate limit.
    counts_bytes: bool,
    small: usize,
    small_ceiling: usize,
    large: Tuner,
    round_trip: RoundTrip,
    link: Link,
    machine: Machine,
    pushed_back: bool,
    refused_at: Option<Duration>,
    /// Since when connections are counted that break, and how many there were.
    breaks: (Duration, usize),
    one_each: bool,
    shares: Shares,
}

impl Connections {
    /// Begins: with the user's count, or with one that suits any host until the first responses arrive.
    #[must_use]
    pub(crate) fn new(limits: &Limits) -> Self {
        let most = limits.cap.unwrap_or(MOST).min(limits.bearable).max(1);
        let floor = most.min(FIRST) / SMALL_SHARE;
        let few = if limits.is_pooled { FIRST } else { limits.processors + 1 };
        let first_large = few.clamp(2, FIRST - floor).min(most - floor).max(1);
        let (most, small, large, most_large, is_rate_limited) = match (limits.cap, limits.rate) {
            (None, Some(rate)) => {
                let large = usize::try_from(rate / RATE_OF_ONE).unwrap_or(MOST_LARGE);
                let large = large.clamp(1, most.saturating_sub(1).max(1)).min(MOST_LARGE);
                ((large + 1).min(most.max(2)), 1, large.min(FIRST - 1), large, true)
            }
            _ => (most, floor, first_large, MOST_LARGE.min(most - floor).max(1), false),
        };
        Self {
            most,
            processors: limits.processors,
            is_pooled: limits.is_pooled,
            is_rate_limited,
            counts_bytes: limits.rate.is_some(),
            small,
            small_ceiling: MOST,
            large: Tuner::new(large, most_large),
            round_trip: RoundTrip::default(),
            link: Link::default(),
            machine: Machine::default(),
            pushed_back: false,
            refused_at: None,
            breaks: (Duration::ZERO, 0),
            one_each: false,
            shares: Shares { small, large },
        }
    }

    /// Returns the present shares.
    #[must_use]
    pub(crate) const fn shares(&self) -> Shares {
        self.shares
    }

    /// Whether each connection takes a file of its own, as far as there are any, instead of all the oldest.
    #[must_use]
    pub(crate) const fn one_each(&self) -> bool {
        self.one_each
    }

    /// Whether the round trip to the hosts is known to be short.
    #[must_use]
    pub(crate) fn is_near(&self) -> bool {
        self.round_trip.is_far() == Some(false)
    }

    /// Whether so many connections are open that a host may refuse the crowd.
    #[must_use]
    pub(crate) const fn is_crowded(&self) -> bool {
        self.shares.all() > FIRST
    }

    /// Whether requests beyond the least number are welcome: no host refused any for a while, and no rate limit counts
    /// bytes that come twice.
    #[must_use]
    pub(crate) const fn are_more_welcome(&self) -> bool {
        self.refused_at.is_none() && !self.counts_bytes
    }

    /// Takes in how long a request waited for its response's head. `cold`: on a new connection.
    pub(crate) fn head(&mut self, waited: Duration, cold: bool) {
        self.round_trip.learn(waited, cold);
        self.suit_far_host();
    }

    /// Raises the count for large files on a far host, unless it has refused connections.
    fn suit_far_host(&mut self) {
        let is_far = self.round_trip.is_far() == Some(true);
        if is_far && !self.is_rate_limited && self.refused_at.is_none() {
            self.large.raise_to(FIRST - FIRST / SMALL_SHARE);
        }
    }

    /// A host answered 429 or 503, or refused one connection of many. At once there are half as many; a connection that is
    /// refused after that, by what was requested before, is not replaced.
    pub(crate) fn push_back(&mut self, now: Duration, load: Load) {
        let is_new = self.refused_at.is_none_or(|at| now.saturating_sub(at) >= ONE_REFUSAL);
        if is_new {
            self.refused_at = Some(now);
            self.pushed_back = true;
            self.halve();
        } else {
            self.small_ceiling = self.small_ceiling.min(load.small.max(FIRST));
        }
        self.small = self.small.min(self.small_ceiling);
        self.shares.small = self.shares.small.min(self.small_ceiling);
    }

    /// A connection broke in the middle of a response. One does so on any long link; several at once are a host that resets
    /// connections under load.
    pub(crate) fn note_break(&mut self, now: Duration, load: Load) {
        let (since, count) = self.breaks;
        self.breaks = if now.saturating_sub(since) < ONE_REFUSAL { (since, count + 1) } else { (now, 1) };
        let (_, count) = self.breaks;
        if count > 1 && count * SHARE_OF_BREAKS >= load.all() {
            self.breaks = (now, 0);
            self.push_back(now, load);
        }
    }

    fn halve(&mut self) {
        self.small_ceiling = (self.small / 2).max(1);
        self.small = self.small.min(self.small_ceiling);
        self.round_trip.start_over();
    }

    /// Looks at what is done and what waits; returns the shares from now on.
    pub(crate) fn observe(&mut self, now: Duration, seen: &Seen) -> Shares {
        let refused = std::mem::take(&mut self.pushed_back);
        // In a fleet requests also wait for the pool.
        if seen.requests == 0 || self.is_pooled {
            self.round_trip.stop_waiting();
        } else {
            self.round_trip.wait(now);
            self.suit_far_host();
        }
        if self.small > CROWD && self.round_trip.has_grown(self.small) {
            self.halve();
        }
        let forgiven = self.refused_at.is_some_and(|at| now.saturating_sub(at) >= FORGIVEN);
        if forgiven && self.small_ceiling < MOST {
            self.small_ceiling = (self.small_ceiling * 2).min(MOST);
            self.refused_at = (self.small_ceiling < MOST).then_some(now);
        }
        let Traffic { bytes, held_up, writing, hurry } = seen.traffic;
        self.link.observe(now, bytes);
        let threads = self.processors;
        self.machine.observe(now, &Waits { held_up, connections: seen.load.all(), writing, threads });
        let is_saturated = !seen.starved;
        let sample = Sample {
            done: as_f64(bytes),
            saturated: is_saturated && seen.load.large > 0,
            held_up: self.machine.is_slower(),
            pushed_back: refused,
            is_near: self.is_near(),
        };
        let large = self.large.observe(now, &sample);
        let small = self.small_level(seen.small_waiting);
        let hurry = hurry && seen.load.large > 0;
        self.one_each = deserve_one_each(seen.typical_rate * as_f64(seen.load.large as u64), hurry);
        let (large, is_capped) = self.large_level(now, large, seen, hurry);
        // Elsewhere what small files leave is lent to large ones; here that costs more than it delivers.
        let small = if is_capped { small.min(seen.small_waiting + seen.load.small) } else { small };
        self.shares = self.share(small, large, seen.large_is_left, hurry);
        self.shares
    }

    fn small_level(&mut self, waiting: usize) -> usize {
        if self.is_rate_limited {
            return self.small;
        }
        let wanted = match self.round_trip.is_far() {
            None => (waiting / FILES_EACH_AT_FIRST).min(FIRST),
            Some(false) => {
                self.small = self.small.min(MOST_SMALL_NEAR);
                (waiting / FILES_EACH_AT_FIRST).min(MOST_SMALL_NEAR)
            }
            Some(true) => (waiting / FILES_EACH).min(MOST),
        };
        self.small = self.small.max(wanted).min(self.small_ceiling);
        self.small
    }

    /// Returns the connections for large files, and whether the link is so fast that more of them would cost time.
    fn large_level(&mut self, now: Duration, level: usize, seen: &Seen, hurry: bool) -> (usize, bool) {
        let is_near = self.round_trip.is_far() == Some(false);
        if hurry || !is_near {
            self.link.release();
            return (level, false);
        }
        // A rate that takes many connections is no proof of a fast link.
        let is_fast = self.one_each && !self.is_pooled && seen.load.large <= (self.processors + 1) * 2;
        // Nor is a rate that this machine holds down a reason to release the cap.
        let is_busy = seen.load.large > 0 && !self.machine.is_slower();
        let is_capped = self.link.is_capped(now, is_fast, is_busy);
        (if is_capped { level.min(self.processors + 1) } else { level }, is_capped)
    }

    /// Shares out between both kinds.
    fn share(&self, small: usize, large: usize, large_is_left: bool, hurry: bool) -> Shares {
        // With three connections or fewer, small files have none of their own.
        let floor = self.most.min(FIRST) / SMALL_SHARE;
        if !large_is_left {
            let small = if self.is_rate_limited { self.most } else { small.max(floor).max(1) };
            return Shares { small: small.min(self.most), large: 0 };
        }
        if hurry {
            return Shares { small: 0, large: large.min(self.most).max(1) };
        }
        let large = large.min(self.most - floor).max(1);
        let small = small.min((large / LARGE_TO_ONE_SMALL).max(floor)).min(self.most - large);
        Shares { small, large }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { cap: None, bearable: 500, rate: None, processors: 2, is_pooled: false };

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn busy(small: usize) -> Load {
        Load { small, large: 0 }
    }

    fn small(waiting: usize) -> Seen {
        Seen { small_waiting: waiting, ..Seen::default() }
    }

    fn arrived(bytes: u64) -> Traffic {
        Traffic { bytes, ..Traffic::default() }
    }

    #[test]
    fn the_user_s_count_and_the_handles_are_never_exceeded() {
        for (cap, bearable, most) in
            [(Some(1), 500, 1), (Some(3), 500, 3), (Some(200), 20, 20), (None, 7, 7), (None, 500, MOST)]
        {
            let mut connections = Connections::new(&Limits { cap, bearable, ..LIMITS });
            assert!(connections.shares().all() <= most, "{cap:?}");
            connections.head(millis(150), true);
            for large_is_left in [false, true] {
                for step in 1..400 {
                    let seen = Seen { large_is_left, traffic: arrived((step * step) << 20), ..small(10_000) };
                    let shares = connections.observe(millis(step * 25), &seen);
                    assert!((1..=most).contains(&shares.all()), "{shares:?} of {most}");
                    assert!(!large_is_left || shares.large > 0);
                }
            }
        }
    }

    #[test]
    fn a_slow_rate_goes_to_one_checkpoint_at_a_time() {
        let mib = |rate: u64| Connections::new(&Limits { rate: Some(rate << 20), ..LIMITS }).shares();
        assert_eq!(mib(1), Shares { small: 1, large: 1 });
        assert_eq!(mib(24), Shares { small: 1, large: 3 });
        assert_eq!(mib(240), Shares { small: 1, large: 7 });
        let limited = |cap| Connections::new(&Limits { cap, rate: Some(1 << 20), ..LIMITS }).shares();
        assert_eq!(limited(Some(8)), Connections::new(&Limits { cap: Some(8), ..LIMITS }).shares());
        let mut connections = Connections::new(&Limits { rate: Some(1 << 20), ..LIMITS });
        connections.head(millis(300), true);
        assert_eq!(connections.observe(millis(25), &small(1000)).all(), 2, "whatever the round trip");
    }

    #[test]
    fn a_far_host_gets_all_its_connections_in_one_step() {
        let mut connections = Connections::new(&LIMITS);
        assert_eq!(connections.observe(millis(25), &small(1000)).small, 8, "nothing is known yet");
        connections.head(millis(150), true);
        assert_eq!(connections.observe(millis(175), &small(900)).small, 96);
        let mut few = Connections::new(&LIMITS);
        few.head(millis(150), true);
        assert_eq!(few.observe(millis(25), &small(100)).small, 12, "one for eight files that wait");
    }

    #[test]
    fn a_far_host_gets_them_before_its_first_answer() {
        let mut connections = Connections::new(&LIMITS);
        let seen = Seen { load: busy(8), requests: 8, ..small(1000) };
        let looking = Seen { requests: 0, ..seen };
        for tick in 1..100 {
            assert_eq!(connections.observe(millis(tick), &looking).small, 8, "what is here is looked at");
        }
        assert_eq!(connections.observe(millis(25), &seen).small, 8);
        assert_eq!(connections.observe(millis(50), &seen).small, 96, "no near host takes 25 ms");
        connections.head(millis(60), false);
        assert_eq!(connections.observe(millis(75), &seen).small, 96);
        connections.head(millis(2), false);
        assert_eq!(connections.observe(millis(100), &seen).small, 8, "it was only slow to begin");
    }

    #[test]
    fn a_far_host_that_refuses_large_files_keeps_fewer() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(150), true);
        let load = Load { small: 0, large: 6 };
        let seen = Seen { load, requests: 6, large_is_left: true, ..Seen::default() };
        assert_eq!(connections.observe(millis(25), &seen).large, 6);
        connections.push_back(millis(50), load);
        for tick in 2..20 {
            assert_eq!(connections.observe(millis(tick * 25), &seen).large, 3, "tick {tick}");
        }
    }

    #[test]
    fn a_near_host_keeps_few() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(3), true);
        for step in 1..100 {
            let seen = Seen { load: Load { small: 8, large: 0 }, ..small(4000) };
            assert!(connections.observe(millis(step * 25), &seen).small <= MOST_SMALL_NEAR);
        }
        let mut slow_start = Connections::new(&LIMITS);
        slow_start.head(millis(60), true);
        slow_start.observe(millis(60), &small(4000));
        slow_start.head(millis(1), false);
        assert_eq!(
            slow_start.observe(millis(85), &small(4000)).small,
            8,
            "the first response was an exception"
        );
    }

    #[test]
    fn a_refusal_halves_once_and_only_a_long_peace_doubles() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(150), true);
        assert_eq!(connections.observe(millis(25), &small(1000)).small, 96);
        for tick in 2..12 {
            connections.push_back(millis(tick * 25), busy(48));
            assert_eq!(connections.observe(millis(tick * 25), &small(1000)).small, 48, "tick {tick}");
        }
        connections.push_back(millis(600), busy(48));
        assert_eq!(connections.shares().small, 24, "at once");
        assert_eq!(connections.observe(millis(600), &small(1000)).small, 24);
        assert_eq!(connections.observe(millis(30_000), &small(1000)).small, 24);
        assert_eq!(connections.observe(millis(61_000), &small(1000)).small, 48);
        for tick in 0..40 {
            let now = millis(70_000 + tick * 600);
            connections.push_back(now, busy(2));
            connections.observe(now, &small(1000));
        }
        assert_eq!(connections.shares().small, 2, "what is left for samples where none are large");
    }

    #[test]
    fn connections_that_break_together_are_a_refusal() {
        let level = |breaks: &[u64]| {
            let mut connections = Connections::new(&LIMITS);
            connections.head(millis(150), true);
            connections.observe(millis(25), &small(1000));
            for at in breaks {
                connections.note_break(millis(*at), busy(32));
            }
            connections.observe(millis(9000), &small(1000)).small
        };
        assert_eq!(level(&[100, 200, 300]), 96, "three of 32");
        assert_eq!(level(&[100, 200, 300, 400]), 48);
        assert_eq!(level(&[100, 110, 120, 130, 140, 150]), 48, "one refusal, however many");
        assert_eq!(level(&[100, 1100, 2100, 3100, 4100, 5100, 6100]), 96, "one a second");
        assert_eq!(level(&[100, 110, 120, 130, 1100, 1110, 1120, 1130]), 24, "and again");
    }

    /// All of a crowd are refused but those that the host serves: none of them is replaced.
    #[test]
    fn what_is_refused_of_a_crowd_is_not_replaced() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(150), true);
        connections.observe(millis(25), &small(1000));
        for load in (16..96).rev() {
            connections.push_back(millis(30), busy(load));
        }
        assert_eq!(connections.shares().small, 16);
        for load in (0..16).rev() {
            connections.push_back(millis(31), busy(load));
        }
        assert_eq!(
            connections.shares().small,
            FIRST,
            "that many suit any host, until it refuses again later"
        );
    }

    #[test]
    fn a_queue_that_overflows_halves() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(150), true);
        connections.observe(millis(25), &small(2000));
        for _ in 0..100 {
            connections.head(millis(90), false);
        }
        assert_eq!(connections.observe(millis(500), &small(2000)).small, 96, "not twice the 50 ms");
        for _ in 0..100 {
            connections.head(millis(130), false);
        }
        assert_eq!(connections.observe(millis(525), &small(2000)).small, 48);
        assert_eq!(connections.observe(millis(550), &small(2000)).small, 48, "a new round is measured first");
    }

    #[test]
    fn small_files_leave_most_connections_to_large_ones_and_take_what_those_leave() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(150), true);
        let both = Seen { large_is_left: true, ..small(1000) };
        assert_eq!(connections.observe(millis(25), &both), Shares { small: 2, large: 6 });
        assert_eq!(connections.observe(millis(50), &small(1000)).small, 96);
        let hurry = Seen {
            traffic: Traffic { hurry: true, ..Traffic::default() },
            load: Load { small: 0, large: 1 },
            ..both
        };
        assert_eq!(connections.observe(millis(75), &hurry).small, 0);
    }

    /// Plays a near link that delivers `rate(connections)` bytes a second; returns the counts for large files.
    fn fast(rate: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut connections = Connections::new(&Limits { processors: 4, ..LIMITS });
        connections.head(millis(2), true);
        let (mut bytes, mut counts) = (0.0, Vec::new());
        for step in 1..200 {
            let large = connections.shares().large;
            bytes += rate(large) / 40.0;
            let typical_rate = rate(large) / f64::from(u32::try_from(large).unwrap());
            let load = Load { small: 0, large };
            // Casts saturate.
            let seen = Seen {
                traffic: arrived(bytes as u64),
                load,
                large_is_left: true,
                typical_rate,
                ..Seen::default()
            };
            counts.push(connections.observe(millis(step * 25), &seen).large);
        }
        counts
    }

    #[test]
    fn a_link_that_is_faster_than_hashing_gets_one_connection_more_than_processors() {
        let counts = fast(|_| 1e9);
        assert!(counts.iter().all(|count| *count <= 5), "{counts:?}");
    }

    #[test]
    fn a_fast_link_lends_no_connection_of_small_files_to_large_ones() {
        let mut connections = Connections::new(&LIMITS);
        connections.head(millis(2), true);
        let mut bytes = 0;
        let mut look = |step: u64, small_waiting: usize, load: Load| {
            bytes += 25_000_000;
            let seen = Seen {
                traffic: arrived(bytes),
                load,
                small_waiting,
                large_is_left: true,
                typical_rate: 5e8,
                ..Seen::default()
            };
            connections.observe(millis(step * 25), &seen)
        };
        let large = Load { small: 0, large: 3 };
        for step in 1..20 {
            look(step, 0, large);
        }
        assert_eq!(look(20, 0, large), Shares { small: 0, large: 3 });
        assert_eq!(look(21, 40, large), Shares { small: 2, large: 3 }, "small files wait");
        assert_eq!(
            look(22, 0, Load { small: 1, large: 3 }),
            Shares { small: 1, large: 3 },
            "one is under way"
        );
    }

    #[test]
    fn a_host_that_throttles_each_connection_is_not_taken_for_a_fast_link() {
        let counts = fast(|count| 20e6 * f64::from(u32::try_from(count).unwrap()));
        assert_eq!(counts.last(), Some(&MOST_LARGE), "{counts:?}");
        // Fast only by many connections: no cap holds it up.
        let mut connections = Connections::new(&Limits { processors: 2, ..LIMITS });
        connections.head(millis(2), true);
        let (mut bytes, mut low, mut after) = (0.0, false, 0);
        for step in 1..200 {
            let large = connections.shares().large;
            bytes += 100e6 / 40.0 * f64::from(u32::try_from(large).unwrap());
            let load = Load { small: 0, large };
            let seen = Seen {
                traffic: arrived(bytes as u64),
                load,
                large_is_left: true,
                typical_rate: 100e6,
                ..Seen::default()
            };
            connections.observe(millis(step * 25), &seen);
            low |= large >= 6 && connections.shares().large == 3;
            after = connections.shares().large;
        }
        assert!(!low, "capped though each connection is slow");
        assert_eq!(after, MOST_LARGE);
    }

    /// A near host, and a rate that swings as that of a disk does.
    #[test]
    fn a_slow_disk_gets_no_more_connections() {
        let most = |held_up: fn(usize) -> usize, writing_each: u64| {
            let mut connections = Connections::new(&LIMITS);
            connections.head(millis(2), true);
            let (mut bytes, mut most, mut writing) = (0, 0, Duration::ZERO);
            for step in 1..400 {
                let large = connections.shares().large;
                most = most.max(large);
                bytes += if step % 7 < 3 { 4_000_000 } else { 11_000_000 };
                writing += millis(writing_each);
                let seen = Seen {
                    traffic: Traffic { bytes, held_up: held_up(large), writing, ..Traffic::default() },
                    load: Load { small: 0, large },
                    large_is_left: true,
                    typical_rate: 1e8,
                    ..Seen::default()
                };
                connections.observe(millis(step * 25), &seen);
            }
            most
        };
        assert_eq!(most(|large| large - 1, 0), 3, "other threads write");
        assert_eq!(most(|_| 0, 40), 3, "connections write for 40 ms of the 50 that two threads have");
        assert!(most(|_| 0, 10) > 3, "the same rates from a host");
    }
}
