//! The part of a file that is here already: data, and a record of which blocks of it can be trusted.
//!
//! Neither the length of the data nor what a record claims proves anything after a crash (measured: full length,
//! zeros inside). So the record has a checksum for each block, and taking a part over reads every block again before it
//! counts. That makes the record safe even where the data that it describes was never flushed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crc_fast::{CrcAlgorithm, Digest};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::edge::folder::checksummed;
use crate::edge::system::directory::Directory;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::claim::Claim;
use crate::model::revision::Revision;

use super::lock::Others;

/// The largest block that a record may have, which is what one takes in memory.
const LARGEST_BLOCK: u64 = 1 << 20;

/// The longest record that is read: a file of a terabyte has some ten million bytes of checksums.
pub(crate) const RECORD_BOUND: u64 = 64 << 20;

/// A record is written after so many blocks of new data …
const RECORD_EVERY: u64 = 16;

/// … or after this long, so that a kill loses no more than that on slow links. A record is one small file, written and
/// renamed without a flush: four a second and part cost nothing that can be measured. A file that arrives within this
/// time has none.
const RECORD_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub struct PartFolder {
    folder: PathBuf,
    /// Bytes in one block: full ones are recorded by number, what is here of others as stretches.
    block: u64,
    /// The same, held open from the first part on.
    open: Arc<OnceLock<Directory>>,
    others: Others,
}

/// What a part is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartIdentity {
    pub key: ArtifactKey,
    /// Which bytes of it.
    pub revision: Revision,
    /// Its whole length in bytes.
    pub length: u64,
    /// What the server claimed about the whole file.
    pub claims: Vec<Claim>,
}

/// What is written beside a part's data.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) identity: PartIdentity,
    pub(crate) block: u64,
    /// First block of a run of blocks, and their checksums as eight hex digits each.
    runs: Vec<(u64, String)>,
    /// What is here of blocks that are not full: first byte, length, and checksum as eight hex digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stretches: Vec<(u64, u64, String)>,
}

/// A part being written. Ranges may be written side by side, each of them in order.
#[derive(Debug)]
pub struct Part {
    /// Bytes in one block.
    block: u64,
    file: File,
    data: PathBuf,
    record: PathBuf,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    /// Bytes in one block.
    block: u64,
    identity: Option<PartIdentity>,
    blocks: Vec<Block>,
    unrecorded: u64,
    recorded_at: Instant,
    /// Whether a record is beside the data.
    is_recorded: bool,
}

#[derive(Debug, Default, Clone)]
enum Block {
    #[default]
    Empty,
    /// Stretches of it, in order. One, as a rule: more where connections met in it.
    Begun(Vec<Stretch>),
    Full {
        sum: u32,
    },
}

/// Bytes of one block that were written in order. Places are counted from the block's first byte.
#[derive(Debug, Clone)]
struct Stretch {
    from: u64,
    upto: u64,
    sum: Box<Digest>,
}

/// A part that an earlier run left, with the ranges of it that were read back and found right.
#[derive(Debug)]
pub struct TakenOver {
    /// The part, ready to be written on.
    pub part: Part,
    pub identity: PartIdentity,
    /// The ranges that can be trusted.
    pub here: Vec<Range<u64>>,
}

impl PartFolder {
    /// Opens `.rcsync/parts`, which must exist, where no other process is at work. Blocks are small, so that small files
    /// have many.
    #[cfg(test)]
    pub fn new(folder: PathBuf) -> Self {
        Self::beside(folder, Others::default(), tests::BLOCK)
    }

    /// Opens `.rcsync/parts`, which must exist; others may be at work in it.
    #[must_use]
    pub fn beside(folder: PathBuf, others: Others, block: u64) -> Self {
        Self { folder, block, open: Arc::default(), others }
    }

