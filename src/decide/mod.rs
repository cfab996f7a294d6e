//! What to do next: synchronous, total, deterministic functions over [`crate::model`] values.
//!
//! No clock, disk, network, environment or randomness lives here: `now` and seeds are passed in.

#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub(crate) mod comfyui;
pub(crate) mod datasets;
pub(crate) mod fleet;
pub(crate) mod formats;
pub(crate) mod hooks;
pub(crate) mod jobs;
pub(crate) mod mirror;
pub(crate) mod transfer;
