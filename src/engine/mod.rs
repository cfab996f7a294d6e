//! Where decisions meet effects: loops without rules of their own; typed events come out.

#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub(crate) mod commit_queue;
pub mod datasets;
pub mod destination;
pub mod event;
pub(crate) mod fleet;
pub mod follower;
pub(crate) mod job_life;
pub mod mirror;
pub mod notice;
pub mod options;
pub mod outputs;
pub(crate) mod poll;
pub(crate) mod reported;
pub(crate) mod retry;
pub mod stop;
pub(crate) mod transfer;
