//! What rcsync writes for people and other programs: `SHA256SUMS` and `job.json`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::decide::plan::Recollection;
use crate::edge::disk;
use crate::edge::store::PRIVATE;
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, JobTimes, Progress};
use crate::model::manifest::{EntryState, Manifest};
use crate::model::rel_path::RelPath;
use crate::model::revision::Revision;

use super::run::life::Resumes;

/// A `job.json` larger than this was not written by us: 50,000 artifacts with long prompts take some 60 MB.
const JOB_BOUND: u64 = 512 << 20;

/// Rewrites `SHA256SUMS` where it differs: every file that should be in DIR and `listed` keeps.
pub(super) fn write_sums(
    dir: &Path,
    manifest: &Manifest,
    listed: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let mut lines: Vec<(&RelPath, &Sha256Digest)> = Vec::new();
    for entry in manifest.entries.values() {
        if entry.state == EntryState::Present {
            lines.push((&entry.path, &entry.sha256));
        }
        lines.extend(entry.older.iter().map(|older| (&older.path, &older.sha256)));
    }
    lines.retain(|(path, _)| listed(path.as_str()));
    lines.sort();
    lines.dedup();
    let mut text = String::with_capacity(lines.len() * 128);
    for (path, sha256) in lines {
        let _ = writeln!(text, "{sha256}  {path}");
    }
    let path = dir.join("SHA256SUMS");
    if text.is_empty() && !path.exists() {
        return Ok(());
    }
    disk::replace_if_changed(&path, &dir.join(PRIVATE), text.as_bytes())
}

/// `job.json`: the last seen state of the job and every artifact. URLs are written without their queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JobFile {
    pub(super) job_id: JobId,
    pub(super) name: Option<String>,
    pub(super) status: JobStatus,
    pub(super) progress: Progress,
    pub(super) error: Option<String>,
    #[serde(flatten)]
    pub(super) times: JobTimes,
    /// How often the job was seen to go on after an end.
    #[serde(default, skip_serializing_if = "is_never")]
    pub(super) resumes: u32,
    pub(super) artifacts: Vec<JobArtifact>,
}

impl JobFile {
    /// Returns what was seen of the job's resumptions.
    pub(super) fn resumes(&self) -> Resumes {
        Resumes { last: Some(self.status.clone()), count: self.resumes }
    }
}

const fn is_never(resumes: &u32) -> bool {
    *resumes == 0
}

/// One artifact in `job.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JobArtifact {
    path: RelPath,
    kind: ArtifactKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    key: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample: Option<Sample>,
    /// Whether the job offers it now.
    listed: bool,
    /// `present`, `pruned` or `missing`.
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    run: String,
}

/// Lists every artifact that is offered now or known from before, in order of path.
pub(super) fn artifacts(
    listed: &[Artifact],
    manifest: &Manifest,
    before: &[JobArtifact],
) -> Vec<JobArtifact> {
    let mut found: HashMap<ArtifactKey, JobArtifact> = HashMap::new();
    // What was known of a file that is offered no more (its prompt, its address) is kept.
    for old in before {
        found.insert(old.key(), JobArtifact { listed: false, ..old.clone() });
    }
    for artifact in listed {
        found.insert(
            artifact.key.clone(),
            JobArtifact {
                path: artifact.path.clone(),
                kind: artifact.key.kind,
                step: artifact.step,
                key: artifact.key.path.clone(),
                url: Some(artifact.url.to_string().trim_end_matches("?…").to_owned()),
                sample: artifact.sample.clone(),
                listed: true,
                state: String::new(),
                size: None,
                sha256: None,
                evidence: None,
                revision: None,
                run: String::new(),
            },
        );
    }
    let mut artifacts: Vec<JobArtifact> = found
        .into_iter()
        .map(|(key, artifact)| match manifest.entries.get(&key) {
            Some(entry) => JobArtifact {
                path: entry.path.clone(),
                state: state_word(entry.state).to_owned(),
                size: Some(entry.size),
                sha256: Some(entry.sha256),
                evidence: Some(entry.evidence),
                revision: Some(entry.revision.clone()),
                run: entry.run.clone(),
                ..artifact
            },
            None => JobArtifact { state: "missing".to_owned(), ..artifact },
        })
        .collect();
    artifacts.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    artifacts
}

