//! What rcsync put into a ComfyUI folder: enough to find it again, to leave alone what was edited, and to remove
//! what is ours and nothing else.

use serde::{Deserialize, Serialize};

use crate::model::names::rel_path::RelPath;

use super::artifact::ArtifactKey;
use super::digest::Sha256Digest;

/// Everything placed from one folder into one LoRA folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Placements {
    /// The files, in no order that matters.
    pub files: Vec<Placed>,
    /// Notices that were reported already: names that are taken, edited copies. As opaque text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
}

/// One file in the LoRA folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// Its path below the LoRA folder.
    pub to: RelPath,
    pub what: What,
    /// The LoRA that it is, or belongs to.
    pub key: ArtifactKey,
    /// The SHA-256 of that LoRA.
    pub lora: Sha256Digest,
    /// The training step of that LoRA; none for the final one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The SHA-256 of this file.
    pub sha256: Sha256Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its modification time when it was last known to be as described, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// Whose it is.
    pub state: PlacedState,
}

/// What a placed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Lora,
    /// A picture beside them.
    Preview,
    /// Their SHA-256 in a file of its own.
    Sidecar,
}

/// Whose a placed file is. Only what is ours is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlacedState {
    /// It is about to be renamed to its place. Whatever is there later with these bytes is ours.
    Placing,
    /// We put it there.
    Placed,
    /// It was there already with these bytes.
    Adopted,
    /// It was changed; size and time stamp are those of the changed file.
    Edited,
}

impl Placed {
    /// Whether the file may be removed by us, as long as its bytes are still these.
    #[must_use]
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.state, PlacedState::Placing | PlacedState::Placed)
    }
}
