//! Fleets of five jobs in virtual time: one process or two on the same folders, ended by signals, kills and power cuts; what
//! is promised for each folder is checked after each life, and at last everything that can be had must be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use tokio::time::Instant;

use crate::decide::fleet::again::worse;
use crate::decide::fleet::job_list;
use crate::decide::fleet::template::Template;
use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::system::trace;
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
use crate::simulator::{Fault, JobPlan, Offered, Origin, Simulator, What};

use super::disk::{Crash, Disk};
use super::life::{BETWEEN_PASSES, LONGEST_LIFE, PASSES_TO_REST, hosts, no_task_left, scratch};
use super::oracle::{Oracle, Published, bare, snapshot};
use super::universe::{Locks, Mishap, Universe};
use super::wire::Line;

const JOBS: u64 = 5;

/// Requests a second that each process may send.
const API_RATE: f64 = 4.0;

/// Plays a universe; the error names what was broken.
pub(super) fn play(seed: u64, printed: bool) -> Result<(), String> {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(async { Story::begin(seed, printed)?.tell().await })
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Natural,
    Signal(Duration),
    Crash(Crash, u64),
}

struct Story {
    universe: Universe,
    random: Rng,
    world: Arc<Simulator>,
    jobs: Vec<JobId>,
    root: tempfile::TempDir,
    disk: Rc<Disk>,
    published: ByJob,
    began: Instant,
    printed: bool,
    mishaps: bool,
    doubled: bool,
    ever_doubled: bool,
}

impl Story {
    fn begin(seed: u64, printed: bool) -> Result<Self, String> {
        let mut random = Rng::with_seed(seed);
        let universe = Universe::new(seed, &mut random);
        let root = scratch().map_err(|error| error.to_string())?;
        let dir = root.path().join("loras");
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let world = Arc::new(Simulator::unconnected(universe.config.clone()));
        // Jobs of one name would share their files on the host.
        let plan = |number: u64, random: &mut Rng| {
            let plan = Universe::new(seed, random).plan;
            JobPlan { name: format!("{} {number}", plan.name), ..plan }
        };
        let jobs = (0..JOBS).map(|number| world.add_job(plan(number, &mut random))).collect();
        let disk = Disk::new(&dir, universe.file_system, universe.locks);
        Ok(Self {
            universe,
            random,
            world,
            jobs,
            root,
            disk,
            published: Arc::default(),
            began: Instant::now(),
            printed,
            mishaps: true,
            doubled: false,
            ever_doubled: false,
        })
    }

    async fn tell(mut self) -> Result<(), String> {
        for _ in 0..self.universe.lives.min(3) {
            let twins = self.universe.twins;
            let end = match self.random.u32(..8) {
                0 | 1 => End::Natural,
                2 | 3 => End::Signal(Duration::from_millis(self.random.u64(..60_000))),
                4 | 5 => End::Crash(Crash::Kill, self.random.u64(..500)),
                _ => End::Crash(Crash::PowerCut, self.random.u64(..500)),
            };
            let once = self.random.bool();
            self.live(once, twins, end).await?;
        }
        self.come_to_rest().await
    }

    async fn live(&mut self, once: bool, twins: bool, end: End) -> Result<Option<ExitStatus>, String> {
        let options = self.universe.options(once, &mut self.random);
        let timeout = Duration::from_secs(self.random.u64(10..180));
        self.disk.die_before(match end {
            End::Crash(_, change) => Some(change),
            End::Natural | End::Signal(_) => None,
        });
        let before = Instant::now();
        let stop = Stop::new();
        let (one, to_api) = self.fleet(&options, timeout, &stop)?;
        let (other, to_api_too) = self.fleet(&options, timeout, &stop)?;
        let delay = Duration::from_millis(self.random.u64(..20_000));
        let second = async {
            if twins {
                tokio::time::sleep(delay).await;
                let _ = other.run().await;
            }
        };
        let both = async { tokio::join!(one.run(), second).0 };
        let disk = self.disk.clone();
        trace::call(disk.clone());
        let outcome = {
            let signal = async {
                if let End::Signal(after) = end {
                    tokio::time::sleep(after).await;
                    stop.stop(ExitStatus::Terminated);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = disk.died() => None,
                outcome = both => Some(outcome),
                () = signal => None,
                _ = tokio::time::timeout(LONGEST_LIFE, self.let_time_pass()) => None,
            }
        };
        let hung = outcome.is_none() && !disk.is_dead();
        let outcome = outcome.filter(|_| !disk.is_dead());
        let ended = no_task_left().await;
        trace::dismiss();
        ended?;
        if hung {
            return Err(format!("it went on for {LONGEST_LIFE:?}"));
        }
        for line in [to_api, to_api_too] {
            let (asked, seconds) = (line.carried.load(Ordering::Relaxed), before.elapsed().as_secs());
            if asked > seconds * 4 + 5 {
                return Err(format!("I8: {asked} requests to the API in {seconds} s"));
            }
        }
        let exit = match (outcome, end) {
            (None, End::Crash(crash, _)) => {
                self.disk = self.disk.after(crash, &mut self.random);
                None
            }
            (None, _) => return Err("the disk died of itself".to_owned()),
            (Some(endings), _) => {
                self.disk.assert_all_was_seen();
                Some(worst(endings.map_err(|error| error.to_string())?, end, self.jobs.len())?)
            }
        };
        if twins {
            self.doubled |= self.universe.locks == Locks::AreGranted;
            self.ever_doubled |= self.doubled;
        } else if exit == Some(ExitStatus::Complete) {
            self.doubled = false;
        }
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
        let line = |origin, random: &mut Rng| {
            Line::new(self.world.clone(), origin, options.stall_timeout, random.u64(..))
        };
        let to_api = line(Origin::Api, &mut self.random);
        let to_hosts = line(Origin::Artifacts, &mut self.random);
        let base = self.world.api_base().parse().map_err(|error| format!("{error}"))?;
        let api = ApiClient::new(base, TokenSource::fixed(super::TOKEN), Limits::default());
        let api = api.map_err(|error| error.to_string())?.over(to_api.clone());
        let api = api.through(Arc::new(ApiToll::new(API_RATE)));
        let (options, for_jobs) = (options.clone(), api.clone());
        let fleet = Fleet {
            api,
            hosts: hosts(options.stall_timeout)?.over(to_hosts),
            source: Source::Text(self.jobs.iter().map(|job| format!("{job}\n")).collect()),
            read_list: Box::new(|text| {
                let id = |text: &str| text.parse().map_err(|error| format!("{error}"));
                job_list::parse(text, id, |_| Ok(())).map_err(|faults| faults.to_string())
            }),
            to: self.template(),
            budget: Budget {
                connections: self.random.usize(1..6),
                jobs: self.random.bool().then(|| self.random.usize(1..4)),
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
                began: self.began,
            }),
            stop: stop.clone(),
        };
        Ok((fleet, to_api))
    }

