//! The protocol in virtual time: two workers, a store on which everything goes wrong, and what must be true after each
//! request that changed anything. Each rule is broken on purpose as well, and must be noticed.
//!
//! `RCSYNC_SEED=17 cargo test --lib bucket::simulation -- --nocapture` plays one seed again; `RCSYNC_SEEDS=2000` plays more.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::decide::bucket::head::{FoldAt, HEAD, Head, Known, Line, Publish};
use crate::decide::bucket::names::is_free;
use crate::decide::formats::Format;
use crate::decide::transfer::verify::{Expectation, Inspection, Judgement, Verified, judge};
use crate::edge::bucket::memory::{Change, Hand, Shelf, Stored as Object, Weather};
use crate::edge::folder::checksummed;
use crate::engine::retry::Persistence;
use crate::error::{BucketError, Error};
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::destination::BucketUrl;
use crate::model::digest::Sha256Digest;
use crate::model::hook_event::EventId;
use crate::model::job::JobId;
use crate::model::manifest::EntryState;
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::create::{Origin, create_small};
use super::head_read::Found;
use super::head_store::{HeadStore, Wish};
use super::outages::Outages;
use super::prune;
use super::records::{self, Draft, SUMS};
use super::sabotage::{Rule, break_rule, holds};
use super::store::Store;
use super::upload::{PartFault, STAGED, Unpublished, Upload, sweep};

const LEASE: Duration = Duration::from_secs(6);

/// Seeds that every run of the tests plays.
const SEEDS: u64 = 300;

/// Seeds until a broken rule must have been noticed.
const SEEDS_TO_NOTICE: u64 = 2000;

/// Universes are small, and so are their heads.
const FOLD_AT: FoldAt = FoldAt { lines: 4, events: 64 };

const ORIGIN: &str = "https://api.example";

/// What the host offers, and what was reported.
#[derive(Debug, Default)]
struct World {
    /// The version that each file has now.
    versions: Vec<u32>,
    /// Files that were reported as published.
    told: Vec<(RelPath, Sha256Digest)>,
    /// What was broken first.
    broken: Option<String>,
    /// How often a head at rest had a copy of what is known.
    rests: u64,
    story: Vec<String>,
}

fn plain(file: usize) -> RelPath {
    RelPath::parse(&format!("k{file}.bin")).unwrap()
}

/// A file that was pruned may be offered again from another folder of the host: another file of the same name.
fn key(file: usize, folder: usize) -> ArtifactKey {
    ArtifactKey { kind: ArtifactKind::Checkpoint, path: format!("/o/{folder}/k{file}.bin").into() }
}

