//! `job.json` as it is written: each row is made when its turn comes.

use std::collections::{HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk::{self, Durability};
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, JobTimes, Progress};
use crate::model::job_file::{JobArtifact, JobFile, JobHead, UNREAD};
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

use super::read::read_job;

/// Bytes of text that are gathered before they are compared or written.
const GATHERED: usize = 64 << 10;

/// `job.json` as it is written: borrowed from what is known, since a long run has tens of thousands of artifacts.
#[derive(Debug, Serialize)]
pub(crate) struct JobDraft<'a> {
    pub(crate) job_id: &'a JobId,
    pub(crate) name: Option<&'a str>,
    pub(crate) status: &'a JobStatus,
    pub(crate) progress: Progress,
    pub(crate) error: Option<&'a str>,
    #[serde(flatten)]
    pub(crate) times: JobTimes,
    #[serde(skip_serializing_if = "is_never")]
    pub(crate) resumes: u32,
    pub(crate) artifacts: Rows<'a>,
}

/// One artifact in a [`JobDraft`]; the same fields as in a [`JobArtifact`].
#[derive(Debug, Serialize)]
pub(crate) struct Row<'a> {
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

impl<'a> JobDraft<'a> {
    /// Puts rows behind what is known of the job.
    pub(crate) fn new(job: &'a JobHead, artifacts: Rows<'a>) -> Self {
        Self {
            job_id: &job.job_id,
            name: job.name.as_deref(),
            status: &job.status,
            progress: job.progress,
            error: job.error.as_deref(),
            times: job.times.clone(),
            resumes: job.resumes,
            artifacts,
        }
    }
}

const fn is_never(resumes: &u32) -> bool {
    *resumes == 0
}

/// The rows of a [`JobDraft`], in order of kind and path. Each is made when it is written.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    sources: Vec<(ArtifactKind, &'a RelPath, Source<'a>)>,
    manifest: &'a Manifest,
    unread: Option<&'a HashMap<ArtifactKey, Entry>>,
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    /// The job offers it.
    Listed(&'a Artifact),
    /// It was offered once. What was known of it (its prompt, its address) is kept.
    Before(&'a JobArtifact),
    /// The job was not looked at: only what became of it here is news.
    Again(&'a JobArtifact),
    /// It is in the manifest, and no earlier `job.json` describes it.
    Known(&'a ArtifactKey, &'a Entry),
}

impl<'a> Rows<'a> {
    /// Every artifact that is offered now, known from before, or in the manifest.
    pub(crate) fn new(
        listed: &'a [Arc<Artifact>],
        manifest: &'a Manifest,
        before: &'a [JobArtifact],
    ) -> Self {
        let path = |key: &ArtifactKey, path| manifest.entries.get(key).map_or(path, |entry| &entry.path);
        let offered: HashSet<&ArtifactKey> = listed.iter().map(|artifact| &artifact.key).collect();
        let mut sources = Vec::with_capacity(listed.len() + before.len());
        for artifact in listed {
            let path = path(&artifact.key, &artifact.path);
            sources.push((artifact.key.kind, path, Source::Listed(artifact)));
        }
        let mut described = HashSet::new();
        for old in before {
            let key = old.key();
            if !offered.contains(&key) {
                sources.push((old.kind, path(&key, &old.path), Source::Before(old)));
                described.insert(key);
            }
        }
        for (key, entry) in &manifest.entries {
            if !offered.contains(key) && !described.contains(key) {
                sources.push((key.kind, &entry.path, Source::Known(key, entry)));
            }
        }
        sources.sort_by_key(|(kind, path, _)| (*kind, *path));
        Self { sources, manifest, unread: None }
    }

    /// Keeps what is recorded of files that cannot be read and that the manifest does not know.
    pub(super) fn with_unread(self, unread: &'a HashMap<ArtifactKey, Entry>) -> Self {
        Self { unread: Some(unread).filter(|unread| !unread.is_empty()), ..self }
    }

    /// The rows as they were written, where the manifest has nothing else.
    fn again(manifest: &'a Manifest, before: &'a [JobArtifact]) -> Self {
        Self {
            sources: before.iter().map(|old| (old.kind, &old.path, Source::Again(old))).collect(),
            manifest,
            unread: None,
        }
    }

    fn row(&self, source: Source<'a>) -> Row<'a> {
        let row = Row::of(source, self.manifest);
        let Some(unread) = self.unread else { return row };
        let key = ArtifactKey { kind: row.kind, path: row.key.into() };
        match unread.get(&key).filter(|_| !self.manifest.entries.contains_key(&key)) {
            Some(entry) => Row { state: UNREAD, ..row.known_as(Some(entry)) },
            None => row,
        }
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.sources.iter().map(|(_, _, source)| self.row(*source)))
    }
}

impl<'a> Row<'a> {
    fn of(source: Source<'a>, manifest: &'a Manifest) -> Self {
        match source {
            Source::Listed(artifact) => Self {
                url: Some(Address::Now(&artifact.url)),
                sample: artifact.sample.as_deref(),
                listed: true,
                ..Self::missing(&artifact.path, &artifact.key, artifact.step)
            }
            .known_as(manifest.entries.get(&artifact.key)),
            Source::Before(old) => Self { listed: false, state: "missing", ..Self::written(old) }
                .known_as(manifest.entries.get(&old.key())),
            Source::Known(key, entry) => Self::missing(&entry.path, key, entry.step).known_as(Some(entry)),
            Source::Again(old) => {
                let row = Self::written(old);
                let state =
                    manifest.entries.get(&old.key()).map_or(row.state, |entry| state_word(entry.state));
                Self { state, ..row }
            }
        }
    }

    /// A file of which nothing is here.
    fn missing(path: &'a RelPath, key: &'a ArtifactKey, step: Option<u64>) -> Self {
        Self {
            path,
            kind: key.kind,
            step,
            key: &key.path,
            url: None,
            sample: None,
            listed: false,
            state: "missing",
            size: None,
            sha256: None,
            evidence: None,
            revision: None,
            run: "",
        }
    }

    /// What was written before.
    fn written(old: &'a JobArtifact) -> Self {
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

const fn state_word(state: EntryState) -> &'static str {
    match state {
        EntryState::Present => "present",
        EntryState::Pruned => "pruned",
    }
}

/// Rewrites `job.json` where it differs; returns whether it did.
pub(crate) fn write_job(dir: &Path, job: &JobDraft<'_>, durability: Durability) -> Result<bool, Error> {
    disk::replace_if_changed(&dir.join("job.json"), &dir.join(PRIVATE), durability, |text| {
        // JSON comes token by token, each of which would be a call through `dyn Write`.
        let mut text = BufWriter::with_capacity(GATHERED, text);
        serde_json::to_writer_pretty(&mut text, job)?;
        text.write_all(b"\n")?;
        text.flush()
    })
}

/// Rewrites each file's state in `job.json` as the manifest has it, without a new poll of the job.
pub(crate) fn refresh_job(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let Some(JobFile { job, artifacts }) = read_job(dir, &manifest.job) else { return Ok(()) };
    write_job(dir, &JobDraft::new(&job, Rows::again(manifest, &artifacts)), Durability::Durable).map(drop)
}
