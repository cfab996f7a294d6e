//! What rcsync writes for people and other programs: `SHA256SUMS` and `job.json`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use crate::decide::plan::Recollection;
use crate::edge::disk;
use crate::edge::store::PRIVATE;
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, JobTimes, Progress};
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::rel_path::RelPath;
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

use super::run::life::Resumes;

/// A `job.json` larger than this was not written by us: 50,000 artifacts with long prompts take some 60 MB.
const JOB_BOUND: u64 = 512 << 20;

/// A `job.json` up to this size is read at once, in a third of the time; a larger one piece by piece, in bounded memory.
const AT_ONCE: u64 = 4 << 20;

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
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "JobParts")]
pub(super) struct JobFile {
    pub(super) job_id: JobId,
    pub(super) name: Option<String>,
    pub(super) status: JobStatus,
    pub(super) progress: Progress,
    pub(super) error: Option<String>,
    pub(super) times: JobTimes,
    /// How often the job was seen to go on after an end.
    pub(super) resumes: u32,
    pub(super) artifacts: Vec<JobArtifact>,
}

/// `job.json` as it is read: field by field, since flattening the times would keep everything in memory first.
#[derive(Deserialize)]
struct JobParts {
    job_id: JobId,
    name: Option<String>,
    status: JobStatus,
    progress: Progress,
    error: Option<String>,
    created_at: Option<String>,
    started_at: Option<String>,
    finished_at: Option<String>,
    #[serde(default)]
    resumes: u32,
    artifacts: Vec<JobArtifact>,
}

impl From<JobParts> for JobFile {
    fn from(parts: JobParts) -> Self {
        let JobParts { job_id, name, status, progress, error, resumes, artifacts, .. } = parts;
        let (created_at, started_at, finished_at) = (parts.created_at, parts.started_at, parts.finished_at);
        let times = JobTimes { created_at, started_at, finished_at };
        Self { job_id, name, status, progress, error, times, resumes, artifacts }
    }
}

/// `job.json` as it is written: borrowed from what is known, since a long run has tens of thousands of artifacts.
#[derive(Debug, Serialize)]
pub(super) struct JobDraft<'a> {
    pub(super) job_id: &'a JobId,
    pub(super) name: Option<&'a str>,
    pub(super) status: &'a JobStatus,
    pub(super) progress: Progress,
    pub(super) error: Option<&'a str>,
    #[serde(flatten)]
    pub(super) times: JobTimes,
    #[serde(skip_serializing_if = "is_never")]
    pub(super) resumes: u32,
    pub(super) artifacts: Vec<Row<'a>>,
}

/// One artifact in a [`JobDraft`]; the same fields as in a [`JobArtifact`].
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    path: &'a RelPath,
    kind: ArtifactKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Address<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<&'a Sample>,
    listed: bool,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a Revision>,
    #[serde(skip_serializing_if = "str::is_empty")]
    run: &'a str,
}

/// Where a file is or was hosted, without the query.
#[derive(Debug)]
enum Address<'a> {
    Now(&'a SourceUrl),
    Before(&'a str),
}

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now(url) => serializer.serialize_str(url.to_string().trim_end_matches("?…")),
            Self::Before(url) => serializer.serialize_str(url),
        }
    }
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
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct JobArtifact {
    path: RelPath,
    kind: ArtifactKind,
    #[serde(default)]
    step: Option<u64>,
    key: Box<str>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    sample: Option<Sample>,
    /// Whether the job offers it now.
    listed: bool,
    /// `present`, `pruned` or `missing`.
    state: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    sha256: Option<Sha256Digest>,
    #[serde(default)]
    evidence: Option<Evidence>,
    #[serde(default)]
    revision: Option<Revision>,
    #[serde(default)]
    run: String,
}