fn content(file: usize, version: u32) -> Vec<u8> {
    format!("file {file} version {version} ").repeat(4).into_bytes()
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

/// Every whole version that a file may have, by its plain name.
fn versions_of(name: &str) -> BTreeSet<Sha256Digest> {
    let stem = name.strip_suffix(".bin").unwrap_or(name);
    let stem = stem.split_once('~').map_or(stem, |(stem, _)| stem);
    let Some(file) = stem.strip_prefix('k').and_then(|digits| digits.parse().ok()) else {
        return BTreeSet::new();
    };
    (1..20).map(|version| digest(&content(file, version))).collect()
}

fn verified(bytes: &[u8]) -> Verified {
    let mut inspection = Inspection::new(Format::Unknown, &[]);
    inspection.feed(bytes);
    let length = Some(bytes.len() as u64);
    match judge(&inspection.finish(None), &Expectation { length, ..Expectation::default() }) {
        Judgement::Proven(verified) => verified,
        other => panic!("{other:?}"),
    }
}

fn head_of(objects: &BTreeMap<String, Object>, stored: Option<&Object>) -> Option<(Head, Known)> {
    let text = std::str::from_utf8(&stored?.bytes).ok()?;
    let head: Head = checksummed::unseal(text)?;
    let mut known = match &head.snapshot {
        None => Known::new(head.job.clone(), head.origin.clone()),
        Some(key) => checksummed::unseal(std::str::from_utf8(&objects.get(key)?.bytes).ok()?)?,
    };
    head.lines.iter().for_each(|line| known.apply(line.clone()));
    Some((head, known))
}

/// P1 to P4 and P7, after one change.
fn check(objects: &BTreeMap<String, Object>, change: &Change, world: &World) -> Result<(), String> {
    let is_file = |name: &str| !name.starts_with(".rcsync/") && name != SUMS;
    // P1: what has a file's name is one whole version of that file.
    if let Some(after) = change.after.as_ref().filter(|_| is_file(&change.key)) {
        if !versions_of(&change.key).contains(&digest(&after.bytes)) {
            return Err(format!("P1: `{}` is no whole version of anything", change.key));
        }
        if change.before.as_ref().is_some_and(|before| before.bytes != after.bytes) {
            return Err(format!("P1: `{}` got other bytes", change.key));
        }
    }
    let here = |path: &str| objects.get(path).map(|object| digest(&object.bytes));
    let head = head_of(objects, objects.get(HEAD));
    let known = head.as_ref().map(|(_, known)| known);
    // P2: every claim and every line of the list is what is there.
    for (path, sha256) in known.map(Known::claimed).unwrap_or_default() {
        if here(path.as_str()) != Some(sha256) {
            return Err(format!("P2: the head claims `{path}`, and other bytes or none are there"));
        }
    }
    if let Some(sums) = objects.get(SUMS) {
        let text = String::from_utf8_lossy(&sums.bytes).into_owned();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (expected, name) = line.split_once("  ").ok_or("P2: a line of SHA256SUMS")?;
            if here(name).map(|sha256| sha256.to_string()).as_deref() != Some(expected) {
                return Err(format!("P2: SHA256SUMS lists `{name}`, and other bytes or none are there"));
            }
        }
    }
    // P2: the copy in a head at rest is the same as snapshot and lines.
    if let Some((head, known)) = &head
        && head.rest.as_deref().is_some_and(|rest| rest != known)
    {
        return Err("P2: a head at rest has another copy of what is known".to_owned());
    }
    // P3: what was reported as published stays, unless it was pruned.
    for (path, sha256) in &world.told {
        let is_retired = known.is_some_and(|known| known.retired.contains_key(path));
        if !is_retired && here(path.as_str()) != Some(*sha256) {
            return Err(format!("P3: `{path}` was reported as published and is lost"));
        }
        // … and the head knows it.
        let is_claimed = known.is_some_and(|known| known.claimed().get(path) == Some(sha256));
        if !is_retired && !is_claimed {
            return Err(format!("P3: `{path}` was reported as published and its claim is lost"));
        }
    }
    // P4: epochs never go back, and no claim is written by an epoch that is over.
    if change.key == HEAD
        && let Some((before, old)) = head_of(objects, change.before.as_ref())
    {
        let Some((after, new)) = &head else { return Err("P4: the head is gone".to_owned()) };
        let is_takeover = after.epoch == before.epoch + 1 && after.owner != before.owner;
        let is_same = after.epoch == before.epoch && after.owner == before.owner;
        if !is_takeover && !is_same {
            return Err(format!("P4: epoch {} follows epoch {}", after.epoch, before.epoch));
        }
        if is_takeover && new.manifest != old.manifest {
            return Err("P4: a takeover changes claims".to_owned());
        }
        if after.sequence <= before.sequence {
            return Err("P4: the head went back".to_owned());
        }
    }
    // P7: no secret is in any object.
    match &change.after {
        Some(after) if after.bytes.windows(4).any(|window| window == b"sig=") => {
            Err(format!("P7: `{}` holds a query", change.key))
        }
        _ => Ok(()),
    }
}

/// One worker's view of everything.
struct Worker {
    store: Store,
    hand: Arc<Hand>,
    world: Arc<Mutex<World>>,
    random: Rng,
    publish: Publish,
    prunes: bool,
    name: &'static str,
    began: Instant,
}

impl Worker {
    fn say(&self, what: &str) {
        let mut world = self.world.lock().unwrap();
        let line = format!("{:>9.3} {} {what}", self.began.elapsed().as_secs_f64(), self.name);
        world.story.push(line);
    }

