//! Whole mirrors of a simulated job into a bucket in memory, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::decide::bucket::head::{FoldAt, HEAD, Head, Known, Line as Claim, Publish};
use crate::decide::comfyui::loras::Weights;
use crate::decide::mirror::select::Selection;
use crate::decide::transfer::task::FailureCause;
use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::bucket::memory::{Hand, Shelf, Weather};
use crate::edge::comfyui::LoraFolder;
use crate::edge::folder::checksummed;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::link::LinkMode;
use crate::engine::event::{Event, RetryCause};
use crate::engine::options::SyncOptions;
use crate::engine::outputs::comfyui::{ComfyOptions, ComfyUi, Patience};
use crate::engine::outputs::hooks::HookPlan;
use crate::engine::retry::Persistence;
use crate::engine::stop::Stop;
use crate::error::{BucketError, Error, ExitStatus};
use crate::model::artifact::ArtifactKind;
use crate::model::comfyui::LoraFolderReason;
use crate::model::destination::BucketUrl;
use crate::model::digest::Sha256Digest;
use crate::model::hook_event::EventId;
use crate::model::job::{JobId, JobStatus, Progress};
use crate::simulation::TOKEN;
use crate::simulation::wire::Line;
use crate::simulator::{
    Fault, JobPlan, Origin, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob, What,
};

use super::comfyui::FromBucket;
use super::head_read::Found;
use super::head_store::{HeadStore, Wish};
use super::options::BucketOptions;
use super::outages::Outages;
use super::read::check_over;
use super::run::BucketMirror;
use super::store::{Small, Store};

/// A world, a store, and what was reported.
struct Rig {
    world: Arc<Simulator>,
    job: JobId,
    shelf: Arc<Shelf>,
    events: Arc<Mutex<Vec<Event>>>,
}

fn plan() -> JobPlan {
    JobPlan { name: "dog".to_owned(), steps: 20, save_every: 10, sample_every: 10, ..JobPlan::default() }
}

impl Rig {
    fn new(plan: JobPlan) -> Self {
        let config = SimulatorConfig { token: TOKEN.to_owned(), ..SimulatorConfig::default() };
        let world = Arc::new(Simulator::unconnected(config));
        let job = world.add_job(plan);
        Self { world, job, shelf: Arc::default(), events: Arc::default() }
    }

    fn finished(plan: JobPlan) -> Self {
        let rig = Self::new(plan);
        rig.world.finish(&rig.job);
        rig
    }

    fn store(&self, hand: Arc<Hand>) -> Store {
        Store {
            bucket: hand,
            url: Arc::new(BucketUrl::parse("s3://b/p").unwrap().unwrap()),
            persistence: Persistence::Pass,
            outages: Outages::default(),
        }
    }

    fn steady(&self) -> Store {
        self.store(Hand::steady(self.shelf.clone()))
    }

    fn run<F: FnOnce(&mut SyncOptions, &mut BucketOptions)>(
        &self,
        hand: Arc<Hand>,
        change: F,
    ) -> impl Future<Output = Result<ExitStatus, Error>> + use<F> {
        self.mirror(hand, None, &Stop::new(), change)
    }

    fn mirror<F: FnOnce(&mut SyncOptions, &mut BucketOptions)>(
        &self,
        hand: Arc<Hand>,
        hooks: Option<super::hooks::BucketHooks>,
        stop: &Stop,
        change: F,
    ) -> impl Future<Output = Result<ExitStatus, Error>> + use<F> {
        let stall = Duration::from_secs(10);
        let line = |origin| Line::new(self.world.clone(), origin, stall, fastrand::u64(..));
        let base = self.world.api_base().parse().unwrap();
        let api = ApiClient::new(base, TokenSource::fixed(TOKEN), Limits::default()).unwrap();
        let api = api.over(line(Origin::Api));
        let hosts = ArtifactClient::new(true, stall).unwrap().over(line(Origin::Artifacts));
        let mut options = SyncOptions { once: true, allow_private_hosts: true, ..SyncOptions::default() };
        let mut bucket = BucketOptions::default();
        change(&mut options, &mut bucket);
        let (job, to) = (self.job.clone(), "s3://b/p".to_owned());
        let mirror = BucketMirror { api, job, to, options, bucket, hooks, fleet: None };
        let (store, events) = (self.store(hand), self.events.clone());
        let reporter = Arc::new(move |event: &Event| events.lock().unwrap().push(event.clone()));
        mirror.run_over(hosts, move |_| Ok(store), reporter, stop.clone())
    }

    #[cfg(unix)]
    async fn run_with_hooks(
        &self,
        hand: Arc<Hand>,
        hooks: super::hooks::BucketHooks,
    ) -> Result<ExitStatus, Error> {
        self.mirror(hand, Some(hooks), &Stop::new(), |_, _| {}).await
    }

    async fn once(&self) -> ExitStatus {
        self.run(Hand::steady(self.shelf.clone()), |_, _| {}).await.unwrap()
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Every file is there once, with bytes that the host had, and the list of checksums fits.
    async fn check(&self) {
        check(&self.steady(), "", &self.shelf, &self.world, &self.job).await;
    }

    /// The same where nothing went wrong with the store: then no upload is left either. One whose begin was not answered, or
    /// whose worker was killed before its next swap, is left to the bucket's lifecycle rule.
    async fn check_tidy(&self) {
        self.check().await;
        assert_eq!(self.shelf.open_uploads(), 0, "no upload is left");
    }

    fn head(&self) -> Head {
        let bytes = self.shelf.objects()[HEAD].bytes.clone();
        checksummed::unseal(std::str::from_utf8(&bytes).unwrap()).unwrap()
    }

    /// Whether the head has the tag of a gallery that was written after the list of all files.
    #[cfg(unix)]
    async fn has_noted_the_last_record(&self) -> bool {
        let objects = self.shelf.objects();
        let (Some(sums), Some(page)) = (objects.get("SHA256SUMS"), objects.get("index.html")) else {
            return false;
        };
        let tag = self.steady().stat("index.html").await.unwrap().unwrap().tag;
        let noted = self.head().written.remove("index.html");
        page.written > sums.written && noted.is_some_and(|noted| noted.tag == tag.as_str())
    }

    fn names(&self) -> Vec<String> {
        self.shelf.objects().into_keys().filter(|key| !key.starts_with(".rcsync/")).collect()
    }
}

/// Every file of a job is there once, with bytes that the host had, and the list of checksums fits. `below` is what the
/// keys of the job's objects begin with on the shelf.
pub(crate) async fn check(store: &Store, below: &str, shelf: &Shelf, world: &Simulator, job: &JobId) {
    let (manifest, checked) = check_over(store, false).await.unwrap();
    assert_eq!(checked.bad, [], "what is claimed is there");
    let (_, listed) = check_over(store, true).await.unwrap();
    assert_eq!(listed, checked, "tags and lengths tell the same");
    let objects: BTreeMap<String, _> = shelf
        .objects()
        .into_iter()
        .filter_map(|(key, object)| Some((key.strip_prefix(below)?.to_owned(), object)))
        .collect();
    let truth = world.truth(job);
    for (_, entry) in manifest.present() {
        let bytes = &objects[entry.path.as_str()].bytes;
        let sha256 = Sha256Digest::new(Sha256::digest(bytes).into());
        let is_true = truth.values().flatten().any(|version| version.sha256 == sha256);
        assert!(is_true, "`{}` is no version of anything", entry.path);
    }
    let sums = String::from_utf8(objects["SHA256SUMS"].bytes.to_vec()).unwrap();
    assert!(sums.starts_with("# rcsync epoch "), "{sums}");
    for line in sums.lines().skip(1) {
        let (expected, name) = line.split_once("  ").unwrap();
        assert_eq!(crate::model::digest::hex(&Sha256::digest(&objects[name].bytes)), expected, "{name}");
    }
    for (name, object) in &objects {
        let is_text = !name.ends_with(".safetensors");
        for secret in [TOKEN, "sig=", "expires="].iter().filter(|_| is_text) {
            let holds = object.bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!holds, "P7: `{name}` holds `{secret}`");
        }
    }
}

fn is(error: &Error, kind: impl FnOnce(&BucketError) -> bool) -> bool {
    matches!(error, Error::Bucket(fault) if kind(fault))
}

