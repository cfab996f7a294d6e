//! One look at the job: status and result, with patience for an API that is away.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::backoff::Policy;
use crate::edge::api::ApiClient;
use crate::engine::event::{Event, Reporter, RetryCause};
use crate::engine::retry::{api_again, retry};
use crate::error::{ApiError, Error};
use crate::model::job::JobId;

/// The patience of a single pass, of the first look of all, and of a command that only reads: about four seconds.
pub(crate) const SHORT: Policy = Policy::patient(4, Duration::from_millis(500), Duration::from_secs(60));

/// How long an API that does not answer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A few tries.
    Short,
    /// For ever: the training continues meanwhile.
    Endless,
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
            debug!(%fault, ?wait, "the poll failed and is repeated");
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
    Event::Retrying { path: None, cause: RetryCause::Api(fault.clone()), wait }
}

async fn ask(api: &ApiClient, job: &JobId) -> Result<JobSnapshot, ApiError> {
    // Result after status: what a finished status promises is then surely in the list.
    let status = api.status(job).await?;
    let result = api.result(job).await?;
    let (step, artifacts) = (status.progress.current_step, result.artifacts.len());
    debug!(status = %status.status, step, artifacts, "polled");
    Ok(JobSnapshot { status, result, resumes: 0 })
}
