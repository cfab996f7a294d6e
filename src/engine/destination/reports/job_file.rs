//! What `job.json` holds, as it is read.

use std::collections::HashMap;

use serde::Deserialize;

use crate::decide::mirror::plan::{Recollection, run_stamp};
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, JobTimes, Progress};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

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

impl JobHead {
    /// Takes what a look saw.
    pub(crate) fn of(looked: &JobSnapshot, job: &JobId) -> Self {
        Self {
            job_id: job.clone(),
            name: looked.name().map(str::to_owned),
            status: looked.status.status.clone(),
            progress: looked.status.progress,
            error: looked.error().map(str::to_owned),
            times: looked.times(),
            resumes: looked.resumes,
        }
    }

    /// Returns the end that was seen, as the job's status and run distinguish it from others.
    pub(crate) fn end(&self) -> Option<(JobStatus, String)> {
        let ended = !self.status.may_write();
        ended.then(|| (self.status.clone(), run_stamp(&self.status, &self.times, self.resumes)))
    }

    /// Returns what was seen of the job's resumptions.
    pub(crate) fn resumes(&self) -> Resumes {
        Resumes { last: Some(self.status.clone()), count: self.resumes }
    }
}

/// One artifact in `job.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct JobArtifact {
    pub(super) path: RelPath,
    pub(super) kind: ArtifactKind,
    #[serde(default)]
    pub(super) step: Option<u64>,
    pub(super) key: Box<str>,
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) sample: Option<Sample>,
    /// Whether the job offers it now.
    pub(super) listed: bool,
    /// `present`, `pruned` or `missing`.
    pub(super) state: String,
    #[serde(default)]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) sha256: Option<Sha256Digest>,
    #[serde(default)]
    pub(super) evidence: Option<Evidence>,
    #[serde(default)]
    pub(super) revision: Option<Revision>,
    #[serde(default)]
    pub(super) run: String,
}

impl JobArtifact {
    /// What a row describes of a file that the job offers; what became of it here is in the manifest.
    pub(super) fn offered(artifact: &Artifact) -> Self {
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

    /// Returns the training step, where known.
    pub(crate) const fn step(&self) -> Option<u64> {
        self.step
    }
}

/// What `job.json` remembers of a file that was present.
pub(crate) fn recollection(artifact: &JobArtifact) -> Option<Recollection> {
    (artifact.state == "present").then(|| recorded(artifact)).flatten()
}

/// What `job.json` remembers of a file that was pruned.
pub(crate) fn pruned(artifact: &JobArtifact) -> Option<Recollection> {
    (artifact.state == "pruned").then(|| recorded(artifact)).flatten()
}

fn recorded(artifact: &JobArtifact) -> Option<Recollection> {
    Some(Recollection {
        path: artifact.path.clone(),
        step: artifact.step,
        size: artifact.size?,
        sha256: artifact.sha256?,
        evidence: artifact.evidence?,
        revision: artifact.revision.clone().unwrap_or_default(),
        run: artifact.run.clone(),
    })
}

/// The same of every file.
pub(crate) fn recollections(artifacts: &[JobArtifact]) -> HashMap<ArtifactKey, Recollection> {
    artifacts.iter().filter_map(|artifact| Some((artifact.key(), recollection(artifact)?))).collect()
}
