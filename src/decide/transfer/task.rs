//! One file to fetch: what is known before the first request, and what its download can end with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::verify::Contradiction;
use crate::error::{Error, explain_briefly};
use crate::model::artifact::{Artifact, ArtifactKind};
use crate::model::fault::Fault;
use crate::model::manifest::{Doubt, Entry};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

/// A file to fetch, and what is known of it. What few files have is boxed: tens of thousands may wait.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The file and the path it will get.
    pub artifact: Arc<Artifact>,
    /// The file is here: only ask whether it changed since this revision.
    pub recheck: Option<Box<Revision>>,
    /// The local bytes are not what was published, whatever their length and time stamp are.
    pub is_damaged: bool,
    /// A file that rcsync did not publish is here under its name: it may be this one.
    pub may_adopt: bool,
    /// The local file of that name, where rcsync published it.
    pub entry: Option<Box<Entry>>,
    /// A body of it that contradicted its proof.
    pub doubt: Option<Box<Doubt>>,
    /// It is half of a pair, whose header contains the hash of both halves.
    pub half_of_pair: bool,
    /// Whether the training may still be writing it.
    pub run_may_write: bool,
    /// The training ended before its time, perhaps in the middle of a save.
    pub cut_off: bool,
    /// The run of the job; see [`crate::decide::mirror::plan::run_stamp`].
    pub run: Arc<str>,
    /// The listing that its URL is from.
    pub generation: u64,
}

impl Task {
    /// Whether it is scheduled with the large files. By kind, since no size is known yet: checkpoints are large, samples
    /// as a rule are not, and the configuration, which is first of all, must not wait behind samples.
    #[must_use]
    pub(crate) fn is_large(&self) -> bool {
        self.artifact.key.kind != ArtifactKind::Sample
    }
}

/// What the user decided, as far as it changes what happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// One pass, then exit: long waits fail instead.
    pub once: bool,
    /// Attempts per file without progress.
    pub retries: u32,
    /// The longest wait between two polls, where the user set one.
    pub interval: Option<Duration>,
    /// A body that contradicts its own header's hash is accepted.
    pub accept_unproven: bool,
}

/// Why a file failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCause {
    /// Requests for it failed.
    Network(Fault),
    /// Its bytes contradict their proof.
    Contradicted(Contradiction),
    /// Its bytes contradicted their proof in two downloads, and the host reports no change since.
    StillContradicted,
    /// Responses never agreed on a revision for long enough.
    Revisions,
    /// The store dropped the upload of it before it was complete, again and again.
    UploadsLost {
        /// How often.
        times: u32,
    },
    /// The disk has no room for it.
    NoRoom {
        /// The file.
        path: RelPath,
        /// What is lacking.
        shortage: Shortage,
    },
    /// The local disk refused.
    Disk(Error),
    /// A defect of rcsync itself; what arrived is kept.
    Defect,
}

impl FailureCause {
    /// Whether the local disk is the cause.
    #[must_use]
    pub const fn is_disk(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::Disk(_) | Self::Defect)
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(fault) => fault.fmt(f),
            Self::Contradicted(why) => why.fmt(f),
            Self::StillContradicted => {
                f.write_str("its bytes still contradict their proof, and the host says they did not change")
            }
            Self::Revisions => f.write_str("the host's answers do not agree on which file this is"),
            Self::UploadsLost { times } => write!(
                f,
                "the store dropped its upload {times} times: does a rule of the bucket remove uploads that are not complete?"
            ),
            Self::NoRoom { path, shortage } => write!(f, "could not make room for `{path}`: {shortage}"),
            Self::Disk(error) => f.write_str(&explain_briefly(error)),
            Self::Defect => {
                f.write_str("rcsync failed by a defect of its own; what arrived is kept for the next try")
            }
        }
    }
}

/// Why a file is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The training is still writing it.
    Settling,
    /// It was listed and is no longer hosted.
    Vanished,
    Failed(FailureCause),
}

/// A refusal of the local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskTrouble {
    /// Decides what follows.
    pub kind: DiskTroubleKind,
    /// What is reported where it fails for that.
    pub cause: FailureCause,
}

/// Kinds of [`DiskTrouble`] that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskTroubleKind {
    /// What must stay free would not.
    NoRoom(Shortage),
    /// No inode, no quota, or another program was faster: free bytes do not show that.
    Full,
    /// The process, or the machine, has no more file handles.
    OutOfHandles,
    /// Anything else, which no wait is known to fix.
    Other,
}

/// Tasks for tests.
#[cfg(test)]
pub(crate) mod examples {
    use super::*;
    use crate::model::artifact::ArtifactKey;
    use crate::model::source_url::SourceUrl;

    /// A policy as the command line has it without options.
    pub(crate) const POLICY: Policy =
        Policy { once: false, retries: 5, interval: None, accept_unproven: false };

    /// A file of which only the name is known.
    pub(crate) fn task(kind: ArtifactKind, name: &str) -> Task {
        let artifact = Artifact {
            key: ArtifactKey { kind, path: format!("/o/{name}").into() },
            path: RelPath::parse(name).unwrap(),
            step: None,
            url: SourceUrl::parse(&format!("https://h.example/o/{name}")).unwrap(),
            sample: None,
        };
        Task {
            artifact: artifact.into(),
            recheck: None,
            is_damaged: false,
            may_adopt: false,
            entry: None,
            doubt: None,
            half_of_pair: false,
            run_may_write: false,
            cut_off: false,
            run: "".into(),
            generation: 0,
        }
    }
}
