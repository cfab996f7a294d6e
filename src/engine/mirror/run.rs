//! The loop: look, decide, act, record, and look again, until the job is over or the run is stopped.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::debug;

use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::{
    Action, FetchReason, Sight, Situation, Step, asked_stamp, nothing_found, plan,
};
use crate::decide::mirror::poll_interval::{Cadence, KnownEnd, Left, Next};
use crate::decide::mirror::reported::is_news;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::select::Selection;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::task::{Missing, Task};
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::{disk, fd_limit};
use crate::engine::destination::commit::{BATCH, Committer};
use crate::engine::destination::folder::Folder;
use crate::engine::destination::newest::Saves;
use crate::engine::destination::{inspect, prune};
use crate::engine::event::{Event, Notice, Reporter};
use crate::engine::mirror::poll::{Patience, look};
use crate::engine::outputs::follower::Followers;
use crate::engine::outputs::gallery::history::History;
use crate::engine::stop::Stop;
use crate::engine::transfer::share::{Member, Membership};
use crate::engine::transfer::{Setup, Transfers};
use crate::error::{Error, ExitStatus};
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::job::{JobStatus, Progress};
use crate::model::listing::Listing;
use crate::model::local::LocalFile;
use crate::model::manifest::{EntryState, Manifest};

use super::Mirror;
use auto_resume::Life;

pub(crate) mod auto_resume;
mod forecasts;
pub(crate) mod repair;

/// One run of a mirror, with everything it holds open.
pub(crate) struct Run {
    mirror: Mirror,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
    began: Instant,
    folder: Arc<Folder>,
    transfers: Transfers,
    member: Option<Arc<Member>>,
    /// The right to look and to fetch, where a fleet gives it to so many jobs at a time.
    turn: Option<OwnedSemaphorePermit>,
    followers: Followers,
    cadence: Cadence,
    life: Life,
    last_report: Option<LastReport>,
    planned: bool,
    /// The manifest has everything that `job.json` remembers. Before that `job.json` is left as it is.
    inspected: bool,
    /// Looks after the job's end have found nothing new for long enough.
    settled: bool,
    fetching: HashSet<ArtifactKey>,
    noticed: Vec<Notice>,
    outlook: forecasts::Outlook,
    /// How far the manifest was when `SHA256SUMS` and `job.json` were last written.
    written_at: Option<u64>,
    /// Why something of our own could not be written down, the last time that it was tried.
    trouble: Option<Error>,
    /// For how long nothing has changed since an earlier run saw the end that the first look sees.
    known_end: Option<Duration>,
}

/// What was last reported of the job.
#[derive(Debug)]
struct LastReport {
    name: Option<String>,
    status: JobStatus,
    progress: Progress,
    error: Option<String>,
}

impl Run {
    /// Gets everything ready. The job was looked at already, so that no folder is created for a job that does not exist.
    pub(crate) async fn begin(
        mut mirror: Mirror,
        client: ArtifactClient,
        folder: Folder,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
        began: Instant,
    ) -> Result<Self, Error> {
        let options = mirror.options.clone();
        let (member, turn) = mirror.fleet.take().map(Membership::into_parts).unzip();
        let shared = member.as_ref().map(|member: &Arc<Member>| member.shared());
        let handles = shared.map_or_else(fd_limit::share_out, |shared| shared.handles);
        let followers = Followers::start(
            std::mem::take(&mut mirror.followers),
            mirror.dir.clone(),
            mirror.job.clone(),
            folder.store.clone(),
            folder.latest.clone(),
            reporter.clone(),
        )
        .await;
        let nudge = followers.nudge();
        let transfers = Transfers::start(Setup {
            client,
            api: mirror.api.clone(),
            job: mirror.job.clone(),
            dir: mirror.dir.clone(),
            parts: folder.parts.clone(),
            options: options.clone(),
            reporter: reporter.clone(),
            committer: Committer {
                dir: mirror.dir.clone(),
                store: folder.store.clone(),
                on_change: options.on_change,
                gather: options.gather,
                batch: BATCH.min(handles.finished),
                place: Some(folder.place.clone()),
            },
            cancel: stop.token().child_token(),
            handles,
            member: member.clone(),
            after_commit: Box::new(move || nudge.notify_one()),
        })?;
        let inspected = folder.recollections.is_empty();
        let cadence = Cadence::new(options.interval);
        let life = Life::new(&options, folder.resumes.clone());
        Ok(Self {
            mirror,
            reporter,
            stop,
            began,
            folder: Arc::new(folder),
            transfers,
            member,
            turn: turn.flatten(),
            followers,
            cadence,
            life,
            last_report: None,
            planned: false,
            inspected,
            settled: false,
            fetching: HashSet::new(),
            noticed: Vec::new(),
            outlook: forecasts::Outlook::default(),
            written_at: None,
            trouble: None,
            known_end: None,
        })
    }

