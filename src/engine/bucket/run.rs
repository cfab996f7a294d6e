//! The loop of a job that is mirrored to a bucket: poll, plan, fetch and upload, record, until the job is over.

mod end;
mod files;
mod ledger;
mod pass;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::bucket::head::{Known, Seen};
use crate::decide::mirror::awaited::Awaited;
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::Recollection;
use crate::decide::mirror::poll_interval::{Cadence, Next};
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::transfer::task::Missing;
use crate::edge::api::ApiClient;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::clock::until;
use crate::engine::event::{Event, Reporter};
use crate::engine::job_life::{Around, Life};
use crate::engine::options::{OnChange, SyncOptions};
use crate::engine::poll::{Patience, interrupted, look};
use crate::engine::reported::Reported;
use crate::engine::retry::Persistence;
use crate::engine::stop::Stop;
use crate::engine::transfer::link_refresh::Relister;
use crate::engine::transfer::share::{Member, Membership};
use crate::error::{BadInput, BucketError, Error, ExitStatus, Unanswered};
use crate::model::artifact::ArtifactKey;
use crate::model::destination::{BucketUrl, Destination};
use crate::model::job::JobId;
use crate::model::job_file::JobArtifact;
use crate::model::names::rel_path::RelPath;

use super::file::{Ending, Shared};
use super::fleet_root::FleetRoot;
use super::head_read::Found;
use super::head_store::HeadStore;
use super::hooks::{BucketHooks, HookReporter, Working};
use super::options::{BucketOptions, connect};
use super::store::Store;

use end::Followed;

/// How long the end of a run may take to free the lease and drop uploads.
const WIND_UP: Duration = Duration::from_secs(10);

/// How much longer than its timeout a run takes to write down what it did.
const OVERTIME: Duration = Duration::from_secs(60);

/// A job, mirrored to a bucket.
pub(crate) struct BucketMirror {
    pub(crate) api: ApiClient,
    pub(crate) job: JobId,
    /// The destination as it was typed: `{id}` and `{name}` are filled in.
    pub(crate) to: String,
    pub(crate) options: SyncOptions,
    pub(crate) bucket: BucketOptions,
    /// Gets what is published.
    pub(crate) hooks: Option<BucketHooks>,
    /// Where this job is one of a fleet.
    pub(crate) fleet: Option<(Membership, Arc<FleetRoot>)>,
}

impl BucketMirror {
    /// Mirrors until the job is over (or, with `once`, one pass), or until `stop` is used.
    ///
    /// # Errors
    /// What kept the run from doing its work at all; faults of single files are events and decide the status.
    pub(crate) async fn run(self, reporter: Arc<dyn Reporter>, stop: Stop) -> Result<ExitStatus, Error> {
        if let Some((membership, root)) = &self.fleet {
            let (hosts, root) = (membership.hosts(), root.clone());
            return self.run_over(hosts, move |to| root.store(to), reporter, stop).await;
        }
        let private = self.options.allow_private_hosts || self.api.is_private();
        let hosts = ArtifactClient::new(private, self.options.stall_timeout)?;
        let is_pass = self.options.once || self.options.dry_run;
        let persistence = if is_pass { Persistence::Pass } else { Persistence::Endless };
        let bucket = self.bucket.clone();
        let open = move |to: &BucketUrl| Ok(connect(to, &bucket, persistence)?.0);
        self.run_over(hosts, open, reporter, stop).await
    }

    /// The same, over a store and hosts of the caller's.
    pub(crate) async fn run_over(
        mut self,
        hosts: ArtifactClient,
        open: impl FnOnce(&BucketUrl) -> Result<Store, Error>,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
    ) -> Result<ExitStatus, Error> {
        let hooks = self.hooks.take().filter(|hooks| !hooks.plan.is_empty() && !self.options.dry_run);
        let Some(hooks) = hooks else { return self.run_reporting(hosts, open, reporter, None, stop).await };
        let hook_reporter = HookReporter::new(hooks, self.job.clone(), reporter, stop.clone());
        let ended =
            self.run_reporting(hosts, open, hook_reporter.clone(), Some(hook_reporter.clone()), stop).await;
        hook_reporter.finish().await;
        ended
    }

