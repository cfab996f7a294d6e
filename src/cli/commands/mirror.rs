//! `rcsync mirror`: place a folder's or a bucket's finished LoRAs in ComfyUI, beside a running rcsync too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::edge::folder::known::known;
use crate::edge::system::blocking::{blocking, lost};
#[cfg(feature = "buckets")]
use crate::engine;
#[cfg(feature = "buckets")]
use crate::engine::bucket::comfyui::FromBucket;
#[cfg(feature = "buckets")]
use crate::engine::bucket::options::BucketOptions;
use crate::engine::outputs::comfyui::{ComfyUi, Outcome, Patience, watch};
#[cfg(feature = "buckets")]
use crate::engine::retry::Persistence;
use crate::error::{Error, ExitStatus, NoMirror};
#[cfg(feature = "buckets")]
use crate::model::destination::BucketUrl;
use crate::model::job::JobId;

use super::super::config::Talk;
use super::super::exit::Signals;
use super::super::render::{THE_SAME_COMMAND, Telling};
use super::super::values::Format;
#[cfg(feature = "buckets")]
use super::look;
use super::{Context, wait_for};

/// How often a folder with nothing in it yet is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a bucket with nothing in it yet is looked at.
#[cfg(feature = "buckets")]
const LOOK_AT_BUCKET_EVERY: Duration = Duration::from_secs(10);

/// How LoRAs are placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// On and on, as files come.
    pub(super) watch: bool,
    /// Also what was moved, renamed or deleted in ComfyUI.
    pub(super) again: bool,
}

pub(super) fn run(context: &Context<'_>, dir: &Path, how: How) -> Result<ExitStatus, CommandError> {
    context.refuse_dry_run("`mirror`")?;
    if let Some(url) = super::super::bucket::bucket(dir)? {
        #[cfg(feature = "buckets")]
        return from_bucket(context, &url, how);
        #[cfg(not(feature = "buckets"))]
        drop(url);
    }
    let watch = how.watch;
    // What was mistyped ends it before anything is waited for.
    if !watch {
        comfy_ui(context)?;
    }
    wait_for(context.world, |signals| async move {
        let Some(comfy) = found(context, watch, &signals).await? else { return Ok(signals.status()) };
        let comfy = Arc::new(if how.again { comfy.placing_anew() } else { comfy });
        let Some(job) = job(context, dir, watch, &signals).await? else { return Ok(signals.status()) };
        context.events.are_of(&job);
        let telling = Telling::new(context.world, &context.settings, &job, &signals, THE_SAME_COMMAND);
        let ended = if watch {
            show_folder(context, &comfy);
            Ok(watch::watch(comfy, dir.to_path_buf(), telling.clone(), signals.stop.clone()).await)
        } else {
            once(context, comfy, dir, telling.clone()).await
        };
        telling.end();
        ended
    })
}

fn comfy_ui(context: &Context<'_>) -> Result<ComfyUi, CommandError> {
    context.settings.comfy_ui(context.world)?.ok_or_else(|| {
        let next = "name it with `--comfyui <PATH>`, or set `RCSYNC_COMFYUI`; `rcsync doctor` shows where ComfyUI is found here";
        CommandError::misused("`mirror` needs to know which ComfyUI: `--comfyui <PATH>`", next)
    })
}

/// Returns the ComfyUI. With `--watch`, waits until the folder that LoRAs go to exists.
async fn found(
    context: &Context<'_>,
    watch: bool,
    signals: &Signals,
) -> Result<Option<ComfyUi>, CommandError> {
    let mut waits = Waits::default();
    loop {
        match comfy_ui(context) {
            Err(CommandError::Library(Error::NoComfyUi { missing: Some(missing), .. })) if watch => {
                waits.report(context, &format!("there is no {} yet", shown(&missing.display().to_string())));
            }
            comfy => return comfy.map(Some),
        }
        if signals.unless_ended(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return Ok(None);
        }
    }
}

