//! Where decisions meet effects: loops without rules of their own; typed events come out.

#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub mod destination;
pub mod event;
pub mod mirror;
pub mod options;
pub mod outputs;
pub mod stop;
pub mod transfer;