    /// Returns the path of a part by its file name, as journal records give it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Begins an empty part under a name of its own, with the permissions that it is published with: until then the
    /// private folder keeps others from it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(&self, key: &ArtifactKey) -> Result<Part, Error> {
        let name = disk::private_file_name(&key.fingerprint(), "part");
        let data = self.folder.join(&name);
        let file = self.directory()?.create_new(&name).map_err(fault("create", &data))?;
        Ok(Part::new(file, data, Books::new(self.block, Vec::new(), None)))
    }

    fn directory(&self) -> Result<&Directory, Error> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let opened = Directory::open(&self.folder).map_err(fault("open", &self.folder))?;
        Ok(self.open.get_or_init(|| opened))
    }

    /// Takes over what an earlier run left of a file: renames it to a private name first, so that two processes never
    /// write one part, then reads every recorded block again. Parts without a usable record are removed.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub fn take_over(&self, key: &ArtifactKey) -> Result<Option<TakenOver>, Error> {
        let mut best: Option<TakenOver> = None;
        for left in self.leftovers(&format!("{}.", key.fingerprint()))? {
            let taken = self.claim(&left, key)?;
            best = match (best, taken) {
                (Some(old), Some(new)) => {
                    let (kept, dropped) =
                        if trusted(&new.here) > trusted(&old.here) { (new, old) } else { (old, new) };
                    dropped.part.discard()?;
                    Some(kept)
                }
                (one, other) => one.or(other),
            };
        }
        Ok(best)
    }

    /// Returns the fingerprints of files of which parts are left.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn fingerprints(&self) -> Result<HashSet<String>, Error> {
        let names = self.leftovers("")?;
        let stems = names.iter().filter_map(|path| path.file_name()?.to_str()?.split('.').next());
        Ok(stems.map(str::to_owned).collect())
    }

    /// Removes parts of files that are not wanted any more; where another may be at work, none, since some are another's.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub fn sweep(&self, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        if self.others.may_be_here() {
            return Ok(());
        }
        // Records as well as data: a power cut can bring either back without the other.
        for path in self.left("")? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let fingerprint = name.split('.').next().unwrap_or_default();
            if !wanted(fingerprint) {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Begins a part with those bytes of `from` that are right by `record`; returns how many there are.
    pub(crate) fn seed(&self, from: &File, record: &PartRecord) -> Result<u64, Error> {
        let part = self.create(&record.identity.key)?;
        part.identify(record.identity.clone());
        let mut buffer = Vec::new();
        let mut count = 0;
        for range in trusted_ranges(from, record) {
            buffer.resize(usize::try_from(range.end - range.start).unwrap_or_default(), 0);
            // Read twice, so the second reading is what counts: it is summed while it is written.
            if read_whole(from, range.start, &mut buffer) {
                part.write(range.start, &buffer)?;
                count += range.end - range.start;
            }
        }
        part.record_now()?;
        Ok(count)
    }

    fn leftovers(&self, prefix: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = self.left(prefix)?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "part"));
        Ok(found)
    }

    fn left(&self, prefix: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fault("read", &self.folder))? {
            let path = entry.map_err(fault("read", &self.folder))?.path();
            let matches =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix));
            if matches {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn claim(&self, left: &Path, key: &ArtifactKey) -> Result<Option<TakenOver>, Error> {
        if self.others.may_be_here() {
            return self.copy(left, key);
        }
        let data = disk::private_name(&self.folder, &key.fingerprint(), "part");
        if disk::rename(left, &data).is_err() {
            return Ok(None);
        }
        let old_record = left.with_extension("json");
        let record: Option<PartRecord> = checksummed::read(&old_record, RECORD_BOUND);
        // A link, a pipe, or a file longer than the whole is no part of ours.
        let fits =
            |length| fs::symlink_metadata(&data).is_ok_and(|data| data.is_file() && data.len() <= length);
        let usable = record.filter(|record| {
            record.identity.key == *key && record.block == self.block && fits(record.identity.length)
        });
        let Some(record) = usable else {
            disk::remove(&data)?;
            disk::remove(&old_record)?;
            return Ok(None);
        };
        let file = disk::reopen_regular(&data).map_err(fault("open", &data))?;
        // An older rcsync created parts for its user alone.
        disk::make_readable(&file).map_err(fault("make readable", &data))?;
        let blocks = trusted_blocks(&file, &record);
        let here = ranges(&blocks, &record);
        let part = Part::new(file, data, Books::new(self.block, blocks, Some(record.identity.clone())));
        part.record_now()?;
        disk::remove(&old_record)?;
        Ok(Some(TakenOver { part, identity: record.identity, here }))
    }

    /// Begins a part with the good blocks of one that another rcsync may still write: a new name alone would keep two
    /// from meeting in the folder, and not in the file.
    fn copy(&self, left: &Path, key: &ArtifactKey) -> Result<Option<TakenOver>, Error> {
        let record: Option<PartRecord> = checksummed::read(&left.with_extension("json"), RECORD_BOUND);
        let record = record.filter(|record| record.identity.key == *key && record.block == self.block);
        let (Some(record), Ok(from)) = (record, disk::open_regular(left)) else { return Ok(None) };
        let part = self.create(key)?;
        part.identify(record.identity.clone());
        let copied = each_trusted_block(&from, &record, |start, bytes| part.write(start, bytes));
        let blocks = copied.inspect_err(|_| {
            // The error is returned; what is left is swept at the end.
            let _ = part.discard();
        })?;
        part.record_now()?;
        let here = ranges(&blocks, &record);
        Ok(Some(TakenOver { part, identity: record.identity, here }))
    }
}

