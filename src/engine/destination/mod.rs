//! The mirrored folder: open, inspect, commit, report.

pub(crate) mod commit;
pub(crate) mod folder;
pub(crate) mod inspect;
pub(crate) mod newest;
pub(crate) mod prune;
pub(crate) mod prune_at_rest;
pub(crate) mod read_ahead;
pub(crate) mod reclaim;
pub(crate) mod recover;
