//! `rcsync sync`: mirror a job until it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::decide::transfer::backoff::Policy;
use crate::edge::api::ApiClient;
use crate::edge::api::responses::SubmitAnswer;
use crate::engine::event::{Event, Reporter};
use crate::engine::mirror::Mirror;
use crate::engine::outputs::hooks::HookPlan;
use crate::engine::retry::{Again, retry};
use crate::error::{ApiError, Error, ExitStatus};
use crate::model::destination::Destination;
use crate::model::job::{JobId, JobTimes};

use super::super::backend;
use super::super::bucket::Place;
use super::super::config::Talk;
use super::super::exit::Signals;
use super::super::options::SyncArgs;
use super::super::render::{THE_SAME_COMMAND, Telling};
use super::super::values::Format;
use super::equipment::{self, Equipment};
use super::{Context, wait_for};

#[cfg(feature = "buckets")]
use super::super::bucket;
#[cfg(feature = "buckets")]
use crate::engine::bucket::run::BucketMirror;

/// A job may be accepted in one place and asked for in another: it is given some twenty seconds to become known everywhere.
const UNTIL_KNOWN: Policy = Policy::patient(12, Duration::from_secs(1), Duration::from_secs(2));

pub(super) fn run(
    context: &Context<'_>,
    job: &str,
    dir: Option<PathBuf>,
) -> Result<ExitStatus, CommandError> {
    let following = Following::settle(context, dir)?;
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(job, &base)?;
    context.events.are_of(&job);
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(
        context.world,
        |signals| async move { following.follow(context, &signals, api, job, None).await },
    )
}

/// How a job is followed: everything that can be wrong with it is found out before anything is sent.
pub(super) struct Following {
    place: Place,
    equipment: Equipment,
}

impl Following {
    /// Settles how to follow a job to `dir`, or into a folder of its name.
    pub(super) fn settle(context: &Context<'_>, dir: Option<PathBuf>) -> Result<Self, CommandError> {
        let place = Place::settle(dir, &context.settings)?;
        let settings = place.kind().fit(&context.settings);
        Ok(Self { place, equipment: Equipment::settle(context.world, &settings)? })
    }

    /// The same for a command with `--follow [DIR]`; without it, an option that would do nothing is refused.
    pub(super) fn settle_follow(
        context: &Context<'_>,
        follow: &Option<Option<PathBuf>>,
        typed: &SyncArgs,
    ) -> Result<Option<Self>, CommandError> {
        if let Some(dir) = follow {
            return Self::settle(context, dir.clone()).map(Some);
        }
        // A dry run is one of the command itself.
        let (dry_run, no_dry_run) = (typed.dry_run, typed.no_dry_run);
        if *typed == (SyncArgs { dry_run, no_dry_run, ..SyncArgs::default() }) {
            return Ok(None);
        }
        Err(CommandError::misused(
            "`sync`'s options do nothing here without `--follow`",
            "nothing was sent; add `--follow`, or leave them out",
        ))
    }

    /// Returns the folder, where the user named one that is known before the job is.
    pub(super) fn dir(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(Some(dir)) if !is_template(dir) => Some(dir),
            Place::Folder(_) | Place::Bucket(_) => None,
        }
    }

    /// The same for a job that was submitted just now.
    pub(super) async fn follow_submitted(
        self,
        context: &Context<'_>,
        signals: &Signals,
        api: ApiClient,
        answer: SubmitAnswer,
    ) -> Result<ExitStatus, CommandError> {
        let SubmitAnswer { id, name } = answer;
        if context.settings.talk == Talk::Quiet && context.settings.format == Format::Pretty {
            // Also with `-q` the job is paid for: its id is data.
            let name = name.as_deref().map_or_else(String::new, |name| format!("{}  ", shown(name)));
            context.world.out.line(&format!("{name}submitted as {id}"));
        }
        let first = Event::Submitted { job: id.clone(), name };
        self.follow(context, signals, api, id, Some(first)).await
    }

    /// The job was resumed just now, when it had these time stamps.
    pub(super) fn after_resumption(mut self, times: JobTimes) -> Self {
        self.equipment.options.resumed_after = Some(times);
        self
    }

    /// Reports `first`, and follows the job until it ends.
    pub(super) async fn follow(
        self,
        context: &Context<'_>,
        signals: &Signals,
        api: ApiClient,
        job: JobId,
        first: Option<Event>,
    ) -> Result<ExitStatus, CommandError> {
        context.events.are_of(&job);
        let Self { place, equipment: Equipment { options, followers, hooks } } = self;
        let dir = match place {
            Place::Folder(None) => PathBuf::from(job.as_str()),
            Place::Folder(Some(dir)) if is_template(&dir) => filled(&dir, &api, &job).await?,
            Place::Folder(Some(dir)) => dir,
            #[cfg(feature = "buckets")]
            Place::Bucket(to) => {
                let again = match &first {
                    None => THE_SAME_COMMAND.to_owned(),
                    Some(_) => format!("`rcsync {job} {}`", shown(&to)),
                };
                let bucket = bucket::options(&context.settings);
                let hooks = equipment::bucket_hooks(hooks, &job, context.world.now);
                let mirror = BucketMirror { api, job, to, options, bucket, hooks, fleet: None };
                return mirror_to_bucket(context, signals, mirror, first, again).await;
            }
            #[cfg(not(feature = "buckets"))]
            Place::Bucket(to) => PathBuf::from(to),
        };
        // What began with `submit` or `resume` must not be typed again: a job would be paid twice.
        let again = match &first {
            None => THE_SAME_COMMAND.to_owned(),
            Some(_) => format!("`rcsync {job} {}`", shown(&dir.display().to_string())),
        };
        mirror(
            context,
            signals,
            Mirror { api, job, dir, options, followers, fleet: None },
            hooks,
            first,
            again,
        )
        .await
    }
}

