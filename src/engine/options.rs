//! How to mirror: every choice a user can make, complete and valid.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::decide::mirror::retention::Retention;
use crate::decide::mirror::select::Selection;
use crate::decide::transfer::group_commit::Gather;
use crate::decide::transfer::portions::Portions;
use crate::model::job::JobTimes;
use crate::model::units::ByteCount;

/// How one job is mirrored. [`Default`] is what the command line does without options.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncOptions {
    /// One pass, then exit.
    pub once: bool,
    /// Longest wait between polls; `None`: paced by the training, 5 s to 60 s.
    pub interval: Option<Duration>,
    /// Stop following after this long.
    pub timeout: Option<Duration>,
    /// Which artifacts are wanted.
    pub selection: Selection,
    /// Transfers in flight over all files; `None`: 8, adapted to what it delivers.
    pub connections: Option<NonZeroU16>,
    /// Bytes a second over all connections.
    pub limit_rate: Option<ByteCount>,
    /// Tries of one artifact without a byte of progress in one pass.
    pub retries: u32,
    /// No byte for this long ends a connection.
    pub stall_timeout: Duration,
    /// Print the plan, fetch nothing, write nothing.
    pub dry_run: bool,
    /// Never let the disk under DIR fall below this; `None`: 1 GiB, or 1 % where that is less.
    pub min_free: Option<ByteCount>,
    /// Artifacts may come from private addresses, and over http.
    pub allow_private_hosts: bool,
    /// What becomes of the old bytes when a hosted file changed.
    pub on_change: OnChange,
    /// Which numbered checkpoints stay in DIR; all when `None`.
    pub retention: Option<Retention>,
    /// How often a job that stopped early is resumed; 0: never.
    pub auto_resume: u32,
    /// The job was resumed just before, and these are the time stamps that it had then: an end that still has them is the
    /// old one.
    pub resumed_after: Option<JobTimes>,
    /// How long proven files are gathered before they get their names together.
    #[doc(hidden)]
    pub gather: Gather,
    /// How many bytes are written at once.
    #[doc(hidden)]
    pub portions: Portions,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            once: false,
            interval: None,
            timeout: None,
            selection: Selection::default(),
            connections: None,
            limit_rate: None,
            retries: 5,
            stall_timeout: Duration::from_secs(30),
            dry_run: false,
            min_free: None,
            allow_private_hosts: false,
            on_change: OnChange::Keep,
            retention: None,
            auto_resume: 0,
            resumed_after: None,
            gather: Gather::default(),
            portions: Portions::default(),
        }
    }
}

/// What becomes of the old bytes when a hosted file got new ones under an old name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnChange {
    /// They are kept beside the new ones as `<stem>~<first 8 of their sha256><ext>`.
    #[default]
    Keep,
    /// They are replaced.
    Replace,
}
