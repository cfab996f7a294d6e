//! What is remembered of a submission that is not over: that it was sent, and as which job.
//!
//! A command that is typed again after a break finds it, so that no job is submitted, and paid, twice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::edge::folder::checksummed;
use crate::edge::system::disk;
use crate::edge::system::disk::Durability;
use crate::error::Error;
use crate::model::digest::hex;
use crate::model::job::JobId;

/// A record is some hundred bytes.
const BOUND: u64 = 64 << 10;

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Submission {
    /// It was about to be sent, or sent without an answer.
    Sending {
        /// When, in UTC.
        at: String,
    },
    /// The API accepted it.
    Accepted {
        /// When, in UTC.
        at: String,
        job: JobId,
    },
}

/// Where the record of one submission is.
#[derive(Debug, Clone)]
pub(crate) struct SubmitRecord {
    folder: PathBuf,
    path: PathBuf,
}

impl SubmitRecord {
    /// The record, in `folder`, of the submission that `parts` distinguish from all others.
    #[must_use]
    pub(crate) fn of(folder: &Path, parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let path = folder.join(format!("{}.json", hex(&hasher.finalize()[..16])));
        Self { folder: folder.to_path_buf(), path }
    }

    /// Reads it; `None` where there is none.
    #[must_use]
    pub(crate) fn read(&self) -> Option<Submission> {
        checksummed::read(&self.path, BOUND)
    }

    /// Writes it, so that it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, submission: &Submission) -> Result<(), Error> {
        disk::create_with_parents(&self.folder)?;
        let text =
            checksummed::seal(submission).map_err(|error| disk::fault("write", &self.path)(error.into()))?;
        disk::replace(&self.path, &self.folder, text.as_bytes(), Durability::Durable)
    }

    /// Removes it: the submission is over.
    pub(crate) fn remove(&self) {
        if self.path.exists() {
            // One that stays is found by the same command alone, which reports what it is.
            drop(disk::remove(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_belongs_to_one_submission() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let record = SubmitRecord::of(&folder, &["config", "H100"]);
        assert_eq!(record.read(), None);
        let submission = Submission::Accepted { at: "now".to_owned(), job: "abc-1".parse().unwrap() };
        record.write(&submission).unwrap();
        assert_eq!(SubmitRecord::of(&folder, &["config", "H100"]).read(), Some(submission));
        assert_eq!(SubmitRecord::of(&folder, &["configH", "100"]).read(), None);
        record.remove();
        assert_eq!(record.read(), None);
    }
}
