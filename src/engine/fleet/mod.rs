//! Many jobs in one process: a loop over mirrors that share what the API and the hosts bear.
//!
//! It is no scheduler: each job is followed as if it were alone. What is shared is in `engine::transfer::share`; what follows the end of a
//! job's run is decided by `decide::fleet::again`.

pub(crate) mod api_toll;
pub(crate) mod overview;
mod page;
pub(crate) mod registry;
pub(crate) mod source;
#[cfg(test)]
#[cfg(feature = "buckets")]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::fleet::again::{self, Ended, Next, Outlook};
use crate::decide::fleet::job_list::Listed;
use crate::decide::fleet::order::order;
use crate::decide::fleet::template::Template;
use crate::edge::api::ApiClient;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::fd_limit;
use crate::engine::poll::{Patience, interrupted, look};
use crate::engine::transfer::share::{Budget, Member, Membership, Shared};
use crate::error::{BucketError, Error, ExitStatus, Unfit, explain_briefly};
use crate::model::destination::Destination;
use crate::model::job::JobId;
use crate::model::list_fault::ListFaults;

#[cfg(feature = "buckets")]
use super::event::RetryCause;
use super::event::{Event, Notice, Reporter};
use super::stop::Stop;
use page::Page;
use source::{Changes, Source};

/// What happens in a fleet, beside the events of its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The list was read: so many jobs, of which these are new or gone.
    Listed { jobs: usize, added: Vec<JobId>, removed: Vec<JobId> },
    /// The store that has the list does not answer, and is asked again after a wait.
    #[cfg(feature = "buckets")]
    ListAway { cause: RetryCause, wait: Duration },
    /// The list cannot be used; the jobs of the last one are still followed.
    BadList { why: Error },
    /// More jobs than this process may hold files open for: the others wait until one is over.
    TooMany { jobs: usize, open: usize },
    /// The page that compares the jobs could not be drawn; nothing else is affected.
    NoPage(Error),
    /// The job is over for this fleet.
    Over { job: JobId, exit: ExitStatus },
}

/// A listener of a whole fleet. Called from many threads.
pub(crate) trait Listener: Send + Sync {
    /// Takes in an event of a job.
    fn event(&self, job: &JobId, event: &Event);
    /// Takes in what happens in the fleet.
    fn news(&self, news: &News);
}

/// One run of one job, ready to begin.
pub(crate) struct Start<T> {
    pub(crate) job: Arc<Listed<T>>,
    pub(crate) to: Destination,
    pub(crate) membership: Membership,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) stop: Stop,
    /// How long this run may last.
    pub(crate) timeout: Option<Duration>,
}

/// Mirrors one job with everything that belongs to it (hooks, ComfyUI, gallery).
pub(crate) type Launch<T> = dyn Fn(Start<T>) -> BoxFuture<'static, Result<ExitStatus, Error>> + Send + Sync;

/// Waits until a job that another process holds may be free.
pub(crate) type UntilFree = dyn Fn(&Destination) -> BoxFuture<'static, ()> + Send + Sync;

/// Reads a list of jobs; the error names everything that is wrong with it.
pub(crate) type ReadList<T> = dyn Fn(&str) -> Result<Vec<Listed<T>>, ListFaults> + Send + Sync;

/// A fleet, ready to begin.
pub(crate) struct Fleet<T> {
    pub(crate) api: ApiClient,
    pub(crate) hosts: ArtifactClient,
    pub(crate) source: Source,
    pub(crate) read_list: Box<ReadList<T>>,
    pub(crate) to: Template,
    pub(crate) budget: Budget,
    /// One pass over all.
    pub(crate) once: bool,
    /// How long all of it may last.
    pub(crate) timeout: Option<Duration>,
    pub(crate) launch: Box<Launch<T>>,
    /// Where several processes share the jobs: the name of this one, and how to wait for a job that another one holds.
    pub(crate) sharing: Option<(String, Box<UntilFree>)>,
    pub(crate) listener: Arc<dyn Listener>,
    /// The folder of all mirrors, where a page is kept that compares them.
    pub(crate) page: Option<PathBuf>,
    pub(crate) stop: Stop,
}

/// How each job ended, in the order of their ids.
pub(crate) type Endings = BTreeMap<JobId, ExitStatus>;

/// What is known of a job of the list.
struct Entry<T> {
    listed: Arc<Listed<T>>,
    stop: Stop,
    ended: Option<ExitStatus>,
    /// Cancelled when nothing is done for it any more.
    gone: CancellationToken,
}

