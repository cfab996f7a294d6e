//! One universe from its first to its last day: lives of the mirror, what ends them, and the rest at the end.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::trace;
use crate::engine::event::{Event, Reporter};
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::stop::Stop;
use crate::error::{Error, ExitStatus};
use crate::model::digest::Sha256Digest;
use crate::model::job::{JobId, JobStatus};
use crate::simulator::{Fault, Offered, Origin, Simulator, What};

use super::disk::{Crash, Disk, walk};
use super::oracle::{FOREIGN, Oracle, Published, bare, foreign, snapshot};
use super::universe::{Locks, Mishap, Universe};
use super::wire::Line;

/// After the world has come to rest, so many passes must fetch everything.
pub(super) const PASSES_TO_REST: u32 = 8;

/// No life is longer: options and the world's own end see to that.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(1800);

/// Between two of them: longer than anything waits for its next try.
pub(super) const BETWEEN_PASSES: Duration = Duration::from_secs(90);

/// What happened, line by line.
#[derive(Debug, Clone)]
pub(super) enum Trace {
    /// It is not recorded.
    Untold,
    /// It is printed.
    Printed,
    /// It is kept.
    Kept(Arc<Mutex<Vec<String>>>),
}

impl Trace {
    fn is_told(&self) -> bool {
        !matches!(self, Self::Untold)
    }

    fn tell(&self, began: Instant, what: &str) {
        let line = format!("{:9.3} {what}", began.elapsed().as_secs_f64());
        match self {
            Self::Untold => {}
            Self::Printed => println!("{line}"),
            Self::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(line),
        }
    }
}

/// Plays a universe; the error says what was broken.
pub(super) fn play(seed: u64, trace: Trace) -> Result<(), String> {
    // Names of parts and waits after faults are drawn from the thread's own numbers.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(async { Story::begin(seed, trace)?.tell().await })
}

/// How a life is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// When the mirror says so.
    Natural,
    /// By a signal, after so long.
    Signal(Duration),
    /// Before the change of the disk of this number.
    Crash(Crash, u64),
}

/// One mirror that is about to run.
struct Player {
    mirror: Mirror,
    hosts: ArtifactClient,
    lines: [Arc<Line>; 2],
}

struct Story {
    universe: Universe,
    random: Rng,
    world: Arc<Simulator>,
    job: JobId,
    root: tempfile::TempDir,
    disk: Rc<Disk>,
    published: Arc<Mutex<Published>>,
    began: Instant,
    mishaps: bool,
    /// Whether this life is two mirrors side by side.
    twins: bool,
    /// Whether two of them worked at once, and no single one has come to its end since.
    doubled: bool,
    /// Whether two of them ever did: what they took for an edit of the other's stays beside the files.
    ever_doubled: bool,
    requests_told: usize,
    trace: Trace,
}

impl Story {
    fn begin(seed: u64, trace: Trace) -> Result<Self, String> {
        let mut random = Rng::with_seed(seed);
        let universe = Universe::new(seed, &mut random);
        let root = scratch().map_err(|error| error.to_string())?;
        let dir = root.path().join("out");
        let write = |path: PathBuf, bytes: &[u8]| {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(path, bytes)
        };
        write(root.path().join("beside.txt"), b"beside").map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        for name in FOREIGN.iter().filter(|_| universe.foreign_files) {
            write(dir.join(name), &foreign(name)).map_err(|error| error.to_string())?;
        }
        let world = Arc::new(Simulator::unconnected(universe.config.clone()));
        let job = world.add_job(universe.plan.clone());
        let disk = Disk::new(&dir, universe.file_system, universe.locks);
        let story = Self {
            random,
            world,
            job,
            root,
            disk,
            published: Arc::default(),
            began: Instant::now(),
            mishaps: true,
            twins: false,
            doubled: false,
            ever_doubled: false,
            requests_told: 0,
            trace,
            universe,
        };
        story.say(|| format!("{:#?}", story.universe));
        Ok(story)
    }

    async fn tell(mut self) -> Result<(), String> {
        for _ in 0..self.universe.lives {
            let gap = Duration::from_millis(self.random.u64(..40_000));
            let _ = tokio::time::timeout(gap, self.let_time_pass()).await;
            let once = self.random.bool();
            self.twins = self.universe.twins && self.random.bool();
            let end = match self.random.u32(..8) {
                0 | 1 => End::Natural,
                2 => End::Signal(Duration::from_millis(self.random.u64(..60_000))),
                3 | 4 => End::Crash(Crash::Kill, self.random.u64(..120)),
                _ => End::Crash(Crash::PowerCut, self.random.u64(..120)),
            };
            let mut options = self.universe.options(once, &mut self.random);
            options.timeout = Some(Duration::from_secs(self.random.u64(10..180)));
            self.live(options, end).await?;
        }
        self.come_to_rest().await
    }

