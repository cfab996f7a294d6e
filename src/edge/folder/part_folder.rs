//! The folder of parts, `.rcsync/parts`: a part is begun, taken over from an earlier run, copied from another, or removed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::edge::folder::checksummed;
use crate::edge::system::directory::Directory;
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;

use super::lock::Others;
use super::part_blocks::PartBlocks;
use super::part_file::Part;
use super::part_record::{PartIdentity, PartRecord, RECORD_BOUND, read_whole};

#[derive(Debug, Clone)]
pub(crate) struct PartFolder {
    folder: PathBuf,
    /// Bytes in one block: full ones are recorded by number, what is here of others as stretches.
    block: u64,
    /// The same, held open from the first part on.
    open: Arc<OnceLock<Directory>>,
    others: Others,
}

/// A part that an earlier run left, with the ranges of it that were read back and found right.
#[derive(Debug)]
pub(crate) struct TakenOver {
    /// The part, ready to be written on.
    pub part: Part,
    pub identity: PartIdentity,
    /// The ranges that can be trusted.
    pub here: Vec<Range<u64>>,
}

impl PartFolder {
    /// Opens `.rcsync/parts`, which must exist, where no other process is at work. Blocks are small, so that small files
    /// have many.
    #[cfg(test)]
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self::beside(folder, Others::default(), tests::BLOCK)
    }

    /// Opens `.rcsync/parts`, which must exist; others may be at work in it.
    #[must_use]
    pub(crate) fn beside(folder: PathBuf, others: Others, block: u64) -> Self {
        Self { folder, block, open: Arc::default(), others }
    }

    /// Returns the path of a part by its file name, as journal records give it.
    #[must_use]
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Begins an empty part under a name of its own, with the permissions that it is published with: until then the
    /// private folder keeps others from it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(crate) fn create(&self, key: &ArtifactKey) -> Result<Part, Error> {
        let name = disk::private_file_name(&key.fingerprint(), "part");
        let data = self.folder.join(&name);
        let file = self.directory()?.create_new(&name).map_err(fault("create", &data))?;
        Ok(Part::new(file, data, PartBlocks::new(self.block), None))
    }

    fn directory(&self) -> Result<&Directory, Error> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let opened = Directory::open(&self.folder).map_err(fault("open", &self.folder))?;
        Ok(self.open.get_or_init(|| opened))
    }

    /// Takes over what an earlier run left of a file: renames it to a private name first, so that two processes never
    /// write one part, then reads every recorded block again. Parts without a usable record are removed.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub(crate) fn take_over(&self, key: &ArtifactKey) -> Result<Option<TakenOver>, Error> {
        let mut best: Option<TakenOver> = None;
        for left in self.leftovers(&format!("{}.", key.fingerprint()))? {
            let taken = self.claim(&left, key)?;
            best = match (best, taken) {
                (Some(old), Some(new)) => {
                    let (kept, dropped) =
                        if trusted(&new.here) > trusted(&old.here) { (new, old) } else { (old, new) };
                    dropped.part.discard()?;
                    Some(kept)
                }
                (one, other) => one.or(other),
            };
        }
        Ok(best)
    }

    /// Returns the fingerprints of files of which parts are left.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn fingerprints(&self) -> Result<HashSet<String>, Error> {
        let names = self.leftovers("")?;
        let stems = names.iter().filter_map(|path| path.file_name()?.to_str()?.split('.').next());
        Ok(stems.map(str::to_owned).collect())
    }

    /// Removes parts of files that are not wanted any more; where another may be at work, none, since some are another's.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub(crate) fn sweep(&self, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        if self.others.may_be_here() {
            return Ok(());
        }
        // Records as well as data: a power cut can bring either back without the other.
        for path in self.left("")? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let fingerprint = name.split('.').next().unwrap_or_default();
            if !wanted(fingerprint) {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Begins a part with those bytes of `from` that are right by `record`; returns how many there are.
    pub(super) fn seed(&self, from: &File, record: &PartRecord) -> Result<u64, Error> {
        let part = self.create(&record.identity.key)?;
        part.identify(record.identity.clone());
        let mut buffer = Vec::new();
        let mut count = 0;
        for range in record.trusted_ranges(from) {
            buffer.resize(usize::try_from(range.end - range.start).unwrap_or_default(), 0);
            // Read twice, so the second reading is what counts: it is summed while it is written.
            if read_whole(from, range.start, &mut buffer) {
                part.write(range.start, &buffer)?;
                count += range.end - range.start;
            }
        }
        part.record_now()?;
        Ok(count)
    }

    fn leftovers(&self, prefix: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = self.left(prefix)?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "part"));
        Ok(found)
    }

    fn left(&self, prefix: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fault("read", &self.folder))? {
            let path = entry.map_err(fault("read", &self.folder))?.path();
            let matches =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix));
            if matches {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn claim(&self, left: &Path, key: &ArtifactKey) -> Result<Option<TakenOver>, Error> {
        if self.others.may_be_here() {
            return self.copy(left, key);
        }
        let data = disk::private_name(&self.folder, &key.fingerprint(), "part");
        if disk::rename(left, &data).is_err() {
            return Ok(None);
        }
        let old_record = left.with_extension("json");
        let record: Option<PartRecord> = checksummed::read(&old_record, RECORD_BOUND);
        // A link, a pipe, or a file longer than the whole is no part of ours.
        let fits =
            |length| fs::symlink_metadata(&data).is_ok_and(|data| data.is_file() && data.len() <= length);
        let usable = record.filter(|record| {
            record.identity.key == *key && record.block == self.block && fits(record.identity.length)
        });
        let Some(record) = usable else {
            disk::remove(&data)?;
            disk::remove(&old_record)?;
            return Ok(None);
        };
        let file = disk::reopen_regular(&data).map_err(fault("open", &data))?;
        // An older rcsync created parts for its user alone.
        disk::make_readable(&file).map_err(fault("make readable", &data))?;
        let sums = record.trusted(&file);
        let here = sums.ranges(record.identity.length);
        let part = Part::new(file, data, sums, Some(record.identity.clone()));
        part.record_now()?;
        disk::remove(&old_record)?;
        Ok(Some(TakenOver { part, identity: record.identity, here }))
    }

    /// Begins a part with the good blocks of one that another rcsync may still write: a new name alone would keep two
    /// from meeting in the folder, and not in the file.
    fn copy(&self, left: &Path, key: &ArtifactKey) -> Result<Option<TakenOver>, Error> {
        let record: Option<PartRecord> = checksummed::read(&left.with_extension("json"), RECORD_BOUND);
        let record = record.filter(|record| record.identity.key == *key && record.block == self.block);
        let (Some(record), Ok(from)) = (record, disk::open_regular(left)) else { return Ok(None) };
        let part = self.create(key)?;
        part.identify(record.identity.clone());
        let copied = record.each_trusted(&from, |start, bytes| part.write(start, bytes));
        let sums = copied.inspect_err(|_| {
            // The error is returned; what is left is swept at the end.
            let _ = part.discard();
        })?;
        part.record_now()?;
        let here = sums.ranges(record.identity.length);
        Ok(Some(TakenOver { part, identity: record.identity, here }))
    }
}