impl PartRecord {
    /// Whether its blocks are of a size that fits into memory.
    pub(super) const fn is_readable(&self) -> bool {
        0 < self.block && self.block <= LARGEST_BLOCK
    }
}

impl Part {
    fn new(file: File, data: PathBuf, books: Books) -> Self {
        let record = data.with_extension("json");
        Self { block: books.block, file, data, record, books: Mutex::new(books) }
    }

    /// Takes in what this is a part of; from then on it can be taken over after a crash.
    pub fn identify(&self, identity: PartIdentity) {
        self.books().identity = Some(identity);
    }

    /// Returns the file name in `.rcsync/parts`.
    #[must_use]
    pub fn name(&self) -> String {
        self.data.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    }

    /// Returns the path of its data.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.data
    }

    /// Returns the open file.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Writes bytes at an offset, and from time to time the record of what can be trusted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
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
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        disk::read_at(&self.file, buffer, offset).map_err(fault("read", &self.data))
    }

    /// Writes down which blocks can be trusted. Does nothing while it is unknown what this is a part of.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn record_now(&self) -> Result<(), Error> {
        let text = {
            let mut books = self.books();
            books.unrecorded = 0;
            books.recorded_at = Instant::now();
            let Some(record) = books.record() else { return Ok(()) };
            books.is_recorded = true;
            checksummed::seal(&record).map_err(|error| fault("record", &self.record)(error.into()))?
        };
        let staging = disk::parent(&self.record);
        disk::replace(&self.record, staging, text.as_bytes(), Durability::Hopeful)
    }

    /// Whether bytes were written longer ago than a kill may lose that no record names yet.
    #[must_use]
    pub fn is_record_due(&self) -> bool {
        let books = self.books();
        books.unrecorded > 0 && books.is_old()
    }

    /// Whether any byte was written that no record names yet.
    #[must_use]
    pub fn is_ahead_of_record(&self) -> bool {
        let books = self.books();
        books.identity.is_some() && books.unrecorded > 0
    }

    /// Returns the whole file's length in bytes, once it is known what this is a part of.
    pub(crate) fn length(&self) -> Option<u64> {
        self.books().identity.as_ref().map(|identity| identity.length)
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
    pub(crate) fn sum_shared_blocks(&self) -> Result<(), Error> {
        let Some(length) = self.length() else { return Ok(()) };
        let block = self.block;
        let mut buffer = Vec::new();
        for index in 0..length.div_ceil(block) {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            if self.books().sum(at, length).is_some() {
                continue;
            }
            let start = index * block;
            buffer.resize(usize::try_from((length - start).min(block)).unwrap_or_default(), 0);
            if !read_whole(&self.file, start, &mut buffer) {
                let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(fault("read", &self.data)(source));
            }
            let sum = low_half(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, &buffer));
            let mut books = self.books();
            if books.blocks.len() <= at {
                books.blocks.resize(at + 1, Block::Empty);
            }
            books.blocks[at] = Block::Full { sum };
        }
        Ok(())
    }

    /// Returns what the record would hold now, where it is known what this is a part of.
    pub(crate) fn record(&self) -> Option<PartRecord> {
        self.books().record()
    }

    /// Makes every byte durable; the part's record is not needed any more.
    ///
    /// # Errors
    /// When the disk refuses; the part must then be discarded, never flushed again.
    pub fn flush(&self) -> Result<(), Error> {
        disk::flush(&self.file).map_err(fault("flush", &self.data))
    }

    /// Removes the record, once the data has its final name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_record(&self) -> Result<(), Error> {
        if self.books().is_recorded { disk::remove(&self.record) } else { Ok(()) }
    }

    /// Removes data and record.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn discard(&self) -> Result<(), Error> {
        disk::remove(&self.data)?;
        self.remove_record()
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sums the blocks that these bytes touch. A stretch grows at its end by one connection at a time, so its sum can be
    /// updated without the lock; until then the old one stays in the books, for records that are written meanwhile. A
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
            let mut stretch = self.books().stretch_at(index, within);
            stretch.sum.update(now);
            stretch.upto += now.len() as u64;
            if self.books().put(index, stretch) {
                disk::begin_flush(&self.file, at - within, block);
            }
            at += now.len() as u64;
            rest = later;
        }
        let mut books = self.books();
        books.unrecorded += bytes.len() as u64;
        books.identity.is_some() && (books.unrecorded >= RECORD_EVERY * block || books.is_old())
    }
}

