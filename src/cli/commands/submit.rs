//! `rcsync submit`: check a training configuration, send it once, and mirror the job where that is wanted.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::super::args::Submit;
use super::super::backend;
use super::super::training_file::TrainingFile;
use super::super::words::shown;
use super::change::Links;
use super::sync::Following;
use super::{Context, wait_for};
use crate::edge::api::ApiClient;
use crate::engine::event::Event;
use crate::error::{ApiError, Error, ExitStatus, explain};
use crate::model::api_answer::SubmitAnswer;
use crate::model::api_request::{GpuCount, GpuType, SubmitRequest};
use crate::model::job::JobId;

/// A job may be accepted in one place and asked for in another: it is given a few seconds to become known everywhere.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

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
    }
    let base = backend::api_base(context.world)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let request = SubmitRequest { config: file.text, gpu_type, gpu_count, gpu_id: typed.gpu_id.clone() };
    let count = gpu_count.unwrap_or(GpuCount::One);
    if context.settings.sync.dry_run {
        let name = file.name.as_deref().map_or_else(|| file.label.clone(), shown);
        let gpus = count.number();
        context
            .world
            .err
            .line(&format!("{name} would be submitted to {gpus} x {gpu_type}; nothing was sent"));
        return Ok(ExitStatus::Complete);
    }
    wait_for(context.world, |signals| async move {
        let Some(answer) = signals.unless_ended(api.submit(&request)).await else {
            let cause = "interrupted before the answer came".to_owned();
            context.world.err.line(&explain(&ApiError::Unknown { cause }.into()));
            return Ok(signals.status());
        };
        let answer = answer.map_err(in_doubt)?;
        if let Some(following) = following {
            let Some(()) = signals.unless_ended(until_known(&api, &answer.id)).await else {
                return Ok(signals.status());
            };
            let first = Event::Submitted { name: answer.name };
            return following.follow(context, &signals, api, answer.id, Some(first)).await;
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
    let count = typed.gpu_count.as_deref().map(str::parse::<GpuCount>).transpose();
    let count = count.map_err(|error| Error::Usage(format!("`--gpu-count`: {error}")))?;
    if gpu_type == GpuType::Hopper141 && count == Some(GpuCount::Eight) && !typed.force {
        return Err(Error::Usage(
            "8 GPUs are there with ADA_80_PLUS (H100) alone; `--force` asks for them all the same".to_owned(),
        ));
    }
    Ok((gpu_type, count))
}

/// A new job needs a folder of its own, and one that can be written: that is found out before anything is paid.
fn ensure_free(dir: &Path) -> Result<(), Error> {
    let taken = match backend::manifest(dir) {
        Ok(manifest) => manifest.job,
        Err(Error::NoMirror { job: Some(job), .. }) => job,
        Err(Error::NoMirror { job: None, .. }) => {
            return std::fs::create_dir_all(dir).map_err(|source| Error::Disk {
                verb: "create",
                path: dir.to_path_buf(),
                source,
            });
        }
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

async fn until_known(api: &ApiClient, job: &JobId) {
    for _ in 0..LOOKS {
        match api.status(job).await {
            Err(ApiError::UnknownJob { .. }) => tokio::time::sleep(BETWEEN_LOOKS).await,
            // Whatever else is wrong, the mirror has the patience and the words for it.
            Ok(_) | Err(_) => return,
        }
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
