//! Every rule for one file on its way: what each response, fault, wait and judgement leads to.
//!
//! [`TransferState::step`] is synchronous, total and deterministic. It performs nothing: the state's owner performs the
//! [`Command`]s in order and passes what came of them to the next step. A restart begins a new attempt with a new
//! number, and what still arrives for an older one is ignored, so bytes of two revisions never meet.

mod assigning;
mod faults;
mod proof;
mod responses;

use std::ops::Range;
use std::time::Duration;

use crate::decide::transfer::backoff::Backoff;
use crate::decide::transfer::plain_request::Habit;
use crate::decide::transfer::ranges::{Cut, Lease, PieceMap};
use crate::decide::transfer::resume::Asked;
use crate::model::fault::{Fault, RangeFault};
use crate::model::manifest::{Doubt, Entry};
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

use super::protocol::{Command, Commands, Input, Known, Left, Phase, RangeEnd, Ticket};
use super::task::{FailureCause, Missing, Policy, Task};

/// The first wait after a fault; it doubles, with jitter, up to the second.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait after a fault.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A revision that changed this often within one download will not stay the same in the next minute either.
pub(crate) const MOST_RESTARTS: u32 = 8;

/// After this many restarts for tags that differ while date and length agree, the tags are ignored: the host is a set of
/// replicas with tags of their own.
pub(crate) const RESTARTS_BEFORE_TOLERANCE: u32 = 2;

/// A host that sends a few bytes with each connection would be asked for ever: less than this is no progress.
pub(crate) const LEAST_PROGRESS: u64 = 1 << 10;

/// A body without a declared length, whose format declares none either, is endless beyond this: no trainer writes a file
/// of such a format this large.
pub(crate) const MOST_UNDECLARED: u64 = 8 << 30;

/// One step: when it is made, and the commands that it leads to.
#[derive(Debug)]
struct Turn {
    now: Duration,
    commands: Commands,
}

impl Turn {
    fn push(&mut self, command: Command) {
        self.commands.push(command);
    }
}

