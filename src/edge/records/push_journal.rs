//! What was sent into a dataset, across runs: a journal for each dataset, outside of the user's folder.
//!
//! A line that a power cut takes away costs a comparison by name and length, or one file that is sent again.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::edge::folder::journal::{self, Found, Journal};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::dataset::DatasetId;
use crate::model::digest::hex;
use crate::model::upload_record::{UploadRecord, UploadRecords};

/// A line longer than this is not ours: it has one name and its digest.
const BOUND: u64 = 1 << 20;

/// Lines beyond twice the number of files after which the file is written anew.
const SURPLUS: u64 = 1024;

/// The journal of one dataset, locked for this process.
#[derive(Debug)]
pub struct PushJournal {
    file: Journal,
    records: UploadRecords,
    _lock: Lock,
}

/// A lock file, held. It is unlocked when dropped: closed is not enough while a child process is being started, which has a copy
/// of the descriptor for a moment.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A disk without locks has nothing to give back.
        let _ = self.0.unlock();
    }
}

impl PushJournal {
    /// Opens the journal of a dataset of the API at `origin`, in `folder`, which is created where it is not there.
    ///
    /// # Errors
    /// [`Error::DatasetInUse`], or a disk error.
    pub fn open(folder: &Path, origin: &str, dataset: &DatasetId, name: &str) -> Result<Self, Error> {
        disk::create_with_parents(folder)?;
        let path = journal_path(folder, origin, dataset);
        let lock = lock(&path.with_extension("lock"), name)?;
        let mut records = UploadRecords::new();
        // A journal that cannot be read is begun anew.
        let mut found = journal::read(&path, BOUND, |(name, record): (String, UploadRecord)| {
            records.insert(name, record);
        })
        .unwrap_or_default();
        if found.is_torn || found.lines > records.len() as u64 * 2 + SURPLUS {
            journal::replace(&path, folder, &records)?;
            found = Found::default();
        }
        Ok(Self { file: Journal::open(&path, found.is_torn)?, records, _lock: lock })
    }

    /// Returns what is remembered.
    #[must_use]
    pub const fn records(&self) -> &UploadRecords {
        &self.records
    }

    /// Remembers what became of a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&mut self, name: &str, record: UploadRecord) -> Result<(), Error> {
        self.file.append([(name, &record)])?;
        self.records.insert(name.to_owned(), record);
        Ok(())
    }
}

/// Forgets a dataset that was deleted.
pub(crate) fn forget(folder: &Path, origin: &str, dataset: &DatasetId) {
    let path = journal_path(folder, origin, dataset);
    for path in [path.with_extension("lock"), path] {
        if path.exists() {
            // A journal that stays is no harm: no other dataset gets that id.
            drop(disk::remove(&path));
        }
    }
}

fn journal_path(folder: &Path, origin: &str, dataset: &DatasetId) -> PathBuf {
    let key = Sha256::digest(format!("{origin}\n{dataset}"));
    folder.join(format!("{}.jsonl", hex(&key[..16])))
}

fn lock(path: &Path, name: &str) -> Result<Lock, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = disk::open(path, &options).map_err(fault("create", path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::DatasetInUse { name: name.to_owned() }),
        // Some disks have no locks: two pushes at a time send some files twice there.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Lock(file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::upload_record::Stamp;

    fn found(size: u64) -> UploadRecord {
        UploadRecord::Found { stamp: Stamp { size, modified: Some(1) } }
    }

    fn open(folder: &Path) -> Result<PushJournal, Error> {
        PushJournal::open(folder, "http://h", &"a-1".parse().unwrap(), "dog")
    }

    #[test]
    fn what_was_noted_is_there_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state/push");
        let mut journal = open(&folder).unwrap();
        journal.note("a", found(1)).unwrap();
        journal.note("b\n\u{1f415}", found(2)).unwrap();
        journal.note("a", found(3)).unwrap();
        assert!(matches!(open(&folder), Err(Error::DatasetInUse { .. })), "one process a dataset");
        let path = journal.file.path().to_path_buf();
        drop(journal);
        // A crash tears the last line.
        let torn = std::fs::read_to_string(&path).unwrap() + "{\"crc32\":\"0";
        std::fs::write(&path, torn).unwrap();
        let mut journal = open(&folder).unwrap();
        journal.note("c", found(4)).unwrap();
        drop(journal);
        let records = open(&folder).unwrap().records().clone();
        assert_eq!(
            records,
            UploadRecords::from([
                ("a".to_owned(), found(3)),
                ("b\n\u{1f415}".to_owned(), found(2)),
                ("c".to_owned(), found(4)),
            ])
        );
    }

    #[test]
    fn a_copy_of_the_descriptor_in_a_child_process_holds_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dog.lock");
        let held = lock(&path, "dog").unwrap();
        let copy = held.0.try_clone().unwrap();
        assert!(matches!(lock(&path, "dog"), Err(Error::DatasetInUse { .. })));
        drop(held);
        lock(&path, "dog").unwrap();
        drop(copy);
    }

    #[test]
    fn a_long_journal_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let mut journal = open(root.path()).unwrap();
        for size in 0..SURPLUS + 10 {
            journal.note("a", found(size)).unwrap();
        }
        let path = journal.file.path().to_path_buf();
        drop(journal);
        assert_eq!(open(root.path()).unwrap().records().len(), 1);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
    }
}