/// Whether a path has something in it that is filled in from the job.
fn is_template(dir: &Path) -> bool {
    dir.to_str().is_some_and(|text| text.contains("{id}") || Destination::needs_name(text))
}

/// Fills `{id}` and `{name}` in. The name is the API's, so it is asked once more than without.
async fn filled(dir: &Path, api: &ApiClient, job: &JobId) -> Result<PathBuf, CommandError> {
    let text = dir.to_str().unwrap_or_default();
    let name = if Destination::needs_name(text) { api.status(job).await?.name } else { None };
    Ok(Destination::fill(text, job, name.as_deref()).into())
}

/// Reports `first`, mirrors, and reports the run as the settings want it; `again` is what continues after an early end.
pub(super) async fn mirror(
    context: &Context<'_>,
    signals: &Signals,
    mirror: Mirror,
    hooks: HookPlan,
    first: Option<Event>,
    again: String,
) -> Result<ExitStatus, CommandError> {
    context.events.are_of(&mirror.job);
    let begins = first.is_some();
    let telling = begin(context, signals, (&mirror.api, &mirror.job), first, &again).await;
    let ended = equipment::run(mirror, hooks, context.world.now, telling.clone(), signals.stop.clone()).await;
    telling.end();
    ended.map_err(|error| of_follow(error, begins, again))
}

/// The same into a bucket.
#[cfg(feature = "buckets")]
async fn mirror_to_bucket(
    context: &Context<'_>,
    signals: &Signals,
    mirror: BucketMirror,
    first: Option<Event>,
    again: String,
) -> Result<ExitStatus, CommandError> {
    let begins = first.is_some();
    let telling = begin(context, signals, (&mirror.api, &mirror.job), first, &again).await;
    let ended = mirror.run(telling.clone(), signals.stop.clone()).await;
    telling.end();
    ended.map_err(|error| of_follow(error, begins, again))
}

/// Reports `first`; a job that was submitted just now is waited for until the API knows it.
async fn begin(
    context: &Context<'_>,
    signals: &Signals,
    (api, job): (&ApiClient, &JobId),
    first: Option<Event>,
    again: &str,
) -> Arc<Telling> {
    let telling = Telling::new(context.world, &context.settings, job, signals, again);
    if let Some(first) = first {
        telling.report(&first);
        if matches!(first, Event::Submitted { .. }) {
            signals.unless_ended(until_known(api, job)).await;
        }
    }
    telling
}

/// The error of a mirror; `begins`: of one that began with `submit` or `resume`, and is continued by `again`.
fn of_follow(error: Error, begins: bool, again: String) -> CommandError {
    let error = CommandError::from(error);
    if begins { CommandError::Following { error: Box::new(error), again } } else { error }
}

async fn until_known(api: &ApiClient, job: &JobId) {
    let again = |fault: &ApiError| match fault {
        ApiError::UnknownJob { .. } => Again::After(None),
        // The mirror retries and reports every other fault.
        _ => Again::Never,
    };
    // The mirror that follows polls again, and reports what is wrong by then.
    let _ = retry(UNTIL_KNOWN, || api.status(job), again, |_, _| {}).await;
}
