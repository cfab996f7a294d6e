//! What is reported to the coordinator, and what it reports at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::decide::mirror::stock::UnderWay;
use crate::decide::transfer::protocol::{Left, RangeEnd, Refreshed, Ticket};
use crate::decide::transfer::scheduler::{FileId, Taken};
use crate::decide::transfer::task::{DiskTrouble, Missing, Task};
use crate::decide::transfer::verify::Received;
use crate::edge::folder::part_file::Part;
use crate::engine::commit_queue::Committed;
use crate::model::artifact::ArtifactKey;
use crate::model::manifest::Entry;
use crate::model::response_head::Head;

use super::carried::Carried;
use super::download::{Absorbed, Download};

/// What is reported to the coordinator.
#[derive(Debug)]
pub(super) enum Message {
    /// Fetch these, in order of urgency. Answers how many were admitted.
    Order(Vec<Task>, oneshot::Sender<u64>),
    /// How far is what is under way?
    Progress(oneshot::Sender<Vec<UnderWay>>),
    /// When may the next file that cools down be ordered again?
    CooledAt(oneshot::Sender<Option<Instant>>),
    /// A request waited so long for its head.
    Head { waited: Duration, cold: bool },
    /// A response's head arrived.
    Response { id: FileId, ticket: Ticket, head: Box<Head>, reply: oneshot::Sender<Reply> },
    /// A packed body is unpacked.
    Unpacked { id: FileId, ticket: Ticket, length: u64, reply: oneshot::Sender<Reply> },
    /// A group was written.
    Booked { id: FileId, ticket: Ticket, absorbed: Absorbed },
    /// A connection is done with its range.
    Served { id: FileId, ticket: Ticket, served: Served, taken: Taken },
    /// What is here of a file was looked at.
    LookedAt { id: FileId, found: Box<Found>, taken: Taken },
    /// Small files are done; `taken`: with them the batch is.
    Carried { files: Vec<Carried>, taken: Option<Taken> },
    /// Small files of a batch that were not begun.
    Returned(Vec<Carried>),
    /// The job was asked for a link.
    Link { id: FileId, refreshed: Refreshed },
    /// The hashes of a file are complete; `None`: it was abandoned meanwhile.
    Hashed { id: FileId, result: Result<Option<Whole>, DiskTrouble> },
    /// What became of a file on its way to its name.
    Committed(Vec<(ArtifactKey, Committed)>),
}

/// A file of which every byte was seen.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) received: Box<Received>,
    pub(super) part: Arc<Part>,
}

/// What is here of a file before its first request.
#[derive(Debug)]
pub(super) enum Found {
    /// All of it, proven.
    Whole(Box<Entry>),
    /// A part of an earlier run or try.
    Part(Arc<Download>, Left),
    /// Nothing.
    Nothing,
    /// The disk refused to be read.
    Trouble(DiskTrouble),
}

/// How a run of the coordinator ended.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Why files are not here.
    pub(crate) missing: HashMap<ArtifactKey, Missing>,
    /// Files that got their names.
    pub(crate) published: u64,
}

/// What to do with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Take its body.
    Receive {
        /// Bytes to skip first; the bytes to compare follow them.
        skip: u64,
        /// Bytes after both, where known.
        take: Option<u64>,
        /// Bytes that the file still lacks, where its length is known.
        lacks: Option<u64>,
    },
    /// Read the text of the refusal.
    ReadRefusal,
    /// Read all of it and unpack it.
    Unpack,
    /// Leave it.
    Drop,
}

/// How a range went.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) end: RangeEnd,
    /// Bytes that were written.
    pub(super) bytes: u64,
    /// How long they took, from the response's head.
    pub(super) took: Duration,
    /// How long the head took.
    pub(super) waited: Duration,
}
