//! What is done with published files (gallery, ComfyUI, hooks) follows the folder, not the events: a nudge means only that
//! something may be new, and the manifest has the facts. So a kill loses nothing, and the same follower serves a running
//! mirror and a command of its own.

use std::path::Path;

use crate::edge::folder::reports::Latest;
use crate::edge::folder::unflushed::Unflushed;
use crate::model::job::JobId;
use crate::model::manifest::Manifest;

use super::event::Reporter;

/// What a follower sees.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The mirrored folder; `job.json` in it describes the files.
    pub dir: &'a Path,
    /// The job.
    pub job: &'a JobId,
    /// What is published in it.
    pub manifest: &'a Manifest,
    /// Whether this is the last call of the run.
    pub last: bool,
    /// What `job.json` was last written from.
    pub(crate) latest: &'a Latest,
    /// Where a name in the folder is noted that the run flushes at its end.
    pub(crate) unflushed: &'a Unflushed,
}

/// Something that does its own work with published files.
pub trait Follower: Send + Sync {
    /// Sees the folder once before anything new is published in it: what is here now is not news.
    fn begin(&self, view: &View<'_>, reporter: &dyn Reporter) {
        // Most followers need no beginning. The parameters have names for the sake of the documentation.
        let _ = (view, reporter);
    }

    /// Does what is not done yet. Blocks; is called one at a time, from a thread that may. It reports its troubles to
    /// `reporter`, and they never stop the mirror. A second call without a change does nothing.
    fn catch_up(&self, view: &View<'_>, reporter: &dyn Reporter);
}