impl JobArtifact {
    /// Returns which file it is.
    pub(super) fn key(&self) -> ArtifactKey {
        ArtifactKey { kind: self.kind, path: self.key.clone() }
    }

    /// Returns what the sample shows, for samples.
    pub(super) const fn sample(&self) -> Option<&Sample> {
        self.sample.as_ref()
    }

    /// Whether the job offers it now.
    pub(super) const fn is_listed(&self) -> bool {
        self.listed
    }

    /// Returns its path under DIR.
    pub(super) const fn path(&self) -> &RelPath {
        &self.path
    }

    /// Returns the training step, where known.
    pub(super) const fn step(&self) -> Option<u64> {
        self.step
    }
}

const fn state_word(state: EntryState) -> &'static str {
    match state {
        EntryState::Present => "present",
        EntryState::Pruned => "pruned",
    }
}

/// Rewrites `job.json` where it differs.
pub(super) fn write_job(dir: &Path, job: &JobFile) -> Result<(), Error> {
    let path = dir.join("job.json");
    let mut text =
        serde_json::to_string_pretty(job).map_err(|error| disk::fault("write", &path)(error.into()))?;
    text.push('\n');
    disk::replace_if_changed(&path, &dir.join(PRIVATE), text.as_bytes())
}

/// Says in `job.json` what the manifest says of each file's state, without having looked at the job anew.
pub(super) fn refresh_job(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let Some(mut job) = read_job(dir, &manifest.job) else { return Ok(()) };
    for artifact in &mut job.artifacts {
        if let Some(entry) = manifest.entries.get(&artifact.key()) {
            state_word(entry.state).clone_into(&mut artifact.state);
        }
    }
    write_job(dir, &job)
}

/// Reads `job.json`, where there is one of this job that can be read. It only ever saves work: nothing rests on it.
pub(super) fn read_job(dir: &Path, job: &JobId) -> Option<JobFile> {
    read_any_job(dir).filter(|read| read.job_id == *job)
}

/// Reads `job.json`, whichever job it is of.
pub(super) fn read_any_job(dir: &Path) -> Option<JobFile> {
    serde_json::from_str(&job_text(dir)?).ok()
}

fn job_text(dir: &Path) -> Option<String> {
    let file = disk::open_regular(&dir.join("job.json")).ok()?;
    let mut text = String::new();
    file.take(JOB_BOUND).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The beginning of `job.json`: the job without its artifacts, which may be many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct JobHead {
    job_id: JobId,
    pub(super) name: Option<String>,
    pub(super) status: JobStatus,
    pub(super) progress: Progress,
    // Not all the times: flattening them would keep the artifacts in memory first.
    pub(super) started_at: Option<String>,
}

/// Reads the beginning of `job.json`, where there is one of this job that can be read.
pub(super) fn read_head(dir: &Path, job: &JobId) -> Option<JobHead> {
    let text = job_text(dir)?;
    let read: JobHead = serde_json::from_str(&text).ok()?;
    (read.job_id == *job).then_some(read)
}

/// What a `job.json` remembers of files that were present.
pub(super) fn recollections(job: &JobFile) -> HashMap<ArtifactKey, Recollection> {
    let remembered = job.artifacts.iter().filter_map(|artifact| {
        let key = artifact.key();
        let memory = Recollection {
            path: artifact.path.clone(),
            size: artifact.size?,
            sha256: artifact.sha256?,
            evidence: artifact.evidence?,
            revision: artifact.revision.clone().unwrap_or_default(),
            run: artifact.run.clone(),
        };
        (artifact.state == "present").then_some((key, memory))
    });
    remembered.collect()
}
