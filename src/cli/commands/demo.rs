//! `rcsync demo`: a simulated job, mirrored for real, with everything but an account and a network.

mod dataset;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::edge::folder::known::known;
use crate::engine;
use crate::engine::mirror::Mirror;
use crate::engine::outputs::hooks::HookPlan;
use crate::error::ExitStatus;

use super::super::backend::{self, Script};
use super::super::config::Talk;
use super::super::local_folder::ensure_folder;
use super::super::values::Format;
use super::equipment::Equipment;
use super::{Context, ls, sync, wait_for};

pub(super) fn run(
    context: &Context<'_>,
    dir: Option<PathBuf>,
    with_dataset: bool,
) -> Result<ExitStatus, CommandError> {
    let dir = dir.unwrap_or_else(|| PathBuf::from("rcsync-demo"));
    ensure_folder(&dir, "`demo` writes into")?;
    let dir = free_name(&dir);
    if with_dataset {
        if let Some(path) = &context.settings.sync.comfy.comfyui {
            pretend(path)?;
        }
        return dataset::run(context, &dir);
    }
    let mut options = context.settings.sync_options()?;
    // The job is over in half a minute: looking once a minute, as a real one deserves, would miss the show.
    options.interval = Some(Duration::from_secs(1));
    options.allow_private_hosts = true;
    if let Some(path) = &context.settings.sync.comfy.comfyui {
        pretend(path)?;
    }
    let followers = Equipment::settle(context.world, &context.settings)?.followers;
    wait_for(context.world, |signals| async move {
        let simulated = backend::simulate(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Script::Demo).await?;
        let place = shown(&dir.display().to_string());
        let words = context.settings.format == Format::Pretty;
        if words && context.settings.talk > Talk::Quiet {
            context.world.err.line(&format!("a simulated job on {}, mirrored into {place}", simulated.base));
        }
        let mirror = Mirror {
            api: simulated.client()?,
            job: simulated.job.clone(),
            dir: dir.clone(),
            options,
            followers,
            fleet: None,
        };
        let exit =
            sync::mirror(context, &signals, mirror, HookPlan::default(), None, "no later demo".to_owned())
                .await?;
        if words {
            let there = ls::words(&ls::document(&known(&dir)?), ls::digits(context), context.room());
            context.world.out.write(&there);
            context.world.out.line(&format!("next: `rcsync verify {place}` reads every byte again"));
        }
        Ok(exit)
    })
}

/// Makes an empty or new folder look like a ComfyUI, so that a demo needs none.
fn pretend(path: &Path) -> Result<(), CommandError> {
    let is_empty =
        std::fs::read_dir(path).map_or_else(|_| !path.exists(), |mut entries| entries.next().is_none());
    if is_empty {
        let loras = path.join("models").join("loras");
        engine::destination::folder::create(&loras)?;
    }
    Ok(())
}

/// Each demo is another server's job, so each gets a folder of its own: the wanted one, or the next that is free.
fn free_name(wanted: &Path) -> PathBuf {
    let is_free = |dir: &PathBuf| std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    let numbered = |number: u32| {
        let mut name = wanted.as_os_str().to_owned();
        name.push(format!("-{number}"));
        PathBuf::from(name)
    };
    let names = std::iter::once(wanted.to_path_buf()).chain((2..1000).map(numbered));
    names.into_iter().find(is_free).unwrap_or_else(|| wanted.to_path_buf())
}
