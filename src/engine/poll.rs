//! One poll of a job: status and result, with patience for an API that is away.

use std::time::Duration;

use futures::future::{Either, select};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::decide::mirror::poll_interval::Cadence;
use crate::decide::mirror::snapshot::{JobSnapshot, lags};
use crate::edge::api::ApiClient;
use crate::engine::event::{Event, Reporter, RetryCause};
use crate::engine::retry::{SHORT, api_again, retry};
use crate::engine::stop::Stop;
use crate::error::{ApiError, Error, ExitStatus};
use crate::model::job::{JobId, ResultAnswer, StatusAnswer};

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
        Patience::Endless => SHORT.endless(),
    };
    let mut is_reported = false;
    let looking = retry(
        policy,
        || ask(api, job),
        api_again,
        |fault, wait| {
            debug!(%fault, ?wait, "the poll failed and is repeated");
            // One line for each outage, not one for each try.
            if !std::mem::replace(&mut is_reported, true) {
                reporter.report(&outage(fault, wait));
            }
        },
    );
    cancel.run_until_cancelled(looking).await.transpose().map_err(Error::from)
}

/// Reports the end of a run that was stopped before its first poll was answered: nothing was begun.
pub(crate) fn interrupted(reporter: &dyn Reporter, stop: &Stop, began: Instant) -> ExitStatus {
    let exit = stop.status();
    let elapsed = began.elapsed();
    let (job_status, next_look) = (None, Some(Cadence::SHORTEST));
    reporter.report(&Event::Done {
        exit,
        published: 0,
        bytes: 0,
        present: 0,
        failed: 0,
        elapsed,
        job_status,
        next_look,
    });
    exit
}

/// The event for an API that gives no usable answer.
pub(crate) fn outage(fault: &ApiError, wait: Duration) -> Event {
    Event::Retrying { path: None, cause: RetryCause::Api(fault.clone()), wait }
}

/// Asks for status and result at once, each on a connection of its own: one after the other, they take two round trips
/// more. A result that was made before the job ended is asked for again, so that everything that an ended status promises
/// is in the list.
async fn ask(api: &ApiClient, job: &JobId) -> Result<JobSnapshot, ApiError> {
    let (status, mut result) = at_once(api, job).await?;
    let is_late = lags(&status, &result);
    if is_late {
        result = api.result(job).await?;
    }
    let (step, artifacts) = (status.progress.current_step, result.artifacts.len());
    debug!(status = %status.status, step, artifacts, is_late, "polled");
    Ok(JobSnapshot { status, result, resumes: 0 })
}

/// A fault of the status is the fault of the poll, whichever answer is first: the same outage is reported in the same way
/// each time.
async fn at_once(api: &ApiClient, job: &JobId) -> Result<(StatusAnswer, ResultAnswer), ApiError> {
    let (status, result) = (std::pin::pin!(api.status(job)), std::pin::pin!(api.result(job)));
    match select(status, result).await {
        Either::Left((status, result)) => Ok((status?, result.await?)),
        Either::Right((result, status)) => Ok((status.await?, result?)),
    }
}

#[cfg(test)]
mod tests;
