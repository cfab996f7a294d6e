//! The bytes of one attempt at one revision: its part file, and the hashes that follow what is here.
//!
//! Shared by the connections that serve it. A hash is passed from one to the next by a lock that is tried and never
//! waited for while bytes arrive: whichever connection has just written feeds it, and the others continue to receive.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use crate::decide::formats::Format;
use crate::decide::transfer::portions::Portions;
use crate::decide::transfer::protocol::{Known, Left};
use crate::decide::transfer::verify::{BodyHash, Inspection, Received};
use crate::decide::transfer::write_place::WritePlace;
use crate::edge::folder::part_file::Part;
use crate::edge::folder::part_folder::{PartFolder, TakenOver};
use crate::edge::folder::part_record::PartIdentity;
use crate::edge::system::blocking::blocking;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;

use super::shared_end::SharedEnd;

/// Bytes read back at once where a hash follows behind: they stay in the processor's cache until they are hashed.
const READ_BACK: usize = 256 << 10;

/// The length of a file is unknown.
const UNKNOWN: u64 = u64::MAX;

/// One attempt at one revision of one file.
#[derive(Debug)]
pub(super) struct Download {
    key: ArtifactKey,
    format: Format,
    began: Instant,
    abandoned: AtomicBool,
    /// Files up to this length are one group.
    small_file: u64,
    /// Bytes that are here without a gap, from the first one on: as far as hashes may follow.
    front: AtomicU64,
    /// Bytes that are hashed, from the first one on.
    hashed: AtomicU64,
    length: AtomicU64,
    known: Mutex<Known>,
    part: Mutex<Option<Arc<Part>>>,
    inspection: Mutex<Following<Inspection>>,
    body: Mutex<Following<BodyHash>>,
    body_begun: AtomicBool,
    body_follows: AtomicBool,
}

/// A hash that follows what is here, and the buffer that it reads back into.
#[derive(Debug)]
struct Following<H> {
    hash: Option<H>,
    buffer: Vec<u8>,
}

impl<H> Default for Following<H> {
    fn default() -> Self {
        Self { hash: None, buffer: Vec::new() }
    }
}

/// What takes a file's bytes in order.
trait InOrder {
    fn position(&self) -> u64;
    fn feed(&mut self, bytes: &[u8]);
}

impl InOrder for Inspection {
    fn position(&self) -> u64 {
        self.position()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }
}

impl InOrder for BodyHash {
    fn position(&self) -> u64 {
        self.position()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }
}

/// What writing bytes led to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Absorbed {
    /// Bytes that were written: fewer than were passed, where the range's end was lowered.
    pub(super) count: u64,
    /// Bytes before them that a connection which races this one has written.
    pub(super) skipped: u64,
    /// The length that the file's own format declares, once that is known.
    pub(super) declared: Option<u64>,
    /// No later byte can make it a whole file.
    pub(super) hopeless: bool,
}

impl Download {
    /// Begins with nothing.
    pub(super) fn new(key: ArtifactKey, file_name: &str, portions: Portions) -> Self {
        Self {
            key,
            format: Format::of(file_name),
            began: Instant::now(),
            abandoned: AtomicBool::new(false),
            small_file: portions.small_file,
            front: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            length: AtomicU64::new(UNKNOWN),
            known: Mutex::default(),
            part: Mutex::default(),
            inspection: Mutex::default(),
            body: Mutex::default(),
            body_begun: AtomicBool::new(false),
            body_follows: AtomicBool::new(false),
        }
    }

    /// Continues with what an earlier run or try left; returns what that is, too.
    pub(super) fn taken_over(
        key: ArtifactKey,
        file_name: &str,
        portions: Portions,
        taken: TakenOver,
    ) -> (Self, Left) {
        let TakenOver { part, identity, here } = taken;
        let left = Left {
            revision: identity.revision.clone(),
            length: identity.length,
            claims: identity.claims.clone(),
            here,
        };
        let known = Known {
            revision: Some(identity.revision),
            declared: Some(identity.length),
            claims: identity.claims,
            ranges_proven: true,
        };
        let download = Self {
            length: AtomicU64::new(identity.length),
            known: Mutex::new(known),
            part: Mutex::new(Some(Arc::new(part))),
            ..Self::new(key, file_name, portions)
        };
        (download, left)
    }

    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn length(&self) -> Option<u64> {
        Some(self.length.load(Ordering::Acquire)).filter(|length| *length != UNKNOWN)
    }

    /// Whether the whole of it is one group.
    pub(super) fn is_small(&self) -> bool {
        self.length().is_some_and(|length| length <= self.small_file)
    }

