//! How a file was proven to be what the trainer wrote.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a published file was proven, weakest first, so that `max` is the best of several proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// The length agrees with what the server declared; nothing more of this format can be checked.
    Length,
    /// The format accounts for every byte (safetensors header, image or video container, YAML) and the
    /// length agrees.
    Structure,
    /// A CRC or MD5 from the server agrees.
    Checksum,
    /// A strong digest from the server agrees.
    Digest,
    /// The safetensors body hashes to the `sshs_model_hash` that the trainer wrote into its header.
    TrainerHash,
}

impl Evidence {
    /// Returns the name used in events, `ls` and the manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Structure => "structure",
            Self::Checksum => "checksum",
            Self::Digest => "digest",
            Self::TrainerHash => "trainer-hash",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
