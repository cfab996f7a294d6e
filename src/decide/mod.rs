//! What to do next: synchronous, total, deterministic functions over [`crate::model`] values.
//!
//! No clock, disk, network, environment or randomness lives here: `now` and seeds are passed in.

pub mod alarm;
pub mod auto_resume;
pub mod cadence;
pub mod command;
pub mod deadline;
pub mod doubt;
pub mod forecast;
pub mod loras;
pub mod pieces;
pub mod placing;
pub mod plan;
pub mod preflight;
pub mod pulse;
pub mod resume;
pub mod retention;
pub mod retry;
pub mod room;
pub mod run_state;
pub mod select;
pub mod steps;
pub mod structure;
pub mod tuning;
pub mod verdict;
pub mod verify;
