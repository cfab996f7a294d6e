//! One universe from its first to its last day: lives of the mirror, what ends them, and the rest at the end.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::edge::net::http::ArtifactClient;
use crate::engine::event::{Event, Reporter};
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::stop::Stop;
use crate::error::{Error, ExitStatus};
use crate::model::job::{JobId, JobStatus};
use crate::simulator::{Fault, What};

use super::disk::{Crash, walk};
use super::oracle::{FOREIGN, Published, foreign, snapshot};
use super::stage::{self, Clients, End, Stage};
use super::universe::{Locks, Mishap};
use super::wire::Line;

/// What happened, line by line.
#[derive(Debug, Clone)]
pub(super) enum Trace {
    /// It is not recorded.
    Silent,
    /// It is printed.
    Printed,
    /// It is kept.
    Kept(Arc<Mutex<Vec<String>>>),
}

impl Trace {
    fn is_kept(&self) -> bool {
        !matches!(self, Self::Silent)
    }

    fn write(&self, began: Instant, what: &str) {
        let line = format!("{:9.3} {what}", began.elapsed().as_secs_f64());
        match self {
            Self::Silent => {}
            Self::Printed => println!("{line}"),
            Self::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(line),
        }
    }
}

/// Plays a universe; the error names what was broken.
pub(super) fn play(seed: u64, trace: Trace) -> Result<(), String> {
    stage::play(seed, async { Story::begin(seed, trace)?.play().await })
}

/// One mirror that is about to run.
struct Player {
    mirror: Mirror,
    hosts: ArtifactClient,
    lines: [Arc<Line>; 2],
}

struct Story {
    stage: Stage,
    job: JobId,
    published: Arc<Mutex<Published>>,
    /// Whether this life is two mirrors side by side.
    twins: bool,
    requests_noted: usize,
    trace: Trace,
}

impl Story {
    fn begin(seed: u64, trace: Trace) -> Result<Self, String> {
        let stage = Stage::new(seed, "out", |universe, dir| {
            let beside = dir.parent().unwrap_or(dir).join("beside.txt");
            std::fs::write(beside, b"beside")?;
            for name in FOREIGN.iter().filter(|_| universe.foreign_files) {
                let path = dir.join(name);
                std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
                std::fs::write(path, foreign(name))?;
            }
            Ok(())
        })?;
        let job = stage.world.add_job(stage.universe.plan.clone());
        let story = Self { stage, job, published: Arc::default(), twins: false, requests_noted: 0, trace };
        story.note(|| format!("{:#?}", story.stage.universe));
        Ok(story)
    }

    async fn play(mut self) -> Result<(), String> {
        for _ in 0..self.stage.universe.lives {
            let gap = Duration::from_millis(self.stage.random.u64(..40_000));
            let _ = tokio::time::timeout(gap, self.let_time_pass()).await;
            let once = self.stage.random.bool();
            self.twins = self.stage.universe.twins && self.stage.random.bool();
            let end = match self.stage.random.u32(..8) {
                0 | 1 => End::Natural,
                2 => End::Signal(Duration::from_millis(self.stage.random.u64(..60_000))),
                3 | 4 => End::Crash(Crash::Kill, self.stage.random.u64(..120)),
                _ => End::Crash(Crash::PowerCut, self.stage.random.u64(..120)),
            };
            let mut options = self.stage.universe.options(once, &mut self.stage.random);
            options.timeout = Some(Duration::from_secs(self.stage.random.u64(10..180)));
            Box::pin(self.live(options, end)).await?;
        }
        self.come_to_rest().await
    }

    /// One life of the mirror and what it leaves.
    async fn live(&mut self, options: SyncOptions, end: End) -> Result<Option<ExitStatus>, String> {
        self.note(|| format!("a life: {end:?}, {options:?}"));
        self.stage.begin_life(end);
        let before = Instant::now();
        let (outcome, asked) = Box::pin(self.run(options, end)).await?;
        self.note(|| format!("it ended: {outcome:?}"));
        let ended = self.stage.end_life(outcome, end)?;
        // The power may go long after the end, too.
        if ended.is_some() && self.stage.random.u32(..3) == 0 {
            self.note(|| "the power goes after the end".to_owned());
            self.stage.disk = self.stage.disk.after(Crash::PowerCut, &mut self.stage.random);
        }
        let exit = ended.and_then(Result::ok);
        self.stage.note_end(self.twins, exit);
        self.asked_little(asked, before.elapsed())?;
        let oracle = self.stage.oracle(&self.job, self.stage.disk.root(), self.stage.universe.foreign_files);
        oracle.at_any_instant(&self.published())?;
        Ok(exit)
    }