    async fn let_time_pass(&mut self) {
        loop {
            tokio::time::sleep(self.universe.step).await;
            self.world.tick();
            for job in self.jobs.clone() {
                let stopped = self.world.status(&job) == JobStatus::Stopped;
                if self.mishaps && stopped && self.random.u32(..20) == 0 && self.world.step(&job) < 10 {
                    self.world.resume(&job);
                }
            }
            if self.mishaps && self.random.u32(..4) == 0 {
                match Mishap::new(&mut self.random) {
                    Mishap::Fault(fault) => self.world.fault(fault),
                    Mishap::Outage(times) => {
                        let storm =
                            if self.random.bool() { What::retry_after(429, "2") } else { What::status(502) };
                        self.world.fault(Fault::once("/jobs/", storm).times(times * 3));
                    }
                    Mishap::Expiry => self.world.expire_links(),
                    Mishap::Preemption => {
                        let job = &self.jobs[self.random.usize(..self.jobs.len())];
                        if self.world.status(job) == JobStatus::Running {
                            self.world.preempt(job);
                        }
                    }
                    Mishap::EmptyList(_) | Mishap::Replica { .. } => {}
                }
            }
        }
    }

    async fn come_to_rest(mut self) -> Result<(), String> {
        self.mishaps = false;
        self.world.clear_faults();
        self.world.set_host(|host| host.link_lifetime = None);
        self.jobs.iter().for_each(|job| self.world.finish(job));
        let is_whole = |offered: Offered| matches!(offered, Offered::Whole(_));
        let unfinished = self.jobs.iter().any(|job| !self.world.offered(job).into_values().all(is_whole));
        for pass in 1.. {
            let exit = self.live(true, false, End::Natural).await?;
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
        self.jobs.iter().try_for_each(|job| self.everything_is_here(job))
    }

    fn everything_is_here(&self, job: &JobId) -> Result<(), String> {
        let dir = self.dir(job);
        let name = |path: &Path| bare(&path.strip_prefix(&dir).unwrap_or(path).to_string_lossy());
        let here: Vec<(String, String)> =
            snapshot(&dir).into_iter().map(|(path, (sha256, _))| (name(&path), sha256)).collect();
        for (path, offered) in self.world.offered(job) {
            let Offered::Whole(sha256) = offered else { continue };
            if !here.contains(&(path.clone(), sha256.to_string())) {
                return Err(format!("I2: `{path}` of {job} can be had and is not here"));
            }
        }
        Ok(())
    }

    fn check_each(&self) -> Result<(), String> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for job in &self.jobs {
            let dir = self.dir(job);
            if !dir.exists() {
                continue;
            }
            let oracle = Oracle {
                world: &self.world,
                job,
                dir: &dir,
                on_change: self.universe.on_change,
                foreign_files: false,
                doubled: self.doubled,
                ever_doubled: self.ever_doubled,
            };
            let own = published.get(job).cloned().unwrap_or_default();
            oracle.at_any_instant(&own).map_err(|broken| format!("{job}: {broken}"))?;
        }
        Ok(())
    }

    fn template(&self) -> Template {
        let to = self.root.path().join("loras").join("{id}");
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
