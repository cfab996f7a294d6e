//! One connection's work: request, receive, write, hash, and report once a group.
//!
//! A connection decides nothing. It asks what to do with each response, and what it has done goes to the file's state:
//! through the coordinator for a range of a large file, directly for a small one, whose state it carries along.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::decide::transfer::protocol::{Assignment, RangeEnd, Ticket};
use crate::decide::transfer::stall::{LOOK, Pulse};
use crate::decide::transfer::write_place::WritePlace;
use crate::edge::net::http::{Body, RangeRequest};
use crate::edge::net::unpack;
use crate::edge::system::blocking::{blocking, lost};
use crate::error::Error;
use crate::model::artifact::Artifact;
use crate::model::fault::{Fault, RangeFault};
use crate::model::response_head::Head;

use super::context::{Context, Refusal};
use super::download::{Absorbed, Download};
use super::group::Group;
use super::messages::{Reply, Served};
use super::shared_end::SharedEnd;

/// How often bytes on their way to a record are checked.
pub(super) const KEEP_UP: Duration = Duration::from_millis(250);

/// Where a connection's reports go, and its orders are from.
pub(super) trait Port: Send {
    /// Reports a response's head.
    fn response(
        &mut self,
        ticket: Ticket,
        head: Head,
        waited: Duration,
    ) -> impl Future<Output = Reply> + Send;

    /// Reports the length of an unpacked body.
    fn unpacked(&mut self, ticket: Ticket, length: u64) -> impl Future<Output = Reply> + Send;

    /// Reports bytes that were written.
    fn booked(&mut self, ticket: Ticket, absorbed: Absorbed);
}

/// One range being fetched.
pub(super) struct Fetch<'a> {
    pub(super) context: &'a Arc<Context>,
    pub(super) artifact: &'a Artifact,
    pub(super) download: &'a Arc<Download>,
    pub(super) assignment: &'a Assignment,
    pub(super) end: &'a Arc<SharedEnd>,
    /// Connections in use.
    pub(super) load: usize,
    /// So many that a host may refuse the crowd.
    pub(super) crowded: bool,
}

/// What comes before the wanted bytes of a body.
struct Front {
    /// Bytes that were not requested.
    skip: u64,
    /// Bytes that are here already, and must be these.
    expected: Vec<u8>,
}

impl Front {
    /// Takes what belongs here off a chunk; `None` when it is not what is expected.
    fn pass(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let dropped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        self.skip -= dropped as u64;
        chunk = chunk.slice(dropped..);
        let known = self.expected.len().min(chunk.len());
        if chunk[..known] != self.expected[..known] {
            return None;
        }
        self.expected.drain(..known);
        Some(chunk.slice(known..))
    }
}

