//! One job for one command: what is remembered between `submit --dataset` and the same command typed again.

use crate::cli::command_error::CommandError;
use crate::cli::commands::Context;
use crate::cli::format::shown;
use crate::edge::api::requests::SubmitRequest;
use crate::edge::records::submit_record::{Submission, SubmitRecord};
use crate::error::{ApiError, explain_briefly};
use crate::model::job::JobId;

/// The submission of one command, where it is remembered.
pub(super) struct Once {
    record: Option<SubmitRecord>,
}

impl Once {
    /// Without datasets, `submit` submits whenever it is typed.
    pub(super) const fn forgotten() -> Self {
        Self { record: None }
    }

    /// The submission of this configuration, with these datasets, on this machine.
    pub(super) fn of(
        context: &Context<'_>,
        origin: &str,
        request: &SubmitRequest,
        datasets: &[String],
    ) -> Self {
        let Some(folder) = context.world.state_folder() else { return Self::forgotten() };
        let count = request.gpu_count.map_or(1, |count| count.number()).to_string();
        let gpu_id = request.gpu_id.as_deref().unwrap_or_default();
        let datasets = datasets.join(",");
        let parts = [origin, &request.config, request.gpu_type.as_str(), &count, gpu_id, &datasets];
        Self { record: Some(SubmitRecord::of(&folder.join("submit"), &parts)) }
    }

    /// Returns the job of an earlier command that was interrupted, and when it was submitted.
    ///
    /// # Errors
    /// When an earlier command sent it and got no answer: a job may be waiting for its GPU.
    pub(super) fn earlier(&self, force: bool) -> Result<Option<(JobId, String)>, CommandError> {
        if force {
            return Ok(None);
        }
        match self.record.as_ref().and_then(SubmitRecord::read) {
            None => Ok(None),
            Some(Submission::Accepted { at, job }) => Ok(Some((job, at))),
            Some(Submission::Sending { at }) => Err(CommandError::Declined {
                why: format!("this configuration was submitted at {at}, and no answer came: it may be training already"),
                next: "nothing was sent; look at your jobs on the RunComfy site: `rcsync <JOB_ID>` mirrors one that is there, and `--force` submits it again".to_owned(),
            }),
        }
    }

    /// Remembers that it is about to be sent.
    pub(super) fn sending(&self, context: &Context<'_>) {
        let at = (context.world.now)().strftime("%F %T UTC").to_string();
        self.write(context, &Submission::Sending { at });
    }

    /// Remembers the job.
    pub(super) fn accepted(&self, context: &Context<'_>, job: &JobId) {
        let at = (context.world.now)().strftime("%F %T UTC").to_string();
        self.write(context, &Submission::Accepted { at, job: job.clone() });
    }

    /// Forgets it where the API surely did not accept it.
    pub(super) fn failed(&self, fault: &ApiError) {
        let is_in_doubt = matches!(fault, ApiError::Unknown { .. } | ApiError::Unintelligible { .. });
        if !is_in_doubt {
            self.over();
        }
    }

    /// Forgets it: the same command submits anew.
    pub(super) fn over(&self) {
        if let Some(record) = &self.record {
            record.remove();
        }
    }

    fn write(&self, context: &Context<'_>, submission: &Submission) {
        let Some(record) = &self.record else { return };
        if let Err(error) = record.write(submission) {
            let why = shown(&explain_briefly(&error));
            context.world.err.line(&format!(
                "warning: the submission is not remembered, so that the same command would submit it again: {why}"
            ));
        }
    }
}
