//! Reading `job.json`: as a whole, or with those rows alone that are wanted.

use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::edge::system::disk;
use crate::model::job::JobId;
use crate::model::job_file::{JobArtifact, JobFile, JobHead};

/// A `job.json` larger than this was not written by us: 50,000 artifacts with long prompts take some 60 MB.
const JOB_BOUND: u64 = 512 << 20;

/// A `job.json` up to this size is read at once, in a third of the time; a larger one piece by piece, in bounded memory.
const AT_ONCE: u64 = 4 << 20;

/// The field of `job.json` that may be long.
const ARTIFACTS: &str = "artifacts";

/// Reads `job.json`, where there is one of this job that can be read. It only ever saves work: nothing depends on it.
pub(crate) fn read_job(dir: &Path, job: &JobId) -> Option<JobFile> {
    read_job_keeping(dir, job, |_| true)
}

/// The same from an object's bytes.
#[cfg(feature = "buckets")]
pub(crate) fn parse_job(bytes: &[u8], job: &JobId) -> Option<JobFile> {
    #[derive(serde::Deserialize)]
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

/// The same from an object's bytes.
#[cfg(feature = "buckets")]
pub(crate) fn parse_any_head(bytes: &[u8]) -> Option<JobHead> {
    let mut head = serde_json::Map::new();
    let reading = Reading { head: &mut head, artifacts: &mut Vec::new(), keep: None };
    // Reading stops at artifacts, which looks like a fault.
    let _ = reading.deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    serde_json::from_value(head.into()).ok()
}

/// Takes artifacts, or none.
type Keep<'k> = &'k mut dyn FnMut(&JobArtifact) -> bool;

fn read(dir: &Path, keep: Option<Keep<'_>>) -> Option<JobFile> {
    let file = disk::open_regular(&dir.join("job.json")).ok()?;
    let length = file.metadata().ok()?.len();
    let (mut head, mut artifacts) = (serde_json::Map::new(), Vec::new());
    let wants_all = keep.is_some();
    let reading = Reading { head: &mut head, artifacts: &mut artifacts, keep };
    let read = if wants_all && length <= AT_ONCE {
        let text = disk::text_of(&file, JOB_BOUND).ok()?;
        reading.deserialize(&mut serde_json::Deserializer::from_str(&text))
    } else {
        let bytes = BufReader::with_capacity(64 << 10, file.take(JOB_BOUND));
        reading.deserialize(&mut serde_json::Deserializer::from_reader(bytes))
    };
    // Reading stops at artifacts that are not wanted, which looks like a fault.
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
                // The fields are in another order.
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
        // What comes behind the head is not read, however long it is.
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