impl Fetch<'_> {
    /// Fetches the range, or what is left of it when its end is lowered.
    pub(super) async fn run(&self, port: &mut impl Port) -> Served {
        let mut served =
            Served { end: RangeEnd::Stopped, bytes: 0, took: Duration::ZERO, waited: Duration::ZERO };
        served.end = match self.request(port, &mut served).await {
            Ok(end) => end,
            Err(Refusal::Network(fault)) => RangeEnd::Fault { fault, crowded: self.crowded },
            Err(Refusal::Disk(trouble)) => RangeEnd::Disk(trouble),
        };
        tracing::debug!(
            path = %self.artifact.path,
            range = ?self.assignment.range,
            bytes = served.bytes,
            waited = ?served.waited,
            took = ?served.took,
            end = ?served.end,
            "a connection is done with a range"
        );
        served
    }

    async fn request(&self, port: &mut impl Port, served: &mut Served) -> Result<RangeEnd, Refusal> {
        let Assignment { ticket, range, url, request, overlap, lacks } = self.assignment;
        // What an earlier run left shows the length before any response does.
        if let Some(lacks) = lacks {
            self.context.promise_room(self.artifact, *lacks)?;
        }
        let expected = self.read_before(range.start, *overlap).await?;
        let ask = RangeRequest {
            start: request.start,
            end: request.end,
            plain: request.plain,
            if_range: request.if_range.clone(),
            if_changed: request.if_changed.clone(),
        };
        let permit = tokio::select! {
            biased;
            () = self.end.stopped() => return Ok(RangeEnd::GivenUp),
            permit = self.context.permit(url, self.artifact) => permit?,
        };
        let Some(_permit) = permit else { return Ok(RangeEnd::Stopped) };
        let asked_at = Instant::now();
        let sent = || self.end.set_sent();
        let answer = tokio::select! {
            biased;
            () = self.end.stopped() => return Ok(RangeEnd::GivenUp),
            answer = self.context.get(url, &ask, sent) => answer?,
        };
        let Some((head, body)) = answer else { return Ok(RangeEnd::Stopped) };
        served.waited = asked_at.elapsed();
        tracing::trace!(
            path = %self.artifact.path,
            host = url.host(),
            ?range,
            status = head.status,
            waited = ?served.waited,
            "response"
        );
        match port.response(*ticket, head, served.waited).await {
            Reply::Drop => Ok(RangeEnd::Stopped),
            Reply::ReadRefusal => Err(body.into_refusal().await.into()),
            Reply::Unpack => self.unpack(body, port, served).await,
            Reply::Receive { skip, take, lacks } => {
                if let Some(lacks) = lacks {
                    self.context.promise_room(self.artifact, lacks)?;
                }
                self.take(body, Front { skip, expected }, take, port, served).await
            }
        }
    }

    /// Reads back the bytes before this range.
    async fn read_before(&self, start: u64, count: u64) -> Result<Vec<u8>, Refusal> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let download = self.download.clone();
        let read = blocking(move || download.before(start, count)).await;
        Ok(read.map_err(lost("read", Path::new(self.artifact.path.as_str())))??)
    }

    /// Takes a text that came packed: it is unpacked as a whole, and its own format proves it.
    async fn unpack(
        &self,
        mut body: Body,
        port: &mut impl Port,
        served: &mut Served,
    ) -> Result<RangeEnd, Refusal> {
        let mut packed = Vec::new();
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => return Ok(RangeEnd::Stopped),
                chunk = body.chunk() => chunk?,
            };
            let Some(chunk) = chunk else { break };
            self.context.count_received(chunk.len() as u64);
            self.context.pace(chunk.len()).await;
            packed.extend_from_slice(&chunk);
            if packed.len() > unpack::MOST {
                return Err(Fault::Range(RangeFault::Packed(unpack::TOO_LONG)).into());
            }
        }
        let path = Path::new(self.artifact.path.as_str());
        let unpacked = blocking(move || unpack::unpack(&packed)).await.map_err(lost("unpack", path))?;
        let text = unpacked.map_err(|why| Fault::Range(RangeFault::Packed(why)))?;
        let Reply::Receive { lacks, .. } = port.unpacked(self.assignment.ticket, text.len() as u64).await
        else {
            return Ok(RangeEnd::Stopped);
        };
        if let Some(lacks) = lacks {
            self.context.promise_room(self.artifact, lacks)?;
        }
        let mut writer = Writer::new(self);
        writer.write(vec![text.into()], port).await?;
        writer.settle(port).await?;
        served.bytes = writer.written;
        Ok(RangeEnd::Finished)
    }

    /// Takes a body's bytes: the next group is received while the last one is written and hashed.
    async fn take(
        &self,
        mut body: Body,
        mut front: Front,
        take: Option<u64>,
        port: &mut impl Port,
        served: &mut Served,
    ) -> Result<RangeEnd, Refusal> {
        let context = self.context;
        let mut writer = Writer::new(self);
        let mut group = Group::new(context.portions, context.connections_in_use(self.load));
        group.size_for(writer.place(0));
        let mut position = self.assignment.range.start;
        let mut left = take.unwrap_or(u64::MAX);
        let began = Instant::now();
        let mut pulse = Pulse::new(Duration::ZERO, context.stall_timeout);
        let mut at_risk = false;
        let mut body_ended = false;
        let mut stopped = std::pin::pin!(self.end.stopped());
        let fault = loop {
            let wanted = left.min(self.end.wanted(position));
            if wanted == 0 || self.download.is_abandoned() {
                break None;
            }
            let patience = if at_risk { KEEP_UP } else { LOOK };
            let chunk = tokio::select! {
                biased;
                () = context.cancel.cancelled() => break None,
                () = &mut stopped => break None,
                chunk = tokio::time::timeout(patience, body.chunk()) => chunk.unwrap_or(Ok(Some(Bytes::new()))),
            };
            let came = chunk.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, Bytes::len));
            if pulse.observe(began.elapsed(), came as u64) {
                break Some(Fault::Dripped { after: context.stall_timeout });
            }
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    body_ended = true;
                    break ended_early(take, left);
                }
                Err(fault) => break Some(fault),
            };
            let Some(mut chunk) = front.pass(chunk) else { return Ok(RangeEnd::Changed) };
            chunk.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
            if !chunk.is_empty() {
                let count = chunk.len() as u64;
                context.count_received(self.end.arrive(position, count));
                left -= count;
                position += count;
                if group.add(chunk) {
                    writer.put(&mut group, port).await?;
                }
                at_risk = true;
            }
            if came == 0 && at_risk {
                at_risk = writer.keep_up(&mut group, port).await?;
            } else if came > 0 {
                self.pace(came, &mut writer, &mut group, port).await?;
            }
        };
        writer.put(&mut group, port).await?;
        writer.settle(port).await?;
        served.bytes = writer.written;
        served.took = began.elapsed();
        Ok(match fault {
            Some(fault) => RangeEnd::Fault { fault, crowded: self.crowded },
            None if context.cancel.is_cancelled() || self.download.is_abandoned() => RangeEnd::Stopped,
            None if self.end.is_stopped() => RangeEnd::GivenUp,
            None if body_ended && take.is_none() => RangeEnd::BodyEnded,
            None => RangeEnd::Finished,
        })
    }

    /// Waits until the rate allows what came; what is here meanwhile is written and recorded.
    async fn pace(
        &self,
        came: usize,
        writer: &mut Writer<'_>,
        group: &mut Group,
        port: &mut impl Port,
    ) -> Result<(), Refusal> {
        if !self.context.is_paced() {
            return Ok(());
        }
        let pace = self.context.pace(came);
        tokio::pin!(pace);
        while tokio::time::timeout(KEEP_UP, &mut pace).await.is_err() {
            writer.keep_up(group, port).await?;
        }
        Ok(())
    }
}