    /// Files whose current version is not claimed, each with its folder at the host.
    fn missing(&self, known: &Known) -> Vec<(usize, usize, u32)> {
        let world = self.world.lock().unwrap();
        let mut missing = Vec::new();
        for (file, version) in world.versions.iter().copied().enumerate() {
            let now = digest(&content(file, version));
            let entry = |folder: usize| known.manifest.entries.get(&key(file, folder));
            let is_pruned = |folder: &usize| {
                entry(*folder).is_some_and(|entry| entry.state == EntryState::Pruned && entry.sha256 != now)
            };
            let folder = (0..).find(|folder| !is_pruned(folder)).unwrap();
            if entry(folder).is_none_or(|entry| entry.state == EntryState::Present && entry.sha256 != now) {
                missing.push((file, folder, version));
            }
        }
        missing
    }

    /// One run, as `--once` is one.
    async fn once(&mut self, waits: bool) -> Result<bool, Error> {
        let job: JobId = "job".parse().unwrap();
        let found = Found::look(&self.store, &job, ORIGIN).await?;
        let listed = self.store.ask("list", "", || self.store.bucket.list("")).await?;
        let written = found.head.as_ref().and_then(|head| head.written.get(SUMS).cloned());
        let tag =
            listed.iter().find(|object| object.key == SUMS).map(|object| object.tag.as_str().to_owned());
        let retired = listed.iter().any(|object| {
            RelPath::parse(&object.key).is_ok_and(|path| {
                found.known.retired.get(&path).is_some_and(|tag| tag.as_deref() == Some(object.tag.as_str()))
            })
        });
        let staged: Vec<String> = listed
            .iter()
            .filter(|object| object.key.starts_with(STAGED))
            .map(|object| object.key.clone())
            .collect();
        let is_released = found.head.as_ref().is_none_or(|head| head.free && head.begun.is_empty());
        let is_idle = self.missing(&found.known).is_empty()
            && Draft::sums(&found.known).is_written(written.as_ref(), tag.as_deref())
            && !retired
            && staged.is_empty()
            && is_released;
        if is_idle && holds(Rule::IdleWritesNothing) {
            return Ok(true);
        }
        let wish = Wish { lease: LEASE, waits, fold_at: FOLD_AT };
        let head = Arc::new(HeadStore::take(self.store.clone(), found, wish, self.publish, |_| {}).await?);
        self.say("has the lease");
        let outcome = tokio::select! {
            kept = head.keep() => kept,
            worked = self.work(&head, &listed, &staged) => worked,
        };
        outcome?;
        head.release().await?;
        self.say("released");
        Ok(false)
    }

