//! Checkpoint, config or sample.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of the API's lists a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// Weights: numbered saves, the final save, and whatever else the trainer lists beside them.
    Checkpoint,
    /// The resolved configuration.
    Config,
    /// A picture, video or sound made while training.
    Sample,
}

impl ArtifactKind {
    /// Returns the word used in events and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Config => "config",
            Self::Sample => "sample",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
