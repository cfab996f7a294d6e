//! Downloads: what happens to a file after each response, fault, wait and judgement, and which range or file is next.

pub mod adopt;
pub mod backoff;
pub mod concurrency;
pub mod connections;
pub mod disk_space;
pub mod group_commit;
pub mod outcome;
pub mod plain_request;
pub mod portions;
pub mod protocol;
pub mod ranges;
pub mod resume;
pub mod scheduler;
pub mod settle;
pub mod stall;
pub mod state;
pub mod straggler;
pub mod suspect;
pub mod task;
pub mod verify;
