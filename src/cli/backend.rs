//! What the front door needs of the rest of the house, in one place.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::rel_path::RelPath;

/// STAND-IN for `crate::model::sanitize::for_terminal`, to be removed at merge.
#[must_use]
pub(crate) fn for_terminal(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect()
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MirroredFile {
    /// Which kind it is.
    pub(crate) kind: ArtifactKind,
    /// The training step, where known.
    pub(crate) step: Option<u64>,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// How it was proven.
    pub(crate) evidence: Evidence,
    /// Its SHA-256.
    pub sha256: Sha256Digest,
    /// Where it stands under DIR.
    pub(crate) path: RelPath,
}

/// STAND-IN: reads what is mirrored in `dir`. To be filled from `edge::store`.
///
/// # Errors
/// When there is no mirrored job in `dir`, or its manifest cannot be read.
pub(crate) fn read_manifest(dir: &Path) -> Result<Vec<MirroredFile>, Error> {
    if !dir.is_dir() {
        return Err(Error::NoInput(PathBuf::from(dir)));
    }
    Ok(Vec::new())
}