/// Lists every artifact that is offered now or known from before, in order of path.
pub(super) fn rows<'a>(
    listed: &'a [Artifact],
    manifest: &'a Manifest,
    before: &'a [JobArtifact],
) -> Vec<Row<'a>> {
    let offered: HashSet<&ArtifactKey> = listed.iter().map(|artifact| &artifact.key).collect();
    let mut rows: Vec<Row<'_>> = Vec::with_capacity(listed.len());
    for artifact in listed {
        let row = Row {
            path: &artifact.path,
            kind: artifact.key.kind,
            step: artifact.step,
            key: &artifact.key.path,
            url: Some(Address::Now(&artifact.url)),
            sample: artifact.sample.as_ref(),
            listed: true,
            state: "missing",
            size: None,
            sha256: None,
            evidence: None,
            revision: None,
            run: "",
        };
        rows.push(row.known_as(manifest.entries.get(&artifact.key)));
    }
    // What was known of a file that is offered no more (its prompt, its address) is kept.
    for old in before {
        let key = old.key();
        if offered.contains(&key) {
            continue;
        }
        let row = Row { listed: false, state: "missing", ..Row::of(old) };
        rows.push(row.known_as(manifest.entries.get(&key)));
    }
    rows.sort_by(|a, b| (a.kind, a.path).cmp(&(b.kind, b.path)));
    rows
}

impl<'a> Row<'a> {
    /// What was written before.
    fn of(old: &'a JobArtifact) -> Self {
        Self {
            path: &old.path,
            kind: old.kind,
            step: old.step,
            key: &old.key,
            url: old.url.as_deref().map(Address::Before),
            sample: old.sample.as_ref(),
            listed: old.listed,
            state: &old.state,
            size: old.size,
            sha256: old.sha256,
            evidence: old.evidence,
            revision: old.revision.as_ref(),
            run: &old.run,
        }
    }

    fn known_as(self, entry: Option<&'a Entry>) -> Self {
        let Some(entry) = entry else { return self };
        let state = state_word(entry.state);
        Self {
            path: &entry.path,
            state,
            size: Some(entry.size),
            sha256: Some(entry.sha256),
            evidence: Some(entry.evidence),
            revision: Some(&entry.revision),
            run: &entry.run,
            ..self
        }
    }
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
pub(super) fn write_job(dir: &Path, job: &JobDraft<'_>) -> Result<(), Error> {
    disk::replace_by_if_changed(&dir.join("job.json"), &dir.join(PRIVATE), |mut text| {
        serde_json::to_writer_pretty(&mut text, job)?;
        text.write_all(b"\n")
    })
}

/// Says in `job.json` what the manifest says of each file's state, without having looked at the job anew.
pub(super) fn refresh_job(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let Some(job) = read_job(dir, &manifest.job) else { return Ok(()) };
    let refreshed = |old| {
        let row = Row::of(old);
        match manifest.entries.get(&old.key()) {
            Some(entry) => Row { state: state_word(entry.state), ..row },
            None => row,
        }
    };
    let draft = JobDraft {
        job_id: &job.job_id,
        name: job.name.as_deref(),
        status: &job.status,
        progress: job.progress,
        error: job.error.as_deref(),
        times: job.times.clone(),
        resumes: job.resumes,
        artifacts: job.artifacts.iter().map(refreshed).collect(),
    };
    write_job(dir, &draft)
}

/// Reads `job.json`, where there is one of this job that can be read. It only ever saves work: nothing rests on it.
pub(super) fn read_job(dir: &Path, job: &JobId) -> Option<JobFile> {
    read_any_job(dir).filter(|read| read.job_id == *job)
}

/// Reads `job.json`, whichever job it is of.
pub(super) fn read_any_job(dir: &Path) -> Option<JobFile> {
    let file = disk::open_regular(&dir.join("job.json")).ok()?;
    if file.metadata().ok()?.len() <= AT_ONCE {
        return serde_json::from_str(&job_text(dir)?).ok();
    }
    serde_json::from_reader(BufReader::with_capacity(64 << 10, file.take(JOB_BOUND))).ok()
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
