//! One rcsync a folder: a lock file with the name of its owner in it.
//!
//! The lock saves work; correctness never rests on it, since on some network disks everybody gets every lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;

use super::disk::{self, fault};
use super::store::PRIVATE;

/// The folder's lock; given back when dropped.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    file: File,
}

/// Who holds a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    host: String,
    since: String,
}

impl FolderLock {
    /// Takes the lock of DIR, whose private folder must exist, or says who has it.
    ///
    /// # Errors
    /// [`Error::FolderInUse`], or a disk error.
    pub fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(PRIVATE).join("lock");
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = disk::open(&path, &options).map_err(fault("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::FolderInUse { path: dir.to_path_buf(), owner: describe(&mut file) });
                }
                // No locks on this file system: go on without; see above.
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(fault("lock", &path)(error)),
            }
            // The last owner removes the file when it ends; a lock on a removed file locks nobody out.
            if !is_same_file(&file, &path) {
                continue;
            }
            let owner = Owner {
                pid: std::process::id(),
                host: host(),
                since: jiff::Timestamp::now().strftime("%F %T UTC").to_string(),
            };
            let text = serde_json::to_string(&owner).map_err(|error| fault("write", &path)(error.into()))?;
            match disk::empty(&file).and_then(|()| disk::append(&file, text.as_bytes())) {
                // A full disk has no room for a name; the lock holds without one.
                Err(error) if !disk::is_full(&error) => return Err(fault("write", &path)(error)),
                _ => {}
            }
            return Ok(Self { path, file });
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Removed so that an idle run leaves the folder as it was. Failing is harmless: the next run takes it over.
        // Where the folder was moved and another stands in its place, the lock there is somebody else's.
        if is_same_file(&self.file, &self.path) {
            let _ = disk::remove(&self.path);
        }
    }
}

fn describe(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(4096).read_to_string(&mut text));
    match read.ok().and_then(|_| serde_json::from_str::<Owner>(&text).ok()) {
        Some(owner) => {
            let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
            format!("process {} on {}, since {}", owner.pid, clean(&owner.host), clean(&owner.since))
        }
        None => "it has not written its name yet".to_owned(),
    }
}

fn host() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this machine".to_owned())
    }
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_file: &File, path: &Path) -> bool {
    // An open file cannot be removed there.
    fs::symlink_metadata(path).is_ok()
}