    /// Whether every byte before `offset` is written and hashed, and no later one.
    pub(super) fn is_next(&self, offset: u64) -> bool {
        self.front() == offset && self.hashed.load(Ordering::Acquire) == offset
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Takes in what is known of the revision: the part can be taken over from now on.
    pub(super) fn learn(&self, known: Known) {
        if let Some(length) = known.declared {
            self.length.store(length, Ordering::Release);
        }
        if let (Some(part), Some(identity)) = (&*lock(&self.part), self.identity(&known)) {
            part.identify(identity);
        }
        *lock(&self.known) = known;
    }

    /// Returns how far the file is here without a gap.
    pub(super) fn front(&self) -> u64 {
        self.front.load(Ordering::Acquire)
    }

    /// Takes in how far the file is here without a gap; returns whether that is news.
    pub(super) fn set_front(&self, front: u64) -> bool {
        self.front.fetch_max(front, Ordering::AcqRel) < front
    }

    fn identity(&self, known: &Known) -> Option<PartIdentity> {
        Some(PartIdentity {
            key: self.key.clone(),
            revision: known.revision.clone()?,
            length: known.declared?,
            claims: known.claims.clone(),
        })
    }

    /// Writes bytes at their place, as far as the range still wants them, and lets the hashes follow. Blocks, for a moment on
    /// the spot: the hashes follow these bytes alone there, and none that have to be read back.
    pub(super) fn absorb(
        self: &Arc<Self>,
        parts: &PartFolder,
        range: &SharedEnd,
        offset: u64,
        chunks: &[Bytes],
        write_place: WritePlace,
    ) -> Result<Absorbed, Error> {
        if self.is_abandoned() {
            return Ok(Absorbed::default());
        }
        let part = self.part(parts)?;
        let wanted = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        // What another connection has taken over is left out: each byte is written once, or it could differ from the one
        // that was hashed.
        let granted = range.claim(offset, wanted);
        let (count, skipped) = (granted.end - granted.start, granted.start - offset);
        let mut at = offset;
        let mut written = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let chunk_end = at + chunk.len() as u64;
            let (from, upto) = (granted.start.clamp(at, chunk_end), granted.end.clamp(at, chunk_end));
            if from < upto {
                let within = |place: u64| usize::try_from(place - at).unwrap_or(chunk.len());
                let chunk = &chunk[within(from)..within(upto)];
                part.write(from, chunk)?;
                written.push(chunk);
            }
            at = chunk_end;
        }
        let Range { start, end } = granted;
        // It moves where these bytes were the next ones, and stays otherwise.
        let _ = self.front.compare_exchange(start, end, Ordering::AcqRel, Ordering::Relaxed);
        let Ok(mut following) = self.inspection.try_lock() else {
            return Ok(Absorbed { count, skipped, ..Absorbed::default() });
        };
        let Following { hash, buffer } = &mut *following;
        let inspection = hash.get_or_insert_with(|| self.new_inspection());
        if inspection.position() == start {
            for chunk in written {
                inspection.feed(chunk);
            }
        }
        match write_place {
            WritePlace::OnTheSpot if !self.is_small() => {
                self.hashed.store(inspection.position(), Ordering::Release);
                self.let_body_follow(inspection, &part);
            }
            _ => self.inspect(inspection, buffer, &part)?,
        }
        Ok(Absorbed {
            count,
            skipped,
            declared: inspection.declared_length(),
            hopeless: inspection.is_hopeless(),
        })
    }

    /// Lets the hashes follow what is here, unless a connection is at it. Blocks.
    pub(super) fn follow(self: &Arc<Self>, parts: &PartFolder) -> Result<(), Error> {
        if self.is_abandoned() {
            return Ok(());
        }
        let part = self.part(parts)?;
        let Ok(mut following) = self.inspection.try_lock() else { return Ok(()) };
        let Following { hash, buffer } = &mut *following;
        let inspection = hash.get_or_insert_with(|| self.new_inspection());
        self.inspect(inspection, buffer, &part)
    }

    fn new_inspection(&self) -> Inspection {
        Inspection::new(self.format, &lock(&self.known).claims)
    }

    /// Feeds the inspection whatever is here without a gap behind what it has seen.
    fn inspect(
        self: &Arc<Self>,
        inspection: &mut Inspection,
        buffer: &mut Vec<u8>,
        part: &Arc<Part>,
    ) -> Result<(), Error> {
        loop {
            self.hashed.store(inspection.position(), Ordering::Release);
            self.let_body_follow(inspection, part);
            if !self.feed_next(inspection, buffer, part)? {
                return Ok(());
            }
        }
    }

