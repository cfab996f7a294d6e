//! When every byte is here: publish the file, wait for the rest of it, or doubt it.

use crate::decide::transfer::protocol::{Command, Phase, Report, SETTLE};
use crate::decide::transfer::settle;
use crate::decide::transfer::settle::{Settled, settled};
use crate::decide::transfer::suspect::{Doubted, SECOND_LOOK, doubted};
use crate::decide::transfer::task::{FailureCause, Missing};
use crate::decide::transfer::verify::{
    Contradiction, Expectation, Judgement, Received, Verified, judge, recognise,
};
use crate::model::manifest::{Doubt, Entry};
use crate::model::revision::{Agreement, Revision};

use super::{Quirks, TransferState, Turn};

impl TransferState {
    /// Weighs a whole file: publish it, wait for the rest of it, or doubt it.
    pub(super) fn hashed(&mut self, received: &Received, unix_ms: u64, turn: &mut Turn) {
        if self.phase != Phase::Verifying {
            return;
        }
        let revision = self.known.revision.clone().unwrap_or_default();
        if self.as_published().is_some_and(|entry| {
            entry.revision.compare(&revision) == Agreement::Same && entry.sha256 != received.sha256
        }) {
            // Local bytes and bytes of the host together are not what was published: neither can be trusted.
            return self.restart(None, turn);
        }
        let expected = Expectation {
            length: self.known.declared,
            claims: &self.known.claims,
            half_of_pair: self.task.half_of_pair,
            accept_unproven: self.policy.accept_unproven,
            // Equal bytes prove nothing where nothing is left that could write the rest.
            read_before: self.suspect.as_ref().filter(|_| !self.task.cut_off).map(|doubt| doubt.sha256),
        };
        // Bytes that were proven before are proven, whatever the host claims of them now.
        let before = self.task.entry.as_ref();
        let before = before.and_then(|entry| recognise(received, entry.sha256, entry.evidence));
        match (judge(received, &expected), before) {
            (Judgement::Proven(verified), None) if !self.is_settled(&verified, &revision, unix_ms, turn) => {}
            (Judgement::Proven(verified), _) | (_, Some(verified)) => {
                self.phase = Phase::Committing;
                turn.push(Command::Publish(verified));
            }
            // What was joined is not one whole file: it may be parts of two.
            (Judgement::Contradicted(_), None) if self.is_joined && !self.quirks.is_inconsistent => {
                self.restart(Some(Quirks { is_inconsistent: true, ..self.quirks }), turn);
            }
            (Judgement::Unfinished { declared, have }, None) => self.settle(declared, have, turn),
            (Judgement::Contradicted(why), None) => self.contradicted(received, why, revision, turn),
        }
    }

    /// Whether a proven file may be published now. While the training may still write, one that is proven by its length alone
    /// waits for a second, equal look.
    fn is_settled(
        &mut self,
        verified: &Verified,
        revision: &Revision,
        unix_ms: u64,
        turn: &mut Turn,
    ) -> bool {
        let read = settle::Read { sha256: verified.sha256(), revision, now: unix_ms };
        let before = self.task.doubt.as_ref().and_then(|doubt| Some((doubt.sha256, doubt.first_look?)));
        match settled(verified.evidence(), self.task.run_may_write, read, before) {
            Settled::Publish => return true,
            Settled::First(look) => turn.push(Command::NoteDoubt(Doubt {
                sha256: verified.sha256(),
                // No revision: the second look must have the bytes.
                revision: Revision::default(),
                after_end: false,
                read_twice: false,
                first_look: Some(look),
            })),
            Settled::TooSoon => {}
        }
        if !revision.is_comparable() {
            // Nothing would show at the second look that these bytes are not older ones: all are read again.
            turn.push(Command::Abandon);
        }
        let size = verified.size();
        turn.push(Command::Report(Report::Settling { declared: Some(size), have: size }));
        self.miss(Missing::Settling, (settle::APART, settle::APART.max(SETTLE.1)), turn);
        false
    }

    /// Returns what a damaged file was when it was published, where this attempt began with its good blocks.
    pub(super) fn as_published(&self) -> Option<&Entry> {
        self.task.entry.as_deref().filter(|_| self.task.is_damaged && self.resumed_from > 0)
    }

    pub(super) fn contradicted(
        &mut self,
        received: &Received,
        why: Contradiction,
        revision: Revision,
        turn: &mut Turn,
    ) {
        let after_end = !self.task.run_may_write;
        // What may be whole after all must be read again, whatever the host reports of changes.
        let revision = match why {
            Contradiction::Unwritten { .. } => Revision::default(),
            _ => revision,
        };
        let next = doubted(received.sha256, self.suspect.as_deref(), self.task.run_may_write);
        let read_twice = next == Doubted::Condemned;
        let doubt = Doubt { sha256: received.sha256, revision, after_end, read_twice, first_look: None };
        turn.push(Command::NoteDoubt(doubt.clone()));
        match next {
            Doubted::Condemned => {
                turn.push(Command::Abandon);
                self.fail(FailureCause::Contradicted(why), turn);
            }
            Doubted::SecondLook => {
                turn.push(Command::Report(Report::Retrying {
                    cause: FailureCause::Contradicted(why),
                    wait: SECOND_LOOK,
                }));
                // The bytes are wanted again even if the host reports no change.
                self.suspect = Some(Box::new(Doubt { revision: Revision::default(), ..doubt }));
                self.begin_again(turn);
                self.wait_until(turn.now + SECOND_LOOK, turn);
            }
            Doubted::Settling => {
                self.settle(Some(received.size), received.size - received.trailing_zeros, turn);
            }
        }
    }

    /// The host reports no change since what is here, or since what was in doubt.
    pub(super) fn unchanged(&mut self, revision: &Revision, turn: &mut Turn) {
        let run_may_write = self.task.run_may_write;
        match (&self.task.recheck, &self.task.entry, &self.task.doubt) {
            (Some(_), Some(_), _) => {
                self.phase = Phase::Committing;
                turn.push(Command::ReleaseSpace);
                turn.push(Command::NoteUnchanged);
            }
            (_, _, Some(doubt)) if !run_may_write && doubt.read_twice => {
                self.fail(FailureCause::StillContradicted, turn);
            }
            (_, _, Some(_)) if run_may_write => {
                self.settle(revision.length, revision.length.unwrap_or_default(), turn);
            }
            // The run is over now, and the second download must really read the bytes.
            _ => {
                if let Some(suspect) = &mut self.suspect {
                    suspect.revision = Revision::default();
                    suspect.after_end = true;
                }
                self.begin_again(turn);
                self.tries.not_before = self.tries.not_before.max(turn.now);
            }
        }
    }
}