impl Books {
    fn new(block: u64, blocks: Vec<Block>, identity: Option<PartIdentity>) -> Self {
        Self { block, identity, blocks, unrecorded: 0, recorded_at: Instant::now(), is_recorded: false }
    }

    fn record(&self) -> Option<PartRecord> {
        let identity = self.identity.clone()?;
        let (runs, stretches) = (self.runs(identity.length), self.stretches(identity.length));
        Some(PartRecord { identity, block: self.block, runs, stretches })
    }

    /// Returns the checksum of a block of a file of `length` bytes, where all of it was summed.
    fn sum(&self, index: usize, length: u64) -> Option<u32> {
        match self.blocks.get(index)? {
            Block::Full { sum } => Some(*sum),
            // The last block is full when the file ends in it.
            Block::Begun(stretches) => {
                tiled(stretches, length.checked_sub(index as u64 * self.block)?.min(self.block))
            }
            Block::Empty => None,
        }
    }

    fn runs(&self, length: u64) -> Vec<(u64, String)> {
        let mut runs: Vec<(u64, String)> = Vec::new();
        let mut open = false;
        for index in 0..self.blocks.len() {
            let Some(sum) = self.sum(index, length) else {
                open = false;
                continue;
            };
            if !open {
                runs.push((index as u64, String::new()));
            }
            if let Some((_, sums)) = runs.last_mut() {
                sums.push_str(&format!("{sum:08x}"));
            }
            open = true;
        }
        runs
    }

