//! Fleets into one bucket in memory, in virtual time: what processes share, and what is left when they end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use tokio::time::Instant;

use crate::decide::bucket::head::{Head, Publish};
use crate::decide::fleet::again::worse;
use crate::decide::fleet::job_list;
use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::bucket::memory::{Hand, Shelf, Weather};
use crate::edge::folder::checksummed;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::trace::{Change, Witness, call, dismiss};
use crate::engine::bucket::compare;
use crate::engine::bucket::fleet_root::FleetRoot;
use crate::engine::bucket::options::BucketOptions;
use crate::engine::bucket::outages::Outages;
use crate::engine::bucket::overview;
use crate::engine::bucket::run::BucketMirror;
use crate::engine::bucket::store::Store;
use crate::engine::bucket::tests::check;
use crate::engine::event::{Event, Notice};
use crate::engine::follower::Follower;
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::outputs::gallery::Gallery;
use crate::engine::retry::Persistence;
use crate::engine::stop::Stop;
use crate::engine::transfer::share::Budget;
use crate::error::{Error, ExitStatus};
use crate::model::destination::{BucketUrl, Destination};
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::simulation::TOKEN;
use crate::simulation::wire::Line;
use crate::simulator::{Fault, JobPlan, Offered, Origin, Simulator, SimulatorConfig, What};

use super::api_toll::ApiToll;
use super::registry::Registry;
use super::source::Source;
use super::{Endings, Fleet, Listener, News, Start};

const JOBS: usize = 5;

/// Requests a second that each process may send to the API.
const API_RATE: f64 = 4.0;

/// What one process reported.
#[derive(Default)]
struct Heard {
    events: Mutex<Vec<(JobId, Event)>>,
}

impl Listener for Heard {
    fn event(&self, job: &JobId, event: &Event) {
        self.events.lock().unwrap().push((job.clone(), event.clone()));
    }

    fn news(&self, _: &News) {}
}

impl Heard {
    fn published(&self) -> Vec<(JobId, String, Sha256Digest)> {
        let events = self.events.lock().unwrap();
        let published = events.iter().filter_map(|(job, event)| match event {
            Event::Published { path, sha256, .. } => Some((job.clone(), path.to_string(), *sha256)),
            _ => None,
        });
        published.collect()
    }

    fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|(_, event)| is_it(event)).count()
    }
}

/// Five jobs and a bucket for them.
struct Rig {
    world: Arc<Simulator>,
    jobs: Vec<JobId>,
    shelf: Arc<Shelf>,
}

/// One process: its fleet, what it reported, how it is stopped, and its requests to the API.
struct Process {
    fleet: Fleet<()>,
    heard: Arc<Heard>,
    stop: Stop,
    to_api: Arc<Line>,
}

impl Rig {
    fn new(checkpoint_bytes: u64) -> Self {
        let config = SimulatorConfig { token: TOKEN.to_owned(), ..SimulatorConfig::default() };
        let world = Arc::new(Simulator::unconnected(config));
        let plan = |number: usize| JobPlan {
            name: format!("dog {number}"),
            steps: 20,
            save_every: 10,
            sample_every: 10,
            checkpoint_bytes,
            ..JobPlan::default()
        };
        let jobs = (0..JOBS).map(|number| world.add_job(plan(number))).collect();
        Self { world, jobs, shelf: Arc::default() }
    }

    fn finish(&self) {
        self.jobs.iter().for_each(|job| self.world.finish(job));
    }

    fn root(&self, hand: Arc<Hand>, options: &BucketOptions) -> Arc<FleetRoot> {
        let url = Arc::new(BucketUrl::parse("s3://b/loras").unwrap().unwrap());
        FleetRoot::over(
            Store { bucket: hand, url, persistence: Persistence::Pass, outages: Outages::default() },
            options,
        )
    }

    fn steady(&self) -> Arc<FleetRoot> {
        self.root(Hand::steady(self.shelf.clone()), &BucketOptions::default())
    }

