//! One connection's work: ask for a piece, take what the rules allow, hand what arrived to the disk.

use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::decide::plain::{Habit, Instead, instead, learned};
use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::ranges::Lease;
use crate::decide::transfer::resume::{Answer, Asked, overlap, resume};
use crate::decide::transfer::stall::{Around, GivenUp, LOOK, Pulse, Typical};
use crate::edge::net::http::{Body, RangeRequest};
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::unpack;
use crate::engine::event::Event;
use crate::engine::transfer::task::{State, Transfer};
use crate::error::Error;
use crate::model::artifact::ArtifactKind;
use crate::model::fault::{Fault, RangeFault};
use crate::model::response_head::Head;
use crate::model::revision::{Agreement, Revision};
use crate::model::source_url::SourceUrl;

use super::attempt::Attempt;
use super::workshop::Workshop;
use super::writer::{Group, KEEP_UP, Writer};

/// A host that hands out a few bytes with each connection would be asked for ever: less than this is no progress.
const LEAST_PROGRESS: u64 = 1 << 10;

/// How one piece ended well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PieceEnd {
    /// Its bytes are here, or somebody else has its rest.
    Done,
    /// It was the last piece: the file is complete and its finder finishes it.
    Complete,
    /// The host says that nothing changed since the revision that is here.
    Unchanged(Revision),
    /// Known bytes are of this revision no more: begin again.
    Changed,
    /// The host sends everything whatever is asked: begin again, in one stream.
    RangesIgnored,
    /// `If-Range` made the host send everything although nothing changed: ask again without.
    IfRangeIgnored,
    /// The trainer is still writing it.
    Unfinished {
        /// The length that its own header declares, where it does.
        declared: Option<u64>,
        /// Its length on the host.
        have: u64,
    },
    /// It holds everybody up: what is left of it is asked for again on a fresh connection.
    GivenUp,
    /// The run was interrupted, or the attempt abandoned by another connection.
    Stopped,
}

/// How one piece ended badly.
#[derive(Debug)]
pub(crate) enum PieceFault {
    /// The network's fault.
    Network(Fault),
    /// The disk's fault.
    Disk(Error),
    /// The disk has no room for it now.
    NoRoom(Shortage),
}

/// A piece, and whether any byte of it arrived.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) end: Result<PieceEnd, PieceFault>,
    pub(crate) progressed: bool,
}

impl From<Fault> for PieceFault {
    fn from(fault: Fault) -> Self {
        Self::Network(fault)
    }
}

impl From<Error> for PieceFault {
    fn from(error: Error) -> Self {
        Self::Disk(error)
    }
}

/// How a request is to be sent, from what was learned of the file so far.
struct How {
    url: SourceUrl,
    whole_only: bool,
    one_stream: bool,
    tolerate_suspect: bool,
    without_if_range: bool,
    plain: bool,
    asked_plain: bool,
    doubt: Option<Revision>,
}

impl How {
    fn of(state: &State) -> Self {
        Self {
            url: state.url.clone(),
            whole_only: state.whole_only,
            one_stream: state.one_stream,
            tolerate_suspect: state.tolerates_suspects(),
            without_if_range: state.without_if_range,
            plain: state.plain,
            asked_plain: state.asked_plain,
            doubt: state.doubt.as_ref().map(|doubt| doubt.revision.clone()),
        }
    }
}

/// What comes before the wanted bytes of a body.
struct Front {
    /// Bytes that nobody asked for.
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

/// One piece being fetched.
pub(crate) struct Fetch<'a> {
    pub(crate) shop: &'a Arc<Workshop>,
    pub(crate) transfer: &'a Transfer,
    pub(crate) attempt: &'a Arc<Attempt>,
    pub(crate) lease: Lease,
    pub(crate) range: Range<u64>,
}