/// Runs in virtual time.
fn virtually<T>(seed: u64, work: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

#[test]
fn a_job_goes_into_a_bucket_and_an_idle_look_asks_twice_and_writes_nothing() {
    virtually(1, async {
        let rig = Rig::finished(plan());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.check_tidy().await;
        let names = rig.names();
        for name in [
            "SHA256SUMS",
            "job.json",
            "index.html",
            "dog.safetensors",
            "dog_000000010.safetensors",
            "config.yaml",
        ] {
            assert!(names.iter().any(|there| there == name), "{name}: {names:?}");
        }
        rig.world.clear_requests();
        let asked = || (rig.shelf.carried.load(Ordering::Relaxed), rig.shelf.writes.load(Ordering::Relaxed));
        let before = asked();
        assert_eq!(rig.once().await, ExitStatus::Complete);
        assert_eq!((asked().0 - before.0, asked().1 - before.1), (2, 0), "P6");
        assert_eq!((rig.world.api_requests(), rig.world.artifact_requests()), (2, 0));
    });
}

/// Many files are folded into a snapshot; at rest the head has a copy of it, and a worker with work drops that copy.
#[test]
fn an_idle_look_over_many_files_asks_twice_too() {
    virtually(30, async {
        let rig = Rig::new(JobPlan { steps: 200, sample_every: 1, save_every: 100, ..plan() });
        let asked = || (rig.shelf.carried.load(Ordering::Relaxed), rig.shelf.writes.load(Ordering::Relaxed));
        for _ in 0..2 {
            rig.world.advance_steps(&rig.job, 100);
            assert_eq!(rig.once().await, ExitStatus::Complete);
            rig.check_tidy().await;
            let before = asked();
            assert_eq!(rig.once().await, ExitStatus::Complete);
            assert_eq!((asked().0 - before.0, asked().1 - before.1), (2, 0), "P6");
            let head = rig.head();
            let snapshot = &rig.shelf.objects()[head.snapshot.as_ref().unwrap()].bytes;
            let mut known: Known = checksummed::unseal(std::str::from_utf8(snapshot).unwrap()).unwrap();
            head.lines.iter().for_each(|line| known.apply(line.clone()));
            assert_eq!(head.rest.as_deref(), Some(&known));
            assert_eq!(head.next().rest, None, "a worker with work drops it");
        }
    });
}

/// Parts, in a store that completes under a condition and in one that does not; files larger than all memory for parts.
#[test]
fn large_files_go_in_parts_in_either_kind_of_store() {
    for plain_complete in [false, true] {
        virtually(2, async {
            let rig = Rig::finished(JobPlan { checkpoint_bytes: 43 << 20, steps: 10, ..plan() });
            rig.shelf.plain_complete.store(plain_complete, Ordering::Relaxed);
            assert_eq!(rig.once().await, ExitStatus::Complete);
            rig.check_tidy().await;
            assert!(!rig.names().iter().any(|name| name.contains("staged")));
        });
    }
}

/// A host without ranges, and one whose answers cannot be compared, send one stream.
#[test]
fn one_stream_is_cut_into_equal_parts() {
    use crate::simulator::{HostOptions, Validators};
    for (ranges, validators) in [(false, Validators::Strong), (true, Validators::None)] {
        virtually(3, async {
            let config = SimulatorConfig {
                token: TOKEN.to_owned(),
                host: HostOptions { ranges, validators, ..HostOptions::default() },
                ..SimulatorConfig::default()
            };
            let world = Arc::new(Simulator::unconnected(config));
            let job = world.add_job(JobPlan { checkpoint_bytes: 12 << 20, steps: 10, ..plan() });
            let rig = Rig { world, job, shelf: Arc::default(), events: Arc::default() };
            rig.world.finish(&rig.job);
            assert_eq!(rig.once().await, ExitStatus::Complete);
            rig.check_tidy().await;
        });
    }
}

#[test]
fn new_bytes_under_an_old_name_get_a_name_of_their_own() {
    for plain_complete in [false, true] {
        virtually(4, async {
            let rig = Rig::finished(JobPlan { checkpoint_bytes: 6 << 20, ..plan() });
            rig.shelf.plain_complete.store(plain_complete, Ordering::Relaxed);
            assert_eq!(rig.once().await, ExitStatus::Complete);
            let old = rig.shelf.objects()["dog.safetensors"].clone();
            rig.world.resume(&rig.job);
            rig.world.rewrite(&rig.job, "dog.safetensors");
            rig.world.finish(&rig.job);
            assert_eq!(rig.once().await, ExitStatus::Complete);
            rig.check_tidy().await;
            let objects = rig.shelf.objects();
            assert_eq!(objects["dog.safetensors"], old, "a name means one sequence of bytes");
            let newer: Vec<_> = rig.names().into_iter().filter(|name| name.starts_with("dog~")).collect();
            assert_eq!(newer.len(), 1, "{:?}", rig.names());
            let job: serde_json::Value = serde_json::from_slice(&objects["job.json"].bytes).unwrap();
            let rows = job["artifacts"].as_array().unwrap();
            let row = rows.iter().find(|row| row["path"] == newer[0]).unwrap();
            assert_eq!(
                (&row["current"], &row["older"][0]["path"]),
                (&true.into(), &"dog.safetensors".into())
            );
        });
    }
}

#[test]
fn only_the_newest_state_of_the_optimizer_is_kept() {
    virtually(8, async {
        let rig = Rig::new(JobPlan { steps: 40, optimizer: true, ..plan() });
        let states = || {
            let mut names = rig.names();
            names.retain(|name| name.starts_with("optimizer"));
            names
        };
        rig.world.advance_steps(&rig.job, 12);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        assert_eq!(states(), ["optimizer.pt"]);
        let mut seen = vec![states()];
        for _ in 0..2 {
            rig.world.advance_steps(&rig.job, 10);
            tokio::time::sleep(Duration::from_secs(61)).await;
            assert_eq!(rig.once().await, ExitStatus::Complete);
            rig.check_tidy().await;
            let now = states();
            assert_eq!(now.len(), 1, "the older state is deleted: {now:?}");
            assert!(!seen.contains(&now) && now[0].matches('~').count() == 1, "{seen:?}, then {now:?}");
            seen.push(now);
        }
        rig.world.finish(&rig.job);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let last = states();
        assert!(last.len() == 1 && !seen.contains(&last), "it came with the final save: {last:?}");
        let writes = || rig.shelf.writes.load(Ordering::Relaxed);
        let before = writes();
        assert_eq!(rig.once().await, ExitStatus::Complete);
        assert_eq!(writes(), before, "nothing is left to delete");
    });
}

#[test]
fn objects_of_others_are_never_overwritten_and_lost_ones_are_fetched_again() {
    virtually(5, async {
        let rig = Rig::finished(plan());
        // Before the first run another program has an object under a wanted name, and a page.
        rig.shelf.set("config.yaml", Some(b"theirs"));
        rig.shelf.set("index.html", Some(b"their page"));
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.check_tidy().await;
        assert_eq!(&rig.shelf.objects()["config.yaml"].bytes[..], b"theirs");
        assert_eq!(&rig.shelf.objects()["index.html"].bytes[..], b"their page");
        assert!(rig.names().iter().any(|name| name.starts_with("config~")), "{:?}", rig.names());
        // Afterwards one deletes a file of ours and overwrites another.
        rig.shelf.set("dog_000000010.safetensors", None);
        rig.shelf.set("dog.safetensors", Some(b"overwritten"));
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.check_tidy().await;
        assert_eq!(&rig.shelf.objects()["dog.safetensors"].bytes[..], b"overwritten");
        assert!(rig.names().contains(&"dog_000000010.safetensors".to_owned()));
    });
}

#[test]
fn a_damaged_head_is_put_aside_and_files_are_adopted_by_their_hash() {
    virtually(6, async {
        let rig = Rig::finished(plan());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let names = rig.names();
        rig.shelf.set(".rcsync/head.json", Some(b"{\"crc32\":\"0\""));
        rig.world.clear_requests();
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.check_tidy().await;
        assert_eq!(rig.names(), names, "nothing is doubled");
        let objects = rig.shelf.objects();
        assert!(objects.keys().any(|key| key.starts_with(".rcsync/head.damaged-")));
        assert_eq!(rig.world.artifact_bytes(), 0, "no file is fetched");
    });
}

#[test]
fn a_newer_head_another_job_and_a_careless_store_are_refused() {
    virtually(7, async {
        let rig = Rig::finished(plan());
        rig.shelf.careless.store(true, Ordering::Relaxed);
        let refused = rig.run(Hand::steady(rig.shelf.clone()), |_, _| {}).await.unwrap_err();
        assert!(is(&refused, |fault| matches!(fault, BucketError::IgnoresConditions { .. })), "{refused}");
        assert_eq!(refused.exit_status().code(), 73);
        assert_eq!(rig.names(), [""; 0], "nothing was mirrored");
        let rig = Rig::finished(plan());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let other = Rig::finished(plan());
        let other = Rig { shelf: rig.shelf.clone(), job: other.world.add_job(plan()), ..other };
        other.world.finish(&other.job);
        let unfit = other.run(Hand::steady(rig.shelf.clone()), |_, _| {}).await.unwrap_err();
        assert!(is(&unfit, |fault| matches!(fault, BucketError::Unfit { .. })), "{unfit}");
        let newer = checksummed::seal(&serde_json::json!({ "format": 99 })).unwrap();
        rig.shelf.set(".rcsync/head.json", Some(newer.as_bytes()));
        let unfit = rig.run(Hand::steady(rig.shelf.clone()), |_, _| {}).await.unwrap_err();
        assert!(unfit.to_string().contains("format 99"), "{unfit}");
    });
}

#[test]
fn a_held_lease_is_reported_and_taken_over_when_it_is_over() {
    virtually(8, async {
        let rig = Rig::finished(plan());
        // The first worker is killed before its tenth request: it holds the lease and writes no more.
        let hand = Hand::new(rig.shelf.clone(), Weather::default(), Duration::ZERO, 8);
        hand.kill_before(26);
        tokio::select! {
            () = hand.killed() => {}
            ended = rig.run(hand.clone(), |_, _| {}) => panic!("it ended: {ended:?}"),
        }
        let held = rig.run(Hand::steady(rig.shelf.clone()), |_, _| {}).await.unwrap_err();
        assert!(is(&held, |fault| matches!(fault, BucketError::Held { .. })), "{held}");
        assert_eq!(held.exit_status(), ExitStatus::TryAgain);
        // One that follows waits, and takes over at the end of the lease.
        let began = tokio::time::Instant::now();
        let followed = rig.run(Hand::steady(rig.shelf.clone()), |options, _| options.once = false).await;
        assert_eq!(followed.unwrap(), ExitStatus::Complete);
        let notices = rig.events();
        let told = notices.iter().any(|event| {
            matches!(event, Event::Notice { notice: crate::engine::event::Notice::WaitingForLease { .. } })
        });
        assert!(told && began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
        rig.check_tidy().await;
    });
}

/// Two workers at once on a store where everything goes wrong, some of them killed; then one that comes to the end.
#[test]
fn two_workers_and_killed_ones_lose_and_double_nothing() {
    // A seed plays several whole mirrors, which takes as long as forty of the protocol alone.
    let asked = std::env::var("RCSYNC_SEEDS").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = asked.map_or(25, |asked| (asked / 40).max(25));
    for seed in 0..seeds {
        virtually(seed, async {
            let mut random = fastrand::Rng::with_seed(seed);
            let large = random.u32(..4) == 0;
            let rig = Rig::new(JobPlan { checkpoint_bytes: if large { 11 << 20 } else { 20_000 }, ..plan() });
            rig.shelf.plain_complete.store(random.bool(), Ordering::Relaxed);
            if random.bool() {
                rig.world.fault(Fault::once(".safetensors", What::Cut(random.u64(..20_000))));
            }
            let weather = Weather {
                lost: random.u32(..60),
                late: random.u32(..60),
                dropped: random.u32(..30),
                busy: random.u32(..60),
                freezes: random.u32(..15),
                freezes_at: None,
            };
            let longest = Duration::from_secs(60);
            let lives = ["a", "b"].map(|_| {
                let seeds: Vec<u64> = (0..3).map(|_| random.u64(..)).collect();
                let rig = &rig;
                async move {
                    for seed in seeds {
                        let mut random = fastrand::Rng::with_seed(seed);
                        let hand = Hand::new(rig.shelf.clone(), weather, longest, seed);
                        if random.bool() {
                            hand.kill_before(random.u64(1..120));
                        }
                        let once = random.bool();
                        let run = rig.run(hand.clone(), |options, bucket| {
                            options.once = once;
                            options.timeout = Some(Duration::from_secs(90));
                            bucket.lease = Duration::from_secs(6);
                        });
                        tokio::select! {
                            () = hand.killed() => {}
                            ended = run => match ended {
                                Ok(_) => {}
                                Err(error) if is(&error, |fault| matches!(fault, BucketError::Held { .. } | BucketError::TakenOver { .. } | BucketError::Away { .. })) => {}
                                Err(error) => panic!("seed {seed}: {error}"),
                            },
                        }
                    }
                }
            });
            let time = async {
                for _ in 0..30 {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    rig.world.advance_steps(&rig.job, 1);
                }
            };
            let [one, other] = lives;
            tokio::join!(one, other, time);
            rig.world.finish(&rig.job);
            rig.world.clear_faults();
            tokio::time::sleep(longest * 2).await;
            assert_eq!(rig.once().await, ExitStatus::Complete, "seed {seed}");
            rig.check().await;
            for event in rig.events() {
                if let Event::Published { path, sha256, .. } = event {
                    let there = &rig.shelf.objects()[path.as_str()].bytes;
                    let found = Sha256Digest::new(Sha256::digest(there).into());
                    assert_eq!(found, sha256, "seed {seed}: P3: `{path}`");
                }
            }
        });
    }
}

/// A job that is only a list of these files.
fn listed(status: JobStatus, files: Vec<StaticFile>) -> Rig {
    let config = SimulatorConfig { token: TOKEN.to_owned(), ..SimulatorConfig::default() };
    let world = Arc::new(Simulator::unconnected(config));
    let progress = Progress { current_step: Some(10), total_steps: Some(20), percent: None };
    let job = world.add_static_job(StaticJob { files, status, progress, ..StaticJob::default() });
    Rig { world, job, shelf: Arc::default(), events: Arc::default() }
}

#[test]
fn a_file_known_by_its_length_alone_needs_two_equal_looks_while_the_run_may_write() {
    virtually(9, async {
        let bytes = StaticBytes::Exact(Bytes::from_static(b"no format that can be checked"));
        let file = StaticFile::new(ArtifactKind::Sample, "samples/1__000000010_0.xyz", bytes);
        let rig = listed(JobStatus::Running, vec![file]);
        let name = "samples/1__000000010_0.xyz";
        let has_it = || rig.names().iter().any(|there| there == name);
        assert_eq!(rig.once().await, ExitStatus::TryAgain, "the first look");
        assert!(!has_it());
        assert_eq!(rig.once().await, ExitStatus::TryAgain, "too soon");
        assert!(!has_it());
        tokio::time::sleep(Duration::from_secs(5)).await;
        // The second look may be another worker's: the first one is in the head.
        assert_eq!(rig.once().await, ExitStatus::Complete);
        assert!(has_it());
        rig.check_tidy().await;
        // One that changes between the looks begins anew; and where the run is over, one look is enough.
        let bytes = StaticBytes::Exact(Bytes::from_static(b"other"));
        let file = StaticFile::new(ArtifactKind::Sample, name, bytes);
        let over = listed(JobStatus::Stopped, vec![file]);
        over.once().await;
        assert!(over.names().iter().any(|there| there == name));
    });
}

#[test]
fn a_configuration_that_is_stored_compressed_is_unpacked() {
    use std::io::Write as _;
    virtually(10, async {
        let text = b"job: extension\nconfig:\n  name: dog\n";
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(text).unwrap();
        let bytes = StaticBytes::Exact(packer.finish().unwrap().into());
        let rig =
            listed(JobStatus::Stopped, vec![StaticFile::new(ArtifactKind::Config, "config.yaml", bytes)]);
        rig.world.fault(Fault::always("config.yaml", What::GzipHeader));
        rig.once().await;
        assert_eq!(&rig.shelf.objects()["config.yaml"].bytes[..], text);
        let (_, checked) = check_over(&rig.steady(), false).await.unwrap();
        assert_eq!((checked.good, checked.bad), (1, Vec::new()));
    });
}

/// A verification reads for hours: what fails for a minute in between makes no file unreadable.
#[test]
fn a_store_that_has_answered_is_read_with_the_patience_of_a_pass() {
    virtually(38, async {
        let rig = Rig::finished(plan());
        rig.once().await;
        let (mut verified, mut not_begun) = (0, 0);
        for seed in 0..20 {
            let weather = Weather { dropped: 400, ..Weather::default() };
            let hand = Hand::new(rig.shelf.clone(), weather, Duration::ZERO, seed);
            let store = Store { persistence: Persistence::Short, ..rig.store(hand) };
            match check_over(&store, false).await {
                Ok((_, checked)) => {
                    assert_eq!(checked.bad, [], "seed {seed}");
                    verified += 1;
                }
                Err(error) => {
                    assert!(is(&error, |fault| matches!(fault, BucketError::Away { .. })), "{error}");
                    not_begun += 1;
                }
            }
        }
        assert!(verified > 10 && verified + not_begun == 20, "{verified} verified, {not_begun} not begun");
    });
}

#[test]
fn a_mirror_whose_store_does_not_answer_reports_it() {
    virtually(39, async {
        let rig = Rig::finished(plan());
        let weather = Weather { dropped: 1000, ..Weather::default() };
        let error =
            rig.run(Hand::new(rig.shelf.clone(), weather, Duration::ZERO, 1), |_, _| {}).await.unwrap_err();
        assert!(is(&error, |fault| matches!(fault, BucketError::Away { .. })), "{error}");
        let is_outage =
            |event: &Event| matches!(event, Event::Retrying { path: None, cause: RetryCause::Store(_), .. });
        assert_eq!(rig.events().iter().filter(|event| is_outage(event)).count(), 1);
    });
}

#[test]
fn a_rule_that_removes_uploads_costs_time_and_no_file() {
    for drops in [1, 1000] {
        virtually(11, async {
            let rig = Rig::finished(JobPlan { checkpoint_bytes: 43 << 20, steps: 10, ..plan() });
            rig.world.set_host(|host| host.throttle = Some(10 << 20));
            let rule = async {
                for _ in 0..drops {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                    rig.shelf.drop_uploads();
                }
                std::future::pending::<()>().await;
            };
            let ended = tokio::select! {
                exit = rig.once() => exit,
                () = rule => unreachable!(),
            };
            if drops == 1 {
                assert_eq!(ended, ExitStatus::Complete);
                rig.check_tidy().await;
            } else {
                // Others are not affected, and the cause is reported.
                assert_eq!(ended, ExitStatus::TryAgain);
                let told = rig.events().into_iter().any(|event| {
                    matches!(event, Event::Failed { cause: FailureCause::UploadsLost { .. }, .. })
                });
                assert!(told && rig.names().contains(&"config.yaml".to_owned()));
                rig.check().await;
            }
        });
    }
}

/// A host of so many files asks to be left alone for an hour, once some of them have begun.
async fn a_host_that_is_busy_for_an_hour(files: u64, begun: u64) {
    let file = |host: &str, name: &str, length| {
        let path = format!("samples/{name}.xyz");
        StaticFile::new(ArtifactKind::Sample, &path, StaticBytes::Noise { length })
            .listed_as(format!("https://{host}.example/o/{path}"))
    };
    let mut files: Vec<_> =
        (0..files).map(|number| file("busy", &format!("busy{number}"), 11 << 20)).collect();
    files.push(file("other", "late", 1000));
    let rig = listed(JobStatus::Stopped, files);
    rig.world.set_host(|host| host.signed = false);
    rig.world.fault(Fault::always("busy", What::retry_after(503, "3600")).after(begun));
    // It comes when the memory is taken.
    rig.world.fault(Fault::once("late", What::status(500)).times(4));
    let follow = rig.run(Hand::steady(rig.shelf.clone()), |options, _| {
        (options.once, options.timeout) = (false, Some(Duration::from_secs(1200)));
    });
    assert_eq!(follow.await.unwrap(), ExitStatus::TryAgain);
    let names = rig.names();
    assert!(names.iter().any(|name| name.ends_with("late.xyz")), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("busy")), "{names:?}");
}

#[test]
fn files_that_wait_for_their_host_hold_no_memory_that_others_need() {
    // Twice as many as there is memory for: those of the first answers, and those that wait for others.
    virtually(20, a_host_that_is_busy_for_an_hour(14, 0));
}

#[test]
fn nor_do_files_that_have_begun() {
    virtually(21, a_host_that_is_busy_for_an_hour(7, 7));
}

/// An object is read as far as its bound, and one that is larger is not treated as if it were not there.
#[test]
fn an_object_that_is_too_large_is_neither_read_nor_overwritten() {
    virtually(22, async {
        let rig = Rig::finished(plan());
        let (store, read) = (rig.steady(), || rig.shelf.read.load(Ordering::Relaxed));
        for (size, bound) in [(0_usize, 10), (10, 10), (11, 10), (1 << 20, 10)] {
            rig.shelf.set("x", Some(&vec![7; size]));
            let before = read();
            let found = store.look("x", bound).await.unwrap();
            assert!(read() - before <= bound, "{size} bytes");
            match (size as u64 <= bound, found) {
                (true, Small::Whole(bytes, meta)) => {
                    assert_eq!((bytes.len(), meta.size), (size, size as u64))
                }
                (false, Small::TooLarge { size: found }) => assert_eq!(found, size as u64),
                (_, found) => panic!("{size} bytes: {found:?}"),
            }
        }
        let error = store.small("x", 10).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "could not read `s3://b/p/x`: it has 1048576 bytes, and an object of rcsync's has at most 10 there"
        );
        assert_eq!(store.small_of_ours("x", 10).await.unwrap(), None);
        assert!(matches!(store.look("y", 10).await.unwrap(), Small::Nothing));
        rig.shelf.set("x", None);
        // A head of another program, or of a newer rcsync: nothing is written beside it.
        rig.shelf.set(".rcsync/head.json", Some(&vec![b' '; 5 << 20]));
        let writes = rig.shelf.writes.load(Ordering::Relaxed);
        let error = rig.run(Hand::steady(rig.shelf.clone()), |_, _| {}).await.unwrap_err();
        assert!(is(&error, |fault| matches!(fault, BucketError::Unfit { .. })), "{error}");
        assert!(
            error
                .to_string()
                .ends_with("its `.rcsync/head.json` has 5242880 bytes, and rcsync's has at most 4194304")
        );
        assert_eq!(rig.shelf.writes.load(Ordering::Relaxed), writes);
    });
}

