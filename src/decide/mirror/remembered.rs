//! What `job.json` has for the next run: the job as a poll saw it, the end that was seen, and files of a lost manifest.

use std::collections::HashMap;

use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus};
use crate::model::job_file::{JobArtifact, JobHead};
use crate::model::manifest::{Entry, EntryState, Manifest, Record};

use super::plan::{Recollection, run_stamp};
use super::snapshot::{JobSnapshot, Resumes};

impl JobHead {
    /// Takes what a poll saw.
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

/// What rows of `job.json` have of files that a manifest does not know.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Of files that were present or could not be read, by file.
    pub(crate) present: HashMap<ArtifactKey, Recollection>,
    /// Files that were pruned: the manifest is to know them as such again. A file under such a name was put there by the
    /// user, as with a manifest that was never lost.
    pub(crate) pruned: Vec<Record>,
}

impl Remembered {
    /// Takes what a row has, unless the manifest knows its file.
    pub(crate) fn take(&mut self, row: &JobArtifact, manifest: &Manifest) {
        let key = row.key();
        if manifest.entries.contains_key(&key) {
            return;
        }
        if let Some(memory) = recollection(row) {
            self.present.insert(key, memory);
        } else if let Some(memory) = pruned(row) {
            let entry = Entry { state: EntryState::Pruned, ..memory.adopted(memory.step) };
            self.pruned.push(Record::Know { key, entry });
        }
    }
}

/// Returns what a row has of a file that was present or could not be read.
fn recollection(row: &JobArtifact) -> Option<Recollection> {
    row.proven().map(|recorded| remembered(row, recorded))
}

/// Returns what a row has of a file that was pruned.
fn pruned(row: &JobArtifact) -> Option<Recollection> {
    row.pruned().map(|recorded| remembered(row, recorded))
}

fn remembered(row: &JobArtifact, recorded: (u64, Sha256Digest, Evidence)) -> Recollection {
    let (size, sha256, evidence) = recorded;
    Recollection {
        path: row.path.clone(),
        step: row.step,
        size,
        sha256,
        evidence,
        revision: row.revision.clone().unwrap_or_default(),
        run: row.run.clone(),
    }
}

/// Returns the recollections of all rows of files that were present or could not be read.
#[cfg(feature = "buckets")]
pub(crate) fn recollections(rows: &[JobArtifact]) -> HashMap<ArtifactKey, Recollection> {
    rows.iter().filter_map(|row| Some((row.key(), recollection(row)?))).collect()
}
