//! What to do about a connection that is far slower than others at the end of the work, while others have nothing to do.
//!
//! What is left of its range is requested by a second connection that is open already, and the first to arrive wins; where
//! none is open, the slow one is given up for a new one. Both happen once for the same bytes: links that pause have slow
//! moments on every connection.

use std::time::Duration;

use crate::model::units::as_f64;

use super::stall::Typical;

/// A connection is judged by what it delivered in so long, where connections usually deliver enough in that time …
const GLANCE: Duration = Duration::from_millis(300);

/// … and not before so many usual waits for a head, which its request may be in …
const WAITS: u32 = 4;

/// … and by this share of the usual rate.
const FAR_SLOWER_AT_A_GLANCE: f64 = 0.25;

/// Round trips that a request costs on an open connection, and on a new one (TCP, TLS, and itself).
const WARM: u32 = 1;
const COLD: u32 = 3;

/// What ends in so many round trips is over before the response to another request has arrived.
const ENDS_SOON: u32 = 2;

/// Where less is known, a connection is judged by what it delivered in so long …
const LOOK: Duration = Duration::from_secs(2);

/// … when it takes this many times as long as another would …
const FAR_SLOWER: f64 = 4.0;

/// … and this much longer, in seconds, which a new request could cost.
const WORTH_A_REQUEST: f64 = 2.0;

/// One range under way, watched from its request on. Times are durations since any fixed moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    glanced: (Duration, u64),
    looked: (Duration, u64),
}

/// What a range under way looks like now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Bytes that it still lacks.
    pub left: u64,
    /// Bytes that arrived since its request.
    pub arrived: u64,
    /// Another connection may serve its bytes, too, and nothing was done about them at a glance before.
    pub may_hurry: bool,
    /// Its host serves what is left of it to another connection.
    pub serves_several: bool,
}

/// What is known of the others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Others {
    /// Connections that may work have nothing to do.
    pub are_idle: bool,
    /// One of those is open, from an earlier request.
    pub is_one_open: bool,
    /// No host refused anything, and no rate limit counts bytes that come twice.
    pub are_welcome: bool,
    /// What connections usually deliver.
    pub typical: Typical,
    /// A connection that delivers less than this in [`GLANCE`] shows nothing by that: packets come in groups.
    pub telling: u64,
}

/// What to do about one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing, or not yet.
    Keep,
    /// Stop it; what is left is requested again.
    GiveUp,
    /// The same, at a glance: once for the same bytes.
    GiveUpEarly,
    /// Request what is left on an open connection as well.
    Race,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub(crate) const fn new(now: Duration) -> Self {
        Self { glanced: (now, 0), looked: (now, 0) }
    }

    /// Takes a look at a range.
    pub(crate) fn observe(&mut self, now: Duration, flow: &Flow, others: &Others) -> Verdict {
        let (rate, wait) = (others.typical.rate(), others.typical.wait());
        let left = as_f64(flow.left);
        if let Some(own) = since(&mut self.glanced, now, flow.arrived, GLANCE.max(wait * WAITS)) {
            let is_telling = rate * GLANCE.as_secs_f64() >= as_f64(others.telling);
            let (request, early) = match others.is_one_open {
                true => (WARM, Verdict::Race),
                false => (COLD, Verdict::GiveUpEarly),
            };
            let other = left / rate + (wait * request).as_secs_f64();
            let ends_soon = (wait * ENDS_SOON).as_secs_f64();
            if others.are_idle
                && others.are_welcome
                && flow.may_hurry
                && is_telling
                && own < rate * FAR_SLOWER_AT_A_GLANCE
                && left / own > other.max(ends_soon)
            {
                return early;
            }
        }
        if let Some(own) = since(&mut self.looked, now, flow.arrived, LOOK)
            && others.are_idle
            && flow.serves_several
            && rate > 0.0
            && left / own > left / rate * FAR_SLOWER + WORTH_A_REQUEST
        {
            return Verdict::GiveUp;
        }
        Verdict::Keep
    }
}

