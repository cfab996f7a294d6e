//! `rcsync submit`: check a training configuration, send it once, and mirror the job where that is wanted.

mod datasets;
mod once;

use std::path::Path;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::edge::api::ApiClient;
use crate::edge::api::base_url::ApiBase;
use crate::edge::api::requests::{GpuCount, GpuType, SubmitRequest};
use crate::edge::api::responses::SubmitAnswer;
use crate::edge::folder::known::known;
use crate::engine;
use crate::engine::datasets::push::PushOptions;
use crate::error::{ApiError, Error, ExitStatus, NoMirror, OddAnswer};
use crate::model::job::JobId;

use super::super::args::Submit;
use super::super::backend;
use super::super::config::Talk;
use super::super::exit::Signals;
use super::super::training_file::TrainingFile;
use super::super::values::Format;
use super::change::{self, Links};
use super::dataset::folder::Target;
use super::sync::Following;
use super::{Context, wait_for};
use datasets::{Folders, Submission, preflight};
use once::Once;

#[derive(Serialize)]
struct Document<'a> {
    job_id: &'a str,
    name: Option<&'a str>,
    gpu_type: GpuType,
    gpu_count: GpuCount,
    gpu_id: Option<&'a str>,
    #[serde(flatten)]
    links: Links,
}

pub(super) fn run(context: &Context<'_>, typed: &Submit) -> Result<ExitStatus, CommandError> {
    let following = Following::settle_follow(context, &typed.follow, &typed.options)?;
    let (gpu_type, gpu_count) = machine(typed)?;
    let file = TrainingFile::read(context.world, &typed.config)?;
    file.approve(context.world, typed.force)?;
    if context.settings.talk > Talk::Quiet {
        file.warn(context.world);
    }
    let folders = Folders::of(&typed.dataset, file.config.as_ref())?;
    let base = backend::api_base(context.world)?;
    let TrainingFile { text, name, config, label, .. } = file;
    let request = SubmitRequest { config: text, gpu_type, gpu_count, gpu_id: typed.gpu_id.clone() };
    let sent = folders.names();
    let once = match folders.is_empty() {
        true => Once::forgotten(),
        false => Once::of(context, &base.origin(), &request, &sent),
    };
    let earlier = once.earlier(typed.force)?;
    if let Some(dir) = following.as_ref().and_then(Following::dir) {
        ensure_free(dir, earlier.as_ref().map(|(job, _)| job))?;
        if !context.settings.sync.dry_run {
            engine::destination::folder::create(dir)?;
        }
    }
    let api = backend::client(context.world, &context.settings, &base)?;
    let target = match folders.is_empty() {
        true => None,
        false => Some(Target::new(context, &base, api.clone(), push_options(context, typed))?),
    };
    let count = gpu_count.unwrap_or(GpuCount::One);
    wait_for(context.world, |signals| async move {
        let events = following.is_some() && context.settings.format == Format::Json;
        let (config, force) = (config.as_ref(), typed.force);
        let submission = Submission { context, signals: &signals, config, force, events };
        if context.settings.sync.dry_run {
            if folders.check(Submission { events: false, ..submission }).await?.is_none() {
                return Ok(signals.status());
            }
            let looking = preflight(context, &api, config, &sent, force);
            let Some(looked) = signals.unless_ended(looking).await else { return Ok(signals.status()) };
            looked?;
            let called = name.as_deref().map_or_else(|| label.clone(), shown);
            let what = format!("{called} would be submitted to {} x {gpu_type}", count.number());
            context.rehearsed("submit", None, name.as_deref(), &what);
            return Ok(ExitStatus::Complete);
        }
        let finish = Finish { context, base: &base, request: &request, count, once: &once };
        if let Some((job, at)) = earlier {
            if context.settings.talk > Talk::Quiet {
                let said =
                    format!("submitted already at {at} as {job}, by a command that did not end; not again");
                context.world.err.line(&said);
            }
            return finish.with_job(&signals, api, SubmitAnswer { id: job, name }, following).await;
        }
        let looking = preflight(context, &api, config, &sent, force);
        let Some(looked) = signals.unless_ended(looking).await else { return Ok(signals.status()) };
        looked?;
        if let Some(target) = &target {
            let exit = folders.send(submission, target).await?;
            if exit != ExitStatus::Complete {
                return Ok(not_submitted(context, exit));
            }
        }
        if context.settings.talk > Talk::Quiet {
            let called = name.as_deref().map_or_else(|| label.clone(), shown);
            context.world.err.line(&starting(&called, gpu_type, count));
        }
        once.sending(context);
        let Some(answer) = signals.unless_ended(api.submit(&request)).await else {
            change::report_interrupted(context);
            return Ok(signals.status());
        };
        let answer = answer.map_err(|fault| {
            once.failed(&fault);
            in_doubt(fault)
        })?;
        once.accepted(context, &answer.id);
        finish.with_job(&signals, api, answer, following).await
    })
}