    /// Gives up the turn: everything that was ordered is here or failed, so another job of the fleet may use it.
    fn rest(&mut self) {
        if self.member.is_some() {
            self.turn = None;
        }
    }

    /// Waits until this job may look again, where only so many may at a time; `false` when the run should end.
    async fn take_turn(&mut self) -> bool {
        let (Some(member), None) = (&self.member, &self.turn) else { return true };
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => false,
            turn = member.turn() => {
                self.turn = turn;
                true
            }
        }
    }

    /// Follows the job from the first look to the end.
    pub(crate) async fn follow(&mut self, first: JobSnapshot) -> Result<ExitStatus, Error> {
        let mut looked = first;
        self.life.count(&mut looked);
        self.known_end = self.folder.known_end.as_ref().and_then(|end| end.quiet_for(&looked));
        loop {
            self.life.count(&mut looked);
            let pass = match self.pass(&looked).await {
                Err(error) if !self.mirror.options.once && is_full(&error) => {
                    self.worry(error);
                    Pass::default()
                }
                pass => pass?,
            };
            if self.mirror.options.once {
                self.wait_until_quiet().await;
                return self.conclude(&looked, &pass).await;
            }
            self.watch(&pass);
            let going = self.keep_going(&looked, &pass).await;
            let wait = match going {
                Some(wait) => Some(wait),
                None => self.next_look(&pass).await,
            };
            let Some(wait) = wait else {
                return self.conclude(&looked, &pass).await;
            };
            if !self.wait(&looked, wait).await || !self.take_turn().await {
                return self.conclude(&looked, &pass).await;
            }
            match self.look_again().await {
                Ok(Some(next)) => looked = next,
                Err(refused) => {
                    // The API will have no more of it, but the addresses that it gave still work.
                    self.wait_until_quiet().await;
                    self.wind_up(&looked).await?;
                    return Err(refused);
                }
                Ok(None) => return self.conclude(&looked, &pass).await,
            }
        }
    }

    /// Looks until the API answers; `None` when the run should end instead.
    async fn look_again(&self) -> Result<Option<JobSnapshot>, Error> {
        let (api, job, cancel) = (&self.mirror.api, &self.mirror.job, self.stop.token());
        let answer = look(api, job, Patience::Endless, self.reporter.as_ref(), cancel);
        match self.deadline() {
            // However long the API is away, the run ends at its time limit.
            Some(deadline) => tokio::time::timeout_at(deadline, answer).await.unwrap_or(Ok(None)),
            None => answer.await,
        }
    }

    /// When this run should end, whatever is left.
    fn deadline(&self) -> Option<Instant> {
        self.mirror.options.timeout.map(|timeout| self.began + timeout)
    }

    /// Plans and orders; what is ordered continues in the background.
    async fn pass(&mut self, looked: &JobSnapshot) -> Result<Pass, Error> {
        self.written_at = None;
        self.folder.ensure_in_place()?;
        self.tell_job(looked);
        let listing = self.folder.listing(looked);
        let unreachable = self.unreachable(looked, &listing);
        self.notice(looked.result.unusable.iter().cloned().map(Notice::UnusableRow));
        let generation = self.transfers.learn(&listing).await;
        let state = looked.state(&listing.artifacts);
        self.transfers.set_run_may_write(!state.is_over());
        let actions = self.plan(looked, &listing, state).await?;
        for action in &actions {
            debug!(path = %action.artifact.path, step = %action.step, "planned");
        }
        let run = looked.run();
        let order = |action: &Action| {
            let run = asked_stamp(&run, &action.artifact, &listing);
            self.task(looked, &run, action, state, generation)
        };
        let transfers: Vec<Task> =
            actions.iter().filter(|action| matches!(action.step, Step::Fetch(_))).map(order).collect();
        let present = actions.iter().filter(|action| action.step == Step::Keep).count() as u64;
        let fetch = transfers.len() as u64;
        let fetching: HashSet<ArtifactKey> =
            transfers.iter().map(|transfer| transfer.artifact.key.clone()).collect();
        // A file that settles is planned at every look; that is reported once.
        if !self.planned || !fetching.is_subset(&self.fetching) {
            self.reporter.report(&Event::Plan { fetch, bytes: (fetch == 0).then_some(0), present });
        }
        let mut ordered = self.transfers.order(transfers).await;
        let (dir, store) = (&self.mirror.dir, &self.folder.store);
        let inspected = inspect::inspect(dir, store, &actions, self.reporter.as_ref(), &self.stop).await?;
        self.inspected |= inspected.is_whole;
        let doubtful =
            inspected.fetch.iter().map(|action| self.task(looked, &run, action, state, generation)).collect();
        ordered += self.transfers.order(doubtful).await;
        self.planned = true;
        self.fetching = fetching;
        // Reported at the end, and when that of the job is first seen in this folder: once for a crontab that selects nothing.
        let is_first_seen = self.folder.resumes.last.as_ref() != Some(&looked.status.status);
        let sight = Sight::of(state.is_over(), is_first_seen, self.mirror.options.once);
        let nothing = nothing_found(&actions, &self.mirror.options.selection, sight);
        let pass = Pass { ordered, unreachable, nothing, ..Pass::of(looked, &listing, &actions, state) };
        if !inspected.is_whole {
            return Ok(pass);
        }
        // Tried again at the end; what is to be fetched does not wait for it.
        if let Err(error) = self.retain().await {
            self.worry(error);
        }
        self.write_ledger(looked, &listing.artifacts).await;
        self.look_ahead(looked, &listing, state).await;
        self.followers.nudge().notify_one();
        Ok(pass)
    }

    /// Writes `SHA256SUMS` and `job.json`. A fault is reported and does not end the run: files can still be fetched.
    async fn write_ledger(&mut self, looked: &JobSnapshot, listed: &[Arc<Artifact>]) {
        if !self.inspected {
            return;
        }
        self.written_at = Some(self.folder.lock().sequence());
        match self.folder.write_ledger(looked, listed, &self.mirror.job).await {
            Ok(()) => self.trouble = None,
            Err(error) => self.worry(error),
        }
    }

    /// Reports trouble once, and remembers it for the end.
    fn worry(&mut self, error: Error) {
        let notice = Notice::Failed(error.clone());
        if is_news(&mut self.noticed, &notice) {
            self.reporter.report(&Event::Trouble { notice });
        }
        self.trouble = Some(error);
    }

    async fn plan(
        &self,
        looked: &JobSnapshot,
        listing: &Listing,
        state: RunState,
    ) -> Result<Vec<Action>, Error> {
        let local = self.folder.look_around(listing).await?;
        let store = self.folder.lock();
        let actions = plan(&Situation {
            listing,
            manifest: store.manifest(),
            recollections: &self.folder.recollections,
            local: &local,
            selection: &self.mirror.options.selection,
            run: &looked.run(),
            reached: if state.is_over() {
                None
            } else {
                Some(looked.status.progress.current_step.unwrap_or(0))
            },
        });
        Ok(actions)
    }

    fn task(
        &self,
        looked: &JobSnapshot,
        run: &str,
        action: &Action,
        state: RunState,
        generation: u64,
    ) -> Task {
        let store = self.folder.lock();
        let manifest = store.manifest();
        let key = &action.artifact.key;
        let is_damaged = action.step == Step::Fetch(FetchReason::Damaged);
        let recheck = match &action.step {
            Step::Fetch(FetchReason::Recheck(revision)) => Some(revision.clone()),
            _ => None,
        };
        Task {
            artifact: action.artifact.clone(),
            recheck,
            is_damaged,
            may_adopt: action.step == Step::Fetch(FetchReason::Unproven),
            entry: manifest.entries.get(key).cloned(),
            doubt: manifest.doubts.get(key).cloned(),
            half_of_pair: action.artifact.pair_half(looked.name()).is_some(),
            run_may_write: !state.is_over(),
            cut_off: state.is_cut_off(),
            run: run.to_owned(),
            generation,
        }
    }

    fn tell_job(&mut self, looked: &JobSnapshot) {
        let changed = self.last_report.as_ref().is_none_or(|last_report| {
            last_report.status != looked.status.status
                || last_report.progress != looked.status.progress
                || last_report.name.as_deref() != looked.name()
                || last_report.error.as_deref() != looked.error()
        });
        if changed {
            self.reporter.report(&job_event(looked));
            self.last_report = Some(LastReport {
                name: looked.name().map(str::to_owned),
                status: looked.status.status.clone(),
                progress: looked.status.progress,
                error: looked.error().map(str::to_owned),
            });
        }
    }

    fn notice(&mut self, notices: impl Iterator<Item = Notice>) {
        for notice in notices {
            if is_news(&mut self.noticed, &notice) {
                self.reporter.report(&Event::Notice { notice });
            }
        }
    }

    /// Counts the listed files that cannot be fetched from their addresses, and names each once.
    fn unreachable(&mut self, looked: &JobSnapshot, listing: &Listing) -> u64 {
        let notices = unreachable(looked, listing, &self.mirror.options.selection);
        let count = notices.len() as u64;
        for notice in notices {
            if is_news(&mut self.noticed, &notice) {
                self.reporter.report(&Event::Trouble { notice });
            }
        }
        count
    }

    /// Returns how long to wait for the next look; `None` when there need not be one.
    async fn next_look(&mut self, pass: &Pass) -> Option<Duration> {
        let now = self.began.elapsed();
        let look = pass.look(!self.transfers.is_quiet());
        // Taken: a later look of this run sees whether anything changes by itself.
        if let Some(quiet_for) = self.known_end.take() {
            let has_final = pass.has_final();
            let lacks_something = pass.unreachable > 0 || self.trouble.is_some();
            if (KnownEnd { quiet_for, has_final, lacks_something }).is_waited_out(&look) {
                return None;
            }
        }
        let next = self.cadence.next(now, &look);
        let cooled = self.transfers.cooled_at().await.map(|at| at.saturating_duration_since(Instant::now()));
        match next {
            Next::After(wait) => {
                if let Some(member) = &self.member {
                    member.expect_save(pass.until_next_save(self.cadence.seconds_a_step()));
                }
                if look.state == RunState::Running {
                    let seconds_a_step = self.cadence.seconds_a_step();
                    self.reporter.report(&Event::Pace { seconds_a_step, next_save: pass.next_save() });
                }
                self.reporter.report(&Event::Waiting { wait });
                Some(wait.min(cooled.unwrap_or(wait).max(Duration::from_millis(200))))
            }
            Next::Enough => {
                self.settled = true;
                None
            }
        }
    }

    /// Returns when another run is worth it; `None` when nothing more will come.
    fn next_run(
        &mut self,
        looked: &JobSnapshot,
        pass: &Pass,
        missing: bool,
        cooled_at: Option<Instant>,
    ) -> Option<Duration> {
        let look = pass.look(!self.transfers.is_quiet());
        let mut left = Left { look, missing, settled: self.settled, state_age: None };
        let mut now = self.began.elapsed();
        if self.mirror.options.once {
            // A single pass has seen the job once; the folder has seen it before.
            let clock = jiff::Timestamp::now().as_second();
            let recent = History::load(&self.mirror.dir).recent(&looked.status.status);
            let at = |seconds: i64| Duration::from_secs(seconds.max(0).unsigned_abs());
            for (seen, step) in recent.steps {
                self.cadence.recall(at(seen), step);
            }
            (now, left.state_age) = (at(clock), recent.since.map(|since| at(clock.saturating_sub(since))));
        }
        let wait = self.cadence.next_run(now, &left)?;
        let cooled = cooled_at.map(|at| at.saturating_duration_since(Instant::now()));
        Some(wait.min(cooled.unwrap_or(wait)))
    }

    /// Waits; `false` when the run should end instead of looking again.
    async fn wait(&mut self, looked: &JobSnapshot, wait: Duration) -> bool {
        let deadline = self.deadline();
        let until = Instant::now() + wait;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        if self.transfers.is_quiet() {
            self.rest();
        } else {
            tokio::select! {
                biased;
                () = self.stop.token().cancelled() => return false,
                () = tokio::time::sleep_until(until) => {}
                () = self.transfers.quiet() => {
                    self.record_what_came(looked).await;
                    self.rest();
                }
            }
        }
        if self.transfers.is_quiet() {
            self.keep_newest().await;
        }
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => false,
            () = tokio::time::sleep_until(until) => deadline.is_none_or(|deadline| Instant::now() < deadline),
        }
    }

    /// Writes down what came since the last look. The next one may be an hour away: a reader of the folder until then,
    /// or after a kill, should find all of it in `SHA256SUMS`.
    async fn record_what_came(&mut self, looked: &JobSnapshot) {
        // The next look reports a folder that went away.
        if self.folder.ensure_in_place().is_ok() {
            let listing = self.folder.listing(looked);
            self.write_ledger(looked, &listing.artifacts).await;
        }
    }

    async fn wait_until_quiet(&self) {
        let over = async {
            match self.deadline() {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => {}
            () = self.transfers.quiet() => {}
            () = over => {}
        }
    }

    /// Ends the connections, keeps what they have, commits what is finished, and writes everything down.
    async fn wind_up(&mut self, looked: &JobSnapshot) -> Result<(), Error> {
        self.transfers.finish().await;
        // Nothing is written where another folder may be by now.
        self.folder.ensure_in_place()?;
        let sequence = self.folder.lock().sequence();
        if self.written_at != Some(sequence) || self.trouble.is_some() {
            let listing = self.folder.listing(looked);
            self.write_ledger(looked, &listing.artifacts).await;
        }
        self.followers.finish().await;
        Ok(())
    }

    /// Keeps the newest checkpoint the newest of all, for a trainer that goes by that.
    async fn keep_newest(&mut self) {
        // A folder that went away is the next look's business.
        if self.folder.ensure_in_place().is_err() {
            return;
        }
        let dir = self.mirror.dir.clone();
        let saves = Saves::of(&dir, self.folder.lock().manifest());
        if let Ok(Err(error)) = blocking(move || saves.keep_newest(&dir)).await {
            self.notice([Notice::Failed(error)].into_iter());
        }
    }

    /// Removes what the user does not want to keep here; returns whether anything was removed.
    async fn retain(&self) -> Result<bool, Error> {
        let Some(retention) = self.mirror.options.retention.filter(|_| self.inspected) else {
            return Ok(false);
        };
        let (dir, store) = (self.mirror.dir.clone(), self.folder.store.clone());
        let pruning = blocking(move || prune::apply(&dir, &store, retention));
        let pruned = pruning.await.map_err(lost("prune", &self.mirror.dir))??;
        for entry in &pruned.removed {
            let notice = Notice::Pruned { path: entry.path.clone(), bucket: false };
            self.reporter.report(&Event::Notice { notice });
        }
        Ok(!pruned.removed.is_empty())
    }

    /// Winds up, counts what is here, and returns how the run ends.
    async fn conclude(&mut self, looked: &JobSnapshot, pass: &Pass) -> Result<ExitStatus, Error> {
        let interrupted = self.stop.is_stopped();
        let cooled_at = self.transfers.cooled_at().await;
        self.wind_up(looked).await?;
        // Last, so that followers have had each published file.
        match self.retain().await {
            Ok(false) => {}
            Ok(true) => {
                let listing = self.folder.listing(looked);
                self.write_ledger(looked, &listing.artifacts).await;
                self.followers.look_again().await;
            }
            Err(error) => self.worry(error),
        }
        self.keep_newest().await;
        let (present, missing) = self.count_and_tidy(pass).await?;
        let failed = missing.len() as u64 + pass.unreachable;
        let exit = if interrupted { self.stop.status() } else { self.verdict(pass, &missing) };
        let next_look = self.next_run(looked, pass, !missing.is_empty(), cooled_at);
        let follows = !self.mirror.options.once && !pass.state.is_some_and(RunState::is_over);
        if follows && exit == ExitStatus::TryAgain && self.is_timed_out() {
            self.reporter.report(&Event::Notice { notice: Notice::TimedOut });
        }
        let nothing = pass.nothing.clone().map(|nothing| Notice::of_nothing(nothing, pass.offered));
        self.notice(nothing.into_iter());
        self.reporter.report(&Event::Done {
            exit,
            published: self.transfers.published(),
            bytes: self.transfers.received(),
            present,
            failed,
            elapsed: self.began.elapsed(),
            job_status: Some(looked.status.status.clone()),
            next_look,
        });
        Ok(exit)
    }

    /// Counts the files that are here and names those that are missing; removes parts that no file needs any more, and folds
    /// the journal.
    async fn count_and_tidy(&mut self, pass: &Pass) -> Result<(u64, Vec<ArtifactKey>), Error> {
        let (folder, why, wanted) =
            (self.folder.clone(), self.transfers.missing().clone(), pass.wanted.clone());
        let is_over = pass.state.is_some_and(RunState::is_over);
        let tidying = blocking(move || {
            let mut store = folder.lock();
            let (present, missing) = count(&folder.dir, store.manifest(), &why, &wanted);
            if missing.is_empty()
                && is_over
                && let Err(error) = folder.parts.sweep(|_| false)
            {
                debug!(%error, "parts that no file needs are left");
            }
            (present, missing, store.compact())
        });
        let (present, missing, compacted) = tidying.await.map_err(lost("read", &self.mirror.dir))?;
        if let Err(error) = compacted {
            self.worry(error);
        }
        Ok((present, missing))
    }

    /// Whether this run has lasted as long as it may.
    fn is_timed_out(&self) -> bool {
        self.mirror.options.timeout.is_some_and(|timeout| self.began.elapsed() >= timeout)
    }

    fn verdict(&self, pass: &Pass, missing: &[ArtifactKey]) -> ExitStatus {
        let why = self.transfers.missing();
        let disk =
            missing.iter().any(|key| matches!(why.get(key), Some(Missing::Failed(cause)) if cause.is_disk()));
        let timed_out = self.is_timed_out();
        let state = pass.state.unwrap_or(RunState::Running);
        match () {
            () if disk => ExitStatus::Disk,
            () if self.trouble.is_some() => {
                self.trouble.as_ref().map_or(ExitStatus::Disk, Error::exit_status)
            }
            () if !missing.is_empty() || pass.unreachable > 0 => ExitStatus::TryAgain,
            () if self.mirror.options.once => ExitStatus::Complete,
            () if timed_out && !state.is_over() => ExitStatus::TryAgain,
            () => state.exit_status(),
        }
    }
}

