//! Many jobs in one process: which ones, where each goes, who may ask the API and the hosts now, and what follows a run.

pub mod again;
pub mod api_rate;
pub mod connections;
pub mod job_list;
pub mod template;
