//! Folders with new names that a power cut may still take back, so that one flush serves many of them.

use std::collections::BTreeSet;
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

    /// Makes all names durable, one flush a folder, a folder's own name before those in it.
    ///
    /// # Errors
    /// When the disk refuses: the names then count as not durable.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        // Locked until all are flushed: a record that is written meanwhile waits for the names that it depends on.
        let mut folders = self.lock();
        while let Some(folder) = folders.first().cloned() {
            match disk::flush_folder(&folder) {
                // It was removed with all that was in it: no later record may fail of that.
                Err(Error::Disk { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                flushed => flushed?,
            }
            folders.remove(&folder);
        }
        Ok(())
    }

    /// Flushes one folder by `flush`.
    ///
    /// # Errors
    /// When the disk refuses: its names then count as not durable.
    pub(crate) fn flush_one(
        &self,
        folder: &Path,
        flush: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut folders = self.lock();
        flush()?;
        folders.remove(folder);
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
        for folder in [&gone, &dir, &dir] {
            unflushed.add(folder);
        }
        let refused = || Err(Error::NoInput(dir.clone()));
        assert!(unflushed.flush_one(&dir, refused).is_err());
        assert_eq!(*unflushed.lock(), BTreeSet::from([dir.clone(), gone.clone()]));
        unflushed.flush_one(&dir, || Ok(())).unwrap();
        assert_eq!(*unflushed.lock(), BTreeSet::from([gone]));
        unflushed.add(&dir);
        unflushed.flush().unwrap();
        assert!(unflushed.lock().is_empty(), "a folder that was removed has nothing to lose");
    }
}
