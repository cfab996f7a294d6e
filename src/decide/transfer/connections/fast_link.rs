//! A link that is faster than the processors: when more connections than those cost time.

use std::time::Duration;

/// A cap is released when the rate falls below this share of what it was with more connections: about half, as it is with
/// half of the connections to a host that throttles each.
const KEPT: f64 = 0.55;

/// How long a cap that slowed the link down is not set again, the first time; each further time is twice as long, up to
/// the second.
const CAP_HOLD: Duration = Duration::from_secs(8);
const LONGEST_CAP_HOLD: Duration = Duration::from_secs(120);

/// A rate is measured over this long.
const WINDOW: Duration = Duration::from_millis(150);

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
        if elapsed >= WINDOW {
            self.rate = Some(as_f64(bytes.saturating_sub(before)) / elapsed.as_secs_f64());
            self.window = Some((now, bytes));
        }
    }

    /// Measures anew.
    const fn restart(&mut self) {
        self.rate = None;
        self.window = None;
    }

    /// Whether more connections than processors cost time. `rate`: what they deliver now, in bytes a second; `is_fast`:
    /// that is more than the processors hash. A cap that slows the link down is released, and not set again for a while.
    pub(super) fn is_capped(&mut self, now: Duration, rate: f64, is_fast: bool, is_busy: bool) -> bool {
        match self.capped_at {
            Some(before) if self.rate.is_some_and(|now| now < before * KEPT) && is_busy => {
                self.capped_at = None;
                self.hold = (self.hold * 2).clamp(CAP_HOLD, LONGEST_CAP_HOLD);
                self.hold_until = now + self.hold;
            }
            None if is_fast && now >= self.hold_until => {
                self.capped_at = Some(rate);
                self.restart();
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

/// Counts are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "a rate does not need the last bit")]
const fn as_f64(count: u64) -> f64 {
    count as f64
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
                is_capped = link.is_capped(now, as_f64(rate), rate > 500_000_000, true);
                is_capped
            })
            .collect()
    }

    #[test]
    fn a_cap_stays_where_it_costs_nothing() {
        assert!(capped(900_000_000, 100).iter().all(|is_capped| *is_capped));
        assert!(capped(600_000_000, 100).iter().all(|is_capped| *is_capped), "more than half");
    }

    #[test]
    fn a_cap_that_halves_the_rate_is_released_for_longer_each_time() {
        let looks = capped(500_000_000, 1000);
        let free: Vec<usize> =
            looks.split(|is_capped| *is_capped).map(<[bool]>::len).filter(|len| *len > 0).collect();
        assert_eq!(free.len(), 3, "{free:?}");
        assert!(free.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{free:?}");
        assert!(looks.iter().filter(|is_capped| **is_capped).count() < 30, "a few looks each");
    }
}
