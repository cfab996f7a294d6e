//! The time of day, as far as decisions need it across processes.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Waits until a moment; without one, for ever.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Returns milliseconds since 1970. Within one process it moves with the clock that timers use, so that it is not set
/// back in the middle of a run, and passes as fast as theirs where time is simulated.
#[must_use]
pub(crate) fn unix_ms() -> u64 {
    static ANCHOR: OnceLock<(std::time::Instant, Duration)> = OnceLock::new();
    let (anchor, then) = ANCHOR.get_or_init(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        (std::time::Instant::now(), since.unwrap_or_default())
    });
    let now = Instant::now().into_std();
    // A simulated clock may have begun before the anchor was set.
    let now = match now.checked_duration_since(*anchor) {
        Some(later) => *then + later,
        None => then.saturating_sub(anchor.duration_since(now)),
    };
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
