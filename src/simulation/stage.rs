//! What the story of one mirror and that of a fleet have in common: the universe of a seed, its trainer and hosts, a folder on
//! a disk that can die, and how a life ends.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::trace;
use crate::engine::stop::Stop;
use crate::error::ExitStatus;
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::simulator::{Offered, Origin, Simulator};

use super::disk::{Crash, Disk};
use super::oracle::{Oracle, bare, snapshot};
use super::universe::{Locks, Universe};
use super::wire::Line;

/// No life is longer: options and the world's own end see to that.
const LONGEST_LIFE: Duration = Duration::from_secs(1800);

/// After the world has come to rest, so many passes must fetch everything.
const PASSES_TO_REST: u32 = 8;

/// Between two of them: longer than anything waits for its next try.
const BETWEEN_PASSES: Duration = Duration::from_secs(90);

/// Plays a story in virtual time, on this thread alone.
pub(super) fn play(seed: u64, story: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    // Names of parts and waits after faults are drawn from the thread's own numbers.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(story)
}

/// How a life is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Natural,
    /// By a signal, after so long.
    Signal(Duration),
    /// Before the change of the disk of this number.
    Crash(Crash, u64),
}

/// A story's world.
pub(super) struct Stage {
    pub(super) universe: Universe,
    pub(super) random: Rng,
    pub(super) world: Arc<Simulator>,
    pub(super) root: tempfile::TempDir,
    pub(super) disk: Rc<Disk>,
    pub(super) began: Instant,
    pub(super) mishaps: bool,
    /// Whether two processes worked on it at once, and no single one has come to its end since.
    doubled: bool,
    /// Whether two of them ever did: what they took for an edit of the other's stays beside the files.
    ever_doubled: bool,
}

/// The clients of one process, with their lines to API and hosts.
pub(super) struct Clients {
    pub(super) api: ApiClient,
    pub(super) hosts: ArtifactClient,
    pub(super) lines: [Arc<Line>; 2],
}

impl Stage {
    /// Makes the world of a seed, with a folder of this name, in which `prepare` may put files.
    pub(super) fn new(
        seed: u64,
        folder: &str,
        prepare: impl FnOnce(&Universe, &Path) -> std::io::Result<()>,
    ) -> Result<Self, String> {
        let mut random = Rng::with_seed(seed);
        let universe = Universe::new(seed, &mut random);
        let root = scratch().map_err(|error| error.to_string())?;
        let dir = root.path().join(folder);
        let prepared = std::fs::create_dir_all(&dir).and_then(|()| prepare(&universe, &dir));
        prepared.map_err(|error| error.to_string())?;
        Ok(Self {
            world: Arc::new(Simulator::unconnected(universe.config.clone())),
            disk: Disk::new(&dir, universe.file_system, universe.locks),
            universe,
            random,
            root,
            began: Instant::now(),
            mishaps: true,
            doubled: false,
            ever_doubled: false,
        })
    }

    /// Connects one process to the world.
    pub(super) fn clients(&mut self, silence: Duration) -> Result<Clients, String> {
        let line = |origin, random: &mut Rng| Line::new(self.world.clone(), origin, silence, random.u64(..));
        let to_api = line(Origin::Api, &mut self.random);
        let to_hosts = line(Origin::Artifacts, &mut self.random);
        let base = self.world.api_base().parse().map_err(|error| format!("{error}"))?;
        let api = ApiClient::new(base, TokenSource::fixed(super::TOKEN), Limits::default());
        let api = api.map_err(|error| error.to_string())?.over(to_api.clone());
        let hosts = hosts(silence)?.over(to_hosts.clone());
        Ok(Clients { api, hosts, lines: [to_api, to_hosts] })
    }

    /// Sets the disk up for a life.
    pub(super) fn begin_life(&self, end: End) {
        self.disk.die_before(match end {
            End::Crash(_, change) => Some(change),
            End::Natural | End::Signal(_) => None,
        });
    }

    /// Puts the folder back as the end of a life leaves it. Returns what the life came to; `None` where the disk died.
    pub(super) fn end_life<T>(&mut self, outcome: Option<T>, end: End) -> Result<Option<T>, String> {
        match (&outcome, end) {
            (None, End::Crash(crash, _)) => self.disk = self.disk.after(crash, &mut self.random),
            (None, _) => return Err("the disk died of itself".to_owned()),
            (Some(_), _) => self.disk.assert_all_was_seen(),
        }
        Ok(outcome)
    }

