//! Every rule for one file on its way: what each response, fault, wait and judgement leads to.
//!
//! [`TransferState::step`] is synchronous, total and deterministic. It performs nothing: whoever owns the state performs
//! the [`Command`]s in order and passes what came of them to the next step. A restart begins a new attempt with a new
//! number, and what still arrives for an older one is ignored, so bytes of two revisions never meet.

mod faults;
mod proof;

use std::ops::Range;
use std::time::Duration;

use crate::decide::transfer::backoff::Backoff;
use crate::decide::transfer::plain_request::{Habit, learned};
use crate::decide::transfer::ranges::{Cut, Lease, PieceMap};
use crate::decide::transfer::resume::{Answer, Asked, overlap, resume};
use crate::model::artifact::ArtifactKind;
use crate::model::claim::merge;
use crate::model::fault::{Fault, RangeFault};
use crate::model::manifest::{Doubt, Entry};
use crate::model::response_head::Head;
use crate::model::revision::{Agreement, Revision};
use crate::model::source_url::SourceUrl;

use super::protocol::{
    Assignment, Command, Commands, Input, Known, Left, Phase, RangeEnd, Report, Request, Ticket,
};
use super::task::{Cause, Missing, Policy, Task};

/// The first wait after a fault; it doubles, with jitter, up to the second.
pub const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait after a fault.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A revision that changed this often within one download will not stay the same in the next minute either.
pub const MOST_RESTARTS: u32 = 8;

/// After this many restarts for tags that differ while date and length agree, the tags are ignored: the host is a set of
/// replicas with tags of their own.
pub const RESTARTS_BEFORE_TOLERANCE: u32 = 2;

/// A file whose link had to be renewed this often is fetched over one connection at a time: such links serve few requests.
const LINKS_FOR_SEVERAL: u32 = 2;

pub use super::outcome::LONGEST_WAIT_IN_ONE_PASS;

/// A host that sends a few bytes with each connection would be asked for ever: less than this is no progress.
pub const LEAST_PROGRESS: u64 = 1 << 10;

/// A body without a declared length, whose format declares none either, is endless beyond this: no trainer writes a file
/// of such a format this large.
pub const MOST_UNDECLARED: u64 = 8 << 30;

/// What this host does differently, learned from its responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// `If-Range` made it send everything although nothing had changed.
    pub ignores_if_range: bool,
    /// It sends everything whatever range is requested: one request for all of it.
    pub ignores_ranges: bool,
    /// Responses that no validator ties together were joined once, and were no whole file: nothing is joined again.
    pub is_inconsistent: bool,
    /// So many of its links had to be renewed.
    pub renewed_links: u32,
    /// The next request has no range.
    pub plain_next: bool,
    /// A request without a range was sent since the last progress.
    pub plain_tried: bool,
}

/// One file on its way.
#[derive(Debug)]
pub struct TransferState {
    task: Task,
    policy: Policy,
    phase: Phase,
    attempt: u32,
    ranges: PieceMap,
    known: Known,
    open: Vec<Open>,
    resumed_from: u64,
    url: SourceUrl,
    generation: u64,
    quirks: Quirks,
    tries: Tries,
    /// A body that contradicted its proof, in an earlier download or in this one.
    suspect: Option<Doubt>,
    /// How the last download of this file in this run ended: the same end is not reported twice.
    previous: Option<Missing>,
    is_left_over: bool,
    is_started: bool,
    /// Responses of this attempt were joined where only an overlap agreed.
    is_joined: bool,
    /// What the host does with ranges, as far as other files have shown.
    habit: Habit,
    /// The next request is sent because one with a range was just refused.
    retry_plain: bool,
}

/// What counts against a file, and what resets it.
#[derive(Debug)]
struct Tries {
    /// Faults in a row without progress.
    in_vain: u32,
    /// Every fault: a fault of a request that was sent before the last one was noticed is the same fault.
    epoch: u64,
    crowd_faults: u32,
    restarts: u32,
    backoff: Backoff,
    /// No request before this time.
    not_before: Duration,
}

/// A request under way.
#[derive(Debug)]
struct Open {
    lease: Lease,
    start: u64,
    asked: Asked,
    overlap: u64,
    is_plain: bool,
    /// It follows a refusal of the same request with a range.
    is_instead: bool,
    /// The host refused it, and the refusal is being read.
    is_refused: bool,
    /// The revision of a body that is packed.
    packed: Option<Revision>,
    /// What is here, where the request asked only for changes of it.
    here: Option<Revision>,
    epoch: u64,
    generation: u64,
    /// The response's body is taken.
    is_taken: bool,
    arrived: u64,
    cut: Cut,
}

