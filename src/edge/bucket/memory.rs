//! A bucket in memory with everything that can go wrong between a worker and a store, in virtual time: answers that are
//! lost, requests that are carried out long after their sender gave up or died, 409 and 503, workers that freeze, and
//! workers that are killed before any request.
//!
//! Tags are hashes of the bytes, as `ETag`s are: rewriting the same bytes returns an old tag.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::error::Unanswered;
use crate::model::digest::hex;

use super::{About, Answer, Bucket, Listed, Meta, Object, PartTag, Put, StoreFault, Tag, UploadId, When};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) token: String,
    pub(crate) written: Instant,
}

impl Stored {
    fn tag(&self) -> Tag {
        Tag::new(&hex(&Sha256::digest(&self.bytes)[..8]), None)
    }

    fn meta(&self) -> Meta {
        Meta {
            size: self.bytes.len() as u64,
            tag: self.tag(),
            token: Some(self.token.clone()),
            age: Some(self.written.elapsed()),
        }
    }
}

/// What one request changed: nothing, or one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) before: Option<Stored>,
    pub(crate) after: Option<Stored>,
}

type Watch = dyn FnMut(&BTreeMap<String, Stored>, &Change) + Send;

#[derive(Default)]
pub(crate) struct Shelf {
    state: Mutex<State>,
    /// Called after each request that changed something.
    watch: Mutex<Option<Box<Watch>>>,
    /// Requests that were carried out, and those of them that may change something.
    pub(crate) carried: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// Bytes of objects that were handed out.
    pub(crate) read: AtomicU64,
    /// The store ignores conditions.
    pub(crate) careless: AtomicBool,
    /// The store knows no condition on completing, as GCS.
    pub(crate) plain_complete: AtomicBool,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    begun: u64,
}

struct Upload {
    key: String,
    about: About,
    parts: BTreeMap<usize, Bytes>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

/// A request, as it travels.
#[derive(Debug, Clone)]
enum Request {
    Get(String, Option<Range<u64>>),
    Stat(String),
    List(String),
    Folders(String),
    Put(String, Bytes, When, About),
    Begin(String, About),
    Part(UploadId, usize, Bytes),
    Complete(String, UploadId, Vec<PartTag>, When),
    Copy(String, String),
    Abort(UploadId),
    Remove(String),
}

impl Request {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Get(key, _) | Self::Stat(key) | Self::Put(key, ..) => Some(key),
            _ => None,
        }
    }

    const fn is_write(&self) -> bool {
        !matches!(self, Self::Get(..) | Self::Stat(_) | Self::List(_) | Self::Folders(_))
    }
}

enum Reply {
    Object(Option<Object>),
    Meta(Option<Meta>),
    List(Vec<Listed>),
    Folders(Vec<String>),
    Put(Put),
    Upload(UploadId),
    Part(PartTag),
    Done,
}

impl Shelf {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every change looked at.
    pub(crate) fn watch(&self, watch: Box<Watch>) {
        *self.watch.lock().unwrap() = Some(watch);
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Stored> {
        self.state().objects.clone()
    }

    /// Uploads that were neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    /// Drops all uploads, as a rule of the bucket would.
    pub(crate) fn drop_uploads(&self) {
        self.state().uploads.clear();
    }

    /// Changes an object as another program would.
    pub(crate) fn set(&self, key: &str, bytes: Option<&[u8]>) {
        let mut state = self.state();
        match bytes {
            Some(bytes) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let stored = Stored { bytes, token: String::new(), written: Instant::now() };
                state.objects.insert(key.to_owned(), stored);
            }
            None => {
                state.objects.remove(key);
            }
        }
    }

    fn holds(&self, found: Option<&Stored>, when: &When) -> bool {
        if self.careless.load(Ordering::Relaxed) {
            return true;
        }
        match (found, when) {
            (_, When::Always) | (None, When::New) => true,
            (Some(found), When::Unchanged(tag)) => found.tag() == *tag,
            (Some(_), When::New) | (None, When::Unchanged(_)) => false,
        }
    }

