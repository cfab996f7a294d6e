//! Room on the disk: promised to each file before its bytes come, and looked after while they do.
//!
//! A promise is kept in the books alone. Reserving blocks from the file system would guard against other programs too,
//! but some fill the blocks with zeros to do so (memory disks) or take minutes (exFAT); other programs are noticed
//! before each write instead.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::decide::transfer::disk_space::{Shortage, floor, shortage, surely_fits};
use crate::edge::system::disk;
use crate::edge::system::disk::Space;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::units::ByteCount;

/// The room under one folder.
#[derive(Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    min_free: Option<ByteCount>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// How much room there was when it was last looked at.
    seen: Option<(Instant, Space)>,
    promises: HashMap<ArtifactKey, u64>,
    promised: u64,
    /// The lack of room was reported, and there has been none since.
    is_reported: bool,
}

impl Room {
    pub(crate) fn new(folder: PathBuf, min_free: Option<ByteCount>) -> Self {
        Self { folder, min_free, books: Mutex::default() }
    }

    /// Promises a file the bytes that it still lacks. A promise is not made twice.
    pub(crate) fn promise(&self, key: &ArtifactKey, wanted: u64) -> Result<Option<Shortage>, Error> {
        let mut books = self.books();
        if books.promises.contains_key(key) {
            return Ok(None);
        }
        let promised = books.promised;
        let short = self.shortage(&mut books, promised, wanted)?;
        if short.is_none() {
            books.promises.insert(key.clone(), wanted);
            books.promised += wanted;
            books.is_reported = false;
        }
        Ok(short)
    }

    /// Asks for leave to write bytes of a file now, and takes them out of its promise.
    pub(crate) fn spend(&self, key: &ArtifactKey, count: u64) -> Result<Option<Shortage>, Error> {
        let mut books = self.books();
        let short = self.shortage(&mut books, 0, count)?;
        if short.is_none() {
            let promise = books.promises.get_mut(key);
            let kept = promise.map_or(0, |left| {
                let kept = (*left).min(count);
                *left -= kept;
                kept
            });
            books.promised -= kept;
        }
        Ok(short)
    }

    /// Ends a promise: the file is whole, or does without for now.
    pub(crate) fn give_back(&self, key: &ArtifactKey) {
        let mut books = self.books();
        let left = books.promises.remove(key).unwrap_or(0);
        books.promised -= left;
    }

    /// Whether this is the first time that room is lacking since there was some.
    pub(crate) fn is_news(&self) -> bool {
        !std::mem::replace(&mut self.books().is_reported, true)
    }

    /// Returns the bytes that may be written here before the disk is as full as it may be; `None` where that is unknown.
    pub(crate) fn above_floor(&self) -> Result<Option<u64>, Error> {
        let space = disk::free_space(&self.folder)?;
        Ok(space.map(|space| space.free.saturating_sub(floor(self.min_free, space.total))))
    }

    fn shortage(&self, books: &mut Books, promised: u64, wanted: u64) -> Result<Option<Shortage>, Error> {
        let floor = |space: Space| floor(self.min_free, space.total);
        if let Some((at, space)) = books.seen
            && surely_fits(at.elapsed(), space.free, promised, floor(space), wanted)
        {
            return Ok(None);
        }
        // Unknown is not full: what does not fit fails when it is written.
        let Some(space) = disk::free_space(&self.folder)? else { return Ok(None) };
        books.seen = Some((Instant::now(), space));
        Ok(shortage(space.free, promised, floor(space), wanted))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::ArtifactKind;

    fn key(name: &str) -> ArtifactKey {
        ArtifactKey { kind: ArtifactKind::Checkpoint, path: name.into() }
    }

    #[test]
    fn what_is_promised_to_one_is_not_promised_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let free = disk::free_space(dir.path()).unwrap().unwrap().free;
        let room = Room::new(dir.path().to_path_buf(), Some(ByteCount(0)));
        let most = free / 4 * 3;
        assert_eq!(room.promise(&key("a"), most).unwrap(), None);
        assert_eq!(room.promise(&key("a"), most).unwrap(), None, "the same promise");
        let short = room.promise(&key("b"), most).unwrap().unwrap();
        assert_eq!(short.wanted, most);
        assert!(room.is_news() && !room.is_news(), "reported once");
        assert_eq!(room.spend(&key("a"), most).unwrap(), None);
        assert_eq!(room.promise(&key("b"), most).unwrap(), None, "what was spent shows in what is free");
        assert!(room.is_news(), "there was room in between");
        room.give_back(&key("a"));
        room.give_back(&key("b"));
        room.give_back(&key("b"));
        assert_eq!(room.promise(&key("c"), most).unwrap(), None);
    }

    #[test]
    fn nothing_is_written_below_the_floor() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path().to_path_buf(), Some(ByteCount(u64::MAX)));
        assert!(room.promise(&key("a"), 1).unwrap().is_some());
        assert!(room.spend(&key("a"), 1).unwrap().is_some());
    }
}
