//! Reads local files before something is decided about them: in steps, so that other tasks run in between, a stop ends the
//! reading within a moment, and progress is reported where it takes longer.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::Sha256;
use sha2::digest::Digest as _;
use tokio::time::Instant;
use tracing::debug;

use crate::edge::folder::hashing::sha256_of;
use crate::edge::system::blocking::blocking;
use crate::edge::system::disk;
use crate::engine::event::{Event, Reporter};
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::digest::Sha256Digest;

/// Bytes of one step: some 10 to 50 ms.
const STEP: u64 = 16 << 20;

/// Bytes read at once.
const BUFFER: usize = 1 << 20;

/// Between two reports. Nothing is reported before the first interval is over.
const EVERY: Duration = Duration::from_secs(1);

/// What files hash to, as far as they were read ahead. A file that changed since is read again.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    known: HashMap<PathBuf, (Stamp, Sha256Digest)>,
}

impl Digests {
    /// Returns the SHA-256 of a regular file. Blocks for long where the file was not read ahead.
    pub(crate) fn sha256_of(&self, path: &Path) -> Result<Sha256Digest, Error> {
        match self.known.get(path) {
            Some((stamp, digest)) if Stamp::of(path).as_ref() == Some(stamp) => Ok(*digest),
            _ => sha256_of(path),
        }
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }
}

/// What a file is recognized by between its reading and the use of its digest.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    node: u64,
    size: u64,
    modified: Option<i64>,
    changed: Option<i128>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        #[cfg(unix)]
        let node = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let node = 0;
        let (size, modified) = (metadata.len(), disk::modified(&metadata));
        Some(Self { node, size, modified, changed: disk::changed(path).ok() })
    }
}

/// A file to read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// Reads files until all are read, or until `stop` is used; the second value is whether all were read. One that cannot be read
/// is left out: the fault shows where its digest is needed.
pub(crate) async fn read_ahead(files: Vec<Unread>, reporter: &dyn Reporter, stop: &Stop) -> (Digests, bool) {
    let (of, of_bytes) =
        (files.len() as u64, files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size)));
    if of == 0 {
        return (Digests::default(), true);
    }
    debug!(files = of, bytes = of_bytes, "local files are read and compared");
    let mut work = Work { left: files.into(), ..Work::default() };
    let mut reported: Option<Instant> = None;
    let began = Instant::now();
    let mut report = |work: &Work, is_last: bool| {
        let is_due = reported.unwrap_or(began).elapsed() >= EVERY;
        if is_due || (is_last && reported.is_some()) {
            reported = Some(Instant::now());
            let (files, bytes) = (work.files, work.bytes.min(of_bytes));
            reporter.report(&Event::Checking { files, of, bytes, of_bytes });
        }
    };
    while !work.is_done() {
        if stop.is_stopped() {
            debug!(files = work.files, bytes = work.bytes, "reading was stopped");
            return (work.digests, false);
        }
        let step = blocking(move || {
            work.step(STEP);
            work
        });
        work = match step.await {
            Ok(work) => work,
            Err(lost) => {
                // What needs a digest reads the file again, and reports what is wrong.
                debug!(%lost, "reading ahead failed");
                return (Digests::default(), true);
            }
        };
        let is_last = work.is_done();
        report(&work, is_last);
    }
    (work.digests, true)
}

/// What is read, and how far.
#[derive(Debug, Default)]
struct Work {
    left: VecDeque<Unread>,
    open: Option<Open>,
    digests: Digests,
    files: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    stamp: Stamp,
    hash: Sha256,
    position: u64,
    /// What the progress is once this file is read, whatever its length is by then.
    bytes_after: u64,
}

impl Work {
    fn is_done(&self) -> bool {
        self.left.is_empty() && self.open.is_none()
    }

