//! How long ago a write was slow: all connections of a run write to the same disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::write_place::elsewhere_for;

/// Until when writes are done on a thread that may block.
#[derive(Debug)]
pub(super) struct SlowDisk {
    began: Instant,
    /// Microseconds after the beginning.
    until: AtomicU64,
}

impl SlowDisk {
    /// Begins with a disk that was not slow yet.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0) }
    }

    /// Whether a write was slow a short while ago.
    pub(super) fn is_slow(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && micros(self.began.elapsed()) < until
    }

    /// Takes in how long a write took that a connection did itself.
    pub(super) fn observe(&self, took: Duration) {
        if let Some(time) = elsewhere_for(took) {
            tracing::debug!(?took, ?time, "the disk is slow: other threads write");
            self.until.fetch_max(micros(self.began.elapsed().saturating_add(time)), Ordering::Relaxed);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_disk_is_slow_for_a_while_after_a_slow_write() {
        let disk = SlowDisk::new();
        disk.observe(Duration::from_millis(1));
        assert!(!disk.is_slow());
        disk.observe(Duration::from_millis(50));
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(disk.is_slow());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!disk.is_slow());
    }
}
