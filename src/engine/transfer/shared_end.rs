//! The end of a range under way: the one thing that a connection shares with the coordinator, which may lower it to give
//! the rest to another connection.
//!
//! The connection claims bytes before it writes them, and the coordinator lowers the end only where nothing beyond it is
//! claimed. Each stores its own value before it reads the other's, so at least one of them sees the other, and no byte
//! is written by two connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// The end of one range.
#[derive(Debug)]
pub(crate) struct SharedEnd {
    claimed: AtomicU64,
    end: AtomicU64,
    arrived: AtomicU64,
}

/// The end of a range that is no longer wanted.
const STOPPED: u64 = 0;

impl SharedEnd {
    /// A range of which nothing is claimed.
    pub(super) const fn new(start: u64, end: u64) -> Self {
        Self { claimed: AtomicU64::new(start), end: AtomicU64::new(end), arrived: AtomicU64::new(0) }
    }

    /// For the connection: claims up to `count` bytes at `offset`; returns how many of them may be written.
    pub(super) fn claim(&self, offset: u64, count: u64) -> u64 {
        let wanted = offset.saturating_add(count);
        self.claimed.store(wanted, Ordering::SeqCst);
        let end = self.end.load(Ordering::SeqCst);
        if wanted <= end {
            return count;
        }
        let granted = end.saturating_sub(offset);
        self.claimed.store(offset + granted, Ordering::SeqCst);
        granted
    }

    /// For the connection: returns how many bytes after `offset` are wanted.
    pub(super) fn wanted(&self, offset: u64) -> u64 {
        self.end.load(Ordering::SeqCst).saturating_sub(offset)
    }

    /// Whether the range is no longer wanted.
    pub(super) fn is_stopped(&self) -> bool {
        self.end.load(Ordering::SeqCst) == STOPPED
    }

    /// For the connection: counts bytes that arrived.
    pub(super) fn arrive(&self, count: u64) {
        self.arrived.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the bytes that arrived.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// For the coordinator, before the connection takes any byte: sets the end.
    pub(super) fn set(&self, end: u64) {
        self.end.store(end, Ordering::SeqCst);
    }

    /// For the coordinator: lowers the end to `at`, unless bytes beyond it are claimed. A connection that saw the lower
    /// end in between may stop there; what it leaves is free to be assigned again.
    pub(super) fn lower(&self, at: u64) -> bool {
        let before = self.end.swap(at, Ordering::SeqCst);
        if self.claimed.load(Ordering::SeqCst) <= at {
            return true;
        }
        self.end.store(before, Ordering::SeqCst);
        false
    }

    /// For the coordinator: nothing more of the range is wanted.
    pub(super) fn stop(&self) {
        self.end.store(STOPPED, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn the_end_is_lowered_only_before_it_is_reached() {
        let range = SharedEnd::new(10, 100);
        assert_eq!(range.claim(10, 20), 20);
        assert!(!range.lower(29) && range.lower(30));
        assert_eq!(range.claim(30, 5), 0);
        let range = SharedEnd::new(10, 100);
        assert_eq!(range.claim(10, 500), 90);
        range.stop();
        assert_eq!((range.claim(40, 5), range.wanted(40), range.is_stopped()), (0, 0, true));
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
                        match range.claim(position, 7) {
                            0 => return position,
                            granted => position += granted,
                        }
                    }
                }
            });
            let at = round % 1000;
            let lowered = range.lower(at);
            let reached = connection.join().unwrap();
            assert!(!lowered || reached <= at, "{reached} bytes, although those after {at} are another's");
            assert!(lowered || reached == 1000 || reached <= at, "{reached} of 1000, at {at}");
        }
    }
}
