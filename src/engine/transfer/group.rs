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
pub(super) const GATHER_FOR: Duration = Duration::from_millis(250);

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
            copied: (connections > CROWD).then(|| Vec::with_capacity(enough)),
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

    /// Adds bytes; returns whether these are enough for a write. A chunk is taken whole: as long as one is held, the HTTP library
    /// receives into another buffer of its own (measured: 48 connections that held chunks back took 78 MiB instead of 64).
    pub(super) fn add(&mut self, chunk: Bytes) -> bool {
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

    /// Adds chunks of 50 KiB on one of so many connections; returns how many of them are written at once.
    fn chunks_of_a_write(connections: usize, place: WritePlace) -> usize {
        let mut group = Group::new(PORTIONS, connections);
        group.size_for(place);
        let chunk = Bytes::from(vec![7; 50 << 10]);
        let count = 1 + (0..100).take_while(|_| !group.add(chunk.clone())).count();
        assert_eq!(group.take().concat(), chunk.repeat(count));
        count
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_elsewhere_is_larger_and_a_crowd_writes_less_at_once() {
        assert_eq!(chunks_of_a_write(3, WritePlace::OnTheSpot), 3);
        assert_eq!(chunks_of_a_write(3, WritePlace::Elsewhere), 11);
        assert_eq!(chunks_of_a_write(48, WritePlace::Elsewhere), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_bytes_are_due_after_a_while() {
        let mut group = Group::new(PORTIONS, 48);
        assert!(!group.add(Bytes::from_static(b"few")) && !group.is_due());
        tokio::time::advance(GATHER_FOR).await;
        assert!(group.is_due());
        assert!(group.add(Bytes::from_static(b"more")), "with the next bytes at the latest");
        assert_eq!(group.take().concat(), b"fewmore");
        assert!(group.is_empty() && !group.is_due());
    }
}
