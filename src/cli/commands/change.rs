//! What `cancel`, `resume` and `edit` have in common: look whether the command fits, send it once, and when nobody says
//! what became of it, look instead of sending it again.

use std::time::Duration;

use serde::Serialize;

use super::super::exit::Signals;
use crate::decide::command::{Command, Misfit, misfit, was_carried_out};
use crate::edge::api::ApiClient;
use crate::error::{ApiError, Error};
use crate::model::api_answer::ChangeAnswer;
use crate::model::api_base::{ApiBase, JobEndpoint};
use crate::model::job::{JobId, JobStatus, StatusAnswer};

/// Looks at a job whose answer got lost: the first at once, the last after ten seconds. What has not shown by then may
/// still come, and is told as unknown.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(8)];

/// The job's addresses, as the API gives them.
#[derive(Debug, Serialize)]
pub(super) struct Links {
    status_url: String,
    result_url: String,
    cancel_url: String,
}

impl Links {
    pub(super) fn of(base: &ApiBase, job: &JobId) -> Self {
        let url = |endpoint| base.job_url(job, endpoint).to_string();
        Self {
            status_url: url(JobEndpoint::Status),
            result_url: url(JobEndpoint::Result),
            cancel_url: url(JobEndpoint::Cancel),
        }
    }
}

/// Refuses a command that does not fit what the job is doing.
pub(super) fn ensure_fits(command: Command, job: &JobId, status: &JobStatus) -> Result<(), Error> {
    match misfit(command, job, status) {
        None => Ok(()),
        Some(Misfit { why, next }) => Err(Error::Declined { why, next }),
    }
}

/// Sends a command once; `None` when a signal came before its answer.
pub(super) async fn send(
    command: Command,
    job: &JobId,
    before: &StatusAnswer,
    api: &ApiClient,
    signals: &Signals,
    sending: impl Future<Output = Result<ChangeAnswer, ApiError>>,
) -> Result<Option<ChangeAnswer>, Error> {
    let Some(answer) = signals.unless_ended(sending).await else { return Ok(None) };
    match answer {
        Ok(answer) => Ok(Some(ChangeAnswer { name: answer.name.or_else(|| before.name.clone()), ..answer })),
        Err(ApiError::Refused { status, message }) => {
            // The job may have moved on between the look and the command: then its state says it better.
            let now = signals.unless_ended(api.status(job)).await;
            if let Some(Ok(now)) = now {
                ensure_fits(command, job, &now.status)?;
            }
            Err(ApiError::Refused { status, message }.into())
        }
        Err(ApiError::Unknown { cause }) => {
            let Some(now) = signals.unless_ended(find_out(command, job, before, api)).await else {
                return Ok(None);
            };
            match now {
                Some(now) if was_carried_out(command, &before.status, &now.status) == Some(true) => {
                    Ok(Some(ChangeAnswer { name: now.name, status: Some(now.status) }))
                }
                Some(now) => {
                    Err(ApiError::Unknown { cause: format!("{cause}; the job is {} now", now.status) }.into())
                }
                None => Err(ApiError::Unknown { cause }.into()),
            }
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Looks at the job until it shows that the command was carried out, a few times at most; the last look counts.
async fn find_out(
    command: Command,
    job: &JobId,
    before: &StatusAnswer,
    api: &ApiClient,
) -> Option<StatusAnswer> {
    let mut last = None;
    for wait in LOOKS {
        tokio::time::sleep(wait).await;
        let Ok(now) = api.status(job).await else { continue };
        let shown = was_carried_out(command, &before.status, &now.status);
        last = Some(now);
        if shown != Some(false) {
            break;
        }
    }
    last
}
