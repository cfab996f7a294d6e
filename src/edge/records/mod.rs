//! Small records outside of mirrored folders: what was pushed, what was submitted.

pub mod push_journal;
pub mod submit_record;
