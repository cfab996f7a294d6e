//! One small file of a batch, with its state, as a connection carries it.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::protocol::Commands;
use crate::decide::transfer::scheduler::FileId;
use crate::decide::transfer::state::TransferState;
use crate::edge::folder::part_file::Part;

use super::download::Download;

/// One small file, as a connection carries it.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) id: FileId,
    pub(super) state: Box<TransferState>,
    pub(super) download: Option<Arc<Download>>,
    /// The part, once the file is proven.
    pub(super) part: Option<Arc<Part>>,
    /// What the coordinator is to do.
    pub(super) commands: Commands,
    /// What the host was seen to do with ranges.
    pub(super) habit: Option<Habit>,
    /// How long its requests waited for their heads.
    pub(super) waited: Vec<Duration>,
    /// Its first response came on a new connection, and its wait was reported at once.
    pub(super) has_cold_head: bool,
}

impl Carried {
    pub(super) const fn new(id: FileId, state: Box<TransferState>) -> Self {
        Self {
            id,
            state,
            download: None,
            part: None,
            commands: Vec::new(),
            habit: None,
            waited: Vec::new(),
            has_cold_head: false,
        }
    }
}
