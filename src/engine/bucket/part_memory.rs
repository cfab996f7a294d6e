//! Memory for parts: so many bytes at a time over all files, and over all jobs of a fleet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::decide::bucket::parts::SMALLEST;

/// Bytes of parts that are held at a time: six parts of the smallest size that stores take, so that all of the program stays
/// below 64 MiB.
const MEMORY: u64 = 6 * SMALLEST;

/// Memory is counted in units of this, so that a count fits a semaphore.
pub(super) const UNIT: u64 = 1 << 10;

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
