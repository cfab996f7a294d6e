//! Which bytes a connection requests next: the next range, the second part of one under way, or what is left of a straggler's.

use std::ops::Range;

use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::protocol::{Assignment, Phase, Request, Ticket};
use crate::decide::transfer::ranges::{Cut, Lease};
use crate::decide::transfer::resume::{Asked, overlap};
use crate::model::artifact::ArtifactKind;
use crate::model::revision::Revision;

use super::{Open, RESTARTS_BEFORE_TOLERANCE, TransferState};

/// A file whose link had to be renewed this often is fetched over one connection at a time: such links serve few requests.
const LINKS_FOR_SEVERAL: u32 = 2;

impl TransferState {
    /// Assigns the next range that no connection serves. A host that has not proven ranges, or whose responses cannot be
    /// compared, serves one connection at a time.
    pub(crate) fn assign(&mut self, cut: &Cut) -> Option<Assignment> {
        if !self.may_assign() {
            return None;
        }
        let (lease, range) = self.ranges.next(cut)?;
        Some(self.open(lease, range, cut))
    }

    /// Returns where the largest range under way could be split: whose connection must agree first, since it may have
    /// taken bytes beyond that already.
    #[must_use]
    pub(crate) fn split_point(&self, cut: &Cut) -> Option<(Ticket, u64)> {
        if !self.may_assign() || self.quirks.ignores_ranges {
            return None;
        }
        let (lease, at) = self.ranges.split_point(cut)?;
        Some((Ticket { attempt: self.attempt, lease }, at))
    }

    /// Assigns what follows `at` of a range to another connection.
    pub(crate) fn split(&mut self, ticket: Ticket, at: u64, cut: &Cut) -> Option<Assignment> {
        if ticket.attempt != self.attempt || !self.may_assign() {
            return None;
        }
        let (lease, range) = self.ranges.split_at(ticket.lease, at)?;
        Some(self.open(lease, range, cut))
    }

    /// Returns the bytes that the largest range under way still lacks.
    #[must_use]
    pub(crate) fn largest_range(&self) -> u64 {
        self.ranges.largest_lease()
    }

    /// Returns the bytes that a range under way still lacks; `None` when it is not under way.
    #[must_use]
    pub(crate) fn left(&self, ticket: Ticket) -> Option<u64> {
        self.position(ticket).map(|_| self.ranges.wanted(ticket.lease))
    }

    /// Whether what is left of a range may be requested by another connection before its own has ended: once for the same
    /// bytes.
    #[must_use]
    pub(crate) fn may_hurry(&self, ticket: Ticket) -> bool {
        let range = self.position(ticket).and_then(|_| self.ranges.range(ticket.lease));
        let is_new = |range: Range<u64>| {
            let mut hurried = self.hurried.iter();
            !range.is_empty() && !hurried.any(|other| other.start < range.end && range.start < other.end)
        };
        self.may_assign()
            && !self.quirks.ignores_ranges
            && !self.is_raced(ticket)
            && range.is_some_and(is_new)
    }

    /// Whether two connections race for a range.
    #[must_use]
    pub(crate) fn is_raced(&self, ticket: Ticket) -> bool {
        self.position(ticket).is_some() && self.ranges.raced_by(ticket.lease).is_some()
    }

    /// Notes that a range is given up at a glance. Returns whether it may be.
    pub(crate) fn give_up_early(&mut self, ticket: Ticket) -> bool {
        let may = self.may_hurry(ticket);
        if may {
            self.hurried.extend(self.ranges.range(ticket.lease));
        }
        may
    }

    /// Assigns what is left of a range to a second connection, which races the one that has it.
    pub(crate) fn race(&mut self, ticket: Ticket, cut: &Cut) -> Option<Assignment> {
        if !self.may_hurry(ticket) {
            return None;
        }
        let (lease, range) = self.ranges.race(ticket.lease)?;
        self.hurried.push(range.clone());
        Some(self.open(lease, range, cut))
    }

    /// Whether another connection could continue where a slow one is stopped.
    #[must_use]
    pub(crate) fn serves_several(&self) -> bool {
        self.known.serves_several()
    }

    /// Whether links end so soon that connections would only use them up for each other.
    pub(super) const fn wears_links_out(&self) -> bool {
        self.quirks.renewed_links >= LINKS_FOR_SEVERAL
    }

    /// Whether the request without a range is next, or open already.
    pub(super) fn is_plain_sent(&self) -> bool {
        self.quirks.plain_next || self.open.iter().any(|open| open.is_plain)
    }

    /// Whether more than one request is open at a time. A request without a range brings the whole file: one is enough.
    fn may_have_several(&self) -> bool {
        self.known.serves_several() && !self.wears_links_out() && !self.is_plain_sent()
    }

    pub(super) fn may_assign(&self) -> bool {
        self.phase == Phase::Fetching
            && !self.ranges.is_complete()
            && (self.open.is_empty() || self.may_have_several())
    }

    pub(super) fn open(&mut self, lease: Lease, range: Range<u64>, cut: &Cut) -> Assignment {
        let revision = self.known.revision.as_ref();
        let before = self.ranges.have_before(range.start);
        let overlap = revision.filter(|_| range.start > 0).map_or(0, |revision| overlap(revision, before));
        self.is_joined |= overlap > 0;
        let start = range.start - overlap;
        let is_plain = self.quirks.plain_next || (start == 0 && self.habit == Habit::Refuses);
        // Only the first request asks for changes: since the file was published, or since its bytes were in doubt.
        let here = match revision {
            Some(_) => None,
            None => {
                let suspect = self.suspect.as_ref().map(|doubt| doubt.revision.clone());
                self.task.recheck.as_deref().cloned().or(suspect)
            }
        };
        let request = Request {
            start,
            end: (!self.quirks.ignores_ranges).then_some(range.end),
            plain: is_plain,
            if_range: revision
                .filter(|_| start > 0 && !self.quirks.ignores_if_range && !is_plain)
                .and_then(Revision::if_range),
            if_changed: here.as_ref().and_then(Revision::if_changed),
        };
        let asked = Asked {
            start,
            end: request.end,
            known: self.known.revision.clone(),
            if_range: request.if_range.is_some(),
            if_changed: request.if_changed.is_some(),
            tolerate_suspect: self.tolerates_suspects(),
            compared: overlap > 0,
            unpacks: self.task.artifact.key.kind == ArtifactKind::Config,
        };
        self.open.push(Open {
            lease,
            start: range.start,
            asked,
            overlap,
            is_plain,
            is_instead: std::mem::take(&mut self.retry_plain),
            is_refused: false,
            packed: None,
            here,
            epoch: self.tries.epoch,
            generation: self.generation,
            is_taken: false,
            arrived: 0,
            cut: *cut,
        });
        Assignment {
            ticket: Ticket { attempt: self.attempt, lease },
            range,
            url: self.url.clone(),
            request,
            overlap,
            lacks: self.lacks(),
        }
    }

    pub(super) fn lacks(&self) -> Option<u64> {
        self.length().map(|length| length.saturating_sub(self.have()))
    }

    /// Whether tags that differ while date and length agree are taken for replicas of the same bytes.
    pub(super) const fn tolerates_suspects(&self) -> bool {
        self.tries.restarts >= RESTARTS_BEFORE_TOLERANCE
    }
}
