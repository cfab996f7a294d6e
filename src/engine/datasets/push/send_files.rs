//! The files of one push on their way: several at a time, each tried again while that may help.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::decide::datasets::push::sending::{Next, Pace, Route, SendFault, after};
use crate::decide::transfer::backoff::Backoff;
use crate::edge::api::ApiClient;
use crate::edge::net::file_body::{FileBody, UploadMeter};
use crate::edge::net::rate_limit::Limiter;
use crate::edge::net::upload::UploadClient;
use crate::edge::system::clock::until;
use crate::engine::stop::Stop;
use crate::error::{ApiError, Error, ExitStatus, UnknownOutcome};
use crate::model::dataset::DatasetId;
use crate::model::digest::Sha256Digest;
use crate::model::fault::Fault;
use crate::model::upload_record::UploadRecord;

use super::journal::{Journal, note};
use super::{Push, PushFile};
use crate::engine::datasets::event::{FailedPush, PushEvent, PushReporter, RetriedPush};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Requests to slow down in a row, without one accepted file between them, after which the push ends.
const MOST_SLOWED: u32 = 30;

/// A file to be sent.
#[derive(Debug, Clone)]
pub(in crate::engine::datasets) struct Task {
    file: PushFile,
    /// Whether the dataset has no file of this name and length.
    fresh: bool,
    route: Route,
    /// Tries that counted.
    tries: u32,
    /// What was given to the connection whole, without an answer.
    unanswered: Option<Sha256Digest>,
    backoff: Backoff,
    began: Option<Instant>,
}

impl Task {
    pub(in crate::engine::datasets) fn new(file: PushFile, fresh: bool) -> Self {
        let route = Route::of(file.stamp.size);
        let backoff = Backoff::new(fastrand::u64(..), FIRST_WAIT, LONGEST_WAIT);
        Self { file, fresh, route, tries: 0, unanswered: None, backoff, began: None }
    }
}

/// What became of the files.
#[derive(Debug)]
pub(in crate::engine::datasets) struct Outcome {
    pub(in crate::engine::datasets) sent: u64,
    pub(in crate::engine::datasets) bytes: u64,
    pub(in crate::engine::datasets) failed: u64,
    /// The code of the worst failure.
    pub(in crate::engine::datasets) exit: ExitStatus,
    /// What ended it before all files were tried.
    pub(in crate::engine::datasets) fatal: Option<Error>,
    /// The names that the API gave to files, where it gave any.
    pub(in crate::engine::datasets) stored_as: BTreeMap<String, String>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            sent: 0,
            bytes: 0,
            failed: 0,
            exit: ExitStatus::Complete,
            fatal: None,
            stored_as: BTreeMap::new(),
        }
    }
}

/// What all uploads of a push share.
pub(in crate::engine::datasets) struct Delivery {
    sender: Sender,
    connections: usize,
    retries: u32,
}

#[derive(Clone)]
struct Sender {
    api: ApiClient,
    uploads: UploadClient,
    id: DatasetId,
    journal: Journal,
    reporter: Arc<dyn PushReporter>,
    limiter: Option<Arc<Limiter>>,
}

/// One accepted file.
struct Accepted {
    sha256: Sha256Digest,
    stored_as: Option<String>,
}

/// One failed try.
struct Refused {
    fault: SendFault,
    unanswered: Option<Sha256Digest>,
}

impl Delivery {
    pub(in crate::engine::datasets) fn new(
        push: &Push,
        id: DatasetId,
        journal: Journal,
        reporter: Arc<dyn PushReporter>,
    ) -> Self {
        let sender = Sender {
            api: push.api.clone(),
            uploads: push.uploads.clone(),
            id,
            journal,
            reporter,
            limiter: push.options.limit_rate.map(|rate| Arc::new(Limiter::new(rate))),
        };
        Self { sender, connections: push.options.connections, retries: push.options.retries }
    }