/// What many files were to a hook fits into a head, at once: a part of it would make news of the rest.
#[test]
fn a_hook_that_is_first_given_to_many_files_makes_no_head_that_cannot_be_read() {
    virtually(23, async {
        let rig = Rig::finished(plan());
        let origin = "https://api.example";
        let look = async || Found::look(&rig.steady(), &rig.job, origin).await.unwrap();
        let wish = Wish { lease: Duration::from_secs(60), waits: false, fold_at: FoldAt::default() };
        let taken = HeadStore::take(rig.steady(), look().await, wish, Publish::Complete, |_| {}).await;
        let head = taken.unwrap();
        let (hook, small) = (EventId::of(&["hook"]), EventId::of(&["small"]));
        let line = |hook: &EventId, count: u32| {
            let done = (0..count).map(|number| EventId::of(&[&number.to_string()])).collect();
            Claim::Hook { hook: hook.clone(), done, failed: None }
        };
        head.claim(vec![line(&small, 3)]).await.unwrap();
        let writes = rig.shelf.writes.load(Ordering::Relaxed);
        head.claim(vec![line(&hook, 150_000)]).await.unwrap();
        let written = rig.shelf.writes.load(Ordering::Relaxed) - writes;
        assert_eq!(written, 2, "a snapshot and one swap");
        head.note_delivered(line(&small, 9));
        head.release().await.unwrap();
        let size = rig.shelf.objects()[".rcsync/head.json"].bytes.len();
        assert!(size < 100_000, "{size} bytes");
        for known in [look().await.known, Known::clone(&head.known())] {
            assert_eq!((known.hooks[&hook].done.len(), known.hooks[&small].done.len()), (150_000, 9));
        }
    });
}

