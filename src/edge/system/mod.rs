//! Operating system calls: files, processes, watches, limits.

pub(crate) mod blocking;
pub(crate) mod clock;
pub(crate) mod directory;
pub(crate) mod disk;
pub(crate) mod exec;
pub(crate) mod fd_limit;
pub(crate) mod link;
pub(crate) mod trace;
pub(crate) mod watch;