    /// Carries a request out.
    fn execute(&self, request: Request) -> Result<Reply, StoreFault> {
        self.carried.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(u64::from(request.is_write()), Ordering::Relaxed);
        let mut state = self.state();
        let (reply, change) = match request {
            Request::Get(key, range) => {
                let object = state.objects.get(&key).map(|stored| {
                    let length = stored.bytes.len();
                    let part = range.map_or(0..length, |range| {
                        let at = |offset: u64| usize::try_from(offset).unwrap().min(length);
                        at(range.start)..at(range.end)
                    });
                    self.read.fetch_add(part.len() as u64, Ordering::Relaxed);
                    Object { meta: stored.meta(), bytes: stored.bytes.slice(part) }
                });
                (Reply::Object(object), None)
            }
            Request::Stat(key) => (Reply::Meta(state.objects.get(&key).map(Stored::meta)), None),
            Request::List(prefix) => {
                let listed = state.objects.iter().filter(|(key, _)| key.starts_with(&prefix));
                let listed = listed.map(|(key, stored)| Listed {
                    key: key.clone(),
                    size: stored.bytes.len() as u64,
                    tag: stored.tag(),
                });
                (Reply::List(listed.collect()), None)
            }
            Request::Folders(prefix) => {
                let mut folders: Vec<String> = state
                    .objects
                    .keys()
                    .filter_map(|key| key.strip_prefix(&prefix)?.split_once('/'))
                    .map(|(folder, _)| format!("{prefix}{folder}"))
                    .collect();
                folders.dedup();
                (Reply::Folders(folders), None)
            }
            Request::Put(key, bytes, when, about) => {
                let (put, change) = self.write(&mut state, key, bytes, about.token, &when);
                (Reply::Put(put), change)
            }
            Request::Begin(key, about) => {
                state.begun += 1;
                let id = UploadId(format!("upload-{}", state.begun));
                state.uploads.insert(id.0.clone(), Upload { key, about, parts: BTreeMap::new() });
                (Reply::Upload(id), None)
            }
            Request::Part(upload, number, bytes) => {
                let upload = state.uploads.get_mut(&upload.0).ok_or(StoreFault::NoUpload)?;
                let tag = PartTag(hex(&Sha256::digest(&bytes)[..8]));
                upload.parts.insert(number, bytes);
                (Reply::Part(tag), None)
            }
            Request::Complete(key, id, parts, when) => {
                let upload = state.uploads.get(&id.0).ok_or(StoreFault::NoUpload)?;
                assert_eq!(upload.key, key, "an upload is completed under another key");
                let mut bytes = Vec::new();
                for (number, tag) in parts.iter().enumerate() {
                    let part =
                        upload.parts.get(&number).filter(|part| hex(&Sha256::digest(part)[..8]) == tag.0);
                    let Some(part) = part else {
                        let message = format!("part {number} is missing");
                        return Err(StoreFault::Refused { status: 400, message });
                    };
                    bytes.extend_from_slice(part);
                }
                let token = upload.about.token.clone();
                let when = if self.plain_complete.load(Ordering::Relaxed) { When::Always } else { when };
                let (put, change) = self.write(&mut state, key, bytes.into(), token, &when);
                if matches!(put, Put::Done(_)) {
                    state.uploads.remove(&id.0);
                }
                (Reply::Put(put), change)
            }
            Request::Copy(from, to) => {
                let Some(source) = state.objects.get(&from).cloned() else {
                    return Err(StoreFault::Refused { status: 404, message: "no such object".to_owned() });
                };
                let (put, change) = self.write(&mut state, to, source.bytes, source.token, &When::New);
                (Reply::Put(put), change)
            }
            Request::Abort(upload) => {
                state.uploads.remove(&upload.0);
                (Reply::Done, None)
            }
            Request::Remove(key) => {
                let before = state.objects.remove(&key);
                (Reply::Done, before.map(|before| Change { key, before: Some(before), after: None }))
            }
        };
        if let (Some(change), Some(watch)) = (change, &mut *self.watch.lock().unwrap()) {
            watch(&state.objects, &change);
        }
        Ok(reply)
    }

    fn write(
        &self,
        state: &mut State,
        key: String,
        bytes: Bytes,
        token: String,
        when: &When,
    ) -> (Put, Option<Change>) {
        if !self.holds(state.objects.get(&key), when) {
            return (Put::Refused, None);
        }
        let stored = Stored { bytes, token, written: Instant::now() };
        let tag = stored.tag();
        let before = state.objects.insert(key.clone(), stored.clone());
        (Put::Done(tag), Some(Change { key, before, after: Some(stored) }))
    }
}

/// How often which mishap happens to a worker's requests, of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Carried out, and the answer lost.
    pub(crate) lost: u32,
    /// The sender gives up; the request is carried out later, perhaps much later.
    pub(crate) late: u32,
    /// Never carried out, and no answer.
    pub(crate) dropped: u32,
    /// 409 or 503.
    pub(crate) busy: u32,
    /// The worker freezes, perhaps for longer than the lease, before the request.
    pub(crate) freezes: u32,
    /// The worker freezes before this share of the requests for this object.
    pub(crate) freezes_at: Option<(&'static str, u32)>,
}

/// One worker's way to the store.
#[derive(Debug)]
pub(crate) struct Hand {
    shelf: Arc<Shelf>,
    weather: Weather,
    /// The longest time that a late request takes, and that a frozen worker freezes.
    longest: Duration,
    random: Mutex<Rng>,
    frozen_until: Mutex<Instant>,
    /// Requests that are sent before the worker is killed.
    lives: AtomicU64,
    killed: tokio::sync::Notify,
}

