//! Downloads, as the rest of the engine uses them: files are ordered here, and end as published or missing.

pub(crate) mod adopt;
mod batch;
mod carried;
mod context;
mod coordinator;
pub(crate) mod disk_space;
mod download;
mod group;
pub(crate) mod host_backoff;
pub(crate) mod link_refresh;
mod messages;
mod meters;
mod pool;
pub(crate) mod share;
mod shared_end;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::mirror::stock::UnderWay;
use crate::decide::transfer::connections::Limits;
use crate::decide::transfer::ranges::Cut;
use crate::decide::transfer::scheduler::Scheduler;
use crate::decide::transfer::task::{Missing, Task};
use crate::edge::api::ApiClient;
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::net::http::ArtifactClient;
use crate::edge::net::rate_limit::Limiter;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::fd_limit::Handles;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::job::JobId;
use crate::model::listing::Listing;

use super::destination::commit::Committer;
use super::event::Reporter;
use super::options::SyncOptions;
use coordinator::{Coordinator, State};
use disk_space::Room;
use host_backoff::Gates;
use link_refresh::Relister;
use messages::{Message, Summary};
use meters::Meters;
use share::Member;

pub(super) use context::Context;

/// Proven files that may wait for their names; beyond that, transfers wait for the disk.
const COMMIT_QUEUE: usize = 512;

/// How files are cut into ranges, to begin with.
const fn cut(block: u64) -> Cut {
    Cut {
        // What the next request for a file asks for, while it is unknown what a connection delivers.
        piece: 2 * block,
        // The most one request asks for. Large enough that a round trip between two requests costs little, small enough
        // that several connections on one file stay close together and the hash close behind them.
        first: 16 * block,
        // Halves smaller than this are not worth a round trip, as long as it is unknown how long that takes.
        split: 2 * block,
        block,
    }
}

/// Batches are small enough that one in this many of the handles for proven files is enough for each.
const HANDLES_OF_A_BATCH: usize = 16;

/// What the downloads of a run begin with.
pub(super) struct Setup {
    pub(super) client: ArtifactClient,
    pub(super) api: ApiClient,
    pub(super) job: JobId,
    pub(super) dir: PathBuf,
    pub(super) parts: PartFolder,
    pub(super) options: SyncOptions,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) committer: Committer,
    pub(super) cancel: CancellationToken,
    pub(super) handles: Handles,
    /// The job's part in a fleet.
    pub(super) member: Option<Arc<Member>>,
    /// Called after each file that was committed.
    pub(super) after_commit: Box<dyn Fn() + Send + Sync>,
}

/// The downloads of one run. Dropping it ends them where they are.
pub(super) struct Transfers {
    context: Arc<Context>,
    relister: Arc<Relister>,
    is_quiet: watch::Receiver<bool>,
    coordinator: JoinSet<Summary>,
    summary: Summary,
}

impl Transfers {
    /// Starts the coordinator and the committer.
    ///
    /// # Errors
    /// When the folder of parts cannot be read.
    pub(super) async fn start(setup: Setup) -> Result<Self, Error> {
        let Setup {
            client,
            api,
            job,
            dir,
            parts,
            options,
            reporter,
            committer: mut commits,
            cancel,
            handles,
            member,
            after_commit,
        } = setup;
        let reading = blocking({
            let parts = parts.clone();
            move || parts.fingerprints()
        });
        let leftovers = reading.await.map_err(lost("read", &parts.path("")))??;
        let (commit, items) = mpsc::channel(COMMIT_QUEUE.min(handles.finished));
        let (inbox, messages) = mpsc::unbounded_channel();
        let (shown, is_quiet) = watch::channel(true);
        let limits = Limits {
            cap: options.connections.map(|cap| usize::from(cap.get())),
            bearable: handles.connections,
            rate: options.limit_rate.map(|rate| rate.0),
            processors: std::thread::available_parallelism().map_or(2, usize::from),
            is_pooled: member.is_some(),
        };
        let shared_connections = member.is_some();
        let shared = member.as_ref().map(|member| member.shared());
        let gates: Arc<Gates> = shared.map_or_else(Arc::default, |shared| shared.gates.clone());
        let limiter = shared.and_then(|shared| shared.limiter.clone());
        let context = Arc::new(Context {
            client,
            dir,
            limiter: limiter.or_else(|| options.limit_rate.map(Limiter::new).map(Arc::new)),
            room: Room::new(parts.path(""), options.min_free),
            parts,
            gates,
            member,
            reporter,
            cancel,
            inbox: inbox.clone(),
            stall_timeout: options.stall_timeout,
            once: options.once,
            portions: options.portions,
            meters: Meters::new(),
            run_may_write: AtomicBool::new(false),
        });
        if shared_connections {
            commits.gather = commits.gather.in_a_fleet();
        }
        let coming = commits.coming.clone();
        let mut committer = JoinSet::new();
        committer.spawn(commits.run(items, move |group| {
            if inbox.send(Message::Committed(group)).is_err() {
                tracing::debug!("the run is over: a commit was not reported");
            }
            after_commit();
        }));
        let relister = Arc::new(Relister::new(api, job));
        let mut coordinator = JoinSet::new();
        coordinator.spawn(
            Coordinator {
                context: context.clone(),
                inbox: messages,
                scheduler: Scheduler::new(
                    &limits,
                    cut(options.portions.block),
                    handles.finished / HANDLES_OF_A_BATCH,
                ),
                relister: relister.clone(),
                commit,
                coming,
                committer,
                is_quiet: shown,
                options,
                leftovers,
                most_proven: (handles.finished / 2).max(1),
                state: State::default(),
            }
            .run(),
        );
        Ok(Self { context, relister, is_quiet, coordinator, summary: Summary::default() })
    }

