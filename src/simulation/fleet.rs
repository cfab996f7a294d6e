//! Fleets of five jobs in virtual time: one process or two on the same folders, ended by signals, kills and power cuts; what
//! is promised for each folder is checked after each life, and at last everything that can be had must be there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use tokio::time::Instant;

use crate::decide::fleet::again::worse;
use crate::decide::fleet::job_list;
use crate::decide::fleet::template::Template;
use crate::engine::event::Event;
use crate::engine::fleet::api_toll::ApiToll;
use crate::engine::fleet::source::Source;
use crate::engine::fleet::{Endings, Fleet, Listener, News, Start};
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::stop::Stop;
use crate::engine::transfer::share::Budget;
use crate::error::ExitStatus;
use crate::model::destination::Destination;
use crate::model::job::{JobId, JobStatus};
use crate::simulator::{Fault, JobPlan, What};

use super::disk::Crash;
use super::oracle::Published;
use super::stage::{self, Clients, End, Stage};
use super::universe::{Mishap, Universe};
use super::wire::Line;

const JOBS: u64 = 5;

/// Requests a second that each process may send.
const API_RATE: f64 = 4.0;

/// Plays a universe; the error names what was broken.
pub(super) fn play(seed: u64, printed: bool) -> Result<(), String> {
    stage::play(seed, async { Story::begin(seed, printed)?.play().await })
}

/// Files that were published, by job.
type ByJob = Arc<Mutex<BTreeMap<JobId, Published>>>;

struct Heard {
    published: ByJob,
    printed: bool,
    began: Instant,
}

impl Listener for Heard {
    fn event(&self, job: &JobId, event: &Event) {
        if self.printed && !matches!(event, Event::Received { .. }) {
            println!("{:9.3} {job} {event:?}", self.began.elapsed().as_secs_f64());
        }
        if let Event::Published { path, sha256, .. } = event {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            published.entry(job.clone()).or_default().push((path.to_string(), *sha256));
        }
    }

    fn news(&self, news: &News) {
        if self.printed {
            println!("{:9.3} {news:?}", self.began.elapsed().as_secs_f64());
        }
    }
}

struct Story {
    stage: Stage,
    jobs: Vec<JobId>,
    published: ByJob,
    printed: bool,
}

impl Story {
    fn begin(seed: u64, printed: bool) -> Result<Self, String> {
        let mut stage = Stage::new(seed, "loras", |_, _| Ok(()))?;
        // Jobs of one name would share their files on the host.
        let plan = |number: u64, random: &mut Rng| {
            let plan = Universe::new(seed, random).plan;
            JobPlan { name: format!("{} {number}", plan.name), ..plan }
        };
        let mut jobs = Vec::new();
        for number in 0..JOBS {
            jobs.push(stage.world.add_job(plan(number, &mut stage.random)));
        }
        Ok(Self { stage, jobs, published: Arc::default(), printed })
    }

    async fn play(mut self) -> Result<(), String> {
        for _ in 0..self.stage.universe.lives.min(3) {
            let twins = self.stage.universe.twins;
            let end = match self.stage.random.u32(..8) {
                0 | 1 => End::Natural,
                2 | 3 => End::Signal(Duration::from_millis(self.stage.random.u64(..60_000))),
                4 | 5 => End::Crash(Crash::Kill, self.stage.random.u64(..500)),
                _ => End::Crash(Crash::PowerCut, self.stage.random.u64(..500)),
            };
            let once = self.stage.random.bool();
            Box::pin(self.live(once, twins, end)).await?;
        }
        self.come_to_rest().await
    }

    async fn live(&mut self, once: bool, twins: bool, end: End) -> Result<Option<ExitStatus>, String> {
        let options = self.stage.universe.options(once, &mut self.stage.random);
        let timeout = Duration::from_secs(self.stage.random.u64(10..180));
        self.stage.begin_life(end);
        let before = Instant::now();
        let stop = Stop::new();
        let (one, to_api) = self.fleet(&options, timeout, &stop)?;
        let (other, to_api_too) = self.fleet(&options, timeout, &stop)?;
        let delay = Duration::from_millis(self.stage.random.u64(..20_000));
        let second = async {
            if twins {
                tokio::time::sleep(delay).await;
                let _ = other.run().await;
            }
        };
        let both = Box::pin(async { tokio::join!(one.run(), second).0 });
        let disk = self.stage.disk.clone();
        let signal = (end, &stop, ExitStatus::Terminated);
        let outcome = stage::live(&disk, both, signal, self.let_time_pass()).await?;
        for line in [to_api, to_api_too] {
            let (asked, seconds) = (line.carried.load(Ordering::Relaxed), before.elapsed().as_secs());
            if asked > seconds * 4 + 5 {
                return Err(format!("I8: {asked} requests to the API in {seconds} s"));
            }
        }
        let exit = match self.stage.end_life(outcome, end)? {
            Some(endings) => Some(worst(endings.map_err(|error| error.to_string())?, end, self.jobs.len())?),
            None => None,
        };
        self.stage.note_end(twins, exit);
        self.check_each()?;
        Ok(exit)
    }