/// What is left to do when there is a job.
struct Finish<'a> {
    context: &'a Context<'a>,
    base: &'a ApiBase,
    request: &'a SubmitRequest,
    count: GpuCount,
    once: &'a Once,
}

impl Finish<'_> {
    async fn with_job(
        self,
        signals: &Signals,
        api: ApiClient,
        answer: SubmitAnswer,
        following: Option<Following>,
    ) -> Result<ExitStatus, CommandError> {
        let Self { context, base, request, count, once } = self;
        if let Some(following) = following {
            let exit = following.follow_submitted(context, signals, api, answer).await?;
            // A job that continues still belongs to the same command.
            if matches!(exit, ExitStatus::Complete | ExitStatus::Negative) {
                once.over();
            }
            return Ok(exit);
        }
        let document = Document {
            job_id: answer.id.as_str(),
            name: answer.name.as_deref(),
            gpu_type: request.gpu_type,
            gpu_count: count,
            gpu_id: request.gpu_id.as_deref(),
            links: Links::of(base, &answer.id),
        };
        context.answer_of_change(&document, || words(&answer));
        once.over();
        Ok(ExitStatus::Complete)
    }
}

/// Says what will be paid for.
fn starting(name: &str, gpu_type: GpuType, count: GpuCount) -> String {
    let called = match gpu_type {
        GpuType::Ada80Plus => "H100",
        GpuType::Hopper141 => "H200",
    };
    format!(
        "starting {name} on {} x {gpu_type} ({called} on the web page); the account pays for it from its start on",
        count.number()
    )
}

fn not_submitted(context: &Context<'_>, exit: ExitStatus) -> ExitStatus {
    if context.settings.talk > Talk::Quiet {
        context.world.err.line(
            "the job was not submitted, and nothing was charged; the same command again sends the rest",
        );
    }
    exit
}

fn push_options(context: &Context<'_>, typed: &Submit) -> PushOptions {
    let (settings, default) = (&context.settings.sync, PushOptions::default());
    PushOptions {
        connections: typed
            .options
            .connections
            .map_or(default.connections, |number| usize::from(number.get())),
        limit_rate: settings.limit_rate,
        retries: settings.retries.unwrap_or(default.retries),
        ..default
    }
}

/// Returns the machine that was asked for, where there is such a one.
fn machine(typed: &Submit) -> Result<(GpuType, Option<GpuCount>), CommandError> {
    let gpu_type = typed.gpu_type;
    let count = typed.gpu_count;
    if gpu_type == GpuType::Hopper141 && count == Some(GpuCount::Eight) && !typed.force {
        return Err(CommandError::misused(
            "8 GPUs are only available with ADA_80_PLUS (H100)",
            "nothing was sent; take 1, or the other type; `--force` requests them anyway",
        ));
    }
    Ok((gpu_type, count))
}

/// A new job needs a folder of its own: that is found out before anything is paid.
fn ensure_free(dir: &Path, own: Option<&JobId>) -> Result<(), CommandError> {
    let taken = match known(dir) {
        Ok(manifest) => manifest.job,
        Err(Error::NoMirror { job: Some(job), .. }) => job,
        Err(Error::NoMirror { job: None, why, .. }) if why != NoMirror::Damaged => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if own == Some(&taken) {
        return Ok(());
    }
    Err(CommandError::FolderTaken { path: dir.to_path_buf(), job: taken })
}

/// An answer that cannot be read shows nothing about the job: it may wait for its GPU already.
fn in_doubt(fault: ApiError) -> ApiError {
    match fault {
        ApiError::Unintelligible { why } => {
            ApiError::Unintelligible { why: OddAnswer::ToSubmission(Box::new(why)) }
        }
        fault => fault,
    }
}

fn words(answer: &SubmitAnswer) -> String {
    let id = shown(answer.id.as_str());
    let name = answer.name.as_deref().map_or_else(String::new, |name| format!("{}  ", shown(name)));
    format!(
        "{name}submitted as {id}\n\
         next:  rcsync {id} --auto-resume  mirror it until it ends\n       \
         rcsync status {id}         how far it is\n       \
         rcsync cancel {id}         end it\n"
    )
}