    async fn work(
        &mut self,
        head: &Arc<HeadStore>,
        listed: &[crate::edge::bucket::Listed],
        staged: &[String],
    ) -> Result<(), Error> {
        sweep(&self.store, head, staged).await?;
        prune::finish(&self.store, head, listed).await?;
        for _ in 0..self.random.u32(1..4) {
            let missing = self.missing(&head.known());
            for pair in missing.chunks(2) {
                let pauses: Vec<u64> = pair.iter().map(|_| self.random.u64(10..3000)).collect();
                let large: Vec<bool> = pair.iter().map(|_| self.random.bool()).collect();
                let jobs = pair.iter().zip(pauses).zip(large);
                let jobs = jobs.map(|((file, pause), large)| self.mirror(head, *file, pause, large));
                futures::future::try_join_all(jobs).await?;
            }
            records::write(&self.store, head, SUMS, Draft::sums).await?;
            if self.prunes && self.random.bool() {
                let known = head.known();
                let present: Vec<_> = known
                    .manifest
                    .entries
                    .iter()
                    .filter(|(_, entry)| entry.state == EntryState::Present)
                    .map(|(key, entry)| (key.clone(), entry.clone()))
                    .collect();
                if !present.is_empty() {
                    let going = &present[self.random.usize(..present.len())];
                    self.say(&format!("prunes {}", going.1.path));
                    prune::remove(&self.store, head, std::slice::from_ref(going)).await?;
                }
            }
            let pause = self.random.u64(..4000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if head.head().await.is_some_and(|now| {
            now.written.get(SUMS).is_none_or(|written| written.meaning != Draft::sums(&head.known()).meaning)
        }) {
            records::write(&self.store, head, SUMS, Draft::sums).await?;
        }
        Ok(())
    }

    /// Fetches one version of one file, and publishes it.
    async fn mirror(
        &self,
        head: &Arc<HeadStore>,
        (file, folder, version): (usize, usize, u32),
        pause: u64,
        large: bool,
    ) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let bytes = content(file, version);
        let origin = || Origin {
            key: key(file, folder),
            step: None,
            revision: Revision::default(),
            run: "".into(),
            keeps_older: true,
        };
        let plain = plain(file);
        if !holds(Rule::ClaimAfterAcknowledgement) {
            let path =
                crate::decide::bucket::names::candidates(&plain, digest(&bytes), &head.known())[0].clone();
            let early =
                super::create::completed(path, crate::edge::bucket::Tag::new("", None), verified(&bytes));
            head.claim(early.claim(origin(), &head.known())).await?;
        }
        let stored = if large {
            self.upload(head, &plain, &bytes).await?
        } else {
            let known = head.known();
            create_small(&self.store, &plain, Bytes::from(bytes.clone()), verified(&bytes), &known).await?
        };
        head.claim(stored.claim(origin(), &head.known())).await?;
        self.say(&format!("published {} version {version}", stored.path()));
        let told = (stored.path().clone(), stored.verified().sha256());
        self.world.lock().unwrap().told.push(told);
        // As a hook that got it: recorded by the next swap, which may be the one that frees the lease.
        let id = EventId::of(&[stored.path().as_str()]);
        head.note_delivered(Line::Hook { hook: EventId::of(&["hook"]), done: vec![id], failed: None });
        Ok(())
    }

    async fn upload(
        &self,
        head: &Arc<HeadStore>,
        plain: &RelPath,
        bytes: &[u8],
    ) -> Result<super::create::Stored, Error> {
        let mut may_be_direct = true;
        loop {
            let known = head.known();
            let direct = may_be_direct && (is_free(plain, &known) || !holds(Rule::NamesOnce));
            let upload =
                Upload::begin(self.store.clone(), head.clone(), plain.clone(), self.publish, direct).await?;
            let mut parts = Vec::new();
            let mut is_gone = false;
            for (number, part) in bytes.chunks(bytes.len() / 2 + 1).enumerate() {
                match upload.part(number, Bytes::copy_from_slice(part)).await {
                    Ok(tag) => parts.push(tag),
                    Err(PartFault::Gone) => is_gone = true,
                    Err(PartFault::Error(error)) => return Err(error),
                }
            }
            if is_gone {
                continue;
            }
            match upload.publish(parts, verified(bytes)).await {
                Ok(stored) => return Ok(stored),
                Err(Unpublished::Taken) => may_be_direct = false,
                Err(Unpublished::Gone) => {}
                Err(Unpublished::Error(error)) => return Err(error),
            }
        }
    }
}

/// Plays one universe, and returns how many heads at rest had a copy of what is known; the error names what was broken.
fn play(seed: u64, tell: bool) -> Result<u64, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    fastrand::seed(seed);
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(universe(seed, tell))));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        Err(format!("panic: {text}"))
    })
}

