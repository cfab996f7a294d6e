//! Where decisions meet effects: loops without rules of their own; typed events come out.

#[cfg(feature = "buckets")]
pub(crate) mod bucket;
pub(crate) mod commit_queue;
pub(crate) mod datasets;
pub(crate) mod destination;
pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod follower;
pub(crate) mod job_life;
pub(crate) mod mirror;
pub(crate) mod notice;
pub(crate) mod options;
pub(crate) mod outputs;
pub(crate) mod poll;
pub(crate) mod reported;
pub(crate) mod retry;
pub(crate) mod stop;
pub(crate) mod transfer;
