//! One rcsync a folder: a lock file with the name of its owner in it.
//!
//! The lock saves work; correctness never rests on it, since some network disks grant every lock. There the
//! record still keeps out a process that can see that its owner lives; else two work side by side, each on parts of its own.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;

/// The folder's lock; given back when dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    path: PathBuf,
    file: File,
    /// The private folder, where a folder can be opened.
    place: Option<File>,
    knows_again: bool,
    record: String,
    others: Others,
}

/// Whether another may be at work in the folder in spite of the lock, on a disk that grants every lock: one on another
/// machine, of which it cannot be known here whether it lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Others(Arc<AtomicBool>);

impl Others {
    /// Whether one may be.
    #[must_use]
    pub(crate) fn may_be_here(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// One is.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        let others = Self::default();
        others.seen();
        others
    }

    fn seen(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Owners that end one after the other while we try are few.
const MOST_TRIES: u32 = 50;

/// Who holds a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    host: String,
    since: String,
    /// What distinguishes the process from a later one with the same number, where the system reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    birth: Option<String>,
}

impl FolderLock {
    /// Takes the lock of DIR, whose private folder must exist, or reports the owner.
    ///
    /// # Errors
    /// [`Error::FolderInUse`], or a disk error.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(PRIVATE).join("lock");
        let mut tries = 0;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = disk::open(&path, &options).map_err(fault("create", &path))?;
            let held = |owner| Error::FolderInUse { path: dir.to_path_buf(), owner };
            match try_lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(describe(read_owner(&mut file)))),
                // No locks on this file system: continue without; see above.
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(fault("lock", &path)(error)),
            }
            // The last owner removes the file when it ends; a lock on a removed file locks no process out.
            // Some disks do not know a file again; there every try would end like this one.
            tries += 1;
            let knows_again = is_same_file(&file, &path);
            if !knows_again && tries < MOST_TRIES {
                continue;
            }
            let others = Others::default();
            match read_owner(&mut file) {
                Some(owner) if owner.is_another_that_lives() => return Err(held(describe(Some(owner)))),
                Some(owner) if owner.host != host() => others.seen(),
                Some(_) | None => {}
            }
            let pid = std::process::id();
            let since = jiff::Timestamp::now().strftime("%F %T UTC").to_string();
            let owner = Owner { pid, host: host(), since, birth: birth(pid) };
            let record =
                serde_json::to_string(&owner).map_err(|error| fault("write", &path)(error.into()))?;
            match disk::empty(&file).and_then(|()| disk::write_at(&file, record.as_bytes(), 0)) {
                // A full disk has no room for a name; the lock holds without one.
                Err(error) if !disk::is_full(&error) => return Err(fault("write", &path)(error)),
                _ => {}
            }
            let place = File::open(disk::parent(&path)).ok();
            return Ok(Self { path, file, place, knows_again, record, others });
        }
    }
}

impl FolderLock {
    /// Finds out whether the folder is still the one that was locked: it may have been deleted, moved, or unmounted,
    /// and another one may be in its place.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn ensure_in_place(&self) -> Result<(), Error> {
        let private = disk::parent(&self.path);
        let in_place = match &self.place {
            // The lock file itself may be another's by now, where every lock is granted.
            Some(place) => is_same_file(place, private),
            None => is_same_file(&self.file, &self.path),
        };
        if self.knows_again && !in_place {
            let why = "it, or `.rcsync` in it, was deleted, moved or unmounted";
            let source = std::io::Error::new(std::io::ErrorKind::StaleNetworkFileHandle, why);
            return Err(fault("continue in", disk::parent(private))(source));
        }
        if read_record(&self.path).is_some_and(|record| record != self.record && !record.is_empty()) {
            self.others.seen();
        }
        Ok(())
    }

    /// Returns whether another may be at work here.
    #[must_use]
    pub(crate) fn others(&self) -> Others {
        self.others.clone()
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Removed so that an idle run leaves the folder as it was. Failing is harmless: the next run takes it over.
        // Where the folder was moved and another is in its place, or another got the lock too, it is not
        // ours. A full disk may have had no room for our name.
        let ours = read_record(&self.path).is_none_or(|record| record == self.record || record.is_empty());
        if ours && is_same_file(&self.file, &self.path) {
            // The lock is the lock on the file; a file that is left is taken over by the next run.
            let _ = disk::remove(&self.path);
        }
    }
}

impl Owner {
    /// Whether it is another process of this machine that still runs. Of other machines it is unknown.
    fn is_another_that_lives(&self) -> bool {
        self.pid != std::process::id()
            && self.host == host()
            && self.birth.is_some()
            && self.birth == birth(self.pid)
    }
}

/// Describes the process that holds a folder, where one does. Nothing is created or changed.
pub(crate) fn owner(dir: &Path) -> Option<String> {
    let mut file = disk::open_regular(&dir.join(PRIVATE).join("lock")).ok()?;
    let owner = read_owner(&mut file);
    // A shared lock for a moment: a process that holds the folder has the other kind.
    let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let lives = owner.as_ref().is_some_and(Owner::is_another_that_lives);
    (is_held || lives).then(|| describe(owner))
}

fn try_lock(file: &File) -> Result<(), TryLockError> {
    #[cfg(test)]
    if crate::edge::system::trace::grants_every_lock() {
        return Ok(());
    }
    file.try_lock()
}

/// A record longer than this is not ours.
const RECORD_BOUND: u64 = 4096;

fn read_owner(file: &mut File) -> Option<Owner> {
    let text = file.rewind().and_then(|()| disk::text_of(file, RECORD_BOUND)).ok()?;
    serde_json::from_str(&text).ok()
}

fn read_record(path: &Path) -> Option<String> {
    disk::read_text(path, RECORD_BOUND).ok()
}

/// Distinguishes a living process from every other that ever had or will have its number: by when it began, in which run of
/// the system. Known on Linux alone (proc_pid_stat(5)).
fn birth(pid: u32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything. Behind it comes the state, and the twentieth field is the moment.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // Dead, and only not buried yet: in a container whose first process buries no child, for ever.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let moment = fields.nth(18)?;
    Some(format!("{}/{moment}", boot.trim()))
}

fn describe(owner: Option<Owner>) -> String {
    match owner {
        Some(owner) => {
            let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
            format!("process {} on {}, since {}", owner.pid, clean(&owner.host), clean(&owner.since))
        }
        None => "it has not written its name yet".to_owned(),
    }
}

pub(crate) fn host() -> String {
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