    /// Notes whether two processes worked at once, and how the life ended.
    pub(super) fn note_end(&mut self, twins: bool, exit: Option<ExitStatus>) {
        if twins {
            self.doubled |= self.universe.locks == Locks::AreGranted;
            self.ever_doubled |= self.doubled;
        } else if exit == Some(ExitStatus::Complete) {
            self.doubled = false;
        }
    }

    /// The world comes to rest: nothing goes wrong from here on.
    pub(super) fn rest(&mut self) {
        self.mishaps = false;
        self.world.clear_faults();
        self.world.set_host(|host| host.link_lifetime = None);
    }

    /// Whether the job offers a file that can never be had whole.
    pub(super) fn is_unfinished(&self, job: &JobId) -> bool {
        self.world.offered(job).values().any(|offered| !matches!(offered, Offered::Whole(_)))
    }

    /// Checks that everything of a job that can be had is in a folder.
    pub(super) fn everything_is_here(&self, job: &JobId, dir: &Path) -> Result<(), String> {
        let name = |path: PathBuf| bare(&path.strip_prefix(dir).unwrap_or(&path).to_string_lossy());
        let here: Vec<(String, String)> =
            snapshot(dir).into_iter().map(|(path, (sha256, _))| (name(path), sha256)).collect();
        for (path, offered) in self.world.offered(job) {
            let Offered::Whole(sha256) = offered else { continue };
            // A replica's version may have been published in its place; it is not asked about again within the same run.
            let is_here = |sha256: &Sha256Digest| here.contains(&(path.clone(), sha256.to_string()));
            let of_replica = |(other, sha256): &(String, Sha256Digest)| *other == path && is_here(sha256);
            if !is_here(&sha256) && !self.world.other_versions(job).iter().any(of_replica) {
                return Err(format!("I2: `{path}` ({}) of {job} can be had and is not here", sha256.short()));
            }
        }
        Ok(())
    }

    pub(super) fn oracle<'a>(&'a self, job: &'a JobId, dir: &'a Path, foreign_files: bool) -> Oracle<'a> {
        Oracle {
            world: &self.world,
            job,
            dir,
            on_change: self.universe.on_change,
            foreign_files,
            doubled: self.doubled,
            ever_doubled: self.ever_doubled,
        }
    }
}

/// Runs a process until it ends or the disk dies; `None` for that. Meanwhile `time` passes in the world.
pub(super) async fn live<T>(
    disk: &Rc<Disk>,
    process: impl Future<Output = T>,
    end: (End, &Stop, ExitStatus),
    time: impl Future<Output = ()>,
) -> Result<Option<T>, String> {
    let (end, stop, status) = end;
    trace::call(disk.clone());
    let signal = async {
        if let End::Signal(after) = end {
            tokio::time::sleep(after).await;
            stop.stop(status);
        }
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        biased;
        () = disk.died() => None,
        outcome = process => Some(outcome),
        () = signal => None,
        _ = tokio::time::timeout(LONGEST_LIFE, time) => None,
    };
    let hung = outcome.is_none() && !disk.is_dead();
    let ended = no_task_left().await;
    trace::dismiss();
    ended?;
    if hung {
        return Err(format!("it ran for {LONGEST_LIFE:?}"));
    }
    // A mirror that met a dead disk and reported it was dead itself.
    Ok(outcome.filter(|_| !disk.is_dead()))
}

/// Passes at rest, until one is complete. Where something is `unfinished`, the last one may end without it.
pub(super) async fn passes_at_rest(
    unfinished: bool,
    mut pass: impl AsyncFnMut() -> Result<Option<ExitStatus>, String>,
) -> Result<(), String> {
    for number in 1.. {
        let exit = pass().await?;
        if exit == Some(ExitStatus::Complete) {
            break;
        }
        if number == PASSES_TO_REST {
            if unfinished && exit == Some(ExitStatus::TryAgain) {
                break;
            }
            return Err(format!("I2: after {number} passes at rest the last one ended as {exit:?}"));
        }
        tokio::time::sleep(BETWEEN_PASSES).await;
    }
    Ok(())
}

/// Waits until every task of a life has ended, as it would with its process.
async fn no_task_left() -> Result<(), String> {
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
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())
}
