//! Many jobs in one process: which ones, where each goes, which may send a request now, and what follows a run.

pub(crate) mod again;
pub(crate) mod api_rate;
pub(crate) mod connections;
pub mod job_list;
pub(crate) mod order;
pub(crate) mod template;