    /// Returns what is here of blocks that are not full, in order.
    fn stretches(&self, length: u64) -> Vec<(u64, u64, String)> {
        let mut found = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            if let Block::Begun(stretches) = block
                && self.sum(index, length).is_none()
            {
                let start = index as u64 * self.block;
                let each = |stretch: &Stretch| {
                    (start + stretch.from, stretch.upto - stretch.from, format!("{:08x}", stretch.sum()))
                };
                found.extend(stretches.iter().map(each));
            }
        }
        found
    }

    /// Whether the last record was written long ago.
    fn is_old(&self) -> bool {
        self.recorded_at.elapsed() >= RECORD_AFTER
    }

    /// Returns the stretch of a block that ends at this place, or a new one that begins there.
    fn stretch_at(&self, index: usize, within: u64) -> Stretch {
        let begun = match self.blocks.get(index) {
            Some(Block::Begun(stretches)) => stretches.iter().find(|stretch| stretch.upto == within).cloned(),
            _ => None,
        };
        begun.unwrap_or_else(|| Stretch::new(within))
    }

    /// Takes a longer stretch of a block in. Returns whether the block became full by it.
    fn put(&mut self, index: usize, longer: Stretch) -> bool {
        if self.blocks.len() <= index {
            self.blocks.resize(index + 1, Block::Empty);
        }
        let block = &mut self.blocks[index];
        let mut stretches = match std::mem::take(block) {
            Block::Begun(stretches) => stretches,
            Block::Empty | Block::Full { .. } => Vec::new(),
        };
        // The sum of what was written over is no longer right.
        stretches.retain(|other| other.upto <= longer.from || longer.upto <= other.from);
        let place = stretches.partition_point(|other| other.from < longer.from);
        stretches.insert(place, longer);
        *block = match tiled(&stretches, self.block) {
            Some(sum) => Block::Full { sum },
            None => Block::Begun(stretches),
        };
        matches!(block, Block::Full { .. })
    }
}

impl Stretch {
    fn new(from: u64) -> Self {
        Self { from, upto: from, sum: Box::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc)) }
    }

    fn of(from: u64, bytes: &[u8]) -> Self {
        let mut stretch = Self::new(from);
        stretch.sum.update(bytes);
        stretch.upto += bytes.len() as u64;
        stretch
    }

    fn sum(&self) -> u32 {
        low_half(self.sum.finalize())
    }
}

/// Returns the checksum of stretches that follow each other without a gap from zero to `end`.
fn tiled(stretches: &[Stretch], end: u64) -> Option<u32> {
    let (mut upto, mut sum) = (0, 0);
    for stretch in stretches {
        if stretch.from != upto {
            return None;
        }
        let next = stretch.sum.finalize();
        sum = if upto == 0 {
            next
        } else {
            let length = stretch.upto - stretch.from;
            crc_fast::checksum_combine(CrcAlgorithm::Crc32IsoHdlc, sum, next, length)
        };
        upto = stretch.upto;
    }
    (upto == end && end > 0).then(|| low_half(sum))
}

/// The crate gives every checksum as 64 bits; a CRC-32 is in the low half.
fn low_half(sum: u64) -> u32 {
    u32::try_from(sum & u64::from(u32::MAX)).unwrap_or_default()
}

/// Returns the ranges of recorded blocks whose bytes still have the recorded sum.
pub(crate) fn trusted_ranges(file: &File, record: &PartRecord) -> Vec<Range<u64>> {
    ranges(&trusted_blocks(file, record), record)
}

/// Reads every recorded block and keeps those whose bytes still have the recorded sum.
fn trusted_blocks(file: &File, record: &PartRecord) -> Vec<Block> {
    each_trusted_block(file, record, |_, _| Ok(())).unwrap_or_default()
}

