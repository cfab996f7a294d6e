//! What rcsync writes for people and other programs: `SHA256SUMS` and `job.json`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::decide::mirror::plan::{Recollection, run_stamp};
use crate::decide::mirror::snapshot::Resumes;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, JobTimes, Progress};
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;
use crate::model::source_url::SourceUrl;

/// A `job.json` larger than this was not written by us: 50,000 artifacts with long prompts take some 60 MB.
const JOB_BOUND: u64 = 512 << 20;

/// A `job.json` up to this size is read at once, in a third of the time; a larger one piece by piece, in bounded memory.
const AT_ONCE: u64 = 4 << 20;

/// The field of `job.json` that may be long.
const ARTIFACTS: &str = "artifacts";

/// Rewrites `SHA256SUMS` where it differs: every file that should be in DIR and `listed` keeps.
pub(crate) fn write_sums(
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
    let path = dir.join("SHA256SUMS");
    if lines.is_empty() && !path.exists() {
        return Ok(());
    }
    disk::replace_if_changed(&path, &dir.join(PRIVATE), |text| {
        lines.iter().try_for_each(|(path, sha256)| writeln!(text, "{sha256}  {path}"))
    })
}

/// `job.json`: the last seen state of the job and every artifact. URLs are written without their queries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobFile {
    pub(crate) job: JobHead,
    pub(crate) artifacts: Vec<JobArtifact>,
}

/// What stands in `job.json` before the artifacts, which may be many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct JobHead {
    pub(crate) job_id: JobId,
    pub(crate) name: Option<String>,
    pub(crate) status: JobStatus,
    pub(crate) progress: Progress,
    pub(crate) error: Option<String>,
    #[serde(flatten)]
    pub(crate) times: JobTimes,
    /// How often the job was seen to go on after an end.
    #[serde(default)]
    pub(crate) resumes: u32,
}

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

impl JobHead {
    /// Returns the end that was seen, as the job's status and run tell it from others.
    pub(crate) fn end(&self) -> Option<(JobStatus, String)> {
        let ended = !self.status.may_write();
        ended.then(|| (self.status.clone(), run_stamp(&self.status, &self.times, self.resumes)))
    }

    /// Returns what was seen of the job's resumptions.
    pub(crate) fn resumes(&self) -> Resumes {
        Resumes { last: Some(self.status.clone()), count: self.resumes }
    }
}

const fn is_never(resumes: &u32) -> bool {
    *resumes == 0
}

/// One artifact in `job.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct JobArtifact {
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

/// The rows of a [`JobDraft`], in order of kind and path. Each is made when it is written.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    sources: Vec<(ArtifactKind, &'a RelPath, Source<'a>)>,
    manifest: &'a Manifest,
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
}

impl<'a> Rows<'a> {
    /// Every artifact that is offered now or known from before.
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
        for old in before {
            let key = old.key();
            if !offered.contains(&key) {
                sources.push((old.kind, path(&key, &old.path), Source::Before(old)));
            }
        }
        sources.sort_by_key(|(kind, path, _)| (*kind, *path));
        Self { sources, manifest }
    }

    /// The rows as they were written, where the manifest says nothing else.
    fn again(manifest: &'a Manifest, before: &'a [JobArtifact]) -> Self {
        Self {
            sources: before.iter().map(|old| (old.kind, &old.path, Source::Again(old))).collect(),
            manifest,
        }
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.sources.iter().map(|(_, _, source)| Row::of(*source, self.manifest)))
    }
}

