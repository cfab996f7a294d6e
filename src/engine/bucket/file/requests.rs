//! Requests to the host of a file, and what follows its answers and faults.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::decide::transfer::outcome::{After, AfterLink, AtGate, after, after_link, at_gate};
use crate::decide::transfer::protocol::Refreshed;
use crate::decide::transfer::resume::{Answer, Asked, resume};
use crate::decide::transfer::state::{LEAST_PROGRESS, RESTARTS_BEFORE_TOLERANCE};
use crate::decide::transfer::task::FailureCause;
use crate::edge::net::http::{Body, RangeRequest};
use crate::edge::net::unpack;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::event::{Event, RetryCause};
use crate::model::artifact::ArtifactKind;
use crate::model::fault::{Fault, RangeFault};
use crate::model::response_head::Head;
use crate::model::revision::{Agreement, Revision};
use crate::model::source_url::SourceUrl;

use super::{Ending, File, Known, Permit, Stopped};

/// Progress is reported each time that so many bytes arrived.
const REPORT_EACH: u64 = 256 << 10;

/// The right to one request and its answer.
#[derive(Debug)]
pub(super) struct Connection {
    _own: OwnedSemaphorePermit,
    _shared: Option<Permit>,
}

pub(super) type Range = std::ops::Range<u64>;

/// A first answer that was accepted.
pub(super) struct First {
    body: Body,
    pub(super) known: Known,
    skip: u64,
    pub(super) take: Option<u64>,
    pub(super) ranges_proven: bool,
    connection: Connection,
    /// Reserved for one part. Always before a connection is taken, so that no connection waits for memory that waits for a
    /// connection.
    memory: OwnedSemaphorePermit,
}

/// An answer whose body is to be read, with what is skipped of it, and its connection.
pub(super) type Begun = (Body, u64, Connection);

/// How the first request ended.
pub(super) enum FirstAnswer {
    /// With a body to read.
    Body(Box<First>),
    /// With a whole text that came packed, and is unpacked.
    Text(Bytes, Known, OwnedSemaphorePermit),
}

impl First {
    pub(super) fn split(self) -> (OwnedSemaphorePermit, Begun) {
        (self.memory, (self.body, self.skip, self.connection))
    }
}

impl File {
    /// Sends the first request, until it is accepted or the file's fetch ends. No memory is held while the file waits: it is
    /// shared with files of other hosts, and in a fleet with other jobs.
    pub(super) async fn first(&self) -> Result<FirstAnswer, Stopped> {
        loop {
            let (url, generation, whole_only, doubt, tolerate) = {
                let story = self.story();
                let doubt = story.doubt.as_ref().map(|doubt| doubt.revision.clone());
                let tolerate = story.restarts >= RESTARTS_BEFORE_TOLERANCE;
                (story.url.clone(), story.generation, story.whole_only, doubt, tolerate)
            };
            let here = self.order.recheck.clone().or(doubt);
            let ask = RangeRequest {
                start: 0,
                end: (!whole_only).then_some(self.shared.part),
                plain: false,
                if_range: None,
                if_changed: here.as_ref().and_then(Revision::if_changed),
            };
            let asked = Asked {
                start: 0,
                end: ask.end,
                known: None,
                if_range: false,
                if_changed: ask.if_changed.is_some(),
                tolerate_suspect: tolerate,
                compared: false,
                unpacks: self.order.artifact.key.kind == ArtifactKind::Config,
            };
            let (memory, (head, body), connection) = match self.get_with_memory(&url, &ask).await {
                Ok(answer) => answer,
                Err(fault) => {
                    Box::pin(self.stumble(fault, generation, false)).await.map_err(Stopped::Ended)?;
                    continue;
                }
            };
            let judged = resume(&asked, &head);
            if let (Some(here), Answer::Take { total, .. }) = (&here, &judged)
                && here.compare(&Revision { length: *total, ..head.revision.clone() }) == Agreement::Same
            {
                return Err(Stopped::Unchanged(here.clone()));
            }
            let fault = match judged {
                Answer::Take { skip, take, total, ranges_proven } => {
                    let revision = Revision { length: total, ..head.revision.clone() };
                    let known = Known { revision, length: total, claims: head.claims };
                    let first = First { body, known, skip, take, ranges_proven, connection, memory };
                    return Ok(FirstAnswer::Body(Box::new(first)));
                }
                Answer::Unchanged => return Err(Stopped::Unchanged(here.unwrap_or_default())),
                Answer::Empty => return Err(Stopped::Unfinished { declared: None, have: 0 }),
                Answer::Changed | Answer::Complete { .. } => return Err(Stopped::Changed),
                Answer::RangesIgnored => return Err(Stopped::RangesIgnored),
                Answer::Refused => Box::pin(body.into_refusal()).await,
                Answer::Reject(fault) => Fault::Range(fault),
                Answer::Unpack => match Box::pin(self.unpacked(body)).await? {
                    Ok(text) if text.is_empty() => {
                        return Err(Stopped::Unfinished { declared: None, have: 0 });
                    }
                    Ok(text) => {
                        // The validators are those of the packed form, the length is not.
                        let revision = Revision { length: None, ..head.revision };
                        let length = Some(text.len() as u64);
                        let known = Known { revision, length, claims: Vec::new() };
                        return Ok(FirstAnswer::Text(text, known, memory));
                    }
                    Err(fault) => fault,
                },
            };
            drop((connection, memory));
            Box::pin(self.stumble(fault, generation, false)).await.map_err(Stopped::Ended)?;
        }
    }

