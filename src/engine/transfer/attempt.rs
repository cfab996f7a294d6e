//! One attempt at one revision of one file: its pieces, its part on disk, its inspection.
//!
//! When the revision changes, the whole attempt is dropped and another begins; connections that still serve the old
//! one find it abandoned and stop. So bytes of two revisions never meet.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use crate::decide::formats::Format;
use crate::decide::transfer::ranges::{Cut, Lease, PieceMap};
use crate::decide::transfer::verify::{BodyHash, Inspection, Received};
use crate::edge::folder::part_file::{Part, PartFolder, PartIdentity, TakenOver};
use crate::edge::system::blocking::blocking;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::claim::{Claim, merge};
use crate::model::revision::Revision;

use super::writer::is_soon_done;

/// Bytes read back at once where the hash follows behind: they stay in the processor's cache until they are hashed.
const READ_BACK: usize = 256 << 10;

/// A body of which nobody says how long it is, and whose format does not say either, ends by now, or it never will:
/// more than any file of such a format that a trainer writes.
const MOST_UNTOLD: u64 = 8 << 30;

/// One attempt at one revision of one file.
#[derive(Debug)]
pub(crate) struct Attempt {
    key: ArtifactKey,
    format: Format,
    began: Instant,
    resumed_from: u64,
    abandoned: AtomicBool,
    pieces: Mutex<PieceMap>,
    known: Mutex<Known>,
    part: Mutex<Option<Arc<Part>>>,
    inspection: Mutex<Following<Inspection>>,
    body: Mutex<Following<BodyHash>>,
    body_begun: AtomicBool,
    body_follows: AtomicBool,
    /// Answers that no validator ties together were joined where an overlap agreed.
    joined: AtomicBool,
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

/// What answers have told of the revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Validators and length, from the first answer or the part's record.
    pub(crate) revision: Option<Revision>,
    /// The length that the server declared, in bytes.
    pub(crate) declared: Option<u64>,
    /// What the server claimed about the whole file.
    pub(crate) claims: Vec<Claim>,
    /// A valid 206 has proven that the host serves ranges of it.
    pub(crate) ranges_proven: bool,
}

/// What booking bytes led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Booked {
    /// Bytes that this piece still wants.
    pub(crate) wanted: u64,
    /// These were the last bytes of the file: whoever hears this finishes it.
    pub(crate) complete: bool,
    /// Bytes of the file that are here.
    pub(crate) have: u64,
    /// The file's own header declares more bytes than the host has: the trainer is still writing it.
    pub(crate) unfinished: Option<u64>,
    /// Nobody told how long it is, and it goes on beyond any end that it could have.
    pub(crate) endless: bool,
}

impl Attempt {
    /// Begins with nothing.
    pub(crate) fn new(key: ArtifactKey, file_name: &str) -> Self {
        Self::with(key, file_name, PieceMap::unknown(), Known::default(), None, 0)
    }

    /// Goes on with what an earlier run left.
    pub(crate) fn resumed(key: ArtifactKey, file_name: &str, taken: TakenOver) -> Self {
        let TakenOver { part, identity, mut here } = taken;
        // Complete as it may be, it may be of a revision that is hosted no more: its last block is asked for again, so
        // that the host says which one it has. What is here of others is asked about with their next request anyway.
        if here.iter().map(|range| range.end - range.start).sum::<u64>() == identity.length {
            here.retain(|range| range.end < identity.length);
        }
        let pieces = PieceMap::resumed(identity.length, here);
        let have = pieces.have();
        let joined = !identity.revision.is_comparable();
        let known = Known {
            declared: Some(identity.length),
            revision: Some(identity.revision),
            claims: identity.claims,
            ranges_proven: true,
        };
        let attempt = Self::with(key, file_name, pieces, known, Some(Arc::new(part)), have);
        attempt.joined.store(joined, Ordering::Release);
        attempt
    }

