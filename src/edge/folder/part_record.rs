//! The record beside a part's data: what it is a part of, and a checksum of each block that is here.
//!
//! Neither the length of the data nor what a record claims proves anything after a crash (measured: full length,
//! zeros inside). So every recorded block is read again before it counts. That makes the record safe even where the data
//! that it describes was never flushed.

use std::fs::File;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::edge::system::disk;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::claim::Claim;
use crate::model::revision::Revision;

use super::part_blocks::{PartBlocks, Stretch, sum_of};

/// The largest block that a record may have, which is what one takes in memory.
const LARGEST_BLOCK: u64 = 1 << 20;

/// The longest record that is read: a file of a terabyte has some ten million bytes of checksums.
pub(super) const RECORD_BOUND: u64 = 64 << 20;

/// What a part is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartIdentity {
    pub key: ArtifactKey,
    /// Which bytes of it.
    pub revision: Revision,
    /// Its whole length in bytes.
    pub length: u64,
    /// What the server claimed about the whole file.
    pub claims: Vec<Claim>,
}

/// What is written beside a part's data.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) identity: PartIdentity,
    pub(crate) block: u64,
    /// First block of a run of blocks, and their checksums as eight hex digits each.
    runs: Vec<(u64, String)>,
    /// What is here of blocks that are not full: first byte, length, and checksum as eight hex digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stretches: Vec<(u64, u64, String)>,
}

impl PartRecord {
    /// What is here of a part by these sums.
    pub(super) fn new(identity: PartIdentity, sums: &PartBlocks) -> Self {
        let (runs, stretches) = (sums.runs(identity.length), sums.stretches(identity.length));
        Self { identity, block: sums.block(), runs, stretches }
    }

    /// Whether its blocks are of a size that fits into memory.
    pub(super) const fn is_readable(&self) -> bool {
        0 < self.block && self.block <= LARGEST_BLOCK
    }

    /// Returns the ranges of recorded blocks whose bytes in `file` still have the recorded sum, in order.
    pub(super) fn trusted_ranges(&self, file: &File) -> Vec<Range<u64>> {
        self.trusted(file).ranges(self.identity.length)
    }

    /// Reads every recorded block and keeps those whose bytes still have the recorded sum.
    pub(super) fn trusted(&self, file: &File) -> PartBlocks {
        self.each_trusted(file, |_, _| Ok(())).unwrap_or_else(|_| PartBlocks::new(self.block))
    }

    /// The same, and does something with the bytes of each of them, as they were when they were summed.
    pub(super) fn each_trusted(
        &self,
        file: &File,
        act: impl Fn(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<PartBlocks, Error> {
        let (length, block) = (self.identity.length, self.block);
        let mut sums = PartBlocks::new(block);
        let mut buffer = vec![0; usize::try_from(block).unwrap_or_default()];
        for (first, digits) in &self.runs {
            for (at, digits) in digits.as_bytes().chunks(8).enumerate() {
                let index = first.saturating_add(at as u64);
                let expected =
                    std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
                // A record may be of any size and content: nothing past the file's own length is believed or allocated.
                let start = index.saturating_mul(block);
                if start >= length {
                    break;
                }
                let wanted = usize::try_from((length - start).min(block)).unwrap_or_default();
                if !read_whole(file, start, &mut buffer[..wanted]) {
                    continue;
                }
                let found = sum_of(&buffer[..wanted]);
                if expected == Some(found) {
                    act(start, &buffer[..wanted])?;
                    sums.put_full(usize::try_from(index).unwrap_or(usize::MAX), found);
                }
            }
        }
        for (start, count, digits) in &self.stretches {
            let (index, within) = (start / block, start % block);
            let fits = *count > 0
                && count.checked_add(within).is_some_and(|upto| upto <= block)
                && start.checked_add(*count).is_some_and(|end| end <= length);
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if !fits || sums.is_full(index) {
                continue;
            }
            let bytes = &mut buffer[..usize::try_from(*count).unwrap_or_default()];
            if !read_whole(file, *start, bytes) {
                continue;
            }
            let stretch = Stretch::of(within, bytes);
            if u32::from_str_radix(digits, 16).is_ok_and(|expected| expected == stretch.sum()) {
                act(*start, bytes)?;
                sums.append(index, stretch);
            }
        }
        Ok(sums)
    }
}

/// Fills the buffer from `start` on. Returns whether the file has that many bytes.
pub(super) fn read_whole(file: &File, start: u64, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    while filled < buffer.len() {
        match disk::read_at(file, &mut buffer[filled..], start + filled as u64) {
            Ok(count) if count > 0 => filled += count,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::ArtifactKind;

    fn bytes(range: Range<u64>) -> Vec<u8> {
        range.map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_record_that_claims_nonsense_is_believed_nothing() {
        let file = tempfile::tempfile().unwrap();
        let key = ArtifactKey { kind: ArtifactKind::Checkpoint, path: "/o/a.safetensors".into() };
        let identity = PartIdentity { key, revision: Revision::default(), length: 1000, claims: Vec::new() };
        disk::write_at(&file, &bytes(0..1000), 0).unwrap();
        let sum = |range: Range<u64>| format!("{:08x}", Stretch::of(0, &bytes(range)).sum());
        let stretches = vec![
            (0, 10, sum(0..10)),
            (5, 10, sum(5..15)),
            (20, 0, sum(0..0)),
            (30, 10, "no sum".to_owned()),
            (u64::MAX, 1, sum(0..1)),
            (1, u64::MAX, sum(0..1)),
            (990, 20, sum(990..1000)),
            (500, 10, sum(500..510)),
            (100, 10, sum(100..110)),
        ];
        let record = PartRecord { identity, block: 1 << 12, runs: Vec::new(), stretches };
        assert_eq!(record.trusted_ranges(&file), [0..10, 500..510]);
    }
}
