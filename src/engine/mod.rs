//! Where decisions meet effects: loops without rules of their own; typed events come out.

#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub mod datasets;
pub mod destination;
pub mod event;
pub(crate) mod fleet;
pub mod mirror;
pub mod notice;
pub mod options;
pub mod outputs;
pub(crate) mod retry;
pub mod stop;
pub(crate) mod transfer;