    fn with(
        key: ArtifactKey,
        file_name: &str,
        pieces: PieceMap,
        known: Known,
        part: Option<Arc<Part>>,
        resumed_from: u64,
    ) -> Self {
        Self {
            key,
            format: Format::of(file_name),
            began: Instant::now(),
            resumed_from,
            abandoned: AtomicBool::new(false),
            pieces: Mutex::new(pieces),
            known: Mutex::new(known),
            part: Mutex::new(part),
            inspection: Mutex::default(),
            body: Mutex::default(),
            body_begun: AtomicBool::new(false),
            body_follows: AtomicBool::new(false),
            joined: AtomicBool::new(false),
        }
    }

    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    pub(crate) const fn resumed_from(&self) -> u64 {
        self.resumed_from
    }

    pub(crate) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    pub(crate) fn have(&self) -> u64 {
        lock(&self.pieces).have()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        lock(&self.pieces).length()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Whether answers were joined of which no validator says that they are of one revision.
    pub(crate) fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    /// The bytes before a range, read back to be compared with what the host sends for them now.
    pub(crate) fn before(&self, start: u64, count: u64) -> Result<Vec<u8>, Error> {
        self.joined.store(true, Ordering::Release);
        let Some(part) = lock(&self.part).clone() else { return Ok(Vec::new()) };
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = part.read(start - count + filled as u64, &mut bytes[filled..])?;
            if read == 0 {
                let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(Error::Disk { verb: "read", path: part.path().to_path_buf(), source });
            }
            filled += read;
        }
        Ok(bytes)
    }

    /// Returns how many bytes are here without a gap before `start`.
    pub(crate) fn have_before(&self, start: u64) -> u64 {
        let here = lock(&self.pieces).ranges().find(|range| range.start < start && start <= range.end);
        here.map_or(0, |range| start - range.start)
    }

    /// Leases the next piece, or, where `split` says so, half of the largest one on its way. A host that has not
    /// proven ranges, or whose answers cannot be compared, serves one connection at a time.
    pub(crate) fn lease(&self, cut: &Cut, split: bool) -> Option<(Lease, Range<u64>)> {
        // Asked of each file that was begun, whenever a connection looks for work: it copies nothing.
        let mut pieces = lock(&self.pieces);
        if pieces.is_complete() || (pieces.is_busy() && !self.serves_several()) {
            return None;
        }
        if split { pieces.split(cut) } else { pieces.next(cut) }
    }

    /// Whether a connection serves it.
    pub(crate) fn is_busy(&self) -> bool {
        lock(&self.pieces).is_busy()
    }

    /// Whether several connections may serve it: the host has proven ranges, and its answers can be compared.
    pub(crate) fn serves_several(&self) -> bool {
        let known = lock(&self.known);
        known.ranges_proven && known.revision.as_ref().is_some_and(Revision::is_comparable)
    }

    /// Returns what a split could take from the largest piece on its way.
    pub(crate) fn largest_lease(&self) -> u64 {
        lock(&self.pieces).largest_lease()
    }

    pub(crate) fn release(&self, lease: Lease) {
        lock(&self.pieces).release(lease);
    }

    /// A file that is longer than its first answer is shared with others.
    pub(crate) fn shorten(&self, lease: Lease, cut: &Cut) {
        lock(&self.pieces).shorten(lease, cut);
    }

    /// The host sends the whole file whatever is asked for: this connection takes all of it.
    pub(crate) fn stretch(&self, lease: Lease) {
        lock(&self.pieces).stretch(lease);
    }

    /// Takes in what the head of an accepted answer said. Returns whether it was the first.
    pub(crate) fn learn(
        &self,
        revision: &Revision,
        total: Option<u64>,
        claims: &[Claim],
        ranges_proven: bool,
    ) -> bool {
        let (first, identity) = {
            let mut known = lock(&self.known);
            let first = known.revision.is_none();
            if first {
                known.revision = Some(Revision { length: total, ..revision.clone() });
            }
            known.declared = known.declared.or(total);
            known.ranges_proven |= ranges_proven;
            merge(&mut known.claims, claims);
            (first, self.identity(&known))
        };
        if let Some(total) = total {
            let mut pieces = lock(&self.pieces);
            if pieces.length().is_none() {
                pieces.set_length(total);
            }
        }
        if let (Some(part), Some(identity)) = (&*lock(&self.part), identity) {
            part.identify(identity);
        }
        first
    }