    /// One life of the mirror and what it leaves.
    async fn live(&mut self, options: SyncOptions, end: End) -> Result<Option<ExitStatus>, String> {
        self.say(|| format!("a life: {end:?}, {options:?}"));
        self.disk.die_before(match end {
            End::Crash(_, change) => Some(change),
            End::Natural | End::Signal(_) => None,
        });
        let before = Instant::now();
        let (outcome, asked) = self.run(options, end).await?;
        self.say(|| format!("it ended: {outcome:?}"));
        let mut exit = None;
        match (outcome, end) {
            (None, End::Crash(crash, _)) => self.disk = self.disk.after(crash, &mut self.random),
            (None, _) => return Err("the disk died of itself".to_owned()),
            (Some(ended), _) => {
                self.disk.assert_all_was_seen();
                exit = ended.ok();
                // The power may go long after the end, too.
                if self.random.u32(..3) == 0 {
                    self.say(|| "the power goes after the end".to_owned());
                    self.disk = self.disk.after(Crash::PowerCut, &mut self.random);
                }
            }
        }
        if self.twins {
            self.doubled |= self.universe.locks == Locks::AreGranted;
            self.ever_doubled |= self.doubled;
        } else if exit == Some(ExitStatus::Complete) {
            self.doubled = false;
        }
        self.asked_little(asked, before.elapsed())?;
        self.oracle().at_any_instant(&self.published())?;
        Ok(exit)
    }