    /// A process that follows all jobs, and its line to the API.
    fn fleet(
        &mut self,
        options: &SyncOptions,
        timeout: Duration,
        stop: &Stop,
    ) -> Result<(Fleet<()>, Arc<Line>), String> {
        let Clients { api, hosts, lines: [to_api, _] } = self.stage.clients(options.stall_timeout)?;
        let api = api.through(Arc::new(ApiToll::new(API_RATE)));
        let (options, for_jobs) = (options.clone(), api.clone());
        let fleet = Fleet {
            api,
            hosts,
            source: Source::Text(self.jobs.iter().map(|job| format!("{job}\n")).collect()),
            read_list: Box::new(|text| {
                let id = |text: &str| text.parse().map_err(|error| format!("{error}"));
                job_list::parse(text, id, |_| Ok(()))
            }),
            to: self.template(),
            budget: Budget {
                connections: self.stage.random.usize(1..6),
                jobs: self.stage.random.bool().then(|| self.stage.random.usize(1..4)),
                limit_rate: None,
            },
            once: options.once,
            timeout: Some(timeout),
            launch: Box::new(move |start: Start<()>| {
                let options = SyncOptions { connections: None, timeout: start.timeout, ..options.clone() };
                let (api, job) = (for_jobs.clone(), start.job.job.clone());
                let fleet = Some(start.membership);
                let Destination::Folder(dir) = start.to else { panic!("no folder") };
                let mirror = Mirror { api, job, dir, options, followers: Vec::new(), fleet };
                mirror.run(start.reporter, start.stop).boxed()
            }),
            sharing: None,
            page: None,
            listener: Arc::new(Heard {
                published: self.published.clone(),
                printed: self.printed,
                began: self.stage.began,
            }),
            stop: stop.clone(),
        };
        Ok((fleet, to_api))
    }

    async fn let_time_pass(&mut self) {
        loop {
            tokio::time::sleep(self.stage.universe.step).await;
            self.stage.world.tick();
            for job in self.jobs.clone() {
                let stopped = self.stage.world.status(&job) == JobStatus::Stopped;
                if self.stage.mishaps
                    && stopped
                    && self.stage.random.u32(..20) == 0
                    && self.stage.world.step(&job) < 10
                {
                    self.stage.world.resume(&job);
                }
            }
            if self.stage.mishaps && self.stage.random.u32(..4) == 0 {
                match Mishap::new(&mut self.stage.random) {
                    Mishap::Fault(fault) => self.stage.world.fault(fault),
                    Mishap::Outage(times) => {
                        let storm = if self.stage.random.bool() {
                            What::retry_after(429, "2")
                        } else {
                            What::status(502)
                        };
                        self.stage.world.fault(Fault::once("/jobs/", storm).times(times * 3));
                    }
                    Mishap::Expiry => self.stage.world.expire_links(),
                    Mishap::Preemption => {
                        let job = &self.jobs[self.stage.random.usize(..self.jobs.len())];
                        if self.stage.world.status(job) == JobStatus::Running {
                            self.stage.world.preempt(job);
                        }
                    }
                    Mishap::EmptyList(_) | Mishap::Replica { .. } => {}
                }
            }
        }
    }

    async fn come_to_rest(mut self) -> Result<(), String> {
        self.stage.rest();
        self.jobs.iter().for_each(|job| self.stage.world.finish(job));
        let unfinished = self.jobs.iter().any(|job| self.stage.is_unfinished(job));
        stage::passes_at_rest(unfinished, async || Box::pin(self.live(true, false, End::Natural)).await)
            .await?;
        self.jobs.iter().try_for_each(|job| self.stage.everything_is_here(job, &self.dir(job)))
    }

    fn check_each(&self) -> Result<(), String> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for job in &self.jobs {
            let dir = self.dir(job);
            if !dir.exists() {
                continue;
            }
            let oracle = self.stage.oracle(job, &dir, false);
            let own = published.get(job).cloned().unwrap_or_default();
            oracle.at_any_instant(&own).map_err(|broken| format!("{job}: {broken}"))?;
        }
        Ok(())
    }

    fn template(&self) -> Template {
        let to = self.stage.root.path().join("loras").join("{id}");
        to.to_string_lossy().parse().unwrap()
    }

    fn dir(&self, job: &JobId) -> PathBuf {
        match self.template().fill(job, None).unwrap() {
            Destination::Folder(dir) => dir,
            Destination::Bucket(bucket) => panic!("{bucket}"),
        }
    }
}

/// Every job has an end; after a signal, that of the signal or an earlier one.
fn worst(endings: Endings, end: End, jobs: usize) -> Result<ExitStatus, String> {
    if endings.len() != jobs {
        return Err(format!("{} of {jobs} jobs have an end", endings.len()));
    }
    let stopped = endings.values().any(|exit| *exit == ExitStatus::Interrupted);
    if stopped
        || (endings.values().any(|exit| *exit == ExitStatus::Terminated) && !matches!(end, End::Signal(_)))
    {
        return Err(format!("nothing stopped it: {endings:?}"));
    }
    Ok(endings.into_values().fold(ExitStatus::Complete, worse))
}
