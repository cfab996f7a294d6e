//! Where work goes that blocks: files and hashes.

use std::path::Path;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinHandle};

use crate::error::Error;

/// Does work that blocks, beside the connections: on threads made for it, or, where the runtime has one thread alone,
/// on that one in its turn. So a run on one thread does everything in an order that can be repeated.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(async { work() }),
        _ => tokio::task::spawn_blocking(work),
    }
}

/// Says of work that never came back (it panicked) what it was doing to which path; what became of that, nobody knows.
pub(crate) fn lost(verb: &'static str, path: &Path) -> impl FnOnce(JoinError) -> Error {
    let path = path.to_path_buf();
    move |lost| Error::Disk { verb, path, source: std::io::Error::other(lost) }
}
