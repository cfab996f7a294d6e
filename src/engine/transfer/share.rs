//! What the jobs of a fleet share: hosts, rate, connections and turns; and one job's part in it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::decide::fleet::connections::{Due, Need, Waiting};
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::edge::net::http::ArtifactClient;
use crate::edge::net::rate_limit::Limiter;
use crate::edge::system::fd_limit::{Handles, ManyHandles};
use crate::engine::transfer::host_backoff::Gates;
use crate::model::artifact::ArtifactKind;
use crate::model::units::ByteCount;

use super::pool::Pool;

pub(crate) use super::pool::Permit;

/// What all jobs of a fleet share.
#[derive(Debug)]
pub(crate) struct Shared {
    hosts: ArtifactClient,
    pub(crate) gates: Arc<Gates>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) handles: Handles,
    pool: Arc<Pool>,
    turns: Arc<Semaphore>,
    began: Instant,
}

/// How much all jobs together may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Connections to hosts of artifacts.
    pub(crate) connections: usize,
    /// Jobs that look and fetch at a time; `None`: all.
    pub(crate) jobs: Option<usize>,
    /// Bytes a second.
    pub(crate) limit_rate: Option<ByteCount>,
}

impl Shared {
    pub(crate) fn new(hosts: ArtifactClient, budget: Budget, handles: ManyHandles) -> Arc<Self> {
        let connections = budget.connections.min(handles.connections);
        // Twice as many as there are: what waits for a connection is the next to get one that a job gives back.
        let each = handles.each.connections.min(connections.saturating_mul(2));
        Arc::new(Self {
            hosts,
            gates: Arc::default(),
            limiter: budget.limit_rate.map(Limiter::new).map(Arc::new),
            handles: Handles { connections: each, ..handles.each },
            pool: Pool::new(connections),
            turns: Arc::new(Semaphore::new(budget.jobs.unwrap_or(Semaphore::MAX_PERMITS).max(1))),
            began: Instant::now(),
        })
    }
}

/// One job of a fleet.
#[derive(Debug)]
pub(crate) struct Member {
    shared: Arc<Shared>,
    number: usize,
    /// When the job's next save is due.
    save: Mutex<Option<Instant>>,
}

impl Member {
    pub(crate) const fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number, save: Mutex::new(None) }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Waits until the job may look and fetch.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.turns.clone().acquire_owned().await.ok()
    }

    /// The next save of the job, after which older ones may be deleted, is due after this long.
    pub(crate) fn expect_save(&self, after: Option<Duration>) {
        let due = after.and_then(|after| Instant::now().checked_add(after));
        *self.save.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }

    /// Whether connections are left that no job of the fleet waits for.
    pub(super) fn has_free_connections(&self) -> bool {
        self.shared.pool.has_free()
    }

    /// Connections that all jobs of the fleet use now.
    pub(super) fn connections_in_use(&self) -> usize {
        self.shared.pool.in_use()
    }

    /// Waits for the right to one request.
    pub(crate) async fn permit(&self, kind: ArtifactKind, run_may_write: bool) -> Permit {
        let wanted = Waiting { job: self.number, need: self.need(kind, run_may_write) };
        self.shared.pool.permit(wanted).await
    }

    fn need(&self, kind: ArtifactKind, run_may_write: bool) -> Need {
        if kind != ArtifactKind::Checkpoint || !run_may_write {
            return Need::Ordinary;
        }
        let save = *self.save.lock().unwrap_or_else(PoisonError::into_inner);
        Need::AtRisk(
            save.map_or(Due::Unknown, |due| Due::At(due.saturating_duration_since(self.shared.began))),
        )
    }
}

/// What a mirror needs to know of the fleet that it belongs to.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) member: Arc<Member>,
    pub(crate) first: Option<JobSnapshot>,
    pub(crate) turn: Option<OwnedSemaphorePermit>,
}

impl Membership {
    pub(crate) fn hosts(&self) -> ArtifactClient {
        self.member.shared.hosts.clone()
    }

    /// Returns what the fleet saw of the job already.
    pub(crate) const fn take_first(&mut self) -> Option<JobSnapshot> {
        self.first.take()
    }

    pub(crate) fn into_parts(self) -> (Arc<Member>, Option<OwnedSemaphorePermit>) {
        (self.member, self.turn)
    }
}
