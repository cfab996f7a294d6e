//! A link that is faster than the processors: when more connections than those cost time.

use std::time::Duration;

use crate::decide::transfer::concurrency::deserve_one_each;
use crate::model::units::as_f64;

/// A cap is released when the rate falls below this share of what it was with more connections: about half, as it is with
/// half of the connections to a host that throttles each.
const KEPT: f64 = 0.55;

/// How long a cap that slowed the link down is not set again, the first time; each further time is twice as long, up to
/// the second.
const CAP_HOLD: Duration = Duration::from_secs(8);
const LONGEST_CAP_HOLD: Duration = Duration::from_secs(120);

/// A rate is measured over this long.
const WINDOW: Duration = Duration::from_millis(150);

/// The first rate is measured over this long: before more connections are tried.
const FIRST_WINDOW: Duration = Duration::from_millis(75);

/// Whether the link is faster than the processors.
#[derive(Debug, Default)]
pub(super) struct Link {
    window: Option<(Duration, u64)>,
    rate: Option<f64>,
    /// The rate when the count was capped.
    capped_at: Option<f64>,
    hold: Duration,
    hold_until: Duration,
}

impl Link {
    pub(super) fn observe(&mut self, now: Duration, bytes: u64) {
        let Some((since, before)) = self.window else {
            self.window = Some((now, bytes));
            return;
        };
        let elapsed = now.saturating_sub(since);
        let is_first = self.rate.is_none() && self.capped_at.is_none();
        if elapsed >= if is_first { FIRST_WINDOW } else { WINDOW } {
            self.rate = Some(as_f64(bytes.saturating_sub(before)) / elapsed.as_secs_f64());
            self.window = Some((now, bytes));
        }
    }

    /// Measures anew.
    const fn restart(&mut self) {
        self.rate = None;
        self.window = None;
    }

    /// Whether more connections than processors cost time. `is_fast`: by what single connections deliver, few of them
    /// deliver more than the processors hash; what all of them deliver must show it, too, since hosts that throttle each
    /// connection let the first bytes of a response pass at full speed. A cap that slows the link down is released, and
    /// not set again for a while.
    pub(super) fn is_capped(&mut self, now: Duration, is_fast: bool, is_busy: bool) -> bool {
        match self.capped_at {
            Some(before) if self.rate.is_some_and(|now| now < before * KEPT) && is_busy => {
                self.capped_at = None;
                self.hold = (self.hold * 2).clamp(CAP_HOLD, LONGEST_CAP_HOLD);
                self.hold_until = now + self.hold;
            }
            None if is_fast && now >= self.hold_until => {
                if let Some(rate) = self.rate.filter(|rate| deserve_one_each(*rate, false)) {
                    self.capped_at = Some(rate);
                    self.restart();
                }
            }
            Some(_) | None => {}
        }
        self.capped_at.is_some()
    }

    /// Releases the cap, which may be set again at once.
    pub(super) const fn release(&mut self) {
        self.capped_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of 1 GB a second that is capped, and delivers `after` from then on; returns in which of the looks, 50 ms
    /// apart, it is capped.
    fn capped(after: u64, looks: u64) -> Vec<bool> {
        let (mut link, mut bytes) = (Link::default(), 0);
        let mut is_capped = false;
        (1..=looks)
            .map(|look| {
                let rate = if is_capped { after } else { 1_000_000_000 };
                bytes += rate / 20;
                let now = Duration::from_millis(look * 50);
                link.observe(now, bytes);
                is_capped = link.is_capped(now, true, true);
                is_capped
            })
            .collect()
    }

    #[test]
    fn a_cap_stays_where_it_costs_nothing() {
        for rate in [900_000_000, 600_000_000] {
            // Two looks set the window and measure.
            assert!(capped(rate, 100).iter().skip(3).all(|is_capped| *is_capped), "more than half: {rate}");
        }
    }

    #[test]
    fn a_burst_of_single_connections_is_no_fast_link() {
        let mut link = Link::default();
        for look in 1..100 {
            let now = Duration::from_millis(look * 50);
            link.observe(now, look * 10_000_000);
            assert!(!link.is_capped(now, true, true), "200 MB a second");
        }
    }

    #[test]
    fn a_cap_that_halves_the_rate_is_released_for_longer_each_time() {
        let looks = capped(500_000_000, 1000);
        let free: Vec<usize> =
            looks.split(|is_capped| *is_capped).map(<[bool]>::len).filter(|len| *len > 0).collect();
        // Before the first rate is known, then for 8 s, for 16 s, and for what is left.
        assert_eq!(free.len(), 4, "{free:?}");
        assert!(free.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{free:?}");
        assert!(looks.iter().filter(|is_capped| **is_capped).count() < 30, "a few looks each");
    }
}