    /// Sends one request for a first part, with memory for that part: reserved once the host may be asked, and before a
    /// connection is taken.
    async fn get_with_memory(
        &self,
        url: &SourceUrl,
        ask: &RangeRequest,
    ) -> Result<(OwnedSemaphorePermit, (Head, Body), Connection), Fault> {
        let memory = loop {
            self.pass_gate(url).await?;
            let memory = self.shared.memory.reserve(self.shared.part).await;
            // The wait for memory may have been long.
            if self.shared.gates.closed(url.host()).is_none() {
                break memory;
            }
        };
        let (answer, connection) = Box::pin(self.get(url, ask)).await?;
        Ok((memory, answer, connection))
    }

    /// Waits until a host may be asked; a fault where that takes longer than a single pass waits.
    async fn pass_gate(&self, url: &SourceUrl) -> Result<(), Fault> {
        self.shared.gates.pass(url.host(), self.shared.options.once).await
    }

    /// Sends one request when a connection is free and the host may be asked.
    async fn get(&self, url: &SourceUrl, ask: &RangeRequest) -> Result<((Head, Body), Connection), Fault> {
        self.pass_gate(url).await?;
        // The semaphore is never closed.
        let Ok(own) = self.shared.connections.clone().acquire_owned().await else {
            return std::future::pending().await;
        };
        let shared = match &self.shared.member {
            Some(member) => Some(member.permit(self.order.artifact.key.kind, self.order.run_may_write).await),
            None => None,
        };
        let connection = Connection { _own: own, _shared: shared };
        Ok((self.shared.hosts.get(url, ask).await?, connection))
    }

    /// Reads a whole text that its host stores packed with gzip.
    async fn unpacked(&self, mut body: Body) -> Result<Result<Bytes, Fault>, Stopped> {
        let mut packed = Vec::new();
        loop {
            match body.chunk().await {
                Ok(Some(chunk)) => packed.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(fault) => return Ok(Err(fault)),
            }
            if packed.len() > unpack::MOST {
                return Ok(Err(Fault::Range(RangeFault::Packed(unpack::TOO_LONG))));
            }
        }
        self.count(packed.len(), None).await;
        let name = std::path::Path::new(self.order.artifact.path.as_str());
        let unpacked = blocking(move || unpack::unpack(&packed)).await.map_err(lost("unpack", name))?;
        Ok(unpacked.map(Bytes::from).map_err(|why| Fault::Range(RangeFault::Packed(why))))
    }

