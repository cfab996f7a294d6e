//! The loop of a job that is mirrored to a bucket: poll, plan, fetch and upload, record, until the job is over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::bucket::head::{Head, Known, Line, Publish, Seen};
use crate::decide::bucket::parts::{LARGEST, SMALLEST};
use crate::decide::mirror::plan::{
    Action, FetchReason, Recollection, Situation, Step, asked_stamp, nothing_is_chosen, plan,
};
use crate::decide::mirror::poll_interval::{Cadence, Left, Look, Next, next_save, save_interval};
use crate::decide::mirror::retention::surplus;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::transfer::task::FailureCause;
use crate::edge::api::ApiClient;
use crate::edge::bucket::Listed;
use crate::edge::net::http::ArtifactClient;
use crate::engine::destination::reports;
use crate::engine::destination::reports::{JobArtifact, JobDraft, JobFile, Rows};
use crate::engine::event::{Event, Notice, Reporter};
use crate::engine::mirror::poll::{Patience, look};
use crate::engine::mirror::run::unreachable;
use crate::engine::options::{OnChange, SyncOptions};
use crate::engine::outputs::gallery;
use crate::engine::stop::Stop;
use crate::engine::transfer::host_backoff::Gates;
use crate::engine::transfer::link_refresh::Relister;
use crate::engine::transfer::rate_limit::Limiter;
use crate::error::{BucketError, Condition, Error, ExitStatus};
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind};
use crate::model::destination::{BucketUrl, Destination};
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::listing::Listing;
use crate::model::local::{Local, LocalFile};
use crate::model::manifest::{Entry, EntryState};
use crate::model::names::rel_path::RelPath;

use super::file::{Ending, File, Order, Shared};
use super::head_store::{Found, HeadStore, Wish};
use super::options::{BucketOptions, connect};
use super::records::{self, Draft, SUMS};
use super::store::Store;
use super::upload::{STAGED, sweep};
use super::{probe, prune};

/// Bytes of parts that are held at a time: six parts of the smallest size that stores take, so that all of the program stays
/// below 64 MiB.
const MEMORY: u64 = 6 * SMALLEST;

/// First and longest wait before a file that is still being written is looked at again.
const SETTLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// First and longest wait before a file that failed is tried again.
const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// How long the end of a run may take to free the lease and drop uploads.
const WIND_UP: Duration = Duration::from_secs(10);

/// How much longer than its timeout a run takes to write down what it did.
const OVERTIME: Duration = Duration::from_secs(60);

pub(super) const JOB: &str = "job.json";
pub(super) const PAGE: &str = "index.html";

/// A `job.json` larger than this was not written by us.
pub(super) const JOB_BOUND: u64 = 512 << 20;

/// A job, mirrored to a bucket.
pub(crate) struct BucketMirror {
    pub(crate) api: ApiClient,
    pub(crate) job: JobId,
    /// The destination as it was typed: `{id}` and `{name}` are filled in.
    pub(crate) to: String,
    pub(crate) options: SyncOptions,
    pub(crate) bucket: BucketOptions,
}

impl BucketMirror {
    /// Mirrors until the job is over (or, with `once`, one pass), or until `stop` is used.
    ///
    /// # Errors
    /// What kept the run from doing its work at all; faults of single files are events and decide the status.
    pub(crate) async fn run(self, reporter: Arc<dyn Reporter>, stop: Stop) -> Result<ExitStatus, Error> {
        let private = self.options.allow_private_hosts || self.api.is_private();
        let hosts = ArtifactClient::new(private, self.options.stall_timeout).map_err(Error::Surroundings)?;
        let is_endless = !self.options.once && !self.options.dry_run;
        let bucket = self.bucket.clone();
        let open = move |to: &BucketUrl| Ok(connect(to, &bucket, true, is_endless)?.0);
        self.run_over(hosts, open, reporter, stop).await
    }