/// An object of the head whose tag is another one has to be written, whatever it means.
#[test]
fn records_that_were_deleted_or_overwritten_are_written_again_once() {
    virtually(26, async {
        let rig = Rig::finished(plan());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let text = |key: &str| rig.shelf.objects().get(key).map(|there| there.bytes.clone());
        for (key, by) in [("SHA256SUMS", None), ("job.json", None), ("SHA256SUMS", Some("mine"))] {
            let before = text(key).unwrap();
            rig.shelf.set(key, by.map(str::as_bytes));
            assert_eq!(rig.once().await, ExitStatus::Complete, "{key}");
            let restored = text(key).expect(key);
            let lines = |bytes: &[u8]| {
                String::from_utf8_lossy(bytes)
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(lines(&restored), lines(&before), "{key}");
            let head = text(".rcsync/head.json");
            assert_eq!(rig.once().await, ExitStatus::Complete, "{key}");
            assert_eq!(text(".rcsync/head.json"), head, "{key}: an idle pass writes nothing");
        }
    });
}

/// A signal that comes between the lease and the first claim of the hooks.
#[test]
fn a_run_that_ends_while_its_hooks_begin_frees_the_lease() {
    virtually(24, async {
        let rig = Rig::finished(plan());
        let stop = Stop::new();
        // Something is there, so that the hooks claim that it is no news.
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.shelf.set("SHA256SUMS", None);
        let epoch = |objects: &BTreeMap<String, crate::edge::bucket::memory::Stored>| {
            let text = std::str::from_utf8(&objects[".rcsync/head.json"].bytes).unwrap();
            let head: Head = checksummed::unseal(text).unwrap();
            (head.epoch, head.free)
        };
        let before = epoch(&rig.shelf.objects()).0;
        let plan = HookPlan::new(Some("never {path}"), None, None, Duration::from_secs(10)).unwrap();
        let hooks = super::hooks::BucketHooks { plan, wording: Box::new(|_, id| id.as_str().to_owned()) };
        let run = rig.mirror(Hand::steady(rig.shelf.clone()), Some(hooks), &stop, |_, _| {});
        let signal = async {
            while epoch(&rig.shelf.objects()).0 == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Claims are a second apart from the swap that took the lease.
            tokio::time::sleep(Duration::from_millis(500)).await;
            stop.stop(ExitStatus::Terminated);
        };
        let (ended, ()) = tokio::join!(run, signal);
        assert_eq!(ended.unwrap(), ExitStatus::Terminated);
        assert_eq!(epoch(&rig.shelf.objects()), (before + 1, true));
    });
}

#[test]
fn a_lease_that_is_not_free_in_time_is_reported_with_its_holder() {
    virtually(25, async {
        let rig = Rig::new(plan());
        rig.world.advance_steps(&rig.job, 11);
        let holds = rig.run(Hand::steady(rig.shelf.clone()), |options, _| options.once = false);
        let waits = async {
            while !rig.names().contains(&"dog_000000010.safetensors".to_owned()) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            rig.shelf.set("SHA256SUMS", None);
            rig.run(Hand::steady(rig.shelf.clone()), for_20_seconds).await
        };
        let error = tokio::select! {
            ended = holds => panic!("{ended:?}"),
            ended = waits => ended.unwrap_err(),
        };
        let process = format!("process {} on ", std::process::id());
        let is_held = |fault: &BucketError| matches!(fault, BucketError::Held { owner, .. } if owner.contains(&process));
        assert!(is(&error, is_held), "{error}");
    });
}

/// A worker waits for the lease of a killed one, and meanwhile the API begins to refuse the job.
#[test]
fn what_was_listed_before_a_wait_for_the_lease_is_fetched_although_the_api_refuses_meanwhile() {
    for has_record in [true, false] {
        virtually(34, async {
            let rig = Rig::finished(plan());
            let killed = Hand::new(rig.shelf.clone(), Weather::default(), Duration::ZERO, 8);
            killed.kill_before(26);
            tokio::select! {
                () = killed.killed() => {}
                ended = rig.run(killed.clone(), |_, _| {}) => panic!("it ended: {ended:?}"),
            }
            assert!(!rig.names().contains(&"dog.safetensors".to_owned()), "{:?}", rig.names());
            // What another process wrote, newer than this one's poll.
            let record = has_record.then_some(&b"{\"job_id\": \"written since\"}"[..]);
            rig.shelf.set("job.json", record);
            let run = rig.run(Hand::steady(rig.shelf.clone()), |options, _| options.once = false);
            let refusal = async {
                let is_waiting = |event: &Event| {
                    matches!(
                        event,
                        Event::Notice { notice: crate::engine::event::Notice::WaitingForLease { .. } }
                    )
                };
                while !rig.events.lock().unwrap().iter().any(is_waiting) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                rig.world.fault(Fault::always("/jobs/", What::status(404)));
            };
            let (ended, ()) = tokio::join!(run, refusal);
            assert!(matches!(ended, Err(Error::Api(_))), "{ended:?}");
            rig.check().await;
            let objects = rig.shelf.objects();
            let sums = String::from_utf8(objects["SHA256SUMS"].bytes.to_vec()).unwrap();
            for name in ["dog.safetensors", "dog_000000010.safetensors", "config.yaml"] {
                assert!(objects.contains_key(name), "{name}: {:?}", rig.names());
                assert!(sums.lines().any(|line| line.ends_with(&format!("  {name}"))), "{name}: {sums}");
            }
            let now = objects.get("job.json").map(|object| &object.bytes[..]);
            match record {
                Some(_) => assert_eq!(now, record, "what is newer is not written over"),
                None => assert!(now.is_some(), "where there is none, it is written"),
            }
            assert!(rig.head().free);
        });
    }
}

/// The poll has a job that is over, which the process that holds the lease may have resumed since.
#[test]
fn what_its_length_alone_proves_is_not_published_after_one_look_where_the_poll_is_old() {
    virtually(36, async {
        let name = "samples/1__000000010_0.xyz";
        let bytes = StaticBytes::Exact(Bytes::from_static(b"no format that can be checked"));
        let rig = listed(JobStatus::Stopped, vec![StaticFile::new(ArtifactKind::Sample, name, bytes)]);
        let has_it = || rig.names().iter().any(|there| there == name);
        let killed = Hand::new(rig.shelf.clone(), Weather::default(), Duration::ZERO, 8);
        killed.kill_before(20);
        tokio::select! {
            () = killed.killed() => {}
            ended = rig.run(killed.clone(), |_, _| {}) => panic!("it ended: {ended:?}"),
        }
        assert!(!has_it() && rig.shelf.objects().contains_key(".rcsync/head.json"), "{:?}", rig.names());
        let run = rig.run(Hand::steady(rig.shelf.clone()), |options, _| options.once = false);
        let refusal = async {
            let is_waiting = |event: &Event| {
                matches!(
                    event,
                    Event::Notice { notice: crate::engine::event::Notice::WaitingForLease { .. } }
                )
            };
            while !rig.events.lock().unwrap().iter().any(is_waiting) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            rig.world.fault(Fault::always("/jobs/", What::status(404)));
        };
        let (ended, ()) = tokio::join!(run, refusal);
        assert!(matches!(ended, Err(Error::Api(_))), "{ended:?}");
        assert!(!has_it());
        let is_settling =
            |event: &Event| matches!(event, Event::Settling { path, .. } if path.as_str() == name);
        let events = rig.events();
        assert!(events.iter().any(is_settling), "{events:?}");
    });
}

/// How many requests that takes does not depend on how many files they are.
#[test]
fn objects_whose_files_are_hosted_no_more_are_looked_at_in_one_request() {
    let asked = [1, 10].map(|files| {
        virtually(35, async {
            let rig = Rig::finished(JobPlan { steps: 200, ..plan() });
            assert_eq!(rig.once().await, ExitStatus::Complete);
            let names: Vec<String> =
                rig.names().into_iter().filter(|name| name.ends_with(".jpg")).take(files).collect();
            assert_eq!(names.len(), files);
            for name in &names {
                rig.world.fault(Fault::always(name.clone(), What::status(404)));
                rig.shelf.set(name, None);
            }
            rig.events();
            let before = rig.shelf.carried.load(Ordering::Relaxed);
            assert_eq!(rig.once().await, ExitStatus::TryAgain);
            let failed = rig.events().into_iter().find_map(|event| match event {
                Event::Done { failed, .. } => Some(failed),
                _ => None,
            });
            assert_eq!(failed, Some(files as u64));
            rig.shelf.carried.load(Ordering::Relaxed) - before
        })
    });
    assert_eq!(asked[0], asked[1]);
}

/// The head is lost, and what is there is another job's: as in a folder, nothing is written among it.
#[test]
fn a_prefix_without_a_head_is_another_jobs_where_its_record_is() {
    virtually(36, async {
        let rig = Rig::finished(plan());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let other = rig.world.add_job(plan());
        rig.world.finish(&other);
        let other =
            Rig { world: rig.world.clone(), job: other, shelf: rig.shelf.clone(), events: Arc::default() };
        for head in [None, Some(&b"{\"crc32\":\"0\""[..])] {
            rig.shelf.set(HEAD, head);
            tokio::time::sleep(Duration::from_secs(61)).await;
            let before = rig.shelf.objects();
            for dry_run in [false, true] {
                let refused =
                    other.run(Hand::steady(rig.shelf.clone()), |options, _| options.dry_run = dry_run);
                let refused = refused.await.unwrap_err();
                assert!(is(&refused, |fault| matches!(fault, BucketError::Unfit { .. })), "{refused}");
                assert_eq!(refused.exit_status().code(), 73);
                assert!(refused.to_string().contains(rig.job.as_str()), "{refused}");
            }
            assert_eq!(rig.shelf.objects(), before, "nothing is written");
        }
        // Its own job adopts what is there.
        rig.world.clear_requests();
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.check().await;
        assert_eq!(rig.world.artifact_bytes(), 0, "no file is fetched");
    });
}

/// A job that has nothing yet is looked at without a head, and without more requests than any other.
#[test]
fn an_idle_look_at_an_empty_prefix_asks_twice() {
    virtually(37, async {
        let rig = listed(JobStatus::Running, Vec::new());
        rig.once().await;
        assert_eq!(rig.shelf.carried.load(Ordering::Relaxed), 2);
        assert_eq!(rig.names(), [""; 0]);
    });
}

fn for_20_seconds(options: &mut SyncOptions, _: &mut BucketOptions) {
    (options.once, options.timeout) = (false, Some(Duration::from_secs(20)));
}

#[test]
fn a_lease_that_is_free_and_not_answered_is_not_reported_as_held() {
    virtually(29, async {
        let rig = Rig::new(plan());
        rig.world.advance_steps(&rig.job, 11);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.world.finish(&rig.job);
        let hand = Hand::steady(rig.shelf.clone());
        // Head, list, head again and `job.json`; the swap that takes the lease is not answered.
        hand.kill_before(4);
        let began = tokio::time::Instant::now();
        let error = rig.run(hand, for_20_seconds).await.unwrap_err();
        assert!(is(&error, |fault| matches!(fault, BucketError::Away { .. })), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    });
}

#[test]
fn what_is_wrong_at_every_poll_is_reported_once() {
    virtually(26, async {
        let odd = StaticFile::new(ArtifactKind::Sample, "samples/1.jpg", StaticBytes::Noise { length: 9 })
            .listed_as("no address");
        let rig = listed(JobStatus::Running, vec![odd]);
        let ended = rig.run(Hand::steady(rig.shelf.clone()), |options, _| {
            (options.once, options.timeout) = (false, Some(Duration::from_secs(600)));
        });
        assert_eq!(ended.await.unwrap(), ExitStatus::TryAgain);
        let events = rig.events();
        let count = |is_it: fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
        assert!(count(|event| matches!(event, Event::Waiting { .. })) > 5);
        assert_eq!(count(|event| matches!(event, Event::Trouble { .. })), 1, "{events:?}");
        assert!(matches!(events.last(), Some(Event::Done { failed: 1, .. })), "{events:?}");
    });
}

/// A selection that leaves out all files is reported when the job's end is first seen in this bucket. Files that it leaves out
/// are counted as there all the same.
#[test]
fn a_selection_of_nothing_is_reported_once_for_all_runs() {
    virtually(27, async {
        let rig = Rig::new(plan());
        rig.world.advance_steps(&rig.job, 11);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.world.finish(&rig.job);
        let mut count = 0;
        for _ in 0..3 {
            let run = rig.run(Hand::steady(rig.shelf.clone()), |options, _| {
                options.selection = Selection::new(&[], &["nothing".to_owned()], &[], &[]).unwrap();
            });
            run.await.unwrap();
            let is_it = |event: &Event| {
                matches!(event, Event::Notice { notice: crate::engine::event::Notice::NothingChosen { .. } })
            };
            let events = rig.events();
            count += events.iter().filter(|event| is_it(event)).count();
            let Some(Event::Done { present, .. }) = events.last() else { panic!("{events:?}") };
            assert!(*present > 0, "what was mirrored before is there");
        }
        assert_eq!(count, 1);
    });
}

/// Everything is mirrored, so neither process needs the lease to write; to resume the job, one of them takes it.
#[test]
fn two_processes_with_nothing_to_write_resume_a_job_once() {
    virtually(28, async {
        let rig = Rig::new(JobPlan { preempt_at: Some(12), ..plan() });
        rig.world.advance_steps(&rig.job, 13);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        rig.events();
        let steps: Arc<Mutex<Vec<u64>>> = Arc::default();
        let written = steps.clone();
        rig.shelf.watch(Box::new(move |_, change| {
            let Some(object) = change.after.as_ref().filter(|_| change.key == "job.json") else { return };
            let job: serde_json::Value = serde_json::from_slice(&object.bytes).unwrap();
            written.lock().unwrap().extend(job["progress"]["current_step"].as_u64());
        }));
        let follow = || {
            rig.run(Hand::steady(rig.shelf.clone()), |options, _| {
                (options.once, options.auto_resume) = (false, 2);
            })
        };
        let time = async {
            loop {
                tokio::time::sleep(Duration::from_secs(3)).await;
                rig.world.advance_steps(&rig.job, 1);
            }
        };
        let both = async { tokio::join!(follow(), follow()) };
        let (one, other) = tokio::select! {
            both = both => both,
            () = time => unreachable!(),
        };
        assert_eq!((one.unwrap(), other.unwrap()), (ExitStatus::Complete, ExitStatus::Complete));
        let resumptions = rig.events().into_iter().filter(|event| {
            let refused =
                matches!(event, Event::Notice { notice: crate::engine::event::Notice::NotResumed(_) });
            refused || matches!(event, Event::Resumed { .. })
        });
        assert_eq!(resumptions.count(), 1);
        // The one that waited for the lease does not write what it saw before.
        let seen = rig.head().seen.unwrap();
        assert_eq!((seen.status, seen.resumes), (JobStatus::Stopped, 1));
        let steps = steps.lock().unwrap();
        assert!(steps.len() > 1 && steps.is_sorted(), "{steps:?}");
    });
}

#[test]
fn a_job_that_stopped_early_is_resumed() {
    virtually(12, async {
        let rig = Rig::new(JobPlan { preempt_at: Some(12), ..plan() });
        let time = async {
            loop {
                tokio::time::sleep(Duration::from_secs(3)).await;
                rig.world.advance_steps(&rig.job, 1);
            }
        };
        let follow = rig.run(Hand::steady(rig.shelf.clone()), |options, _| {
            (options.once, options.auto_resume) = (false, 2);
        });
        let exit = tokio::select! {
            exit = follow => exit.unwrap(),
            () = time => unreachable!(),
        };
        assert_eq!(exit, ExitStatus::Complete);
        let resumed = rig.events().into_iter().filter(|event| matches!(event, Event::Resumed { .. })).count();
        assert_eq!(resumed, 1);
        rig.check_tidy().await;
    });
}

/// A command that appends its arguments to a file, and fails while another file is there.
#[cfg(unix)]
fn hooks(rig: &Rig, dir: &std::path::Path) -> super::hooks::BucketHooks {
    let (told, fails) = (dir.join("told"), dir.join("fails"));
    let script = format!("test ! -e {} && echo \"$0 $1\" >> {}", fails.display(), told.display());
    let exec = format!("sh -c '{script}' {{path}} {{sha256}}");
    let done = format!("sh -c 'echo done $0 >> {}' {{exit_code}}", told.display());
    let plan = HookPlan::new(Some(&exec), Some(&done), None, Duration::from_secs(10)).unwrap();
    let _ = rig;
    super::hooks::BucketHooks { plan, wording: Box::new(|_, id| id.as_str().to_owned()) }
}

/// In real time, since commands run in it.
#[cfg(unix)]
#[tokio::test]
async fn hooks_run_for_each_object_once_across_runs_and_kills() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(plan());
    rig.world.advance_steps(&rig.job, 11);
    // What was there before a hook was first given is no news to it.
    assert_eq!(rig.once().await, ExitStatus::Complete);
    let before = rig.names().len();
    let told = || std::fs::read_to_string(dir.path().join("told")).unwrap_or_default();
    let run = async || {
        let hooks = hooks(&rig, dir.path());
        rig.run_with_hooks(Hand::steady(rig.shelf.clone()), hooks).await
    };
    assert_eq!(run().await.unwrap(), ExitStatus::Complete);
    assert_eq!(told(), "done 0\n", "nothing is new");
    rig.world.finish(&rig.job);
    // A hook that fails is tried again by the next run: nothing else is lost meanwhile.
    std::fs::write(dir.path().join("fails"), "").unwrap();
    assert_eq!(run().await.unwrap(), ExitStatus::Complete);
    let new = rig.names().len() - before;
    assert!(new >= 3, "{new}");
    assert_eq!(told(), "done 0\ndone 0\n");
    std::fs::remove_file(dir.path().join("fails")).unwrap();
    assert_eq!(run().await.unwrap(), ExitStatus::Complete);
    let text = told();
    let urls: Vec<&str> = text.lines().filter(|line| line.starts_with("s3://b/p/")).collect();
    assert_eq!(urls.len(), new, "{text}");
    for line in urls {
        let (url, sha256) = line.split_once(' ').unwrap();
        let bytes = &rig.shelf.objects()[url.strip_prefix("s3://b/p/").unwrap()].bytes;
        assert_eq!(crate::model::digest::hex(&Sha256::digest(bytes)), sha256);
    }
    assert_eq!(run().await.unwrap(), ExitStatus::Complete);
    assert_eq!(told().lines().count(), text.lines().count() + 1, "each is delivered once");
}

/// A hook whose commands wait until they may end.
#[cfg(unix)]
struct SlowHook {
    dir: tempfile::TempDir,
}

#[cfg(unix)]
impl SlowHook {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn hooks(&self) -> super::hooks::BucketHooks {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let (begun, go, ended) = (at("begun"), at("go"), at("ended"));
        let script =
            format!("echo $0 >> {begun}; until test -e {go}; do sleep 0.02; done; echo $0 >> {ended}");
        let exec = format!("sh -c '{script}' {{path}}");
        // Virtual time may pass while a command runs in real time.
        let timeout = Duration::from_secs(30 * 24 * 3600);
        let plan = HookPlan::new(Some(&exec), None, None, timeout).unwrap();
        super::hooks::BucketHooks { plan, wording: Box::new(|_, id| id.as_str().to_owned()) }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn begun(&self) {
        while self.lines("begun").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn go(&self) {
        std::fs::write(self.dir.path().join("go"), "").unwrap();
    }

    /// Every file was delivered, and each once.
    fn check(&self, rig: &Rig) {
        let ended = self.lines("ended");
        let urls: BTreeSet<&String> = ended.iter().collect();
        let is_file = |name: &String| !["SHA256SUMS", "job.json", "index.html"].contains(&&**name);
        let files = rig.names().into_iter().filter(is_file).count();
        assert_eq!((urls.len(), ended.len()), (files, files), "{ended:?} of {:?}", rig.names());
    }
}

/// A hook that is at work when the run is stopped has its time to end, and its event is not repeated.
///
/// In real time, since commands run in it.
#[cfg(unix)]
#[tokio::test]
async fn a_hook_at_work_is_not_killed_by_the_signal_that_ends_the_run() {
    let (rig, slow) = (Rig::finished(plan()), SlowHook::new());
    let stop = Stop::new();
    // The head is swapped once a second.
    let short = |_: &mut SyncOptions, bucket: &mut BucketOptions| bucket.lease = Duration::from_secs(3);
    let run = rig.mirror(Hand::steady(rig.shelf.clone()), Some(slow.hooks()), &stop, short);
    let signal = async {
        slow.begun().await;
        // The gallery is written last, and its tag is in the first swap after that: since then the run waits for its hooks.
        while !rig.has_noted_the_last_record().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.stop(ExitStatus::Terminated);
        tokio::time::sleep(Duration::from_millis(200)).await;
        slow.go();
    };
    let (ended, ()) = tokio::join!(run, signal);
    assert_eq!(ended.unwrap(), ExitStatus::Terminated);
    let counts = (slow.lines("begun").len(), slow.lines("ended").len());
    assert_eq!(counts, (1, 1), "it ended, and nothing else is begun");
    let run = rig.mirror(Hand::steady(rig.shelf.clone()), Some(slow.hooks()), &Stop::new(), |_, _| {});
    assert_eq!(run.await.unwrap(), ExitStatus::Complete);
    slow.check(&rig);
}

/// No later run of a job that was deleted gets as far as its hooks.
///
/// In real time, since commands run in it.
#[cfg(unix)]
#[tokio::test]
async fn hooks_get_what_is_published_although_the_api_refuses_meanwhile() {
    for status in [404, 401] {
        let (rig, slow) = (Rig::new(plan()), SlowHook::new());
        rig.world.advance_steps(&rig.job, 11);
        let follow = |options: &mut SyncOptions, _: &mut BucketOptions| {
            (options.once, options.interval) = (false, Some(Duration::from_secs(1)));
        };
        let run = rig.mirror(Hand::steady(rig.shelf.clone()), Some(slow.hooks()), &Stop::new(), follow);
        let refusal = async {
            slow.begun().await;
            while !rig.names().contains(&"dog_000000010.safetensors".to_owned()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            rig.world.fault(Fault::always("/jobs/", What::status(status)));
            let asked = rig.world.api_requests();
            while rig.world.api_requests() == asked {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // The run that has ended by then has killed its hooks.
            tokio::time::sleep(Duration::from_secs(1)).await;
            slow.go();
        };
        let (ended, ()) = tokio::join!(run, refusal);
        assert!(matches!(ended, Err(Error::Api(_))), "{ended:?}");
        slow.check(&rig);
    }
}

/// The user's time is for following the job. A hook that is at work when it is over has its own timeout, as in a folder.
///
/// Commands run in real time, and everything else in virtual time.
#[cfg(unix)]
#[test]
fn a_slow_hook_at_the_end_of_the_users_time_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (rig, slow) = (Rig::new(plan()), SlowHook::new());
        rig.world.advance_steps(&rig.job, 11);
        let follow = |options: &mut SyncOptions, _: &mut BucketOptions| {
            (options.once, options.timeout) = (false, Some(Duration::from_secs(20)));
        };
        let run = rig.mirror(Hand::steady(rig.shelf.clone()), Some(slow.hooks()), &Stop::new(), follow);
        let hook = async {
            slow.begun().await;
            tokio::time::sleep(Duration::from_secs(200)).await;
            slow.go();
        };
        let (ended, ()) = tokio::join!(run, hook);
        assert_eq!(ended.unwrap(), ExitStatus::TryAgain);
        assert!(rig.head().free);
        slow.check(&rig);
    });
}

/// An object that was deleted, and that cannot be fetched again, is missing.
#[test]
fn a_deleted_object_whose_file_is_hosted_no_more_is_missing() {
    virtually(33, async {
        let rig = Rig::finished(plan());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let name = "dog_000000010.safetensors";
        rig.world.fault(Fault::always(name, What::status(404)));
        rig.shelf.set(name, None);
        rig.events();
        assert_eq!(rig.once().await, ExitStatus::TryAgain);
        let events = rig.events();
        assert!(events.iter().any(|event| matches!(event, Event::Vanished { .. })), "{events:?}");
        assert!(matches!(events.last(), Some(Event::Done { failed: 1, .. })), "{events:?}");
    });
}

/// A pass that could not fetch a file cannot report that the trainer deleted it: the next one does, once.
#[test]
fn a_file_that_a_pass_did_not_get_is_reported_when_it_is_offered_no_more() {
    virtually(34, async {
        let rig = Rig::new(JobPlan { steps: 100, save_every: 5, keep: 4, ..plan() });
        let name = "dog_000000005.safetensors";
        rig.world.fault(Fault::always(name, What::status(500)));
        rig.world.advance_steps(&rig.job, 6);
        assert_eq!(rig.once().await, ExitStatus::TryAgain);
        rig.world.advance_steps(&rig.job, 25);
        let vanished = || {
            let events = rig.events();
            let vanished = events.iter().filter_map(|event| match event {
                Event::Vanished { path } => Some(path.to_string()),
                _ => None,
            });
            vanished.collect::<Vec<_>>()
        };
        assert_eq!(vanished(), Vec::<String>::new());
        assert_eq!(rig.once().await, ExitStatus::Complete);
        assert_eq!(vanished(), [name]);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        assert_eq!(vanished(), Vec::<String>::new());
    });
}

/// A ComfyUI with a folder for LoRAs, and what follows a bucket for it.
fn comfy(dir: &std::path::Path, keep: Option<u32>) -> Arc<ComfyUi> {
    Arc::new(comfy_ui(dir, keep))
}

fn comfy_ui(dir: &std::path::Path, keep: Option<u32>) -> ComfyUi {
    let loras = dir.join("ComfyUI/models/loras");
    std::fs::create_dir_all(&loras).unwrap();
    ComfyUi::new(ComfyOptions {
        folder: LoraFolder { path: loras, why: LoraFolderReason::Named, embeddings: None },
        subdir: "{name}".parse().unwrap(),
        keep,
        link: LinkMode::default(),
        sidecars: true,
        weights: Weights::default(),
        url: None,
    })
}

fn from_bucket(rig: &Rig, dir: &std::path::Path, comfy: &Arc<ComfyUi>) -> FromBucket {
    let events = rig.events.clone();
    let reporter = Arc::new(move |event: &Event| events.lock().unwrap().push(event.clone()));
    FromBucket::over(rig.steady(), comfy.clone(), &dir.join("state"), reporter)
}

/// In real time: it waits for disks.
#[tokio::test]
async fn loras_of_a_bucket_are_placed_in_comfyui_and_fetched_once() {
    let rig = Rig::finished(JobPlan { save_every: 5, ..plan() });
    assert_eq!(rig.once().await, ExitStatus::Complete);
    let objects = rig.shelf.objects();
    let dir = tempfile::tempdir().unwrap();
    let comfy = comfy(dir.path(), Some(2));
    let placed = || {
        let folder = comfy.folder().path.join("dog");
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<String>>()
    };
    // A fetch that was killed is continued: the first bytes of one are there.
    let whole = &objects["dog.safetensors"].bytes;
    let mut from = from_bucket(&rig, dir.path(), &comfy);
    let parts = from.shadow().join(".rcsync/parts");
    std::fs::create_dir_all(&parts).unwrap();
    let sha256 = crate::model::digest::hex(&Sha256::digest(whole));
    std::fs::write(parts.join(sha256), &whole[..1000]).unwrap();
    let carried = || rig.shelf.carried.load(Ordering::Relaxed);
    let outcome = from.once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.there, outcome.unsettled), (3, 3, 0), "the newest two and the final");
    let names = placed();
    for name in ["dog.safetensors", "dog_000000015.safetensors", "dog_000000010.safetensors"] {
        let bytes = std::fs::read(comfy.folder().path.join("dog").join(name)).unwrap();
        assert_eq!(bytes, objects[name].bytes, "{name}");
        let stem = name.trim_end_matches(".safetensors");
        for beside in [".sha256", ".civitai.info"] {
            assert!(names.contains(&format!("{stem}{beside}")), "{names:?}");
        }
    }
    assert!(names.iter().any(|name| name.ends_with(".jpg") || name.ends_with(".png")), "{names:?}");
    assert!(!names.contains("dog_000000005.safetensors"), "{names:?}");
    // Nothing is left on this machine but the record, and a second look fetches nothing.
    let left = std::fs::read_dir(from.shadow()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.ends_with(".safetensors")), "{left:?}");
    let (before, writes) = (carried(), rig.shelf.writes.load(Ordering::Relaxed));
    let mut again = from_bucket(&rig, dir.path(), &comfy);
    let outcome = again.once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.there), (0, 3));
    assert!(carried() - before <= 4, "{} requests", carried() - before);
    assert_eq!(rig.shelf.writes.load(Ordering::Relaxed), writes, "the bucket is only read");
    assert_eq!(placed(), names);
    // What its owner removed there is not placed again, and a part of other bytes is no part.
    std::fs::remove_file(comfy.folder().path.join("dog/dog.safetensors")).unwrap();
    let outcome = again.once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.withdrawn), (0, 1));
    // Bytes in the bucket that are not those of the head are never placed.
    rig.shelf
        .set("dog_000000015.safetensors", Some(&vec![7; objects["dog_000000015.safetensors"].bytes.len()]));
    let other = tempfile::tempdir().unwrap();
    let elsewhere = self::comfy(other.path(), None);
    let mut from = from_bucket(&rig, other.path(), &elsewhere);
    let outcome = from.once(Patience::Act).await.unwrap();
    assert!(!elsewhere.folder().path.join("dog/dog_000000015.safetensors").exists());
    assert_eq!((outcome.there, outcome.unsettled), (3, 1), "{outcome:?}");
}

