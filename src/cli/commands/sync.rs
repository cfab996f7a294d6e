//! `rcsync sync`: mirror a job until it ends.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::backend;
use super::super::exit::Signals;
use super::super::render::Telling;
use super::{Context, wait_for};
use crate::engine::Mirror;
use crate::engine::follower::Follower;
use crate::engine::gallery::Gallery;
use crate::error::{Error, ExitStatus};

pub(super) fn run(context: &Context<'_>, job: &str, dir: Option<PathBuf>) -> Result<ExitStatus, Error> {
    let options = context.settings.sync_options()?;
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(job, &base)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let dir = dir.unwrap_or_else(|| PathBuf::from(job.as_str()));
    let followers = followers(context);
    wait_for(context.world, |signals| async move {
        mirror(context, &signals, Mirror { api, job, dir, options, followers }).await
    })
}

/// Returns whoever does something with what is published, as the settings want it.
pub(super) fn followers(_context: &Context<'_>) -> Vec<Arc<dyn Follower>> {
    vec![Arc::new(Gallery::default())]
}

/// Mirrors, and tells about it as the settings want it.
pub(super) async fn mirror(
    context: &Context<'_>,
    signals: &Signals,
    mirror: Mirror,
) -> Result<ExitStatus, Error> {
    let telling = Telling::new(context.world, &context.settings, &mirror.job, signals);
    let ended = mirror.run(telling.clone(), signals.stop.clone()).await;
    telling.end();
    ended
}
