//! Rules for a mirror run: what to fetch, when to poll, when to resume, what to keep.

pub mod auto_resume;
pub mod disk_forecast;
pub mod eviction_forecast;
pub mod newest;
pub(crate) mod pass;
pub mod plan;
pub mod poll_interval;
pub(crate) mod reported;
pub mod retention;
pub mod run_state;
pub mod select;
pub(crate) mod snapshot;
pub mod stall_alert;
pub mod steps;
