//! Where bytes are written and hashed: by the connection that received them, or on a thread that may block.

use std::time::Duration;

/// The most bytes that a connection writes and hashes itself at once: about a millisecond's work.
const MOST_ON_THE_SPOT: u64 = 1 << 20;

/// A write of so many bytes that took longer waits for the disk. The time that a busy processor gives to other programs in
/// between is shorter.
const SLOW: Duration = Duration::from_millis(20);

/// So many times as long as a slow write took, the next ones are done elsewhere: a connection's thread, which other connections
/// need, is held up for a hundredth of the time at the most.
const TIMES_AS_LONG: u32 = 100;

/// Where bytes are written and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WritePlace {
    /// By the connection, at once: the bytes are still in the processor's cache, and no other thread has to be woken.
    OnTheSpot,
    /// On a thread that may block, while the connection receives the next group.
    Elsewhere,
}

impl WritePlace {
    /// Chooses for one write.
    pub(crate) const fn choose(write: NextWrite) -> Self {
        let NextWrite { bytes, is_in_order, is_disk_slow } = write;
        if bytes <= MOST_ON_THE_SPOT && is_in_order && !is_disk_slow {
            Self::OnTheSpot
        } else {
            Self::Elsewhere
        }
    }
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NextWrite {
    /// How many bytes are written.
    pub(crate) bytes: u64,
    /// Every byte before them is written and hashed, or the whole file is small: nothing more has to be read back for the hash.
    pub(crate) is_in_order: bool,
    /// A write was slow a short while ago.
    pub(crate) is_disk_slow: bool,
}

/// For how long writes are done elsewhere after one that took so long; `None` where it was quick.
pub(crate) fn elsewhere_for(took: Duration) -> Option<Duration> {
    (took > SLOW).then(|| took.saturating_mul(TIMES_AS_LONG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_order_are_written_on_the_spot_unless_the_disk_is_slow() {
        let usual = NextWrite { bytes: MOST_ON_THE_SPOT, is_in_order: true, is_disk_slow: false };
        assert_eq!(WritePlace::choose(usual), WritePlace::OnTheSpot);
        for write in [
            NextWrite { bytes: MOST_ON_THE_SPOT + 1, ..usual },
            NextWrite { is_in_order: false, ..usual },
            NextWrite { is_disk_slow: true, ..usual },
        ] {
            assert_eq!(WritePlace::choose(write), WritePlace::Elsewhere, "{write:?}");
        }
    }

    #[test]
    fn slow_writes_hold_up_connections_for_a_hundredth_of_the_time() {
        assert_eq!(elsewhere_for(Duration::ZERO), None);
        assert_eq!(elsewhere_for(Duration::from_millis(20)), None);
        assert_eq!(elsewhere_for(Duration::from_millis(30)), Some(Duration::from_secs(3)));
        assert_eq!(elsewhere_for(Duration::MAX), Some(Duration::MAX));
    }
}