async fn universe(seed: u64, tell: bool) -> Result<u64, String> {
    let mut random = Rng::with_seed(seed);
    let began = Instant::now();
    let shelf = Arc::new(Shelf::default());
    let files = random.usize(1..4);
    let world = Arc::new(Mutex::new(World { versions: vec![1; files], ..World::default() }));
    let publish = if random.u32(..3) == 0 { Publish::Copy } else { Publish::Complete };
    shelf.plain_complete.store(publish == Publish::Copy, Ordering::Relaxed);
    let watched = world.clone();
    shelf.watch(Box::new(move |objects, change| {
        let mut world = watched.lock().unwrap();
        if tell {
            let what = if change.after.is_some() { "writes" } else { "deletes" };
            let line = format!("{:>9.3} store {what} {}", began.elapsed().as_secs_f64(), change.key);
            world.story.push(line);
        }
        let has_rest = |head: Option<(Head, Known)>| head.is_some_and(|(head, _)| head.rest.is_some());
        if change.key == HEAD && has_rest(head_of(objects, change.after.as_ref())) {
            world.rests += 1;
        }
        if world.broken.is_none()
            && let Err(broken) = check(objects, change, &world)
        {
            world.story.push(broken.clone());
            world.broken = Some(broken);
        }
    }));
    // In some universes workers only freeze, often, and prune: what a frozen worker still wants to write is the deepest.
    let zombies = random.u32(..3) == 0;
    let prunes = zombies || random.u32(..3) > 0;
    let url = Arc::new(BucketUrl::parse("s3://bucket/prefix").unwrap().unwrap());
    let worker = |hand: Arc<Hand>, seed: u64, name: &'static str| Worker {
        store: Store {
            bucket: hand.clone(),
            url: url.clone(),
            persistence: Persistence::Pass,
            outages: Outages::default(),
        },
        hand,
        world: world.clone(),
        random: Rng::with_seed(seed),
        publish,
        prunes,
        name,
        began,
    };
    let weather = Weather {
        lost: random.u32(..80),
        late: random.u32(..120),
        dropped: random.u32(..40),
        busy: random.u32(..60),
        freezes: random.u32(..25),
        freezes_at: None,
    };
    let weather = if zombies {
        let place = [HEAD, SUMS][random.usize(..2)];
        let freezes_at = Some((place, random.u32(50..300)));
        Weather { freezes: random.u32(..50), freezes_at, ..Weather::default() }
    } else {
        weather
    };
    let longest = LEASE * if zombies { 4 } else { 10 };
    let workers = ["A", "B"].map(|name| {
        let lives = random.u32(2..if zombies { 9 } else { 5 });
        let seeds: Vec<u64> = (0..lives).map(|_| random.u64(..)).collect();
        let (shelf, worker) = (shelf.clone(), &worker);
        async move {
            for seed in seeds {
                let mut random = Rng::with_seed(seed);
                let hand = Hand::new(shelf.clone(), weather, longest, seed);
                if !zombies && random.bool() {
                    hand.kill_before(random.u64(1..60));
                }
                let waits = zombies || random.bool();
                let mut life = worker(hand, seed ^ 1, name);
                let hand = life.hand.clone();
                let pause = random.u64(..8000);
                tokio::select! {
                    () = hand.killed() => {}
                    ended = life.once(waits) => if let Err(error) = ended { fair(&error)? },
                }
                life.say("ended");
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Ok::<(), String>(())
        }
    });
    // The host gets new bytes now and then.
    let changes: Vec<(u64, usize)> =
        (0..random.usize(..8)).map(|_| (random.u64(..20_000), random.usize(..files))).collect();
    let host = async {
        for (pause, file) in changes {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            world.lock().unwrap().versions[file] += 1;
        }
    };
    let [one, other] = workers;
    let (one, other, ()) = tokio::join!(one, other, host);
    let story = |world: &World| {
        if tell {
            for line in &world.story {
                println!("{line}");
            }
        }
    };
    let broken = world.lock().unwrap().broken.clone();
    if let Some(broken) = broken.or_else(|| one.and(other).err()) {
        story(&world.lock().unwrap());
        return Err(broken);
    }
    // Nothing is late any more, and one worker comes to the end of it.
    tokio::time::sleep(longest * 2).await;
    let ended = last(&shelf, &world, worker(Hand::steady(shelf.clone()), seed, "C")).await;
    story(&world.lock().unwrap());
    let world = world.lock().unwrap();
    match world.broken.clone() {
        Some(broken) => Err(broken),
        None => ended.map(|()| world.rests),
    }
}

/// Ends that a worker may have here: nothing that it was asked for was wrong.
fn fair(error: &Error) -> Result<(), String> {
    let is_fair = matches!(error, Error::Bucket(fault) if matches!(
        **fault,
        BucketError::Held { .. }
            | BucketError::TakenOver { .. }
            | BucketError::Away { .. }
            // Its staged object or upload was swept by the one that took over.
            | BucketError::Refused { .. }
    ));
    if is_fair { Ok(()) } else { Err(format!("P5: a worker ended with: {error}")) }
}