impl TransferState {
    /// Begins with a task. `left_over`: a part of an earlier run or try exists. `seed` decides the jitter of waits.
    #[must_use]
    pub fn new(task: Task, policy: Policy, seed: u64, left_over: bool, previous: Option<Missing>) -> Self {
        Self {
            phase: Phase::Queued,
            attempt: 0,
            ranges: PieceMap::unknown(),
            known: Known::default(),
            open: Vec::new(),
            resumed_from: 0,
            url: task.artifact.url.clone(),
            generation: task.generation,
            quirks: Quirks::default(),
            tries: Tries {
                in_vain: 0,
                epoch: 0,
                crowd_faults: 0,
                restarts: 0,
                backoff: Backoff::new(seed, FIRST_WAIT, LONGEST_WAIT),
                not_before: Duration::ZERO,
            },
            suspect: task.doubt.clone(),
            previous,
            is_left_over: left_over,
            is_started: false,
            is_joined: false,
            habit: Habit::Unknown,
            retry_plain: false,
            task,
            policy,
        }
    }

    /// Returns what is fetched.
    #[must_use]
    pub const fn task(&self) -> &Task {
        &self.task
    }

    /// Returns where it is.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Returns the whole length, where known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.ranges.length()
    }

    /// Returns how many bytes are here.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.ranges.have()
    }

    /// Returns how many bytes from the first one on are here without a gap.
    #[must_use]
    pub fn front(&self) -> u64 {
        self.ranges.front()
    }

    /// Returns the bytes that are neither here nor requested, where the length is known.
    #[must_use]
    pub fn unassigned(&self) -> Option<u64> {
        Some(self.length()?.saturating_sub(self.have() + self.ranges.leased()))
    }

    /// Whether a connection serves it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether something of it is here, which must be looked at before the first request: a part of an earlier run or try,
    /// or a file of its name that rcsync did not publish.
    #[must_use]
    pub fn must_look(&self) -> bool {
        self.phase == Phase::Queued && (self.is_left_over || self.task.may_adopt)
    }

    /// Whether a part of an earlier run or try exists.
    #[must_use]
    pub const fn is_left_over(&self) -> bool {
        self.is_left_over
    }

    /// Returns what is known of the revision.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// Takes in whether the newest poll showed a run that may still write: one that was over when the file was ordered may
    /// have been resumed since.
    pub const fn know_run(&mut self, may_write: bool) {
        self.task.run_may_write |= may_write;
    }

    /// Takes in what other files have shown of the host.
    pub const fn know_habit(&mut self, habit: Habit) {
        self.habit = habit;
    }

    /// Returns the host that the next request goes to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// Assigns the next range that no connection serves. A host that has not proven ranges, or whose responses cannot be
    /// compared, serves one connection at a time.
    pub fn assign(&mut self, cut: &Cut) -> Option<Assignment> {
        if !self.may_assign() {
            return None;
        }
        let (lease, range) = self.ranges.next(cut)?;
        Some(self.open(lease, range, cut))
    }

    /// Returns where the largest range under way could be split: whose connection must agree first, since it may have
    /// taken bytes beyond that already.
    #[must_use]
    pub fn split_point(&self, cut: &Cut) -> Option<(Ticket, u64)> {
        if !self.may_assign() || self.quirks.ignores_ranges {
            return None;
        }
        let (lease, at) = self.ranges.split_point(cut)?;
        Some((Ticket { attempt: self.attempt, lease }, at))
    }

    /// Assigns what follows `at` of a range to another connection.
    pub fn split(&mut self, ticket: Ticket, at: u64, cut: &Cut) -> Option<Assignment> {
        if ticket.attempt != self.attempt || !self.may_assign() {
            return None;
        }
        let (lease, range) = self.ranges.split_at(ticket.lease, at)?;
        Some(self.open(lease, range, cut))
    }

    /// Returns the bytes that the largest range under way still lacks.
    #[must_use]
    pub fn largest_range(&self) -> u64 {
        self.ranges.largest_lease()
    }

    /// Returns the bytes that a range under way still lacks; `None` when it is not under way.
    #[must_use]
    pub fn left(&self, ticket: Ticket) -> Option<u64> {
        self.position(ticket).map(|_| self.ranges.wanted(ticket.lease))
    }

    /// Whether another connection could continue where a slow one is stopped.
    #[must_use]
    pub fn serves_several(&self) -> bool {
        self.known.serves_several()
    }

    /// Whether links end so soon that connections would only use them up for each other.
    const fn wears_links_out(&self) -> bool {
        self.quirks.renewed_links >= LINKS_FOR_SEVERAL
    }

    fn may_assign(&self) -> bool {
        self.phase == Phase::Fetching
            && !self.ranges.is_complete()
            && (self.open.is_empty() || (self.known.serves_several() && !self.wears_links_out()))
    }

    fn open(&mut self, lease: Lease, range: Range<u64>, cut: &Cut) -> Assignment {
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
                self.task.recheck.clone().or(suspect)
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

    fn lacks(&self) -> Option<u64> {
        self.length().map(|length| length.saturating_sub(self.have()))
    }

    /// Whether tags that differ while date and length agree are taken for replicas of the same bytes.
    const fn tolerates_suspects(&self) -> bool {
        self.tries.restarts >= RESTARTS_BEFORE_TOLERANCE
    }

    /// Takes in what happened; returns what to do, in order.
    pub fn step(&mut self, now: Duration, input: Input) -> Commands {
        let mut out = Commands::new();
        let brings_bytes = matches!(input, Input::Booked { .. } | Input::RangeEnded { .. });
        match input {
            Input::Begun(left) => self.begun(left),
            Input::Adopted(entry) => self.adopted(entry, &mut out),
            Input::Response { ticket, head } => self.response(now, ticket, &head, &mut out),
            Input::Unpacked { ticket, length } => self.unpacked(ticket, length, &mut out),
            Input::Booked { ticket, count, declared, hopeless } => {
                self.booked(now, ticket, count, declared, hopeless, &mut out);
            }
            Input::RangeEnded { ticket, end } => self.range_ended(now, ticket, end, &mut out),
            Input::LinkRefreshed(refreshed) => self.link_refreshed(now, refreshed, &mut out),
            Input::Hashed { received, unix_ms } => self.hashed(now, &received, unix_ms, &mut out),
            Input::Disk(trouble) => self.disk(now, trouble, &mut out),
            Input::Committed(outcome) => self.committed(outcome, &mut out),
            Input::Deadline => self.deadline(now),
        }
        self.settle_ranges(brings_bytes, &mut out);
        out
    }

    /// What follows from the ranges alone, whatever led to them. A file that waits is verified when its last bytes
    /// arrive, and not again before its time when the disk refused that.
    fn settle_ranges(&mut self, brings_bytes: bool, out: &mut Commands) {
        let may_verify = self.phase == Phase::Fetching || (brings_bytes && self.is_active());
        if self.attempt > 0 && may_verify && self.ranges.is_complete() {
            self.phase = Phase::Verifying;
            out.push(Command::ReleaseSpace);
            out.push(Command::Verify);
        }
        let is_comparable = self.known.revision.as_ref().is_none_or(Revision::is_comparable);
        let continues = self.ranges.next_start().is_some_and(|start| start > 0);
        if self.phase == Phase::Fetching
            && self.open.is_empty()
            && continues
            && !is_comparable
            && self.quirks.is_inconsistent
        {
            // No response to a later range could be told to be of the same bytes.
            self.restart(Some(Quirks { ignores_ranges: true, ..self.quirks }), out);
        }
    }

    /// Whether bytes are still taken.
    const fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Fetching | Phase::Waiting { .. } | Phase::RefreshingLink { .. })
    }

    fn begun(&mut self, left: Option<Left>) {
        if self.phase != Phase::Queued {
            return;
        }
        self.attempt = 1;
        self.phase = Phase::Fetching;
        let Some(Left { revision, length, claims, mut here }) = left else { return };
        // Complete as it may be, it may be of a revision that is no longer hosted: its last block is requested again, so
        // that the host reports which one it has. An incomplete one is compared with its next response anyway.
        if here.iter().map(|range| range.end - range.start).sum::<u64>() == length {
            here.retain(|range| range.end < length);
        }
        self.ranges = PieceMap::resumed(length, here);
        self.resumed_from = self.ranges.have();
        self.is_joined = !revision.is_comparable();
        self.known = Known { revision: Some(revision), declared: Some(length), claims, ranges_proven: true };
    }

    fn adopted(&mut self, entry: Box<Entry>, out: &mut Commands) {
        if self.phase == Phase::Queued {
            self.phase = Phase::Committing;
            out.push(Command::Adopt(entry));
        }
    }

    fn response(&mut self, now: Duration, ticket: Ticket, head: &Head, out: &mut Commands) {
        let Some(at) = self.position(ticket).filter(|at| self.is_active() && !self.open[*at].is_taken) else {
            out.push(Command::Drop { ticket });
            return;
        };
        let open = &self.open[at];
        let (if_range, here) = (open.asked.if_range, open.here.clone());
        let (is_instead, overlap) = (open.is_instead, open.overlap);
        let answer = match resume(&open.asked, head) {
            // The file ends before bytes that are here, or comes packed where a part of it is: it is another one.
            Answer::Take { total: Some(total), .. } if total <= open.start => Answer::Changed,
            Answer::Unpack if open.start > 0 => Answer::Changed,
            answer => answer,
        };
        if is_instead && !is_refusal(&answer) {
            self.learn_habit(learned(true, true, self.habit), out);
        }
        let total = match &answer {
            Answer::Take { total, .. } => Some(*total),
            Answer::Unpack => Some(None),
            _ => None,
        };
        if let (Some(here), Some(length)) = (&here, total)
            && here.compare(&Revision { length, ..head.revision.clone() }) == Agreement::Same
        {
            self.close(at);
            out.push(Command::Drop { ticket });
            return self.unchanged(now, here, out);
        }
        match answer {
            Answer::Take { skip, take, total, ranges_proven } => {
                if ranges_proven {
                    self.learn_habit(Habit::Serves, out);
                }
                self.quirks.plain_next = false;
                self.open[at].is_taken = true;
                self.learn(head, total, ranges_proven, at, out);
                self.started(total, out);
                let end = self.open[at].start.saturating_add(self.ranges.wanted(ticket.lease));
                let take = take.map(|take| take.saturating_sub(overlap));
                out.push(Command::Receive { ticket, skip, take, end, lacks: self.lacks() });
            }
            answer if is_refusal(&answer) => {
                self.open[at].is_refused = true;
                out.push(Command::ReadRefusal { ticket });
            }
            Answer::Unpack => {
                self.open[at].packed = Some(head.revision.clone());
                out.push(Command::Unpack { ticket });
            }
            answer => {
                let open = self.close(at);
                out.push(Command::Drop { ticket });
                self.without_bytes(now, answer, &open, if_range, head, out);
            }
        }
    }

    /// Follows up a response of which no byte is taken.
    fn without_bytes(
        &mut self,
        now: Duration,
        answer: Answer,
        open: &Open,
        if_range: bool,
        head: &Head,
        out: &mut Commands,
    ) {
        match answer {
            Answer::Unchanged => self.unchanged(now, &open.here.clone().unwrap_or_default(), out),
            Answer::RangesIgnored if if_range => self.quirks.ignores_if_range = true,
            Answer::RangesIgnored => {
                self.restart(Some(Quirks { ignores_ranges: true, ..self.quirks }), out);
            }
            // The length was unknown until now, and the file ends where the request began.
            Answer::Complete { total } if self.length().is_none() => {
                self.note(head, Some(total), true, out);
                self.ranges.set_length(total);
            }
            Answer::Complete { .. } | Answer::Changed => self.restart(None, out),
            Answer::Empty => self.settle(None, 0, out),
            Answer::Reject(fault) => self.fault(now, Fault::Range(fault), open, false, false, out),
            Answer::Take { .. } | Answer::Refused | Answer::Unpack => {}
        }
    }

    fn started(&mut self, size: Option<u64>, out: &mut Commands) {
        if !std::mem::replace(&mut self.is_started, true) {
            out.push(Command::Report(Report::Started { size, resumed_from: self.resumed_from }));
        }
    }

    fn learn_habit(&mut self, habit: Habit, out: &mut Commands) {
        if std::mem::replace(&mut self.habit, habit) != habit {
            out.push(Command::Habit(habit));
        }
    }

    /// Takes in a text that came packed: its validators are those of the packed form, its length is not.
    fn unpacked(&mut self, ticket: Ticket, length: u64, out: &mut Commands) {
        let Some(at) = self.position(ticket).filter(|_| self.is_active()) else { return };
        let Some(revision) = self.open[at].packed.take() else { return };
        if length == 0 {
            return self.settle(None, 0, out);
        }
        self.known.revision = Some(Revision { length: None, ..revision });
        self.known.declared = Some(length);
        out.push(Command::Learned(self.known.clone()));
        self.ranges.set_length(length);
        self.ranges.stretch(ticket.lease);
        self.open[at].is_taken = true;
        self.started(Some(length), out);
        out.push(Command::Receive { ticket, skip: 0, take: Some(length), end: length, lacks: self.lacks() });
    }

    /// Takes in what the head of an accepted response reports, and gives its range the length that fits.
    fn learn(&mut self, head: &Head, total: Option<u64>, ranges_proven: bool, at: usize, out: &mut Commands) {
        let is_first = self.note(head, total, ranges_proven, out);
        if let Some(total) = total
            && self.length().is_none()
        {
            self.ranges.set_length(total);
        }
        let Open { lease, cut, .. } = self.open[at];
        if self.quirks.ignores_ranges || !ranges_proven {
            self.ranges.stretch(lease);
        } else if is_first && self.known.serves_several() {
            self.ranges.shorten(lease, &cut);
        }
    }

    /// Returns whether it was the first response of this attempt.
    fn note(&mut self, head: &Head, total: Option<u64>, ranges_proven: bool, out: &mut Commands) -> bool {
        let before = self.known.clone();
        let known = &mut self.known;
        let is_first = known.revision.is_none();
        if is_first {
            known.revision = Some(Revision { length: total, ..head.revision.clone() });
        }
        known.declared = known.declared.or(total);
        known.ranges_proven |= ranges_proven;
        merge(&mut known.claims, &head.claims);
        if *known != before {
            out.push(Command::Learned(known.clone()));
        }
        is_first
    }

    fn booked(
        &mut self,
        now: Duration,
        ticket: Ticket,
        count: u64,
        declared: Option<u64>,
        hopeless: bool,
        out: &mut Commands,
    ) {
        let Some(at) = self.position(ticket).filter(|at| self.open[*at].is_taken) else { return };
        self.open[at].arrived += count;
        self.ranges.advance(ticket.lease, count);
        if !self.is_active() {
            return;
        }
        match (declared, self.length()) {
            // The file's own header declares more bytes than the host has: the training is still writing it.
            (Some(declared), Some(length)) if declared > length => self.settle(Some(declared), length, out),
            (_, None) if hopeless || self.have() > MOST_UNDECLARED => {
                let open = self.close(at);
                out.push(Command::Drop { ticket });
                // Bytes that led nowhere are no progress, or this would be tried for ever.
                self.fault(now, Fault::Range(RangeFault::Overlong), &open, false, false, out);
            }
            _ => {}
        }
    }

    fn range_ended(&mut self, now: Duration, ticket: Ticket, end: RangeEnd, out: &mut Commands) {
        let Some(at) = self.position(ticket) else { return };
        let upto = self.open[at].start + self.open[at].arrived;
        let open = self.close(at);
        let progressed =
            matches!(end, RangeEnd::Finished | RangeEnd::BodyEnded) || open.arrived >= LEAST_PROGRESS;
        if progressed {
            self.tries.in_vain = 0;
            self.tries.backoff.reset();
            self.quirks.plain_tried = false;
        }
        if !self.is_active() {
            return;
        }
        match end {
            RangeEnd::Finished | RangeEnd::GivenUp | RangeEnd::Stopped => {}
            // No response reported the length: the body's end is the file's, and the proof must be made without it.
            RangeEnd::BodyEnded if self.length().is_none() => self.ranges.set_length(upto),
            RangeEnd::BodyEnded => {}
            RangeEnd::Changed => self.restart(None, out),
            RangeEnd::Fault { fault, .. } if self.asks_plainly(&fault, &open, out) => {}
            RangeEnd::Fault { fault, crowded } => self.fault(now, fault, &open, progressed, crowded, out),
            RangeEnd::Disk(trouble) => self.disk(now, trouble, out),
        }
    }

    /// Begins again from zero: the known bytes are of another revision than what the host has now.
    fn restart(&mut self, quirks: Option<Quirks>, out: &mut Commands) {
        self.tries.restarts += 1;
        if self.tries.restarts > MOST_RESTARTS {
            return self.fail(Cause::Revisions, out);
        }
        if let Some(quirks) = quirks {
            self.quirks = quirks;
        }
        // One stream needs no agreement between responses.
        self.quirks.ignores_ranges |= self.tolerates_suspects();
        self.begin_again(out);
    }

    fn begin_again(&mut self, out: &mut Commands) {
        self.attempt += 1;
        self.ranges = PieceMap::unknown();
        self.known = Known::default();
        self.open.clear();
        self.resumed_from = 0;
        self.is_joined = false;
        self.phase = Phase::Fetching;
        out.extend([Command::Abandon, Command::ReleaseSpace, Command::Restart]);
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        let is_current = ticket.attempt == self.attempt;
        self.open.iter().position(|open| is_current && open.lease == ticket.lease)
    }

    /// Ends a range; what it did not bring is free to be assigned again.
    fn close(&mut self, at: usize) -> Open {
        let open = self.open.swap_remove(at);
        self.ranges.release(open.lease);
        open
    }
}

/// Whether a response brings nothing, and its status says so. To a first range, 416 without a length is no more than that.
const fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused | Answer::Reject(RangeFault::Nonsense(416)))
}

#[cfg(test)]
mod tests;
