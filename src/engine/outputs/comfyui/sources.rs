//! What DIR has besides its manifest.

use std::path::Path;

use crate::edge::folder::reports;
use crate::model::job::JobId;

/// Returns the job's name in `job.json`; `None` while there is none.
pub(super) fn job_name(dir: &Path, job: &JobId) -> Option<String> {
    let head = reports::read_head(dir, job)?;
    // A job without a name is called by its id, so that what asks for a name gets an answer.
    Some(head.name.unwrap_or_else(|| job.as_str().to_owned()))
}