impl Hand {
    pub(crate) fn new(shelf: Arc<Shelf>, weather: Weather, longest: Duration, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            shelf,
            weather,
            longest,
            random: Mutex::new(Rng::with_seed(seed)),
            frozen_until: Mutex::new(Instant::now()),
            lives: AtomicU64::new(u64::MAX),
            killed: tokio::sync::Notify::new(),
        })
    }

    /// A way to the store on which nothing goes wrong.
    pub(crate) fn steady(shelf: Arc<Shelf>) -> Arc<Self> {
        Self::new(shelf, Weather::default(), Duration::ZERO, 0)
    }

    /// Kills the worker before its `n`th request.
    pub(crate) fn kill_before(&self, n: u64) {
        self.lives.store(n, Ordering::Relaxed);
    }

    /// Returns when the worker was killed.
    pub(crate) async fn killed(&self) {
        self.killed.notified().await;
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap())
    }

    /// A frozen worker sends nothing and hears nothing.
    async fn thaw(&self) {
        loop {
            let until = *self.frozen_until.lock().unwrap();
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    async fn send(&self, request: Request) -> Result<Reply, StoreFault> {
        let share = match self.weather.freezes_at {
            Some((key, share)) if request.key() == Some(key) => share,
            _ => self.weather.freezes,
        };
        if share > 0 && self.draw(|random| random.u32(..1000)) < share {
            let longest = u64::try_from(self.longest.as_millis()).unwrap();
            let freeze = Duration::from_millis(self.draw(|random| random.u64(..=longest)));
            *self.frozen_until.lock().unwrap() = Instant::now() + freeze;
        }
        self.thaw().await;
        let lives = self.lives.load(Ordering::Relaxed);
        if lives == 0 {
            self.killed.notify_waiters();
            self.killed.notify_one();
            return std::future::pending().await;
        }
        if lives != u64::MAX {
            self.lives.store(lives - 1, Ordering::Relaxed);
        }
        let latency = self.draw(|random| random.u64(1..40));
        tokio::time::sleep(Duration::from_millis(latency)).await;
        let Weather { lost, late, dropped, busy, .. } = self.weather;
        let mut chance = self.draw(|random| random.u32(..1000));
        let mut is = |weight: u32| {
            let hit = chance < weight;
            chance = chance.saturating_sub(weight);
            hit && weight > 0
        };
        let unknown =
            || StoreFault::Unknown { cause: Unanswered::TimedOut { after: Duration::from_secs(2) } };
        let reply = if is(lost) {
            // What it would have answered is never known.
            let _ = self.shelf.execute(request);
            tokio::time::sleep(Duration::from_secs(2)).await;
            Err(unknown())
        } else if is(late) {
            let longest = u64::try_from(self.longest.as_millis()).unwrap();
            let delay = Duration::from_millis(self.draw(|random| random.u64(..=longest)));
            let shelf = self.shelf.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // The answer of a request that was cut off reaches no client.
                let _ = shelf.execute(request);
            });
            tokio::time::sleep(Duration::from_secs(2)).await;
            Err(unknown())
        } else if is(dropped) {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Err(unknown())
        } else if is(busy) {
            let status = self.draw(|random| if random.bool() { 409 } else { 503 });
            Err(StoreFault::Busy { status, retry_after: None })
        } else {
            let reply = self.shelf.execute(request);
            tokio::time::sleep(Duration::from_millis(latency)).await;
            reply
        };
        self.thaw().await;
        reply
    }
}

macro_rules! answer {
    ($this:expr, $request:expr, $pattern:pat => $value:expr) => {{
        let request = $request;
        Box::pin(async move {
            match $this.send(request).await? {
                $pattern => Ok($value),
                _ => unreachable!("a reply of another kind"),
            }
        })
    }};
}

impl Bucket for Hand {
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Option<Object>> {
        answer!(self, Request::Get(key.to_owned(), range), Reply::Object(object) => object)
    }

    fn stat<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Meta>> {
        answer!(self, Request::Stat(key.to_owned()), Reply::Meta(meta) => meta)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Listed>> {
        answer!(self, Request::List(prefix.to_owned()), Reply::List(list) => list)
    }

    fn folders<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<String>> {
        answer!(self, Request::Folders(prefix.to_owned()), Reply::Folders(folders) => folders)
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When, about: About) -> Answer<'a, Put> {
        answer!(self, Request::Put(key.to_owned(), bytes, when, about), Reply::Put(put) => put)
    }

    fn begin<'a>(&'a self, key: &'a str, about: About) -> Answer<'a, UploadId> {
        answer!(self, Request::Begin(key.to_owned(), about), Reply::Upload(id) => id)
    }

    fn part<'a>(
        &'a self,
        _: &'a str,
        upload: &'a UploadId,
        number: usize,
        bytes: Bytes,
    ) -> Answer<'a, PartTag> {
        answer!(self, Request::Part(upload.clone(), number, bytes), Reply::Part(tag) => tag)
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        parts: Vec<PartTag>,
        when: When,
    ) -> Answer<'a, Put> {
        answer!(self, Request::Complete(key.to_owned(), upload.clone(), parts, when), Reply::Put(put) => put)
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Put> {
        answer!(self, Request::Copy(from.to_owned(), to.to_owned()), Reply::Put(put) => put)
    }

    fn abort<'a>(&'a self, _: &'a str, upload: &'a UploadId) -> Answer<'a, ()> {
        answer!(self, Request::Abort(upload.clone()), Reply::Done => ())
    }

    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        answer!(self, Request::Remove(key.to_owned()), Reply::Done => ())
    }
}
