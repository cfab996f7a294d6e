//! What transfers hand over to the folder to be committed, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::transfer::task::Task;
use crate::decide::transfer::verify::Verified;
use crate::edge::folder::part_file::Part;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::manifest::{Doubt, Entry};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::event::{Event, Notice};

/// Something for the manifest.
#[derive(Debug)]
pub(crate) enum ToCommit {
    /// A proven file wants its final name.
    Publish(Box<Finished>),
    /// The host answered in this run of the job that a file which is here did not change.
    Unchanged(ArtifactKey, RelPath, Arc<str>),
    /// A file that is here already is proven to be a listed one.
    Adopt(ArtifactKey, Box<Entry>),
    /// A body contradicted its proof.
    Doubt(ArtifactKey, Doubt),
    /// Nothing more comes.
    End,
}

/// A proven file.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) task: Task,
    pub(crate) part: Arc<Part>,
    pub(crate) verified: Verified,
    pub(crate) revision: Revision,
    pub(crate) elapsed: Duration,
}

/// What became of one item.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It has its final name, and what else the user should know of that.
    Published(Event, Option<Notice>),
    /// It was here already with the same bytes.
    Known,
    /// It could not get its name.
    Failed(Error),
}
