//! One look at the job: status and result, with patience for an API that is away.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::{RunState, run_state};
use crate::decide::transfer::backoff::Policy;
use crate::edge::api::ApiClient;
use crate::engine::event::{Event, Reporter};
use crate::engine::retry::{api_again, retry};
use crate::error::{ApiError, Error};
use crate::model::artifact::Artifact;
use crate::model::job::{JobId, JobTimes, ResultAnswer, StatusAnswer};

/// The patience of a single pass, of the first look of all, and of a command that only reads: about four seconds.
pub(crate) const SHORT: Policy = Policy::patient(4, Duration::from_millis(500), Duration::from_secs(60));

/// How long an API that does not answer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A few tries.
    Short,
    /// For ever: the training goes on, whether or not anybody can see it.
    Endless,
}

/// What one look saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobSnapshot {
    pub(crate) status: StatusAnswer,
    pub(crate) result: ResultAnswer,
    /// How often the job was seen to go on after an end.
    pub(crate) resumes: u32,
}

impl JobSnapshot {
    pub(crate) fn name(&self) -> Option<&str> {
        self.status.name.as_deref().or(self.result.name.as_deref())
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.status.error.as_deref().or(self.result.error.as_deref())
    }

    pub(crate) fn times(&self) -> JobTimes {
        let (result, status) = (self.result.times.clone(), self.status.times.clone());
        JobTimes {
            created_at: result.created_at.or(status.created_at),
            started_at: result.started_at.or(status.started_at),
            finished_at: result.finished_at.or(status.finished_at),
        }
    }

    pub(crate) fn run(&self) -> String {
        run_stamp(&self.status.status, &self.times(), self.resumes)
    }

    pub(crate) fn state(&self, listed: &[Arc<Artifact>]) -> RunState {
        let has_final = listed.iter().any(|artifact| artifact.is_final_checkpoint(self.name()));
        run_state(&self.status.status, &self.status.progress, self.error().is_some(), has_final)
    }
}

/// Looks once; `None` when the run was interrupted meanwhile.
pub(crate) async fn look(
    api: &ApiClient,
    job: &JobId,
    patience: Patience,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Option<JobSnapshot>, Error> {
    let policy = match patience {
        Patience::Short => SHORT,
        Patience::Endless => Policy { tries: None, ..SHORT },
    };
    let mut told = false;
    let looking = retry(
        policy,
        || ask(api, job),
        api_again,
        |fault, wait| {
            // One line for each outage, not one for each try.
            if !std::mem::replace(&mut told, true) {
                reporter.report(&outage(fault, wait));
            }
        },
    );
    cancel.run_until_cancelled(looking).await.transpose().map_err(Error::from)
}

/// The event for an API that gives no usable answer.
pub(crate) fn outage(fault: &ApiError, wait: Duration) -> Event {
    Event::Retrying { path: None, cause: fault.to_string(), error_code: fault.code().cloned(), wait }
}

async fn ask(api: &ApiClient, job: &JobId) -> Result<JobSnapshot, ApiError> {
    // Result after status: what a finished status promises is then surely in the list.
    let status = api.status(job).await?;
    let result = api.result(job).await?;
    Ok(JobSnapshot { status, result, resumes: 0 })
}
