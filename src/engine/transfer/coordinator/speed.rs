//! What connections deliver: how many of them there are, and which are far slower than others.

use tokio::time::Instant;

use crate::decide::transfer::protocol::Ticket;
use crate::decide::transfer::scheduler::FileId;
use crate::decide::transfer::straggler::{Flow, Others, Verdict, Watch};

use super::Coordinator;

impl Coordinator {
    /// Measures what connections deliver: decides how many there are, and which of them are too slow.
    pub(super) fn look(&mut self) {
        self.observe();
        let now = self.now();
        let others = self.scheduler.others();
        let others = Others { are_welcome: others.are_welcome && self.context.may_race(), ..others };
        let mut slow = Vec::new();
        for (id, ranges) in &mut self.state.lent {
            let Some(state) = self.state.slots.0.get(id).and_then(|slot| slot.state.as_ref()) else {
                continue;
            };
            for lent in ranges {
                let ticket = lent.ticket;
                if !lent.end.is_sent() {
                    lent.watch = Watch::new(now);
                    continue;
                }
                let flow = Flow {
                    left: state.left(ticket).unwrap_or(0),
                    arrived: lent.end.arrived(),
                    may_hurry: state.may_hurry(ticket),
                    serves_several: state.serves_several(),
                };
                match lent.watch.observe(now, &flow, &others) {
                    Verdict::Keep => {}
                    verdict => slow.push((*id, ticket, verdict)),
                }
            }
        }
        for (id, ticket, verdict) in slow {
            self.hurry(id, ticket, verdict);
        }
    }

    /// Does what was decided about a connection that is far slower than others.
    fn hurry(&mut self, id: FileId, ticket: Ticket, verdict: Verdict) {
        let Some(slot) = self.state.slots.0.get_mut(&id) else { return };
        let Some(state) = &mut slot.state else { return };
        tracing::debug!(path = %slot.artifact.path, ?id, ?ticket, ?verdict, "a connection is far slower than others");
        match verdict {
            Verdict::Keep => {}
            Verdict::Race => self.race(id, ticket),
            Verdict::GiveUpEarly if !state.give_up_early(ticket) => {}
            Verdict::GiveUp | Verdict::GiveUpEarly => {
                let ranges = self.state.lent.get(&id).into_iter().flatten();
                ranges.filter(|lent| lent.ticket == ticket).for_each(|lent| lent.end.stop());
            }
        }
    }

    /// Measures what all connections deliver, and decides how many there are.
    pub(super) fn observe(&mut self) {
        self.state.looked = Instant::now();
        let before = self.scheduler.shares();
        let shares = self.scheduler.observe(self.now(), self.context.meters.traffic());
        if shares != before {
            tracing::debug!(small = shares.small, large = shares.large, "connections");
        }
    }
}