impl Fetch<'_> {
    pub(crate) async fn run(&self) -> Fetched {
        let mut progressed = false;
        let end = self.ask(&mut progressed).await;
        Fetched { end, progressed }
    }

    async fn ask(&self, progressed: &mut bool) -> Result<PieceEnd, PieceFault> {
        let known = self.attempt.known();
        let how = How::of(&self.transfer.state());
        // What an earlier run left tells the length before any answer does.
        if let Some(length) = self.attempt.length() {
            self.promise_room(length)?;
        }
        let expected = match &known.revision {
            Some(revision) if self.range.start > 0 && !revision.is_comparable() => {
                let count = overlap(revision, self.attempt.have_before(self.range.start));
                if how.one_stream || count == 0 {
                    // No answer could be told to be of the same bytes: spare the host one that would be thrown away.
                    return Ok(PieceEnd::RangesIgnored);
                }
                self.read_before(count).await?
            }
            _ => Vec::new(),
        };
        let start = self.range.start - expected.len() as u64;
        // Only a file's first request asks whether it changed: since it was published, or since it was doubted.
        let here = if known.revision.is_none() {
            self.transfer.order.recheck.clone().or_else(|| how.doubt.clone())
        } else {
            None
        };
        let host = how.url.host().to_owned();
        // A transfer that broke tries a range again: what refused it may have been in between.
        let plain = how.plain || (start == 0 && self.shop.habits.of(&host) == Habit::Refuses);
        let ask = RangeRequest {
            start,
            end: (!how.whole_only).then_some(self.range.end),
            plain,
            if_range: known
                .revision
                .as_ref()
                .filter(|_| start > 0 && !how.without_if_range && !plain)
                .and_then(Revision::if_range),
            if_changed: here.as_ref().and_then(Revision::if_changed),
        };
        let asked = Asked {
            start,
            end: ask.end,
            known: known.revision.clone(),
            if_range: ask.if_range.is_some(),
            if_changed: ask.if_changed.is_some(),
            tolerate_suspect: how.tolerate_suspect,
            compared: !expected.is_empty(),
            unpacks: self.transfer.order.artifact.key.kind == ArtifactKind::Config,
        };
        let asked_at = Instant::now();
        let Some((head, body)) = self.get(&how, &asked, &ask).await? else { return Ok(PieceEnd::Stopped) };
        let waited = asked_at.elapsed();
        let answer = resume(&asked, &head);
        let total = match &answer {
            Answer::Take { total, .. } => Some(*total),
            Answer::Unpack => Some(None),
            _ => None,
        };
        if let (Some(here), Some(total)) = (&here, total)
            && here.compare(&State::validators(&head, total)) == Agreement::Same
        {
            return Ok(PieceEnd::Unchanged(here.clone()));
        }
        match answer {
            Answer::Take { skip, take, total, ranges_proven } => {
                if let Some(total) = total {
                    self.promise_room(total)?;
                }
                if ranges_proven {
                    self.shop.habits.learn(&host, Habit::Serves);
                }
                self.transfer.state().plain = false;
                let is_first = self.attempt.learn(&head.revision, total, &head.claims, ranges_proven);
                if how.whole_only || !ranges_proven {
                    self.attempt.stretch(self.lease);
                } else if is_first && self.attempt.serves_several() {
                    self.attempt.shorten(self.lease, &self.shop.board.cut());
                }
                self.tell_started(total);
                self.shop.board.stir();
                self.take(body, Front { skip, expected }, take, waited, progressed).await
            }
            Answer::Unpack => self.unpack(body, &head, progressed).await,
            Answer::Changed => Ok(PieceEnd::Changed),
            Answer::Unchanged => Ok(PieceEnd::Unchanged(here.unwrap_or_default())),
            Answer::RangesIgnored if asked.if_range => Ok(PieceEnd::IfRangeIgnored),
            Answer::RangesIgnored => Ok(PieceEnd::RangesIgnored),
            // Until now nobody had said how long it is; now the host says that it ends here.
            Answer::Complete { total } if self.attempt.length().is_none() => {
                self.attempt.learn(&head.revision, Some(total), &[], true);
                Ok(PieceEnd::Complete)
            }
            Answer::Complete { .. } => Ok(PieceEnd::Changed),
            Answer::Empty => Ok(PieceEnd::Unfinished { declared: None, have: 0 }),
            Answer::Refused => Err(body.into_refusal().await.into()),
            Answer::Reject(fault) => Err(Fault::Range(fault).into()),
        }
    }

    /// Sends a request, and, where it is refused and the rules say so, the same without a range.
    async fn get(
        &self,
        how: &How,
        asked: &Asked,
        ask: &RangeRequest,
    ) -> Result<Option<(Head, Body)>, PieceFault> {
        let Some((head, body)) = self.shop.get(&how.url, ask).await? else { return Ok(None) };
        if resume(asked, &head) != Answer::Refused {
            return Ok(Some((head, body)));
        }
        let fault = body.into_refusal().await;
        let host = how.url.host();
        let habit = self.shop.habits.of(host);
        let Fault::Status { status, retry_after, .. } = fault else { return Err(fault.into()) };
        if ask.plain {
            // It was not the range: a later try may well have one.
            self.transfer.state().plain = false;
            self.shop.habits.learn(host, Habit::Unknown);
            return Err(fault.into());
        }
        match instead(habit, how.asked_plain, status, retry_after) {
            Instead::No => Err(fault.into()),
            Instead::NextTime => {
                let mut state = self.transfer.state();
                (state.plain, state.asked_plain) = (true, true);
                drop(state);
                Err(fault.into())
            }
            Instead::AtOnce => {
                self.transfer.state().asked_plain = true;
                let plain = RangeRequest { plain: true, if_range: None, ..ask.clone() };
                let Some((head, body)) = self.shop.get(&how.url, &plain).await? else { return Ok(None) };
                let served = resume(asked, &head) != Answer::Refused;
                self.shop.habits.learn(host, learned(true, served, habit));
                if !served {
                    return Err(body.into_refusal().await.into());
                }
                self.transfer.state().plain = true;
                Ok(Some((head, body)))
            }
        }
    }

    /// Reads back the bytes before this range.
    async fn read_before(&self, count: u64) -> Result<Vec<u8>, PieceFault> {
        let (attempt, start) = (self.attempt.clone(), self.range.start);
        let read = blocking(move || attempt.before(start, count)).await;
        let path = std::path::Path::new(self.transfer.order.artifact.path.as_str());
        Ok(read.map_err(lost("read", path))??)
    }

    /// Takes a text that came packed: it is unpacked as a whole, and its own format proves it.
    async fn unpack(
        &self,
        mut body: Body,
        head: &Head,
        progressed: &mut bool,
    ) -> Result<PieceEnd, PieceFault> {
        let mut packed = Vec::new();
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.shop.cancel.cancelled() => return Ok(PieceEnd::Stopped),
                chunk = body.chunk() => chunk?,
            };
            let Some(chunk) = chunk else { break };
            self.shop.count_received(chunk.len() as u64);
            self.shop.pace(chunk.len()).await;
            packed.extend_from_slice(&chunk);
            if packed.len() > unpack::MOST {
                return Err(Fault::Range(RangeFault::Packed(unpack::TOO_LONG)).into());
            }
        }
        let path = std::path::Path::new(self.transfer.order.artifact.path.as_str());
        let unpacked = blocking(move || unpack::unpack(&packed)).await.map_err(lost("unpack", path))?;
        let text = unpacked.map_err(|why| Fault::Range(RangeFault::Packed(why)))?;
        if text.is_empty() {
            return Ok(PieceEnd::Unfinished { declared: None, have: 0 });
        }
        *progressed = true;
        self.attempt.learn_unpacked(&head.revision, text.len() as u64);
        self.tell_started(Some(text.len() as u64));
        let mut writer = Writer::new(self);
        writer.put(vec![text.into()]).await?;
        writer.settle().await?;
        Ok(writer.end.unwrap_or(PieceEnd::Done))
    }

    fn promise_room(&self, length: u64) -> Result<(), PieceFault> {
        self.shop.promise_room(self.transfer, length.saturating_sub(self.attempt.have()))
    }

    fn tell_started(&self, size: Option<u64>) {
        let mut state = self.transfer.state();
        if !state.told_started {
            state.told_started = true;
            drop(state);
            let artifact = &self.transfer.order.artifact;
            self.shop.tell(&Event::Started {
                path: artifact.path.clone(),
                kind: artifact.key.kind,
                step: artifact.step,
                size,
                resumed_from: self.attempt.resumed_from(),
            });
        }
    }

    /// Takes a body's bytes: the next group is received while the last one is written and hashed.
    async fn take(
        &self,
        mut body: Body,
        mut front: Front,
        take: Option<u64>,
        waited: Duration,
        progressed: &mut bool,
    ) -> Result<PieceEnd, PieceFault> {
        let mut writer = Writer::new(self);
        let mut group = Group::new(self.shop.board.load());
        let mut arrived = 0;
        let overlap = front.expected.len() as u64;
        let mut left = take.map_or(u64::MAX, |take| take.saturating_sub(overlap));
        let take = take.map(|_| left);
        let began = Instant::now();
        let mut pulse = Pulse::new(Duration::ZERO, self.shop.options.stall_timeout);
        let mut given_up = false;
        let mut at_risk = false;
        let fault = loop {
            if left == 0 {
                break None;
            }
            let patience = if at_risk { KEEP_UP } else { LOOK };
            let chunk = tokio::select! {
                biased;
                () = self.shop.cancel.cancelled() => break None,
                chunk = tokio::time::timeout(patience, body.chunk()) => chunk.unwrap_or(Ok(Some(Bytes::new()))),
            };
            let came = chunk.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, Bytes::len));
            match pulse.observe(began.elapsed(), came as u64, || self.around(left)) {
                None => {}
                Some(GivenUp::Drips) => {
                    break Some(Fault::Dripped { after: self.shop.options.stall_timeout });
                }
                Some(GivenUp::HoldsUp) => {
                    given_up = true;
                    break None;
                }
            }
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break self.ended_early(take, left),
                Err(fault) => break Some(fault),
            };
            let Some(mut chunk) = front.pass(chunk) else { return Ok(PieceEnd::Changed) };
            if chunk.len() as u64 > left {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            }
            if !chunk.is_empty() {
                left -= chunk.len() as u64;
                arrived += chunk.len() as u64;
                self.shop.count_received(chunk.len() as u64);
                *progressed |= arrived >= LEAST_PROGRESS || left == 0;
                if group.add(chunk) {
                    writer.put(group.take()).await?;
                    if writer.end.is_some() || self.attempt.is_abandoned() {
                        break None;
                    }
                    if writer.endless {
                        // Bytes that led nowhere are no progress, or this would be tried for ever.
                        *progressed = false;
                        break Some(Fault::Range(RangeFault::Overlong));
                    }
                }
                at_risk = true;
            }
            if came == 0 && at_risk {
                at_risk = writer.keep_up(&mut group).await?;
            } else if came > 0 {
                self.pace(came, &mut writer, &mut group).await?;
            }
        };
        writer.put(group.take()).await?;
        writer.settle().await?;
        if fault.is_none() && !given_up {
            let typical = {
                let mut typical = self.typical();
                typical.learn(writer.offset - self.range.start, began.elapsed(), waited);
                *typical
            };
            self.shop.board.cut_to_measure(&typical);
        }
        if let Some(end) = writer.end {
            return Ok(end);
        }
        match fault {
            Some(fault) => Err(fault.into()),
            None if given_up => Ok(PieceEnd::GivenUp),
            None if take.is_none() && !self.shop.cancel.is_cancelled() => {
                // Nobody said how long it is; the connection's end is where it ends, and the proof must carry it all.
                self.attempt.end_at(writer.offset);
                Ok(PieceEnd::Complete)
            }
            None if self.shop.cancel.is_cancelled() || self.attempt.is_abandoned() => Ok(PieceEnd::Stopped),
            None => Ok(PieceEnd::Done),
        }
    }

    /// Waits until the rate allows what came; what is here meanwhile is looked after.
    async fn pace(&self, came: usize, writer: &mut Writer<'_>, group: &mut Group) -> Result<(), PieceFault> {
        let pace = self.shop.pace(came);
        tokio::pin!(pace);
        while tokio::time::timeout(KEEP_UP, &mut pace).await.is_err() {
            writer.keep_up(group).await?;
        }
        Ok(())
    }

    /// What this connection is judged against. Where one that comes back would have to begin again, nobody could help.
    fn around(&self, left: u64) -> Around {
        Around {
            left,
            typical: self.typical().rate(),
            others_wait: self.attempt.serves_several() && self.shop.board.has_idle_connections(),
        }
    }

    fn typical(&self) -> MutexGuard<'_, Typical> {
        self.shop.typical.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended_early(&self, take: Option<u64>, left: u64) -> Option<Fault> {
        let take = take?;
        let received = take - left;
        Some(Fault::Interrupted { received, cause: format!("the body ended {left} bytes early") })
    }
}
