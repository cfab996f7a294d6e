//! One connection's work: ask for a piece, take what the rules allow, hand what arrived to the disk.

use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::ranges::Lease;
use crate::decide::transfer::resume::{Answer, Asked, resume};
use crate::decide::transfer::stall::{Around, GivenUp, LOOK, Pulse, Typical};
use crate::edge::net::http::{Body, RangeRequest};
use crate::engine::event::Event;
use crate::engine::transfer::task::{State, Transfer};
use crate::error::Error;
use crate::model::fault::{Fault, RangeFault};
use crate::model::revision::{Agreement, Revision};

use super::attempt::Attempt;
use super::workshop::Workshop;
use super::writer::{Group, Writer};

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
        let (url, whole_only, tolerate, without_if_range, doubt) = {
            let state = self.transfer.state();
            let doubt = state.doubt.as_ref().map(|doubt| doubt.revision.clone());
            (state.url.clone(), state.whole_only, state.tolerates_suspects(), state.without_if_range, doubt)
        };
        // What an earlier run left tells the length before any answer does.
        if let Some(length) = self.attempt.length() {
            self.promise_room(length)?;
        }
        let start = self.range.start;
        if start > 0 && known.revision.as_ref().is_some_and(|revision| !revision.is_comparable()) {
            // No answer could be told to be of the same bytes: spare the host one that would be thrown away.
            return Ok(PieceEnd::RangesIgnored);
        }
        // Only a file's first request asks whether it changed: since it was published, or since it was doubted.
        let here =
            if known.revision.is_none() { self.transfer.order.recheck.clone().or(doubt) } else { None };
        let ask = RangeRequest {
            start,
            end: (!whole_only).then_some(self.range.end),
            if_range: known
                .revision
                .as_ref()
                .filter(|_| start > 0 && !without_if_range)
                .and_then(Revision::if_range),
            if_changed: here.as_ref().and_then(Revision::if_changed),
        };
        let asked = Asked {
            start,
            end: ask.end,
            known: known.revision.clone(),
            if_range: ask.if_range.is_some(),
            if_changed: ask.if_changed.is_some(),
            tolerate_suspect: tolerate,
        };
        let Some(_permit) = self.shop.permit(&url, self.transfer).await? else {
            return Ok(PieceEnd::Stopped);
        };
        let asked_at = Instant::now();
        let Some((head, body)) = self.shop.get(&url, &ask).await? else { return Ok(PieceEnd::Stopped) };
        let waited = asked_at.elapsed();
        let answer = resume(&asked, &head);
        if let (Some(here), Answer::Take { total, .. }) = (&here, &answer)
            && here.compare(&State::validators(&head, *total)) == Agreement::Same
        {
            return Ok(PieceEnd::Unchanged(here.clone()));
        }
        match answer {
            Answer::Take { skip, take, total, ranges_proven } => {
                if let Some(total) = total {
                    self.promise_room(total)?;
                }
                let is_first = self.attempt.learn(&head.revision, total, &head.claims, ranges_proven);
                if whole_only || !ranges_proven {
                    self.attempt.stretch(self.lease);
                } else if is_first && self.attempt.serves_several() {
                    self.attempt.shorten(self.lease, &self.shop.board.cut());
                }
                self.tell_started(total);
                self.shop.board.stir();
                self.take(body, skip, take, waited, progressed).await
            }
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
        mut skip: u64,
        take: Option<u64>,
        waited: Duration,
        progressed: &mut bool,
    ) -> Result<PieceEnd, PieceFault> {
        let mut writer = Writer::new(self);
        let mut group = Group::new(self.shop.board.load());
        let mut arrived = 0;
        let mut left = take.unwrap_or(u64::MAX);
        let began = Instant::now();
        let mut pulse = Pulse::new(Duration::ZERO, self.shop.options.stall_timeout);
        let mut given_up = false;
        let fault = loop {
            if left == 0 {
                break None;
            }
            let chunk = tokio::select! {
                biased;
                () = self.shop.cancel.cancelled() => break None,
                chunk = tokio::time::timeout(LOOK, body.chunk()) => chunk.unwrap_or(Ok(Some(Bytes::new()))),
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
            let mut chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break self.ended_early(take, left),
                Err(fault) => break Some(fault),
            };
            self.shop.pace(chunk.len()).await;
            if skip > 0 {
                let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                skip -= dropped as u64;
                chunk = chunk.slice(dropped..);
            }
            if chunk.len() as u64 > left {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            }
            if chunk.is_empty() {
                continue;
            }
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