    /// Runs the mirror until it ends or the disk dies; `None` for that. Tells how often API and hosts were asked, too.
    async fn run(
        &mut self,
        options: SyncOptions,
        end: End,
    ) -> Result<(Option<Result<ExitStatus, Error>>, [u64; 2]), String> {
        let one = self.player(&options)?;
        let delay = Duration::from_millis(self.random.u64(..20_000));
        let twin = if self.twins { Some(self.player(&options)?) } else { None };
        let lines: Vec<[Arc<Line>; 2]> =
            [Some(&one), twin.as_ref()].into_iter().flatten().map(|player| player.lines.clone()).collect();
        let stop = Stop::new();
        let (reporter, for_second) = (self.reporter(), self.reporter());
        let first = one.mirror.run_with(one.hosts, reporter, stop.clone());
        let second = async {
            let twin = twin?;
            tokio::time::sleep(delay).await;
            Some(twin.mirror.run_with(twin.hosts, for_second, stop.clone()).await)
        };
        let both = async { tokio::join!(first, second) };
        let disk = self.disk.clone();
        if self.trace.is_told() {
            disk.trace();
        }
        trace::call(disk.clone());
        let outcome = {
            let signal = async {
                match end {
                    End::Signal(after) => {
                        tokio::time::sleep(after).await;
                        stop.stop(ExitStatus::Interrupted);
                        std::future::pending::<()>().await;
                    }
                    End::Natural | End::Crash(..) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = disk.died() => None,
                outcomes = both => Some(outcomes),
                () = signal => None,
                _ = tokio::time::timeout(LONGEST_LIFE, self.let_time_pass()) => None,
            }
        };
        let hung = outcome.is_none() && !disk.is_dead();
        // A mirror that met a dead disk and said so was dead itself.
        let outcome = outcome.filter(|_| !disk.is_dead());
        for request in self.world.requests().iter().skip(self.requests_told) {
            self.requests_told += 1;
            self.say(|| {
                let headers =
                    request.headers.iter().filter(|(name, _)| name.starts_with("if-") || name == "range");
                let headers: Vec<_> = headers.collect();
                format!(
                    "asked {} {headers:?}: {} and {} bytes",
                    request.path, request.status, request.body_bytes
                )
            });
        }
        let ended = no_task_left().await;
        trace::dismiss();
        ended?;
        if hung {
            return Err(format!("it went on for {LONGEST_LIFE:?}"));
        }
        let count =
            |lines: &[Arc<Line>; 2]| lines.each_ref().map(|line| line.carried.load(Ordering::Relaxed));
        let asked = lines.iter().map(count).fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
        let Some((outcome, second)) = outcome else { return Ok((None, asked)) };
        if let Some(second) = second {
            self.say(|| format!("the other one ended: {second:?}"));
            if self.universe.locks == Locks::Work && lines[0][1].overlaps(&lines[1][1]) {
                return Err(format!("the lock let a second mirror in: {second:?}"));
            }
        }
        Ok((Some(outcome), asked))
    }

    /// A mirror with its lines into the world.
    fn player(&mut self, options: &SyncOptions) -> Result<Player, String> {
        let line = |origin, random: &mut Rng| {
            Line::new(self.world.clone(), origin, options.stall_timeout, random.u64(..))
        };
        let to_api = line(Origin::Api, &mut self.random);
        let to_hosts = line(Origin::Artifacts, &mut self.random);
        let base = self.world.api_base().parse().map_err(|error| format!("{error}"))?;
        let api = ApiClient::new(base, TokenSource::fixed(super::TOKEN), Limits::default());
        let api = api.map_err(|error| error.to_string())?.over(to_api.clone());
        let hosts = hosts(options.stall_timeout)?.over(to_hosts.clone());
        let (job, dir, options) = (self.job.clone(), self.dir(), options.clone());
        let mirror = Mirror { api, job, dir, options, followers: Vec::new(), fleet: None };
        Ok(Player { mirror, hosts, lines: [to_api, to_hosts] })
    }

    /// Time passes in the world, with its mishaps until it comes to rest.
    async fn let_time_pass(&mut self) {
        loop {
            tokio::time::sleep(self.universe.step).await;
            self.world.tick();
            let stopped = self.world.status(&self.job) == JobStatus::Stopped;
            let early = self.world.step(&self.job) < self.universe.plan.steps;
            if self.mishaps && stopped && early && self.random.u32(..12) == 0 {
                self.say(|| "the job is resumed".to_owned());
                self.world.resume(&self.job);
            }
            if self.mishaps && self.random.u32(..6) == 0 {
                let mishap = Mishap::new(&mut self.random);
                self.say(|| format!("mishap: {mishap:?}"));
                self.befall(mishap);
            }
        }
    }

    fn befall(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::Replica { breaks_after, answers } => {
                let hosted = self.world.hosted(&self.job);
                let published = self.published();
                let is_new = |path: &&String| published.iter().all(|(known, _)| known != *path);
                let new: Vec<&String> =
                    hosted.iter().filter(|path| path.ends_with(".safetensors")).filter(is_new).collect();
                // The name up to the job's own may be encoded; what follows it is not.
                let Some(name) = new.get(self.random.usize(..new.len().max(1))) else { return };
                let place = &name[name.rfind('_').unwrap_or_else(|| name.rfind('.').unwrap_or(0))..];
                self.world.fault(Fault::once(place, What::Cut(breaks_after)));
                self.world.fault(Fault::once(place, What::OtherBytes).times(answers));
            }
            Mishap::Fault(fault) => self.world.fault(fault),
            Mishap::Outage(times) => self.world.fault(Fault::once("/jobs/", What::status(502)).times(times)),
            Mishap::Expiry => self.world.expire_links(),
            Mishap::Preemption => {
                if self.world.status(&self.job) == JobStatus::Running {
                    self.world.preempt(&self.job);
                }
            }
            Mishap::EmptyList(times) => {
                let empty = format!(
                    r#"{{"id":"{}","name":"{}","status":"{}","artifacts":{{"checkpoints":[],"samples":[]}}}}"#,
                    self.job,
                    self.universe.plan.name,
                    self.world.status(&self.job)
                );
                self.world.fault(Fault::once("/result", What::json(200, empty)).times(times));
            }
        }
    }

    /// The world comes to rest: what can be had must come, and then nothing more happens.
    async fn come_to_rest(mut self) -> Result<(), String> {
        (self.mishaps, self.twins) = (false, false);
        self.world.clear_faults();
        self.world.set_host(|host| host.link_lifetime = None);
        if self.world.status(&self.job) == JobStatus::Stopped && self.random.bool() {
            self.world.resume(&self.job);
        }
        self.world.finish(&self.job);
        let offered = self.world.offered(&self.job);
        let unfinished = offered.values().any(|offered| !matches!(offered, Offered::Whole(_)));
        self.say(|| format!("rest: {offered:#?}"));
        for pass in 1.. {
            let options = self.universe.options(true, &mut self.random);
            let exit = self.live(options, End::Natural).await?;
            if exit == Some(ExitStatus::Complete) {
                break;
            }
            if pass == PASSES_TO_REST {
                if unfinished && exit == Some(ExitStatus::TryAgain) {
                    break;
                }
                return Err(format!("I2: after {pass} passes at rest the last one ended as {exit:?}"));
            }
            tokio::time::sleep(BETWEEN_PASSES).await;
        }
        self.everything_is_here()?;
        if unfinished {
            return Ok(());
        }
        self.nothing_more_happens().await
    }

