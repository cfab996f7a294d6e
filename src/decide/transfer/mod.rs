//! Downloads: what happens to a file after each response, fault, wait and judgement, and which range or file is next.

pub(crate) mod adopt;
pub(crate) mod backoff;
pub(crate) mod concurrency;
pub(crate) mod connections;
pub(crate) mod disk_space;
pub(crate) mod group_commit;
pub(crate) mod outcome;
pub(crate) mod plain_request;
pub(crate) mod portions;
pub(crate) mod protocol;
pub(crate) mod ranges;
pub(crate) mod resume;
pub(crate) mod scheduler;
pub(crate) mod settle;
pub(crate) mod stall;
pub(crate) mod state;
pub(crate) mod straggler;
pub(crate) mod suspect;
pub(crate) mod task;
pub(crate) mod verify;
pub(crate) mod write_place;