/// P5 and P6: all that can be had is there, with one owner; then a look costs two requests and no write.
async fn last(shelf: &Arc<Shelf>, world: &Arc<Mutex<World>>, mut worker: Worker) -> Result<(), String> {
    worker.prunes = false;
    for _ in 0..4 {
        if worker.once(true).await.map_err(|error| format!("P5: the last worker ended with: {error}"))? {
            break;
        }
    }
    let objects = shelf.objects();
    let Some((head, known)) = head_of(&objects, objects.get(HEAD)) else {
        return Err("P5: there is no head".to_owned());
    };
    if !head.free {
        return Err("P5: the lease is not free".to_owned());
    }
    if !worker.missing(&known).is_empty() {
        return Err("P5: not everything is there".to_owned());
    }
    let sums = objects.get(SUMS).map(|sums| String::from_utf8_lossy(&sums.bytes).into_owned());
    let listed = sums.unwrap_or_default().lines().filter(|line| !line.starts_with('#')).count();
    if listed != known.claimed().len() {
        return Err(format!("P5: SHA256SUMS lists {listed} of {} files", known.claimed().len()));
    }
    // One create gives one object, whatever became of its answer.
    let mut tokens: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, object) in objects.iter().filter(|(name, _)| name.starts_with('k')) {
        let is_retired = |name: &str| known.retired.contains_key(&RelPath::parse(name).unwrap());
        if let Some(other) = tokens.insert(&object.token, name)
            && !is_retired(name)
            && !is_retired(other)
        {
            return Err(format!("P5: `{name}` and `{other}` are of one create"));
        }
    }
    if let Some(staged) = objects.keys().find(|key| key.starts_with(STAGED)) {
        return Err(format!("P5: `{staged}` is left"));
    }
    let requests = || (shelf.carried.load(Ordering::Relaxed), shelf.writes.load(Ordering::Relaxed));
    let before = requests();
    worker.once(true).await.map_err(|error| format!("P6: {error}"))?;
    let after = requests();
    if (after.0 - before.0, after.1 - before.1) != (2, 0) {
        return Err(format!("P6: an idle look costs {} requests", after.0 - before.0));
    }
    let _ = world;
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_universe_keeps_the_obligations() {
    if let Some(seed) = number("RCSYNC_SEED") {
        let outcome = play(seed, true);
        assert!(outcome.is_ok(), "seed {seed}: {}", outcome.unwrap_err());
        return;
    }
    let seeds = number("RCSYNC_SEEDS").unwrap_or(SEEDS);
    let (mut failures, mut with_rest) = (Vec::new(), 0);
    for seed in 0..seeds {
        match play(seed, false) {
            Ok(rests) => with_rest += u64::from(rests > 0),
            Err(broken) => failures.push(format!("RCSYNC_SEED={seed}: {broken}")),
        }
    }
    assert!(failures.is_empty(), "{} of {seeds} universes:\n{}", failures.len(), failures.join("\n"));
    println!("{with_rest} of {seeds} universes had a head at rest with a copy of what is known");
    assert!(with_rest >= seeds / 4, "{with_rest} of {seeds} universes folded their head");
}

/// Breaks a rule, and returns after how many seeds that was noticed, and how.
fn noticed(rule: Rule) -> Option<(u64, String)> {
    break_rule(Some(rule));
    let found =
        (0..SEEDS_TO_NOTICE).find_map(|seed| play(seed, false).err().map(|broken| (seed + 1, broken)));
    break_rule(None);
    found
}

#[test]
fn each_broken_rule_is_noticed() {
    let rules = [
        Rule::NamesOnce,
        Rule::TagBeforeHead,
        Rule::HeadUnderCondition,
        Rule::FreshSequence,
        Rule::CreateOnly,
        Rule::CompareTaken,
        Rule::ClaimAfterAcknowledgement,
        Rule::SumsForgetFirst,
        Rule::SumsUnderCondition,
        Rule::RefusedMeansLost,
        Rule::UnknownIsNoRefusal,
        Rule::UnknownIsNoSuccess,
        Rule::RestHasNewLines,
        Rule::IdleWritesNothing,
    ];
    let mut unnoticed = Vec::new();
    for rule in rules {
        match noticed(rule) {
            Some((seeds, broken)) => println!("{rule:?}: after {seeds} seeds: {broken}"),
            None => unnoticed.push(rule),
        }
    }
    assert!(unnoticed.is_empty(), "broken on purpose, and not noticed: {unnoticed:?}");
}