/// `mirror s3://… --comfyui --watch`, in virtual time.
#[test]
fn a_bucket_that_is_watched_is_followed_until_a_signal() {
    virtually(30, async {
        let rig = Rig::new(plan());
        rig.world.advance_steps(&rig.job, 11);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let dir = tempfile::tempdir().unwrap();
        let comfy = comfy(dir.path(), None);
        let folder = comfy.folder().path.join("dog");
        let is_placed = |name: &str| {
            let there = std::fs::read(folder.join(name)).ok();
            there.is_some_and(|there| there == rig.shelf.objects()[name].bytes)
        };
        let placed = async |name: &str| {
            while !is_placed(name) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let stop = Stop::new();
        let watching = tokio::spawn(from_bucket(&rig, dir.path(), &comfy).watch(stop.clone()));
        placed("dog_000000010.safetensors").await;
        assert!(!is_placed("dog.safetensors"));
        rig.world.finish(&rig.job);
        assert_eq!(rig.once().await, ExitStatus::Complete);
        let began = tokio::time::Instant::now();
        placed("dog.safetensors").await;
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        // Where nothing is new, a look is one request, and now and then a whole one. What its owner deleted stays deleted.
        std::fs::remove_file(folder.join("dog.safetensors")).unwrap();
        let asked = || (rig.shelf.carried.load(Ordering::Relaxed), rig.shelf.writes.load(Ordering::Relaxed));
        let (before, read) = (asked(), rig.shelf.read.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(600)).await;
        let requests = asked().0 - before.0;
        assert!((55..100).contains(&requests), "{requests} requests in ten minutes");
        // Looks that find nothing new read nothing.
        let [head, job] = [HEAD, "job.json"].map(|key| rig.shelf.objects()[key].bytes.len() as u64);
        let read = rig.shelf.read.load(Ordering::Relaxed) - read;
        assert!(read <= 11 * (head + job), "{read} bytes in ten minutes, of {head} and {job}");
        assert_eq!(asked().1, before.1, "the bucket is only read");
        assert!(!folder.join("dog.safetensors").exists());
        // A trouble is reported once, waited out, and over when it is over.
        rig.events();
        let head = rig.shelf.objects()[".rcsync/head.json"].bytes.clone();
        rig.shelf.set(".rcsync/head.json", Some(&vec![b'x'; 5 << 20]));
        tokio::time::sleep(Duration::from_secs(120)).await;
        let troubles = rig.events().into_iter().filter(|event| matches!(event, Event::Trouble { .. }));
        assert_eq!(troubles.count(), 1);
        std::fs::remove_file(folder.join("dog_000000010.safetensors")).unwrap();
        rig.shelf.set(".rcsync/head.json", Some(&head));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!watching.is_finished());
        stop.stop(ExitStatus::Terminated);
        let ended = tokio::time::timeout(Duration::from_secs(1), watching).await.unwrap();
        assert_eq!(ended.unwrap(), ExitStatus::Terminated);
    });
}