    /// Takes in what is known of a file that came packed: validators are those of the packed form, its length is not.
    pub(crate) fn learn_unpacked(&self, revision: &Revision, length: u64) {
        {
            let mut known = lock(&self.known);
            known.revision = Some(Revision { length: None, ..revision.clone() });
            known.declared = Some(length);
        }
        lock(&self.pieces).set_length(length);
    }

    /// The body ended where nobody had said how long it is.
    pub(crate) fn end_at(&self, length: u64) {
        lock(&self.pieces).set_length(length);
    }

    fn identity(&self, known: &Known) -> Option<PartIdentity> {
        let revision = known.revision.clone()?;
        Some(PartIdentity {
            key: self.key.clone(),
            revision,
            length: known.declared?,
            claims: known.claims.clone(),
        })
    }

    /// Writes bytes at their place and lets the hashes follow. Blocks; runs beside the connection that received them.
    pub(crate) fn absorb(
        self: &Arc<Self>,
        parts: &PartFolder,
        lease: Lease,
        offset: u64,
        chunks: &[Bytes],
    ) -> Result<Booked, Error> {
        let part = self.part(parts)?;
        let wanted = usize::try_from(lock(&self.pieces).wanted(lease)).unwrap_or(usize::MAX);
        let chunks = trimmed(chunks, wanted);
        let mut at = offset;
        for chunk in &chunks {
            part.write(at, chunk)?;
            at += chunk.len() as u64;
        }
        let booked = {
            let mut pieces = lock(&self.pieces);
            let before = pieces.is_complete();
            let wanted = pieces.advance(lease, at - offset);
            let complete = !before && pieces.is_complete();
            Booked { wanted, complete, have: pieces.have(), unfinished: None, endless: false }
        };
        let Ok(mut following) = self.inspection.try_lock() else { return Ok(booked) };
        let Following { hash, buffer } = &mut *following;
        let inspection = hash.get_or_insert_with(|| Inspection::new(self.format, &self.known().claims));
        if inspection.position() == offset {
            for chunk in &chunks {
                inspection.feed(chunk);
            }
        }
        self.inspect(inspection, buffer, &part)?;
        let unfinished = inspection.declared_length().zip(self.length()).filter(|(own, host)| own > host);
        let endless = self.length().is_none() && (inspection.is_hopeless() || booked.have > MOST_UNTOLD);
        Ok(Booked { unfinished: unfinished.map(|(own, _)| own), endless, ..booked })
    }

    /// Feeds the inspection whatever is here without a gap behind what it has seen.
    fn inspect(
        self: &Arc<Self>,
        inspection: &mut Inspection,
        buffer: &mut Vec<u8>,
        part: &Arc<Part>,
    ) -> Result<(), Error> {
        loop {
            self.let_body_follow(inspection, part);
            if !self.feed_next(inspection, buffer, part)? {
                return Ok(());
            }
        }
    }

    /// Has the body's hash follow on a thread of its own, from the moment in which the header says that there is one
    /// to compare with. Small files do without the thread.
    fn let_body_follow(self: &Arc<Self>, inspection: &Inspection, part: &Arc<Part>) {
        if self.length().is_none_or(is_soon_done) {
            return;
        }
        if !self.body_begun.load(Ordering::Acquire) {
            let Some(body) = inspection.body() else { return };
            lock(&self.body).hash = Some(body);
            self.body_begun.store(true, Ordering::Release);
        }
        if !self.body_follows.swap(true, Ordering::AcqRel) {
            let (attempt, part) = (self.clone(), part.clone());
            // Nobody waits for it here; what it did not reach, or could not read, is met again at the file's end.
            drop(blocking(move || {
                let mut following = lock(&attempt.body);
                let Following { hash: Some(body), buffer } = &mut *following else { return };
                while attempt.feed_next(body, buffer, &part).unwrap_or(false) {}
                attempt.body_follows.store(false, Ordering::Release);
            }));
        }
    }