    async fn run_reporting(
        mut self,
        hosts: ArtifactClient,
        open: impl FnOnce(&BucketUrl) -> Result<Store, Error>,
        reporter: Arc<dyn Reporter>,
        hook_reporter: Option<Arc<HookReporter>>,
        stop: Stop,
    ) -> Result<ExitStatus, Error> {
        let began = Instant::now();
        if self.options.on_change == OnChange::Replace {
            return Err(Error::ReplaceInBucket);
        }
        let seen = self.fleet.as_mut().and_then(|(membership, _)| membership.take_first());
        let first = match seen {
            Some(first) => Some(first),
            None => look(&self.api, &self.job, Patience::Short, reporter.as_ref(), stop.token()).await?,
        };
        let Some(first) = first else {
            return Ok(interrupted(reporter.as_ref(), &stop, began));
        };
        let to = Destination::fill(&self.to, &self.job, first.name());
        let to = match Destination::parse(to.into())? {
            Destination::Bucket(to) => to,
            Destination::Folder(_) => return Err(BadInput::NoBucket.into()),
        };
        let store = open(&to)?.reporting(reporter.clone());
        let mut run = Run::new(self, hosts, store, reporter, stop.clone(), began);
        run.hook_reporter = hook_reporter;
        let ended = tokio::select! {
            biased;
            ended = run.mirror_it(first) => ended.map(Some),
            () = stop.token().cancelled() => Ok(None),
        };
        let ended = match ended {
            Ok(Some(exit)) => Ok(exit),
            Ok(None) => Ok(run.stopped()),
            Err(error) => Err(run.explain_end(error).await),
        };
        run.wind_up().await;
        ended
    }
}

/// What ends a run from one of its tasks.
#[derive(Debug, Default)]
struct Fatal {
    token: CancellationToken,
    error: Mutex<Option<Error>>,
}

impl Fatal {
    fn raise(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.token.cancel();
    }