/// Names the listed files that may be wanted and have no address that can be used.
pub(crate) fn unreachable(looked: &JobSnapshot, listing: &Listing, selection: &Selection) -> Vec<Notice> {
    let all = looked.result.unreachable.iter().chain(&listing.rejected);
    all.filter(|file| selection.may_want(file.kind))
        .map(|file| Notice::Unfetchable { kind: file.kind, why: file.why.clone() })
        .collect()
}

/// Whether the disk has no room for what was to be written down.
fn is_full(error: &Error) -> bool {
    matches!(error, Error::Disk { source, .. } if disk::is_full(source))
}

/// Counts the files that are here, offered still or not, and names wanted ones that are not. What is in the manifest may
/// have gone since: a file that was deleted here and could not be fetched again is not here, and one whose new bytes
/// could not be had is not what is listed.
fn count(
    dir: &Path,
    manifest: &Manifest,
    why: &HashMap<ArtifactKey, Missing>,
    wanted: &[ArtifactKey],
) -> (u64, Vec<ArtifactKey>) {
    let here = |key: &ArtifactKey| {
        let entry = manifest.entries.get(key).filter(|entry| entry.state == EntryState::Present);
        entry.is_some_and(|entry| match why.get(key) {
            None => true,
            Some(Missing::Vanished) => matches!(
                disk::look(dir, entry.path.as_str()),
                Some(LocalFile::File { size, modified }) if size == entry.size && modified == entry.modified
            ),
            Some(Missing::Settling | Missing::Failed(_)) => false,
        })
    };
    let present = manifest.entries.keys().filter(|key| here(key)).count() as u64;
    // What was removed on purpose since it was planned is not missing.
    let is_pruned =
        |key: &ArtifactKey| manifest.entries.get(key).is_some_and(|entry| entry.state == EntryState::Pruned);
    (present, wanted.iter().filter(|key| !here(key) && !is_pruned(key)).cloned().collect())
}

