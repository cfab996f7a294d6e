//! One look at the job: status and result, with patience for an API that is away.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::backoff::Backoff;
use crate::edge::api::ApiClient;
use crate::engine::event::{Event, Reporter};
use crate::error::{ApiError, Error};
use crate::model::job::JobId;

/// Tries of a request before a single pass (or the first look of all) gives up: about four seconds.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long an API that does not answer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A few tries.
    Short,
    /// For ever: the training goes on, whether or not anybody can see it.
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
    let mut backoff = Backoff::new(fastrand::u64(..), FIRST_WAIT, LONGEST_WAIT);
    let mut tries = 0;
    let mut told = false;
    loop {
        let answer = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            answer = ask(api, job) => answer,
        };
        let fault = match answer {
            Ok(looked) => {
                debug!(
                    status = %looked.status.status,
                    step = looked.status.progress.current_step,
                    artifacts = looked.result.artifacts.len(),
                    "polled"
                );
                return Ok(Some(looked));
            }
            Err(fault) => fault,
        };
        tries += 1;
        let asked = fault.retry_after();
        let out_of_patience =
            patience == Patience::Short && (tries >= TRIES || asked.is_some_and(|wait| wait > LONGEST_WAIT));
        if !fault.is_transient() || out_of_patience {
            return Err(fault.into());
        }
        let wait = backoff.next(asked);
        debug!(%fault, tries, ?wait, "the poll failed and is repeated");
        // One line for each outage, not one for each try.
        if !std::mem::replace(&mut told, true) {
            reporter.report(&Event::Retrying { path: None, cause: fault.to_string(), wait });
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn ask(api: &ApiClient, job: &JobId) -> Result<JobSnapshot, ApiError> {
    // Result after status: what a finished status promises is then surely in the list.
    let status = api.status(job).await?;
    let result = api.result(job).await?;
    Ok(JobSnapshot { status, result, resumes: 0 })
}