/// What this host does differently, learned from its responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Quirks {
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
pub(crate) struct TransferState {
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
    suspect: Option<Box<Doubt>>,
    /// How the last download of this file in this run ended: the same end is not reported twice.
    previous: Option<Box<Missing>>,
    is_left_over: bool,
    is_started: bool,
    /// Responses of this attempt were joined where only an overlap agreed.
    is_joined: bool,
    /// What the host does with ranges, as far as other files have shown.
    habit: Habit,
    /// The next request is sent because one with a range was just refused.
    retry_plain: bool,
    /// Bytes of this attempt that were raced for, or given up at a glance: neither happens to them again.
    hurried: Vec<Range<u64>>,
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
    pub(crate) fn new(
        task: Task,
        policy: Policy,
        seed: u64,
        left_over: bool,
        previous: Option<Missing>,
    ) -> Self {
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
            previous: previous.map(Box::new),
            is_left_over: left_over,
            is_started: false,
            is_joined: false,
            habit: Habit::Unknown,
            retry_plain: false,
            hurried: Vec::new(),
            task,
            policy,
        }
    }

    /// Returns what is fetched.
    #[must_use]
    pub(crate) const fn task(&self) -> &Task {
        &self.task
    }

    /// Returns where it is.
    #[must_use]
    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Returns the whole length, where known.
    #[must_use]
    pub(crate) const fn length(&self) -> Option<u64> {
        self.ranges.length()
    }

    /// Returns how many bytes are here.
    #[must_use]
    pub(crate) fn have(&self) -> u64 {
        self.ranges.have()
    }

    /// Returns how many bytes from the first one on are here without a gap.
    #[must_use]
    pub(crate) fn front(&self) -> u64 {
        self.ranges.front()
    }

    /// Returns the bytes that are neither here nor requested, where the length is known.
    #[must_use]
    pub(crate) fn unassigned(&self) -> Option<u64> {
        Some(self.length()?.saturating_sub(self.have() + self.ranges.leased()))
    }

    /// Whether a connection serves it.
    #[must_use]
    pub(crate) fn is_busy(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether something of it is here, which must be looked at before the first request: a part of an earlier run or try,
    /// or a file of its name that rcsync did not publish.
    #[must_use]
    pub(crate) fn must_look(&self) -> bool {
        self.phase == Phase::Queued && (self.is_left_over || self.task.may_adopt)
    }

    /// Whether a part of an earlier run or try exists.
    #[must_use]
    pub(crate) const fn is_left_over(&self) -> bool {
        self.is_left_over
    }

    /// Returns what is known of the revision.
    #[must_use]
    pub(crate) const fn known(&self) -> &Known {
        &self.known
    }

    /// Takes in whether the newest poll showed a run that may still write: one that was over when the file was ordered may
    /// have been resumed since.
    pub(crate) const fn know_run(&mut self, may_write: bool) {
        self.task.run_may_write |= may_write;
    }

    /// Takes in what other files have shown of the host.
    pub(crate) const fn know_habit(&mut self, habit: Habit) {
        self.habit = habit;
    }

    /// Returns the host that the next request goes to.
    #[must_use]
    pub(crate) fn host(&self) -> &str {
        self.url.host()
    }

    /// Takes in what happened; returns what to do, in order.
    pub(crate) fn step(&mut self, now: Duration, input: Input) -> Commands {
        let turn = &mut Turn { now, commands: Commands::new() };
        let delivers_bytes = matches!(input, Input::Booked { .. } | Input::RangeEnded { .. });
        match input {
            Input::Begun(left) => self.begun(left),
            Input::Adopted(entry) => self.adopted(entry, turn),
            Input::Response { ticket, head } => self.response(ticket, &head, turn),
            Input::Unpacked { ticket, length } => self.unpacked(ticket, length, turn),
            Input::Booked { ticket, count, declared, hopeless } => {
                self.booked(ticket, count, declared, hopeless, turn);
            }
            Input::Skipped { ticket, count } => self.skipped(ticket, count),
            Input::RangeEnded { ticket, end } => self.range_ended(ticket, end, turn),
            Input::LinkRefreshed(refreshed) => self.link_refreshed(refreshed, turn),
            Input::Hashed { received, unix_ms } => self.hashed(&received, unix_ms, turn),
            Input::Disk(trouble) => self.disk(trouble, turn),
            Input::Committed(outcome) => self.committed(outcome, turn),
            Input::Deadline => self.deadline(now),
        }
        self.settle_ranges(delivers_bytes, turn);
        std::mem::take(&mut turn.commands)
    }

    /// What follows from the ranges alone, whatever led to them. A file that waits is verified when its last bytes
    /// arrive, and not again before its time when the disk refused that.
    fn settle_ranges(&mut self, delivers_bytes: bool, turn: &mut Turn) {
        let may_verify = self.phase == Phase::Fetching || (delivers_bytes && self.is_active());
        if self.attempt > 0 && may_verify && self.ranges.is_complete() {
            self.phase = Phase::Verifying;
            turn.push(Command::ReleaseSpace);
            turn.push(Command::Verify);
        }
        let is_comparable = self.known.revision.as_ref().is_none_or(Revision::is_comparable);
        let continues = self.ranges.next_start().is_some_and(|start| start > 0);
        if self.phase == Phase::Fetching
            && self.open.is_empty()
            && continues
            && !is_comparable
            && self.quirks.is_inconsistent
        {
            // No response to a later range could be shown to be of the same bytes.
            self.restart(Some(Quirks { ignores_ranges: true, ..self.quirks }), turn);
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

    fn adopted(&mut self, entry: Box<Entry>, turn: &mut Turn) {
        if self.phase == Phase::Queued {
            self.phase = Phase::Committing;
            turn.push(Command::Adopt(entry));
        }
    }

    fn booked(&mut self, ticket: Ticket, count: u64, declared: Option<u64>, hopeless: bool, turn: &mut Turn) {
        let Some(at) = self.position(ticket).filter(|at| self.open[*at].is_taken) else { return };
        self.open[at].arrived += count;
        self.ranges.advance(ticket.lease, count);
        if !self.is_active() {
            return;
        }
        match (declared, self.length()) {
            // The file's own header declares more bytes than the host has: the training is still writing it.
            (Some(declared), Some(length)) if declared > length => self.settle(Some(declared), length, turn),
            (_, None) if hopeless || self.have() > MOST_UNDECLARED => {
                let open = self.close(at);
                turn.push(Command::Drop { ticket });
                // Bytes that led nowhere are no progress, or this would be tried for ever.
                self.fault(Fault::Range(RangeFault::Overlong), &open, false, false, turn);
            }
            _ => {}
        }
    }

    fn skipped(&mut self, ticket: Ticket, count: u64) {
        if let Some(at) = self.position(ticket).filter(|at| self.open[*at].is_taken) {
            self.open[at].arrived += count;
            self.ranges.skip(ticket.lease, count);
        }
    }

    fn range_ended(&mut self, ticket: Ticket, end: RangeEnd, turn: &mut Turn) {
        let Some(at) = self.position(ticket) else { return };
        let upto = self.open[at].start + self.open[at].arrived;
        let rival = self.ranges.raced_by(ticket.lease);
        let open = self.close(at);
        let progressed =
            matches!(end, RangeEnd::Finished | RangeEnd::BodyEnded) || open.arrived >= LEAST_PROGRESS;
        if progressed {
            self.tries.in_vain = 0;
            self.tries.backoff.reset();
            self.quirks.plain_tried = false;
        }
        match (end, rival) {
            (RangeEnd::Finished, Some(rival)) => {
                // It has lost, even if the file is complete by now. What it claimed is still written, so its range is its
                // own until it reports its end.
                turn.push(Command::Drop { ticket: Ticket { lease: rival, ..ticket } });
            }
            _ if !self.is_active() => {}
            (RangeEnd::Fault { fault, crowded }, Some(_)) => faults::slow_down(&fault, crowded, turn),
            (end, _) => self.follow_up(end, &open, upto, progressed, turn),
        }
    }

    fn follow_up(&mut self, end: RangeEnd, open: &Open, upto: u64, progressed: bool, turn: &mut Turn) {
        match end {
            RangeEnd::Finished | RangeEnd::GivenUp | RangeEnd::Stopped => {}
            // No response reported the length: the body's end is the file's, and the proof must be made without it.
            RangeEnd::BodyEnded if self.length().is_none() => self.ranges.set_length(upto),
            RangeEnd::BodyEnded => {}
            RangeEnd::Changed => self.restart(None, turn),
            RangeEnd::Fault { fault, .. } if self.asks_plainly(&fault, open, turn) => {}
            RangeEnd::Fault { fault, crowded } => self.fault(fault, open, progressed, crowded, turn),
            RangeEnd::Disk(trouble) => self.disk(trouble, turn),
        }
    }

    /// Begins again from zero: the known bytes are of another revision than what the host has now.
    fn restart(&mut self, quirks: Option<Quirks>, turn: &mut Turn) {
        self.tries.restarts += 1;
        if self.tries.restarts > MOST_RESTARTS {
            return self.fail(FailureCause::Revisions, turn);
        }
        if let Some(quirks) = quirks {
            self.quirks = quirks;
        }
        // One stream needs no agreement between responses.
        self.quirks.ignores_ranges |= self.tolerates_suspects();
        self.begin_again(turn);
    }

    fn begin_again(&mut self, turn: &mut Turn) {
        self.attempt += 1;
        self.ranges = PieceMap::unknown();
        self.known = Known::default();
        self.open.clear();
        self.hurried.clear();
        self.resumed_from = 0;
        self.is_joined = false;
        self.phase = Phase::Fetching;
        turn.commands.extend([Command::Abandon, Command::ReleaseSpace, Command::Restart]);
    }

    /// Whether a range was assigned to race another one.
    fn is_second(&self, ticket: Ticket) -> bool {
        self.ranges.is_second(ticket.lease)
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        let is_current = ticket.attempt == self.attempt;
        self.open.iter().position(|open| is_current && open.lease == ticket.lease)
    }

    /// Ends a range; what it did not deliver is free to be assigned again.
    fn close(&mut self, at: usize) -> Open {
        let open = self.open.swap_remove(at);
        self.ranges.release(open.lease);
        open
    }
}

#[cfg(test)]
mod tests;
