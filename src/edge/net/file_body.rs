//! The body of an upload: a file, read piece by piece as the connection takes it, hashed on the way.
//!
//! The last piece is held back until the file is known to be what it was when its folder was checked, so that no server
//! ever gets a whole body of a file that changed meanwhile.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::edge::system::blocking::blocking;
use crate::edge::system::disk;
use crate::model::digest::Sha256Digest;
use crate::model::fault::LocalFault;
use crate::model::upload_record::Stamp;

/// What is read at a time: large enough for speed, small enough for 256 connections.
const PIECE: usize = 256 << 10;

/// No piece is taken for this long: the connection is dead. Slow lines take one in seconds.
const STALL: Duration = Duration::from_secs(60);

/// No answer for this long after the last piece was taken. Megabytes may wait in the system's own buffers then.
const ANSWER: Duration = Duration::from_secs(180);

/// Paces and counts the bytes of uploads.
pub trait UploadMeter: Send + Sync {
    /// Returns when so many bytes may be sent.
    fn pace(&self, bytes: u64) -> BoxFuture<'_, ()>;
    /// So many bytes were given to the connection.
    fn passed(&self, bytes: u64);
}

/// A file to be sent once.
#[derive(Clone)]
pub struct FileBody(Arc<Shared>);

struct Shared {
    path: PathBuf,
    stamp: Stamp,
    meter: Arc<dyn UploadMeter>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when the connection has a piece that it did not ask a successor of; `None` while one is made.
    waiting_since: Option<Instant>,
    sha256: Option<Sha256Digest>,
    fault: Option<LocalFault>,
}

impl FileBody {
    /// A body of the file at `path`, which has to be as `stamp` has it.
    #[must_use]
    pub fn new(path: PathBuf, stamp: Stamp, meter: Arc<dyn UploadMeter>) -> Self {
        Self(Arc::new(Shared { path, stamp, meter, state: Mutex::default() }))
    }

    /// Returns how many bytes it has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.0.stamp.size
    }

    /// Returns the SHA-256 of what was sent, once all of it was given to the connection.
    #[must_use]
    pub fn sha256(&self) -> Option<Sha256Digest> {
        self.0.state().sha256
    }

    /// Returns what is wrong with the file, where that ended the sending.
    #[must_use]
    pub fn fault(&self) -> Option<LocalFault> {
        self.0.state().fault.clone()
    }

    /// Begins from the first byte.
    pub(in crate::edge) fn begin(&self) -> reqwest::Body {
        *self.0.state() = State { waiting_since: Some(Instant::now()), ..State::default() };
        let reading = Reading { left: self.length(), file: None, hasher: Sha256::new() };
        let shared = Arc::clone(&self.0);
        reqwest::Body::wrap_stream(stream::unfold(Some(reading), move |reading| {
            let shared = Arc::clone(&shared);
            async move { next(&shared, reading?).await }
        }))
    }

    /// Does the sending, unless nothing moves for too long; that long then.
    pub(in crate::edge) async fn unless_stalled<T>(
        &self,
        sending: impl Future<Output = T>,
    ) -> Result<T, Duration> {
        tokio::select! {
            sent = sending => Ok(sent),
            after = self.stalled() => Err(after),
        }
    }

    async fn stalled(&self) -> Duration {
        loop {
            let (since, limit) = {
                let state = self.0.state();
                (state.waiting_since, if state.sha256.is_some() { ANSWER } else { STALL })
            };
            // While a piece is made, nothing is asked of the connection.
            let since = since.unwrap_or_else(Instant::now);
            if since.elapsed() >= limit {
                return limit;
            }
            tokio::time::sleep_until(since + limit).await;
        }
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reading {
    left: u64,
    file: Option<File>,
    hasher: Sha256,
}

type Piece = Option<(io::Result<Bytes>, Option<Reading>)>;

async fn next(shared: &Arc<Shared>, mut reading: Reading) -> Piece {
    let is_first = reading.file.is_none();
    if reading.left == 0 && !is_first {
        return None;
    }
    shared.state().waiting_since = None;
    let size = usize::try_from(reading.left).unwrap_or(usize::MAX).min(PIECE);
    shared.meter.pace(size as u64).await;
    let (path, stamp) = (shared.path.clone(), shared.stamp);
    let read = blocking(move || {
        let piece = reading.piece(&path, stamp, size);
        piece.map(|bytes| (bytes, reading))
    });
    let lost = || Err(LocalFault::Interrupted);
    match read.await.unwrap_or_else(|_| lost()) {
        Ok((bytes, reading)) => {
            let mut state = shared.state();
            state.waiting_since = Some(Instant::now());
            if reading.left == 0 {
                state.sha256 = Some(Sha256Digest::new(reading.hasher.clone().finalize().into()));
            }
            drop(state);
            shared.meter.passed(bytes.len() as u64);
            Some((Ok(bytes), Some(reading)))
        }
        Err(fault) => {
            shared.state().fault = Some(fault);
            Some((Err(io::Error::other("the file cannot be sent")), None))
        }
    }
}

impl Reading {
    /// Reads the next piece; with the last one, looks whether the file is what it was.
    fn piece(&mut self, path: &std::path::Path, stamp: Stamp, size: usize) -> Result<Bytes, LocalFault> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(open(path, stamp)?),
        };
        let mut bytes = vec![0; size];
        file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LocalFault::Changed,
            _ => LocalFault::Unreadable(error.into()),
        })?;
        self.hasher.update(&bytes);
        self.left -= size as u64;
        // The name is looked at too: editors put a new file in the place of the old one.
        if self.left == 0 && (stamp_of(file).as_ref() != Ok(&stamp) || stamp_at(path).as_ref() != Ok(&stamp))
        {
            return Err(LocalFault::Changed);
        }
        Ok(bytes.into())
    }
}

fn open(path: &std::path::Path, stamp: Stamp) -> Result<File, LocalFault> {
    let file = File::open(path).map_err(local)?;
    if stamp_of(&file)? != stamp { Err(LocalFault::Changed) } else { Ok(file) }
}

fn stamp_of(file: &File) -> Result<Stamp, LocalFault> {
    let metadata = file.metadata().map_err(local)?;
    Ok(Stamp { size: metadata.len(), modified: disk::modified(&metadata) })
}

fn stamp_at(path: &std::path::Path) -> Result<Stamp, LocalFault> {
    let metadata = std::fs::metadata(path).map_err(local)?;
    Ok(Stamp { size: metadata.len(), modified: disk::modified(&metadata) })
}

fn local(error: io::Error) -> LocalFault {
    match error.kind() {
        io::ErrorKind::NotFound => LocalFault::Gone,
        _ => LocalFault::Unreadable(error.into()),
    }
}

/// Returns the length and change time of the file at `path` now; `None` where there is no file.
#[must_use]
pub(crate) fn look(path: &std::path::Path) -> Option<Stamp> {
    stamp_at(path).ok()
}

/// Hashes the file at `path`, which has to be as `stamp` has it.
///
/// # Errors
/// When it is not, or cannot be read.
pub(crate) fn hash(path: &std::path::Path, stamp: Stamp) -> Result<Sha256Digest, LocalFault> {
    let mut reading = Reading { left: stamp.size, file: None, hasher: Sha256::new() };
    loop {
        let size = usize::try_from(reading.left).unwrap_or(usize::MAX).min(PIECE);
        reading.piece(path, stamp, size)?;
        if reading.left == 0 {
            return Ok(Sha256Digest::new(reading.hasher.finalize().into()));
        }
    }
}
