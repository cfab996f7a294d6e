//! What all connections of a run do, counted by themselves.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::connections::Traffic;
use crate::decide::transfer::write_place::elsewhere_for;

/// The counts, from the beginning of the run on. Times are in microseconds.
#[derive(Debug)]
pub(super) struct Meters {
    began: Instant,
    /// Bytes of bodies that arrived.
    received: AtomicU64,
    /// Connections that wait until another thread has written their last bytes.
    held_up: AtomicUsize,
    /// What writes took that connections did themselves, all their threads together.
    writing: AtomicU64,
    /// Until when writes are done on a thread that may block: after the beginning.
    elsewhere_until: AtomicU64,
    /// A save would be lost for want of speed: small files, which the trainer does not delete, wait.
    hurry: AtomicBool,
}

/// One connection that waits for this machine.
#[derive(Debug)]
pub(super) struct HeldUp<'c>(&'c AtomicUsize);

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meters {
    /// Begins with a disk that was not slow yet.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            received: AtomicU64::new(0),
            held_up: AtomicUsize::new(0),
            writing: AtomicU64::new(0),
            elsewhere_until: AtomicU64::new(0),
            hurry: AtomicBool::new(false),
        }
    }

    /// Returns all that decides how many connections there are.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            bytes: self.received(),
            held_up: self.held_up.load(Ordering::Relaxed),
            writing: Duration::from_micros(self.writing.load(Ordering::Relaxed)),
            hurry: self.hurry.load(Ordering::Relaxed),
        }
    }

    /// Returns the bytes that arrived.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Takes in bytes that arrived.
    pub(super) fn receive(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a connection that waits until another thread has written its last bytes, as long as the result is held.
    pub(super) fn hold_up(&self) -> HeldUp<'_> {
        self.held_up.fetch_add(1, Ordering::Relaxed);
        HeldUp(&self.held_up)
    }

    /// Takes in how long a write took that a connection did itself.
    pub(super) fn wrote(&self, took: Duration) {
        self.writing.fetch_add(micros(took), Ordering::Relaxed);
        if let Some(time) = elsewhere_for(took) {
            tracing::debug!(?took, ?time, "the disk is slow: other threads write");
            self.elsewhere_until
                .fetch_max(micros(self.began.elapsed().saturating_add(time)), Ordering::Relaxed);
        }
    }

    /// Whether a write was slow a short while ago.
    pub(super) fn is_disk_slow(&self) -> bool {
        let until = self.elsewhere_until.load(Ordering::Relaxed);
        until > 0 && micros(self.began.elapsed()) < until
    }

    /// Sets whether a save would be lost for want of speed.
    pub(super) fn set_hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_has_what_connections_counted() {
        let meters = Meters::new();
        meters.receive(7);
        meters.receive(5);
        meters.wrote(Duration::from_millis(2));
        meters.wrote(Duration::from_millis(3));
        let held_up = [meters.hold_up(), meters.hold_up()];
        meters.set_hurry(true);
        let Traffic { bytes, held_up: waiting, writing, hurry } = meters.traffic();
        assert_eq!((bytes, waiting, writing, hurry), (12, 2, Duration::from_millis(5), true));
        drop(held_up);
        assert_eq!(meters.traffic().held_up, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_is_slow_for_a_while_after_a_slow_write() {
        let meters = Meters::new();
        meters.wrote(Duration::from_millis(1));
        assert!(!meters.is_disk_slow());
        meters.wrote(Duration::from_millis(50));
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(meters.is_disk_slow());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!meters.is_disk_slow());
    }
}