    /// Sends all files, until `stop` is used: what is on its way is dropped then, and begins again with the next push.
    pub(in crate::engine::datasets) async fn run(&self, tasks: Vec<Task>, stop: &Stop) -> Outcome {
        let began = Instant::now();
        let mut state = Running {
            queue: tasks.into(),
            waiting: Vec::new(),
            pace: Pace::new(self.connections),
            slowed: 0,
            slow_backoff: Backoff::new(fastrand::u64(..), FIRST_WAIT * 2, LONGEST_WAIT),
            outcome: Outcome::default(),
        };
        // The large ones first: the last of them would be sent alone.
        state.queue.make_contiguous().sort_by_key(|task| task.route == Route::Multipart);
        let mut flying = JoinSet::new();
        loop {
            let now = began.elapsed();
            state.wake(Instant::now());
            while state.outcome.fatal.is_none()
                && flying.len() < state.pace.allowed()
                && now >= state.pace.held_until()
            {
                let Some(mut task) = state.queue.pop_front() else { break };
                task.began.get_or_insert_with(Instant::now);
                let sender = self.sender.clone();
                flying.spawn(async move {
                    let sent = sender.send(&task).await;
                    (task, sent)
                });
            }
            let is_over =
                state.outcome.fatal.is_some() || (state.queue.is_empty() && state.waiting.is_empty());
            if is_over && flying.is_empty() {
                return state.outcome;
            }
            let wake = state.next_wake(began);
            tokio::select! {
                biased;
                () = stop.token().cancelled() => return state.outcome,
                Some(joined) = flying.join_next() => {
                    // A task is only lost when it panics, and the process with it.
                    if let Ok((task, sent)) = joined {
                        self.landed(&mut state, task, sent, began.elapsed());
                    }
                }
                () = until(wake) => {}
            }
        }
    }

    fn landed(&self, state: &mut Running, mut task: Task, sent: Result<Accepted, Refused>, now: Duration) {
        let reporter = self.sender.reporter.as_ref();
        let path = task.file.name.clone();
        let Refused { fault, unanswered } = match sent {
            Ok(accepted) => {
                state.pace.accepted();
                state.slowed = 0;
                state.slow_backoff.reset();
                state.outcome.sent += 1;
                state.outcome.bytes += task.file.stamp.size;
                if let Some(stored_as) = accepted.stored_as {
                    state.outcome.stored_as.insert(path.clone(), stored_as);
                }
                let elapsed = task.began.map(|began| began.elapsed()).unwrap_or_default();
                let size = task.file.stamp.size;
                return reporter.report(&PushEvent::Sent { path, size, sha256: accepted.sha256, elapsed });
            }
            Err(refused) => refused,
        };
        task.unanswered = unanswered;
        task.tries += 1;
        match after(&fault, task.route, task.file.stamp.size, task.tries, self.retries) {
            Next::SlowDown { wait } => {
                task.tries -= 1;
                state.slowed += 1;
                if state.slowed > MOST_SLOWED {
                    return state.end(&fault);
                }
                let wait = state.slow_backoff.next(wait);
                let was_held = now < state.pace.held_until();
                state.pace.slow_down(now, wait);
                if !was_held {
                    let cause = RetriedPush { fault, at_a_time: Some(state.pace.allowed()) };
                    reporter.report(&PushEvent::Retrying { path: None, cause, wait });
                }
                state.queue.push_front(task);
            }
            Next::Again { route, wait, counts } => {
                if !counts {
                    task.tries -= 1;
                }
                task.route = route;
                let wait = if wait { task.backoff.next(retry_after(&fault)) } else { Duration::ZERO };
                let cause = RetriedPush::after(fault);
                reporter.report(&PushEvent::Retrying { path: Some(path), cause, wait });
                state.waiting.push((Instant::now() + wait, task));
            }
            Next::GiveUp => {
                state.outcome.failed += 1;
                state.outcome.exit = worse(state.outcome.exit, exit_of(&fault));
                let cause = FailedPush::Fault(fault);
                reporter.report(&PushEvent::Failed { path: Some(path), cause });
            }
            Next::Stop => state.end(&fault),
        }
    }
}

struct Running {
    queue: VecDeque<Task>,
    waiting: Vec<(Instant, Task)>,
    pace: Pace,
    slowed: u32,
    slow_backoff: Backoff,
    outcome: Outcome,
}

impl Running {
    /// Takes those whose wait is over back into the queue.
    fn wake(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|(at, _)| *at <= now);
        self.waiting = later;
        for (_, task) in due {
            self.queue.push_front(task);
        }
    }

    fn next_wake(&self, began: Instant) -> Option<Instant> {
        let held = (!self.queue.is_empty() && began.elapsed() < self.pace.held_until())
            .then(|| began + self.pace.held_until());
        self.waiting.iter().map(|(at, _)| *at).chain(held).min()
    }

    /// Begins nothing more: no other file would fare better.
    fn end(&mut self, fault: &SendFault) {
        self.outcome.fatal.get_or_insert_with(|| match fault {
            SendFault::Api(fault) => fault.clone().into(),
            SendFault::Host(fault) => Error::Storage(fault.clone()),
            SendFault::Local(fault) => Error::Unsent(fault.clone()),
        });
    }
}

fn retry_after(fault: &SendFault) -> Option<Duration> {
    match fault {
        SendFault::Api(fault) => fault.retry_after(),
        SendFault::Host(Fault::Status { retry_after, .. }) => *retry_after,
        SendFault::Host(_) | SendFault::Local(_) => None,
    }
}

