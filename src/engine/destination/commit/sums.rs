//! `SHA256SUMS` while files come: the end of a look writes it too, but over a slow link that may be hours away, and a
//! reader of the folder until then, or after a kill, should find what is there.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::edge::folder::reports;
use crate::edge::system::blocking::blocking;

use super::Committer;

/// The list is written this long after the first file that it lacks: a run that ends sooner writes it once, at its end. Where there is
/// none yet, it is written with the first files: without it `sha256sum -c` would fail.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// It takes a twentieth of the time at most: it is written as a whole.
const SHARE: u32 = 20;

/// When the list is to be written.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// When it may be written again; `None` before the first time.
    next: Option<Instant>,
    /// When it is to be written, where something was published since.
    due: Option<Instant>,
}

impl Sums {
    /// Takes note that a batch went through.
    pub(super) fn touch(&mut self, every: Duration, has_list: bool) {
        if self.due.is_none() {
            let now = Instant::now();
            self.due = Some(match self.next {
                None if !has_list => now,
                None => now + every,
                Some(next) => next.max(now + every),
            });
        }
    }

    /// Returns when the list should be written.
    pub(super) async fn due(&self) {
        match self.due {
            None => std::future::pending().await,
            // A timer that is due is not ready before the clock's next tick.
            Some(due) if due <= Instant::now() => {}
            Some(due) => tokio::time::sleep_until(due).await,
        }
    }

    /// Writes the list. Trouble shows when the look's end writes it: it is tried again there, and reported.
    pub(super) async fn write(&mut self, committer: &Committer) {
        let began = Instant::now();
        let (dir, store, place) = (committer.dir.clone(), committer.store.clone(), committer.place.clone());
        let writing = blocking(move || {
            // Nothing is written where another folder may be by now.
            if place.is_some_and(|place| place.ensure_in_place().is_err()) {
                return Ok(());
            }
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            reports::write_sums(&dir, &store, |_| true)
        });
        match writing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "`SHA256SUMS` is written again after the poll"),
            Err(lost) => debug!(%lost, "`SHA256SUMS` is written again after the poll"),
        }
        self.due = None;
        self.next = Some(Instant::now() + began.elapsed() * SHARE);
    }
}
