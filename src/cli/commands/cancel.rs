//! `rcsync cancel`: end a job that waits or trains.

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::decide::jobs::command_rules::Command;
use crate::error::ExitStatus;
use crate::model::job::JobStatus;

use super::super::backend;
use super::change::{self, Order};
use super::{Context, wait_for};

#[derive(Serialize)]
struct Document<'a> {
    job_id: &'a str,
    name: Option<&'a str>,
    status: &'a str,
}

pub(super) fn run(context: &Context<'_>, job: &str) -> Result<ExitStatus, CommandError> {
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(job, &base)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals| async move {
        let Some(before) = context.ask(&signals, || api.status(&job)).await? else {
            return Ok(signals.status());
        };
        change::ensure_fits(Command::Cancel, &job, &before.status)?;
        if context.settings.sync.dry_run {
            context.rehearsed(
                "cancel",
                Some(&job),
                before.name.as_deref(),
                &format!("job `{job}` would be canceled"),
            );
            return Ok(ExitStatus::Complete);
        }
        let order = Order { context, api: &api, job: &job, before: &before, signals: &signals };
        let Some(answer) = order.send(Command::Cancel, api.cancel(&job)).await? else {
            return Ok(signals.status());
        };
        let status = answer.status.unwrap_or(JobStatus::Canceled);
        let name = answer.name.as_deref();
        context.answer_of_change(&Document { job_id: job.as_str(), name, status: status.as_str() }, || {
            let called = name.map_or_else(|| job.to_string(), shown);
            format!(
                "{called}  {}\nnext:  rcsync {job}         fetch what it made\n       rcsync resume {job}  continue from its latest checkpoint\n",
                shown(status.as_str())
            )
        });
        Ok(ExitStatus::Complete)
    })
}