/// What is waited for is reported once.
#[derive(Default)]
struct Waits {
    is_reported: bool,
}

impl Waits {
    fn report(&mut self, context: &Context<'_>, why: &str) {
        if !self.is_reported && context.settings.talk > Talk::Quiet {
            context.world.err.line(&format!("{why}; waits for it"));
        }
        self.is_reported = true;
    }
}

/// Returns the job whose folder it is; waits for it where files are watched for.
async fn job(
    context: &Context<'_>,
    dir: &Path,
    watch: bool,
    signals: &Signals,
) -> Result<Option<JobId>, CommandError> {
    let mut waits = Waits::default();
    loop {
        let name = shown(&dir.display().to_string());
        match known(dir) {
            Ok(manifest) => return Ok(Some(manifest.job)),
            Err(Error::NoMirror { job: None, .. }) if watch && !dir.exists() => {
                waits.report(context, &format!("there is no folder {name} yet"));
            }
            Err(Error::NoMirror { why, .. }) if watch && dir.is_dir() && why != NoMirror::Damaged => {
                waits.report(context, &format!("nothing is mirrored into {name} yet"));
            }
            Err(error) => return Err(error.into()),
        }
        if signals.unless_ended(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return Ok(None);
        }
    }
}

fn show_folder(context: &Context<'_>, comfy: &ComfyUi) {
    if context.settings.talk > Talk::Quiet && context.settings.format == Format::Pretty {
        let folder = shown(&comfy.folder().path.display().to_string());
        context.world.err.line(&format!("watches for new LoRAs, which go to {folder}; ends with Ctrl-C"));
    }
}

async fn once(
    context: &Context<'_>,
    comfy: Arc<ComfyUi>,
    dir: &Path,
    telling: Arc<Telling>,
) -> Result<ExitStatus, CommandError> {
    let (placer, folder) = (comfy.clone(), dir.to_path_buf());
    let placing = blocking(move || watch::once(&placer, &folder, Patience::Act, telling.as_ref()));
    let outcome = placing.await.map_err(lost("look into", dir))??;
    Ok(report(context, &comfy, &outcome))
}

/// Reports what one look came to.
fn report(context: &Context<'_>, comfy: &ComfyUi, outcome: &Outcome) -> ExitStatus {
    // A crontab mails what is printed, so nothing is printed where nothing happened.
    let is_news =
        *outcome != Outcome { there: outcome.there, withdrawn: outcome.withdrawn, ..Outcome::default() };
    let is_asked = context.world.err.is_terminal() || context.settings.talk == Talk::Verbose;
    if context.settings.format == Format::Pretty
        && context.settings.talk > Talk::Quiet
        && (is_news || is_asked)
    {
        context.world.err.line(&words(outcome, &comfy.folder().path));
    }
    match outcome {
        Outcome { blocked: 1.., .. } => ExitStatus::CannotCreate,
        Outcome { halves: 1.., .. } | Outcome { unsettled: 1.., .. } => ExitStatus::TryAgain,
        _ => ExitStatus::Complete,
    }
}