    fn take(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What another poll of the job came to.
enum NextPoll {
    Polled(Box<JobSnapshot>),
    /// The user's time is over, or a signal ends the run.
    Ended,
    /// The API refuses the job.
    Refused(Error),
}

struct Run {
    mirror: BucketMirror,
    hosts: ArtifactClient,
    store: Store,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
    began: Instant,
    /// The lease, once there was something to do.
    head: Option<Arc<HeadStore>>,
    keeper: JoinSet<()>,
    shared: Option<Arc<Shared>>,
    files: JoinSet<(ArtifactKey, RelPath, Ending)>,
    busy: HashSet<ArtifactKey>,
    cooling: HashMap<ArtifactKey, (Instant, Duration)>,
    missing: HashMap<ArtifactKey, Missing>,
    fatal: Arc<Fatal>,
    relister: Arc<Relister>,
    received: Arc<AtomicU64>,
    published: u64,
    cadence: Cadence,
    life: Life,
    /// The job's part in a fleet, and the right to look and to fetch where a fleet gives it to so many jobs at a time.
    member: Option<Arc<Member>>,
    turn: Option<OwnedSemaphorePermit>,
    root: Option<Arc<FleetRoot>>,
    hook_reporter: Option<Arc<HookReporter>>,
    /// The hooks, once the lease is taken.
    hooks: Option<Working>,
    reported: Reported,
    planned: bool,
    /// What the head had of the job when it was last read or taken.
    seen: Option<Seen>,
    /// The files of an older `job.json`, where the head was lost.
    recollections: HashMap<ArtifactKey, Recollection>,
    /// What an earlier run saw and did not get, until a list shows what became of it.
    awaited: Awaited,
    before: Vec<JobArtifact>,
    written: HashMap<&'static str, crate::model::digest::Sha256Digest>,
    page_is_foreign: bool,
    /// What is known where no lease was needed.
    idle_known: Option<Arc<Known>>,
}

impl Run {
    fn new(
        mut mirror: BucketMirror,
        hosts: ArtifactClient,
        store: Store,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
        began: Instant,
    ) -> Self {
        let relister = Arc::new(Relister::new(mirror.api.clone(), mirror.job.clone()));
        let reported = Reported::new(reporter.clone());
        let cadence = Cadence::new(mirror.options.interval);
        let around = Around {
            api: mirror.api.clone(),
            job: mirror.job.clone(),
            reporter: reporter.clone(),
            stop: stop.clone(),
            began,
        };
        let life = Life::new(around, &mirror.options, Resumes::default());
        let (fleet, root) = mirror.fleet.take().unzip();
        let (member, turn) = fleet.map(Membership::into_parts).unzip();
        Self {
            mirror,
            hosts,
            store,
            reporter,
            stop,
            began,
            head: None,
            keeper: JoinSet::new(),
            shared: None,
            files: JoinSet::new(),
            busy: HashSet::new(),
            cooling: HashMap::new(),
            missing: HashMap::new(),
            fatal: Arc::default(),
            relister,
            received: Arc::default(),
            published: 0,
            cadence,
            life,
            member,
            turn: turn.flatten(),
            root,
            hook_reporter: None,
            hooks: None,
            reported,
            planned: false,
            seen: None,
            recollections: HashMap::new(),
            awaited: Awaited::default(),
            before: Vec::new(),
            written: HashMap::new(),
            page_is_foreign: false,
            idle_known: None,
        }
    }

    fn tell(&self, event: &Event) {
        self.reporter.report(event);
    }

    /// Follows the job, and ends in good order.
    async fn mirror_it(&mut self, first: JobSnapshot) -> Result<ExitStatus, Error> {
        let overtime = self.deadline().map(|deadline| deadline + OVERTIME);
        let followed = tokio::select! {
            biased;
            followed = self.follow(first) => followed?,
            // A store that is away is asked for ever, but not for longer than the user wants to follow.
            () = until(overtime) => return Err(self.away()),
        };
        self.end(followed).await
    }

    fn away(&self) -> Error {
        BucketError::Away { to: self.store.url.to_string(), cause: Unanswered::JobTimeOver }.into()
    }

    async fn follow(&mut self, first: JobSnapshot) -> Result<Followed, Error> {
        let mut looked = first;
        let found = self.look_at_head().await?;
        if let Some(seen) = found.head.as_ref().and_then(|head| head.seen.clone()) {
            self.seen = Some(seen.clone());
            let resumes = Resumes { last: Some(seen.status), count: seen.resumes };
            self.life.begin_from(&self.mirror.options, resumes);
        }
        let mut found = Some(found);
        loop {
            self.life.count(&mut looked);
            if self.mirror.options.dry_run {
                return self.rehearse(&looked, found.take()).await;
            }
            let Some(pass) = self.pass(&looked, found.take()).await? else {
                // What was polled before is not written over what another process wrote since.
                looked = match self.poll_again().await? {
                    NextPoll::Polled(next) => *next,
                    NextPoll::Ended => return Ok(Followed::CutShort),
                    NextPoll::Refused(refused) => {
                        self.fetch_listed(&looked).await?;
                        return Ok(Followed::Refused(refused));
                    }
                };
                continue;
            };
            if self.mirror.options.once {
                self.settle_all(self.deadline()).await?;
                return self.conclude(&looked, &pass).await;
            }
            self.life.watch(&pass, self.cadence.seconds_a_step());
            let going = self.life.keep_going(&looked, &pass).await;
            let Some(wait) = going.or_else(|| self.next_look(&pass)) else {
                return self.conclude(&looked, &pass).await;
            };
            if !self.wait(&looked, wait).await? || !self.take_turn().await? {
                return self.conclude(&looked, &pass).await;
            }
            match self.poll_again().await? {
                NextPoll::Polled(next) => looked = *next,
                NextPoll::Ended => return self.conclude(&looked, &pass).await,
                NextPoll::Refused(refused) => {
                    // The API refuses, but the addresses that it gave still work.
                    self.settle_all(self.deadline()).await?;
                    self.conclude_records(&looked).await?;
                    return Ok(Followed::Refused(refused));
                }
            }
        }
    }

    async fn poll_again(&self) -> Result<NextPoll, Error> {
        let (api, job, cancel) = (&self.mirror.api, &self.mirror.job, self.stop.token());
        let patience = if self.mirror.options.once { Patience::Short } else { Patience::Endless };
        let asking = look(api, job, patience, self.reporter.as_ref(), cancel);
        tokio::select! {
            biased;
            () = self.fatal.token.cancelled() => Err(self.fatal_error()),
            () = until(self.deadline()) => Ok(NextPoll::Ended),
            next = asking => Ok(match next {
                Ok(Some(next)) => NextPoll::Polled(Box::new(next)),
                Ok(None) => NextPoll::Ended,
                Err(refused) => NextPoll::Refused(refused),
            }),
        }
    }

    /// Gives up the turn: everything that was ordered is there or failed, so another job of the fleet may use it.
    fn rest(&mut self) {
        if self.member.is_some() {
            self.turn = None;
        }
    }

    /// Waits until this job may look again, where only so many may at a time; `false` when the run should end.
    async fn take_turn(&mut self) -> Result<bool, Error> {
        let (Some(member), None) = (&self.member, &self.turn) else { return Ok(true) };
        tokio::select! {
            biased;
            () = self.fatal.token.cancelled() => Err(self.fatal_error()),
            () = until(self.deadline()) => Ok(false),
            turn = member.turn() => {
                self.turn = turn;
                Ok(true)
            }
        }
    }

    fn fatal_error(&self) -> Error {
        let lost = self.head.as_ref().and_then(|head| head.lost_to());
        lost.or_else(|| self.fatal.take()).unwrap_or_else(|| {
            let to = self.store.url.to_string();
            BucketError::TakenOver { to, owner: "unknown".to_owned() }.into()
        })
    }

    /// A worker whose lease was taken over while it did not run may first notice that the new owner dropped its uploads.
    async fn explain_end(&self, error: Error) -> Error {
        let Some(head) = &self.head else { return error };
        let is_refused = |error: &Error| matches!(error, Error::Bucket(fault) if matches!(**fault, BucketError::Refused { .. }));
        if is_refused(&error) {
            // Whatever else the look finds, the refusal is the error then.
            let _ = tokio::time::timeout(WIND_UP, head.ensure_ours()).await;
        }
        head.lost_to().unwrap_or(error)
    }

    fn deadline(&self) -> Option<Instant> {
        self.mirror.options.timeout.map(|timeout| self.began + timeout)
    }

    async fn look_at_head(&self) -> Result<Found, Error> {
        Found::look(&self.store, &self.mirror.job, &self.mirror.api.origin()).await
    }

    /// Waits for the next look; `false` when the run should end instead.
    async fn wait(&mut self, looked: &JobSnapshot, wait: Duration) -> Result<bool, Error> {
        let deadline = self.deadline();
        let due = Instant::now() + wait;
        let due = deadline.map_or(due, |deadline| deadline.min(due));
        let had_files = !self.files.is_empty();
        loop {
            if self.files.is_empty() {
                self.rest();
            }
            tokio::select! {
                biased;
                () = self.fatal.token.cancelled() => return Err(self.fatal_error()),
                Some(joined) = self.files.join_next(), if !self.files.is_empty() => {
                    self.joined(joined)?;
                    if had_files && self.files.is_empty() {
                        // Readers of the list should not have to wait for the next look.
                        self.conclude_records(looked).await?;
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    return Ok(deadline.is_none_or(|deadline| Instant::now() < deadline));
                }
            }
        }
    }

    fn next_look(&mut self, pass: &Pass) -> Option<Duration> {
        let look = pass.look(!self.files.is_empty());
        let Next::After(wait) = self.cadence.next(self.began.elapsed(), &look) else { return None };
        if let Some(member) = &self.member {
            member.expect_save(pass.until_next_save(self.cadence.seconds_a_step()));
        }
        if look.state == RunState::Running {
            let seconds_a_step = self.cadence.seconds_a_step();
            self.tell(&Event::Pace { seconds_a_step, next_save: pass.next_save() });
        }
        self.tell(&Event::Waiting { wait });
        let rested =
            self.cooling.values().map(|(until, _)| until.saturating_duration_since(Instant::now())).min();
        Some(wait.min(rested.unwrap_or(wait).max(Duration::from_millis(200))))
    }
}
