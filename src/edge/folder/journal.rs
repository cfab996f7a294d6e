//! An append-only file of checksummed lines: what a crash tears is one line, and it is noticed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::edge::folder::checksummed;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;

/// A journal, open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

/// What reading a journal found beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// Lines, readable or not.
    pub(crate) lines: u64,
    /// Lines that could not be read.
    pub(crate) damaged: u64,
    /// The last line has no end: what is appended next would be a part of it.
    pub(crate) is_torn: bool,
}

/// Reads the records of a journal in order; a file that is not there has none. A line longer than `bound` bytes counts as
/// damaged.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    bound: u64,
    mut see: impl FnMut(T),
) -> Result<Found, Error> {
    let file = match disk::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(fault("read", path)(error)),
    };
    let (mut reader, mut found, mut line) = (BufReader::new(file), Found::default(), Vec::new());
    loop {
        line.clear();
        let read = reader.by_ref().take(bound).read_until(b'\n', &mut line).map_err(fault("read", path))?;
        if read == 0 {
            return Ok(found);
        }
        found.is_torn = !line.ends_with(b"\n");
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        found.lines += 1;
        match checksummed::unseal(std::str::from_utf8(&line).unwrap_or_default().trim()) {
            Some(record) => see(record),
            None => found.damaged += 1,
        }
    }
}

/// Returns records as the lines of a journal.
pub(crate) fn lines<T: Serialize>(
    path: &Path,
    records: impl IntoIterator<Item = T>,
) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    for record in records {
        checksummed::seal_behind(&mut text, &record).map_err(|error| fault("write", path)(error.into()))?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Replaces a journal by one with these records alone.
pub(crate) fn replace<T: Serialize>(
    path: &Path,
    staging: &Path,
    records: impl IntoIterator<Item = T>,
) -> Result<(), Error> {
    disk::replace(path, staging, &lines(path, records)?, Durability::Durable)
}

impl Journal {
    /// Opens a journal, which is created where there is none. A last line that was torn is ended first.
    pub(crate) fn open(path: &Path, is_torn: bool) -> Result<Self, Error> {
        let file =
            disk::open(path, OpenOptions::new().create(true).append(true)).map_err(fault("create", path))?;
        if is_torn {
            disk::append(&file, b"\n").map_err(fault("write", path))?;
        }
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Appends records, all with one write. A crash may take them back until [`Self::flush`].
    pub(crate) fn append<T: Serialize>(&self, records: impl IntoIterator<Item = T>) -> Result<(), Error> {
        let text = lines(&self.path, records)?;
        disk::append(&self.file, &text).map_err(fault("write", &self.path))
    }

    /// A journal that the disk refuses to write.
    #[cfg(test)]
    pub(crate) fn read_only(path: &Path) -> Self {
        Self { file: File::open(path).unwrap(), path: path.to_path_buf() }
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes durable what was appended.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        disk::flush(&self.file).map_err(fault("flush", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(path: &Path, bound: u64) -> (Vec<String>, Found) {
        let mut records = Vec::new();
        let found = read(path, bound, |record| records.push(record)).unwrap();
        (records, found)
    }

    #[test]
    fn a_torn_line_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        assert_eq!(records(&path, 100), (Vec::new(), Found::default()));
        let journal = Journal::open(&path, false).unwrap();
        journal.append(["a", "b"]).unwrap();
        journal.flush().unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let (read, found) = records(&path, 100);
        assert_eq!((read, found), (vec!["a".to_owned()], Found { lines: 2, damaged: 1, is_torn: true }));
        Journal::open(&path, found.is_torn).unwrap().append(["c"]).unwrap();
        let (read, found) = records(&path, 100);
        assert_eq!(read, ["a", "c"]);
        assert_eq!(found, Found { lines: 3, damaged: 1, is_torn: false });
        replace(&path, folder.path(), ["c"]).unwrap();
        assert_eq!(
            records(&path, 100),
            (vec!["c".to_owned()], Found { lines: 1, damaged: 0, is_torn: false })
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_never_held_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path, false).unwrap();
        journal.append(["a".repeat(1000), "b".to_owned()]).unwrap();
        let (read, found) = records(&path, 100);
        assert_eq!(read, ["b"]);
        assert!(found.damaged > 0);
    }
}
