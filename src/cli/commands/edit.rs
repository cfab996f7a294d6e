//! `rcsync edit`: give a job that has ended a new configuration.

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::decide::jobs::command_rules::Command;
use crate::edge::api::ApiClient;
use crate::error::ExitStatus;
use crate::model::job::{JobId, JobStatus, StatusAnswer};

use super::super::args::Edit;
use super::super::backend;
use super::super::config::Talk;
use super::super::exit::Signals;
use super::super::training_file::TrainingFile;
use super::change::{self, Order};
use super::{Context, wait_for};

#[derive(Serialize)]
struct Document<'a> {
    job_id: &'a str,
    name: Option<&'a str>,
    /// What the job is doing now, where the API reported it.
    status: Option<&'a str>,
    /// Whether it was resumed, too.
    resumed: bool,
}

pub(super) fn run(context: &Context<'_>, typed: &Edit) -> Result<ExitStatus, CommandError> {
    let file = TrainingFile::read(context.world, &typed.config)?;
    file.approve(context.world, typed.force)?;
    if context.settings.talk > Talk::Quiet {
        file.warn(context.world);
    }
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(&typed.job, &base)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals| async move {
        let push = Push { context, api: &api, job: &job, signals: &signals, resume: typed.resume };
        let Some(before) = context.ask(&signals, || api.status(&job)).await? else {
            return Ok(signals.status());
        };
        // First what waiting cannot fix: no job should be canceled for an edit that it can never take.
        if !typed.force {
            ensure_same_name(&file, &job, before.name.as_deref())?;
        }
        change::ensure_fits(Command::Edit, &job, &before.status)?;
        if context.settings.sync.dry_run {
            let again = if typed.resume { " and be resumed" } else { "" };
            let what = format!("job `{job}` would get the configuration of {}{again}", file.label);
            context.rehearsed("edit", Some(&job), before.name.as_deref(), &what);
            return Ok(ExitStatus::Complete);
        }
        match push.send(&file, &before).await? {
            true => Ok(ExitStatus::Complete),
            false => Ok(signals.status()),
        }
    })
}

/// Sends a configuration, and resumes the job where that is wanted.
struct Push<'a> {
    context: &'a Context<'a>,
    api: &'a ApiClient,
    job: &'a JobId,
    signals: &'a Signals,
    resume: bool,
}

impl Push<'_> {
    /// Returns whether it was done; not, when a signal came in between.
    async fn send(&self, file: &TrainingFile, before: &StatusAnswer) -> Result<bool, CommandError> {
        let Self { api, job, signals, .. } = *self;
        let order = Order { context: self.context, api, job, before, signals };
        let Some(edited) = order.send(Command::Edit, api.edit(job, &file.text)).await? else {
            return Ok(false);
        };
        let mut status = edited.status.clone();
        if self.resume {
            let resumed = order.send(Command::Resume, api.resume(job)).await;
            if !matches!(resumed, Ok(Some(_))) {
                self.context
                    .world
                    .err
                    .line("the new configuration was accepted; whether the job resumes with it:");
            }
            match resumed? {
                Some(resumed) => status = resumed.status,
                None => return Ok(false),
            }
        }
        self.report(edited.name.as_deref(), status.as_ref());
        Ok(true)
    }

    fn report(&self, name: Option<&str>, status: Option<&JobStatus>) {
        let (job, resumed) = (self.job, self.resume);
        let status = status.map(JobStatus::as_str);
        self.context.answer_of_change(&Document { job_id: job.as_str(), name, status, resumed }, || {
            let called = name.map_or_else(|| job.to_string(), shown);
            if resumed {
                format!("{called}  has its new configuration and was resumed\nnext:  rcsync {job}  mirror it until it ends\n")
            } else {
                format!("{called}  has its new configuration\nnext:  rcsync resume {job} --follow  continue it\n")
            }
        });
    }
}

/// The API does not let a job change its name, and everything that it made is named after it.
fn ensure_same_name(file: &TrainingFile, job: &JobId, name: Option<&str>) -> Result<(), CommandError> {
    match (&file.name, name) {
        (Some(new), Some(old)) if new != old => Err(CommandError::Declined {
            why: format!(
                "{}: `config.name` is `{}`, but job `{job}` is called `{}`, and an edit cannot rename it",
                file.label,
                shown(new),
                shown(old)
            ),
            next: format!(
                "nothing was sent; write `name: {}`, or submit it as a new job: `rcsync submit {} --gpu-type …`",
                shown(old),
                file.typed()
            ),
        }),
        _ => Ok(()),
    }
}
