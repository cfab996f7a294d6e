//! `rcsync resume`: continue a job that ended from its latest checkpoint.

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::decide::jobs::command_rules::Command;
use crate::engine::event::{Event, ResumeReason};
use crate::error::ExitStatus;

use super::super::args::Resume;
use super::super::backend;
use super::change::{self, Links, Order};
use super::sync::Following;
use super::{Context, wait_for};

#[derive(Serialize)]
struct Document<'a> {
    job_id: &'a str,
    name: Option<&'a str>,
    /// What the job is doing now, where the API reported it.
    status: Option<&'a str>,
    #[serde(flatten)]
    links: Links,
}

pub(super) fn run(context: &Context<'_>, typed: &Resume) -> Result<ExitStatus, CommandError> {
    let following = Following::settle_follow(context, &typed.follow, &typed.options)?;
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(&typed.job, &base)?;
    context.events.are_of(&job);
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals| async move {
        let Some(before) = context.ask(&signals, || api.status(&job)).await? else {
            return Ok(signals.status());
        };
        change::ensure_fits(Command::Resume, &job, &before.status)?;
        if context.settings.sync.dry_run {
            let what = format!("job `{job}` would be resumed");
            context.rehearsed("resume", Some(&job), before.name.as_deref(), &what);
            return Ok(ExitStatus::Complete);
        }
        // The status answer has no time stamps, which distinguish the old end from the next one.
        let times = match &following {
            Some(_) => context.ask(&signals, || api.result(&job)).await?.map(|result| result.times),
            None => None,
        };
        let order = Order { context, api: &api, job: &job, before: &before, signals: &signals };
        let Some(answer) = order.send(Command::Resume, api.resume(&job)).await? else {
            return Ok(signals.status());
        };
        if let Some(following) = following {
            let step = before.progress.current_step;
            let first = Event::Resumed { attempt: None, step, reason: ResumeReason::Asked };
            let times = times.unwrap_or_default();
            return following.after_resumption(times).follow(context, &signals, api, job, Some(first)).await;
        }
        let status = answer.status.as_ref().map(|status| status.as_str());
        let name = answer.name.as_deref();
        context.answer_of_change(&Document { job_id: job.as_str(), name, status, links: Links::of(&base, &job) }, || {
            let called = name.map_or_else(|| job.to_string(), shown);
            format!(
                "{called}  resumed\nnext:  rcsync {job}         mirror it until it ends\n       rcsync status {job}  how far it is\n"
            )
        });
        Ok(ExitStatus::Complete)
    })
}