    /// Runs the mirror until it ends or the disk dies; `None` for that. Returns how many requests API and hosts got, too.
    async fn run(
        &mut self,
        options: SyncOptions,
        end: End,
    ) -> Result<(Option<Result<ExitStatus, Error>>, [u64; 2]), String> {
        let one = self.player(&options)?;
        let delay = Duration::from_millis(self.stage.random.u64(..20_000));
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
        // Boxed, as a debug build moves futures about on the stack.
        let both = Box::pin(async { tokio::join!(first, second) });
        let disk = self.stage.disk.clone();
        if self.trace.is_kept() {
            disk.trace();
        }
        let end = (end, &stop, ExitStatus::Interrupted);
        let outcome = stage::live(&disk, both, end, self.let_time_pass()).await;
        for request in self.stage.world.requests().iter().skip(self.requests_noted) {
            self.requests_noted += 1;
            self.note(|| {
                let headers =
                    request.headers.iter().filter(|(name, _)| name.starts_with("if-") || name == "range");
                let headers: Vec<_> = headers.collect();
                format!(
                    "asked {} {headers:?}: {} and {} bytes",
                    request.path, request.status, request.body_bytes
                )
            });
        }
        let count =
            |lines: &[Arc<Line>; 2]| lines.each_ref().map(|line| line.carried.load(Ordering::Relaxed));
        let asked = lines.iter().map(count).fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
        let Some((outcome, second)) = outcome? else { return Ok((None, asked)) };
        if let Some(second) = second {
            self.note(|| format!("the other one ended: {second:?}"));
            if self.stage.universe.locks == Locks::Work && lines[0][1].overlaps(&lines[1][1]) {
                return Err(format!("the lock let a second mirror in: {second:?}"));
            }
        }
        Ok((Some(outcome), asked))
    }

    /// A mirror with its lines into the world.
    fn player(&mut self, options: &SyncOptions) -> Result<Player, String> {
        let Clients { api, hosts, lines } = self.stage.clients(options.stall_timeout)?;
        let (job, dir, options) = (self.job.clone(), self.dir(), options.clone());
        let mirror = Mirror { api, job, dir, options, followers: Vec::new(), fleet: None };
        Ok(Player { mirror, hosts, lines })
    }

    /// Time passes in the world, with its mishaps until it comes to rest.
    async fn let_time_pass(&mut self) {
        loop {
            tokio::time::sleep(self.stage.universe.step).await;
            self.stage.world.tick();
            let stopped = self.stage.world.status(&self.job) == JobStatus::Stopped;
            let early = self.stage.world.step(&self.job) < self.stage.universe.plan.steps;
            if self.stage.mishaps && stopped && early && self.stage.random.u32(..12) == 0 {
                self.note(|| "the job is resumed".to_owned());
                self.stage.world.resume(&self.job);
            }
            if self.stage.mishaps && self.stage.random.u32(..6) == 0 {
                let mishap = Mishap::new(&mut self.stage.random);
                self.note(|| format!("mishap: {mishap:?}"));
                self.befall(mishap);
            }
        }
    }

