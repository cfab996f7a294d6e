//! After a fault: wait, ask for a new link, or fail.

use std::time::Duration;

use crate::decide::transfer::outcome::{After, AfterLink, after, after_link};
use crate::decide::transfer::plain_request::{Habit, Instead, instead};
use crate::decide::transfer::protocol::{
    COOL_DOWN, Command, Ending, Outcome, Phase, Refreshed, Report, SETTLE,
};
use crate::decide::transfer::task::{DiskTrouble, DiskTroubleKind, FailureCause, Missing};
use crate::model::fault::{Fault, granted_wait};

use super::{FIRST_WAIT, Open, TransferState, Turn};

/// How often a file that waits for disk space checks again.
const DISK_CHECK: Duration = Duration::from_secs(5);

/// Faults that a crowd of connections caused are not counted against the file, up to this many.
const MOST_CROWD_FAULTS: u32 = 8;

/// Whether a host refuses requests for their number.
const fn is_push_back(fault: &Fault) -> bool {
    matches!(fault, Fault::Status { status: 429 | 503, .. })
}

/// Whether a connection was refused, or broke before its first byte.
const fn is_connection_refused(fault: &Fault) -> bool {
    matches!(fault, Fault::Connect { .. } | Fault::Interrupted { received: 0, .. })
}

/// Whether a connection broke in the middle of a response.
const fn is_break(fault: &Fault) -> bool {
    matches!(fault, Fault::Interrupted { received: 1.., .. })
}

/// What follows for the host alone from a fault that costs the file nothing, since another connection has the same range.
pub(super) fn slow_down(fault: &Fault, crowded: bool, turn: &mut Turn) {
    if let Fault::Status { status: status @ (429 | 503), retry_after, .. } = *fault {
        turn.push(Command::PauseHost { status, wait: retry_after.map_or(FIRST_WAIT, granted_wait) });
        turn.push(Command::SlowDown);
    } else if crowded && is_connection_refused(fault) {
        turn.push(Command::SlowDown);
    } else if crowded && is_break(fault) {
        turn.push(Command::NoteBreak);
    }
}

impl TransferState {
    /// After a refusal: whether the same is requested at once without a range, which some hosts refuse.
    pub(super) fn asks_plainly(&mut self, fault: &Fault, open: &Open, turn: &mut Turn) -> bool {
        let Fault::Status { status, retry_after, .. } = *fault else { return false };
        if !open.is_refused {
            return false;
        }
        if open.is_plain {
            // It was not the range: a later try may well have one.
            self.quirks.plain_next = false;
            if !open.is_instead {
                self.learn_habit(Habit::Unknown, turn);
            }
            return false;
        }
        // Another range of the file was refused a moment ago, and the request without a range is next, or open already.
        if self.is_plain_sent() && instead(self.habit, false, status, retry_after) == Instead::AtOnce {
            return true;
        }
        match instead(self.habit, self.quirks.plain_tried, status, retry_after) {
            Instead::No => false,
            Instead::NextTime => {
                (self.quirks.plain_next, self.quirks.plain_tried) = (true, true);
                false
            }
            Instead::AtOnce => {
                (self.quirks.plain_next, self.quirks.plain_tried) = (true, true);
                self.retry_plain = true;
                true
            }
        }
    }

    pub(super) fn fault(
        &mut self,
        fault: Fault,
        open: &Open,
        progressed: bool,
        crowded: bool,
        turn: &mut Turn,
    ) {
        let is_push_back = is_push_back(&fault);
        let is_refused = is_connection_refused(&fault);
        let is_break = is_break(&fault);
        let of_crowd = crowded
            && (is_push_back || is_refused || is_break)
            && self.tries.crowd_faults < MOST_CROWD_FAULTS;
        // Eight connections that break at once are one fault of the file.
        let is_new = open.epoch == self.tries.epoch;
        if is_new {
            self.tries.epoch += 1;
            self.tries.crowd_faults += u32::from(of_crowd);
            self.tries.in_vain += u32::from(!progressed && !of_crowd);
        }
        if crowded && is_break {
            turn.push(Command::NoteBreak);
        } else if is_push_back || of_crowd {
            turn.push(Command::SlowDown);
        }
        let exhausted = self.is_exhausted();
        let at_least = match after(&fault, exhausted, self.policy.once) {
            After::Fail => return self.fail(FailureCause::Network(fault), turn),
            After::Wait(at_least) => at_least,
            After::Relist { gone } => return self.refresh_link(fault, gone, exhausted, open, turn),
        };
        // Another connection reported this fault already, and the file waits or asks for a link.
        if !is_new && self.phase != Phase::Fetching {
            return self.wait_longer(&fault, at_least, turn);
        }
        self.wait(FailureCause::Network(fault), at_least, turn);
    }

    /// Whether the next fault without progress was the last.
    fn is_exhausted(&self) -> bool {
        self.tries.in_vain >= self.policy.retries.max(1)
    }

    pub(super) fn refresh_link(
        &mut self,
        fault: Fault,
        gone: bool,
        exhausted: bool,
        open: &Open,
        turn: &mut Turn,
    ) {
        if matches!(self.phase, Phase::RefreshingLink { .. }) {
            return;
        }
        // A newer link arrived since this request was sent with the old one.
        if self.generation > open.generation && !exhausted {
            return;
        }
        self.phase = Phase::RefreshingLink { fault, gone };
        turn.push(Command::RefreshLink { newer_than: open.generation, gone });
    }

