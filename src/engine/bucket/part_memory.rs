//! Memory for parts: so many bytes at a time over all files, and over all jobs of a fleet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::decide::bucket::parts::SMALLEST;

/// Bytes of parts that are held at a time: six parts of the smallest size that stores take, so that all of the program stays
/// below 64 MiB.
const MEMORY: u64 = 6 * SMALLEST;

/// Memory is counted in units of this, so that a count fits a semaphore.
const UNIT: u64 = 1 << 10;

/// A file of one part at most counts as so much memory at least: some fifty of them wait for the store at a time, more than it serves at
/// once, and each of their requests takes memory beside the bytes.
const LEAST: u64 = 512 << 10;

/// Gives back what a file of one part at most does not need of the memory of a part.
pub(super) fn shrink(memory: &mut OwnedSemaphorePermit, length: u64) {
    let needed = usize::try_from(length.max(LEAST).div_ceil(UNIT)).unwrap_or(usize::MAX);
    drop(memory.split(memory.num_permits().saturating_sub(needed)));
}

/// The right to hold bytes of parts.
#[derive(Debug)]
pub(crate) struct PartMemory {
    free: Arc<Semaphore>,
    units: u32,
}

impl PartMemory {
    /// Makes room for parts of this length.
    pub(crate) fn for_parts_of(length: u64) -> Arc<Self> {
        let units = u32::try_from(MEMORY.max(2 * length).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let units = units.min(most);
        Arc::new(Self { free: Arc::new(Semaphore::new(units as usize)), units })
    }

    /// Waits for room. A part that is larger than all of it waits for all of it.
    pub(super) async fn reserve(&self, bytes: u64) -> OwnedSemaphorePermit {
        match self.free.clone().acquire_many_owned(self.units_of(bytes)).await {
            Ok(permit) => permit,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes room that is free now.
    pub(super) fn try_reserve(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(self.units_of(bytes)).ok()
    }

    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each first request has the memory of a part, and keeps what its file needs.
    #[test]
    fn small_files_that_wait_for_a_store_are_few() {
        let memory = PartMemory::for_parts_of(SMALLEST);
        let mut waiting = Vec::new();
        while let Some(mut held) = memory.try_reserve(SMALLEST) {
            shrink(&mut held, 120_000);
            waiting.push(held);
        }
        assert_eq!(waiting.len(), 51);
        waiting.clear();
        let mut whole = memory.try_reserve(SMALLEST).unwrap();
        shrink(&mut whole, SMALLEST);
        assert_eq!(whole.num_permits(), memory.units_of(SMALLEST) as usize, "a part keeps all of it");
    }
}
