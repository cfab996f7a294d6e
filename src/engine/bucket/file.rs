//! One file on its way from its host into the bucket: ranged requests, hashes in order, parts that are kept until they are
//! hashed and acknowledged.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::decide::bucket::head::{Line, Publish};
use crate::decide::bucket::names::is_free;
use crate::decide::bucket::parts::part_size;
use crate::decide::formats::Format;
use crate::decide::transfer::backoff::Backoff;
use crate::decide::transfer::outcome::{Verdict, verdict};
use crate::decide::transfer::protocol::Refreshed;
use crate::decide::transfer::resume::{Answer, Asked, resume};
use crate::decide::transfer::suspect::{Doubted, doubted};
use crate::decide::transfer::task::FailureCause;
use crate::decide::transfer::verify::{
    BodyHash, Contradiction, Expectation, Inspection, Judgement, Received, Verified, judge, recognise,
};
use crate::edge::bucket::PartTag;
use crate::edge::net::http::{ArtifactClient, Body, RangeRequest};
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::event::{Event, Reporter, RetryCause};
use crate::engine::options::SyncOptions;
use crate::engine::transfer::host_backoff::Gates;
use crate::engine::transfer::link_refresh::Relister;
use crate::engine::transfer::rate_limit::Limiter;
use crate::error::Error;
use crate::model::artifact::Artifact;
use crate::model::claim::Claim;
use crate::model::fault::{Fault, RangeFault};
use crate::model::manifest::{Doubt, Entry};
use crate::model::response_head::Head;
use crate::model::revision::{Agreement, Revision};
use crate::model::source_url::SourceUrl;

use super::create::{Origin, Stored, create_small};
use super::head_store::HeadStore;
use super::store::Store;
use super::upload::{Unpublished, Upload};

/// Why a file that its host stores compressed is not taken.
const PACKED: &str = "it is stored compressed, and only mirrors into folders unpack";

/// The first wait after a fault; it doubles to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A revision that changes this often within one file's fetch will not hold still in the next minute either.
const MOST_RESTARTS: u32 = 8;

/// After so many restarts tags that differ while date and length agree are taken for replicas of the same bytes.
const RESTARTS_BEFORE_TOLERANCE: u32 = 2;

/// How long after a wrong body the same bytes are read a second time.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// A file that the host denies twice, while it is still listed, is gone.
const TRIES_OF_A_GONE_FILE: u32 = 2;

/// In a single pass no file waits longer than this for a busy host.
const LONGEST_WAIT_IN_ONE_PASS: Duration = Duration::from_secs(60);

/// A host that hands out a few bytes with each connection would be asked for ever: less than this is no progress.
const LEAST_PROGRESS: usize = 1 << 10;

/// Progress is reported each time that so many bytes arrived.
const REPORT_EACH: u64 = 256 << 10;

/// Memory is counted in units of this, so that a count fits a semaphore.
const UNIT: u64 = 1 << 10;

/// What all files of one run share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) head: Arc<HeadStore>,
    pub(super) publish: Publish,
    pub(super) hosts: ArtifactClient,
    pub(super) relister: Arc<Relister>,
    pub(super) gates: Arc<Gates>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) options: SyncOptions,
    /// The length of a part.
    pub(super) part: u64,
    /// Requests to hosts at a time.
    pub(super) connections: Arc<Semaphore>,
    /// Bytes of parts that may be held at a time, in units of 1 KiB.
    pub(super) memory: Arc<Semaphore>,
    pub(super) budget: u64,
    /// Ranges of one file that are fetched at a time.
    pub(super) window: usize,
    /// Bytes of bodies that arrived.
    pub(super) received: Arc<AtomicU64>,
}

/// A file to mirror, and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) artifact: Arc<Artifact>,
    /// Ask only whether it changed since this revision: the file is there.
    pub(super) recheck: Option<Revision>,
    /// What is known under its key; its object is intact only where it is rechecked.
    pub(super) entry: Option<Entry>,
    pub(super) doubt: Option<Doubt>,
    pub(super) half_of_pair: bool,
    pub(super) run_may_write: bool,
    pub(super) cut_off: bool,
    pub(super) run: String,
    pub(super) generation: u64,
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Ending {
    /// It is there, and claimed.
    Published,
    /// It was there, and the host has the same.
    Known,
    /// The trainer is still writing it.
    Settling,
    /// It was listed and is gone.
    Vanished,
    /// It could not be had; the cause was reported.
    Failed(FailureCause),
    /// The run cannot continue: the lease is lost, or the store refuses.
    Fatal(Error),
}

/// What changes while a file is fetched.
#[derive(Debug)]
struct Story {
    url: SourceUrl,
    generation: u64,
    /// Faults in a row without progress.
    tries: u32,
    backoff: Backoff,
    restarts: u32,
    without_if_range: bool,
    whole_only: bool,
    may_be_direct: bool,
    doubt: Option<Doubt>,
    told_started: bool,
}

