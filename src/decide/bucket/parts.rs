//! How a file is cut into the parts of an upload.

/// What a store takes as the smallest part but the last.
pub(crate) const SMALLEST: u64 = 5 << 20;

/// What a store takes as the largest part.
pub(crate) const LARGEST: u64 = 5 << 30;

/// A store takes this many parts for one object.
const MOST_PARTS: u64 = 10_000;

/// Returns the length of all parts of a file but the last. Parts are equal, as some stores demand, and grow only where
/// a file would need more of them than a store takes.
#[must_use]
pub(crate) fn part_size(wanted: u64, length: u64) -> u64 {
    let wanted = wanted.clamp(SMALLEST, LARGEST);
    let needed = length.div_ceil(MOST_PARTS);
    // A whole number of MiB, so that ranges are easy to read in a log.
    wanted.max(needed.div_ceil(1 << 20) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_every_store() {
        assert_eq!(part_size(1, 100), SMALLEST);
        assert_eq!(part_size(8 << 20, 344 << 20), 8 << 20);
        for length in [1, 48 << 30, 49 << 30, 5 << 40] {
            let size = part_size(SMALLEST, length);
            assert!(size >= SMALLEST && size.is_multiple_of(1 << 20));
            assert!(length.div_ceil(size) <= MOST_PARTS, "{length}");
        }
    }
}