    fn befall(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::Replica { breaks_after, answers } => {
                let hosted = self.stage.world.hosted(&self.job);
                let published = self.published();
                let is_new = |path: &&String| published.iter().all(|(known, _)| known != *path);
                let new: Vec<&String> =
                    hosted.iter().filter(|path| path.ends_with(".safetensors")).filter(is_new).collect();
                // The name up to the job's own may be encoded; what follows it is not.
                let Some(name) = new.get(self.stage.random.usize(..new.len().max(1))) else { return };
                let place = &name[name.rfind('_').unwrap_or_else(|| name.rfind('.').unwrap_or(0))..];
                self.stage.world.fault(Fault::once(place, What::Cut(breaks_after)));
                self.stage.world.fault(Fault::once(place, What::OtherBytes).times(answers));
            }
            Mishap::Fault(fault) => self.stage.world.fault(fault),
            Mishap::Outage(times) => {
                self.stage.world.fault(Fault::once("/jobs/", What::status(502)).times(times))
            }
            Mishap::Expiry => self.stage.world.expire_links(),
            Mishap::Preemption => {
                if self.stage.world.status(&self.job) == JobStatus::Running {
                    self.stage.world.preempt(&self.job);
                }
            }
            Mishap::EmptyList(times) => {
                let empty = format!(
                    r#"{{"id":"{}","name":"{}","status":"{}","artifacts":{{"checkpoints":[],"samples":[]}}}}"#,
                    self.job,
                    self.stage.universe.plan.name,
                    self.stage.world.status(&self.job)
                );
                self.stage.world.fault(Fault::once("/result", What::json(200, empty)).times(times));
            }
        }
    }

    /// The world comes to rest: what can be had must come, and then nothing more happens.
    async fn come_to_rest(mut self) -> Result<(), String> {
        self.twins = false;
        self.stage.rest();
        if self.stage.world.status(&self.job) == JobStatus::Stopped && self.stage.random.bool() {
            self.stage.world.resume(&self.job);
        }
        self.stage.world.finish(&self.job);
        let unfinished = self.stage.is_unfinished(&self.job);
        self.note(|| format!("rest: {:#?}", self.stage.world.offered(&self.job)));
        stage::passes_at_rest(unfinished, async || {
            let options = self.stage.universe.options(true, &mut self.stage.random);
            Box::pin(self.live(options, End::Natural)).await
        })
        .await?;
        self.stage.everything_is_here(&self.job, &self.dir())?;
        if unfinished {
            return Ok(());
        }
        self.nothing_more_happens().await
    }

    async fn nothing_more_happens(&mut self) -> Result<(), String> {
        let dir = self.dir();
        // Time stamps that a power cut changed are checked against the host once; with few retries a pass may not get to it.
        self.stage.disk.die_before(None);
        stage::passes_at_rest(false, async || {
            let options = self.stage.universe.options(true, &mut self.stage.random);
            let (outcome, _) = Box::pin(self.run(options, End::Natural)).await?;
            Ok(outcome.and_then(Result::ok))
        })
        .await?;
        let parts = walk(&dir.join(".rcsync/parts"));
        if let Some(part) = parts.keys().next() {
            return Err(format!("`{}` is left at the end", part.display()));
        }
        let before = snapshot(&dir);
        let options = self.stage.universe.options(true, &mut self.stage.random);
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
        let beside = walk(self.stage.root.path()).into_keys().filter(|path| !path.starts_with(&dir)).count();
        if beside != 1 {
            return Err(format!("I6: {beside} files beside the folder"));
        }
        Ok(())
    }

    /// I8: requests stay within bounds, whatever goes wrong.
    fn asked_little(&self, [api, hosts]: [u64; 2], elapsed: Duration) -> Result<(), String> {
        let seconds = elapsed.as_secs();
        let files = self.stage.world.truth(&self.job).len() as u64;
        let mirrors = 1 + u64::from(self.twins);
        let [api, hosts] = [api, hosts].map(|asked| asked / mirrors);
        let most = (20 + 2 * seconds, 40 * (files + 1) + 4 * seconds);
        if api > most.0 || hosts > most.1 {
            return Err(format!("I8: {api} and {hosts} requests in {seconds} s for {files} files"));
        }
        Ok(())
    }

    fn reporter(&self) -> Arc<dyn Reporter> {
        let (published, trace, began) = (self.published.clone(), self.trace.clone(), self.stage.began);
        // The folder is another one each time; the story is not.
        let root = self.stage.root.path().display().to_string();
        Arc::new(move |event: &Event| {
            if let Event::Published { path, sha256, .. } = event {
                let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
                published.push((path.to_string(), *sha256));
            }
            if trace.is_kept() {
                trace.write(began, &format!("{event:?}").replace(&root, ""));
            }
        })
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.trace.is_kept() {
            for line in self.stage.disk.journal() {
                self.trace.write(self.stage.began, &line);
            }
            self.trace.write(self.stage.began, &what());
        }
    }

    fn published(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn dir(&self) -> PathBuf {
        self.stage.root.path().join("out")
    }
}
