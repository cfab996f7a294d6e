//! Folders with new names that a power cut may still take back, so that one flush serves many of them.

use std::collections::BTreeSet;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::edge::system::disk;
use crate::error::Error;

/// Folders that are to be flushed before the manifest's next record, and at the end of a run.
#[derive(Debug, Default)]
pub(crate) struct Unflushed(Mutex<BTreeSet<PathBuf>>);

impl Unflushed {
    /// A name in this folder was given, changed or removed, without a flush of the folder.
    pub(crate) fn add(&self, folder: &Path) {
        self.lock().insert(folder.to_path_buf());
    }

    /// The folder is about to be flushed. What is renamed after this call is not covered by that flush, and added again.
    pub(crate) fn remove(&self, folder: &Path) {
        self.lock().remove(folder);
    }

    /// Makes all names durable, one flush a folder, a folder's own name before those in it.
    ///
    /// # Errors
    /// When the disk refuses: the names then count as not durable.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut folders = mem::take(&mut *self.lock());
        while let Some(folder) = folders.first() {
            if let Err(error) = disk::flush_folder(folder) {
                self.lock().append(&mut folders);
                return Err(error);
            }
            folders.pop_first();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stays_unflushed_until_the_disk_took_it() {
        let place = tempfile::tempdir().unwrap();
        let (dir, gone) = (place.path().join("dir"), place.path().join("gone"));
        let unflushed = Unflushed::default();
        std::fs::create_dir(&dir).unwrap();
        for folder in [&gone, &dir, place.path(), &dir] {
            unflushed.add(folder);
        }
        assert!(unflushed.flush().is_err(), "one is not there");
        std::fs::create_dir(&gone).unwrap();
        assert_eq!(*unflushed.lock(), BTreeSet::from([gone.clone()]), "only that one is left");
        unflushed.flush().unwrap();
        assert!(unflushed.lock().is_empty());
        unflushed.add(&dir);
        unflushed.remove(&dir);
        assert!(unflushed.lock().is_empty());
    }
}
