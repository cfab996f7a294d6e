//! Bytes gathered for one write: enough that a write pays, few enough that all connections together stay small.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::decide::transfer::portions::Portions;
use crate::decide::transfer::write_place::WritePlace;

/// Groups of bytes are small enough that all connections together, with one group arriving and one being written each, stay
/// far below the memory budget of 64 MiB.
const ALL_GROUPS: usize = 4 << 20;

/// With more connections than this, bytes are copied out of the HTTP library's buffers, which are several times larger
/// than what they contain when each connection delivers little. Below, that copy would cost more than the memory.
const CROWD: usize = 8;

/// Bytes that were gathered for this long are written, however few: on a slow link a kill must not cost more.
const GATHER_FOR: Duration = Duration::from_millis(250);

/// Bytes gathered for one write.
#[derive(Debug)]
pub(super) struct Group {
    portions: Portions,
    connections: usize,
    enough: usize,
    gathered: usize,
    /// When the first of these bytes came.
    since: Instant,
    chunks: Vec<Bytes>,
    /// In a crowd, the bytes themselves instead of pieces of larger buffers.
    copied: Option<Vec<u8>>,
}

impl Group {
    /// Begins an empty group on one of so many connections in use.
    pub(super) fn new(portions: Portions, load: usize) -> Self {
        let connections = load.max(1);
        let enough = portions.group_on_the_spot.min(ALL_GROUPS / connections);
        Self {
            portions,
            connections,
            enough,
            gathered: 0,
            since: Instant::now(),
            chunks: Vec::new(),
            copied: (connections > CROWD).then(Vec::new),
        }
    }

    /// Gathers as many bytes as one write at this place takes.
    pub(super) fn size_for(&mut self, place: WritePlace) {
        let most = match place {
            WritePlace::OnTheSpot => self.portions.group_on_the_spot,
            WritePlace::Elsewhere => self.portions.group,
        };
        self.enough = most.min(ALL_GROUPS / self.connections);
    }

    /// Takes bytes from the front of a chunk; returns whether there are enough for a write. In a crowd no more are taken than that:
    /// a chunk may be several times as large, and each connection would hold two of them.
    pub(super) fn add(&mut self, chunk: &mut Bytes) -> bool {
        if self.gathered == 0 {
            self.since = Instant::now();
        }
        match &mut self.copied {
            Some(copied) => {
                copied.reserve_exact(self.enough.saturating_sub(copied.len()));
                let room = self.enough.saturating_sub(self.gathered).max(1);
                let front = chunk.split_to(room.min(chunk.len()));
                self.gathered += front.len();
                copied.extend_from_slice(&front);
            }
            None => {
                self.gathered += chunk.len();
                self.chunks.push(std::mem::take(chunk));
            }
        }
        self.gathered >= self.enough || self.is_due()
    }

    /// Whether there are bytes that waited for long enough.
    pub(super) fn is_due(&self) -> bool {
        self.gathered > 0 && self.since.elapsed() >= GATHER_FOR
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.gathered == 0
    }

    /// Takes what was gathered and begins anew.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const PORTIONS: Portions =
        Portions { group: 512 << 10, group_on_the_spot: 128 << 10, small_file: 0, block: 1 << 20 };

    /// Puts chunks of 400 KiB into groups of one of so many connections; returns the length of each write.
    fn writes(connections: usize, place: WritePlace) -> Vec<usize> {
        let mut group = Group::new(PORTIONS, connections);
        group.size_for(place);
        let mut lengths = Vec::new();
        let mut write = |group: &mut Group| lengths.push(group.take().iter().map(Bytes::len).sum());
        for _ in 0..4 {
            let mut chunk = Bytes::from(vec![7; 400 << 10]);
            while !chunk.is_empty() {
                if group.add(&mut chunk) {
                    write(&mut group);
                }
            }
        }
        write(&mut group);
        lengths
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_connections_write_whole_chunks() {
        assert_eq!(writes(3, WritePlace::OnTheSpot), [400 << 10, 400 << 10, 400 << 10, 400 << 10, 0]);
        assert_eq!(writes(3, WritePlace::Elsewhere), [800 << 10, 800 << 10, 0]);
    }

    /// With the buffers of the HTTP library, 48 connections held 110 MiB when each took whole chunks.
    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_no_connection_holds_more_than_one_write() {
        let each = ALL_GROUPS / 48;
        let written = writes(48, WritePlace::Elsewhere);
        assert_eq!(written.iter().sum::<usize>(), 1600 << 10, "no byte is lost");
        let (last, full) = written.split_last().unwrap();
        assert!(full.iter().all(|length| *length == each) && *last < each, "{written:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_bytes_are_due_after_a_while() {
        let mut group = Group::new(PORTIONS, 48);
        assert!(!group.add(&mut Bytes::from_static(b"few")) && !group.is_due());
        tokio::time::advance(GATHER_FOR).await;
        assert!(group.is_due());
        assert!(group.add(&mut Bytes::from_static(b"more")), "with the next bytes at the latest");
        assert!(group.take().concat() == b"fewmore" && group.is_empty() && !group.is_due());
    }
}