/// Returns the rate since the last look, in bytes a second, once that was long enough ago; then the next look begins.
fn since(last: &mut (Duration, u64), now: Duration, arrived: u64, enough: Duration) -> Option<f64> {
    let elapsed = now.saturating_sub(last.0);
    if elapsed < enough {
        return None;
    }
    let rate = as_f64(arrived.saturating_sub(last.1)) / elapsed.as_secs_f64();
    *last = (now, arrived);
    Some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Connections that deliver so many bytes a second, and wait so many milliseconds.
    fn typical(rate: u64, wait: u64) -> Typical {
        let mut typical = Typical::default();
        for _ in 0..8 {
            typical.learn(rate, Duration::from_secs(1), at(wait));
        }
        typical
    }

    fn others(rate: u64, wait: u64) -> Others {
        Others {
            are_idle: true,
            is_one_open: true,
            are_welcome: true,
            typical: typical(rate, wait),
            telling: MIB / 4,
        }
    }

    fn flow(arrived: u64, left: u64) -> Flow {
        Flow { left, arrived, may_hurry: true, serves_several: true }
    }

    /// Looks every 25 ms at a connection of `rate` bytes a second; returns the first verdict that is not to keep it, and
    /// after how many milliseconds.
    fn watch(rate: u64, left: u64, others: &Others, flow: Flow) -> Option<(Verdict, u64)> {
        let mut watch = Watch::new(Duration::ZERO);
        (1..400).map(|tick| tick * 25).find_map(|millis| {
            let flow = Flow { arrived: rate * millis / 1000, left, ..flow };
            let verdict = watch.observe(at(millis), &flow, others);
            (verdict != Verdict::Keep).then_some((verdict, millis))
        })
    }

    #[test]
    fn at_a_glance_where_the_link_is_fast_and_later_elsewhere() {
        use Verdict::{GiveUp, GiveUpEarly, Race};
        let (fast, kind) = (others(4 * MIB, 50), flow(0, 0));
        let cold = Others { is_one_open: false, ..fast };
        let busy = Others { are_idle: false, ..fast };
        let refused = Others { are_welcome: false, ..fast };
        let slow = others(MIB / 2, 50);
        let unknown = Others { typical: Typical::default(), ..fast };
        let far = others(4 * MIB, 200);
        let again = Flow { may_hurry: false, ..kind };
        let alone = Flow { may_hurry: false, serves_several: false, ..kind };
        let rows = [
            ("a quarter of the usual rate is not far slower", MIB + 100, 8 * MIB, fast, kind, None),
            ("less is", MIB - MIB / 8, 8 * MIB, fast, kind, Some((Race, 300))),
            ("nothing comes", 0, 8 * MIB, fast, kind, Some((Race, 300))),
            ("no connection is open", 0, 8 * MIB, cold, kind, Some((GiveUpEarly, 300))),
            ("there is other work", 0, 8 * MIB, busy, kind, None),
            ("a host refused something", 0, 8 * MIB, refused, kind, Some((GiveUp, 2000))),
            ("a glance at a slow link shows nothing", 0, 8 * MIB, slow, kind, Some((GiveUp, 2000))),
            ("nothing is known to compare with", 0, 8 * MIB, unknown, kind, None),
            ("on a far host its head may still come", 0, 8 * MIB, far, kind, Some((Race, 800))),
            ("it was done before", 0, 8 * MIB, fast, again, Some((GiveUp, 2000))),
            ("the host serves one connection", 0, 8 * MIB, fast, alone, None),
            ("it ends in two round trips", MIB / 2, MIB / 32, fast, kind, None),
            ("the other would not be sooner", MIB / 2, MIB / 32, others(4 * MIB, 70), kind, None),
        ];
        for (about, rate, left, others, flow, expected) in rows {
            assert_eq!(watch(rate, left, &others, flow), expected, "{about}");
        }
    }

    #[test]
    fn a_pause_is_not_held_against_what_follows() {
        let others = others(4 * MIB, 10);
        let mut watch = Watch::new(Duration::ZERO);
        let mut verdicts = Vec::new();
        for millis in (25..3000).step_by(25) {
            // Nothing for 300 ms of each second; more than a quarter of the usual rate over every glance.
            let (second, within) = (millis / 1000, millis % 1000);
            let arrived = second * 3 * MIB
                + within.min(350) * 3 * MIB / 700
                + within.saturating_sub(650) * 3 * MIB / 700;
            verdicts.push(watch.observe(at(millis), &flow(arrived, 8 * MIB), &others));
        }
        assert!(verdicts.iter().filter(|verdict| **verdict != Verdict::Keep).count() <= 3, "{verdicts:?}");
        assert!(!verdicts.contains(&Verdict::GiveUp));
    }
}