/// One file.
pub(super) struct File {
    shared: Arc<Shared>,
    order: Order,
    story: Mutex<Story>,
    have: AtomicU64,
    began: Instant,
}

/// How one attempt ended, short of a whole file.
#[derive(Debug)]
enum Stopped {
    /// Known bytes are of this revision no more.
    Changed,
    /// The host sends everything, whatever is asked for.
    RangesIgnored,
    /// A stream broke, and has to begin again.
    Again,
    Unchanged(Revision),
    Unfinished {
        declared: Option<u64>,
        have: u64,
    },
    Ended(Ending),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Ended(Ending::Fatal(error))
    }
}

/// What one revision is known to be.
#[derive(Debug, Clone, Default)]
struct Known {
    revision: Revision,
    length: Option<u64>,
    claims: Vec<Claim>,
}

/// A whole file: hashed, and in memory or in an upload.
struct Whole {
    received: Received,
    known: Known,
    content: Content,
}

enum Content {
    /// With the memory that is reserved for it.
    Small(Bytes, OwnedSemaphorePermit),
    Uploaded(Arc<Upload>, Vec<PartTag>),
}

/// Hashes in order.
struct Hashes {
    inspection: Inspection,
    body: Option<BodyHash>,
}

impl Hashes {
    fn new(file_name: &str, claims: &[Claim]) -> Self {
        Self { inspection: Inspection::new(Format::of(file_name), claims), body: None }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let start = self.inspection.position();
        self.inspection.feed(bytes);
        if self.body.is_none() {
            self.body = self.inspection.body();
        }
        if let Some(body) = &mut self.body {
            let skip = body.position().saturating_sub(start);
            let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            body.feed(&bytes[skip..]);
        }
    }

    /// Feeds a part on a thread for such work.
    async fn feed_beside(mut self, bytes: Bytes) -> Result<Self, Error> {
        blocking(move || {
            self.feed(&bytes);
            self
        })
        .await
        .map_err(lost("hash", std::path::Path::new("a part")))
    }

    fn finish(self) -> Received {
        self.inspection.finish(self.body)
    }
}

type Range = std::ops::Range<u64>;

/// A first answer that was accepted.
struct First {
    body: Body,
    known: Known,
    skip: u64,
    take: Option<u64>,
    ranges_proven: bool,
    connection: OwnedSemaphorePermit,
    /// Reserved for one part. Always before a connection is taken, so that no connection waits for memory that waits for a
    /// connection.
    memory: OwnedSemaphorePermit,
}

/// An answer whose body is to be read, with what is skipped of it, and its connection.
type Begun = (Body, u64, OwnedSemaphorePermit);

impl First {
    fn split(self) -> (OwnedSemaphorePermit, Begun) {
        (self.memory, (self.body, self.skip, self.connection))
    }
}

impl File {
    pub(super) fn new(shared: Arc<Shared>, order: Order) -> Arc<Self> {
        let story = Story {
            url: order.artifact.url.clone(),
            generation: order.generation,
            tries: 0,
            backoff: Backoff::new(fastrand::u64(..), FIRST_WAIT, LONGEST_WAIT),
            restarts: 0,
            without_if_range: false,
            whole_only: false,
            may_be_direct: true,
            doubt: order.doubt.clone(),
            told_started: false,
        };
        let began = Instant::now();
        Arc::new(Self { shared, order, story: Mutex::new(story), have: AtomicU64::new(0), began })
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        self.shared.reporter.report(event);
    }

    /// Mirrors the file.
    pub(super) async fn mirror(self: Arc<Self>) -> Ending {
        loop {
            let stopped = match self.clone().attempt().await {
                Ok(whole) => match self.weigh(whole).await {
                    Ok(Some(ending)) => return ending,
                    Ok(None) => continue,
                    Err(stopped) => stopped,
                },
                Err(stopped) => stopped,
            };
            match stopped {
                Stopped::Ended(ending) => return ending,
                Stopped::Again => continue,
                Stopped::Unfinished { declared, have } => return self.settling(declared, have),
                Stopped::Unchanged(revision) => match self.unchanged(&revision).await {
                    Some(ending) => return ending,
                    None => continue,
                },
                Stopped::Changed | Stopped::RangesIgnored => {
                    let mut story = self.story();
                    story.restarts += 1;
                    story.whole_only |= matches!(stopped, Stopped::RangesIgnored)
                        || story.restarts >= RESTARTS_BEFORE_TOLERANCE;
                    if story.restarts > MOST_RESTARTS {
                        drop(story);
                        return self.failed(FailureCause::Revisions);
                    }
                }
            }
        }
    }

    fn failed(&self, cause: FailureCause) -> Ending {
        Ending::Failed(cause)
    }

