//! Checksums of the blocks of published files, kept so that a damaged file costs its damaged blocks alone.
//!
//! They only ever save work: they choose what is fetched again, and the whole file is proven before it is published. A
//! record that is missing, torn or of older bytes costs a whole fetch. A file of 300 MiB has a record of 3 KB.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::edge::folder::checksummed;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::folder::part_file::Part;
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::folder::part_record::{PartIdentity, PartRecord, RECORD_BOUND};
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;

/// Files of fewer blocks are fetched whole again: that costs less than keeping books on them.
const WORTH_FROM: u64 = 2;

/// The folder of block sums.
#[derive(Debug, Clone)]
pub(crate) struct BlockFolder {
    folder: PathBuf,
}

/// The block sums of one published file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlockSums {
    /// What the whole file hashes to: sums of other bytes are of no use.
    sha256: Sha256Digest,
    record: PartRecord,
}

impl BlockFolder {
    /// The block sums of DIR.
    #[must_use]
    pub(crate) fn new(dir: &Path) -> Self {
        Self { folder: dir.join(PRIVATE).join("blocks") }
    }

    /// Keeps the sums of a part that is whole and has got its final name. A power cut may lose them.
    ///
    /// # Errors
    /// When the disk refuses; nothing but a saving is lost then.
    pub(crate) fn keep(&self, part: &Part, sha256: Sha256Digest) -> Result<(), Error> {
        if part.length().is_none_or(|length| length < WORTH_FROM * part.block()) {
            return Ok(());
        }
        part.sum_shared_blocks()?;
        let Some(record) = part.record() else { return Ok(()) };
        let path = self.path(&record.identity.key);
        match disk::make_folder(&self.folder, &fs::DirBuilder::new()) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(fault("create", &self.folder)(error));
            }
            _ => {}
        }
        let text = checksummed::seal(&BlockSums { sha256, record })
            .map_err(|error| fault("record", &path)(error.into()))?;
        disk::replace(&path, disk::parent(&self.folder), text.as_bytes(), Durability::Hopeful)
    }

    /// Returns the block sums of a file that hashed to `sha256` when it was published, where they are known.
    #[must_use]
    pub(crate) fn read(&self, key: &ArtifactKey, sha256: Sha256Digest) -> Option<BlockSums> {
        let sums: BlockSums = checksummed::read(&self.path(key), RECORD_BOUND)?;
        let fits = sums.sha256 == sha256 && sums.record.identity.key == *key && sums.record.is_readable();
        fits.then_some(sums)
    }

    /// Forgets the sums of a file that is not wanted here any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn forget(&self, key: &ArtifactKey) -> Result<(), Error> {
        disk::remove(&self.path(key))
    }

    fn path(&self, key: &ArtifactKey) -> PathBuf {
        self.folder.join(format!("{}.json", key.fingerprint()))
    }
}

impl BlockSums {
    /// Returns what was published.
    #[must_use]
    pub(crate) const fn identity(&self) -> &PartIdentity {
        &self.record.identity
    }

    /// Reads a file and returns the ranges that are not what was published, in order.
    ///
    /// # Errors
    /// When it cannot be opened. What cannot be read is bad.
    pub(crate) fn bad_ranges(&self, path: &Path) -> Result<Vec<Range<u64>>, Error> {
        let file = disk::open_regular(path).map_err(fault("read", path))?;
        let mut bad = Vec::new();
        let mut upto = 0;
        let length = self.record.identity.length;
        for good in self.record.trusted_ranges(&file).into_iter().chain(std::iter::once(length..length)) {
            if good.start > upto {
                bad.push(upto..good.start);
            }
            upto = good.end;
        }
        Ok(bad)
    }

