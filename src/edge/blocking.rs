//! Where work goes that blocks: files and hashes.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// Does work that blocks, beside the connections: on threads made for it, or, where the runtime has one thread alone,
/// on that one in its turn. So a run on one thread does everything in an order that can be repeated.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(async { work() }),
        _ => tokio::task::spawn_blocking(work),
    }
}
