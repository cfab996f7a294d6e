//! Fetches files: connections take ranges, bytes go to part files, outcomes are reported.

pub(crate) mod attempt;
pub(crate) mod board;
pub(crate) mod disk_space;
pub(crate) mod fetch;
pub(crate) mod hold;
pub(crate) mod host_backoff;
pub(crate) mod link_refresh;
pub(crate) mod rate_limit;
pub(crate) mod task;
pub(crate) mod tune;
pub(crate) mod workshop;
pub(crate) mod writer;
