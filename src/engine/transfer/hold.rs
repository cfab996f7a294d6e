//! What transfers wait for beside their own faults: room on the disk, and hosts that asked for less.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::disk_space::Shortage;
use crate::edge::system::{disk, fd_limit};
use crate::engine::event::Event;
use crate::engine::transfer::task::Transfer;
use crate::error::{Error, explain_briefly};
use crate::model::fault::Fault;
use crate::model::source_url::SourceUrl;

use super::fetch::PieceFault;
use super::workshop::{LONGEST_WAIT_IN_ONE_PASS, Workshop};

/// How often a file that waits for room looks again: whoever makes room does not want to wait for it to be noticed.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(5);

impl Workshop {
    /// Promises a file the room that it still lacks.
    pub(crate) fn promise_room(&self, transfer: &Transfer, wanted: u64) -> Result<(), PieceFault> {
        match self.room.promise(&transfer.order.artifact.key, wanted)? {
            None => Ok(()),
            Some(shortage) => Err(PieceFault::NoRoom(shortage)),
        }
    }

    /// Asks for leave to write bytes of a file.
    pub(crate) fn spend_room(&self, transfer: &Transfer, count: u64) -> Result<(), PieceFault> {
        match self.room.spend(&transfer.order.artifact.key, count)? {
            None => Ok(()),
            Some(shortage) => Err(PieceFault::NoRoom(shortage)),
        }
    }

    /// Without room a single pass fails, and so does a run whose job is over: both can be started again. While the
    /// training goes on, the file waits with what is here of it, and smaller ones may go first.
    pub(crate) fn wait_for_room(&self, transfer: &Arc<Transfer>, shortage: Shortage) {
        self.room.give_back(&transfer.order.artifact.key);
        if self.options.once || !transfer.order.run_may_write {
            let source = std::io::Error::new(std::io::ErrorKind::StorageFull, shortage.to_string());
            let path = transfer.order.artifact.path.as_str().into();
            return self.fail_disk(transfer, &Error::Disk { verb: "make room for", path, source });
        }
        if self.room.is_news() {
            let path = &transfer.order.artifact.path;
            let message = format!("no room for `{path}`: {shortage}; waiting until there is");
            self.tell(&Event::Notice { message });
        }
        self.board.delay(transfer, Instant::now() + LOOK_FOR_ROOM);
    }

    /// The disk refused. What passes by itself is waited for, everything else is this file's end for now.
    pub(crate) fn stumble_over_disk(&self, transfer: &Arc<Transfer>, error: &Error) {
        let Error::Disk { source, .. } = error else { return self.fail_disk(transfer, error) };
        if disk::is_full(source) && !self.options.once && transfer.order.run_may_write {
            // No inode, no quota, or somebody else was faster: free bytes say nothing of that.
            if self.room.is_news() {
                let message = format!("{}; waiting until there is room", explain_briefly(error));
                self.tell(&Event::Notice { message });
            }
            self.room.give_back(&transfer.order.artifact.key);
            self.board.delay(transfer, Instant::now() + LOOK_FOR_ROOM);
        } else if fd_limit::is_out(source) {
            self.pushed_back.store(true, Ordering::Relaxed);
            let (wait, tries) = {
                let mut state = transfer.state();
                state.tries += 1;
                (state.backoff.next(None), state.tries)
            };
            if tries > self.options.retries.max(1) {
                return self.fail_disk(transfer, error);
            }
            let path = Some(transfer.order.artifact.path.clone());
            self.tell(&Event::Retrying { path, cause: explain_briefly(error), error_code: None, wait });
            self.board.delay(transfer, Instant::now() + wait);
        } else {
            self.fail_disk(transfer, error);
        }
    }

    /// Waits before a request while its host wants to be left alone. A single pass does not wait for long.
    pub(crate) async fn pass_gate(&self, url: &SourceUrl) -> Result<(), Fault> {
        if let Some(gate) = self.gates.closed(url.host()) {
            let wait = gate.until.saturating_duration_since(Instant::now());
            if self.options.once && wait > LONGEST_WAIT_IN_ONE_PASS {
                return Err(Fault::Status { status: gate.status, retry_after: Some(wait), excerpt: None });
            }
        }
        self.gates.pass(url.host()).await;
        Ok(())
    }
}
