//! The end of a range under way: the one thing that a connection shares with the coordinator, which may lower it to give
//! the rest to another connection, and with a second connection that races it for the same bytes.
//!
//! A connection claims bytes before it writes them, and no byte can be claimed twice: a byte that was written again could
//! differ from the one that was hashed. The coordinator lowers the end only where nothing beyond it is claimed. Each
//! stores its own value before it reads the other's, so at least one of them sees the other.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

/// The end of one range.
#[derive(Debug)]
pub(crate) struct SharedEnd {
    front: Arc<Front>,
    end: AtomicU64,
    arrived: AtomicU64,
    is_sent: AtomicBool,
    stop: CancellationToken,
}

/// How far a range is claimed and received: by one connection, or by two that race for it.
#[derive(Debug)]
struct Front {
    claimed: AtomicU64,
    received: AtomicU64,
}

impl SharedEnd {
    /// A range of which nothing is claimed.
    pub(super) fn new(start: u64, end: u64) -> Self {
        let front = Arc::new(Front { claimed: AtomicU64::new(start), received: AtomicU64::new(start) });
        Self::at(front, end)
    }

    /// What is left of the same range, for a connection that races this one.
    pub(super) fn beside(&self, end: u64) -> Self {
        Self::at(self.front.clone(), end)
    }

