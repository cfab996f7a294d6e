//! Where decisions meet effects: loops without rules of their own; typed events come out.

#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub mod event;
pub mod options;
pub mod stop;
pub mod destination;
pub mod mirror;
pub mod outputs;
pub mod transfer;