/// The same, and does something with the bytes of each of them, as they were when they were summed.
fn each_trusted_block(
    file: &File,
    record: &PartRecord,
    act: impl Fn(u64, &[u8]) -> Result<(), Error>,
) -> Result<Vec<Block>, Error> {
    let (length, block) = (record.identity.length, record.block);
    let mut blocks = Vec::new();
    let mut buffer = vec![0; usize::try_from(block).unwrap_or_default()];
    for (first, sums) in &record.runs {
        for (at, digits) in sums.as_bytes().chunks(8).enumerate() {
            let index = first.saturating_add(at as u64);
            let expected =
                std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            // A record may be of any size and content: nothing past the file's own length is believed or allocated.
            let start = index.saturating_mul(block);
            if start >= length {
                break;
            }
            let wanted = usize::try_from((length - start).min(block)).unwrap_or_default();
            if !read_whole(file, start, &mut buffer[..wanted]) {
                continue;
            }
            let found = low_half(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, &buffer[..wanted]));
            if expected == Some(found) {
                act(start, &buffer[..wanted])?;
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                if blocks.len() <= index {
                    blocks.resize(index + 1, Block::Empty);
                }
                blocks[index] = Block::Full { sum: found };
            }
        }
    }
    for (start, count, digits) in &record.stretches {
        let (index, within) = (start / block, start % block);
        let fits = *count > 0
            && count.checked_add(within).is_some_and(|upto| upto <= block)
            && start.checked_add(*count).is_some_and(|end| end <= length);
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if !fits || matches!(blocks.get(index), Some(Block::Full { .. })) {
            continue;
        }
        let bytes = &mut buffer[..usize::try_from(*count).unwrap_or_default()];
        if !read_whole(file, *start, bytes) {
            continue;
        }
        let stretch = Stretch::of(within, bytes);
        if u32::from_str_radix(digits, 16).is_ok_and(|expected| expected == stretch.sum()) {
            act(*start, bytes)?;
            if blocks.len() <= index {
                blocks.resize(index + 1, Block::Empty);
            }
            match &mut blocks[index] {
                Block::Begun(stretches) if stretches.last().is_some_and(|last| last.upto <= stretch.from) => {
                    stretches.push(stretch);
                }
                Block::Begun(_) | Block::Full { .. } => {}
                empty @ Block::Empty => *empty = Block::Begun(vec![stretch]),
            }
        }
    }
    Ok(blocks)
}

fn read_whole(file: &File, start: u64, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    while filled < buffer.len() {
        match disk::read_at(file, &mut buffer[filled..], start + filled as u64) {
            Ok(count) if count > 0 => filled += count,
            _ => return false,
        }
    }
    true
}

/// Returns the ranges that are in blocks of a record, in order.
fn ranges(blocks: &[Block], record: &PartRecord) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let start = index as u64 * record.block;
        match block {
            Block::Empty => {}
            Block::Full { .. } => found.push(start..(start + record.block).min(record.identity.length)),
            Block::Begun(stretches) => {
                found.extend(stretches.iter().map(|stretch| start + stretch.from..start + stretch.upto));
            }
        }
    }
    found
}