    /// Takes in a listing that a poll delivered; returns its generation.
    pub(super) async fn learn(&self, listing: &Listing) -> u64 {
        self.relister.learn(listing).await
    }

    /// Orders files, in order of urgency; returns how many of them were not under way already.
    pub(super) async fn order(&self, tasks: Vec<Task>) -> u64 {
        let (answer, admitted) = oneshot::channel();
        self.send(Message::Order(tasks, answer));
        admitted.await.unwrap_or(0)
    }

    /// Returns how far the files under way are.
    pub(super) async fn progress(&self) -> Vec<UnderWay> {
        let (answer, progress) = oneshot::channel();
        self.send(Message::Progress(answer));
        progress.await.unwrap_or_default()
    }

    /// Whether no file is under way.
    pub(super) fn is_quiet(&self) -> bool {
        *self.is_quiet.borrow()
    }

    /// Returns when the next file that cools down may be ordered again.
    pub(super) async fn cooled_at(&self) -> Option<Instant> {
        let (answer, cooled_at) = oneshot::channel();
        self.send(Message::CooledAt(answer));
        cooled_at.await.ok().flatten()
    }

    /// Waits until no file is under way.
    pub(super) async fn quiet(&self) {
        let mut is_quiet = self.is_quiet.clone();
        if is_quiet.wait_for(|is_quiet| *is_quiet).await.is_err() {
            tracing::debug!("the coordinator is gone");
        }
    }

    /// Returns the bytes of bodies that arrived.
    pub(super) fn received(&self) -> u64 {
        self.context.meters.received()
    }

    /// Sets whether the run may still be writing files.
    pub(super) fn set_run_may_write(&self, may_write: bool) {
        self.context.run_may_write.store(may_write, Ordering::Relaxed);
    }

    /// Sets whether a save would be lost for want of speed.
    pub(super) fn set_hurry(&self, hurry: bool) {
        self.context.meters.set_hurry(hurry);
    }

    /// Returns the bytes that may be written before the disk is as full as it may be; `None` where the file system does not
    /// report its size.
    pub(super) async fn room_above_floor(&self) -> Result<Option<u64>, Error> {
        let context = self.context.clone();
        let asking = blocking(move || context.room.above_floor());
        asking.await.map_err(lost("read", &self.context.dir))?
    }

    /// Ends connections, keeps what they have, commits what is proven.
    pub(super) async fn finish(&mut self) {
        self.context.cancel.cancel();
        while let Some(ended) = self.coordinator.join_next().await {
            match ended {
                Ok(summary) => self.summary = summary,
                Err(error) => tracing::debug!(%error, "the coordinator did not end by itself"),
            }
        }
    }

    /// Returns why files are not here, once it has finished.
    pub(super) const fn missing(&self) -> &HashMap<ArtifactKey, Missing> {
        &self.summary.missing
    }

    /// Returns how many files were published, once it has finished.
    pub(super) const fn published(&self) -> u64 {
        self.summary.published
    }

    fn send(&self, message: Message) {
        if self.context.inbox.send(message).is_err() {
            tracing::debug!("the run is over");
        }
    }
}
