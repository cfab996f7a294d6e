//! Whether the disk has room for what is about to be written.
//!
//! The one idea: what was promised to files on their way counts as used, so that eight files that each fit alone do
//! not fill the disk together, and what must stay free for others stays free.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::model::units::ByteCount;

/// What stays free where the user did not set it: enough for a system to keep working …
const MIN_FREE: u64 = 1 << 30;

/// … but no more than this share of a small disk.
const MIN_FREE_SHARE: u64 = 100;

/// A measurement of the disk is true enough for this long …
const FRESH: Duration = Duration::from_millis(20);

/// … while there is so much more room than is asked for that it cannot be filled in that time.
const AMPLE: u64 = 1 << 30;

/// Returns the bytes that must stay free on a disk of `total` bytes.
#[must_use]
pub(crate) fn floor(min_free: Option<ByteCount>, total: u64) -> u64 {
    min_free.map_or_else(|| MIN_FREE.min(total / MIN_FREE_SHARE), |size| size.0)
}

/// Too little room: what is wanted would take the disk below what must stay free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shortage {
    /// Bytes that are wanted.
    pub wanted: u64,
    /// Bytes that are free and not promised to other files on their way.
    pub free: u64,
    /// Bytes that must stay free.
    pub floor: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, free, floor } = *self;
        let (wanted, free, floor) = (ByteCount(wanted), ByteCount(free), ByteCount(floor));
        write!(f, "it needs {wanted} more, the disk has {free}, and {floor} of that stays free")
    }
}

/// Returns what is lacking for `wanted` more bytes on a disk with `free` bytes of which `promised` are spoken for.
#[must_use]
pub(crate) const fn shortage(free: u64, promised: u64, floor: u64, wanted: u64) -> Option<Shortage> {
    let free = free.saturating_sub(promised);
    if free.saturating_sub(floor) < wanted { Some(Shortage { wanted, free, floor }) } else { None }
}

/// Whether `wanted` more bytes fit without another look at the disk; `age` is how old the last one is.
#[must_use]
pub(crate) fn surely_fits(age: Duration, free: u64, promised: u64, floor: u64, wanted: u64) -> bool {
    age < FRESH && shortage(free, promised, floor, wanted.saturating_add(AMPLE)).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_look_and_one_at_a_disk_that_is_nearly_full_are_not_trusted() {
        let gib = |count: u64| count << 30;
        let fits = |millis, free, wanted| {
            surely_fits(Duration::from_millis(millis), gib(free), gib(2), gib(1), gib(wanted))
        };
        assert!(fits(19, 5, 1), "5 GiB, of which 2 are promised and 1 stays free, take 1 with 1 to spare");
        assert!(!fits(20, 5, 1), "others may have written since");
        assert!(!fits(0, 4, 1), "it fits, and nothing is to spare");
        assert!(!surely_fits(Duration::ZERO, gib(5), 0, 0, u64::MAX), "no sum overflows");
    }

    #[test]
    fn a_gibibyte_stays_free_or_a_hundredth_or_what_the_user_sets() {
        assert_eq!(floor(None, 1 << 40), 1 << 30);
        assert_eq!(floor(None, 50 << 30), (50 << 30) / 100);
        assert_eq!(floor(Some(ByteCount(7)), 1 << 40), 7);
        assert_eq!(floor(Some(ByteCount(0)), 1 << 40), 0);
    }

    #[test]
    fn promises_and_the_floor_are_not_free() {
        assert_eq!(shortage(100, 0, 10, 90), None);
        assert_eq!(shortage(100, 0, 10, 91), Some(Shortage { wanted: 91, free: 100, floor: 10 }));
        assert_eq!(shortage(100, 60, 10, 30), None);
        assert_eq!(shortage(100, 60, 10, 31), Some(Shortage { wanted: 31, free: 40, floor: 10 }));
        assert_eq!(shortage(5, 60, 10, 0), None, "nothing is wanted, nothing is lacking");
    }

    #[test]
    fn a_shortage_has_figures() {
        let short = Shortage { wanted: 2 << 30, free: 3 << 29, floor: 1 << 30 };
        assert_eq!(
            short.to_string(),
            "it needs 2.0 GiB more, the disk has 1.5 GiB, and 1.0 GiB of that stays free"
        );
    }
}