fn trusted(here: &[Range<u64>]) -> u64 {
    here.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::artifact::ArtifactKind;

    pub(in crate::edge::folder) const BLOCK: u64 = 1 << 12;

    fn key() -> ArtifactKey {
        ArtifactKey { kind: ArtifactKind::Checkpoint, path: "/o/a.safetensors".into() }
    }

    fn bytes(range: Range<u64>) -> Vec<u8> {
        range.map(|at| (at % 251) as u8).collect()
    }

    /// Writes these ranges of a file of ten blocks, in this order, and takes over what was recorded of them.
    fn kept(ranges: &[Range<u64>], spoil: Option<u64>) -> Vec<Range<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let parts = PartFolder::new(dir.path().to_path_buf());
        let part = parts.create(&key()).unwrap();
        let revision = Revision::default();
        part.identify(PartIdentity { key: key(), revision, length: 10 * BLOCK, claims: Vec::new() });
        for range in ranges {
            part.write(range.start, &bytes(range.clone())).unwrap();
        }
        part.record_now().unwrap();
        if let Some(at) = spoil {
            disk::write_at(part.file(), &[255], at).unwrap();
        }
        drop(part);
        let taken = parts.take_over(&key()).unwrap().unwrap();
        // What was taken over can be taken over again.
        taken.part.record_now().unwrap();
        drop(taken.part);
        let again = parts.take_over(&key()).unwrap().unwrap();
        assert_eq!(again.here, taken.here);
        joined(&again.here)
    }

    fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut all: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match all.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => all.push(range.clone()),
            }
        }
        all
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]
    fn what_was_recorded_is_kept_to_the_byte() {
        let (block, whole) = (BLOCK, 0..10 * BLOCK);
        for (written, expected) in [
            (vec![0..5], vec![0..5]),
            (vec![0..block + 7], vec![0..block + 7]),
            (vec![0..5, 5..9, 9..block - 1], vec![0..block - 1]),
            // Two connections, one of which begins within a block.
            (vec![0..100, block + 50..2 * block + 9], vec![0..100, block + 50..2 * block + 9]),
            // Two that meet within one, in either order.
            (vec![0..100, 100..2 * block], vec![0..2 * block]),
            (vec![100..2 * block, 0..100], vec![0..2 * block]),
            (vec![200..300, 0..100, 100..200], vec![0..300]),
            // Written over.
            (vec![0..block, 0..10], vec![0..10]),
            (vec![0..100, 50..60], vec![50..60]),
            (vec![whole.clone()], vec![whole]),
        ] {
            assert_eq!(kept(&written, None), expected, "{written:?}");
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]
    fn what_changed_since_is_not_kept() {
        let written = [0..BLOCK + 100, BLOCK + 200..BLOCK + 300];
        assert_eq!(kept(&written, Some(BLOCK + 50)), [0..BLOCK, BLOCK + 200..BLOCK + 300]);
        assert_eq!(kept(&written, Some(BLOCK + 250)), [0..BLOCK + 100]);
        assert_eq!(kept(&written, Some(3)), [BLOCK..BLOCK + 100, BLOCK + 200..BLOCK + 300]);
    }

    #[test]
    fn a_part_in_blocks_of_another_size_is_begun_anew() {
        for (written, read, kept) in
            [(BLOCK, BLOCK, true), (2 * BLOCK, 2 * BLOCK, true), (BLOCK, 2 * BLOCK, false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let parts = |block| PartFolder::beside(dir.path().to_path_buf(), Others::default(), block);
            let part = parts(written).create(&key()).unwrap();
            let revision = Revision::default();
            part.identify(PartIdentity { key: key(), revision, length: 3 * BLOCK, claims: Vec::new() });
            part.write(0, &bytes(0..2 * BLOCK)).unwrap();
            part.record_now().unwrap();
            assert_eq!(part.record().unwrap().block, written);
            let taken = parts(read).take_over(&key()).unwrap();
            assert_eq!(taken.map(|taken| trusted(&taken.here)), kept.then_some(2 * BLOCK));
        }
    }

    #[test]
    fn a_record_that_claims_nonsense_is_believed_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let parts = PartFolder::new(dir.path().to_path_buf());
        let part = parts.create(&key()).unwrap();
        let identity =
            PartIdentity { key: key(), revision: Revision::default(), length: 1000, claims: Vec::new() };
        part.write(0, &bytes(0..1000)).unwrap();
        let sum = |range: Range<u64>| format!("{:08x}", Stretch::of(0, &bytes(range)).sum());
        let stretches = vec![
            (0, 10, sum(0..10)),
            (5, 10, sum(5..15)),
            (20, 0, sum(0..0)),
            (30, 10, "no sum".to_owned()),
            (u64::MAX, 1, sum(0..1)),
            (1, u64::MAX, sum(0..1)),
            (990, 20, sum(990..1000)),
            (500, 10, sum(500..510)),
            (100, 10, sum(100..110)),
        ];
        let record = PartRecord { identity, block: BLOCK, runs: Vec::new(), stretches };
        assert_eq!(trusted_ranges(part.file(), &record), [0..10, 500..510]);
    }
}