    fn settling(&self, declared: Option<u64>, have: u64) -> Ending {
        self.tell(&Event::Settling { path: self.order.artifact.path.clone(), declared, have });
        Ending::Settling
    }

    /// One attempt at one revision.
    async fn attempt(self: Arc<Self>) -> Result<Whole, Stopped> {
        self.have.store(0, Ordering::Relaxed);
        let first = self.first().await?;
        let name = self.order.artifact.path.file_name().to_owned();
        let hashes = Hashes::new(&name, &first.known.claims);
        let length = first.known.length;
        self.tell_started(length);
        if let Some(length) = length.filter(|length| *length <= self.shared.part) {
            return self.small(first, length, hashes).await;
        }
        let part = length.map_or(self.shared.part, |length| part_size(self.shared.part, length));
        let is_comparable = first.known.revision.is_comparable();
        let whole_only = self.story().whole_only;
        match length {
            Some(length) if first.ranges_proven && is_comparable && !whole_only => {
                self.windowed(first, length, part, hashes).await
            }
            // One stream of it all: the first answer has only its first part.
            Some(length) if first.take.is_some_and(|take| take < length) => Err(Stopped::RangesIgnored),
            _ => self.streamed(first, part, hashes).await,
        }
    }

    /// Sends the first request, until it is accepted or the file's fetch ends.
    async fn first(&self) -> Result<First, Stopped> {
        let mut memory = Some(self.reserve(self.shared.part).await);
        loop {
            let (url, generation, whole_only, doubt, tolerate) = {
                let story = self.story();
                let doubt = story.doubt.as_ref().map(|doubt| doubt.revision.clone());
                let tolerate = story.restarts >= RESTARTS_BEFORE_TOLERANCE;
                (story.url.clone(), story.generation, story.whole_only, doubt, tolerate)
            };
            let here = self.order.recheck.clone().or(doubt);
            let ask = RangeRequest {
                start: 0,
                end: (!whole_only).then_some(self.shared.part),
                plain: false,
                if_range: None,
                if_changed: here.as_ref().and_then(Revision::if_changed),
            };
            let asked = Asked {
                start: 0,
                end: ask.end,
                known: None,
                if_range: false,
                if_changed: ask.if_changed.is_some(),
                tolerate_suspect: tolerate,
                compared: false,
                unpacks: false,
            };
            let (answer, connection) = match self.get(&url, &ask).await {
                Ok(answer) => answer,
                Err(fault) => {
                    self.stumble(fault, generation, false).await.map_err(Stopped::Ended)?;
                    continue;
                }
            };
            let (head, body) = answer;
            let judged = resume(&asked, &head);
            if let (Some(here), Answer::Take { total, .. }) = (&here, &judged)
                && here.compare(&Revision { length: *total, ..head.revision.clone() }) == Agreement::Same
            {
                return Err(Stopped::Unchanged(here.clone()));
            }
            let fault = match judged {
                Answer::Take { skip, take, total, ranges_proven } => {
                    let revision = Revision { length: total, ..head.revision.clone() };
                    let known = Known { revision, length: total, claims: head.claims };
                    let memory = match memory.take() {
                        Some(memory) => memory,
                        None => self.reserve(self.shared.part).await,
                    };
                    return Ok(First { body, known, skip, take, ranges_proven, connection, memory });
                }
                Answer::Unchanged => return Err(Stopped::Unchanged(here.unwrap_or_default())),
                Answer::Empty => return Err(Stopped::Unfinished { declared: None, have: 0 }),
                Answer::Changed | Answer::Complete { .. } => return Err(Stopped::Changed),
                Answer::RangesIgnored => return Err(Stopped::RangesIgnored),
                Answer::Refused => body.into_refusal().await,
                Answer::Reject(fault) => Fault::Range(fault),
                // Not asked for: `unpacks` is false.
                Answer::Unpack => Fault::Range(RangeFault::Packed(PACKED)),
            };
            drop(connection);
            self.stumble(fault, generation, false).await.map_err(Stopped::Ended)?;
        }
    }

    /// Sends one request when a connection is free and the host wants to be asked.
    async fn get(
        &self,
        url: &SourceUrl,
        ask: &RangeRequest,
    ) -> Result<((Head, Body), OwnedSemaphorePermit), Fault> {
        if let Some(gate) = self.shared.gates.closed(url.host()) {
            let wait = gate.until.saturating_duration_since(Instant::now());
            if self.shared.options.once && wait > LONGEST_WAIT_IN_ONE_PASS {
                return Err(Fault::Status { status: gate.status, retry_after: Some(wait), excerpt: None });
            }
        }
        self.shared.gates.pass(url.host()).await;
        let connection = self.shared.connections.clone().acquire_owned().await;
        // The semaphore is never closed.
        let Ok(connection) = connection else { return std::future::pending().await };
        Ok((self.shared.hosts.get(url, ask).await?, connection))
    }

