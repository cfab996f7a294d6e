//! What was sent into a dataset, across runs: an append-only file of sealed lines for each dataset, outside of the
//! user's folder.
//!
//! A line that a power cut takes away costs a comparison by name and length, or one file that is sent again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::edge::folder::checksummed;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;
use crate::model::dataset::DatasetId;
use crate::model::digest::hex;
use crate::model::upload_record::{UploadRecord, UploadRecords};

/// A journal larger than this is not ours: a million files take 200 MB.
const BOUND: u64 = 512 << 20;

/// Lines beyond twice the number of files after which the file is written anew.
const SURPLUS: usize = 1024;

/// The journal of one dataset, locked for this process.
#[derive(Debug)]
pub struct PushJournal {
    file: File,
    path: PathBuf,
    records: UploadRecords,
    /// Unlocked when dropped.
    _lock: File,
}

impl PushJournal {
    /// Opens the journal of a dataset of the API at `origin`, in `folder`, which is created where it is not there.
    ///
    /// # Errors
    /// [`Error::DatasetInUse`], or a disk error.
    pub fn open(folder: &Path, origin: &str, dataset: &DatasetId, name: &str) -> Result<Self, Error> {
        create_folder(folder)?;
        let path = journal_path(folder, origin, dataset);
        let lock = lock(&path.with_extension("lock"), name)?;
        let (mut records, mut lines) = (UploadRecords::new(), 0);
        let text = read(&path).unwrap_or_default();
        for line in text.lines() {
            lines += 1;
            // What was torn by a crash is passed over.
            if let Some((name, record)) = checksummed::unseal::<(String, UploadRecord)>(line) {
                records.insert(name, record);
            }
        }
        let is_torn = !text.is_empty() && !text.ends_with('\n');
        if is_torn || lines > records.len() * 2 + SURPLUS {
            let mut text = String::new();
            for (name, record) in &records {
                text.push_str(&line(&path, name, record)?);
            }
            disk::replace(&path, folder, text.as_bytes(), Durability::Durable)?;
        }
        let file =
            disk::open(&path, OpenOptions::new().create(true).append(true)).map_err(fault("open", &path))?;
        Ok(Self { file, path, records, _lock: lock })
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
        let text = line(&self.path, name, &record)?;
        disk::append(&self.file, text.as_bytes()).map_err(fault("write", &self.path))?;
        self.records.insert(name.to_owned(), record);
        Ok(())
    }
}

/// Forgets a dataset that was deleted.
pub fn forget(folder: &Path, origin: &str, dataset: &DatasetId) {
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

/// Creates a private folder with all that are missing above it.
pub(crate) fn create_folder(folder: &Path) -> Result<(), Error> {
    let above = folder.ancestors().find(|path| path.is_dir());
    match above {
        Some(above) if above == folder => Ok(()),
        Some(above) => disk::create_folders(above, folder),
        None => disk::create_folders(Path::new("."), folder),
    }
}

fn lock(path: &Path, name: &str) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = disk::open(path, &options).map_err(fault("create", path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::DatasetInUse { name: name.to_owned() }),
        // Some disks know no locks: two pushes at a time send some files twice there.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn line(path: &Path, name: &str, record: &UploadRecord) -> Result<String, Error> {
    let text = checksummed::seal(&(name, record)).map_err(|error| fault("write", path)(error.into()))?;
    Ok(text + "\n")
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    disk::open_regular(path).ok()?.take(BOUND).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
        let path = journal.path.clone();
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
    fn a_long_journal_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let mut journal = open(root.path()).unwrap();
        for size in 0..(SURPLUS as u64 + 10) {
            journal.note("a", found(size)).unwrap();
        }
        let path = journal.path.clone();
        drop(journal);
        assert_eq!(open(root.path()).unwrap().records().len(), 1);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
    }
}
