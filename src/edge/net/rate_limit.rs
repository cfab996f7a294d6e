//! The rate limit: one bucket over all connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::units::ByteCount;

/// Spaces bytes out over time: a taker waits until the rate allows them.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes_a_second: u64,
    paid_until: Mutex<Instant>,
}

/// Bytes may come this much early, so that waiting is rare and the rate still smooth.
const BURST: Duration = Duration::from_millis(100);

impl Limiter {
    pub(crate) fn new(rate: ByteCount) -> Self {
        Self { bytes_a_second: rate.0.max(1), paid_until: Mutex::new(Instant::now()) }
    }

    pub(crate) async fn take(&self, bytes: u64) {
        let cost = Duration::from_nanos(
            u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_a_second))
                .unwrap_or(u64::MAX),
        );
        let due = {
            let now = Instant::now();
            let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            *paid_until = (*paid_until).max(now) + cost;
            *paid_until - BURST
        };
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_megabyte_at_a_hundred_kilobytes_a_second_takes_ten_seconds() {
        let limiter = Limiter::new(ByteCount(100_000));
        let began = Instant::now();
        for _ in 0..100 {
            limiter.take(10_000).await;
        }
        let elapsed = began.elapsed();
        assert!(
            elapsed > Duration::from_millis(9_850) && elapsed < Duration::from_millis(10_050),
            "{elapsed:?}"
        );
    }
}
