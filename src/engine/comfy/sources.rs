//! What DIR says besides its manifest.

use std::path::Path;

use crate::edge::disk;
use crate::model::job::JobId;
use crate::model::local::LocalFile;
use crate::model::manifest::Entry;

use super::super::hashing::sha256_of;
use super::super::ledger;

/// Returns the job's name as `job.json` tells it; `None` while there is none.
pub(super) fn job_name(dir: &Path, job: &JobId) -> Option<String> {
    let head = ledger::read_head(dir, job)?;
    // A job without a name is called by its id, so that what asks for a name gets an answer.
    Some(head.name.unwrap_or_else(|| job.as_str().to_owned()))
}

/// Whether the file in DIR is still the one that was proven: its length and time stamp say so, or else its bytes.
pub(super) fn is_as_published(dir: &Path, entry: &Entry) -> bool {
    match disk::look(dir, entry.path.as_str()) {
        Some(LocalFile::File { size, modified }) if size == entry.size => {
            modified == entry.modified
                || sha256_of(&entry.path.to_path(dir)).is_ok_and(|sha256| sha256 == entry.sha256)
        }
        _ => false,
    }
}
