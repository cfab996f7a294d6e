//! Keeps the count of connections at what the hosts and the link reward.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::concurrency::{Sample, Tuner, deserve_one_each};
use crate::model::units::ByteCount;

use super::board::Shares;
use super::workshop::Workshop;

/// How often to look: several looks make one measurement.
const EVERY: Duration = Duration::from_millis(25);

/// Connections where the user does not say: enough to fill most links, few enough for any host.
const FIRST: usize = 8;

/// More connections than this no host has rewarded in measurements, and each costs memory.
const MOST_LARGE: usize = 48;
const MOST_SMALL: usize = 32;

/// The most connections that there ever are.
const MOST: usize = MOST_LARGE + MOST_SMALL;

/// One connection in this many begins with small files.
const SMALL_SHARE: usize = 4;

/// A limited rate is shared by one connection for so many bytes a second of it. What cannot go faster should go one
/// after the other: shared by eight, a slow rate brings the oldest checkpoint no sooner than the newest, and too late.
const RATE_OF_ONE: u64 = 8 << 20;

/// Returns the shares to begin with, and the most connections there will ever be: as many as the user says, or as are
/// rewarded, and never more than the process's files bear.
pub(crate) fn begin(cap: Option<usize>, limit: Option<ByteCount>, bearable: usize) -> (Shares, usize) {
    let most = cap.unwrap_or(MOST).min(bearable).max(1);
    if let (None, Some(limit)) = (cap, limit) {
        let large = usize::try_from(limit.0 / RATE_OF_ONE).unwrap_or(MOST_LARGE).min(most - 1).max(1);
        return (Shares { small: 1, large: large.min(FIRST - 1) }, large + 1);
    }
    let first = most.min(FIRST);
    let small = first / SMALL_SHARE;
    (Shares { small, large: first - small }, most)
}

/// Tunes until the run is cancelled.
pub(crate) async fn tune(shop: Arc<Workshop>, shares: Shares, most: usize) {
    let began = Instant::now();
    // With a cap from the user, both kinds share it; small files never get more than half.
    let most_small = MOST_SMALL.min(most / 2).max(usize::from(shares.small > 0));
    let mut small = Tuner::new(shares.small.max(1), most_small);
    let mut large = Tuner::new(shares.large, MOST_LARGE.min(most - shares.small));
    loop {
        tokio::select! {
            biased;
            () = shop.cancel.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let now = began.elapsed();
        let load = shop.board.load();
        let busy = !shop.board.take_starved();
        let pushed_back = shop.pushed_back.swap(false, Ordering::Relaxed);
        let files = Sample {
            done: as_f64(shop.small_files.load(Ordering::Relaxed)),
            saturated: busy && load.small > 0,
            pushed_back,
        };
        let bytes = Sample {
            done: as_f64(shop.received.load(Ordering::Relaxed)),
            saturated: busy && load.large > 0,
            pushed_back,
        };
        let small_level = if shares.small == 0 { 0 } else { small.observe(now, &files) };
        // Small files still get what checkpoints leave.
        let hurry = load.large > 0 && shop.hurry.load(Ordering::Relaxed);
        let small_level = if hurry { 0 } else { small_level };
        let large_level = large.observe(now, &bytes).min(most - small_level);
        let rate = shop.typical.lock().unwrap_or_else(PoisonError::into_inner).rate();
        shop.board.give_one_each(deserve_one_each(rate * as_f64(load.large as u64), hurry));
        shop.board.share_out(Shares { small: small_level, large: large_level });
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

    #[test]
    fn a_slow_rate_goes_to_one_checkpoint_at_a_time() {
        let mib = |count: u64| Some(ByteCount(count << 20));
        assert_eq!(begin(None, mib(1), 500), (Shares { small: 1, large: 1 }, 2));
        assert_eq!(begin(None, mib(24), 500), (Shares { small: 1, large: 3 }, 4));
        assert_eq!(begin(None, mib(240), 500), (Shares { small: 1, large: 7 }, 31));
        assert_eq!(begin(Some(8), mib(1), 500), begin(Some(8), None, 500), "the user's count counts");
        assert_eq!(begin(None, None, 500), (Shares { small: 2, large: 6 }, MOST));
        assert_eq!(begin(Some(200), None, 20), (Shares { small: 2, large: 6 }, 20));
    }
}
