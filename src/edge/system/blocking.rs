//! Where work goes that blocks: files and hashes.

use std::path::Path;
use std::sync::Mutex;

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

/// Whether the system gives this process so many more threads now. A container or a user may have a limit for them.
pub(crate) fn can_have_threads(count: usize) -> bool {
    /// They do nothing, so they need next to nothing.
    const STACK: usize = 64 << 10;
    let gate = Mutex::new(());
    std::thread::scope(|scope| {
        // Held until all are there: one after the other they would all fit.
        let shut = gate.lock();
        let wait = || drop(gate.lock());
        let all = (0..count)
            .all(|_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, wait).is_ok());
        drop(shut);
        all
    })
}

/// The error for a blocking task that panicked; the state of `path` is unknown.
pub(crate) fn lost(verb: &'static str, path: &Path) -> impl FnOnce(JoinError) -> Error {
    let path = path.to_path_buf();
    move |lost| Error::Disk { verb, path, source: std::io::Error::other(lost).into() }
}