    /// Reads about `budget` bytes.
    fn step(&mut self, budget: u64) {
        let mut buffer = vec![0; BUFFER];
        let mut read = 0;
        while read < budget {
            let Some(mut open) = self.open.take().or_else(|| self.next()) else {
                if self.left.is_empty() {
                    return;
                }
                continue;
            };
            match disk::read_at(&open.file, &mut buffer, open.position) {
                Ok(0) => {
                    (self.files, self.bytes) = (self.files + 1, open.bytes_after);
                    let digest = Sha256Digest::new(open.hash.finalize().into());
                    self.digests.known.insert(open.path, (open.stamp, digest));
                }
                Ok(count) => {
                    open.hash.update(&buffer[..count]);
                    open.position += count as u64;
                    self.bytes = (self.bytes + count as u64).min(open.bytes_after);
                    read += count as u64;
                    self.open = Some(open);
                }
                Err(error) => {
                    debug!(path = %open.path.display(), %error, "cannot be read ahead");
                    (self.files, self.bytes) = (self.files + 1, open.bytes_after);
                }
            }
        }
    }

    /// Opens the next file; `None` where it cannot be opened.
    fn next(&mut self) -> Option<Open> {
        let Unread { path, size } = self.left.pop_front()?;
        let bytes_after = self.bytes.saturating_add(size);
        let stamp = Stamp::of(&path);
        match (disk::open_regular(&path), stamp) {
            (Ok(file), Some(stamp)) => {
                Some(Open { file, path, stamp, hash: Sha256::new(), position: 0, bytes_after })
            }
            (opened, _) => {
                debug!(path = %path.display(), error = ?opened.err(), "cannot be read ahead");
                (self.files, self.bytes) = (self.files + 1, bytes_after);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::error::ExitStatus;

    fn silent(_: &Event) {}

    fn files(folder: &Path, sizes: &[u64]) -> Vec<Unread> {
        let write = |(at, size): (usize, &u64)| {
            let path = folder.join(format!("{at}"));
            let bytes = vec![u8::try_from(at).unwrap(); usize::try_from(*size).unwrap()];
            fs::write(&path, bytes).unwrap();
            Unread { path, size: *size }
        };
        sizes.iter().enumerate().map(write).collect()
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_what_reading_gives() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path(), &[0, 5, STEP + 7, 3]);
        files.insert(1, Unread { path: folder.path().join("none"), size: 9 });
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        let (digests, all) = read_ahead(files, &silent, &Stop::new()).await;
        assert!(all && !digests.has(&folder.path().join("none")));
        for path in paths.iter().filter(|path| path.exists()) {
            assert!(digests.has(path));
            assert_eq!(digests.sha256_of(path).unwrap(), sha256_of(path).unwrap());
        }
        // A file of the same length that came since is read again.
        let other = folder.path().join("other");
        fs::write(&other, "other").unwrap();
        fs::rename(&other, folder.path().join("1")).unwrap();
        let found = digests.sha256_of(&folder.path().join("1")).unwrap();
        assert_eq!(found, sha256_of(&folder.path().join("1")).unwrap());
    }

    #[tokio::test]
    async fn other_tasks_run_while_files_are_read_and_one_may_stop_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), &[3, 2 * STEP, 4 * STEP]);
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        let stop = Stop::new();
        let reading = read_ahead(files, &silent, &stop);
        // One thread: this runs between two steps, or after all of them.
        let stopping = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            stop.stop(ExitStatus::Interrupted);
        };
        let ((digests, all), ()) = tokio::join!(reading, stopping);
        assert!(!all && digests.has(&paths[0]) && !digests.has(&paths[2]));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_reported_where_it_takes_long() {
        let folder = tempfile::tempdir().unwrap();
        let heard = Mutex::new(Vec::new());
        let reporter =
            |event: &Event| heard.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        let stop = Stop::new();
        read_ahead(files(folder.path(), &[3, STEP]), &reporter, &stop).await;
        assert_eq!(heard.lock().unwrap().len(), 0, "no time passed");
        let slow = async {
            for _ in 0..100 {
                tokio::time::advance(EVERY).await;
            }
        };
        let _ = tokio::join!(read_ahead(files(folder.path(), &[3, 2 * STEP, 5]), &reporter, &stop), slow);
        let heard = heard.into_inner().unwrap();
        assert!(heard.len() > 1, "{heard:?}");
        let of_bytes = 2 * STEP + 8;
        assert_eq!(heard.last(), Some(&Event::Checking { files: 3, of: 3, bytes: of_bytes, of_bytes }));
    }
}