    fn at(front: Arc<Front>, end: u64) -> Self {
        Self {
            front,
            end: AtomicU64::new(end),
            arrived: AtomicU64::new(0),
            is_sent: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// For the connection: claims bytes of the `count` at `offset`; returns which of them may be written. What is before
    /// them is another connection's, and so is what is behind.
    pub(super) fn claim(&self, offset: u64, count: u64) -> Range<u64> {
        let wanted = offset.saturating_add(count);
        let claimed = &self.front.claimed;
        let mut before = claimed.load(Ordering::SeqCst);
        loop {
            let from = before.max(offset);
            if from >= wanted {
                return wanted..wanted;
            }
            match claimed.compare_exchange(before, wanted, Ordering::SeqCst, Ordering::SeqCst) {
                Err(now) => before = now,
                Ok(_) => {
                    let end = if self.is_stopped() { 0 } else { self.end.load(Ordering::SeqCst) };
                    let upto = wanted.min(end).max(from);
                    if upto < wanted {
                        // Where the other has claimed more since, these bytes are a gap, and are requested again.
                        let _ = claimed.compare_exchange(wanted, upto, Ordering::SeqCst, Ordering::SeqCst);
                    }
                    return from..upto;
                }
            }
        }
    }

    /// For the connection: returns how many bytes after `offset` are wanted.
    pub(super) fn wanted(&self, offset: u64) -> u64 {
        if self.is_stopped() { 0 } else { self.end.load(Ordering::SeqCst).saturating_sub(offset) }
    }

    /// Whether the range is no longer wanted.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the range is no longer wanted.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// For the connection: its request is on its way.
    pub(super) fn set_sent(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }

    /// Whether its request is on its way, and waits neither for its host nor for other jobs.
    pub(super) fn is_sent(&self) -> bool {
        self.is_sent.load(Ordering::Relaxed)
    }

    /// For the connection: counts bytes that arrived at `offset`; returns how many of them no connection received before.
    pub(super) fn arrive(&self, offset: u64, count: u64) -> u64 {
        self.arrived.fetch_add(count, Ordering::Relaxed);
        let upto = offset.saturating_add(count);
        let before = self.front.received.fetch_max(upto, Ordering::Relaxed);
        upto.saturating_sub(before.max(offset))
    }

    /// Returns the bytes that arrived.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Returns the present end.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    /// For the coordinator, before the connection takes any byte: sets the end.
    pub(super) fn set(&self, end: u64) {
        self.end.store(end, Ordering::SeqCst);
    }

    /// For the coordinator: lowers the end to `at`, unless bytes beyond it are claimed. A connection that saw the lower
    /// end in between may stop there; what it leaves is free to be assigned again.
    pub(super) fn lower(&self, at: u64) -> bool {
        let before = self.end.swap(at, Ordering::SeqCst);
        if self.front.claimed.load(Ordering::SeqCst) <= at {
            return true;
        }
        self.end.store(before, Ordering::SeqCst);
        false
    }

    /// For the coordinator: nothing more of the range is wanted. What is claimed is still written.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_end_is_lowered_only_before_it_is_reached() {
        let range = SharedEnd::new(10, 100);
        assert_eq!(range.claim(10, 20), 10..30);
        assert!(!range.lower(29) && range.lower(30));
        assert!(range.claim(30, 5).is_empty());
        let range = SharedEnd::new(10, 100);
        assert_eq!(range.claim(10, 500), 10..100);
        range.stop();
        assert!(range.claim(100, 5).is_empty());
        assert_eq!((range.wanted(40), range.is_stopped()), (0, true));
        range.set(200);
        assert_eq!(range.wanted(40), 0, "once stopped, it stays stopped");
    }

    /// A connection and the coordinator at once: every byte is written by one of both connections at the most.
    #[test]
    fn no_byte_is_claimed_twice() {
        for round in 0..2000_u64 {
            let range = Arc::new(SharedEnd::new(0, 1000));
            let connection = thread::spawn({
                let range = range.clone();
                move || {
                    let mut position = 0;
                    loop {
                        let granted = range.claim(position, 7);
                        if granted.is_empty() {
                            return position;
                        }
                        position = granted.end;
                    }
                }
            });
            let at = round % 1000;
            let lowered = range.lower(at);
            let reached = connection.join().unwrap();
            assert!(!lowered || reached <= at, "{reached} bytes, although those after {at} are another's");
            // It may have seen the lower end in between, and stopped there: what it left is free.
            assert!(lowered || range.claim(reached, 1000 - reached) == (reached..1000), "{reached}, at {at}");
        }
    }

    #[test]
    fn the_first_of_two_that_race_claims_and_counts() {
        let slow = SharedEnd::new(0, 100);
        assert_eq!((slow.claim(0, 20), slow.arrive(0, 30)), (0..20, 30));
        let fast = slow.beside(100);
        assert_eq!(fast.claim(10, 5), 15..15, "the other has it");
        assert_eq!(fast.claim(15, 45), 20..60);
        assert_eq!((fast.arrive(10, 50), fast.arrived()), (30, 50), "20 of them had arrived before");
        assert_eq!((slow.claim(20, 30), slow.claim(50, 20)), (50..50, 60..70));
        fast.stop();
        assert!(!slow.is_stopped());
        assert_eq!(slow.claim(70, 100), 70..100);
    }

    /// Two connections race while each is stopped at some moment: no byte is claimed by both, and what one of them claims
    /// is without a gap where neither is stopped.
    #[test]
    fn no_byte_is_claimed_by_both_that_race() {
        for round in 0..2000_u64 {
            let one = SharedEnd::new(0, 1000);
            let other = one.beside(1000);
            let run = |range: &SharedEnd, step: u64| {
                let (mut position, mut granted) = (0, Vec::new());
                while range.wanted(position) > 0 {
                    let claimed = range.claim(position, step);
                    position += step;
                    if !claimed.is_empty() {
                        granted.push(claimed);
                    }
                }
                granted
            };
            let stops = round % 3 != 0;
            let mut all = thread::scope(|scope| {
                let first = scope.spawn(|| run(&one, 7));
                let second = scope.spawn(|| run(&other, 1 + round % 11));
                if stops {
                    for _ in 0..round % 64 {
                        std::hint::spin_loop();
                    }
                    one.stop();
                }
                let mut all = first.join().unwrap();
                all.extend(second.join().unwrap());
                all
            });
            all.sort_by_key(|range| range.start);
            let disjoint = all.windows(2).all(|pair| pair[0].end <= pair[1].start);
            assert!(disjoint, "{all:?}");
            if !stops {
                assert_eq!(all.iter().map(|range| range.end - range.start).sum::<u64>(), 1000);
            }
        }
    }
}