    fn process(&self, name: &str, hand: Arc<Hand>, change: impl FnOnce(&mut SyncOptions)) -> Process {
        let stall = Duration::from_secs(10);
        let line = |origin| Line::new(self.world.clone(), origin, stall, fastrand::u64(..));
        let base = self.world.api_base().parse().unwrap();
        let to_api = line(Origin::Api);
        let api = ApiClient::new(base, TokenSource::fixed(TOKEN), Limits::default()).unwrap();
        let api = api.over(to_api.clone()).through(Arc::new(ApiToll::new(API_RATE)));
        let hosts = ArtifactClient::new(true, stall).unwrap().over(line(Origin::Artifacts));
        let mut options = SyncOptions { allow_private_hosts: true, ..SyncOptions::default() };
        change(&mut options);
        let bucket = BucketOptions { lease: Duration::from_secs(6), ..BucketOptions::default() };
        let root = self.root(hand, &bucket);
        let (waiting, for_jobs, given) = (root.clone(), api.clone(), options.clone());
        let heard = Arc::new(Heard::default());
        let stop = Stop::new();
        let fleet = Fleet {
            api,
            hosts,
            source: Source::Text(self.jobs.iter().map(|job| format!("{job}\n")).collect()),
            read_list: Box::new(|text| {
                let id = |text: &str| text.parse().map_err(|error| format!("{error}"));
                job_list::parse(text, id, |_| Ok(()))
            }),
            to: "s3://b/loras/{name}".parse().unwrap(),
            budget: Budget { connections: 4, jobs: None, limit_rate: None },
            once: options.once,
            timeout: options.timeout,
            launch: Box::new(move |start: Start<()>| {
                let Destination::Bucket(to) = start.to else { panic!("no bucket") };
                let mirror = BucketMirror {
                    api: for_jobs.clone(),
                    job: start.job.job.clone(),
                    to: to.to_string(),
                    options: SyncOptions { timeout: start.timeout, ..given.clone() },
                    bucket: bucket.clone(),
                    hooks: None,
                    fleet: Some((start.membership, root.clone())),
                };
                mirror.run(start.reporter, start.stop).boxed()
            }),
            sharing: Some((
                name.to_owned(),
                Box::new(move |to| {
                    let Destination::Bucket(to) = to.clone() else { panic!("no bucket") };
                    let root = waiting.clone();
                    async move { root.until_free(&to).await }.boxed()
                }),
            )),
            page: None,
            listener: heard.clone(),
            stop: stop.clone(),
        };
        Process { fleet, heard, stop, to_api }
    }

    fn place(&self, number: usize) -> (BucketUrl, String) {
        let name = format!("dog {number}");
        let filled = Destination::fill("s3://b/loras/{name}", &self.jobs[number], Some(&name));
        let url = BucketUrl::parse(&filled).unwrap().unwrap();
        let below = format!("{}/", url.prefix().strip_prefix("loras/").unwrap());
        (url, below)
    }

    fn heads(&self) -> Vec<Head> {
        let objects = self.shelf.objects();
        let heads = objects.iter().filter(|(key, _)| key.ends_with(".rcsync/head.json"));
        heads
            .map(|(_, head)| checksummed::unseal(std::str::from_utf8(&head.bytes).unwrap()).unwrap())
            .collect()
    }

    /// Everything that the jobs offer is there exactly once.
    async fn check(&self) {
        for (number, job) in self.jobs.iter().enumerate() {
            let (url, below) = self.place(number);
            let store = self.steady().store(&url).unwrap();
            check(&store, &below, &self.shelf, &self.world, job).await;
            let objects = self.shelf.objects();
            let here: Vec<Sha256Digest> = objects
                .iter()
                .filter(|(key, _)| {
                    let name = key.strip_prefix(&*below);
                    let is_ours = |name: &str| {
                        name.starts_with(".rcsync/")
                            || matches!(name, "SHA256SUMS" | "job.json" | "index.html")
                    };
                    name.is_some_and(|name| !is_ours(name))
                })
                .map(|(_, object)| {
                    Sha256Digest::new(<sha2::Sha256 as sha2::Digest>::digest(&object.bytes).into())
                })
                .collect();
            for (path, offered) in self.world.offered(job) {
                let Offered::Whole(sha256) = offered else { continue };
                let count = here.iter().filter(|there| **there == sha256).count();
                assert_eq!(count, 1, "`{path}` of {job}");
            }
        }
    }
}

fn worst(endings: &Endings) -> ExitStatus {
    assert_eq!(endings.len(), JOBS);
    endings.values().copied().fold(ExitStatus::Complete, worse)
}

