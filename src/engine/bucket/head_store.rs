//! The head of one prefix, held: taken, swapped. All claims of a second share one swap.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::bucket::head::{
    Begun, FoldAt, HEAD, Head, Known, Line, Owner, Publish, Seen, Written, add_line, are_many,
};
use crate::decide::bucket::lease::{AfterSwap, Standing, after_swap, beat, standing};
use crate::edge::bucket::{Put, StoreFault, Tag, When};
use crate::edge::folder::checksummed;
use crate::error::{BucketError, Error, StoreRefusal, Unanswered};
use crate::model::digest::{Sha256Digest, hex};

use super::at_rest::at_rest;
use super::head_read::{Found, HEAD_BOUND, read_head};
use super::sabotage::{Rule, holds};
use super::store::{Store, about, fresh_token};

/// Swaps are at least this far apart: GCS takes about one write a second to one object.
const BETWEEN_SWAPS: Duration = Duration::from_secs(1);

/// Refusals of one swap although the head is the one that it was to replace.
const MOST_REFUSALS: u32 = 3;

/// A head whose lease another worker holds is looked at this often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// What a caller wants of the lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// How long a lease lasts.
    pub(crate) lease: Duration,
    /// Wait for a lease that another worker holds, rather than end.
    pub(crate) waits: bool,
    pub(crate) fold_at: FoldAt,
}

/// The head, held under a lease.
#[derive(Debug)]
pub(crate) struct HeadStore {
    store: Store,
    pub(crate) owner: Owner,
    lease: Duration,
    fold_at: FoldAt,
    held: tokio::sync::Mutex<Held>,
    known: Mutex<Arc<Known>>,
    queue: Mutex<Queue>,
    /// The lease is lost; nothing more can be claimed.
    lost: CancellationToken,
    lost_to: Mutex<Option<BucketError>>,
}

/// What the owner knows of the head object.
#[derive(Debug)]
struct Held {
    head: Option<Head>,
    tag: Option<Tag>,
    /// What was taken off the queue for the next swap.
    next: Vec<Line>,
    /// A swap that was begun and is not resolved.
    trying: Option<Trying>,
    swapped_at: Instant,
}

#[derive(Debug, Clone)]
struct Trying {
    head: Head,
    /// How far the queue is in it.
    upto: u64,
    /// What became known in its snapshot, and is not in its lines.
    folded: Vec<Line>,
}

/// What folding the lines of a head came to.
enum Folded {
    /// They are few.
    No,
    /// All of them are in a snapshot.
    Yes {
        /// The snapshot of before, which is of no use any more.
        replaces: Option<String>,
    },
}