fn exit_of(fault: &SendFault) -> ExitStatus {
    match fault {
        SendFault::Api(fault) => Error::from(fault.clone()).exit_status(),
        SendFault::Host(_) | SendFault::Local(_) => ExitStatus::TryAgain,
    }
}

/// What needs another input is worse than an API that is away, and that is worse than what another try may do.
fn worse(one: ExitStatus, other: ExitStatus) -> ExitStatus {
    let rank = |exit| match exit {
        ExitStatus::Complete => 0,
        ExitStatus::TryAgain => 1,
        ExitStatus::Unavailable | ExitStatus::Protocol => 2,
        _ => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

impl Sender {
    async fn send(&self, task: &Task) -> Result<Accepted, Refused> {
        let file = &task.file;
        if let Some(sha256) = task.unanswered.filter(|_| task.fresh)
            && self.has_arrived(file).await
        {
            self.accepted(file, sha256, None).await;
            return Ok(Accepted { sha256, stored_as: None });
        }
        let (path, size, route) = (file.name.clone(), file.stamp.size, task.route);
        self.reporter.report(&PushEvent::Sending { path, size, route });
        let begun = UploadRecord::Begun { stamp: file.stamp, fresh: task.fresh };
        note(&self.journal, &file.name, begun, self.reporter.as_ref()).await;
        let meter = Meter {
            limiter: self.limiter.clone(),
            reporter: Arc::clone(&self.reporter),
            path: file.name.clone(),
            passed: AtomicU64::new(0),
        };
        let body = FileBody::new(file.path.clone(), file.stamp, Arc::new(meter));
        let answer = match task.route {
            Route::Multipart => {
                let answer = self.api.upload(&self.id, &file.name, &body).await;
                answer.map(|answer| answer.stored_as).map_err(SendFault::from)
            }
            Route::Signed => self.send_signed(file, &body).await.map(|()| None),
        };
        let refused = |fault, unanswered| Refused { fault, unanswered };
        if let Some(fault) = body.fault() {
            return Err(refused(fault.into(), None));
        }
        let sha256 = body.sha256();
        match (answer, sha256) {
            (Ok(stored_as), Some(sha256)) => {
                let stored_as = stored_as.filter(|stored_as| *stored_as != file.name);
                self.accepted(file, sha256, stored_as.clone()).await;
                Ok(Accepted { sha256, stored_as })
            }
            (Ok(_), None) => {
                let cause = UnknownOutcome::AnsweredEarly;
                Err(refused(ApiError::Unknown { cause }.into(), None))
            }
            (Err(fault), sha256) => {
                let is_unanswered = match &fault {
                    SendFault::Api(fault) => {
                        matches!(fault, ApiError::Unreachable { .. } | ApiError::Server { .. })
                    }
                    SendFault::Host(fault) => {
                        matches!(fault, Fault::Interrupted { .. } | Fault::Stalled { .. })
                    }
                    SendFault::Local(_) => false,
                };
                Err(refused(fault, sha256.filter(|_| is_unanswered)))
            }
        }
    }

    async fn send_signed(&self, file: &PushFile, body: &FileBody) -> Result<(), SendFault> {
        // Links are short-lived: each is asked for right before its use.
        let link = self.api.upload_link(&self.id, &file.name, file.stamp.size).await?;
        Ok(self.uploads.send(&link, body).await?)
    }

    /// Whether the dataset lists a file that was given to the connection whole, without an answer.
    async fn has_arrived(&self, file: &PushFile) -> bool {
        let Ok(dataset) = self.api.dataset(&self.id).await else { return false };
        let is_it = |remote: &crate::model::dataset::RemoteFile| {
            remote.name == file.name && remote.size == Some(file.stamp.size)
        };
        dataset.files.is_some_and(|files| files.iter().any(is_it))
    }

    async fn accepted(&self, file: &PushFile, sha256: Sha256Digest, stored_as: Option<String>) {
        let record = UploadRecord::Sent { stamp: file.stamp, sha256, stored_as };
        note(&self.journal, &file.name, record, self.reporter.as_ref()).await;
    }
}

/// Paces and reports the bytes of one try.
struct Meter {
    limiter: Option<Arc<Limiter>>,
    reporter: Arc<dyn PushReporter>,
    path: String,
    passed: AtomicU64,
}

impl UploadMeter for Meter {
    fn pace(&self, bytes: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(limiter) = &self.limiter {
                limiter.take(bytes).await;
            }
        })
    }

    fn passed(&self, bytes: u64) {
        let bytes = self.passed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.reporter.report(&PushEvent::Progress { path: self.path.clone(), bytes });
    }
}