fn trusted(here: &[Range<u64>]) -> u64 {
    here.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::artifact::ArtifactKind;
    use crate::model::revision::Revision;

    pub(in crate::edge::folder) const BLOCK: u64 = 1 << 12;

    fn key() -> ArtifactKey {
        ArtifactKey { kind: ArtifactKind::Checkpoint, path: "/o/a.safetensors".into() }
    }

    fn bytes(range: Range<u64>) -> Vec<u8> {
        range.map(|at| (at % 251) as u8).collect()
    }

    /// Writes these ranges of a file of ten blocks, in this order, and takes over what was recorded of them.
    fn kept(ranges: &[Range<u64>], spoil: Option<u64>) -> Vec<Range<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let parts = PartFolder::new(dir.path().to_path_buf());
        let part = parts.create(&key()).unwrap();
        let revision = Revision::default();
        part.identify(PartIdentity { key: key(), revision, length: 10 * BLOCK, claims: Vec::new() });
        for range in ranges {
            part.write(range.start, &bytes(range.clone())).unwrap();
        }
        part.record_now().unwrap();
        if let Some(at) = spoil {
            disk::write_at(part.file(), &[255], at).unwrap();
        }
        drop(part);
        let taken = parts.take_over(&key()).unwrap().unwrap();
        // What was taken over can be taken over again.
        taken.part.record_now().unwrap();
        drop(taken.part);
        let again = parts.take_over(&key()).unwrap().unwrap();
        assert_eq!(again.here, taken.here);
        joined(&again.here)
    }

    fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut all: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match all.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => all.push(range.clone()),
            }
        }
        all
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]
    fn what_was_recorded_is_kept_to_the_byte() {
        let (block, whole) = (BLOCK, 0..10 * BLOCK);
        for (written, expected) in [
            (vec![0..5], vec![0..5]),
            (vec![0..block + 7], vec![0..block + 7]),
            (vec![0..5, 5..9, 9..block - 1], vec![0..block - 1]),
            // Two connections, one of which begins within a block.
            (vec![0..100, block + 50..2 * block + 9], vec![0..100, block + 50..2 * block + 9]),
            // Two that meet within one, in either order.
            (vec![0..100, 100..2 * block], vec![0..2 * block]),
            (vec![100..2 * block, 0..100], vec![0..2 * block]),
            (vec![200..300, 0..100, 100..200], vec![0..300]),
            // Written over.
            (vec![0..block, 0..10], vec![0..10]),
            (vec![0..100, 50..60], vec![50..60]),
            (vec![whole.clone()], vec![whole]),
        ] {
            assert_eq!(kept(&written, None), expected, "{written:?}");
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]
    fn what_changed_since_is_not_kept() {
        let written = [0..BLOCK + 100, BLOCK + 200..BLOCK + 300];
        assert_eq!(kept(&written, Some(BLOCK + 50)), [0..BLOCK, BLOCK + 200..BLOCK + 300]);
        assert_eq!(kept(&written, Some(BLOCK + 250)), [0..BLOCK + 100]);
        assert_eq!(kept(&written, Some(3)), [BLOCK..BLOCK + 100, BLOCK + 200..BLOCK + 300]);
    }

    #[test]
    fn a_part_in_blocks_of_another_size_is_begun_anew() {
        for (written, read, kept) in
            [(BLOCK, BLOCK, true), (2 * BLOCK, 2 * BLOCK, true), (BLOCK, 2 * BLOCK, false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let parts = |block| PartFolder::beside(dir.path().to_path_buf(), Others::default(), block);
            let part = parts(written).create(&key()).unwrap();
            let revision = Revision::default();
            part.identify(PartIdentity { key: key(), revision, length: 3 * BLOCK, claims: Vec::new() });
            part.write(0, &bytes(0..2 * BLOCK)).unwrap();
            part.record_now().unwrap();
            assert_eq!(part.record().unwrap().block, written);
            let taken = parts(read).take_over(&key()).unwrap();
            assert_eq!(taken.map(|taken| trusted(&taken.here)), kept.then_some(2 * BLOCK));
        }
    }

    #[test]
    fn no_record_is_written_after_the_end_of_a_part() {
        let dir = tempfile::tempdir().unwrap();
        let part = PartFolder::new(dir.path().to_path_buf()).create(&key()).unwrap();
        let revision = Revision::default();
        part.identify(PartIdentity { key: key(), revision, length: 3 * BLOCK, claims: Vec::new() });
        part.write(0, &bytes(0..BLOCK)).unwrap();
        assert!(part.is_ahead_of_record());
        part.discard().unwrap();
        assert!(!part.is_ahead_of_record());
        part.record_now().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn bytes_written_before_the_identity_is_known_count_as_unrecorded() {
        let dir = tempfile::tempdir().unwrap();
        let part = PartFolder::new(dir.path().to_path_buf()).create(&key()).unwrap();
        part.write(0, &bytes(0..BLOCK)).unwrap();
        part.record_now().unwrap();
        let revision = Revision::default();
        part.identify(PartIdentity { key: key(), revision, length: 3 * BLOCK, claims: Vec::new() });
        assert!(part.is_ahead_of_record());
    }

    #[test]
    fn bytes_whose_record_could_not_be_written_count_as_unrecorded() {
        let dir = tempfile::tempdir().unwrap();
        let part = PartFolder::new(dir.path().to_path_buf()).create(&key()).unwrap();
        let revision = Revision::default();
        part.identify(PartIdentity { key: key(), revision, length: 3 * BLOCK, claims: Vec::new() });
        part.write(0, &bytes(0..BLOCK)).unwrap();
        let in_the_way = part.path().with_extension("json");
        fs::create_dir(&in_the_way).unwrap();
        part.record_now().unwrap_err();
        assert!(part.is_ahead_of_record());
        fs::remove_dir(&in_the_way).unwrap();
        part.record_now().unwrap();
        assert!(!part.is_ahead_of_record());
    }
}
