//! Manifests to test decisions on: what a job's folder knows, without a folder.

use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::{Entry, EntryState, Manifest};

/// What is known of one small file that is here and proven.
pub(crate) fn entry(path: &str, step: Option<u64>) -> Entry {
    Entry {
        path: RelPath::parse(path).unwrap(),
        step,
        size: 7,
        sha256: Sha256Digest::new([7; 32]),
        evidence: Evidence::Structure,
        revision: Revision::default(),
        run: "".into(),
        modified: Some(1),
        state: EntryState::Present,
        older: Vec::new(),
    }
}

/// The hosted file that is mirrored to `path`.
pub(crate) fn key(kind: ArtifactKind, path: &str) -> ArtifactKey {
    ArtifactKey { kind, path: format!("/output/dog/{path}").into() }
}

/// Everything that is known of a job called `dog` with these files.
pub(crate) fn manifest(files: &[(ArtifactKind, &str, Option<u64>)]) -> Manifest {
    let mut manifest = Manifest::new("job".parse().unwrap(), "https://h".to_owned());
    manifest.entries.extend(files.iter().map(|(kind, path, step)| (key(*kind, path), entry(path, *step))));
    manifest
}