    fn everything_is_here(&self) -> Result<(), String> {
        let dir = self.dir();
        let here: Vec<(String, String)> = snapshot(&dir)
            .into_iter()
            .map(|(path, (sha256, _))| {
                (bare(&path.strip_prefix(&dir).unwrap_or(&path).to_string_lossy()), sha256)
            })
            .collect();
        for (path, offered) in self.world.offered(&self.job) {
            let Offered::Whole(sha256) = offered else { continue };
            // A replica's version may have been published in its place; it is not asked about again within the same run.
            let is_here = |sha256: &Sha256Digest| here.contains(&(path.clone(), sha256.to_string()));
            let of_replica = |(other, sha256): &(String, Sha256Digest)| *other == path && is_here(sha256);
            if !is_here(&sha256) && !self.world.other_versions(&self.job).iter().any(of_replica) {
                return Err(format!("I2: `{path}` ({}) can be had and is not here", sha256.short()));
            }
        }
        Ok(())
    }

    async fn nothing_more_happens(&mut self) -> Result<(), String> {
        let dir = self.dir();
        // What a power cut did to time stamps is looked into once.
        self.disk.die_before(None);
        let options = self.universe.options(true, &mut self.random);
        self.run(options, End::Natural).await?;
        let parts = walk(&dir.join(".rcsync/parts"));
        if let Some(part) = parts.keys().next() {
            return Err(format!("`{}` is left at the end", part.display()));
        }
        let before = snapshot(&dir);
        let options = self.universe.options(true, &mut self.random);
        let (outcome, asked) = self.run(options, End::Natural).await?;
        if !matches!(outcome, Some(Ok(ExitStatus::Complete))) || asked != [2, 0] {
            return Err(format!("I5: an idle pass ended as {outcome:?} and asked API and hosts {asked:?}"));
        }
        let after = snapshot(&dir);
        let changed = after.iter().find(|(path, file)| before.get(*path) != Some(file));
        if let Some((path, _)) =
            changed.or_else(|| before.iter().find(|(path, _)| !after.contains_key(*path)))
        {
            return Err(format!("I5: an idle pass changed `{}`", path.display()));
        }
        let beside = walk(self.root.path()).into_keys().filter(|path| !path.starts_with(&dir)).count();
        if beside != 1 {
            return Err(format!("I6: {beside} files beside the folder"));
        }
        Ok(())
    }

    /// I8: requests stay within bounds, whatever goes wrong.
    fn asked_little(&self, [api, hosts]: [u64; 2], elapsed: Duration) -> Result<(), String> {
        let seconds = elapsed.as_secs();
        let files = self.world.truth(&self.job).len() as u64;
        let mirrors = 1 + u64::from(self.twins);
        let [api, hosts] = [api, hosts].map(|asked| asked / mirrors);
        let most = (20 + 2 * seconds, 40 * (files + 1) + 4 * seconds);
        if api > most.0 || hosts > most.1 {
            return Err(format!("I8: {api} and {hosts} requests in {seconds} s for {files} files"));
        }
        Ok(())
    }

    fn reporter(&self) -> Arc<dyn Reporter> {
        let (published, trace, began) = (self.published.clone(), self.trace.clone(), self.began);
        // The folder is another one each time; the story is not.
        let root = self.root.path().display().to_string();
        Arc::new(move |event: &Event| {
            if let Event::Published { path, sha256, .. } = event {
                let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
                published.push((path.to_string(), *sha256));
            }
            if trace.is_told() {
                trace.tell(began, &format!("{event:?}").replace(&root, ""));
            }
        })
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace.is_told() {
            for line in self.disk.journal() {
                self.trace.tell(self.began, &line);
            }
            self.trace.tell(self.began, &what());
        }
    }

    fn oracle(&self) -> Oracle<'_> {
        Oracle {
            world: &self.world,
            job: &self.job,
            dir: self.disk.root(),
            on_change: self.universe.on_change,
            foreign_files: self.universe.foreign_files,
            doubled: self.doubled,
            ever_doubled: self.ever_doubled,
        }
    }

    fn published(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("out")
    }
}

/// Waits until every task of a life has ended, as it would with its process.
pub(super) async fn no_task_left() -> Result<(), String> {
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..10_000 {
        if metrics.num_alive_tasks() == 0 {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err(format!("{} tasks are left after the end", metrics.num_alive_tasks()))
}

/// A client that was never used: making one reads every certificate of this machine.
pub(super) fn hosts(silence: Duration) -> Result<ArtifactClient, String> {
    static CLIENT: OnceLock<Result<ArtifactClient, String>> = OnceLock::new();
    CLIENT.get_or_init(|| ArtifactClient::new(true, silence).map_err(|error| error.to_string())).clone()
}

/// A folder in memory where there is one: nothing here must outlive the test, and flushes cost nothing there.
pub(super) fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())
}
