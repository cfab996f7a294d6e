//! From a connection to the disk: bytes are gathered, and one group is written while the next one arrives.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::edge::system::blocking::{blocking, lost};
use crate::engine::event::Event;
use crate::engine::transfer::task::Transfer;
use crate::error::Error;

use super::attempt::Booked;
use super::board::Load;
use super::fetch::{Fetch, PieceEnd, PieceFault};

/// Bytes gathered before they are written: large enough that a write costs little …
const GROUP: usize = if cfg!(test) { 1 << 12 } else { 512 << 10 };

/// … and small enough that all connections together, with one group arriving and one being written each, stay far
/// below the memory budget of 64 MiB.
const ALL_GROUPS: usize = 4 << 20;

/// With more connections than this, bytes are copied out of the HTTP library's buffers, which are several times larger
/// than what they bring when each connection brings little. Below, that copy would cost more than the memory.
const CROWD: usize = 8;

/// Bytes that were gathered for this long are written, however few: on a slow link a kill must not cost more.
const GATHER_FOR: Duration = Duration::from_millis(250);

/// How often bytes on their way to a record are looked after.
pub(crate) const KEEP_UP: Duration = Duration::from_millis(250);

/// Files up to this size are written and hashed by the connection itself, in less than half a millisecond: handing
/// them to another thread and back takes longer than most of them do.
const SOON_DONE: u64 = if cfg!(test) { 1 << 11 } else { 512 << 10 };

/// Whether a file of this length is better dealt with on the spot than handed to a thread that may block.
pub(crate) const fn is_soon_done(length: u64) -> bool {
    length <= SOON_DONE
}

/// Bytes gathered for one write.
#[derive(Debug)]
pub(crate) struct Group {
    enough: usize,
    gathered: usize,
    /// When the first of these bytes came.
    since: Instant,
    chunks: Vec<Bytes>,
    /// In a crowd, the bytes themselves instead of pieces of larger buffers.
    copied: Option<Vec<u8>>,
}

impl Group {
    /// Begins an empty group on one of so many busy connections.
    pub(crate) fn new(load: Load) -> Self {
        let connections = load.all().max(1);
        let enough = GROUP.min(ALL_GROUPS / connections);
        Self {
            enough,
            gathered: 0,
            since: Instant::now(),
            chunks: Vec::new(),
            copied: (connections > CROWD).then(|| Vec::with_capacity(enough)),
        }
    }

    /// Adds bytes; returns whether these are enough for a write.
    pub(crate) fn add(&mut self, chunk: Bytes) -> bool {
        if self.gathered == 0 {
            self.since = Instant::now();
        }
        self.gathered += chunk.len();
        match &mut self.copied {
            Some(copied) => copied.extend_from_slice(&chunk),
            None => self.chunks.push(chunk),
        }
        self.gathered >= self.enough || self.is_due()
    }

    /// Whether there are bytes that waited for long enough.
    pub(crate) fn is_due(&self) -> bool {
        self.gathered > 0 && self.since.elapsed() >= GATHER_FOR
    }

    /// Whether there are no bytes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.gathered == 0
    }

    /// Takes what was gathered and begins anew.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.gathered = 0;
        let mut chunks = std::mem::take(&mut self.chunks);
        if let Some(copied) = &mut self.copied
            && !copied.is_empty()
        {
            chunks.push(Bytes::from(std::mem::take(copied)));
        }
        chunks
    }
}

/// Writes groups beside the connection that receives them, one at a time and in order.
pub(crate) struct Writer<'a> {
    fetch: &'a Fetch<'a>,
    /// Where the next group belongs.
    pub(crate) offset: u64,
    running: Option<Writing>,
    /// How the piece ended, once what was written says so.
    pub(crate) end: Option<PieceEnd>,
    /// Bytes came that belong nowhere.
    pub(crate) endless: bool,
}

/// A group being written, or written on the spot.
enum Writing {
    Elsewhere(JoinHandle<Result<Booked, Error>>),
    Done(Result<Booked, Error>),
}

impl<'a> Writer<'a> {
    /// Begins at the front of a piece.
    pub(crate) const fn new(fetch: &'a Fetch<'a>) -> Self {
        Self { fetch, offset: fetch.range.start, running: None, end: None, endless: false }
    }

    /// Waits for the last group and begins to write the next.
    pub(crate) async fn put(&mut self, group: Vec<Bytes>) -> Result<(), PieceFault> {
        self.settle().await?;
        if group.is_empty() || self.end.is_some() {
            return Ok(());
        }
        let Fetch { shop, transfer, attempt, lease, .. } = *self.fetch;
        let offset = self.offset;
        let count: u64 = group.iter().map(|chunk| chunk.len() as u64).sum();
        shop.spend_room(transfer, count)?;
        self.offset += count;
        self.running = Some(if attempt.length().is_some_and(is_soon_done) {
            Writing::Done(attempt.absorb(&shop.parts, lease, offset, &group))
        } else {
            let (attempt, parts) = (attempt.clone(), shop.parts.clone());
            Writing::Elsewhere(blocking(move || attempt.absorb(&parts, lease, offset, &group)))
        });
        Ok(())
    }

    /// Looks after bytes that came a while ago: they are written, and then recorded. Returns whether any are left that a
    /// kill would cost.
    pub(crate) async fn keep_up(&mut self, group: &mut Group) -> Result<bool, PieceFault> {
        if group.is_due() {
            self.put(group.take()).await?;
        } else if group.is_empty() && self.fetch.attempt.is_record_due() {
            self.settle().await?;
            let attempt = self.fetch.attempt.clone();
            let kept = blocking(move || attempt.keep()).await;
            kept.map_err(|lost| lost_writer(self.fetch.transfer, lost))??;
        }
        Ok(!group.is_empty() || self.running.is_some() || self.fetch.attempt.is_ahead_of_record())
    }

    /// Waits for the last group, and learns what it led to.
    pub(crate) async fn settle(&mut self) -> Result<(), PieceFault> {
        let booked = match self.running.take() {
            None => return Ok(()),
            Some(Writing::Elsewhere(running)) => {
                running.await.map_err(|lost| lost_writer(self.fetch.transfer, lost))??
            }
            Some(Writing::Done(booked)) => booked?,
        };
        let fetch = self.fetch;
        fetch.shop.tell(&Event::Received {
            path: fetch.transfer.order.artifact.path.clone(),
            have: booked.have,
            size: fetch.attempt.length(),
        });
        self.endless |= booked.endless;
        if let Some(declared) = booked.unfinished {
            self.end = Some(PieceEnd::Unfinished {
                declared: Some(declared),
                have: fetch.attempt.length().unwrap_or(booked.have),
            });
        } else if booked.complete {
            self.end = Some(PieceEnd::Complete);
        } else if booked.wanted == 0 {
            self.end = Some(PieceEnd::Done);
        }
        Ok(())
    }
}

/// A writer that panicked has written nobody knows what; the disk's record tells what can be trusted.
fn lost_writer(transfer: &Transfer, gone: JoinError) -> Error {
    lost("write", Path::new(transfer.order.artifact.path.as_str()))(gone)
}
