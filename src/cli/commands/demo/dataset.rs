//! `rcsync demo --dataset`: from a folder of pictures to a LoRA, by the very command that a user types, against a
//! simulated account.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::backend::{self, API_BASE, Account};
use crate::cli::command_error::CommandError;
use crate::cli::commands::Context;
use crate::cli::config::Talk;
use crate::cli::format::shown;
use crate::cli::options::ComfyArgs;
use crate::cli::process::Process;
use crate::cli::values::{Format, ProgressWhen};
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::engine;
use crate::error::ExitStatus;
use crate::simulator::picture;

/// Enough for a bar to move, few enough for half a minute.
const PICTURES: u64 = 12;

/// What models train on.
const SIDE: u16 = 512;

const CONFIG: &str = "\
job: extension
config:
  name: demo_dog
  process:
    - type: sd_trainer
      training_folder: /app/ai-toolkit/output
      trigger_word: ohwx
      network:
        type: lora
        linear: 16
        linear_alpha: 16
      save:
        save_every: 100
        max_step_saves_to_keep: 2
      datasets:
        - folder_path: /app/ai-toolkit/datasets/demo_dog
          caption_ext: txt
          resolution: [512]
      train:
        steps: 600
      model:
        name_or_path: black-forest-labs/FLUX.1-dev
        arch: flux
      sample:
        sample_every: 200
        prompts:
          - a photo of ohwx dog on a beach
          - ohwx dog as a watercolour painting
";

/// Runs it in `dir`, which is new or empty.
pub(super) fn run(context: &Context<'_>, dir: &Path) -> Result<ExitStatus, CommandError> {
    let (photos, config, lora) = (dir.join("photos"), dir.join("dog.yaml"), dir.join("lora"));
    engine::destination::folder::create(&photos)?;
    for number in 1..=PICTURES {
        let write = |name: String, bytes: &[u8]| {
            disk::replace(&photos.join(name), &photos, bytes, Durability::Hopeful)
        };
        write(format!("dog_{number:02}.jpg"), &picture(number, SIDE))?;
        write(
            format!("dog_{number:02}.txt"),
            format!("a photo of [trigger] dog, number {number}").as_bytes(),
        )?;
    }
    disk::replace(&config, dir, CONFIG.as_bytes(), Durability::Hopeful)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(fault("start the threads of", Path::new("the simulated account")))?;
    let account = runtime.block_on(backend::simulate_account(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    let world = inner_world(context.world, &account);
    let words = context.settings.format == Format::Pretty && context.settings.talk > Talk::Quiet;
    let place = |path: &Path| shown(&path.display().to_string());
    if words {
        let err = &context.world.err;
        err.line(&format!(
            "a simulated account on {}, and {PICTURES} drawn pictures in {}",
            account.base,
            place(&photos)
        ));
        err.line(&format!(
            "$ rcsync submit {} --dataset {} --follow {} --auto-resume",
            place(&config),
            place(&photos),
            place(&lora)
        ));
    }
    let exit = crate::cli::run(arguments(context, &config, &photos, &lora), &world);
    if words && exit == ExitStatus::Complete {
        let next =
            format!("next: `rcsync gallery {} --open` shows what it drew while it trained", place(&lora));
        context.world.out.line(&next);
    }
    drop(account);
    runtime.shutdown_background();
    Ok(exit)
}

fn arguments(context: &Context<'_>, config: &Path, photos: &Path, lora: &Path) -> Vec<OsString> {
    let mut typed: Vec<OsString> = ["rcsync", "submit"].map(OsString::from).into();
    typed.push(config.into());
    for (option, value) in [("--dataset", photos), ("--follow", lora)] {
        typed.extend([option.into(), value.into()]);
    }
    // The job is over in half a minute: once a minute, as a real one is polled, would miss the show.
    typed.extend(["--interval", "1s", "--auto-resume"].map(OsString::from));
    let settings = &context.settings;
    if settings.format == Format::Json {
        typed.extend(["--output", "json"].map(OsString::from));
    }
    let progress = match settings.progress {
        ProgressWhen::Auto => None,
        ProgressWhen::Always => Some("--progress=always"),
        ProgressWhen::Never => Some("--progress=never"),
    };
    typed.extend(progress.map(OsString::from));
    let talk = match settings.talk {
        Talk::Quiet => Some("--quiet"),
        Talk::Normal => None,
        Talk::Verbose => Some("--verbose"),
    };
    typed.extend(talk.map(OsString::from));
    let ComfyArgs { comfyui, comfyui_sidecars, .. } = &settings.sync.comfy;
    if let Some(path) = comfyui {
        typed.extend([OsString::from("--comfyui"), PathBuf::from(path).into()]);
    }
    if *comfyui_sidecars {
        typed.push("--comfyui-sidecars".into());
    }
    typed
}

/// The same surroundings, with the simulated account in the place of the user's, and without their settings.
fn inner_world(world: &Process, account: &Account) -> Process {
    let (base, token) = (account.base.clone(), account.token.clone());
    let outer = Arc::clone(&world.variable);
    let variable = move |name: &str| match name {
        API_BASE => Some(OsString::from(&base)),
        "RUNCOMFY_TOKEN" => Some(OsString::from(&token)),
        "HOME" | "XDG_CONFIG_HOME" | "XDG_STATE_HOME" | "APPDATA" | "LOCALAPPDATA" | "USERPROFILE" => None,
        name if name.starts_with("RCSYNC_") || name.starts_with("RUNCOMFY_") => None,
        name => outer(name),
    };
    Process { variable: Arc::new(variable), variables: Arc::new(Vec::new), ..world.clone() }
}