/// Places LoRAs from a bucket.
#[cfg(feature = "buckets")]
fn from_bucket(context: &Context<'_>, url: &BucketUrl, how: How) -> Result<ExitStatus, CommandError> {
    let watch = how.watch;
    if !watch {
        comfy_ui(context)?;
    }
    let Some(state) = context.world.state_folder() else {
        let why = "there is no folder for what is remembered of ComfyUI";
        return Err(CommandError::misused(why, "set `HOME` or `XDG_STATE_HOME`"));
    };
    let options = super::super::bucket::options(&context.settings);
    wait_for(context.world, |signals| async move {
        let Some(comfy) = found(context, watch, &signals).await? else { return Ok(signals.status()) };
        let comfy = Arc::new(if how.again { comfy.placing_anew() } else { comfy });
        let Some(job) = job_of_bucket(context, url, &options, watch, &signals).await? else {
            return Ok(signals.status());
        };
        context.events.are_of(&job);
        let telling = Telling::new(context.world, &context.settings, &job, &signals, THE_SAME_COMMAND);
        let mut from = FromBucket::connect(url, &options, comfy.clone(), &state, telling.clone())?;
        let ended = if watch {
            show_folder(context, &comfy);
            Ok(from.watch(signals.stop.clone()).await)
        } else {
            match look(&signals, from.once(Patience::Act)).await {
                Ok(Some(outcome)) => Ok(report(context, &comfy, &outcome)),
                // What was fetched stays, and the same command continues.
                Ok(None) => Ok(signals.status()),
                Err(error) => Err(error),
            }
        };
        telling.end();
        ended
    })
}

/// Returns the job whose bucket it is; waits for it where files are watched for.
#[cfg(feature = "buckets")]
async fn job_of_bucket(
    context: &Context<'_>,
    url: &BucketUrl,
    options: &BucketOptions,
    watch: bool,
    signals: &Signals,
) -> Result<Option<JobId>, CommandError> {
    let mut waits = Waits::default();
    let persistence = if watch { Persistence::Pass } else { Persistence::Short };
    let outages = context.outages();
    loop {
        let asking = engine::bucket::comfyui::job(url, options, persistence, outages.clone());
        match look(signals, asking).await {
            Err(CommandError::Library(error)) if watch && engine::bucket::comfyui::is_empty(&error) => {
                waits.report(context, &format!("nothing is mirrored into {url} yet"));
            }
            found => return found,
        }
        if signals.unless_ended(tokio::time::sleep(LOOK_AT_BUCKET_EVERY)).await.is_none() {
            return Ok(None);
        }
    }
}

fn words(outcome: &Outcome, folder: &Path) -> String {
    let files =
        |count: u64| if count == 1 { "1 LoRA file".to_owned() } else { format!("{count} LoRA files") };
    let folder = shown(&folder.display().to_string());
    let mut text = match outcome.placed {
        0 => format!("{} in {folder}, nothing new", files(outcome.there)),
        new => format!("{} in {folder}, {new} new", files(outcome.there)),
    };
    if outcome.removed > 0 {
        text += &format!(", {} removed", outcome.removed);
    }
    if outcome.blocked > 0 {
        text += &format!("; {} not placed, since something else has the name", files(outcome.blocked));
    }
    if outcome.unsettled > 0 {
        text += &format!(
            "; {} not placed, since the bytes are not those that were published",
            files(outcome.unsettled)
        );
    }
    if outcome.halves > 0 {
        text += &format!("; {} of a pair not placed until the other half is here", files(outcome.halves));
    }
    if outcome.withdrawn > 0 {
        text += &format!(
            "; {} not placed again, since it was moved, renamed or deleted there: `--again` places it",
            files(outcome.withdrawn)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_it_in_one_line() {
        let folder = Path::new("/ui/models/loras");
        let said = |outcome: Outcome| words(&outcome, folder);
        assert_eq!(
            said(Outcome { there: 1, placed: 1, ..Outcome::default() }),
            "1 LoRA file in /ui/models/loras, 1 new"
        );
        assert_eq!(
            said(Outcome { there: 3, removed: 2, blocked: 1, halves: 1, ..Outcome::default() }),
            "3 LoRA files in /ui/models/loras, nothing new, 2 removed; 1 LoRA file not placed, since something else has the name; 1 LoRA file of a pair not placed until the other half is here"
        );
        assert_eq!(
            said(Outcome { there: 1, withdrawn: 1, ..Outcome::default() }),
            "1 LoRA file in /ui/models/loras, nothing new; 1 LoRA file not placed again, since it was moved, renamed or deleted there: `--again` places it"
        );
    }
}
