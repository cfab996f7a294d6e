//! The round trip to the hosts: far or near, and whether requests wait for each other.

use std::time::Duration;

/// A host is far when a round trip to it takes longer than this.
const FAR: Duration = Duration::from_millis(5);

/// Round trips that the first response on a new connection takes: TCP, TLS, and the request itself.
const COLD_ROUND_TRIPS: u32 = 3;

/// The waits for heads have grown when they are this many times as long as the shortest was.
const GROWN: u32 = 2;

/// Growth below this is the host's own variance.
const LEAST_GROWTH: Duration = Duration::from_millis(20);

/// The round trip to the hosts, as the waits for response heads show it.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    least: Option<Duration>,
    /// The mean of waits on connections that existed already, and how many there were since the last refusal.
    mean: Option<Duration>,
    count: usize,
    /// A connection that existed already has shown it: no guess by a new one is needed.
    is_measured: bool,
    /// Since when the first request waits.
    waits_since: Option<Duration>,
    /// The first request has waited for longer than a near host takes.
    is_overdue: bool,
}

impl RoundTrip {
    pub(super) fn learn(&mut self, waited: Duration, cold: bool) {
        // What counts as new may be one that the HTTP library has kept open.
        if cold && self.is_measured {
            return;
        }
        self.is_measured |= !cold;
        let estimate = if cold { waited / COLD_ROUND_TRIPS } else { waited };
        self.least = Some(self.least.map_or(estimate, |least| least.min(estimate)));
        if !cold {
            self.count += 1;
            self.mean = Some(self.mean.map_or(waited, |mean| (mean * 15 + waited) / 16));
        }
    }

    /// Takes in that requests are open: before the first response, their wait alone shows that a host is far.
    pub(super) fn wait(&mut self, now: Duration) {
        let since = *self.waits_since.get_or_insert(now);
        self.is_overdue = now.saturating_sub(since) > FAR * COLD_ROUND_TRIPS;
    }

    /// Takes in that no request is open.
    pub(super) const fn stop_waiting(&mut self) {
        self.waits_since = None;
        self.is_overdue = false;
    }

    pub(super) fn is_far(&self) -> Option<bool> {
        self.least.map(|least| least > FAR).or_else(|| self.is_overdue.then_some(true))
    }

    /// Whether the requests of a whole round of connections waited for twice as long as the shortest.
    pub(super) fn has_grown(&self, connections: usize) -> bool {
        let (Some(least), Some(mean)) = (self.least, self.mean) else { return false };
        self.count >= connections && mean > (least * GROWN).max(least + LEAST_GROWTH)
    }

    pub(super) const fn start_over(&mut self) {
        self.mean = None;
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_first_response_takes_three_round_trips() {
        for (waited, cold, expected) in
            [(14, true, false), (16, true, true), (5, false, false), (6, false, true)]
        {
            let mut round_trip = RoundTrip::default();
            assert_eq!(round_trip.is_far(), None);
            round_trip.learn(millis(waited), cold);
            assert_eq!(round_trip.is_far(), Some(expected), "{waited} ms, {cold}");
        }
    }

    #[test]
    fn a_new_connection_counts_until_an_old_one_was_measured() {
        let mut round_trip = RoundTrip::default();
        round_trip.learn(millis(6), false);
        round_trip.learn(millis(6), true);
        assert_eq!(round_trip.is_far(), Some(true));
    }

    #[test]
    fn a_host_that_answers_late_is_far_until_its_answer_shows_otherwise() {
        let mut round_trip = RoundTrip::default();
        for (now, expected) in [(100, None), (115, None), (116, Some(true))] {
            round_trip.wait(millis(now));
            assert_eq!(round_trip.is_far(), expected, "{now} ms");
        }
        round_trip.stop_waiting();
        round_trip.wait(millis(900));
        assert_eq!(round_trip.is_far(), None, "another request");
        round_trip.wait(millis(990));
        assert_eq!(round_trip.is_far(), Some(true));
        round_trip.learn(millis(3), false);
        assert_eq!(round_trip.is_far(), Some(false));
    }

    #[test]
    fn waits_have_grown_when_a_whole_round_of_them_is_twice_as_long() {
        let grown = |least: u64, waits: u64, count: usize| {
            let mut round_trip = RoundTrip::default();
            round_trip.learn(millis(least), false);
            (0..count).for_each(|_| round_trip.learn(millis(waits), false));
            round_trip.has_grown(40)
        };
        assert!(grown(50, 130, 100) && !grown(50, 90, 100));
        assert!(!grown(50, 130, 30), "not a whole round yet");
        assert!(!grown(5, 20, 100), "fifteen milliseconds are the host's own");
        let mut round_trip = RoundTrip::default();
        (0..100).for_each(|_| round_trip.learn(millis(130), true));
        assert!(!round_trip.has_grown(40), "new connections say nothing of a queue");
        let mut round_trip = RoundTrip::default();
        round_trip.learn(millis(50), false);
        (0..100).for_each(|_| round_trip.learn(millis(130), false));
        round_trip.start_over();
        assert!(!round_trip.has_grown(40), "a new round is measured first");
    }
}