    fn tell_started(&self, size: Option<u64>) {
        if !std::mem::replace(&mut self.story().told_started, true) {
            let artifact = &self.order.artifact;
            self.tell(&Event::Started {
                path: artifact.path.clone(),
                kind: artifact.key.kind,
                step: artifact.step,
                size,
                resumed_from: 0,
            });
        }
    }

    /// Counts bytes that arrived, and waits for the rate.
    async fn count(&self, bytes: usize, size: Option<u64>) {
        if let Some(limiter) = &self.shared.limiter {
            limiter.take(bytes as u64).await;
        }
        self.shared.received.fetch_add(bytes as u64, Ordering::Relaxed);
        let have = self.have.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        // A bar needs no more than this.
        if have / REPORT_EACH != (have - bytes as u64) / REPORT_EACH || Some(have) == size {
            self.tell(&Event::Received { path: self.order.artifact.path.clone(), have, size });
        }
    }

    async fn reserve(&self, bytes: u64) -> OwnedSemaphorePermit {
        // A part that is larger than all memory for parts waits for all of it.
        let units = bytes.div_ceil(UNIT).min(self.shared.budget.div_ceil(UNIT));
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        match self.shared.memory.clone().acquire_many_owned(units).await {
            Ok(permit) => permit,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// A file of one part at most: it is created from memory.
    async fn small(self: Arc<Self>, first: First, length: u64, mut hashes: Hashes) -> Result<Whole, Stopped> {
        let known = first.known.clone();
        let (mut memory, first) = first.split();
        // What the file does not need is for others.
        let spare =
            memory.num_permits().saturating_sub(usize::try_from(length.div_ceil(UNIT)).unwrap_or_default());
        drop(memory.split(spare));
        let bytes = self.part(Some(first), &known, 0..length).await?;
        hashes = hashes.feed_beside(bytes.clone()).await?;
        Ok(Whole { received: hashes.finish(), known, content: Content::Small(bytes, memory) })
    }

    /// Fetches one range, in as many requests as that takes. `first` is an answer whose body begins with it.
    async fn part(&self, first: Option<Begun>, known: &Known, range: Range) -> Result<Bytes, Stopped> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut buffer = BytesMut::with_capacity(length);
        let mut next = first;
        loop {
            let generation = self.story().generation;
            let before = buffer.len();
            let fault = match next.take() {
                Some((body, skip, _connection)) => {
                    match self.take(body, skip, &mut buffer, length, known.length).await {
                        Ok(()) => return Ok(buffer.freeze()),
                        Err(fault) => fault,
                    }
                }
                None => match self.rest(known, range.start + buffer.len() as u64, range.end).await? {
                    Ok(answer) => {
                        next = Some(answer);
                        continue;
                    }
                    Err(fault) => fault,
                },
            };
            let progressed = buffer.len() - before >= LEAST_PROGRESS;
            self.stumble(fault, generation, progressed).await.map_err(Stopped::Ended)?;
        }
    }

    /// Asks for the rest of a range of a known revision.
    async fn rest(&self, known: &Known, start: u64, end: u64) -> Result<Result<Begun, Fault>, Stopped> {
        if start > 0 && !known.revision.is_comparable() {
            return Err(Stopped::RangesIgnored);
        }
        let (url, without_if_range, tolerate) = {
            let story = self.story();
            (story.url.clone(), story.without_if_range, story.restarts >= RESTARTS_BEFORE_TOLERANCE)
        };
        let if_range = if start > 0 && !without_if_range { known.revision.if_range() } else { None };
        let ask = RangeRequest { start, end: Some(end), plain: false, if_range, if_changed: None };
        let asked = Asked {
            start,
            end: ask.end,
            known: Some(known.revision.clone()),
            if_range: ask.if_range.is_some(),
            if_changed: false,
            tolerate_suspect: tolerate,
            compared: false,
            unpacks: false,
        };
        let ((head, body), connection) = match self.get(&url, &ask).await {
            Ok(answer) => answer,
            Err(fault) => return Ok(Err(fault)),
        };
        Ok(match resume(&asked, &head) {
            Answer::Take { skip, .. } => Ok((body, skip, connection)),
            Answer::RangesIgnored if asked.if_range => {
                self.story().without_if_range = true;
                Err(Fault::Range(RangeFault::Nonsense(200)))
            }
            Answer::RangesIgnored => return Err(Stopped::RangesIgnored),
            Answer::Refused => Err(body.into_refusal().await),
            Answer::Reject(fault) => Err(Fault::Range(fault)),
            Answer::Unpack => Err(Fault::Range(RangeFault::Packed(PACKED))),
            Answer::Changed | Answer::Unchanged | Answer::Complete { .. } | Answer::Empty => {
                return Err(Stopped::Changed);
            }
        })
    }

    /// Takes a body's bytes until the buffer has `wanted` of them.
    async fn take(
        &self,
        mut body: Body,
        mut skip: u64,
        buffer: &mut BytesMut,
        wanted: usize,
        size: Option<u64>,
    ) -> Result<(), Fault> {
        let before = buffer.len();
        while buffer.len() < wanted {
            let Some(mut chunk) = body.chunk().await? else {
                let received = (buffer.len() - before) as u64;
                let left = wanted - buffer.len();
                let cause = format!("the body ended {left} bytes early");
                return Err(Fault::Interrupted { received, cause });
            };
            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= dropped as u64;
            let chunk = chunk.split_off(dropped);
            let kept = chunk.len().min(wanted - buffer.len());
            buffer.extend_from_slice(&chunk[..kept]);
            self.count(kept, size).await;
        }
        Ok(())
    }

    async fn upload(&self) -> Result<Arc<Upload>, Stopped> {
        let may_be_direct = self.story().may_be_direct;
        let plain = self.order.artifact.path.clone();
        let Shared { store, head, publish, .. } = self.shared.as_ref();
        let may_be_direct = may_be_direct && is_free(&plain, &head.known());
        Ok(Arc::new(Upload::begin(store.clone(), head.clone(), plain, *publish, may_be_direct).await?))
    }

    /// A large file whose host serves ranges: several at a time, hashed in order, sent as soon as they are hashed.
    async fn windowed(
        self: Arc<Self>,
        first: First,
        length: u64,
        part: u64,
        mut hashes: Hashes,
    ) -> Result<Whole, Stopped> {
        let known = Arc::new(first.known.clone());
        let count = length.div_ceil(part);
        let window = self.shared.window;
        let mut fetches: FuturesOrdered<Fetch> = FuturesOrdered::new();
        let mut next = 0;
        // The first answer has the first part, unless parts of this file have to be larger.
        if part == self.shared.part {
            let (memory, first) = first.split();
            fetches.push_back(self.clone().fetch(Some(first), known.clone(), 0, 0..part, memory));
            next = 1;
        } else {
            drop(first);
        }
        let upload = self.upload().await?;
        let mut sends = Sends::new(upload.clone(), count);
        let outcome = async {
            loop {
                tokio::select! {
                    biased;
                    Some(fetched) = fetches.next(), if !fetches.is_empty() => {
                        let (number, bytes, memory) = fetched?;
                        hashes = hashes.feed_beside(bytes.clone()).await?;
                        if let Some(declared) = hashes.inspection.declared_length().filter(|own| *own > length) {
                            return Err(Stopped::Unfinished { declared: Some(declared), have: length });
                        }
                        sends.send(number, bytes, memory);
                    }
                    memory = self.reserve(part.min(length.saturating_sub(next * part))), if next < count && fetches.len() < window => {
                        let range = next * part..((next + 1) * part).min(length);
                        fetches.push_back(self.clone().fetch(None, known.clone(), next, range, memory));
                        next += 1;
                    }
                    sent = sends.next(), if sends.is_busy() => drop(sent?),
                    else => return Ok(hashes),
                }
            }
        };
        match outcome.await {
            Ok(hashes) => {
                let parts = sends.finish().await?;
                Ok(whole(hashes, &known, upload, parts))
            }
            Err(stopped) => {
                drop(fetches);
                drop(sends);
                upload.abort().await;
                Err(stopped)
            }
        }
    }

    fn fetch(
        self: Arc<Self>,
        first: Option<Begun>,
        known: Arc<Known>,
        number: u64,
        range: Range,
        memory: OwnedSemaphorePermit,
    ) -> Fetch {
        let fetching = AbortOnDropHandle::new(tokio::spawn(async move {
            Ok((number, self.part(first, &known, range).await?, memory))
        }));
        Box::pin(async move {
            match fetching.await {
                Ok(fetched) => fetched,
                Err(gone) => Err(lost("fetch", std::path::Path::new("a part"))(gone).into()),
            }
        })
    }

    /// A large file in one stream: its host serves no ranges, or its answers cannot be compared. It has the memory of one
    /// part, and of another where that is free: it never waits for memory, since it holds a connection.
    async fn streamed(self: Arc<Self>, first: First, part: u64, hashes: Hashes) -> Result<Whole, Stopped> {
        let generation = self.story().generation;
        let mut known = first.known.clone();
        let (memory, first) = first.split();
        let mut stream = Stream { upload: None, slots: vec![memory], total: 0 };
        let units = u32::try_from(part.div_ceil(UNIT)).unwrap_or(u32::MAX);
        stream.slots.extend(self.shared.memory.clone().try_acquire_many_owned(units).ok());
        match self.stream(first, part, known.length, hashes, &mut stream).await {
            Ok((hashes, None)) => {
                let Some((upload, sends)) = stream.upload else { return Err(Stopped::Changed) };
                known.length = known.length.or(Some(stream.total));
                let parts = sends.finish().await?;
                Ok(whole(hashes, &known, upload, parts))
            }
            Ok((hashes, Some((bytes, memory)))) => {
                known.length = Some(stream.total);
                known.revision.length = known.length;
                Ok(Whole { received: hashes.finish(), known, content: Content::Small(bytes, memory) })
            }
            Err(stopped) => {
                if let Some((upload, sends)) = stream.upload {
                    drop(sends);
                    upload.abort().await;
                }
                match stopped {
                    Broken::Stopped(stopped) => Err(stopped),
                    Broken::Fault(fault) => {
                        // A stream that begins again has made no progress, however far it came.
                        self.stumble(fault, generation, false).await.map_err(Stopped::Ended)?;
                        Err(Stopped::Again)
                    }
                }
            }
        }
    }

    /// Reads a stream to its end. A file that ends within its first part comes back as its bytes.
    async fn stream(
        &self,
        (mut body, mut skip, _connection): Begun,
        part: u64,
        size: Option<u64>,
        mut hashes: Hashes,
        stream: &mut Stream,
    ) -> Result<(Hashes, Option<(Bytes, OwnedSemaphorePermit)>), Broken> {
        let wanted = usize::try_from(part).unwrap_or(usize::MAX);
        let mut carried = Bytes::new();
        let mut number = 0;
        loop {
            let memory = match stream.slots.pop() {
                Some(memory) => memory,
                None => stream.freed().await?,
            };
            let mut buffer = BytesMut::with_capacity(wanted);
            let mut is_over = false;
            while buffer.len() < wanted && !is_over {
                let mut chunk = std::mem::take(&mut carried);
                if chunk.is_empty() {
                    match body.chunk().await.map_err(Broken::Fault)? {
                        Some(bytes) => {
                            let mut bytes = bytes;
                            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                            skip -= dropped as u64;
                            chunk = bytes.split_off(dropped);
                        }
                        None if size.is_none_or(|size| size == stream.total) => break,
                        None => {
                            let received = stream.total;
                            let cause = "the body ended early".to_owned();
                            return Err(Broken::Fault(Fault::Interrupted { received, cause }));
                        }
                    }
                }
                let left = size.map_or(u64::MAX, |size| size - stream.total);
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                // Parts are equal: what a chunk has beyond this one is for the next.
                carried = chunk.split_off(chunk.len().min(wanted - buffer.len()));
                stream.total += chunk.len() as u64;
                buffer.extend_from_slice(&chunk);
                self.count(chunk.len(), size).await;
                is_over = size == Some(stream.total);
            }
            let is_last = is_over || buffer.len() < wanted;
            let bytes = buffer.freeze();
            hashes =
                hashes.feed_beside(bytes.clone()).await.map_err(|error| Broken::Stopped(error.into()))?;
            if size.is_none() && hashes.inspection.is_hopeless() {
                return Err(Broken::Fault(Fault::Range(RangeFault::Overlong)));
            }
            if is_last && stream.upload.is_none() {
                return Ok((hashes, Some((bytes, memory))));
            }
            let sends = match &mut stream.upload {
                Some((_, sends)) => sends,
                None => {
                    let upload = self.upload().await.map_err(Broken::Stopped)?;
                    &mut stream.upload.insert((upload.clone(), Sends::new(upload, 0))).1
                }
            };
            // The stream may end exactly with a part.
            if !bytes.is_empty() {
                sends.send(number, bytes, memory);
                number += 1;
            }
            if is_last {
                return Ok((hashes, None));
            }
        }
    }

    /// Weighs a whole file, and publishes it; `None`: it is read again.
    async fn weigh(&self, whole: Whole) -> Result<Option<Ending>, Stopped> {
        let Whole { received, known, content } = whole;
        let order = &self.order;
        let doubt = self.story().doubt.clone();
        let expected = Expectation {
            length: known.length,
            claims: &known.claims,
            half_of_pair: order.half_of_pair,
            accept_unproven: self.shared.options.selection.accepts_unproven(&order.artifact.path),
            read_before: doubt.as_ref().filter(|_| !order.cut_off).map(|doubt| doubt.sha256),
        };
        let before = order.entry.as_ref();
        let before = before.and_then(|entry| recognise(&received, entry.sha256, entry.evidence));
        let judgement = match (judge(&received, &expected), before) {
            (Judgement::Proven(verified), _) | (_, Some(verified)) => Judgement::Proven(verified),
            (other, None) => other,
        };
        match judgement {
            Judgement::Proven(verified) => self.publish(content, verified, known).await,
            Judgement::Unfinished { declared, have } => {
                discard(content).await;
                Ok(Some(self.settling(declared, have)))
            }
            Judgement::Contradicted(why) => {
                discard(content).await;
                self.doubt(&received, &known, &why).await
            }
        }
    }

    async fn publish(
        &self,
        content: Content,
        verified: Verified,
        known: Known,
    ) -> Result<Option<Ending>, Stopped> {
        let Shared { store, head, .. } = self.shared.as_ref();
        let artifact = &self.order.artifact;
        let stored = match content {
            Content::Small(bytes, _memory) => {
                create_small(store, &artifact.path, bytes, verified, &head.known()).await?
            }
            Content::Uploaded(upload, parts) => match upload.publish(parts, verified).await {
                Ok(stored) => stored,
                Err(Unpublished::Error(error)) => return Err(error.into()),
                Err(Unpublished::Taken) => {
                    self.story().may_be_direct = false;
                    return Ok(None);
                }
            },
        };
        self.claim(stored, known.revision).await?;
        Ok(Some(Ending::Published))
    }

    async fn claim(&self, stored: Stored, revision: Revision) -> Result<(), Error> {
        let head = &self.shared.head;
        let artifact = &self.order.artifact;
        let origin = Origin {
            key: artifact.key.clone(),
            step: artifact.step,
            revision,
            run: self.order.run.clone(),
            keeps_older: self.order.recheck.is_some(),
        };
        let lines = stored.claim(origin, &head.known());
        head.claim(lines).await?;
        self.tell(&Event::Published {
            path: stored.path().clone(),
            kind: artifact.key.kind,
            step: artifact.step,
            size: stored.verified().size(),
            sha256: stored.verified().sha256(),
            evidence: stored.verified().evidence(),
            elapsed: self.began.elapsed(),
        });
        Ok(())
    }

    async fn doubt(
        &self,
        received: &Received,
        known: &Known,
        why: &Contradiction,
    ) -> Result<Option<Ending>, Stopped> {
        let order = &self.order;
        let revision = match why {
            Contradiction::Unwritten { .. } => Revision::default(),
            _ => known.revision.clone(),
        };
        let next = doubted(received.sha256, self.story().doubt.as_ref(), order.run_may_write);
        let read_twice = next == Doubted::Condemned;
        let doubt = Doubt {
            sha256: received.sha256,
            revision,
            after_end: !order.run_may_write,
            read_twice,
            first_look: None,
        };
        let line = Line::Doubt { key: order.artifact.key.clone(), doubt: doubt.clone() };
        self.shared.head.claim(vec![line]).await?;
        match next {
            Doubted::Condemned => Ok(Some(self.failed(FailureCause::Contradicted(why.clone())))),
            Doubted::SecondLook => {
                let path = Some(order.artifact.path.clone());
                self.tell(&Event::Retrying {
                    path,
                    cause: RetryCause::File(FailureCause::Contradicted(why.clone())),
                    wait: SECOND_LOOK,
                });
                // The bytes are wanted again even if the host says that they did not change.
                self.story().doubt = Some(Doubt { revision: Revision::default(), ..doubt });
                tokio::time::sleep(SECOND_LOOK).await;
                Ok(None)
            }
            Doubted::Settling => {
                let have = received.size - received.trailing_zeros;
                Ok(Some(self.settling(Some(received.size), have)))
            }
        }
    }

    /// The host says that nothing changed since what is known: that is there, or was doubted. `None`: read it all the same.
    async fn unchanged(&self, revision: &Revision) -> Option<Ending> {
        let order = &self.order;
        let doubt = self.story().doubt.clone();
        match (&order.recheck, &order.entry, doubt) {
            (Some(_), Some(entry), _) => {
                let head = &self.shared.head;
                let tag = head.known().tags.get(&entry.path).cloned();
                let entry = Entry { run: order.run.clone(), ..entry.clone() };
                let line = Line::Know { key: order.artifact.key.clone(), entry, tag };
                Some(match head.claim(vec![line]).await {
                    Ok(()) => Ending::Known,
                    Err(error) => Ending::Fatal(error),
                })
            }
            (_, _, Some(doubt)) if !order.run_may_write && doubt.read_twice => {
                Some(self.failed(FailureCause::StillContradicted))
            }
            (_, _, Some(_)) if order.run_may_write => {
                Some(self.settling(revision.length, revision.length.unwrap_or_default()))
            }
            _ => {
                let mut story = self.story();
                if let Some(doubt) = &mut story.doubt {
                    doubt.revision = Revision::default();
                    doubt.after_end = true;
                }
                None
            }
        }
    }

    /// A fault of the network: wait, ask for a new link, or give up.
    async fn stumble(&self, fault: Fault, generation: u64, progressed: bool) -> Result<(), Ending> {
        let path = || self.order.artifact.path.clone();
        let tries = {
            let mut story = self.story();
            if progressed {
                story.tries = 0;
                story.backoff.reset();
            } else {
                story.tries += 1;
            }
            story.tries
        };
        let exhausted = tries >= self.shared.options.retries.max(1);
        let at_least = match verdict(&fault) {
            Verdict::GiveUp => return Err(self.failed(FailureCause::Network(fault))),
            Verdict::Retry { .. } if exhausted => return Err(self.failed(FailureCause::Network(fault))),
            Verdict::Retry { at_least } => at_least,
            Verdict::Relist { gone } => {
                // Another range of this file has brought a new link since this one asked with the old one.
                if self.story().generation > generation && !exhausted {
                    return Ok(());
                }
                let key = &self.order.artifact.key;
                match self.shared.relister.newer_than(generation, key, gone).await {
                    Refreshed::Gone => return Err(Ending::Vanished),
                    Refreshed::Here { url, generation } => {
                        let mut story = self.story();
                        let is_renewed = url != story.url;
                        story.url = url;
                        story.generation = generation;
                        if is_renewed && !exhausted {
                            return Ok(());
                        }
                        if gone && tries >= TRIES_OF_A_GONE_FILE {
                            return Err(Ending::Vanished);
                        }
                    }
                    Refreshed::Unknown => {}
                }
                if exhausted {
                    return Err(self.failed(FailureCause::Network(fault)));
                }
                None
            }
        };
        if self.shared.options.once && at_least.is_some_and(|wait| wait > LONGEST_WAIT_IN_ONE_PASS) {
            return Err(self.failed(FailureCause::Network(fault)));
        }
        let (wait, host) = {
            let mut story = self.story();
            (story.backoff.next(at_least), story.url.host().to_owned())
        };
        if let Fault::Status { status: status @ (429 | 503), .. } = fault {
            self.shared.gates.close(&host, status, wait);
        }
        let cause = RetryCause::File(FailureCause::Network(fault));
        self.tell(&Event::Retrying { path: Some(path()), cause, wait });
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A file that is read in one stream.
struct Stream {
    upload: Option<(Arc<Upload>, Sends)>,
    /// Memory for parts that is free.
    slots: Vec<OwnedSemaphorePermit>,
    total: u64,
}

/// How a stream ended badly.
enum Broken {
    Fault(Fault),
    Stopped(Stopped),
}

impl Stream {
    /// Waits until a part was sent, whose memory is free then.
    async fn freed(&mut self) -> Result<OwnedSemaphorePermit, Broken> {
        let sent = match &mut self.upload {
            Some((_, sends)) => sends.next().await.map_err(Broken::Stopped)?,
            None => None,
        };
        sent.ok_or(Broken::Stopped(Stopped::Changed))
    }
}

type Fetch = Pin<Box<dyn Future<Output = Result<(u64, Bytes, OwnedSemaphorePermit), Stopped>> + Send>>;

/// Parts on their way to the store, each with its memory.
struct Sends {
    upload: Arc<Upload>,
    sending: JoinSet<Result<(u64, PartTag, OwnedSemaphorePermit), Error>>,
    tags: Vec<Option<PartTag>>,
}

impl Sends {
    fn new(upload: Arc<Upload>, count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or_default();
        Self { upload, sending: JoinSet::new(), tags: vec![None; count] }
    }

    fn send(&mut self, number: u64, bytes: Bytes, memory: OwnedSemaphorePermit) {
        let upload = self.upload.clone();
        self.sending.spawn(async move {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            Ok((number, upload.part(at, bytes).await?, memory))
        });
    }

    fn is_busy(&self) -> bool {
        !self.sending.is_empty()
    }

    /// Waits for one of them, and returns its memory.
    async fn next(&mut self) -> Result<Option<OwnedSemaphorePermit>, Stopped> {
        let Some(sent) = self.sending.join_next().await else { return Ok(None) };
        let (number, tag, memory) = sent.map_err(lost("upload", std::path::Path::new("a part")))??;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if self.tags.len() <= at {
            self.tags.resize(at + 1, None);
        }
        self.tags[at] = Some(tag);
        Ok(Some(memory))
    }

    /// Waits for all of them.
    async fn finish(mut self) -> Result<Vec<PartTag>, Stopped> {
        while self.is_busy() {
            self.next().await?;
        }
        Ok(self.tags.into_iter().flatten().collect())
    }
}

fn whole(hashes: Hashes, known: &Known, upload: Arc<Upload>, parts: Vec<PartTag>) -> Whole {
    Whole { received: hashes.finish(), known: known.clone(), content: Content::Uploaded(upload, parts) }
}

/// Drops what is not published.
async fn discard(content: Content) {
    if let Content::Uploaded(upload, _) = content {
        upload.abort().await;
    }
}
