//! `rcsync submit`: check a training configuration, send it once, and mirror the job where that is wanted.

use std::path::Path;

use serde::Serialize;

use crate::cli::format::shown;
use crate::edge::api::requests::{GpuCount, GpuType, SubmitRequest};
use crate::edge::api::responses::SubmitAnswer;
use crate::engine;
use crate::error::{ApiError, Error, ExitStatus};

use super::super::args::Submit;
use super::super::backend;
use super::super::training_file::TrainingFile;
use super::change::{self, Links};
use super::sync::Following;
use super::{Context, wait_for};

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

pub(super) fn run(context: &Context<'_>, typed: &Submit) -> Result<ExitStatus, Error> {
    let following = Following::settle_follow(context, &typed.follow, &typed.options)?;
    let (gpu_type, gpu_count) = machine(typed)?;
    let file = TrainingFile::read(context.world, &typed.config)?;
    file.approve(context.world, typed.force)?;
    if let Some(dir) = following.as_ref().and_then(Following::dir) {
        ensure_free(dir)?;
        if !context.settings.sync.dry_run {
            engine::destination::folder::create(dir)?;
        }
    }
    let base = backend::api_base(context.world)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let request = SubmitRequest { config: file.text, gpu_type, gpu_count, gpu_id: typed.gpu_id.clone() };
    let count = gpu_count.unwrap_or(GpuCount::One);
    if context.settings.sync.dry_run {
        let name = file.name.as_deref().map_or_else(|| file.label.clone(), shown);
        let what = format!("{name} would be submitted to {} x {gpu_type}", count.number());
        context.rehearsed("submit", None, file.name.as_deref(), &what);
        return Ok(ExitStatus::Complete);
    }
    wait_for(context.world, |signals| async move {
        let Some(answer) = signals.unless_ended(api.submit(&request)).await else {
            change::tell_interrupted(context);
            return Ok(signals.status());
        };
        let answer = answer.map_err(in_doubt)?;
        if let Some(following) = following {
            return following.follow_submitted(context, &signals, api, answer).await;
        }
        let document = Document {
            job_id: answer.id.as_str(),
            name: answer.name.as_deref(),
            gpu_type,
            gpu_count: count,
            gpu_id: request.gpu_id.as_deref(),
            links: Links::of(&base, &answer.id),
        };
        context.answer(&document, || words(&answer));
        Ok(ExitStatus::Complete)
    })
}

/// Returns the machine that was asked for, where there is such a one.
fn machine(typed: &Submit) -> Result<(GpuType, Option<GpuCount>), Error> {
    let gpu_type = GpuType::from(typed.gpu_type);
    let count = typed.gpu_count;
    if gpu_type == GpuType::Hopper141 && count == Some(GpuCount::Eight) && !typed.force {
        return Err(Error::Usage(
            "8 GPUs are there with ADA_80_PLUS (H100) alone; `--force` asks for them all the same".to_owned(),
        ));
    }
    Ok((gpu_type, count))
}

/// A new job needs a folder of its own: that is found out before anything is paid.
fn ensure_free(dir: &Path) -> Result<(), Error> {
    let taken = match engine::destination::folder::known(dir) {
        Ok(manifest) => manifest.job,
        Err(Error::NoMirror { job: Some(job), .. }) => job,
        Err(Error::NoMirror { job: None, .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let why = format!("it mirrors job `{taken}`, and nothing was submitted");
    Err(Error::FolderUnfit { path: dir.to_path_buf(), why })
}

/// An answer that cannot be read says nothing about the job: it may wait for its GPU already.
fn in_doubt(fault: ApiError) -> ApiError {
    match fault {
        ApiError::Unintelligible { why } => ApiError::Unintelligible {
            why: format!(
                "{why}; the job may be accepted all the same: look at your jobs on the RunComfy site before you send it again"
            ),
        },
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
