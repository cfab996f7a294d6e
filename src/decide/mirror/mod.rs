//! Rules for a mirror run: what to fetch, when to poll, when to resume, what to keep.

pub(crate) mod auto_resume;
pub(crate) mod awaited;
pub(crate) mod disk_forecast;
pub(crate) mod eviction_forecast;
pub(crate) mod newest;
pub(crate) mod outcome;
pub(crate) mod pass;
pub(crate) mod plan;
pub(crate) mod poll_interval;
pub(crate) mod remembered;
pub(crate) mod reported;
pub(crate) mod retention;
pub(crate) mod run_state;
pub(crate) mod select;
pub(crate) mod snapshot;
pub(crate) mod stall_alert;
pub(crate) mod steps;
pub(crate) mod stock;
pub(crate) mod unlisted;