    /// The same, over a store and hosts of the caller's.
    pub(super) async fn run_over(
        self,
        hosts: ArtifactClient,
        open: impl FnOnce(&BucketUrl) -> Result<Store, Error>,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
    ) -> Result<ExitStatus, Error> {
        let began = Instant::now();
        if self.options.on_change == OnChange::Replace {
            return Err(Error::ReplaceInBucket);
        }
        let first = look(&self.api, &self.job, Patience::Short, reporter.as_ref(), stop.token()).await?;
        let Some(first) = first else {
            return Ok(interrupted(reporter.as_ref(), &stop, began));
        };
        let to = Destination::fill(&self.to, &self.job, first.name());
        let to = match Destination::parse(to.into())? {
            Destination::Bucket(to) => to,
            Destination::Folder(_) => return Err(Error::BadInput("the destination is no bucket".to_owned())),
        };
        let store = open(&to)?;
        let mut run = Run::new(self, hosts, store, reporter, stop.clone(), began);
        let overtime = run.deadline().map(|deadline| deadline + OVERTIME);
        let followed = tokio::select! {
            biased;
            followed = run.follow(first) => followed.map(Some),
            () = stop.token().cancelled() => Ok(None),
            // A store that is away is asked for ever, but not for longer than the user wants to follow.
            () = until(overtime) => {
                let to = run.store.url.to_string();
                Err(BucketError::Away { to, cause: "it did not answer while there was time to follow the job".to_owned() }.into())
            }
        };
        let ended = match followed {
            Ok(Some(exit)) => Ok(exit),
            Ok(None) => Ok(run.stopped()),
            Err(error) => Err(run.explain_end(error).await),
        };
        run.wind_up().await;
        ended
    }
}

fn interrupted(reporter: &dyn Reporter, stop: &Stop, began: Instant) -> ExitStatus {
    let exit = stop.status();
    let elapsed = began.elapsed();
    reporter.report(&Event::Done {
        exit,
        published: 0,
        bytes: 0,
        present: 0,
        failed: 0,
        elapsed,
        job_status: None,
        next_look: Some(Duration::ZERO),
    });
    exit
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

/// Why a file is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Missing {
    Settling,
    Vanished,
    Failed(FailureCause),
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
    /// Listed files whose address cannot be used, at the last poll.
    unreachable: u64,
    resumes: Resumes,
    told: Option<(Option<String>, JobStatus, Progress, Option<String>)>,
    planned: bool,
    noticed: Vec<Notice>,
    /// What an older `job.json` says, where the head was lost.
    recollections: HashMap<ArtifactKey, Recollection>,
    before: Vec<JobArtifact>,
    written: HashMap<&'static str, crate::model::digest::Sha256Digest>,
    page_is_foreign: bool,
    /// What is known where no lease was needed.
    idle_known: Option<Arc<Known>>,
}

/// What a pass found.
#[derive(Debug, Default)]
struct Pass {
    state: Option<RunState>,
    step: Option<u64>,
    total: Option<u64>,
    save_every: Option<u64>,
    ordered: u64,
    lagging: bool,
    wanted: Vec<ArtifactKey>,
}

/// What is in the bucket at the begin of a pass.
struct View {
    known: Arc<Known>,
    head: Option<Head>,
    listed: BTreeMap<String, Listed>,
}

impl View {
    fn tag(&self, key: &str) -> Option<&str> {
        self.listed.get(key).map(|listed| listed.tag.as_str())
    }

    fn staged(&self) -> Vec<String> {
        self.listed.keys().filter(|key| key.starts_with(STAGED)).cloned().collect()
    }

    /// Whether an earlier owner left something to end.
    fn has_leftovers(&self) -> bool {
        let is_left = |key: &String| {
            let path = RelPath::parse(key).ok();
            let tag = path.and_then(|path| self.known.retired.get(&path).cloned()).flatten();
            tag.is_some() && tag.as_deref() == self.tag(key)
        };
        self.head.as_ref().is_some_and(|head| !head.begun.is_empty())
            || self.listed.keys().any(|key| key.starts_with(STAGED) || is_left(key))
    }

    /// What is there, as a plan wants it: an object with another tag than the known one has to be read.
    fn local(&self) -> Local {
        let file = |(key, listed): (&String, &Listed)| {
            let path = RelPath::parse(key).ok()?;
            let known = self.known.tags.get(&path);
            let is_known = known.is_none_or(|tag| tag == listed.tag.as_str());
            let modified = (!is_known).then_some(0);
            Some((path, LocalFile::File { size: listed.size, modified }))
        };
        self.listed.iter().filter_map(file).collect()
    }
}

