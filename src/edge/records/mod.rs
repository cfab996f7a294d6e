//! Small records outside of mirrored folders: what was pushed, what was submitted.

pub(crate) mod push_journal;
pub(crate) mod submit_record;
