//! A part being written: the data, and from time to time the record of which of its blocks can be trusted.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::edge::folder::checksummed;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;

use super::part_blocks::{PartBlocks, sum_of};
use super::part_record::{PartIdentity, PartRecord, read_whole};

/// A record is written after so many blocks of new data …
const RECORD_EVERY: u64 = 16;

/// … or after this long, so that a kill loses no more than that on slow links. A record is one small file, written and
/// renamed without a flush: five a second and part cost nothing that can be measured. A file that arrives within this
/// time has none.
pub(crate) const RECORD_AFTER: Duration = Duration::from_millis(200);

/// A part being written. Ranges may be written side by side, each of them in order.
#[derive(Debug)]
pub(crate) struct Part {
    /// Bytes in one block.
    block: u64,
    file: File,
    data: PathBuf,
    record: PathBuf,
    /// Held while the record is replaced or removed: an earlier record never replaces a later one, and none is written after the
    /// removal.
    record_file: Mutex<RecordFile>,
    written: Mutex<Written>,
}

/// What was written, and how much of that a record names.
#[derive(Debug)]
struct Written {
    identity: Option<PartIdentity>,
    sums: PartBlocks,
    unrecorded: u64,
    recorded_at: Instant,
}

/// The file of the record, beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordFile {
    Absent,
    Present,
    /// The data was published or discarded: no record is written any more.
    Over,
}

impl Part {
    pub(super) fn new(file: File, data: PathBuf, sums: PartBlocks, identity: Option<PartIdentity>) -> Self {
        let record = data.with_extension("json");
        let (block, written) = (sums.block(), Mutex::new(Written::new(sums, identity)));
        Self { block, file, data, record, record_file: Mutex::new(RecordFile::Absent), written }
    }

    /// Takes in what this is a part of; from then on it can be taken over after a crash.
    pub(crate) fn identify(&self, identity: PartIdentity) {
        self.written().identity = Some(identity);
    }

    /// Returns the file name in `.rcsync/parts`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        self.data.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    }

    /// Returns the path of its data.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.data
    }

    /// Returns the open file.
    #[must_use]
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Writes bytes at an offset, and from time to time the record of what can be trusted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        disk::write_at(&self.file, bytes, offset).map_err(fault("write", &self.data))?;
        if self.book(offset, bytes) {
            self.record_now()?;
        }
        Ok(())
    }

    /// Reads bytes back, from the page cache as a rule.
    ///
    /// # Errors
    /// When the disk refuses, or the file is shorter than it must be.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        disk::read_at(&self.file, buffer, offset).map_err(fault("read", &self.data))
    }

    /// Writes down which blocks can be trusted. Does nothing while it is unknown what this is a part of.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn record_now(&self) -> Result<(), Error> {
        let mut record_file = self.record_file();
        if *record_file == RecordFile::Over {
            return Ok(());
        }
        let (record, named) = {
            let mut written = self.written();
            let Some(record) = written.record() else { return Ok(()) };
            written.recorded_at = Instant::now();
            (record, std::mem::take(&mut written.unrecorded))
        };
        *record_file = RecordFile::Present;
        let staging = disk::parent(&self.record);
        let text = checksummed::seal(&record).map_err(|error| fault("record", &self.record)(error.into()));
        let replaced =
            text.and_then(|text| disk::replace(&self.record, staging, text.as_bytes(), Durability::Hopeful));
        if replaced.is_err() {
            self.written().unrecorded += named;
        }
        replaced
    }

    /// Whether bytes were written longer ago than a kill may lose that no record names yet.
    #[must_use]
    pub(crate) fn is_record_due(&self) -> bool {
        let written = self.written();
        written.is_ahead() && written.is_old()
    }

    /// Whether any byte was written that no record names yet.
    #[must_use]
    pub(crate) fn is_ahead_of_record(&self) -> bool {
        self.written().is_ahead()
    }

    /// Returns the whole file's length in bytes, once it is known what this is a part of.
    pub(super) fn length(&self) -> Option<u64> {
        self.written().identity.as_ref().map(|identity| identity.length)
    }

    /// Bytes in one block.
    pub(super) const fn block(&self) -> u64 {
        self.block
    }

    /// Sums the blocks of a whole file that two connections delivered between them: they are read back, from the page cache
    /// as a rule. Only the last pieces of a file are split that finely, so these are few.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn sum_shared_blocks(&self) -> Result<(), Error> {
        let Some(length) = self.length() else { return Ok(()) };
        let block = self.block;
        let mut buffer = Vec::new();
        for index in 0..length.div_ceil(block) {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            if self.written().sums.sum(at, length).is_some() {
                continue;
            }
            let start = index * block;
            buffer.resize(usize::try_from((length - start).min(block)).unwrap_or_default(), 0);
            if !read_whole(&self.file, start, &mut buffer) {
                let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(fault("read", &self.data)(source));
            }
            self.written().sums.put_full(at, sum_of(&buffer));
        }
        Ok(())
    }

    /// Returns what the record would hold now, where it is known what this is a part of.
    pub(super) fn record(&self) -> Option<PartRecord> {
        self.written().record()
    }

    /// Makes every byte durable; the part's record is not needed any more.
    ///
    /// # Errors
    /// When the disk refuses; the part must then be discarded, never flushed again.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        disk::flush(&self.file).map_err(fault("flush", &self.data))
    }

    /// Removes the record, once the data has its final name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove_record(&self) -> Result<(), Error> {
        let mut record_file = self.record_file();
        if *record_file == RecordFile::Present {
            disk::remove(&self.record)?;
        }
        *record_file = RecordFile::Over;
        self.written().unrecorded = 0;
        Ok(())
    }

    /// Removes data and record.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn discard(&self) -> Result<(), Error> {
        disk::remove(&self.data)?;
        self.remove_record()
    }

    fn record_file(&self) -> std::sync::MutexGuard<'_, RecordFile> {
        self.record_file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sums the blocks that these bytes touch. A stretch grows at its end by one connection at a time, so its sum can be
    /// updated without the lock; until then the old one is kept, for records that are written meanwhile. A
    /// block that is full begins its way to the disk, so that the flush before publishing is short. Returns whether the
    /// record is due.
    fn book(&self, offset: u64, bytes: &[u8]) -> bool {
        let block = self.block;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let index = usize::try_from(at / block).unwrap_or(usize::MAX);
            let within = at % block;
            let room = usize::try_from(block - within).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            let mut stretch = self.written().sums.stretch_at(index, within);
            stretch.grow(now);
            if self.written().sums.put(index, stretch) {
                disk::begin_flush(&self.file, at - within, block);
            }
            at += now.len() as u64;
            rest = later;
        }
        let mut written = self.written();
        written.unrecorded += bytes.len() as u64;
        written.identity.is_some() && (written.unrecorded >= RECORD_EVERY * block || written.is_old())
    }
}

impl Written {
    fn new(sums: PartBlocks, identity: Option<PartIdentity>) -> Self {
        Self { identity, sums, unrecorded: 0, recorded_at: Instant::now() }
    }

    /// Whether any byte was written that no record names yet.
    const fn is_ahead(&self) -> bool {
        self.identity.is_some() && self.unrecorded > 0
    }

    fn record(&self) -> Option<PartRecord> {
        Some(PartRecord::new(self.identity.clone()?, &self.sums))
    }

    /// Whether the last record was written long ago.
    fn is_old(&self) -> bool {
        self.recorded_at.elapsed() >= RECORD_AFTER
    }
}
