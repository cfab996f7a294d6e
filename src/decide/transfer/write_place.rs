//! Where a group of bytes is written and hashed: by the connection that received it, or on a thread that may block.

use std::time::Duration;

/// A write of at most a mebibyte that took longer waits for the disk. The time that a busy processor gives to other programs in
/// between is shorter.
const SLOW: Duration = Duration::from_millis(20);

/// So many times as long as a slow write took, the next ones are done elsewhere: a connection's thread, which other connections
/// need, is held up for a hundredth of the time at the most.
const REST: u32 = 100;

/// Where a group is written and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WritePlace {
    /// By the connection, at once: the bytes are still in the processor's cache, and no other thread has to be woken.
    OnTheSpot,
    /// On a thread that may block, while the connection receives the next group.
    Elsewhere,
}

impl WritePlace {
    /// Chooses for one group.
    pub(crate) const fn choose(group: Group) -> Self {
        let Group { is_small, is_next, disk_rests } = group;
        if is_small && is_next && !disk_rests { Self::OnTheSpot } else { Self::Elsewhere }
    }
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// It is written and hashed in about a millisecond.
    pub(crate) is_small: bool,
    /// Every byte before it is written and hashed, or the whole file is small: nothing more has to be read back for the hash.
    pub(crate) is_next: bool,
    /// A write was slow a short while ago.
    pub(crate) disk_rests: bool,
}

/// For how long writes are done elsewhere after one that took so long; `None` where it was quick.
pub(crate) fn rest_after(took: Duration) -> Option<Duration> {
    (took > SLOW).then(|| took.saturating_mul(REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_order_are_written_on_the_spot_unless_the_disk_is_slow() {
        let usual = Group { is_small: true, is_next: true, disk_rests: false };
        assert_eq!(WritePlace::choose(usual), WritePlace::OnTheSpot);
        for group in [
            Group { is_small: false, ..usual },
            Group { is_next: false, ..usual },
            Group { disk_rests: true, ..usual },
        ] {
            assert_eq!(WritePlace::choose(group), WritePlace::Elsewhere, "{group:?}");
        }
    }

    #[test]
    fn slow_writes_hold_up_connections_for_a_hundredth_of_the_time() {
        assert_eq!(rest_after(Duration::ZERO), None);
        assert_eq!(rest_after(Duration::from_millis(20)), None);
        assert_eq!(rest_after(Duration::from_millis(30)), Some(Duration::from_secs(3)));
        assert_eq!(rest_after(Duration::MAX), Some(Duration::MAX));
    }
}