impl<T: PartialEq + Send + Sync + 'static> Fleet<T> {
    /// Follows all jobs until they are over, or until it is stopped. Returns how each one ended.
    ///
    /// # Errors
    /// When there is no list to begin with.
    pub(crate) async fn run(self) -> Result<Endings, Error> {
        let began = Instant::now();
        // Watched before it is read: what changes in between is not missed.
        let watch = if self.once { None } else { self.source.watch() };
        let Some(text) = self.first_list().await? else { return Ok(Endings::new()) };
        let list = (self.read_list)(&text).map_err(|faults| self.source.refused(faults))?;
        let handles = fd_limit::share_out_among(list.len());
        let shared = Shared::new(self.hosts.clone(), self.budget, handles);
        if handles.open < list.len() {
            self.listener.news(&News::TooMany { jobs: list.len(), open: handles.open });
        }
        let crew = Arc::new(Crew {
            shared,
            open: Semaphore::new(handles.open),
            folders: Mutex::default(),
            began,
            page: self.page.clone().map(Page::below).map(Arc::new),
            fleet: self,
        });
        let course =
            Course { crew: crew.clone(), entries: BTreeMap::new(), tasks: JoinSet::new(), numbers: 0, text };
        let following = course.follow(list, watch);
        let Some(page) = &crew.page else { return following.await };
        let tell = |news| crew.fleet.listener.news(&news);
        let endings = tokio::select! {
            biased;
            endings = following => endings,
            () = page.keep(tell) => return Ok(Endings::new()),
        };
        page.finish(tell).await;
        endings
    }

    /// Reads the list that the fleet begins with; `None` where it is stopped before the source answers.
    async fn first_list(&self) -> Result<Option<String>, Error> {
        let over = async {
            match self.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => Ok(None),
            text = self.source.read() => text.map(Some),
            () = over => Err(self.source.no_answer()),
        }
    }
}

/// What the tasks of all jobs share.
struct Crew<T> {
    fleet: Fleet<T>,
    shared: Arc<Shared>,
    /// Jobs whose folders may be open.
    open: Semaphore,
    /// Which job has which folder.
    folders: Mutex<HashMap<String, JobId>>,
    page: Option<Arc<Page>>,
    began: Instant,
}

/// The loop over the list.
struct Course<T> {
    crew: Arc<Crew<T>>,
    entries: BTreeMap<JobId, Entry<T>>,
    tasks: JoinSet<(Arc<Listed<T>>, ExitStatus)>,
    /// Jobs begun so far: each has a number of its own.
    numbers: usize,
    /// The list as it was last read.
    text: String,
}

impl<T: PartialEq + Send + Sync + 'static> Course<T> {
    async fn follow(mut self, list: Vec<Listed<T>>, watch: Option<Changes>) -> Result<Endings, Error> {
        self.take_over(list);
        let crew = self.crew.clone();
        let (stop, source) = (&crew.fleet.stop, &crew.fleet.source);
        let next_list = || async {
            match &watch {
                Some(watch) => {
                    watch.wait().await;
                    source.read().await
                }
                None => std::future::pending().await,
            }
        };
        // Beside the jobs: a source that does not answer holds up neither their ends nor the end of the fleet.
        let mut reading = std::pin::pin!(next_list());
        loop {
            tokio::select! {
                biased;
                ended = self.tasks.join_next() => match ended {
                    Some(Ok((listed, exit))) => self.note(&listed, exit),
                    // A defect of ours in one job; the others are followed on.
                    Some(Err(_)) => {}
                    None => break,
                },
                read = reading.as_mut(), if !stop.is_stopped() => {
                    self.take_in(read);
                    reading.set(next_list());
                }
            }
        }
        let lost = if stop.is_stopped() { stop.status() } else { ExitStatus::Disk };
        Ok(self.entries.into_iter().map(|(job, entry)| (job, entry.ended.unwrap_or(lost))).collect())
    }

    fn note(&mut self, listed: &Arc<Listed<T>>, exit: ExitStatus) {
        // One that was taken off the list, or is on it with other settings now, is not what ended.
        if let Some(entry) = self.entries.get_mut(&listed.job)
            && Arc::ptr_eq(&entry.listed, listed)
        {
            entry.ended = Some(exit);
            self.crew.fleet.listener.news(&News::Over { job: listed.job.clone(), exit });
        }
    }

    /// Takes in the list as it was read again.
    fn take_in(&mut self, read: Result<String, Error>) {
        let fleet = &self.crew.fleet;
        match read {
            Ok(text) if text == self.text => {}
            Ok(text) => {
                let list = (fleet.read_list)(&text);
                self.text = text;
                match list {
                    Ok(list) => self.take_over(list),
                    Err(faults) => {
                        let why = fleet.source.refused(faults);
                        fleet.listener.news(&News::BadList { why });
                    }
                }
            }
            // A file that an editor is about to replace is away for a moment.
            Err(why) => {
                let text = explain_briefly(&why);
                if self.text != text {
                    fleet.listener.news(&News::BadList { why });
                    self.text = text;
                }
            }
        }
    }

    /// Begins what is new or different in the list, and ends what is no longer on it.
    fn take_over(&mut self, mut list: Vec<Listed<T>>) {
        if let Some((process, _)) = &self.crew.fleet.sharing {
            order(&mut list, process);
        }
        let mut old = std::mem::take(&mut self.entries);
        let jobs = list.len();
        let mut added = Vec::new();
        for listed in list {
            let entry = match old.remove(&listed.job) {
                Some(entry) if *entry.listed == listed => entry,
                Some(before) => {
                    before.stop.stop(ExitStatus::Interrupted);
                    self.begin(Arc::new(listed), Some(before.gone))
                }
                None => {
                    added.push(listed.job.clone());
                    self.begin(Arc::new(listed), None)
                }
            };
            self.entries.insert(entry.listed.job.clone(), entry);
        }
        old.values().for_each(|entry| entry.stop.stop(ExitStatus::Interrupted));
        let removed = old.into_keys().collect();
        self.crew.fleet.listener.news(&News::Listed { jobs, added, removed });
    }

    /// Begins a job, once the run of it with other settings has left its folder.
    fn begin(&mut self, listed: Arc<Listed<T>>, after: Option<CancellationToken>) -> Entry<T> {
        let stop = self.crew.fleet.stop.child();
        let (crew, number) = (self.crew.clone(), self.numbers);
        self.numbers += 1;
        let gone = CancellationToken::new();
        let (task, ends, left) = (listed.clone(), stop.clone(), gone.clone().drop_guard());
        self.tasks.spawn(async move {
            if let Some(after) = after {
                after.cancelled().await;
            }
            let exit = crew.follow(&task, number, &ends).await;
            drop(left);
            (task, exit)
        });
        Entry { listed, stop, ended: None, gone }
    }
}