impl<'a> Row<'a> {
    fn of(source: Source<'a>, manifest: &'a Manifest) -> Self {
        match source {
            Source::Listed(artifact) => Self {
                path: &artifact.path,
                kind: artifact.key.kind,
                step: artifact.step,
                key: &artifact.key.path,
                url: Some(Address::Now(&artifact.url)),
                sample: artifact.sample.as_deref(),
                listed: true,
                state: "missing",
                size: None,
                sha256: None,
                evidence: None,
                revision: None,
                run: "",
            }
            .known_as(manifest.entries.get(&artifact.key)),
            Source::Before(old) => Self { listed: false, state: "missing", ..Self::written(old) }
                .known_as(manifest.entries.get(&old.key())),
            Source::Again(old) => {
                let row = Self::written(old);
                let state =
                    manifest.entries.get(&old.key()).map_or(row.state, |entry| state_word(entry.state));
                Self { state, ..row }
            }
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

impl JobArtifact {
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

const fn state_word(state: EntryState) -> &'static str {
    match state {
        EntryState::Present => "present",
        EntryState::Pruned => "pruned",
    }
}

/// Rewrites `job.json` where it differs.
pub(crate) fn write_job(dir: &Path, job: &JobDraft<'_>) -> Result<(), Error> {
    disk::replace_if_changed(&dir.join("job.json"), &dir.join(PRIVATE), |mut text| {
        serde_json::to_writer_pretty(&mut text, job)?;
        text.write_all(b"\n")
    })
}

/// Says in `job.json` what the manifest says of each file's state, without having looked at the job anew.
pub(crate) fn refresh_job(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let Some(JobFile { job, artifacts }) = read_job(dir, &manifest.job) else { return Ok(()) };
    let draft = JobDraft {
        job_id: &job.job_id,
        name: job.name.as_deref(),
        status: &job.status,
        progress: job.progress,
        error: job.error.as_deref(),
        times: job.times.clone(),
        resumes: job.resumes,
        artifacts: Rows::again(manifest, &artifacts),
    };
    write_job(dir, &draft)
}

/// Reads `job.json`, where there is one of this job that can be read. It only ever saves work: nothing rests on it.
pub(crate) fn read_job(dir: &Path, job: &JobId) -> Option<JobFile> {
    read_job_keeping(dir, job, |_| true)
}

/// The same from an object's bytes.
#[cfg(feature = "buckets")]
pub(crate) fn parse_job(bytes: &[u8], job: &JobId) -> Option<JobFile> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(flatten)]
        job: JobHead,
        artifacts: Vec<JobArtifact>,
    }
    let Whole { job: head, artifacts } = serde_json::from_slice(bytes).ok()?;
    (head.job_id == *job).then_some(JobFile { job: head, artifacts })
}

/// The same, with those artifacts alone that `keep` takes: of 50,000, all would be 40 MB.
pub(crate) fn read_job_keeping(
    dir: &Path,
    job: &JobId,
    mut keep: impl FnMut(&JobArtifact) -> bool,
) -> Option<JobFile> {
    read(dir, Some(&mut keep)).filter(|read| read.job.job_id == *job)
}

/// Reads `job.json`, whichever job it is of.
pub(crate) fn read_any_job(dir: &Path) -> Option<JobFile> {
    read(dir, Some(&mut |_| true))
}

/// Reads the beginning of `job.json`, where there is one of this job that can be read.
pub(crate) fn read_head(dir: &Path, job: &JobId) -> Option<JobHead> {
    let head = read(dir, None)?.job;
    (head.job_id == *job).then_some(head)
}

/// The same, of whichever job.
pub(crate) fn read_any_head(dir: &Path) -> Option<JobHead> {
    Some(read(dir, None)?.job)
}

/// Takes artifacts, or none.
type Keep<'k> = &'k mut dyn FnMut(&JobArtifact) -> bool;

fn read(dir: &Path, keep: Option<Keep<'_>>) -> Option<JobFile> {
    let file = disk::open_regular(&dir.join("job.json")).ok()?;
    let length = file.metadata().ok()?.len();
    let mut bytes = file.take(JOB_BOUND);
    let (mut head, mut artifacts) = (serde_json::Map::new(), Vec::new());
    let wants_all = keep.is_some();
    let reading = Reading { head: &mut head, artifacts: &mut artifacts, keep };
    let read = if wants_all && length <= AT_ONCE {
        let mut text = String::new();
        bytes.read_to_string(&mut text).ok()?;
        reading.deserialize(&mut serde_json::Deserializer::from_str(&text))
    } else {
        let bytes = BufReader::with_capacity(64 << 10, bytes);
        reading.deserialize(&mut serde_json::Deserializer::from_reader(bytes))
    };
    // Whoever wants no artifacts stops at them, which looks like a fault.
    if wants_all {
        read.ok()?;
    }
    let job = serde_json::from_value(head.into()).ok()?;
    Some(JobFile { job, artifacts })
}