/// What waits for the next swap.
#[derive(Debug, Default)]
struct Queue {
    lines: Vec<Line>,
    begun: Vec<Begun>,
    ended: Vec<String>,
    written: Vec<(String, Written)>,
    seen: Option<Seen>,
    /// Counts what was ever queued, and what of it is in the head.
    queued: u64,
    swapped: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HeadStore {
    /// Takes the lease of a prefix that was looked at.
    ///
    /// # Errors
    /// When another worker holds it and `wish` does not wait, or the store refuses.
    pub(crate) async fn take(
        store: Store,
        mut found: Found,
        wish: Wish,
        publish: Publish,
        mut waiting: impl FnMut(&Found),
    ) -> Result<Self, Error> {
        let (job, origin) = (found.known.manifest.job.clone(), found.known.manifest.origin.clone());
        let mut same_since = Instant::now();
        loop {
            // A head that cannot be read has an owner too, who is unknown: it is replaced once its lease is over.
            let standing = match (&found.head, &found.damaged) {
                (None, Some(_)) if found.age.unwrap_or(wish.lease).max(same_since.elapsed()) < wish.lease => {
                    Standing::Held { wait: BETWEEN_LOOKS }
                }
                (head, _) => standing(head.as_ref(), found.age, same_since.elapsed(), wish.lease),
            };
            if let Standing::Held { wait } = standing {
                if !wish.waits {
                    let owner = found.holder();
                    return Err(BucketError::Held { to: store.url.to_string(), owner }.into());
                }
                waiting(&found);
                tokio::time::sleep(wait.min(BETWEEN_LOOKS)).await;
                let again = Found::look(&store, &job, &origin).await?;
                if again.tag != found.tag {
                    same_since = Instant::now();
                }
                found = again;
                continue;
            }
            if let Some(bytes) = &found.damaged {
                put_aside(&store, bytes).await?;
            }
            let owner =
                Owner { id: fresh_token(), host: crate::edge::folder::lock::host(), pid: std::process::id() };
            let mut next = match &found.head {
                Some(head) => head.taken_by(owner.clone()),
                None => Head::first(job.clone(), origin.clone(), owner.clone(), publish),
            };
            next.publish = publish;
            let this = Self {
                store: store.clone(),
                owner,
                lease: wish.lease,
                fold_at: wish.fold_at,
                held: tokio::sync::Mutex::new(Held {
                    head: found.head.clone(),
                    tag: found.tag.clone(),
                    next: Vec::new(),
                    trying: Some(Trying { head: next, upto: 0, folded: Vec::new() }),
                    swapped_at: Instant::now(),
                }),
                known: Mutex::new(Arc::new(found.known.clone())),
                queue: Mutex::default(),
                lost: CancellationToken::new(),
                lost_to: Mutex::default(),
            };
            let taken = this.resolve(&mut *this.held.lock().await).await;
            match taken {
                Ok(()) => return Ok(this),
                // Another worker was quicker.
                Err(Error::Bucket(fault)) if matches!(*fault, BucketError::TakenOver { .. }) => {
                    found = Found::look(&store, &job, &origin).await?;
                    same_since = Instant::now();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Arc<Known> {
        lock(&self.known).clone()
    }

    /// Is cancelled when the lease is lost.
    pub(crate) const fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Returns the uploads that were begun and may have to be aborted, also those of an earlier owner.
    pub(crate) async fn begun(&self) -> Vec<Begun> {
        self.held.lock().await.head.as_ref().map(|head| head.begun.clone()).unwrap_or_default()
    }

    /// Returns the head as it was swapped last.
    pub(crate) async fn head(&self) -> Option<Head> {
        self.held.lock().await.head.clone()
    }

    /// Notes an upload, so that the next owner can abort it. Goes out with the next swap: it saves money, not bytes.
    pub(super) fn note_begun(&self, begun: Begun) {
        let mut queue = lock(&self.queue);
        queue.ended.retain(|upload| *upload != begun.upload);
        queue.begun.push(begun);
    }

    /// Notes that an upload is an object now, or aborted.
    pub(super) fn note_ended(&self, upload: &str) {
        let mut queue = lock(&self.queue);
        queue.begun.retain(|begun| begun.upload != upload);
        queue.ended.push(upload.to_owned());
    }

    /// Drops all uploads that this owner began and did not end.
    ///
    /// # Errors
    /// When the store refuses.
    pub(crate) async fn drop_uploads(&self) -> Result<(), Error> {
        let mut begun = self.begun().await;
        begun.extend(lock(&self.queue).begun.clone());
        for Begun { key, upload } in begun {
            let id = crate::edge::bucket::UploadId(upload);
            self.store.ask("abort an upload of", &key, || self.store.bucket.abort(&key, &id)).await?;
            self.note_ended(&id.0);
        }
        Ok(())
    }

    /// Notes a record that was written. Goes out with the next swap.
    pub(super) fn note_written(&self, key: &str, written: Written) {
        lock(&self.queue).written.push((key.to_owned(), written));
    }

    /// Notes what was seen of the job. Goes out with the next swap.
    pub(super) fn note_seen(&self, seen: Seen) {
        lock(&self.queue).seen = Some(seen);
    }

    /// Records what was delivered to a hook. Goes out with the next swap: a kill before it repeats an event, and loses none.
    pub(super) fn note_delivered(&self, line: Line) {
        let mut queue = lock(&self.queue);
        queue.queued += 1;
        add_line(&mut queue.lines, line);
    }

    /// Adds claims, and returns when they are in the head.
    ///
    /// # Errors
    /// When the lease is lost, or the store refuses.
    pub(super) async fn claim(&self, lines: Vec<Line>) -> Result<(), Error> {
        let mine = {
            let mut queue = lock(&self.queue);
            queue.queued += lines.len() as u64;
            queue.lines.extend(lines);
            queue.queued
        };
        let mut held = self.held.lock().await;
        if lock(&self.queue).swapped >= mine {
            return Ok(());
        }
        // Claims of other files that are acknowledged meanwhile go out with the same swap.
        tokio::time::sleep_until(held.swapped_at + BETWEEN_SWAPS).await;
        self.swap(&mut held, |_| {}).await
    }

    /// Writes the head until the future is dropped, often enough that the lease is not over.
    ///
    /// # Errors
    /// When the lease is lost, or the store refuses.
    pub(crate) async fn keep(&self) -> Result<(), Error> {
        let beat = beat(self.lease);
        loop {
            let due = self.held.lock().await.swapped_at + beat;
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
                continue;
            }
            let mut held = self.held.lock().await;
            if held.swapped_at + beat <= Instant::now() {
                self.swap(&mut held, |_| {}).await?;
            }
        }
    }

    /// Returns epoch and sequence of the head when it is still ours, by a look at the store (R5).
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn ensure_ours(&self) -> Result<(u64, u64), Error> {
        let mut held = self.held.lock().await;
        self.resolve(&mut held).await?;
        let now = self.read().await?;
        match (now, &held.head) {
            (Some((head, _)), Some(held)) if head.is_of(&self.owner) && head.sequence == held.sequence => {
                Ok((head.epoch, head.sequence))
            }
            (now, _) => Err(self.lose(now.map(|(head, _)| head.owner))),
        }
    }

    /// Frees the lease, with everything that is queued.
    ///
    /// # Errors
    /// When the lease is lost, or the store refuses.
    pub(crate) async fn release(&self) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        self.swap(&mut held, |head| head.free = true).await
    }

    /// Swaps the head for one with everything that is queued.
    async fn swap(&self, held: &mut Held, change: impl FnOnce(&mut Head)) -> Result<(), Error> {
        self.resolve(held).await?;
        let Some(before) = &held.head else { return Err(self.lose(None)) };
        let mut next = before.next();
        if !holds(Rule::FreshSequence) {
            next.sequence = before.sequence;
        }
        let upto = {
            let mut queue = lock(&self.queue);
            held.next.append(&mut queue.lines);
            queue.queued
        };
        let folded = self.fold(&mut next, &held.next).await?;
        {
            let mut queue = lock(&self.queue);
            let queue = &mut *queue;
            next.begun.retain(|begun| !queue.ended.contains(&begun.upload));
            next.begun.append(&mut queue.begun);
            queue.ended.clear();
            next.written.extend(queue.written.drain(..));
            if let Some(seen) = queue.seen.take() {
                next.seen = Some(seen);
            }
        }
        let lines = std::mem::take(&mut held.next);
        change(&mut next);
        if next.free {
            next.rest = at_rest(&next, &self.known(), &lines);
        }
        let (folded, old_snapshot) = match folded {
            Folded::No => {
                next.lines.extend(lines);
                (Vec::new(), None)
            }
            Folded::Yes { replaces } => (lines, replaces),
        };
        held.trying = Some(Trying { head: next, upto, folded });
        self.resolve(held).await?;
        if let Some(key) = old_snapshot {
            // No head names it any more. One that stays costs a few KB.
            let _ = self.store.bucket.remove(&key).await;
        }
        Ok(())
    }

    /// Folds the lines of a head and `new` ones into a snapshot, where they are too many for a head.
    async fn fold(&self, next: &mut Head, new: &[Line]) -> Result<Folded, Error> {
        if !are_many(next.lines.iter().chain(new), self.fold_at) {
            return Ok(Folded::No);
        }
        let mut known = Known::clone(&self.known());
        new.iter().for_each(|line| known.apply(line.clone()));
        let text = checksummed::seal(&known).map_err(|error| self.unwritten(&error))?;
        let digest =
            Sha256Digest::new(<sha2::Sha256 as sha2::digest::Digest>::digest(text.as_bytes()).into());
        let key = format!(".rcsync/snapshot-{}-{}.json", next.sequence, digest.short());
        let token = fresh_token();
        let put = self.store.ask("write", &key, || {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            self.store.bucket.put(&key, bytes, When::New, about(&key, &token))
        });
        // Its name holds a hash of its bytes: what is there under it is the same.
        put.await?;
        next.lines.clear();
        Ok(Folded::Yes { replaces: next.snapshot.replace(key) })
    }

    fn unwritten(&self, error: &serde_json::Error) -> Error {
        let fault = StoreFault::Unusable(StoreRefusal::Unserializable(error.to_string()));
        self.store.error("write", HEAD, fault)
    }

    /// Sends the swap that was begun until it is known what became of it (R1, R6, R7).
    async fn resolve(&self, held: &mut Held) -> Result<(), Error> {
        let Some(trying) = held.trying.clone() else { return Ok(()) };
        let head = &trying.head;
        let text = checksummed::seal(head).map_err(|error| self.unwritten(&error))?;
        let bytes = Bytes::from(text);
        let mut patience = self.store.patience();
        let mut refused = 0;
        loop {
            let when = match &held.tag {
                _ if !holds(Rule::HeadUnderCondition) => When::Always,
                Some(tag) => When::Unchanged(tag.clone()),
                None => When::New,
            };
            let put = self.store.bucket.put(HEAD, bytes.clone(), when, about(HEAD, &self.owner.id)).await;
            let fault = match put {
                Ok(Put::Done(tag)) => {
                    self.adopt(held, trying, tag);
                    return Ok(());
                }
                Ok(Put::Refused) => {
                    refused += 1;
                    StoreFault::Unknown { cause: Unanswered::SwapRefused }
                }
                Err(fault) => fault,
            };
            if matches!(fault, StoreFault::Unknown { .. }) {
                let now = self.read().await?;
                let seen = now.as_ref().map(|(head, _)| head);
                match (after_swap(held.head.as_ref(), head, seen), now) {
                    (AfterSwap::Ours, Some((_, tag))) => {
                        self.adopt(held, trying, tag);
                        return Ok(());
                    }
                    (AfterSwap::Lost { .. }, Some((_, tag))) if !holds(Rule::RefusedMeansLost) => {
                        held.tag = Some(tag);
                    }
                    (AfterSwap::Lost { owner }, _) => return Err(self.lose(owner)),
                    // The head that it was to replace is gone: nothing can be swapped for it.
                    (AfterSwap::NotYet, _) if refused > MOST_REFUSALS => return Err(self.lose(None)),
                    (AfterSwap::Ours | AfterSwap::NotYet, _) => {}
                }
            }
            self.store.wait(&mut patience, "write", HEAD, fault).await?;
        }
    }

    fn adopt(&self, held: &mut Held, Trying { head, upto, folded }: Trying, tag: Tag) {
        let before = held.head.as_ref().filter(|before| before.snapshot == head.snapshot);
        let from = match before {
            Some(before) => before.lines.len(),
            // The lines of before that were folded are known already.
            None => 0,
        };
        {
            let mut known = lock(&self.known);
            let changed = Arc::make_mut(&mut known);
            folded.into_iter().for_each(|line| changed.apply(line));
            for line in head.lines.iter().skip(from) {
                changed.apply(line.clone());
            }
        }
        held.head = Some(head);
        held.tag = Some(tag);
        held.trying = None;
        held.swapped_at = Instant::now();
        let mut queue = lock(&self.queue);
        queue.swapped = queue.swapped.max(upto);
    }

    async fn read(&self) -> Result<Option<(Head, Tag)>, Error> {
        let object = self.store.small(HEAD, HEAD_BOUND).await?;
        Ok(object.and_then(|(bytes, meta)| Some((read_head(&bytes).ok()?, meta.tag))))
    }

    fn lose(&self, owner: Option<Owner>) -> Error {
        let owner = owner.map_or_else(
            || "its head is gone".to_owned(),
            |owner| format!("process {} on {}", owner.pid, owner.host),
        );
        let fault = BucketError::TakenOver { to: self.store.url.to_string(), owner };
        lock(&self.lost_to).get_or_insert(fault.clone());
        self.lost.cancel();
        fault.into()
    }

    /// Why the lease was lost, where it was.
    pub(crate) fn lost_to(&self) -> Option<Error> {
        lock(&self.lost_to).clone().map(Error::from)
    }
}

/// Keeps the bytes of a head that cannot be read, under a name that marks it.
async fn put_aside(store: &Store, bytes: &Bytes) -> Result<(), Error> {
    let digest = <sha2::Sha256 as sha2::digest::Digest>::digest(bytes);
    let key = format!(".rcsync/head.damaged-{}.json", hex(&digest[..4]));
    let token = fresh_token();
    store
        .ask("write", &key, || store.bucket.put(&key, bytes.clone(), When::New, about(&key, &token)))
        .await?;
    Ok(())
}
