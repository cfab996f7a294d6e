//! Rules for transfers: ranges, resuming, retries, verification, concurrency.

pub mod backoff;
pub mod concurrency;
pub mod disk_space;
pub mod outcome;
pub mod ranges;
pub mod resume;
pub mod stall;
pub mod suspect;
pub mod verify;
