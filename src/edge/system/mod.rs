//! Operating system calls: files, processes, watches, limits.

pub(crate) mod blocking;
pub(crate) mod clock;
pub(crate) mod directory;
pub(crate) mod disk;
pub mod exec;
pub(crate) mod fd_limit;
pub mod link;
pub(crate) mod trace;
pub mod watch;