impl Run {
    fn new(
        mirror: BucketMirror,
        hosts: ArtifactClient,
        store: Store,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
        began: Instant,
    ) -> Self {
        let relister = Arc::new(Relister::new(mirror.api.clone(), mirror.job.clone()));
        let cadence = Cadence::new(mirror.options.interval);
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
            unreachable: 0,
            resumes: Resumes::default(),
            told: None,
            planned: false,
            noticed: Vec::new(),
            recollections: HashMap::new(),
            before: Vec::new(),
            written: HashMap::new(),
            page_is_foreign: false,
            idle_known: None,
        }
    }

    fn tell(&self, event: &Event) {
        self.reporter.report(event);
    }

    fn notice(&mut self, notice: Notice) {
        if self.noticed.len() < 1000 && !self.noticed.contains(&notice) {
            self.tell(&Event::Notice { notice: notice.clone() });
            self.noticed.push(notice);
        }
    }

    async fn follow(&mut self, first: JobSnapshot) -> Result<ExitStatus, Error> {
        let mut looked = first;
        let found = self.look_at_head().await?;
        if let Some(seen) = found.head.as_ref().and_then(|head| head.seen.clone()) {
            self.resumes = Resumes { last: Some(seen.status), count: seen.resumes };
        }
        let mut found = Some(found);
        loop {
            self.resumes.count(&mut looked);
            if self.mirror.options.dry_run {
                return self.rehearse(&looked, found.take()).await;
            }
            let pass = self.pass(&looked, found.take()).await?;
            if self.mirror.options.once {
                self.settle_all(self.deadline()).await?;
                return self.conclude(&looked, &pass).await;
            }
            let Some(wait) = self.next_look(&pass) else {
                return self.conclude(&looked, &pass).await;
            };
            if !self.wait(&looked, wait).await? {
                return self.conclude(&looked, &pass).await;
            }
            let (api, job) = (self.mirror.api.clone(), self.mirror.job.clone());
            let (reporter, cancel) = (self.reporter.clone(), self.stop.token().clone());
            let asking = look(&api, &job, Patience::Endless, reporter.as_ref(), &cancel);
            let next = tokio::select! {
                biased;
                () = self.fatal.token.cancelled() => return Err(self.fatal_error()),
                () = until(self.deadline()) => None,
                next = asking => match next {
                    Ok(next) => next,
                    Err(refused) => {
                        // The API refuses, but the addresses that it gave still work.
                        self.settle_all(self.deadline()).await?;
                        self.conclude_records(&looked).await?;
                        return Err(refused);
                    }
                },
            };
            match next {
                Some(next) => looked = next,
                None => return self.conclude(&looked, &pass).await,
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

    /// Looks at the bucket: two requests, and one for each further thousand objects.
    async fn view(&self, found: Option<&Found>) -> Result<View, Error> {
        let listed = self.store.ask("list", "", || self.store.bucket.list("")).await?;
        let listed = listed.into_iter().map(|object| (object.key.clone(), object)).collect();
        Ok(match (&self.head, found) {
            (Some(head), _) => View { known: head.known(), head: head.head().await, listed },
            (None, Some(found)) => {
                View { known: Arc::new(found.known.clone()), head: found.head.clone(), listed }
            }
            (None, None) => {
                let found = self.look_at_head().await?;
                View { known: Arc::new(found.known), head: found.head, listed }
            }
        })
    }

    fn listing(&self, known: &Known, looked: &JobSnapshot) -> Listing {
        let name = |key: &ArtifactKey| {
            let remembered = || self.recollections.get(key).map(|memory| memory.path.clone());
            known.plain_name(key).or_else(remembered)
        };
        Listing::build(looked.name(), &looked.result.artifacts, &name, known.used())
    }

    fn plan(&self, looked: &JobSnapshot, listing: &Listing, view: &View, state: RunState) -> Vec<Action> {
        let mut actions = plan(&Situation {
            listing,
            manifest: &view.known.manifest,
            recollections: &self.recollections,
            local: &view.local(),
            selection: &self.mirror.options.selection,
            run: &looked.run(),
            reached: if state.is_over() {
                None
            } else {
                Some(looked.status.progress.current_step.unwrap_or(0))
            },
        });
        // A key that begins like a folder of ours cannot be a file's.
        actions.retain(|action| !action.artifact.path.as_str().starts_with(".rcsync"));
        actions
    }

    async fn rehearse(&mut self, looked: &JobSnapshot, found: Option<Found>) -> Result<ExitStatus, Error> {
        self.tell_job(looked);
        let view = self.view(found.as_ref()).await?;
        let listing = self.listing(&view.known, looked);
        let state = looked.state(&listing.artifacts);
        let actions = self.plan(looked, &listing, &view, state);
        for action in &actions {
            let Artifact { key, path, .. } = action.artifact.as_ref();
            let action = action.step.planned();
            self.tell(&Event::Planned { path: path.clone(), kind: key.kind, action });
        }
        let fetch = actions.iter().filter(|action| matches!(action.step, Step::Fetch(_))).count() as u64;
        let present = actions.iter().filter(|action| action.step == Step::Keep).count() as u64;
        self.tell(&Event::Plan { fetch, bytes: (fetch == 0).then_some(0), present });
        let (exit, elapsed) = (ExitStatus::Complete, self.began.elapsed());
        self.tell(&Event::Done {
            exit,
            published: 0,
            bytes: 0,
            present,
            failed: 0,
            elapsed,
            job_status: Some(looked.status.status.clone()),
            next_look: Some(Duration::ZERO),
        });
        Ok(exit)
    }

    async fn pass(&mut self, looked: &JobSnapshot, found: Option<Found>) -> Result<Pass, Error> {
        self.tell_job(looked);
        let mut view = self.view(found.as_ref()).await?;
        let (mut listing, mut state, mut actions);
        loop {
            listing = self.listing(&view.known, looked);
            state = looked.state(&listing.artifacts);
            actions = self.plan(looked, &listing, &view, state);
            if self.head.is_some() || self.is_idle(looked, &listing, &view, &actions) {
                break;
            }
            self.take_lease(&view).await?;
            view = self.view(None).await?;
            if let Some(head) = self.head.clone() {
                sweep(&self.store, &head, &view.staged()).await?;
                let listed: Vec<Listed> = view.listed.values().cloned().collect();
                prune::finish(&self.store, &head, &listed).await?;
            }
        }
        self.idle_known = Some(view.known.clone());
        for row in &looked.result.unusable {
            self.notice(Notice::UnusableRow(row.clone()));
        }
        self.unreachable = 0;
        for notice in unreachable(looked, &listing, &self.mirror.options.selection) {
            self.unreachable += 1;
            self.tell(&Event::Trouble { notice });
        }
        let generation = self.relister.learn(&listing).await;
        let mut orders = Vec::new();
        for action in &actions {
            let order = |step: &Step| Order {
                run: asked_stamp(&looked.run(), &action.artifact, &listing),
                ..self.order(looked, &view.known, action, step, state, generation)
            };
            match &action.step {
                Step::Fetch(_) => orders.push(order(&action.step)),
                Step::Adopt { .. } | Step::Inspect { .. } => {
                    if let Some(step) = self.inspect(&view, action).await? {
                        orders.push(order(&step));
                    }
                }
                Step::Keep | Step::Skip(_) => {}
            }
        }
        let present = actions.iter().filter(|action| action.step == Step::Keep).count() as u64;
        let fetch = orders.len() as u64;
        let is_news = orders.iter().any(|order| {
            let key = &order.artifact.key;
            !self.busy.contains(key) && !self.missing.contains_key(key)
        });
        if !self.planned || is_news {
            self.tell(&Event::Plan { fetch, bytes: (fetch == 0).then_some(0), present });
        }
        self.planned = true;
        if state.is_over() && nothing_is_chosen(&actions) {
            self.notice(Notice::NothingChosen { offered: actions.len() });
        }
        let ordered = self.start(orders);
        if self.head.is_some() {
            self.write_records(looked, &listing.artifacts).await?;
        }
        let checkpoints =
            listing.artifacts.iter().filter(|artifact| artifact.key.kind == ArtifactKind::Checkpoint);
        let steps: Vec<u64> = checkpoints.filter_map(|artifact| artifact.step).collect();
        let wanted = actions.iter().filter(|action| !matches!(action.step, Step::Skip(_)));
        Ok(Pass {
            state: Some(state),
            step: looked.status.progress.current_step,
            total: looked.status.progress.total_steps,
            save_every: save_interval(&steps),
            ordered,
            lagging: looked.result.status.as_ref().is_some_and(JobStatus::may_write),
            wanted: wanted.map(|action| action.artifact.key.clone()).collect(),
        })
    }

    /// Whether nothing has to be written: then no lease is taken.
    fn is_idle(&self, looked: &JobSnapshot, listing: &Listing, view: &View, actions: &[Action]) -> bool {
        let has_work = actions.iter().any(|action| !matches!(action.step, Step::Keep | Step::Skip(_)));
        let Some(head) = &view.head else { return !has_work && view.listed.is_empty() };
        let is_written = |draft: &Draft| draft.is_written(head.written.get(draft.key), view.tag(draft.key));
        let prunes = self.mirror.options.retention;
        let prunes = prunes.is_some_and(|rule| !surplus(&view.known.manifest, rule).is_empty());
        !has_work
            && !prunes
            && !view.has_leftovers()
            && is_written(&Draft::sums(&view.known))
            && is_written(&job_draft(looked, &listing.artifacts, &view.known, &[], &self.mirror.job))
    }

    /// Takes the lease; asks the store first, where this prefix is used for the first time.
    async fn take_lease(&mut self, view: &View) -> Result<(), Error> {
        let found = self.look_at_head().await?;
        let sole = self.mirror.bucket.sole_writer;
        let publish = match (&found.head, sole) {
            (_, true) => Publish::Sole,
            (Some(head), false) if head.publish == Publish::Sole => {
                let to = self.store.url.to_string();
                return Err(BucketError::IgnoresConditions { to, which: Condition::OneWriter }.into());
            }
            (Some(head), false) => head.publish,
            (None, false) => probe::ask(&self.store).await?.publish,
        };
        if found.is_damaged() {
            self.tell(&Event::Trouble { notice: Notice::HeadDamaged });
        }
        if found.head.is_none() || view.listed.contains_key(JOB) {
            self.remember(found.head.is_none()).await?;
        }
        let wish = Wish { lease: self.mirror.bucket.lease, waits: !self.mirror.options.once };
        let reporter = self.reporter.clone();
        let to = self.store.url.to_string();
        let mut told = false;
        let waiting = |found: &Found| {
            if !std::mem::replace(&mut told, true) {
                let notice = Notice::WaitingForLease { to: to.clone(), holder: found.holder() };
                reporter.report(&Event::Notice { notice });
            }
        };
        let taking = HeadStore::take(self.store.clone(), found, wish, publish, waiting);
        let taken = tokio::select! {
            taken = taking => taken?,
            () = until(self.deadline()) => {
                return Err(BucketError::Held { to: self.store.url.to_string(), owner: "for as long as there was time to follow the job".to_owned() }.into());
            }
        };
        let head = Arc::new(taken);
        let (kept, fatal) = (head.clone(), self.fatal.clone());
        self.keeper.spawn(async move {
            if let Err(error) = kept.keep().await {
                fatal.raise(error);
            }
        });
        let options = self.mirror.options.clone();
        let part = self.mirror.bucket.part_size.map_or(SMALLEST, |size| size.0).clamp(SMALLEST, LARGEST);
        let connections = options.connections.map_or(8, |count| usize::from(count.get()));
        let budget = MEMORY.max(2 * part);
        let units = usize::try_from(budget.div_ceil(1 << 10)).unwrap_or(Semaphore::MAX_PERMITS);
        self.shared = Some(Arc::new(Shared {
            store: self.store.clone(),
            head: head.clone(),
            publish,
            hosts: self.hosts.clone(),
            relister: self.relister.clone(),
            gates: Arc::new(Gates::default()),
            limiter: options.limit_rate.map(|rate| Arc::new(Limiter::new(rate))),
            reporter: self.reporter.clone(),
            part,
            connections: Arc::new(Semaphore::new(connections)),
            memory: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            budget,
            window: connections,
            received: self.received.clone(),
            options,
        }));
        self.head = Some(head);
        Ok(())
    }

    /// Reads an older `job.json`: what it says of files that are offered no more is kept; where the head is lost, it says
    /// what the files are.
    async fn remember(&mut self, adopts: bool) -> Result<(), Error> {
        let Some((bytes, _)) = self.store.small(JOB, JOB_BOUND).await? else { return Ok(()) };
        let Some(JobFile { artifacts, .. }) = reports::parse_job(&bytes, &self.mirror.job) else {
            return Ok(());
        };
        if adopts {
            self.recollections = reports::recollections(&artifacts);
        }
        self.before = artifacts;
        Ok(())
    }

    fn order(
        &self,
        looked: &JobSnapshot,
        known: &Known,
        action: &Action,
        step: &Step,
        state: RunState,
        generation: u64,
    ) -> Order {
        let key = &action.artifact.key;
        let recheck = match step {
            Step::Fetch(FetchReason::Recheck(revision)) => Some(revision.clone()),
            _ => None,
        };
        Order {
            artifact: action.artifact.clone(),
            recheck,
            entry: known.manifest.entries.get(key).cloned(),
            doubt: known.manifest.doubts.get(key).cloned(),
            half_of_pair: action.artifact.pair_half(looked.name()).is_some(),
            run_may_write: !state.is_over(),
            cut_off: state.is_cut_off(),
            run: looked.run(),
            generation,
        }
    }

    /// Reads an object that may be what is known of it; returns what to do where it is not, or the host has to be asked.
    async fn inspect(&self, view: &View, action: &Action) -> Result<Option<Step>, Error> {
        let key = &action.artifact.key;
        let known = view.known.manifest.entries.get(key);
        let (expected, otherwise, due) = match (&action.step, known) {
            (Step::Adopt { memory, due }, _) => (adopted(action, memory), FetchReason::New, *due),
            (Step::Inspect { due }, Some(entry)) => (entry.clone(), FetchReason::Damaged, *due),
            _ => return Ok(None),
        };
        match self.store.hash(expected.path.as_str()).await? {
            Some((sha256, meta)) if sha256 == expected.sha256 => {
                let revision = expected.revision.clone();
                let tag = Some(meta.tag.as_str().to_owned());
                let line = Line::Know { key: key.clone(), entry: expected, tag };
                if let Some(head) = &self.head {
                    head.claim(vec![line]).await?;
                }
                Ok(due.then_some(Step::Fetch(FetchReason::Recheck(revision))))
            }
            _ => Ok(Some(Step::Fetch(otherwise))),
        }
    }

    /// Starts what is not on its way and does not rest.
    fn start(&mut self, orders: Vec<Order>) -> u64 {
        let Some(shared) = &self.shared else { return 0 };
        let now = Instant::now();
        let mut started = 0;
        for order in orders {
            let (key, path) = (order.artifact.key.clone(), order.artifact.path.clone());
            let rests = self.cooling.get(&key).is_some_and(|(until, _)| *until > now);
            if rests || !self.busy.insert(key.clone()) {
                continue;
            }
            let file = File::new(shared.clone(), order);
            self.files.spawn(async move { (key, path, file.mirror().await) });
            started += 1;
        }
        started
    }

    /// Takes in what became of a file.
    fn ended(&mut self, key: ArtifactKey, path: RelPath, ending: Ending) -> Result<(), Error> {
        self.busy.remove(&key);
        let (first, longest) = match &ending {
            Ending::Settling => {
                let patience = self.mirror.options.interval.unwrap_or(SETTLE.1);
                (SETTLE.0.min(patience), SETTLE.1.min(patience))
            }
            _ => COOL_DOWN,
        };
        let missing = match ending {
            Ending::Published | Ending::Known => {
                self.published += u64::from(matches!(ending, Ending::Published));
                self.missing.remove(&key);
                self.cooling.remove(&key);
                return Ok(());
            }
            Ending::Fatal(error) => return Err(error),
            Ending::Settling => Missing::Settling,
            Ending::Vanished => Missing::Vanished,
            Ending::Failed(cause) => Missing::Failed(cause),
        };
        if self.missing.get(&key) != Some(&missing) {
            match &missing {
                Missing::Vanished => self.tell(&Event::Vanished { path }),
                Missing::Failed(cause) => self.tell(&Event::Failed { path, cause: cause.clone() }),
                Missing::Settling => {}
            }
        }
        self.missing.insert(key.clone(), missing);
        let wait = self.cooling.get(&key).map_or(first, |(_, wait)| (*wait * 2).min(longest));
        self.cooling.insert(key, (Instant::now() + wait, wait));
        Ok(())
    }

    /// Waits until every file that was started has ended, or the deadline passed.
    async fn settle_all(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        while !self.files.is_empty() {
            tokio::select! {
                biased;
                () = self.fatal.token.cancelled() => return Err(self.fatal_error()),
                Some(joined) = self.files.join_next() => self.joined(joined)?,
                () = until(deadline) => return Ok(()),
            }
        }
        Ok(())
    }

    fn joined(
        &mut self,
        joined: Result<(ArtifactKey, RelPath, Ending), tokio::task::JoinError>,
    ) -> Result<(), Error> {
        match joined {
            Ok((key, path, ending)) => self.ended(key, path, ending),
            // A defect in one file's task: what it was is fetched again by the next run.
            Err(gone) => {
                Err(crate::edge::system::blocking::lost("mirror", std::path::Path::new("a file"))(gone))
            }
        }
    }

    /// Waits for the next look; `false` when the run should end instead.
    async fn wait(&mut self, looked: &JobSnapshot, wait: Duration) -> Result<bool, Error> {
        let deadline = self.deadline();
        let due = Instant::now() + wait;
        let due = deadline.map_or(due, |deadline| deadline.min(due));
        let had_files = !self.files.is_empty();
        loop {
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
        let state = pass.state.unwrap_or(RunState::Running);
        let news = pass.ordered > 0 || !self.files.is_empty();
        let next = self.cadence.next(
            self.began.elapsed(),
            &Look { state, step: pass.step, save_every: pass.save_every, news, lagging: pass.lagging },
        );
        let Next::After(wait) = next else { return None };
        if state == RunState::Running {
            let seconds_a_step = self.cadence.seconds_a_step();
            let next_save =
                pass.step.zip(pass.save_every).and_then(|(step, every)| next_save(step, every, pass.total));
            self.tell(&Event::Pace { seconds_a_step, next_save });
        }
        self.tell(&Event::Waiting { wait });
        let rested =
            self.cooling.values().map(|(until, _)| until.saturating_duration_since(Instant::now())).min();
        Some(wait.min(rested.unwrap_or(wait).max(Duration::from_millis(200))))
    }

    fn tell_job(&mut self, looked: &JobSnapshot) {
        let now = (
            looked.name().map(str::to_owned),
            looked.status.status.clone(),
            looked.status.progress,
            looked.error().map(str::to_owned),
        );
        if self.told.as_ref() != Some(&now) {
            let (name, status, progress, error) = now.clone();
            self.tell(&Event::Job { name, status, progress, error });
            self.told = Some(now);
        }
    }

    async fn conclude_records(&mut self, looked: &JobSnapshot) -> Result<(), Error> {
        let Some(head) = &self.head else { return Ok(()) };
        let listing = self.listing(&head.known(), looked);
        self.write_records(looked, &listing.artifacts).await
    }

    /// Writes `SHA256SUMS`, `job.json` and the gallery where what they say has changed.
    async fn write_records(&mut self, looked: &JobSnapshot, listed: &[Arc<Artifact>]) -> Result<(), Error> {
        let Some(head) = self.head.clone() else { return Ok(()) };
        if self.written.is_empty()
            && let Some(now) = head.head().await
        {
            let keys = [SUMS, JOB, PAGE].into_iter();
            self.written = keys.filter_map(|key| Some((key, now.written.get(key)?.meaning))).collect();
        }
        let known = head.known();
        head.note_seen(Seen { status: looked.status.status.clone(), resumes: looked.resumes });
        let job = job_draft(looked, listed, &known, &self.before, &self.mirror.job);
        for draft in [Draft::sums(&known), job.clone()] {
            if self.written.get(draft.key) == Some(&draft.meaning) || draft.is_nothing() {
                continue;
            }
            if draft.key == SUMS {
                records::write(&self.store, &head, SUMS, Draft::sums).await?;
            } else {
                records::write(&self.store, &head, JOB, |_| draft.clone()).await?;
            }
            self.written.insert(draft.key, draft.meaning);
        }
        self.write_page(&head, &known, &job).await
    }

    async fn write_page(&mut self, head: &Arc<HeadStore>, known: &Known, job: &Draft) -> Result<(), Error> {
        let job = reports::parse_job(job.text().as_bytes(), &self.mirror.job);
        let draft = Draft::new(PAGE, gallery::draw(&known.manifest, job.as_ref()));
        if self.page_is_foreign || self.written.get(PAGE) == Some(&draft.meaning) {
            return Ok(());
        }
        if let Some((page, _)) = self.store.small(PAGE, JOB_BOUND).await?
            && !gallery::is_own_page(&page)
        {
            self.page_is_foreign = true;
            let page = self.store.url.object(PAGE);
            self.notice(Notice::NoGallery(Error::ForeignPage(page.into())));
            return Ok(());
        }
        records::write(&self.store, head, PAGE, |_| draft.clone()).await?;
        self.written.insert(PAGE, draft.meaning);
        Ok(())
    }

    /// Removes what the user does not want to keep there.
    async fn retain(&mut self) -> Result<(), Error> {
        let (Some(rule), Some(head)) = (self.mirror.options.retention, self.head.clone()) else {
            return Ok(());
        };
        let known = head.known();
        let going: Vec<(ArtifactKey, Entry)> = surplus(&known.manifest, rule)
            .into_iter()
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        prune::remove(&self.store, &head, &going).await?;
        for (_, entry) in &going {
            let notice = Notice::Pruned { path: entry.path.clone(), bucket: true };
            self.tell(&Event::Notice { notice });
        }
        Ok(())
    }

    async fn conclude(&mut self, looked: &JobSnapshot, pass: &Pass) -> Result<ExitStatus, Error> {
        self.files.abort_all();
        while self.files.join_next().await.is_some() {}
        self.retain().await?;
        self.conclude_records(looked).await?;
        let known = match &self.head {
            Some(head) => head.known(),
            None => self
                .idle_known
                .clone()
                .unwrap_or_else(|| Arc::new(Known::new(self.mirror.job.clone(), self.mirror.api.origin()))),
        };
        let is_here = |key: &ArtifactKey| {
            known.manifest.entries.get(key).is_some_and(|entry| entry.state == EntryState::Present)
                && matches!(self.missing.get(key), None | Some(Missing::Vanished))
        };
        let is_pruned = |key: &ArtifactKey| {
            known.manifest.entries.get(key).is_some_and(|entry| entry.state == EntryState::Pruned)
        };
        let present = known.manifest.entries.keys().filter(|key| is_here(key)).count() as u64;
        let missing = pass.wanted.iter().filter(|key| !is_here(key) && !is_pruned(key)).count() as u64;
        let state = pass.state.unwrap_or(RunState::Running);
        let timed_out = self.deadline().is_some_and(|deadline| Instant::now() >= deadline);
        let exit = match () {
            () if missing + self.unreachable > 0 => ExitStatus::TryAgain,
            () if self.mirror.options.once => ExitStatus::Complete,
            () if timed_out && !state.is_over() => ExitStatus::TryAgain,
            () => state.exit_status(),
        };
        if let Some(head) = &self.head {
            head.release().await?;
        }
        let look = Look {
            state,
            step: pass.step,
            save_every: pass.save_every,
            news: pass.ordered > 0,
            lagging: pass.lagging,
        };
        let left = Left { look, missing: missing > 0, settled: state.is_over(), state_age: None };
        let next_look = self.cadence.next_run(self.began.elapsed(), &left);
        self.done(exit, present, missing + self.unreachable, Some(looked.status.status.clone()), next_look);
        Ok(exit)
    }

    fn done(
        &self,
        exit: ExitStatus,
        present: u64,
        failed: u64,
        job_status: Option<JobStatus>,
        next_look: Option<Duration>,
    ) {
        self.tell(&Event::Done {
            exit,
            published: self.published,
            bytes: self.received.load(Ordering::Relaxed),
            present,
            failed,
            elapsed: self.began.elapsed(),
            job_status,
            next_look,
        });
    }

    /// The run was stopped by a signal.
    fn stopped(&self) -> ExitStatus {
        let exit = self.stop.status();
        let known = self.head.as_ref().map(|head| head.known()).or_else(|| self.idle_known.clone());
        let present = known.map_or(0, |known| known.manifest.present().len() as u64);
        self.done(exit, present, self.busy.len() as u64, None, Some(Duration::ZERO));
        exit
    }

    /// Drops what is on its way, and frees the lease where it is still held.
    async fn wind_up(&mut self) {
        self.files.abort_all();
        while self.files.join_next().await.is_some() {}
        self.keeper.abort_all();
        while self.keeper.join_next().await.is_some() {}
        let Some(head) = self.head.take().filter(|head| !head.lost().is_cancelled()) else { return };
        let ending = async {
            let is_free = head.head().await.is_some_and(|head| head.free);
            if !is_free {
                // What cannot be dropped in time is named in the head for the next owner.
                let _ = head.drop_uploads().await;
                if let Err(error) = head.release().await {
                    self.tell(&Event::Notice { notice: Notice::LeaseNotFreed(error) });
                }
            }
        };
        // What does not end in time is taken over by the next run.
        let _ = tokio::time::timeout(WIND_UP, ending).await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// `job.json`. What it means does not depend on rows of files that are offered no more.
fn job_draft(
    looked: &JobSnapshot,
    listed: &[Arc<Artifact>],
    known: &Known,
    before: &[JobArtifact],
    job: &JobId,
) -> Draft {
    let text = |before: &[JobArtifact]| {
        let draft = JobDraft {
            job_id: job,
            name: looked.name(),
            status: &looked.status.status,
            progress: looked.status.progress,
            error: looked.error(),
            times: looked.times(),
            resumes: looked.resumes,
            artifacts: Rows::new(listed, &known.manifest, before),
        };
        let mut value = serde_json::to_value(&draft).unwrap_or_default();
        mark_current(&mut value, known);
        serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
    };
    let meaning = text(&[]);
    if before.is_empty() {
        Draft::new(JOB, meaning)
    } else {
        Draft::with_meaning(JOB, &meaning, text(before))
    }
}

/// Says which object of a file is the current one, where older bytes of it have the plain name.
fn mark_current(job: &mut serde_json::Value, known: &Known) {
    let older: HashMap<&str, &Entry> = known
        .manifest
        .entries
        .values()
        .filter(|entry| !entry.older.is_empty())
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let rows = job.get_mut("artifacts").and_then(serde_json::Value::as_array_mut);
    for row in rows.into_iter().flatten().filter_map(serde_json::Value::as_object_mut) {
        let path = row.get("path").and_then(serde_json::Value::as_str).unwrap_or_default();
        if let Some(entry) = older.get(path) {
            let older = entry.older.iter().map(|older| {
                serde_json::json!({
                    "path": older.path, "size": older.size, "sha256": older.sha256, "current": false,
                })
            });
            let older: Vec<_> = older.collect();
            row.insert("current".to_owned(), true.into());
            row.insert("older".to_owned(), older.into());
        }
    }
}

fn adopted(action: &Action, memory: &Recollection) -> Entry {
    Entry {
        path: memory.path.clone(),
        step: action.artifact.step,
        size: memory.size,
        sha256: memory.sha256,
        evidence: memory.evidence,
        revision: memory.revision.clone(),
        run: memory.run.clone(),
        modified: None,
        state: EntryState::Present,
        older: Vec::new(),
    }
}
