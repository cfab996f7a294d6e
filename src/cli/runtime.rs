//! The runtime that a command waits on: with threads where the system gives some, else without.
//!
//! Where the number of threads is limited (the `pids` limit of a container, `ulimit -u`) the library would panic or wait for
//! ever, so what it needs is tried out first.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::edge::system::blocking::can_have_threads;

/// Threads beyond the workers: for files and hashing, host names, hooks, the view.
const SPARE: usize = 16;

/// The thread for work that blocks is kept for so long, since a new one may not be had later: work that finds none waits for
/// one that is there.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a runtime.
pub(crate) fn build() -> io::Result<Runtime> {
    let workers = worker_threads();
    if !can_have_threads(workers + SPARE) {
        return Builder::new_current_thread().enable_all().build();
    }
    let runtime =
        Builder::new_multi_thread().worker_threads(workers).thread_keep_alive(KEPT).enable_all().build()?;
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

/// The number that the library would choose by itself.
fn worker_threads() -> usize {
    let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|text| text.parse().ok());
    wanted
        .filter(|count| *count > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
}