    pub(super) fn report_started(&self, size: Option<u64>) {
        if !std::mem::replace(&mut self.story().reported_started, true) {
            let artifact = &self.order.artifact;
            self.tell(&Event::Started {
                path: artifact.path.clone(),
                kind: artifact.key.kind,
                step: artifact.step,
                size,
                resumed_from: 0,
            });
        }
    }

    /// Counts bytes that arrived, and waits for the rate.
    pub(super) async fn count(&self, bytes: usize, size: Option<u64>) {
        if let Some(limiter) = &self.shared.limiter {
            limiter.take(bytes as u64).await;
        }
        self.shared.received.fetch_add(bytes as u64, Ordering::Relaxed);
        let have = self.have.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        // A bar needs no more than this.
        if have / REPORT_EACH != (have - bytes as u64) / REPORT_EACH || Some(have) == size {
            self.tell(&Event::Received { path: self.order.artifact.path.clone(), have, size });
        }
    }

    /// Fetches one range, in as many requests as that takes. `first` is an answer whose body begins with it.
    pub(super) async fn part(
        &self,
        first: Option<Begun>,
        known: &Known,
        range: Range,
    ) -> Result<Bytes, Stopped> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut buffer = BytesMut::with_capacity(length);
        let mut next = first;
        loop {
            let generation = self.story().generation;
            let before = buffer.len();
            let fault = match next.take() {
                Some((body, skip, _connection)) => {
                    match self.take(body, skip, &mut buffer, length, known.length).await {
                        Ok(()) => return Ok(buffer.freeze()),
                        Err(fault) => fault,
                    }
                }
                None => match self.rest(known, range.start + buffer.len() as u64, range.end).await? {
                    Ok(answer) => {
                        next = Some(answer);
                        continue;
                    }
                    Err(fault) => fault,
                },
            };
            let progressed = (buffer.len() - before) as u64 >= LEAST_PROGRESS;
            let wait = self.after_fault(fault, generation, progressed).await.map_err(Stopped::Ended)?;
            if at_gate(wait, self.shared.options.once) != AtGate::Wait {
                return Err(Stopped::Waits { until: Instant::now() + wait });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks for the rest of a range of a known revision.
    async fn rest(&self, known: &Known, start: u64, end: u64) -> Result<Result<Begun, Fault>, Stopped> {
        if start > 0 && !known.revision.is_comparable() {
            return Err(Stopped::RangesIgnored);
        }
        let (url, without_if_range, tolerate) = {
            let story = self.story();
            (story.url.clone(), story.without_if_range, story.restarts >= RESTARTS_BEFORE_TOLERANCE)
        };
        let if_range = if start > 0 && !without_if_range { known.revision.if_range() } else { None };
        let ask = RangeRequest { start, end: Some(end), plain: false, if_range, if_changed: None };
        let asked = Asked {
            start,
            end: ask.end,
            known: Some(known.revision.clone()),
            if_range: ask.if_range.is_some(),
            if_changed: false,
            tolerate_suspect: tolerate,
            compared: false,
            unpacks: false,
        };
        if let Some(gate) = self.shared.gates.closed(url.host()) {
            let wait = gate.until.saturating_duration_since(Instant::now());
            if at_gate(wait, self.shared.options.once) == AtGate::WaitWithoutMemory {
                return Err(Stopped::Waits { until: gate.until });
            }
        }
        let ((head, body), connection) = match self.get(&url, &ask).await {
            Ok(answer) => answer,
            Err(fault) => return Ok(Err(fault)),
        };
        Ok(match resume(&asked, &head) {
            Answer::Take { skip, .. } => Ok((body, skip, connection)),
            Answer::RangesIgnored if asked.if_range => {
                self.story().without_if_range = true;
                Err(Fault::Range(RangeFault::Nonsense(200)))
            }
            Answer::RangesIgnored => return Err(Stopped::RangesIgnored),
            Answer::Refused => Err(body.into_refusal().await),
            Answer::Reject(fault) => Err(Fault::Range(fault)),
            Answer::Changed
            | Answer::Unpack
            | Answer::Unchanged
            | Answer::Complete { .. }
            | Answer::Empty => {
                return Err(Stopped::Changed);
            }
        })
    }

    /// Takes a body's bytes until the buffer has `wanted` of them.
    async fn take(
        &self,
        mut body: Body,
        mut skip: u64,
        buffer: &mut BytesMut,
        wanted: usize,
        size: Option<u64>,
    ) -> Result<(), Fault> {
        let before = buffer.len();
        while buffer.len() < wanted {
            let Some(mut chunk) = body.chunk().await? else {
                let received = (buffer.len() - before) as u64;
                let missing = Some((wanted - buffer.len()) as u64);
                return Err(Fault::ended_early(received, missing));
            };
            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= dropped as u64;
            let chunk = chunk.split_off(dropped);
            let kept = chunk.len().min(wanted - buffer.len());
            buffer.extend_from_slice(&chunk[..kept]);
            self.count(kept, size).await;
        }
        Ok(())
    }

    /// A fault of the network: wait, ask for a new link, or give up.
    pub(super) async fn stumble(
        &self,
        fault: Fault,
        generation: u64,
        progressed: bool,
    ) -> Result<(), Ending> {
        let wait = self.after_fault(fault, generation, progressed).await?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Asks for a new link, or gives up; returns how long to wait before the next request, which is reported.
    async fn after_fault(&self, fault: Fault, generation: u64, progressed: bool) -> Result<Duration, Ending> {
        let path = || self.order.artifact.path.clone();
        let tries = {
            let mut story = self.story();
            if progressed {
                story.tries = 0;
                story.backoff.reset();
            } else {
                story.tries += 1;
            }
            story.tries
        };
        let exhausted = tries >= self.shared.options.retries.max(1);
        let at_least = match after(&fault, exhausted, self.shared.options.once) {
            After::Fail => return Err(self.failed(FailureCause::Network(fault))),
            After::Wait(at_least) => at_least,
            After::Relist { gone } => {
                // Another range of this file has a newer link since this one asked with the old one.
                if self.story().generation > generation && !exhausted {
                    return Ok(Duration::ZERO);
                }
                match self.renew_link(generation, gone, tries, exhausted).await {
                    AfterLink::Use => return Ok(Duration::ZERO),
                    AfterLink::Vanish => return Err(Ending::Vanished),
                    AfterLink::Fail => return Err(self.failed(FailureCause::Network(fault))),
                    AfterLink::Wait => None,
                }
            }
        };
        let (wait, host) = {
            let mut story = self.story();
            (story.backoff.next(at_least), story.url.host().to_owned())
        };
        if let Fault::Status { status: status @ (429 | 503), .. } = fault {
            self.shared.gates.close(&host, status, wait);
        }
        let cause = RetryCause::File(FailureCause::Network(fault));
        self.tell(&Event::Retrying { path: Some(path()), cause, wait });
        Ok(wait)
    }

    /// Asks the API for a newer link than the one of `generation`.
    async fn renew_link(&self, generation: u64, gone: bool, tries: u32, exhausted: bool) -> AfterLink {
        let key = &self.order.artifact.key;
        match self.shared.relister.newer_than(generation, key, gone).await {
            Refreshed::Gone => AfterLink::Vanish,
            Refreshed::Here { url, generation } => {
                let mut story = self.story();
                let is_renewed = url != story.url;
                story.url = url;
                story.generation = generation;
                after_link(is_renewed, gone, tries, exhausted)
            }
            Refreshed::Unknown => after_link(false, false, tries, exhausted),
        }
    }
}
