//! What the mirror of a job needs beside the job and its folder, for one job and for each of many.

use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::command_error::CommandError;
use crate::cli::process::Process;
use crate::cli::reporters::json;
#[cfg(feature = "buckets")]
use crate::engine::bucket::hooks::BucketHooks;
use crate::engine::event::{Event, Reporter};
use crate::engine::follower::Follower;
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::outputs::gallery::Gallery;
use crate::engine::outputs::hooks::{HookPlan, Hooks};
use crate::engine::stop::Stop;
use crate::error::{Error, ExitStatus};
use crate::model::hook_event::EventId;
#[cfg(feature = "buckets")]
use crate::model::job::JobId;

use super::super::config::Settings;

/// Options, followers and hooks of one mirror.
pub(super) struct Equipment {
    pub(super) options: SyncOptions,
    pub(super) followers: Vec<Arc<dyn Follower>>,
    pub(super) hooks: HookPlan,
}

impl Equipment {
    /// Makes everything that the settings ask for.
    ///
    /// # Errors
    /// What cannot be done as it is set, before anything is fetched.
    pub(super) fn settle(world: &Process, settings: &Settings) -> Result<Self, CommandError> {
        let hooks = settings.hooks()?;
        let options = settings.sync_options()?;
        let mut followers: Vec<Arc<dyn Follower>> = Vec::new();
        if let Some(comfy) = settings.comfy_ui(world)? {
            followers.push(Arc::new(comfy));
        }
        followers.push(Arc::new(Gallery::default()));
        Ok(Self { options, followers, hooks })
    }
}

/// Which events hooks get for a bucket, and in which words.
#[cfg(feature = "buckets")]
pub(super) fn bucket_hooks(plan: HookPlan, job: &JobId, now: fn() -> Timestamp) -> Option<BucketHooks> {
    let job = job.clone();
    let wording = Box::new(move |event: &Event, id: &EventId| {
        json::line_with_id(event, &job, now(), id).unwrap_or_default()
    });
    (!plan.is_empty()).then_some(BucketHooks { plan, wording })
}

/// Mirrors, with hooks where there are any.
pub(super) async fn run(
    mut mirror: Mirror,
    hooks: HookPlan,
    now: fn() -> Timestamp,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
) -> Result<ExitStatus, Error> {
    if hooks.is_empty() {
        return mirror.run(reporter, stop).await;
    }
    let (job, dir) = (mirror.job.clone(), mirror.dir.clone());
    let wording = Box::new(move |event: &Event, id: &EventId| {
        json::line_with_id(event, &job, now(), id).unwrap_or_default()
    });
    let hooks = Hooks::new(hooks, mirror.job.clone(), wording, reporter, stop.clone());
    mirror.followers.push(hooks.clone());
    let ended = mirror.run(hooks.clone(), stop).await;
    hooks.finish(&dir).await;
    ended
}
