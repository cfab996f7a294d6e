//! Many jobs in one process: which ones, where each goes, which may send a request now, and what follows a run.

pub mod again;
pub mod api_rate;
pub mod connections;
pub mod job_list;
pub mod order;
pub mod template;