/// A store that does not answer keeps no watch from its end.
#[test]
fn a_watch_of_a_silent_bucket_ends_with_a_signal() {
    virtually(31, async {
        let rig = Rig::finished(plan());
        let dir = tempfile::tempdir().unwrap();
        let silent = Hand::steady(rig.shelf.clone());
        silent.kill_before(0);
        let comfy = comfy(dir.path(), None);
        let from = FromBucket::over(rig.store(silent), comfy, dir.path(), Arc::new(|_: &Event| {}));
        let stop = Stop::new();
        let watching = tokio::spawn(from.watch(stop.clone()));
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(!watching.is_finished());
        stop.stop(ExitStatus::Interrupted);
        let ended = tokio::time::timeout(Duration::from_secs(1), watching).await.unwrap();
        assert_eq!(ended.unwrap(), ExitStatus::Interrupted);
    });
}

/// `mirror s3://… --comfyui --again`. In real time: it waits for disks.
#[tokio::test]
async fn what_is_gone_from_comfyui_is_fetched_from_the_bucket_again_where_that_is_asked_for() {
    let rig = Rig::finished(plan());
    assert_eq!(rig.once().await, ExitStatus::Complete);
    let objects = rig.shelf.objects();
    let dir = tempfile::tempdir().unwrap();
    let comfy = comfy(dir.path(), None);
    let folder = comfy.folder().path.join("dog");
    let outcome = from_bucket(&rig, dir.path(), &comfy).once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.there), (2, 2), "{outcome:?}");
    let (gone, moved) = ("dog.safetensors", "dog_000000010.safetensors");
    std::fs::remove_file(folder.join(gone)).unwrap();
    std::fs::rename(folder.join(moved), folder.join("mine.safetensors")).unwrap();
    let outcome = from_bucket(&rig, dir.path(), &comfy).once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.withdrawn), (0, 2), "{outcome:?}");
    let anew = Arc::new(comfy_ui(dir.path(), None).placing_anew());
    let outcome = from_bucket(&rig, dir.path(), &anew).once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.withdrawn), (2, 0), "{outcome:?}");
    for name in [gone, moved] {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), objects[name].bytes, "{name}");
    }
    assert!(folder.join("mine.safetensors").exists(), "what its owner made of it stays");
    // It is asked for once: the next look fetches nothing.
    let read = rig.shelf.read.load(Ordering::Relaxed);
    let outcome = from_bucket(&rig, dir.path(), &comfy).once(Patience::Act).await.unwrap();
    assert_eq!((outcome.placed, outcome.there), (0, 2), "{outcome:?}");
    let read = rig.shelf.read.load(Ordering::Relaxed) - read;
    assert!(read < objects[gone].bytes.len() as u64, "{read} bytes");
}
