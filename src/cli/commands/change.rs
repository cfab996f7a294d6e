//! What `cancel`, `resume` and `edit` have in common: check that the command fits, send it once, and when its outcome is
//! unknown, ask for the job's state instead of sending it again.

use std::time::Duration;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::decide::jobs::command_rules::{Command, fits, was_carried_out};
use crate::decide::transfer::backoff::Policy;
use crate::edge::api::ApiClient;
use crate::edge::api::base_url::{ApiBase, JobEndpoint};
use crate::edge::api::responses::ChangeAnswer;
use crate::engine::retry::{Again, retry};
use crate::error::{ApiError, UnknownOutcome};
use crate::model::job::{JobId, JobStatus, StatusAnswer};

use super::super::exit::Signals;
use super::Context;

/// Looks at a job whose answer got lost: the first at once, the last after some ten seconds. What has not shown by then may
/// still come, and is reported as unknown.
const LOOKS: Policy = Policy::patient(4, Duration::from_secs(2), Duration::from_secs(8));

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
pub(super) fn ensure_fits(command: Command, job: &JobId, status: &JobStatus) -> Result<(), CommandError> {
    if fits(command, status) {
        return Ok(());
    }
    let (why, next) = misfit(command, job, status);
    Err(CommandError::Declined { why: format!("job `{job}` {why}"), next })
}

/// Returns why a command does not fit, and what to type instead.
fn misfit(command: Command, job: &JobId, status: &JobStatus) -> (String, String) {
    let mirrors = || format!("`rcsync {job}` mirrors it");
    let fetches = || format!("`rcsync {job}` fetches what it made");
    match (command, status) {
        (Command::Cancel, JobStatus::Failed) => (
            "is FAILED: there is nothing to cancel".to_owned(),
            format!("`rcsync status {job}` shows the error; {} before", fetches()),
        ),
        (Command::Cancel, JobStatus::Canceled) => {
            ("is CANCELED already".to_owned(), format!("{}; `rcsync resume {job}` continues it", fetches()))
        }
        (Command::Cancel, status) => (
            format!("is {status}: there is nothing to cancel"),
            format!("{}; `rcsync resume {job}` continues it", fetches()),
        ),
        (Command::Resume, JobStatus::InQueue) => (
            "is IN_QUEUE already: it continues as soon as a GPU is free".to_owned(),
            format!("{}; `rcsync cancel {job}` takes it out of the queue", mirrors()),
        ),
        (Command::Resume, status) => (
            format!("is {status} already: there is nothing to resume"),
            format!("{}; `rcsync status {job}` shows how far it is", mirrors()),
        ),
        (Command::Edit, JobStatus::InQueue) => (
            "is IN_QUEUE, and only a job that has ended takes an edit".to_owned(),
            format!("type `rcsync cancel {job}`, then the same command again with `--resume`"),
        ),
        (Command::Edit, status) => (
            format!("is {status}, and only a job that has ended takes an edit"),
            format!(
                "wait for its end, or type `rcsync cancel {job}`, then the same command again with `--resume`"
            ),
        ),
    }
}

/// Reports that a signal came between a command and its answer: whether it was carried out is unknown.
pub(super) fn report_interrupted(context: &Context<'_>) {
    context.complain(&ApiError::Unknown { cause: UnknownOutcome::Interrupted }.into());
}

/// A job that is to be changed.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) api: &'a ApiClient,
    pub(super) job: &'a JobId,
    /// What it did when it was looked at.
    pub(super) before: &'a StatusAnswer,
    pub(super) signals: &'a Signals,
}

impl Order<'_> {
    /// Sends a command once; `None` when a signal came before its answer, which is reported then.
    pub(super) async fn send(
        self,
        command: Command,
        sending: impl Future<Output = Result<ChangeAnswer, ApiError>>,
    ) -> Result<Option<ChangeAnswer>, CommandError> {
        let Self { context, before, signals, .. } = self;
        let Some(answer) = signals.unless_ended(sending).await else {
            report_interrupted(context);
            return Ok(None);
        };
        let answer = match answer {
            Err(ApiError::Unknown { cause }) => {
                let Some(now) = signals.unless_ended(self.find_out(command)).await else {
                    context.complain(&ApiError::Unknown { cause }.into());
                    return Ok(None);
                };
                self.concluded(command, cause, now)
            }
            Err(refused @ ApiError::Refused { .. }) => {
                // The job may have changed between the poll and the command: then its state is the better reason.
                if let Some(Ok(now)) = signals.unless_ended(self.api.status(self.job)).await {
                    ensure_fits(command, self.job, &now.status)?;
                }
                Err(refused)
            }
            answer => answer,
        }?;
        Ok(Some(ChangeAnswer { name: answer.name.or_else(|| before.name.clone()), ..answer }))
    }

    /// Concludes from the last look what became of a command whose answer got lost.
    fn concluded(
        self,
        command: Command,
        cause: UnknownOutcome,
        now: Option<StatusAnswer>,
    ) -> Result<ChangeAnswer, ApiError> {
        let Some(now) = now else { return Err(ApiError::Unknown { cause }) };
        match was_carried_out(command, &self.before.status, &now.status) {
            Some(true) => Ok(ChangeAnswer { name: now.name, status: Some(now.status) }),
            _ => {
                let cause = UnknownOutcome::NotSeen { cause: Box::new(cause), status: now.status };
                Err(ApiError::Unknown { cause })
            }
        }
    }

    /// Looks at the job until it shows that the command was carried out, a few times at most; the last look counts.
    async fn find_out(self, command: Command) -> Option<StatusAnswer> {
        let look = async || {
            let now = self.api.status(self.job).await.map_err(|_| None)?;
            match was_carried_out(command, &self.before.status, &now.status) {
                Some(false) => Err(Some(now)),
                _ => Ok(now),
            }
        };
        retry(LOOKS, look, |_| Again::After(None), |_, _| {}).await.map_or_else(|last| last, Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_the_job_and_a_command() {
        use JobStatus::{Canceled, Failed, InQueue, Running, Stopped};
        let job: JobId = "abc-1".parse().unwrap();
        let mut refused = 0;
        for command in [Command::Cancel, Command::Resume, Command::Edit] {
            for status in [InQueue, Running, Stopped, Failed, Canceled] {
                let Err(error) = ensure_fits(command, &job, &status) else { continue };
                let CommandError::Declined { why, next } = error else { panic!("{error}") };
                assert!(why.starts_with(&format!("job `abc-1` is {status}")), "{why}");
                assert!(next.contains("`rcsync ") && next.contains("abc-1`"), "{next}");
                refused += 1;
            }
        }
        assert_eq!(refused, 7);
    }
}