/// Reads `job.json` field by field: no more of it is in memory at any time than what is kept.
struct Reading<'r, 'k> {
    head: &'r mut serde_json::Map<String, Value>,
    artifacts: &'r mut Vec<JobArtifact>,
    keep: Option<Keep<'k>>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(field) = fields.next_key::<String>()? {
            if field != ARTIFACTS {
                let value = fields.next_value()?;
                self.head.insert(field, value);
            } else if let Some(keep) = self.keep.take() {
                fields.next_value_seed(Keeping { artifacts: self.artifacts, keep })?;
            } else if self.head.is_empty() {
                // Somebody put the fields in another order.
                fields.next_value::<IgnoredAny>()?;
            } else {
                return Err(A::Error::custom("the artifacts are not wanted"));
            }
        }
        Ok(())
    }
}

/// Reads artifacts, and keeps those that are wanted.
struct Keeping<'r, 'k> {
    artifacts: &'r mut Vec<JobArtifact>,
    keep: Keep<'k>,
}

impl<'de> DeserializeSeed<'de> for Keeping<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Keeping<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("artifacts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut artifacts: A) -> Result<(), A::Error> {
        while let Some(artifact) = artifacts.next_element::<JobArtifact>()? {
            if (self.keep)(&artifact) {
                self.artifacts.push(artifact);
            }
        }
        Ok(())
    }
}

/// What `job.json` remembers of a file that was present.
pub(crate) fn recollection(artifact: &JobArtifact) -> Option<Recollection> {
    let memory = Recollection {
        path: artifact.path.clone(),
        size: artifact.size?,
        sha256: artifact.sha256?,
        evidence: artifact.evidence?,
        revision: artifact.revision.clone().unwrap_or_default(),
        run: artifact.run.clone(),
    };
    (artifact.state == "present").then_some(memory)
}

/// The same of every file.
pub(crate) fn recollections(artifacts: &[JobArtifact]) -> HashMap<ArtifactKey, Recollection> {
    artifacts.iter().filter_map(|artifact| Some((artifact.key(), recollection(artifact)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        r#""job_id":"j1","name":null,"status":"RUNNING","progress":{},"error":null,"resumes":2"#;
    const ROW: &str = r#"{"path":"a.jpg","kind":"sample","key":"/a.jpg","listed":true,"state":"missing"}"#;

    fn head_of(text: &str) -> Option<JobHead> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("job.json"), text).unwrap();
        read_head(dir.path(), &"j1".parse().unwrap())
    }

    #[test]
    fn the_head_is_read_without_the_artifacts() {
        let whole = format!("{{{HEAD},\"artifacts\":[{ROW}]}}");
        assert_eq!(head_of(&whole).unwrap().resumes, 2);
        // What comes behind the head is not read: it may be as long as it likes.
        assert_eq!(head_of(&whole[..whole.len() - 20]).unwrap().resumes, 2);
        let other_order = format!("{{\"artifacts\":[{ROW}],{HEAD}}}");
        assert_eq!(head_of(&other_order).unwrap().resumes, 2);
        assert_eq!(head_of(&format!("{{\"artifacts\":[{ROW}]}}")), None);
    }

    #[test]
    fn artifacts_that_are_not_wanted_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let other = ROW.replace("a.jpg", "b.jpg");
        let text = format!("{{{HEAD},\"artifacts\":[{ROW},{other}]}}");
        std::fs::write(dir.path().join("job.json"), text).unwrap();
        let job = "j1".parse().unwrap();
        let read = read_job_keeping(dir.path(), &job, |row| row.path().as_str() == "b.jpg").unwrap();
        assert_eq!(read.artifacts.len(), 1);
        assert_eq!(read_job(dir.path(), &job).unwrap().artifacts.len(), 2);
        assert!(read_job(dir.path(), &"j2".parse().unwrap()).is_none(), "it is of another job");
    }
}