impl<T: Send + Sync + 'static> Crew<T> {
    /// Follows one job until it is over for this fleet.
    async fn follow(&self, listed: &Arc<Listed<T>>, number: usize, stop: &Stop) -> ExitStatus {
        let member = Arc::new(Member::new(self.shared.clone(), number));
        let (mut failures, mut was_held) = (0, false);
        loop {
            let (ended, to) = self.run(listed, &member, failures, was_held, stop).await;
            was_held = ended.is_held;
            if stop.is_stopped() {
                return ended.exit;
            }
            failures = again::failures(failures, &ended);
            let next = if self.fleet.once { Next::Over } else { again::next(&ended, failures) };
            let Next::After(wait) = next else { return ended.exit };
            if self.time_left().is_some_and(|left| left <= wait) {
                return self.leave(listed, was_held, ended.exit);
            }
            tokio::select! {
                biased;
                () = stop.token().cancelled() => return self.leave(listed, was_held, stop.status()),
                () = tokio::time::sleep(wait) => {}
            }
            let (true, Some((_, until_free)), Some(to)) = (was_held, &self.fleet.sharing, to) else {
                continue;
            };
            let over = async {
                match self.time_left() {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.token().cancelled() => return self.leave(listed, was_held, stop.status()),
                () = over => return self.leave(listed, was_held, ended.exit),
                () = until_free(&to) => {}
            }
        }
    }

    /// Ends with a job that waits. One that another process holds has had no last event yet.
    fn leave(&self, listed: &Arc<Listed<T>>, was_held: bool, exit: ExitStatus) -> ExitStatus {
        if was_held {
            self.fleet.listener.event(&listed.job, &nothing_done(exit, Duration::ZERO, Some(Duration::ZERO)));
        }
        exit
    }

    /// Runs one job once; returns how it ended, and where it is mirrored to as far as that is known. A job that was held
    /// before and still is was reported already.
    async fn run(
        &self,
        listed: &Arc<Listed<T>>,
        member: &Arc<Member>,
        failures: u32,
        was_held: bool,
        stop: &Stop,
    ) -> (Ended, Option<Destination>) {
        let began = Instant::now();
        let job = listed.job.clone();
        let listener = self.fleet.listener.clone();
        let page = self.page.clone();
        let reporter =
            Arc::new(JobReporter { job, listener, outlook: Mutex::default(), to: OnceLock::new(), page });
        let ended = match self.mirror(listed, member, reporter.clone(), stop).await {
            Ok(Some(exit)) => Ended { exit, outlook: reporter.outlook(), is_held: false },
            Ok(None) => {
                let exit = interrupted(reporter.as_ref(), stop, began);
                Ended { exit, outlook: None, is_held: false }
            }
            Err(error) => {
                let ended = Ended { exit: error.exit_status(), outlook: None, is_held: is_held(&error) };
                // What another process has is no trouble, and it ends only with this fleet.
                match (ended.is_held, was_held) {
                    (true, true) => {}
                    (true, false) => reporter.report(&Event::Notice { notice: Notice::JobHeld(error) }),
                    (false, _) => reporter.report(&Event::Trouble { notice: Notice::JobFailed(error) }),
                }
                if !ended.is_held || self.fleet.once {
                    let next_look = match again::next(&ended, again::failures(failures, &ended)) {
                        Next::After(wait) => Some(wait),
                        Next::Over => None,
                    };
                    reporter.report(&nothing_done(ended.exit, began.elapsed(), next_look));
                }
                ended
            }
        };
        (ended, reporter.to.get().cloned())
    }

    /// Looks at a job, finds its folder, and mirrors it; `None` when the fleet was stopped before that.
    async fn mirror(
        &self,
        listed: &Arc<Listed<T>>,
        member: &Arc<Member>,
        reporter: Arc<JobReporter>,
        stop: &Stop,
    ) -> Result<Option<ExitStatus>, Error> {
        let seat = stop.token().run_until_cancelled(self.open.acquire()).await;
        let Some(Ok(_seat)) = seat else { return Ok(None) };
        let Some(turn) = stop.token().run_until_cancelled(member.turn()).await else { return Ok(None) };
        let (api, job) = (&self.fleet.api, &listed.job);
        let first = look(api, job, Patience::Short, reporter.as_ref(), stop.token()).await?;
        let Some(first) = first else { return Ok(None) };
        let to = self.fleet.to.fill(job, first.name())?;
        self.claim(&to, job)?;
        // It is set once for each run.
        let _ = reporter.to.set(to.clone());
        let start = Start {
            job: listed.clone(),
            to,
            membership: Membership { member: member.clone(), first: Some(first), turn },
            reporter,
            stop: stop.clone(),
            timeout: self.time_left(),
        };
        (self.fleet.launch)(start).await.map(Some)
    }

    /// Notes that a folder is this job's.
    fn claim(&self, to: &Destination, job: &JobId) -> Result<(), Error> {
        let (key, path) = match to {
            Destination::Folder(dir) => {
                let text = dir.to_string_lossy();
                // These disks know no difference.
                let knows_case = !cfg!(any(windows, target_os = "macos"));
                (if knows_case { text.into_owned() } else { text.to_lowercase() }, dir.clone())
            }
            Destination::Bucket(url) => (url.to_string(), url.to_string().into()),
        };
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = folders.entry(key).or_insert_with(|| job.clone());
        if owner == job {
            return Ok(());
        }
        Err(Error::FolderUnfit { path, why: Unfit::SameName(owner.clone()) })
    }

    fn time_left(&self) -> Option<Duration> {
        self.fleet.timeout.map(|timeout| timeout.saturating_sub(self.began.elapsed()))
    }
}

