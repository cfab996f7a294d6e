//! What `job.json` holds: the job as it was last seen, and a row for each artifact.

use std::sync::Arc;

use serde::Deserialize;

use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, JobTimes, Progress};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;
use crate::model::shared_text;

/// `job.json`: the last seen state of the job and every artifact. URLs are written without their queries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobFile {
    pub(crate) job: JobHead,
    pub(crate) artifacts: Vec<JobArtifact>,
}

/// What is in `job.json` before the artifacts, which may be many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct JobHead {
    pub(crate) job_id: JobId,
    pub(crate) name: Option<String>,
    pub(crate) status: JobStatus,
    pub(crate) progress: Progress,
    pub(crate) error: Option<String>,
    #[serde(flatten)]
    pub(crate) times: JobTimes,
    /// How often the job was seen to continue after an end.
    #[serde(default)]
    pub(crate) resumes: u32,
}

/// The state of a file that was recorded as present, is not in the manifest, and could not be read since.
pub(crate) const UNREAD: &str = "unread";

/// One artifact in `job.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct JobArtifact {
    pub(crate) path: RelPath,
    pub(crate) kind: ArtifactKind,
    #[serde(default)]
    pub(crate) step: Option<u64>,
    #[serde(with = "shared_text")]
    pub(crate) key: Arc<str>,
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) sample: Option<Sample>,
    /// Whether the job offers it now.
    pub(crate) listed: bool,
    /// `present`, `pruned`, `missing`, or [`UNREAD`].
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) size: Option<u64>,
    #[serde(default)]
    pub(crate) sha256: Option<Sha256Digest>,
    #[serde(default)]
    pub(crate) evidence: Option<Evidence>,
    #[serde(default)]
    pub(crate) revision: Option<Revision>,
    #[serde(default)]
    pub(crate) run: String,
}

impl JobArtifact {
    /// What a row describes of a file that the job offers; what became of it here is in the manifest.
    pub(crate) fn offered(artifact: &Artifact) -> Self {
        Self {
            path: artifact.path.clone(),
            kind: artifact.key.kind,
            step: artifact.step,
            key: artifact.key.path.clone(),
            url: None,
            sample: artifact.sample.as_deref().cloned(),
            listed: true,
            state: String::new(),
            size: None,
            sha256: None,
            evidence: None,
            revision: None,
            run: String::new(),
        }
    }

    /// Returns the length, digest and proof of a file that was present when the row was written, or that could not be read
    /// then.
    pub(crate) fn proven(&self) -> Option<(u64, Sha256Digest, Evidence)> {
        ["present", UNREAD].contains(&&*self.state).then(|| self.recorded())?
    }

    /// Returns the length, digest and proof of a file that was pruned when the row was written.
    pub(crate) fn pruned(&self) -> Option<(u64, Sha256Digest, Evidence)> {
        (self.state == "pruned").then(|| self.recorded())?
    }

    fn recorded(&self) -> Option<(u64, Sha256Digest, Evidence)> {
        Some((self.size?, self.sha256?, self.evidence?))
    }

    /// Returns which file it is.
    pub(crate) fn key(&self) -> ArtifactKey {
        ArtifactKey { kind: self.kind, path: self.key.clone() }
    }

    /// Returns what the sample shows, for samples.
    pub(crate) const fn sample(&self) -> Option<&Sample> {
        self.sample.as_ref()
    }

    /// Whether the job offers it now.
    pub(crate) const fn is_listed(&self) -> bool {
        self.listed
    }

    /// Returns its path under DIR.
    pub(crate) const fn path(&self) -> &RelPath {
        &self.path
    }

    /// Whether the job offered it and it was not here when the row was written.
    pub(crate) fn is_awaited(&self) -> bool {
        self.listed && self.state == "missing"
    }

    /// Returns the training step, where known.
    pub(crate) const fn step(&self) -> Option<u64> {
        self.step
    }
}