    /// Feeds a hash the next bytes that are here; `false` where there are none yet.
    fn feed_next(&self, hash: &mut impl InOrder, buffer: &mut Vec<u8>, part: &Part) -> Result<bool, Error> {
        let position = hash.position();
        let here = lock(&self.pieces).ranges().find(|range| range.start <= position && position < range.end);
        let Some(range) = here.filter(|_| !self.is_abandoned()) else { return Ok(false) };
        buffer.resize(READ_BACK, 0);
        let want = usize::try_from(range.end - position).unwrap_or(usize::MAX).min(READ_BACK);
        let read = part.read(position, &mut buffer[..want])?;
        if read == 0 {
            let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(Error::Disk { verb: "read", path: part.path().to_path_buf(), source });
        }
        hash.feed(&buffer[..read]);
        Ok(true)
    }

    /// Ends the inspection of a complete file. Blocks while the hashes catch up.
    pub(crate) fn finish(
        self: &Arc<Self>,
        parts: &PartFolder,
    ) -> Result<Option<(Received, Arc<Part>)>, Error> {
        let part = self.part(parts)?;
        let Following { hash, mut buffer } = std::mem::take(&mut *lock(&self.inspection));
        let mut inspection = hash.unwrap_or_else(|| Inspection::new(self.format, &self.known().claims));
        self.inspect(&mut inspection, &mut buffer, &part)?;
        // Waits for the thread that the body's hash follows on.
        let followed = std::mem::take(&mut *lock(&self.body)).hash;
        let mut body = followed.or_else(|| inspection.body());
        if let Some(body) = &mut body {
            while self.feed_next(body, &mut buffer, &part)? {}
        }
        Ok((!self.is_abandoned()).then(|| (inspection.finish(body), part)))
    }

    fn part(&self, parts: &PartFolder) -> Result<Arc<Part>, Error> {
        let mut part = lock(&self.part);
        if let Some(part) = &*part {
            return Ok(part.clone());
        }
        let created = Arc::new(parts.create(&self.key)?);
        if let Some(identity) = self.identity(&self.known()) {
            created.identify(identity);
        }
        *part = Some(created.clone());
        Ok(created)
    }

    /// Whether bytes were written longer ago than a kill may lose that no record names yet.
    pub(crate) fn is_record_due(&self) -> bool {
        lock(&self.part).as_ref().is_some_and(|part| part.is_record_due())
    }

    /// Whether any byte was written that no record names yet.
    pub(crate) fn is_ahead_of_record(&self) -> bool {
        lock(&self.part).as_ref().is_some_and(|part| part.is_ahead_of_record())
    }

    /// Writes down what is here, for the next run.
    pub(crate) fn keep(&self) -> Result<(), Error> {
        match &*lock(&self.part) {
            Some(part) if !self.is_abandoned() => part.record_now(),
            _ => Ok(()),
        }
    }

    /// Ends without dropping what is here: the next try takes it over. Other connections on it stop.
    pub(crate) fn retire(&self) -> Result<(), Error> {
        let kept = self.keep();
        self.abandoned.store(true, Ordering::Release);
        kept
    }

    /// Drops what is here; connections that still serve this attempt stop.
    pub(crate) fn abandon(&self) -> Result<(), Error> {
        self.abandoned.store(true, Ordering::Release);
        lock(&self.part).take().map_or(Ok(()), |part| part.discard())
    }
}

/// Cuts off what somebody else took over meanwhile: each block of a part comes from one connection.
fn trimmed(chunks: &[Bytes], mut wanted: usize) -> Vec<Bytes> {
    let mut kept = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        kept.push(chunk.slice(..chunk.len().min(wanted)));
        wanted = wanted.saturating_sub(chunk.len());
    }
    kept
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not take every other transfer with it; what is half changed is proven or dropped later.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