    pub(super) fn link_refreshed(&mut self, refreshed: Refreshed, turn: &mut Turn) {
        let Phase::RefreshingLink { fault, gone } = self.phase.clone() else { return };
        // Other connections may have made progress since the fault.
        let exhausted = self.is_exhausted();
        self.phase = Phase::Fetching;
        match refreshed {
            Refreshed::Gone => return self.vanish(turn),
            Refreshed::Here { url, generation } => {
                let is_renewed = url != self.url;
                self.url = url;
                self.generation = generation;
                self.quirks.renewed_links += u32::from(is_renewed);
                match after_link(is_renewed, gone, self.tries.in_vain, exhausted) {
                    AfterLink::Use if self.tries.not_before > turn.now => {
                        return self.wait_until(self.tries.not_before, turn);
                    }
                    AfterLink::Use => return,
                    AfterLink::Vanish => return self.vanish(turn),
                    AfterLink::Fail | AfterLink::Wait => {}
                }
            }
            Refreshed::Unknown => {}
        }
        if exhausted {
            return self.fail(FailureCause::Network(fault), turn);
        }
        self.wait(FailureCause::Network(fault), None, turn);
    }

    /// Waits before the next request, longer from fault to fault.
    pub(super) fn wait(&mut self, cause: FailureCause, at_least: Option<Duration>, turn: &mut Turn) {
        let wait = self.tries.backoff.next(at_least);
        if let FailureCause::Network(Fault::Status { status: status @ (429 | 503), .. }) = cause {
            turn.push(Command::PauseHost { status, wait });
        }
        turn.push(Command::Report(Report::Retrying { cause, wait }));
        self.wait_until(turn.now + wait, turn);
    }

    /// Takes in what one more response to the same fault asks for.
    pub(super) fn wait_longer(&mut self, fault: &Fault, at_least: Option<Duration>, turn: &mut Turn) {
        let (Some(wait), Fault::Status { status: status @ (429 | 503), .. }) = (at_least, fault) else {
            return;
        };
        let wait = granted_wait(wait);
        turn.push(Command::PauseHost { status: *status, wait });
        if matches!(self.phase, Phase::Waiting { until } if until < turn.now + wait) {
            self.wait_until(turn.now + wait, turn);
        }
    }

    pub(super) fn wait_until(&mut self, until: Duration, turn: &mut Turn) {
        let until = until.max(self.tries.not_before);
        self.tries.not_before = until;
        self.phase = Phase::Waiting { until };
        turn.push(Command::WaitUntil(until));
    }

    pub(super) fn deadline(&mut self, now: Duration) {
        let Phase::Waiting { until } = self.phase else { return };
        if now >= until {
            self.phase = if self.attempt == 0 { Phase::Queued } else { Phase::Fetching };
        }
    }

    pub(super) fn disk(&mut self, trouble: DiskTrouble, turn: &mut Turn) {
        if matches!(self.phase, Phase::Ended | Phase::Committing) {
            return;
        }
        // A pass can be started again, and so can a run whose job is over. While the training continues, the file waits
        // with what is here of it, and smaller ones may go first.
        let may_wait = !self.policy.once && self.task.run_may_write;
        match trouble.kind {
            DiskTroubleKind::NoRoom(shortage) if may_wait => {
                turn.push(Command::ReleaseSpace);
                turn.push(Command::Report(Report::NoRoom(shortage)));
                self.wait_until(turn.now + DISK_CHECK, turn);
            }
            DiskTroubleKind::Full if may_wait => {
                turn.push(Command::Report(Report::DiskFull { cause: trouble.cause }));
                turn.push(Command::ReleaseSpace);
                self.wait_until(turn.now + DISK_CHECK, turn);
            }
            DiskTroubleKind::OutOfHandles if self.tries.in_vain < self.policy.retries.max(1) => {
                self.tries.in_vain += 1;
                turn.push(Command::SlowDown);
                self.wait(trouble.cause, None, turn);
            }
            _ => self.fail(trouble.cause, turn),
        }
    }

    pub(super) fn settle(&mut self, declared: Option<u64>, have: u64, turn: &mut Turn) {
        turn.push(Command::Abandon);
        turn.push(Command::Report(Report::Settling { declared, have }));
        let (first, longest) = SETTLE;
        let patience = self.policy.interval.unwrap_or(longest);
        self.miss(Missing::Settling, (first.min(patience), longest.min(patience)), turn);
    }

    pub(super) fn vanish(&mut self, turn: &mut Turn) {
        if self.previous.as_deref() != Some(&Missing::Vanished) {
            turn.push(Command::Report(Report::Vanished));
        }
        self.miss(Missing::Vanished, COOL_DOWN, turn);
    }

    pub(super) fn fail(&mut self, cause: FailureCause, turn: &mut Turn) {
        let why = Missing::Failed(cause.clone());
        if self.previous.as_deref() != Some(&why) {
            turn.push(Command::Report(Report::Failed(cause)));
        }
        self.miss(why, COOL_DOWN, turn);
    }

    pub(super) fn miss(&mut self, why: Missing, cool_down: (Duration, Duration), turn: &mut Turn) {
        self.phase = Phase::Ended;
        self.open.clear();
        turn.push(Command::ReleaseSpace);
        let for_training = why == Missing::Settling && self.task.run_may_write;
        turn.push(Command::End(Ending::Missing { why, cool_down, for_training }));
    }

    pub(super) fn committed(&mut self, outcome: Outcome, turn: &mut Turn) {
        if self.phase != Phase::Committing {
            return;
        }
        self.phase = Phase::Ended;
        match outcome {
            Outcome::Here => turn.push(Command::End(Ending::Here)),
            Outcome::Refused { cause } => {
                turn.push(Command::Report(Report::Failed(cause.clone())));
                self.miss(Missing::Failed(cause), COOL_DOWN, turn);
            }
        }
    }
}
