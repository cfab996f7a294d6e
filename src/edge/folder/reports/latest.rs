//! What `job.json` was last written from, kept so that a page is drawn without reading it back.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::edge::system::disk::{self, Durability};
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::job::JobId;
use crate::model::job_file::{JobArtifact, JobFile, JobHead};
use crate::model::manifest::{Entry, Manifest};

use super::draft::{JobDraft, Rows, write_job};

/// The job, what it offers, and what is known of files that it offers no more.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) job: JobHead,
    pub(crate) listed: Vec<Arc<Artifact>>,
    pub(crate) before: Arc<[JobArtifact]>,
    /// Files that cannot be read, and that the manifest does not know: their rows are all that is recorded of them.
    pub(crate) unread: Arc<HashMap<ArtifactKey, Entry>>,
}

impl Ledger {
    /// Rewrites `job.json` where it differs; returns whether it did. Its name is durable when DIR is flushed next.
    pub(crate) fn write(&self, dir: &Path, manifest: &Manifest) -> Result<bool, Error> {
        let rows = Rows::new(&self.listed, manifest, &self.before).with_unread(&self.unread);
        write_job(dir, &JobDraft::new(&self.job, rows), Durability::Whole)
    }

    /// Returns what a reader of `job.json` needs of it to describe files.
    fn described(&self) -> JobFile {
        let offered: HashSet<&ArtifactKey> = self.listed.iter().map(|artifact| &artifact.key).collect();
        let before = self.before.iter().filter(|row| !offered.contains(&row.key()));
        let gone = before.map(|row| JobArtifact { listed: false, ..row.clone() });
        let listed = self.listed.iter().map(|artifact| JobArtifact::offered(artifact));
        JobFile { job: self.job.clone(), artifacts: listed.chain(gone).collect() }
    }
}

/// A file's length and time, as far as they distinguish one version from another.
type Stamp = (u64, Option<i64>);

/// What was last written, and how the file looked after that.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<Option<(Stamp, Ledger)>>);

impl Latest {
    /// Keeps what was just written.
    pub(crate) fn keep(&self, dir: &Path, ledger: Ledger) {
        let kept = stamp(dir).map(|stamp| (stamp, ledger));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Returns what `job.json` holds of this job, unless another program wrote it since.
    pub(crate) fn read(&self, dir: &Path, job: &JobId) -> Option<JobFile> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (written, ledger) = latest.as_ref()?;
        (stamp(dir) == Some(*written) && ledger.job.job_id == *job).then(|| ledger.described())
    }
}

fn stamp(dir: &Path) -> Option<Stamp> {
    let metadata = std::fs::symlink_metadata(dir.join("job.json")).ok()?;
    Some((metadata.len(), disk::modified(&metadata)))
}