fn job_event(looked: &JobSnapshot) -> Event {
    Event::Job {
        name: looked.name().map(str::to_owned),
        status: looked.status.status.clone(),
        progress: looked.status.progress,
        error: looked.error().map(str::to_owned),
    }
}

/// Looks and plans, and reports what would be done; writes nothing.
pub(crate) async fn rehearse(
    mirror: &Mirror,
    reporter: &dyn Reporter,
    looked: &JobSnapshot,
    began: Instant,
) -> Result<ExitStatus, Error> {
    let looked = &{
        let mut looked = looked.clone();
        Folder::peek_resumes(&mirror.dir, &mirror.job).count(&mut looked);
        looked
    };
    reporter.report(&job_event(looked));
    let (manifest, recollections) = Folder::peek(&mirror.dir, &mirror.job, &mirror.api.origin())?;
    let listing = Folder::listing_for(&manifest, &recollections, looked);
    let local = Folder::look_at(&mirror.dir, &manifest, &listing).await?;
    for notice in unreachable(looked, &listing, &mirror.options.selection) {
        reporter.report(&Event::Trouble { notice });
    }
    let state = looked.state(&listing.artifacts);
    let actions = plan(&Situation {
        listing: &listing,
        manifest: &manifest,
        recollections: &recollections,
        local: &local,
        selection: &mirror.options.selection,
        run: &looked.run(),
        reached: if state.is_over() { None } else { Some(looked.status.progress.current_step.unwrap_or(0)) },
    });
    for action in &actions {
        let Artifact { key, path, .. } = action.artifact.as_ref();
        reporter.report(&Event::Planned {
            path: path.clone(),
            kind: key.kind,
            action: action.step.planned(),
        });
    }
    let fetch = actions.iter().filter(|action| matches!(action.step, Step::Fetch(_))).count() as u64;
    let present = actions.iter().filter(|action| action.step == Step::Keep).count() as u64;
    reporter.report(&Event::Plan { fetch, bytes: (fetch == 0).then_some(0), present });
    let exit = ExitStatus::Complete;
    let elapsed = began.elapsed();
    let job_status = Some(looked.status.status.clone());
    let next_look = (!state.is_over() || fetch > 0).then_some(Cadence::SHORTEST);
    reporter.report(&Event::Done {
        exit,
        published: 0,
        bytes: 0,
        present,
        failed: 0,
        elapsed,
        job_status,
        next_look,
    });
    Ok(exit)
}