fn ended_early(take: Option<u64>, left: u64) -> Option<Fault> {
    let take = take?;
    let received = take - left;
    Some(Fault::ended_early(received, Some(left)))
}

/// Writes groups, one at a time and in order: on the spot, or beside the connection that receives them.
struct Writer<'a> {
    fetch: &'a Fetch<'a>,
    /// Where the next group belongs.
    offset: u64,
    written: u64,
    running: Option<Writing>,
}

/// A group being written, or written on the spot.
enum Writing {
    Elsewhere(JoinHandle<Result<Absorbed, Error>>),
    Done(Result<Absorbed, Error>),
}

impl<'a> Writer<'a> {
    /// Begins at the front of a range.
    const fn new(fetch: &'a Fetch<'a>) -> Self {
        Self { fetch, offset: fetch.assignment.range.start, written: 0, running: None }
    }

    /// Where a group of so many bytes is written next.
    fn place(&self, count: u64) -> WritePlace {
        let Fetch { context, download, .. } = *self.fetch;
        context.write_place(count, download.is_small() || download.is_next(self.offset))
    }

    /// Waits for the last group and begins to write this one; the next one is gathered for the same place.
    async fn put(&mut self, group: &mut Group, port: &mut impl Port) -> Result<(), Refusal> {
        if let Some(place) = self.write(group.take(), port).await? {
            group.size_for(place);
        }
        Ok(())
    }

    /// Waits for the last bytes and begins to write these; returns where.
    async fn write(
        &mut self,
        chunks: Vec<Bytes>,
        port: &mut impl Port,
    ) -> Result<Option<WritePlace>, Refusal> {
        self.settle(port).await?;
        if chunks.is_empty() {
            return Ok(None);
        }
        let Fetch { context, artifact, download, end, .. } = *self.fetch;
        let offset = self.offset;
        let count: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        context.spend_room(artifact, count)?;
        let place = self.place(count);
        self.offset += count;
        self.running = Some(match place {
            WritePlace::OnTheSpot => {
                let began = Instant::now();
                let absorbed = download.absorb(&context.parts, end, offset, &chunks, place);
                context.meters.wrote(began.elapsed());
                Writing::Done(absorbed)
            }
            WritePlace::Elsewhere => {
                let (download, context, end) = (download.clone(), context.clone(), end.clone());
                Writing::Elsewhere(blocking(move || {
                    download.absorb(&context.parts, &end, offset, &chunks, place)
                }))
            }
        });
        Ok(Some(place))
    }

    /// Writes, and then records, bytes that came a while ago. Returns whether any are left that a kill would cost.
    async fn keep_up(&mut self, group: &mut Group, port: &mut impl Port) -> Result<bool, Refusal> {
        let download = self.fetch.download;
        if group.is_due() {
            self.put(group, port).await?;
        } else if group.is_empty() && download.is_record_due() {
            self.settle(port).await?;
            let keeping = download.clone();
            let kept = blocking(move || keeping.keep()).await;
            kept.map_err(|gone| lost_writer(self.fetch.artifact, gone))??;
        }
        Ok(!group.is_empty() || self.running.is_some() || download.is_ahead_of_record())
    }

    /// Waits for the last group, and reports it.
    async fn settle(&mut self, port: &mut impl Port) -> Result<(), Refusal> {
        let absorbed = match self.running.take() {
            None => return Ok(()),
            Some(Writing::Elsewhere(running)) => {
                let _held_up = self.fetch.context.meters.hold_up();
                running.await.map_err(|gone| lost_writer(self.fetch.artifact, gone))??
            }
            Some(Writing::Done(absorbed)) => absorbed?,
        };
        self.written += absorbed.count;
        port.booked(self.fetch.assignment.ticket, absorbed);
        Ok(())
    }
}

/// After a panic in a write the state of the bytes is unknown; the part's record lists what can be trusted.
fn lost_writer(artifact: &Artifact, gone: JoinError) -> Error {
    lost("write", Path::new(artifact.path.as_str()))(gone)
}
