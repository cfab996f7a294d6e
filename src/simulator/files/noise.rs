//! Pseudo-random bytes that can be had for any range without those before it.
//!
//! The one idea: a byte is a function of its seed and its offset, so a file of any size takes no memory.

/// The step between two states of splitmix64: the golden ratio in 64 bits.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the pseudo-random word number `index` of the stream `seed`.
pub(crate) const fn word(seed: u64, index: u64) -> u64 {
    let mut value = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA));
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Returns the seed of a stream of its own, named `label`, under `seed`.
pub(crate) fn derive(seed: u64, label: &str) -> u64 {
    label.bytes().fold(word(seed, 0), |state, byte| word(state ^ u64::from(byte), 1))
}

/// Fills `out` with the bytes of the stream `seed` from `offset` on.
pub(crate) fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    let mut index = offset / 8;
    // At most 7: the bytes of the first word that lie before the offset.
    let skip = usize::try_from(offset % 8).unwrap_or(0);
    let mut rest = out;
    if skip > 0 {
        let first = word(seed, index).to_le_bytes();
        let count = rest.len().min(8 - skip);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&first[skip..skip + count]);
        rest = later;
        index += 1;
    }
    let mut words = rest.chunks_exact_mut(8);
    for chunk in &mut words {
        chunk.copy_from_slice(&word(seed, index).to_le_bytes());
        index += 1;
    }
    let tail = words.into_remainder();
    let count = tail.len();
    tail.copy_from_slice(&word(seed, index).to_le_bytes()[..count]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_equals_the_same_range_of_the_whole() {
        let mut whole = vec![0; 100];
        fill(7, 0, &mut whole);
        for start in 0..40 {
            for end in start..60 {
                let mut part = vec![0; end - start];
                fill(7, start as u64, &mut part);
                assert_eq!(part, whole[start..end], "{start}..{end}");
            }
        }
        let mut other = vec![0; 100];
        fill(8, 0, &mut other);
        assert_ne!(other, whole);
    }

    #[test]
    fn names_lead_to_streams_of_their_own() {
        assert_ne!(derive(1, "a"), derive(1, "b"));
        assert_ne!(derive(1, "ab"), derive(1, "ba"));
        assert_ne!(derive(1, "a"), derive(2, "a"));
    }
}