fn virtually<T>(seed: u64, work: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

#[test]
fn two_processes_share_the_jobs_and_each_file_is_fetched_once() {
    virtually(1, async {
        let rig = Rig::new(200_000);
        rig.finish();
        rig.world.set_host(|host| host.throttle = Some(100_000));
        let [one, other] = ["a", "b"].map(|name| rig.process(name, Hand::steady(rig.shelf.clone()), |_| {}));
        let (first, second) = tokio::join!(one.fleet.run(), other.fleet.run());
        assert_eq!(
            (worst(&first.unwrap()), worst(&second.unwrap())),
            (ExitStatus::Complete, ExitStatus::Complete)
        );
        rig.check().await;
        let (mine, theirs) = (one.heard.published(), other.heard.published());
        let all: BTreeSet<_> = mine.iter().chain(&theirs).collect();
        assert_eq!(all.len(), mine.len() + theirs.len(), "no file is published twice");
        assert!(!mine.is_empty() && !theirs.is_empty(), "{} and {}", mine.len(), theirs.len());
        for heard in [&one.heard, &other.heard] {
            let skips = heard.count(|event| matches!(event, Event::Notice { notice: Notice::JobHeld(_) }));
            assert!((1..=JOBS).contains(&skips), "each job that is held is reported once: {skips}");
            assert_eq!(heard.count(|event| matches!(event, Event::Trouble { .. })), 0);
            assert_eq!(heard.count(|event| matches!(event, Event::Done { .. })), JOBS, "one end a job");
        }
        assert!(rig.heads().iter().all(|head| head.free), "no lease is kept");
    });
}

/// Counts flushes of files and of folders.
#[derive(Default)]
struct Flushes(Cell<usize>);

impl Witness for Flushes {
    fn allow(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn saw(&self, change: Change) {
        if matches!(change, Change::Flushed { .. } | Change::FolderFlushed { .. }) {
            self.0.set(self.0.get() + 1);
        }
    }
}

/// Notes what is flushed, by the name that it has then or gets afterwards, below a root.
struct Flushed {
    root: PathBuf,
    /// Each file's latest name, and which of them an open file is: the numbers of removed files are used again.
    names: RefCell<Vec<PathBuf>>,
    by_node: RefCell<BTreeMap<u64, usize>>,
    flushes: RefCell<Vec<Result<usize, PathBuf>>>,
}

impl Flushed {
    fn below(root: &Path) -> Self {
        let root = root.to_path_buf();
        Self { root, names: RefCell::default(), by_node: RefCell::default(), flushes: RefCell::default() }
    }

    /// How often each file and folder was flushed. Parts count under the names that they were given.
    fn counts(&self) -> BTreeMap<String, usize> {
        let (names, mut counts) = (self.names.borrow(), BTreeMap::new());
        for flush in self.flushes.borrow().iter() {
            let path = flush.as_ref().map_or_else(|folder| folder, |file| &names[*file]);
            let below = path
                .strip_prefix(&self.root)
                .map_or_else(|_| "above".into(), |below| below.to_string_lossy());
            *counts.entry(below.into_owned()).or_default() += 1;
        }
        counts
    }
}

impl Witness for Flushed {
    fn allow(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn saw(&self, change: Change) {
        let mut names = self.names.borrow_mut();
        match change {
            Change::Opened { path, node }
                if self.by_node.borrow().get(&node).is_none_or(|known| names[*known] != path) =>
            {
                self.by_node.borrow_mut().insert(node, names.len());
                names.push(path);
            }
            Change::Renamed { from, to } => {
                if let Some(name) = names.iter_mut().rfind(|name| **name == from) {
                    *name = to;
                }
            }
            Change::Flushed { node } => {
                self.flushes.borrow_mut().extend(self.by_node.borrow().get(&node).map(|file| Ok(*file)));
            }
            Change::FolderFlushed { path } => self.flushes.borrow_mut().push(Err(path)),
            _ => {}
        }
    }
}

/// When each job last received bytes, and when its last file was published.
struct Timed {
    heard: Arc<Heard>,
    times: Mutex<BTreeMap<JobId, (Instant, Instant)>>,
}

impl Listener for Timed {
    fn event(&self, job: &JobId, event: &Event) {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap();
        let (received, published) = times.entry(job.clone()).or_insert((now, now));
        match event {
            Event::Received { .. } => *received = now,
            Event::Published { .. } => *published = now,
            _ => {}
        }
        self.heard.event(job, event);
    }

    fn news(&self, _: &News) {}
}

/// A process that mirrors its jobs into folders below `root`, once, each with a gallery.
fn into_folders(rig: &Rig, root: &Path) -> Process {
    let mut process = rig.process("a", Hand::steady(rig.shelf.clone()), |options| options.once = true);
    let api = process.fleet.api.clone();
    process.fleet.to = root.join("{id}").to_string_lossy().parse().unwrap();
    process.fleet.sharing = None;
    process.fleet.launch = Box::new(move |start: Start<()>| {
        let options = SyncOptions { allow_private_hosts: true, once: true, ..SyncOptions::default() };
        let Destination::Folder(dir) = start.to else { panic!("no folder") };
        let (api, job, fleet) = (api.clone(), start.job.job.clone(), Some(start.membership));
        let followers: Vec<Arc<dyn Follower>> = vec![Arc::new(Gallery::default())];
        let mirror = Mirror { api, job, dir, options, followers, fleet };
        mirror.run(start.reporter, start.stop).boxed()
    });
    process
}

/// On a disk a flush costs milliseconds, and fifty small jobs are as many times what one job flushes beside its files: each of
/// these is one that a promise needs, and nothing else is flushed.
#[test]
fn a_small_job_flushes_what_a_promise_needs_and_nothing_else() {
    virtually(3, async {
        let rig = Rig::new(2_000);
        let plan = |number: usize| JobPlan {
            name: format!("cat {number}"),
            steps: 3,
            save_every: 1,
            sample_every: 3,
            checkpoint_bytes: 2_000,
            ..JobPlan::default()
        };
        let rig = Rig { jobs: (0..JOBS).map(|number| rig.world.add_job(plan(number))).collect(), ..rig };
        rig.finish();
        let root = tempfile::tempdir().unwrap();
        for pass in 0..2 {
            let process = into_folders(&rig, root.path());
            let flushed = Rc::new(Flushed::below(root.path()));
            call(flushed.clone());
            let ended = process.fleet.run().await;
            dismiss();
            assert_eq!(worst(&ended.unwrap()), ExitStatus::Complete);
            let mut counts = flushed.counts();
            if pass > 0 {
                assert_eq!(counts, BTreeMap::new(), "an idle pass writes nothing");
                continue;
            }
            for (job, path, _) in process.heard.published() {
                assert_eq!(
                    counts.remove(&format!("{job}/{path}")),
                    Some(1),
                    "{path}, before it got its name"
                );
            }
            assert_eq!(counts.remove(""), Some(JOBS), "for the name of each folder");
            for job in &rig.jobs {
                let mut take = |name: &str| counts.remove(&format!("{job}{name}")).unwrap_or_default();
                for (name, expected) in [
                    // For the names of parts, snapshot and journal.
                    ("/.rcsync", 1),
                    // With the first group.
                    ("/.rcsync/manifest.json", 1),
                    // At the beginning and at the end.
                    ("/job.json", 2),
                    ("/index.html", 1),
                ] {
                    assert_eq!(take(name), expected, "{name}");
                }
                // With the first group where others come, since there is none yet, and at the end.
                let lists = take("/SHA256SUMS");
                assert!((1..=2).contains(&lists), "{lists} lists");
                let groups = 1 + take("/.rcsync/journal.jsonl");
                let (dir, samples) = (take(""), take("/samples"));
                // Before the first name, since it may be one in `samples`; for the names of each group; for the three reports.
                assert!(dir <= 2 + groups && samples <= groups, "{dir} and {samples} of {groups} groups");
            }
            assert_eq!(counts, BTreeMap::new(), "nothing else");
        }
    });
}

/// Connections go from job to job, so the files of each arrive slowly: a flush of journal and folder for each file would take longer
/// than the transfer.
#[test]
fn jobs_that_share_connections_commit_their_files_in_groups() {
    virtually(3, async {
        let rig = Rig::new(2_000);
        let plan = |number: usize| JobPlan {
            name: format!("cat {number}"),
            steps: 40,
            save_every: 40,
            sample_every: 1,
            checkpoint_bytes: 2_000,
            ..JobPlan::default()
        };
        let rig = Rig { jobs: (0..JOBS).map(|number| rig.world.add_job(plan(number))).collect(), ..rig };
        rig.finish();
        let root = tempfile::tempdir().unwrap();
        let mut process = into_folders(&rig, root.path());
        let timed = Arc::new(Timed { heard: process.heard.clone(), times: Mutex::default() });
        process.fleet.listener = timed.clone();
        let flushes = Rc::new(Flushes::default());
        call(flushes.clone());
        let ended = process.fleet.run().await;
        dismiss();
        assert_eq!(worst(&ended.unwrap()), ExitStatus::Complete);
        let files = process.heard.published().len();
        assert!(files > 40 * JOBS, "{files}");
        // One of each file; the rest are of journals, folders and reports.
        let others = flushes.0.get() - files;
        assert!(others < 2 * files, "{others} flushes beside those of {files} files");
        for (job, (received, published)) in timed.times.lock().unwrap().iter() {
            let waited = *published - *received;
            assert!(
                waited < Duration::from_millis(60),
                "{job}: the last group waited {waited:?} for nothing"
            );
        }
    });
}

#[test]
fn one_pass_leaves_held_jobs_alone_with_75() {
    virtually(2, async {
        let rig = Rig::new(200_000);
        rig.finish();
        rig.world.set_host(|host| host.throttle = Some(20_000));
        let one = rig.process("a", Hand::steady(rig.shelf.clone()), |_| {});
        let later = rig.process("b", Hand::steady(rig.shelf.clone()), |options| options.once = true);
        let passing = async {
            // By then the first process has all leases.
            tokio::time::sleep(Duration::from_secs(15)).await;
            later.fleet.run().await
        };
        let (followed, passed) = tokio::join!(one.fleet.run(), passing);
        assert_eq!(worst(&followed.unwrap()), ExitStatus::Complete);
        assert_eq!(worst(&passed.unwrap()), ExitStatus::TryAgain);
        assert_eq!(later.heard.count(|event| matches!(event, Event::Trouble { .. })), 0, "it is no error");
        rig.check().await;
    });
}

#[test]
fn a_signal_frees_all_leases() {
    virtually(3, async {
        let rig = Rig::new(2 << 20);
        rig.finish();
        rig.world.set_host(|host| host.throttle = Some(100_000));
        let process = rig.process("a", Hand::steady(rig.shelf.clone()), |_| {});
        let (stop, shelf) = (process.stop.clone(), rig.shelf.clone());
        let signal = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let heads = shelf.objects().keys().filter(|key| key.ends_with("head.json")).count();
                if heads == JOBS {
                    break;
                }
            }
            assert!(rig.heads().iter().all(|head| !head.free), "all leases are held");
            stop.stop(ExitStatus::Terminated);
        };
        let (ended, ()) = tokio::join!(process.fleet.run(), signal);
        assert_eq!(worst(&ended.unwrap()), ExitStatus::Terminated);
        assert!(rig.heads().iter().all(|head| head.free), "all leases are free");
        assert_eq!(rig.shelf.open_uploads(), 0);
    });
}

#[test]
fn jobs_are_handed_over_in_the_bucket_and_listed() {
    virtually(4, async {
        let rig = Rig::new(20_000);
        rig.finish();
        let root = rig.steady();
        let registry = Registry::in_bucket(&root);
        assert_eq!(registry.read().await.unwrap(), "");
        for (number, job) in rig.jobs.iter().enumerate() {
            let line = job_list::line(job, &[("keep-last", number.to_string())]);
            assert!(registry.add(job, &line).await.unwrap());
            assert!(!registry.add(job, "id=other").await.unwrap(), "what is there stays");
        }
        let read = registry.read().await.unwrap();
        let id = |text: &str| text.parse::<JobId>().map_err(|error| error.to_string());
        let listed = job_list::parse(&read, id, |pairs| Ok(pairs.to_vec().len())).unwrap();
        let jobs: BTreeSet<&JobId> = listed.iter().map(|listed| &listed.job).collect();
        assert_eq!(jobs, rig.jobs.iter().collect());
        let asked = || rig.shelf.carried.load(std::sync::atomic::Ordering::Relaxed);
        let before = asked();
        assert_eq!(registry.read().await.unwrap(), read);
        assert_eq!(asked() - before, 1, "lines that were read are not read again");
        // The fleet's own objects are no mirrors, and what is listed is what is there.
        let mut process = rig.process("a", Hand::steady(rig.shelf.clone()), |options| options.once = true);
        process.fleet.source = Source::Registry(registry);
        assert_eq!(worst(&process.fleet.run().await.unwrap()), ExitStatus::Complete);
        let found = overview::overview(&root, &[None]).await.unwrap();
        assert_eq!(found.left_out, [""; 0]);
        let mirrors = found.mirrors;
        let found: BTreeMap<JobId, usize> =
            mirrors.iter().map(|(_, manifest, _)| (manifest.job.clone(), manifest.present().len())).collect();
        assert_eq!(found.len(), JOBS);
        assert!(found.values().all(|count| *count > 3), "{found:?}");
        assert!(mirrors.iter().all(|(_, _, job)| job.as_ref().is_some_and(|job| job.name.is_some())));
        // Mirrors that cannot be read are named, each with the reason; the others are listed.
        rig.shelf.set("dog 2/.rcsync/head.json", Some(&vec![b' '; 5 << 20]));
        rig.shelf.set("dog 4/.rcsync/head.json", Some(b"{"));
        let found = overview::overview(&root, &[None]).await.unwrap();
        assert_eq!(found.mirrors.len(), JOBS - 2);
        let [large, damaged] = &*found.left_out else { panic!("{:?}", found.left_out) };
        assert!(large.contains("s3://b/loras/dog 2`") && large.contains("5242880 bytes"), "{large}");
        assert!(damaged.contains("s3://b/loras/dog 4`") && damaged.contains("damaged"), "{damaged}");
    });
}

/// The page that compares jobs, drawn from a bucket: INTERFACE 8, where ROOT is a prefix.
#[test]
fn the_jobs_of_a_bucket_are_compared_on_one_page() {
    virtually(5, async {
        let rig = Rig::new(20_000);
        rig.finish();
        let root = rig.steady();
        assert_eq!(compare::refresh_over(&root).await.unwrap(), None, "nothing is mirrored");
        assert!(rig.shelf.objects().is_empty(), "and nothing is written");
        let process = rig.process("a", Hand::steady(rig.shelf.clone()), |options| options.once = true);
        assert_eq!(worst(&process.fleet.run().await.unwrap()), ExitStatus::Complete);
        // One job is a folder deeper, as `{name}/{id}` has it, and one head cannot be read.
        for (key, object) in rig.shelf.objects() {
            if let Some(rest) = key.strip_prefix("dog 3/") {
                rig.shelf.set(&format!("deep/3/{rest}"), Some(&object.bytes));
                rig.shelf.set(&key, None);
            }
        }
        rig.shelf.set("dog 4/.rcsync/head.json", Some(b"{"));
        let compared = compare::refresh_over(&root).await.unwrap().unwrap();
        assert_eq!((&*compared.page, compared.changed, compared.runs), ("s3://b/loras/index.html", true, 4));
        assert!(compared.samples >= 4 * 2 && compared.checkpoints == 4 * 2, "{compared:?}");
        assert!(compared.left_out.len() == 1 && compared.left_out[0].contains("dog 4"), "{compared:?}");
        // A head that is too large leaves out its own mirror alone; other objects that are not rcsync's leave out nothing.
        let own = rig.shelf.objects();
        rig.shelf.set("dog 2/.rcsync/head.json", Some(&vec![b' '; 5 << 20]));
        rig.shelf.set("dog 0/config.yaml", Some(&vec![b' '; 5 << 20]));
        let fewer = compare::refresh_over(&root).await.unwrap().unwrap();
        assert_eq!((fewer.runs, fewer.left_out.len()), (3, 2), "{fewer:?}");
        assert!(
            fewer.left_out.iter().any(|why| why.contains("dog 2") && why.contains("5242880 bytes")),
            "{fewer:?}"
        );
        for key in ["dog 2/.rcsync/head.json", "dog 0/config.yaml"] {
            rig.shelf.set(key, Some(&own[key].bytes));
        }
        assert_eq!(compare::refresh_over(&root).await.unwrap().unwrap().runs, 4);
        let page = String::from_utf8(rig.shelf.objects()["index.html"].bytes.to_vec()).unwrap();
        for below in ["dog%200", "dog%201", "dog%202", "deep/3"] {
            assert!(page.contains(&format!("href=\"{below}/index.html\"")), "{below}");
            assert!(page.contains(&format!("href=\"{below}/samples/")), "{below}");
        }
        assert!(page.contains("<code>config.name</code>"), "settings that differ");
        assert!(!page.contains("dog%204") && !page.contains("sig="));
        // Nothing new: nothing is written. An answer that is lost, and a page drawn meanwhile: it is written once more.
        let writes = || rig.shelf.writes.load(std::sync::atomic::Ordering::Relaxed);
        let before = writes();
        let again = compare::refresh_over(&root).await.unwrap().unwrap();
        assert_eq!((again.changed, writes()), (false, before));
        for seed in 0..5 {
            rig.shelf.set("index.html", None);
            let weather =
                Weather { lost: 200, late: 50, dropped: 50, busy: 50, freezes: 0, freezes_at: None };
            let hand = Hand::new(rig.shelf.clone(), weather, Duration::from_secs(5), seed);
            let drawn = compare::refresh_over(&rig.root(hand, &BucketOptions::default())).await;
            match drawn {
                Ok(drawn) => assert!(drawn.unwrap().changed, "seed {seed}"),
                Err(error) => panic!("seed {seed}: {error}"),
            }
            assert_eq!(rig.shelf.objects()["index.html"].bytes, page.as_bytes(), "seed {seed}");
        }
        rig.shelf.set("index.html", Some(b"<h1>mine</h1>"));
        let refused = compare::refresh_over(&root).await;
        assert!(matches!(refused, Err(Error::ForeignPage(_))), "{refused:?}");
        assert_eq!(&rig.shelf.objects()["index.html"].bytes[..], b"<h1>mine</h1>");
    });
}

/// Lines never change, so each is read once, also where another one cannot be read.
#[test]
fn a_line_that_cannot_be_read_is_named_and_costs_no_other_line_a_second_read() {
    virtually(6, async {
        let rig = Rig::new(20_000);
        let registry = Registry::in_bucket(&rig.steady());
        for job in &rig.jobs {
            assert!(registry.add(job, job.as_str()).await.unwrap());
        }
        let keys: Vec<String> = rig.shelf.objects().into_keys().collect();
        let line = rig.shelf.objects()[&keys[0]].bytes.clone();
        let asked = || rig.shelf.carried.load(std::sync::atomic::Ordering::Relaxed);
        rig.shelf.set(&keys[0], Some(&vec![b'x'; 1 << 20]));
        let error = registry.read().await.unwrap_err().to_string();
        assert!(error.contains(&keys[0]) && error.contains("1048576 bytes"), "{error}");
        // Those that were asked for beside it may have been dropped with it.
        for _ in 0..9 {
            assert_eq!(registry.read().await.unwrap_err().to_string(), error);
        }
        rig.shelf.set(&keys[0], Some(&line));
        for requests in [2, 1] {
            let before = asked();
            let text = registry.read().await.unwrap();
            assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), JOBS, "{text}");
            assert_eq!(asked() - before, requests, "a list, and each line once");
        }
    });
}