    /// Begins a part with the good blocks of a damaged file, as if an earlier run had left it; returns how many bytes
    /// need not be fetched again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn seed(&self, damaged: &Path, parts: &PartFolder) -> Result<u64, Error> {
        let file = disk::open_regular(damaged).map_err(fault("read", damaged))?;
        parts.seed(&file, &self.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::folder::part_folder::tests::BLOCK;
    use crate::model::artifact::ArtifactKind;
    use crate::model::revision::{Etag, Revision};

    fn key() -> ArtifactKey {
        ArtifactKey { kind: ArtifactKind::Checkpoint, path: "/o/a.safetensors".into() }
    }

    /// A part of three blocks and a half, kept, with its bytes under `file`.
    fn kept(dir: &Path) -> (BlockFolder, PartFolder, PathBuf, Vec<u8>) {
        let parts = dir.join(PRIVATE).join("parts");
        fs::create_dir_all(&parts).unwrap();
        let parts = PartFolder::new(parts);
        let length = 3 * BLOCK + BLOCK / 2;
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let part = parts.create(&key()).unwrap();
        let revision = Revision { etag: Some(Etag::parse("\"a\"").unwrap()), ..Revision::default() };
        part.identify(PartIdentity { key: key(), revision, length, claims: Vec::new() });
        part.write(0, &bytes).unwrap();
        let blocks = BlockFolder::new(dir);
        blocks.keep(&part, Sha256Digest::new([1; 32])).unwrap();
        let file = dir.join("file");
        fs::rename(part.path(), &file).unwrap();
        part.remove_record().unwrap();
        (blocks, parts, file, bytes)
    }

    #[test]
    fn damage_is_found_by_blocks_and_the_rest_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (blocks, parts, file, mut bytes) = kept(dir.path());
        assert!(blocks.read(&key(), Sha256Digest::new([2; 32])).is_none(), "sums of other bytes");
        let sums = blocks.read(&key(), Sha256Digest::new([1; 32])).unwrap();
        let length = bytes.len() as u64;
        assert_eq!(sums.bad_ranges(&file).unwrap(), Vec::<Range<u64>>::new());
        bytes[usize::try_from(BLOCK).unwrap()] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let second = BLOCK..2 * BLOCK;
        assert_eq!(sums.bad_ranges(&file).unwrap(), std::slice::from_ref(&second));
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(sums.bad_ranges(&file).unwrap(), [second.clone(), 3 * BLOCK..length]);
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(sums.bad_ranges(&file).unwrap(), [second, 3 * BLOCK..length], "cut off");
        assert_eq!(sums.seed(&file, &parts).unwrap(), 2 * BLOCK);
        let taken = parts.take_over(&key()).unwrap().unwrap();
        assert_eq!(taken.here, [0..BLOCK, 2 * BLOCK..3 * BLOCK]);
    }

    /// Near a file's end two connections share a block, and neither can sum it.
    #[test]
    fn a_block_that_came_from_two_connections_is_known_too() {
        let dir = tempfile::tempdir().unwrap();
        let parts = PartFolder::new(dir.path().to_path_buf());
        let part = parts.create(&key()).unwrap();
        let length = 2 * BLOCK + BLOCK / 2;
        let revision = Revision { etag: Some(Etag::parse("\"a\"").unwrap()), ..Revision::default() };
        part.identify(PartIdentity { key: key(), revision, length, claims: Vec::new() });
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let middle = BLOCK + BLOCK / 3;
        for range in [middle..length, 0..middle] {
            let at = |at| usize::try_from(at).unwrap();
            part.write(range.start, &bytes[at(range.start)..at(range.end)]).unwrap();
        }
        fs::create_dir(dir.path().join(PRIVATE)).unwrap();
        let blocks = BlockFolder::new(dir.path());
        blocks.keep(&part, Sha256Digest::new([1; 32])).unwrap();
        let sums = blocks.read(&key(), Sha256Digest::new([1; 32])).unwrap();
        assert_eq!(sums.bad_ranges(part.path()).unwrap(), Vec::<Range<u64>>::new());
    }

    #[test]
    fn what_another_may_still_write_is_copied_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (blocks, theirs, file, bytes) = kept(dir.path());
        blocks.read(&key(), Sha256Digest::new([1; 32])).unwrap().seed(&file, &theirs).unwrap();
        let names = || {
            let entries = fs::read_dir(theirs.path("")).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
        };
        let before = names();
        let ours = PartFolder::beside(theirs.path(""), crate::edge::folder::lock::Others::here(), BLOCK);
        let taken = ours.take_over(&key()).unwrap().unwrap();
        assert_eq!(taken.here.iter().map(|range| range.end - range.start).sum::<u64>(), bytes.len() as u64);
        assert!(names().is_superset(&before), "theirs stays under its name");
        // What they write from now on is not written into ours.
        for name in &before {
            fs::write(theirs.path(name.to_str().unwrap()), "another revision").unwrap();
        }
        assert_eq!(fs::read(taken.part.path()).unwrap(), bytes);
        ours.sweep(|_| false).unwrap();
        assert!(names().is_superset(&before), "and is not swept away");
    }

    #[test]
    fn a_torn_record_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let (blocks, ..) = kept(dir.path());
        let path = blocks.path(&key());
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 2]).unwrap();
        assert!(blocks.read(&key(), Sha256Digest::new([1; 32])).is_none());
    }
}