/// Takes in the events of one job, and passes them on.
struct JobReporter {
    job: JobId,
    listener: Arc<dyn Listener>,
    outlook: Mutex<Option<Outlook>>,
    /// Where the job is mirrored to, once its name is known.
    to: OnceLock<Destination>,
    page: Option<Arc<Page>>,
}

impl JobReporter {
    fn outlook(&self) -> Option<Outlook> {
        *self.outlook.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for JobReporter {
    fn report(&self, event: &Event) {
        if let Event::Done { next_look, .. } = event {
            let outlook = next_look.map_or(Outlook::Over, Outlook::Again);
            *self.outlook.lock().unwrap_or_else(PoisonError::into_inner) = Some(outlook);
        }
        self.listener.event(&self.job, event);
        // What a look found is in `job.json` a moment later; the page is drawn at the last event in any case.
        if let Some(page) = self.page.as_ref().filter(|_| is_shown(event)) {
            page.touch();
        }
    }
}

/// Whether an event may change what the page shows.
const fn is_shown(event: &Event) -> bool {
    matches!(event, Event::Published { .. } | Event::Waiting { .. } | Event::Done { .. })
}

/// The last event of a run that did nothing.
const fn nothing_done(exit: ExitStatus, elapsed: Duration, next_look: Option<Duration>) -> Event {
    let (published, bytes, present, failed) = (0, 0, 0, 0);
    Event::Done { exit, published, bytes, present, failed, elapsed, job_status: None, next_look }
}

/// Whether another process has the job, so that this one leaves it alone.
fn is_held(error: &Error) -> bool {
    match error {
        Error::FolderInUse { .. } => true,
        Error::Bucket(fault) => {
            matches!(**fault, BucketError::Held { .. } | BucketError::TakenOver { .. })
        }
        _ => false,
    }
}