/// A fleet whose list is in a bucket that gives so many answers and no more; ended by a signal or by its time.
async fn a_list_that_is_not_answered(answers: u64, signal: Option<u64>, timeout: Option<u64>) {
    let what = format!("{answers} answers, a signal after {signal:?} s, {timeout:?} s of time");
    let rig = Rig::new(20_000);
    let registry = Registry::in_bucket(&rig.steady());
    for job in &rig.jobs {
        assert!(registry.add(job, job.as_str()).await.unwrap());
    }
    let silent = Hand::steady(rig.shelf.clone());
    silent.kill_before(answers);
    let root = rig.root(silent, &BucketOptions::default());
    let mut process = rig.process("a", Hand::steady(rig.shelf.clone()), |options| {
        options.timeout = timeout.map(Duration::from_secs);
    });
    process.fleet.source = Source::Registry(Registry::in_bucket(&root));
    let (stop, began) = (process.stop, Instant::now());
    let signalled = async {
        if let Some(seconds) = signal {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stop.stop(ExitStatus::Terminated);
        }
        std::future::pending::<()>().await;
    };
    let end = Duration::from_secs(signal.or(timeout).unwrap());
    let ended = tokio::select! {
        ended = tokio::time::timeout(end + Duration::from_secs(20), process.fleet.run()) => ended.expect(&what),
        () = signalled => unreachable!(),
    };
    assert!(began.elapsed() >= end, "{what}");
    match ended {
        Ok(endings) => {
            assert_eq!(endings.len(), if answers == 0 { 0 } else { JOBS }, "{what}");
            let expected = if signal.is_some() { ExitStatus::Terminated } else { ExitStatus::TryAgain };
            assert!(endings.values().all(|exit| *exit == expected), "{what}: {endings:?}");
        }
        Err(error) => {
            assert!(answers == 0 && signal.is_none(), "{what}: {error}");
            assert_eq!(error.exit_status(), ExitStatus::Unavailable, "{what}");
            assert!(error.to_string().contains("s3://b/loras"), "{what}: {error}");
        }
    }
}

