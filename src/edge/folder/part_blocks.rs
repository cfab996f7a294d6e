//! The checksums of one file's blocks while its bytes arrive: in stretches, in any order, until a block is full.

use std::ops::Range;

use crc_fast::{CrcAlgorithm, Digest};

/// What is here of a file, block by block, with the checksums of it.
#[derive(Debug)]
pub(super) struct PartBlocks {
    /// Bytes in one block.
    block: u64,
    blocks: Vec<Block>,
}

#[derive(Debug, Default, Clone)]
enum Block {
    #[default]
    Empty,
    /// Stretches of it, in order. One, as a rule: more where connections met in it.
    Begun(Vec<Stretch>),
    Full {
        sum: u32,
    },
}

/// Bytes of one block that were written in order. Places are counted from the block's first byte.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    from: u64,
    upto: u64,
    sum: Box<Digest>,
}

impl PartBlocks {
    /// No byte is here yet.
    pub(super) const fn new(block: u64) -> Self {
        Self { block, blocks: Vec::new() }
    }

    /// Bytes in one block.
    pub(super) const fn block(&self) -> u64 {
        self.block
    }

    /// Returns the checksum of a block of a file of `length` bytes, where all of it was summed.
    pub(super) fn sum(&self, index: usize, length: u64) -> Option<u32> {
        match self.blocks.get(index)? {
            Block::Full { sum } => Some(*sum),
            // The last block is full when the file ends in it.
            Block::Begun(stretches) => {
                tiled(stretches, length.checked_sub(index as u64 * self.block)?.min(self.block))
            }
            Block::Empty => None,
        }
    }

    /// Returns what is here of full blocks, as [`PartRecord`](super::part_record::PartRecord) has it.
    pub(super) fn runs(&self, length: u64) -> Vec<(u64, String)> {
        let mut runs: Vec<(u64, String)> = Vec::new();
        let mut open = false;
        for index in 0..self.blocks.len() {
            let Some(sum) = self.sum(index, length) else {
                open = false;
                continue;
            };
            if !open {
                runs.push((index as u64, String::new()));
            }
            if let Some((_, sums)) = runs.last_mut() {
                sums.push_str(&format!("{sum:08x}"));
            }
            open = true;
        }
        runs
    }

    /// Returns what is here of blocks that are not full, in order.
    pub(super) fn stretches(&self, length: u64) -> Vec<(u64, u64, String)> {
        let mut found = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            if let Block::Begun(stretches) = block
                && self.sum(index, length).is_none()
            {
                let start = index as u64 * self.block;
                let each = |stretch: &Stretch| {
                    (start + stretch.from, stretch.upto - stretch.from, format!("{:08x}", stretch.sum()))
                };
                found.extend(stretches.iter().map(each));
            }
        }
        found
    }

    /// Returns the stretch of a block that ends at this place, or a new one that begins there.
    pub(super) fn stretch_at(&self, index: usize, within: u64) -> Stretch {
        let begun = match self.blocks.get(index) {
            Some(Block::Begun(stretches)) => stretches.iter().find(|stretch| stretch.upto == within).cloned(),
            _ => None,
        };
        begun.unwrap_or_else(|| Stretch::new(within))
    }

    /// Takes a longer stretch of a block in. Returns whether the block became full by it.
    pub(super) fn put(&mut self, index: usize, longer: Stretch) -> bool {
        let block_size = self.block;
        let block = self.at(index);
        let mut stretches = match std::mem::take(block) {
            Block::Begun(stretches) => stretches,
            Block::Empty | Block::Full { .. } => Vec::new(),
        };
        // The sum of what was written over is no longer right.
        stretches.retain(|other| other.upto <= longer.from || longer.upto <= other.from);
        let place = stretches.partition_point(|other| other.from < longer.from);
        stretches.insert(place, longer);
        *block = match tiled(&stretches, block_size) {
            Some(sum) => Block::Full { sum },
            None => Block::Begun(stretches),
        };
        matches!(block, Block::Full { .. })
    }

    /// Takes the checksum of a full block in.
    pub(super) fn put_full(&mut self, index: usize, sum: u32) {
        *self.at(index) = Block::Full { sum };
    }

    /// Takes a stretch in that follows all others of its block; one of a full block or before another is left out.
    pub(super) fn append(&mut self, index: usize, stretch: Stretch) {
        match self.at(index) {
            Block::Begun(stretches) if stretches.last().is_some_and(|last| last.upto <= stretch.from) => {
                stretches.push(stretch);
            }
            Block::Begun(_) | Block::Full { .. } => {}
            empty @ Block::Empty => *empty = Block::Begun(vec![stretch]),
        }
    }

    pub(super) fn is_full(&self, index: usize) -> bool {
        matches!(self.blocks.get(index), Some(Block::Full { .. }))
    }

    /// Returns the ranges that are here of a file of `length` bytes, in order.
    pub(super) fn ranges(&self, length: u64) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let start = index as u64 * self.block;
            match block {
                Block::Empty => {}
                Block::Full { .. } => found.push(start..(start + self.block).min(length)),
                Block::Begun(stretches) => {
                    found.extend(stretches.iter().map(|stretch| start + stretch.from..start + stretch.upto));
                }
            }
        }
        found
    }

    fn at(&mut self, index: usize) -> &mut Block {
        if self.blocks.len() <= index {
            self.blocks.resize(index + 1, Block::Empty);
        }
        &mut self.blocks[index]
    }
}

impl Stretch {
    fn new(from: u64) -> Self {
        Self { from, upto: from, sum: Box::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc)) }
    }

    pub(super) fn of(from: u64, bytes: &[u8]) -> Self {
        let mut stretch = Self::new(from);
        stretch.grow(bytes);
        stretch
    }

    /// Takes the bytes in that follow.
    pub(super) fn grow(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.upto += bytes.len() as u64;
    }

    pub(super) fn sum(&self) -> u32 {
        low_half(self.sum.finalize())
    }
}

/// Returns the checksum of stretches that follow each other without a gap from zero to `end`.
fn tiled(stretches: &[Stretch], end: u64) -> Option<u32> {
    let (mut upto, mut sum) = (0, 0);
    for stretch in stretches {
        if stretch.from != upto {
            return None;
        }
        let next = stretch.sum.finalize();
        sum = if upto == 0 {
            next
        } else {
            let length = stretch.upto - stretch.from;
            crc_fast::checksum_combine(CrcAlgorithm::Crc32IsoHdlc, sum, next, length)
        };
        upto = stretch.upto;
    }
    (upto == end && end > 0).then(|| low_half(sum))
}

/// The crate gives every checksum as 64 bits; a CRC-32 is in the low half.
fn low_half(sum: u64) -> u32 {
    u32::try_from(sum & u64::from(u32::MAX)).unwrap_or_default()
}

/// Returns the checksum of a block's bytes.
pub(super) fn sum_of(bytes: &[u8]) -> u32 {
    low_half(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes))
}