    /// Has the body's hash follow on a thread of its own, from the moment in which the header declares one to compare
    /// with. Small files do without the thread.
    fn let_body_follow(self: &Arc<Self>, inspection: &Inspection, part: &Arc<Part>) {
        if self.length().is_none() || self.is_small() {
            return;
        }
        if !self.body_begun.load(Ordering::Acquire) {
            let Some(body) = inspection.body() else { return };
            lock(&self.body).hash = Some(body);
            self.body_begun.store(true, Ordering::Release);
        }
        if !self.body_follows.swap(true, Ordering::AcqRel) {
            let (download, part) = (self.clone(), part.clone());
            // Not waited for: what it did not reach, or could not read, is met again at the file's end.
            drop(blocking(move || {
                let mut following = lock(&download.body);
                let Following { hash: Some(body), buffer } = &mut *following else { return };
                while download.feed_next(body, buffer, &part).unwrap_or(false) {}
                download.body_follows.store(false, Ordering::Release);
            }));
        }
    }

    /// Feeds a hash the next bytes that are here; `false` where there are none yet.
    fn feed_next(&self, hash: &mut impl InOrder, buffer: &mut Vec<u8>, part: &Part) -> Result<bool, Error> {
        let (position, front) = (hash.position(), self.front.load(Ordering::Acquire));
        if position >= front || self.is_abandoned() {
            return Ok(false);
        }
        buffer.resize(READ_BACK, 0);
        let wanted = usize::try_from(front - position).unwrap_or(usize::MAX).min(READ_BACK);
        let read = part.read(position, &mut buffer[..wanted])?;
        if read == 0 {
            return Err(cut_off(part));
        }
        hash.feed(&buffer[..read]);
        Ok(true)
    }

    /// Ends the inspection of a complete file; `None` when it was abandoned meanwhile. Blocks while the hashes catch up.
    pub(super) fn finish(
        self: &Arc<Self>,
        parts: &PartFolder,
    ) -> Result<Option<(Received, Arc<Part>)>, Error> {
        if self.is_abandoned() {
            return Ok(None);
        }
        let part = self.part(parts)?;
        let Following { hash, mut buffer } = std::mem::take(&mut *lock(&self.inspection));
        let mut inspection = hash.unwrap_or_else(|| self.new_inspection());
        self.inspect(&mut inspection, &mut buffer, &part)?;
        // Waits for the thread that the body's hash follows on.
        let followed = std::mem::take(&mut *lock(&self.body)).hash;
        let mut body = followed.or_else(|| inspection.body());
        if let Some(body) = &mut body {
            while self.feed_next(body, &mut buffer, &part)? {}
        }
        Ok((!self.is_abandoned()).then(|| (inspection.finish(body), part)))
    }

    /// Reads the bytes before a range, to be compared with what the host sends for them now. Blocks.
    pub(super) fn before(&self, start: u64, count: u64) -> Result<Vec<u8>, Error> {
        let Some(part) = lock(&self.part).clone() else { return Ok(Vec::new()) };
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = part.read(start - count + filled as u64, &mut bytes[filled..])?;
            if read == 0 {
                return Err(cut_off(&part));
            }
            filled += read;
        }
        Ok(bytes)
    }

    fn part(&self, parts: &PartFolder) -> Result<Arc<Part>, Error> {
        let mut part = lock(&self.part);
        if let Some(part) = &*part {
            return Ok(part.clone());
        }
        let created = Arc::new(parts.create(&self.key)?);
        if let Some(identity) = self.identity(&lock(&self.known)) {
            created.identify(identity);
        }
        *part = Some(created.clone());
        Ok(created)
    }

    /// Whether bytes were written longer ago than a kill may lose that no record names yet. Does not wait: a part that is being
    /// created has no bytes.
    pub(super) fn is_record_due(&self) -> bool {
        let part = self.part.try_lock();
        part.is_ok_and(|part| part.as_ref().is_some_and(|part| part.is_record_due()))
    }

    /// Whether any byte was written that no record names yet.
    pub(super) fn is_ahead_of_record(&self) -> bool {
        lock(&self.part).as_ref().is_some_and(|part| part.is_ahead_of_record())
    }

    /// Records what is here, for the next run. Blocks.
    pub(super) fn keep(&self) -> Result<(), Error> {
        let part = lock(&self.part).clone();
        match part {
            Some(part) if !self.is_abandoned() => part.record_now(),
            _ => Ok(()),
        }
    }

    /// Ends without removing what is here: the next try takes it over. Connections on it stop. Blocks.
    pub(super) fn retire(&self) -> Result<(), Error> {
        let kept = self.keep();
        self.abandoned.store(true, Ordering::Release);
        kept
    }

    /// Removes what is here; connections that still serve this attempt stop. Blocks.
    pub(super) fn abandon(&self) -> Result<(), Error> {
        self.abandoned.store(true, Ordering::Release);
        let part = lock(&self.part).take();
        part.map_or(Ok(()), |part| part.discard())
    }
}

fn cut_off(part: &Part) -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    Error::Disk { verb: "read", path: part.path().to_path_buf(), source: source.into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not take every other transfer with it; what is half changed is proven or dropped later.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
