//! What the head of a response leads to.

use crate::decide::transfer::plain_request::{Habit, learned};
use crate::decide::transfer::protocol::{Command, Report, Ticket};
use crate::decide::transfer::resume::{Answer, resume};
use crate::model::claim::merge;
use crate::model::fault::{Fault, RangeFault};
use crate::model::response_head::Head;
use crate::model::revision::{Agreement, Revision};

use super::{Open, Quirks, TransferState, Turn};

impl TransferState {
    pub(super) fn response(&mut self, ticket: Ticket, head: &Head, turn: &mut Turn) {
        let Some(at) = self.position(ticket).filter(|at| self.is_active() && !self.open[*at].is_taken) else {
            turn.push(Command::Drop { ticket });
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
        // One that races another serves to be sooner, and for nothing else: what it shows of the host is left to the other.
        let is_proven = matches!(answer, Answer::Take { ranges_proven: true, .. });
        if self.is_raced(ticket) && self.is_second(ticket) && !is_proven && !is_refusal(&answer) {
            self.close(at);
            return turn.push(Command::Drop { ticket });
        }
        if is_instead && !is_refusal(&answer) {
            self.learn_habit(learned(true, true, self.habit), turn);
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
            turn.push(Command::Drop { ticket });
            return self.unchanged(here, turn);
        }
        match answer {
            Answer::Take { skip, take, total, ranges_proven } => {
                if ranges_proven {
                    self.learn_habit(Habit::Serves, turn);
                }
                self.quirks.plain_next = false;
                self.open[at].is_taken = true;
                self.learn(head, total, ranges_proven, at, turn);
                self.started(total, turn);
                let end = self.open[at].start.saturating_add(self.ranges.wanted(ticket.lease));
                let take = take.map(|take| take.saturating_sub(overlap));
                turn.push(Command::Receive { ticket, skip, take, end, lacks: self.lacks() });
            }
            answer if is_refusal(&answer) => {
                self.open[at].is_refused = true;
                turn.push(Command::ReadRefusal { ticket });
            }
            Answer::Unpack => {
                self.open[at].packed = Some(head.revision.clone());
                turn.push(Command::Unpack { ticket });
            }
            answer => {
                let open = self.close(at);
                turn.push(Command::Drop { ticket });
                self.without_bytes(answer, &open, if_range, head, turn);
            }
        }
    }

    /// Follows up a response of which no byte is taken.
    pub(super) fn without_bytes(
        &mut self,
        answer: Answer,
        open: &Open,
        if_range: bool,
        head: &Head,
        turn: &mut Turn,
    ) {
        match answer {
            Answer::Unchanged => self.unchanged(&open.here.clone().unwrap_or_default(), turn),
            Answer::RangesIgnored if if_range => self.quirks.ignores_if_range = true,
            Answer::RangesIgnored => {
                self.restart(Some(Quirks { ignores_ranges: true, ..self.quirks }), turn);
            }
            // The length was unknown until now, and the file ends where the request began.
            Answer::Complete { total } if self.length().is_none() => {
                self.note(head, Some(total), true, turn);
                self.ranges.set_length(total);
            }
            Answer::Complete { .. } | Answer::Changed => self.restart(None, turn),
            Answer::Empty => self.settle(None, 0, turn),
            Answer::Reject(fault) => self.fault(Fault::Range(fault), open, false, false, turn),
            Answer::Take { .. } | Answer::Refused | Answer::Unpack => {}
        }
    }

    pub(super) fn started(&mut self, size: Option<u64>, turn: &mut Turn) {
        if !std::mem::replace(&mut self.is_started, true) {
            turn.push(Command::Report(Report::Started { size, resumed_from: self.resumed_from }));
        }
    }

    pub(super) fn learn_habit(&mut self, habit: Habit, turn: &mut Turn) {
        if std::mem::replace(&mut self.habit, habit) != habit {
            turn.push(Command::Habit(habit));
        }
    }

    /// Takes in a text that came packed: its validators are those of the packed form, its length is not.
    pub(super) fn unpacked(&mut self, ticket: Ticket, length: u64, turn: &mut Turn) {
        let Some(at) = self.position(ticket).filter(|_| self.is_active()) else { return };
        let Some(revision) = self.open[at].packed.take() else { return };
        if length == 0 {
            return self.settle(None, 0, turn);
        }
        self.known.revision = Some(Revision { length: None, ..revision });
        self.known.declared = Some(length);
        turn.push(Command::Learned(self.known.clone()));
        self.ranges.set_length(length);
        self.ranges.stretch(ticket.lease);
        self.open[at].is_taken = true;
        self.started(Some(length), turn);
        turn.push(Command::Receive { ticket, skip: 0, take: Some(length), end: length, lacks: self.lacks() });
    }

    /// Takes in what the head of an accepted response reports, and gives its range the length that fits.
    pub(super) fn learn(
        &mut self,
        head: &Head,
        total: Option<u64>,
        ranges_proven: bool,
        at: usize,
        turn: &mut Turn,
    ) {
        let is_first = self.note(head, total, ranges_proven, turn);
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
    pub(super) fn note(
        &mut self,
        head: &Head,
        total: Option<u64>,
        ranges_proven: bool,
        turn: &mut Turn,
    ) -> bool {
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
            turn.push(Command::Learned(known.clone()));
        }
        is_first
    }
}

/// Whether a response has no bytes, and its status shows that. To a first range, 416 without a length is no more than that.
const fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused | Answer::Reject(RangeFault::Nonsense(416)))
}
