//! What to do next: synchronous, total, deterministic functions over [`crate::model`] values.
//!
//! No clock, disk, network, environment or randomness lives here: `now` and seeds are passed in.

#[cfg(feature = "buckets")]
pub mod bucket;
pub mod comfyui;
pub mod datasets;
pub mod fleet;
pub mod formats;
pub mod hooks;
pub mod jobs;
pub mod mirror;
pub mod transfer;
