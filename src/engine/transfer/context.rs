//! What all connections of a run use: the client, the disk's space, hosts that pause, the rate, and the way to users.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::portions::Portions;
use crate::decide::transfer::protocol::Report;
use crate::decide::transfer::task::{DiskTrouble, DiskTroubleKind, FailureCause};
use crate::decide::transfer::write_place::{NextWrite, WritePlace};
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::net::http::{ArtifactClient, Body, RangeRequest};
use crate::edge::net::rate_limit::Limiter;
use crate::edge::system::{disk, fd_limit};
use crate::engine::event::{Event, Notice, Reporter, RetryCause};
use crate::engine::transfer::disk_space::Room;
use crate::engine::transfer::host_backoff::Gates;
use crate::error::Error;
use crate::model::artifact::Artifact;
use crate::model::fault::Fault;
use crate::model::response_head::Head;
use crate::model::source_url::SourceUrl;

use super::messages::Message;
use super::meters::Meters;
use super::pool::Permit;
use super::share::Member;

/// What all connections use.
pub(crate) struct Context {
    pub(super) client: ArtifactClient,
    pub(super) dir: PathBuf,
    pub(super) parts: PartFolder,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) room: Room,
    pub(super) gates: Arc<Gates>,
    /// The job's part in a fleet, which shares its connections.
    pub(super) member: Option<Arc<Member>>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(crate) cancel: CancellationToken,
    pub(super) inbox: mpsc::UnboundedSender<Message>,
    pub(super) stall_timeout: Duration,
    pub(super) once: bool,
    pub(super) portions: Portions,
    /// What connections do.
    pub(super) meters: Meters,
    /// The newest poll showed a run that may still write.
    pub(super) run_may_write: AtomicBool,
}

/// Why a range, or a file, got no further.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The network's fault.
    Network(Fault),
    /// The disk's fault.
    Disk(DiskTrouble),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Network(fault)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Disk(trouble(&error))
    }
}

/// Sorts an error of the disk by what follows from it.
pub(super) fn trouble(error: &Error) -> DiskTrouble {
    let kind = match error {
        Error::Disk { source, .. } if disk::is_full(source) => DiskTroubleKind::Full,
        Error::Disk { source, .. } if fd_limit::is_out(source) => DiskTroubleKind::OutOfHandles,
        _ => DiskTroubleKind::Other,
    };
    DiskTrouble { kind, cause: FailureCause::Disk(error.clone()) }
}

fn no_room(artifact: &Artifact, shortage: Shortage) -> Refusal {
    let cause = FailureCause::NoRoom { path: artifact.path.clone(), shortage };
    Refusal::Disk(DiskTrouble { kind: DiskTroubleKind::NoRoom(shortage), cause })
}

impl Context {
    /// Sends one request; `None` when the run was interrupted. `sent` is called when its host need not be waited for.
    pub(crate) async fn get(
        &self,
        url: &SourceUrl,
        ask: &RangeRequest,
        sent: impl FnOnce(),
    ) -> Result<Option<(Head, Body)>, Fault> {
        let get = async {
            self.gates.pass(url.host(), self.once).await?;
            sent();
            self.client.get(url, ask).await
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ok(None),
            answer = get => answer.map(Some),
        }
    }

    /// Whether a second connection may serve bytes that another one is serving: not while other jobs wait for
    /// connections.
    pub(super) fn may_race(&self) -> bool {
        self.member.as_ref().is_none_or(|member| member.has_free_connections())
    }

    /// Connections in use, of which this job has assigned so many: in a fleet most of those may still wait for a permit, while
    /// other jobs have theirs.
    pub(super) fn connections_in_use(&self, assigned: usize) -> usize {
        self.member.as_ref().map_or(assigned, |member| member.connections_in_use())
    }

    /// Waits for the right to one request, where connections are shared with other jobs; `None` when the run is
    /// interrupted.
    pub(super) async fn permit(
        &self,
        url: &SourceUrl,
        artifact: &Artifact,
    ) -> Result<Option<Option<Permit>>, Fault> {
        let Some(member) = &self.member else { return Ok(Some(None)) };
        let permit = async {
            // A request that waits for its host must not hold a connection that others could use.
            self.gates.pass(url.host(), self.once).await?;
            Ok(Some(Some(member.permit(artifact.key.kind, self.may_run_write()).await)))
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ok(None),
            permit = permit => permit,
        }
    }

    pub(crate) fn count_received(&self, count: u64) {
        self.meters.receive(count);
    }

    /// Where so many bytes are written and hashed next.
    pub(super) fn write_place(&self, bytes: u64, is_in_order: bool) -> WritePlace {
        WritePlace::choose(NextWrite { bytes, is_in_order, is_disk_slow: self.meters.is_disk_slow() })
    }

    /// Whether the newest poll showed a run that may still write: one that was over when a file was ordered may have been
    /// resumed since.
    pub(crate) fn may_run_write(&self) -> bool {
        self.run_may_write.load(Ordering::Relaxed)
    }

    /// Whether a rate limit is set.
    pub(super) const fn is_paced(&self) -> bool {
        self.limiter.is_some()
    }

    /// Waits until the rate allows bytes.
    pub(crate) async fn pace(&self, bytes: usize) {
        if let Some(limiter) = &self.limiter {
            // A run that ends does not wait for the rate.
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {}
                () = limiter.take(bytes as u64) => {}
            }
        }
    }

    /// Promises a file the disk space that it still lacks.
    pub(super) fn promise_room(&self, artifact: &Artifact, wanted: u64) -> Result<(), Refusal> {
        self.room.promise(&artifact.key, wanted)?.map_or(Ok(()), |shortage| Err(no_room(artifact, shortage)))
    }

    /// Asks for leave to write bytes of a file.
    pub(super) fn spend_room(&self, artifact: &Artifact, count: u64) -> Result<(), Refusal> {
        self.room.spend(&artifact.key, count)?.map_or(Ok(()), |shortage| Err(no_room(artifact, shortage)))
    }

    pub(super) fn emit(&self, event: &Event) {
        self.reporter.report(event);
    }

    pub(super) fn emit_all(&self, events: &[Event]) {
        self.reporter.report_all(events);
    }

    /// Makes an event of what a file's state reports.
    pub(super) fn report(&self, artifact: &Artifact, report: Report) {
        let path = artifact.path.clone();
        let event = match report {
            Report::Started { size, resumed_from } => {
                Event::Started { path, kind: artifact.key.kind, step: artifact.step, size, resumed_from }
            }
            Report::Settling { declared, have } => Event::Settling { path, declared, have },
            Report::Retrying { cause, wait } => {
                Event::Retrying { path: Some(path), cause: RetryCause::File(cause), wait }
            }
            Report::NoRoom(shortage) => {
                if !self.room.is_news() {
                    return;
                }
                Event::Notice { notice: Notice::NoRoom { path, shortage } }
            }
            Report::DiskFull { cause } => {
                if !self.room.is_news() {
                    return;
                }
                Event::Notice { notice: Notice::DiskFull(cause) }
            }
            Report::Vanished => Event::Vanished { path },
            Report::Failed(cause) => Event::Failed { path, cause },
        };
        self.emit(&event);
    }
}

/// Nothing is lost when the coordinator is gone: the run is over, and parts stay for the next.
pub(super) fn send(context: &Context, message: Message) {
    if context.inbox.send(message).is_err() {
        tracing::debug!("the run is over: a report was dropped");
    }
}
