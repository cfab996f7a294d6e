//! Flushing the parts of a group: where they are committed while that is cheap, else on several threads.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::edge::system::blocking::blocking;
use crate::edge::system::disk::fault;
use crate::engine::commit_queue::Finished;
use crate::error::Error;

use super::Unplaced;

/// Flushes at a time: disks take several flushes at once (measured: 0.43 s instead of 0.65 s for 1,000 files).
pub(super) const FLUSHERS: usize = 8;

/// What a panic is reported as: the files of the batch are left as parts, which the next run publishes.
const DEFECT: &str = "rcsync failed by a defect of its own; what arrived is kept for the next run";

/// A proven file whose bytes are on the disk now, or why they are not.
pub(super) type Flushed = Result<Finished, Unplaced>;

/// Files of a group that are flushed where they are committed, or were flushed before.
pub(super) enum ToFlush {
    Here(Vec<Finished>),
    Done(Vec<Flushed>),
}

impl ToFlush {
    /// Flushes what is to be flushed; returns how long that took, too.
    pub(super) fn finish(self) -> (Vec<Flushed>, Duration) {
        match self {
            Self::Done(flushed) => (flushed, Duration::ZERO),
            Self::Here(finished) => {
                let began = Instant::now();
                let flushed = finished.into_iter().map(flush).collect();
                (flushed, began.elapsed())
            }
        }
    }
}

/// The error of a file whose commit ended in a panic.
pub(super) fn lost_to_a_defect(path: &Path) -> Error {
    fault("publish", path)(std::io::Error::other(DEFECT))
}

/// Flushes every part, several at once: each thread a share of them, since handing over a thread costs more than the
/// flush of a small file on a fast disk. In order.
pub(super) async fn flush_all(finished: Vec<Finished>) -> Vec<Flushed> {
    let share = finished.len().div_ceil(FLUSHERS).max(1);
    let mut rest = finished.into_iter();
    let mut flushing = Vec::with_capacity(FLUSHERS);
    while rest.len() > 0 {
        let files: Vec<Finished> = rest.by_ref().take(share).collect();
        flushing.push(blocking(move || files.into_iter().map(flush).collect::<Vec<Flushed>>()));
    }
    join_all(flushing).await.into_iter().flatten().flatten().collect()
}

/// Flushes one part. Where that fails the part is dropped: flushing again would prove nothing.
fn flush(file: Finished) -> Flushed {
    let (key, path) = file.name();
    let error = match panic::catch_unwind(AssertUnwindSafe(|| file.part.flush())) {
        Ok(Ok(())) => return Ok(file),
        Ok(Err(error)) => {
            // Its bytes are doubtful; the error is returned, and the file is fetched again.
            let _ = file.part.discard();
            error
        }
        Err(_) => lost_to_a_defect(Path::new(path.as_str())),
    };
    Err(Unplaced { key, error })
}