#[test]
fn a_list_that_never_comes_keeps_no_fleet_from_its_end() {
    virtually(4, a_list_that_is_not_answered(0, Some(5), None));
    virtually(4, a_list_that_is_not_answered(0, None, Some(20)));
}

#[test]
fn a_list_that_is_not_read_again_keeps_no_fleet_from_its_end() {
    virtually(5, a_list_that_is_not_answered(JOBS as u64 + 1, Some(100), None));
    virtually(5, a_list_that_is_not_answered(JOBS as u64 + 1, None, Some(100)));
}

/// Two processes on one bucket where everything goes wrong, ended by signals and kills; then one that comes to the end.
#[test]
fn two_fleets_and_killed_ones_lose_and_double_nothing() {
    // A seed plays ten whole mirrors and more, which takes as long as two hundred of the protocol alone.
    let asked = std::env::var("RCSYNC_SEEDS").ok().and_then(|text| text.parse::<u64>().ok());
    for seed in 0..asked.map_or(6, |asked| (asked / 200).max(6)) {
        virtually(seed, play(seed));
    }
}

async fn play(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let rig = Rig::new(if random.u32(..4) == 0 { 11 << 20 } else { 20_000 });
    rig.shelf.plain_complete.store(random.bool(), std::sync::atomic::Ordering::Relaxed);
    if random.bool() {
        rig.world.fault(Fault::once("/jobs/", What::retry_after(429, "2")).times(9));
    }
    let weather = Weather {
        lost: random.u32(..40),
        late: random.u32(..40),
        dropped: random.u32(..20),
        busy: random.u32(..40),
        freezes: random.u32(..5),
        freezes_at: None,
    };
    let longest = Duration::from_secs(60);
    let published: Mutex<Vec<(JobId, String, Sha256Digest)>> = Mutex::default();
    let lives = ["a", "b"].map(|name| {
        let seeds: Vec<u64> = (0..2).map(|_| random.u64(..)).collect();
        let (rig, published) = (&rig, &published);
        async move {
            for seed in seeds {
                let mut random = Rng::with_seed(seed);
                let hand = Hand::new(rig.shelf.clone(), weather, longest, seed);
                if random.bool() {
                    hand.kill_before(random.u64(1..400));
                }
                let once = random.bool();
                let Process { fleet, heard, stop, to_api } = rig.process(name, hand.clone(), |options| {
                    options.once = once;
                    options.timeout = Some(Duration::from_secs(90));
                });
                let signal = async {
                    if random.bool() {
                        tokio::time::sleep(Duration::from_millis(random.u64(..60_000))).await;
                        stop.stop(ExitStatus::Terminated);
                    }
                    std::future::pending::<()>().await;
                };
                let began = Instant::now();
                tokio::select! {
                    () = hand.killed() => {}
                    ended = fleet.run() => assert_eq!(ended.unwrap().len(), JOBS, "seed {seed}"),
                    () = signal => {}
                }
                let asked = to_api.carried.load(std::sync::atomic::Ordering::Relaxed);
                let seconds = began.elapsed().as_secs();
                assert!(asked <= seconds * 4 + 5, "seed {seed}: I8: {asked} requests in {seconds} s");
                published.lock().unwrap().extend(heard.published());
            }
        }
    });
    let time = async {
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            rig.jobs.iter().for_each(|job| {
                rig.world.advance_steps(job, 1);
            });
        }
    };
    let [one, other] = lives;
    tokio::join!(one, other, time);
    rig.finish();
    rig.world.clear_faults();
    tokio::time::sleep(longest * 2).await;
    let last = rig.process("c", Hand::steady(rig.shelf.clone()), |options| options.once = true);
    let ended = last.fleet.run().await.unwrap();
    assert_eq!(worst(&ended), ExitStatus::Complete, "seed {seed}: {ended:?}");
    rig.check().await;
    assert!(rig.heads().iter().all(|head| head.free && head.publish != Publish::Sole), "seed {seed}");
    let objects = rig.shelf.objects();
    let published = published.lock().unwrap().clone();
    for (job, path, sha256) in published {
        let number = rig.jobs.iter().position(|known| *known == job).unwrap();
        let there = &objects[&format!("{}{path}", rig.place(number).1)].bytes;
        let found = Sha256Digest::new(<sha2::Sha256 as sha2::Digest>::digest(there).into());
        assert_eq!(found, sha256, "seed {seed}: P3: `{path}` of {job}");
    }
}
