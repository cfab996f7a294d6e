//! What was meant: flag over environment over `config.toml` over default, as one complete set of choices.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::command_error::CommandError;
use crate::cli::config_sources;
use crate::cli::config_sources::Setting;
use crate::cli::process::Process;
use crate::cli::reporters::metrics;
use crate::cli::reporters::words;
use crate::decide::comfyui::loras::Weights;
use crate::decide::mirror::retention::Retention;
use crate::decide::mirror::select::Selection;
use crate::edge::comfyui;
use crate::engine::options::SyncOptions;
use crate::engine::outputs::comfyui::{ComfyOptions, ComfyUi};
use crate::engine::outputs::hooks::{BadHook, HookPlan};

use super::local_folder::ensure_folder;
use super::options::{FleetArgs, GlobalArgs, Layer as _, SyncArgs};
use super::values::{Format, ProgressWhen};

/// How much is written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Talk {
    /// Only errors.
    Quiet,
    /// What people want to know.
    #[default]
    Normal,
    /// Every step.
    Verbose,
}

/// The settings that hold for one command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Words or JSON.
    pub(crate) format: Format,
    /// Bars or not.
    pub(crate) progress: ProgressWhen,
    /// How much is written.
    pub(crate) talk: Talk,
    /// A file with the token.
    pub(crate) token_file: Option<PathBuf>,
    /// Options of `sync`, from all sources.
    pub(crate) sync: SyncArgs,
    /// Those among them that were typed, or that a list of jobs has for one of them.
    pub(crate) typed: SyncArgs,
    /// Options of `fleet`, from variables and the configuration file.
    pub(crate) fleet: FleetArgs,
    /// What was found outside the command line, first the variables.
    pub(crate) found: Vec<Setting>,
    /// Whether `-vv` asks for a log of every decision.
    pub(crate) logs_decisions: bool,
}

impl Settings {
    /// Lays the sources over each other.
    ///
    /// # Errors
    /// The first variable or line of the configuration file that is not valid.
    pub(crate) fn settle(world: &Process, global: GlobalArgs, sync: SyncArgs) -> Result<Self, CommandError> {
        let path = config_sources::file_path(world);
        let environment = config_sources::environment(world)?;
        let file =
            path.as_deref().map(|path| config_sources::file(world, path)).transpose()?.unwrap_or_default();
        let global = global.over(environment.global).over(file.global);
        Ok(Self {
            format: global.output.unwrap_or_default(),
            progress: global.progress.unwrap_or_default(),
            talk: match (global.quiet, global.verbose) {
                (true, _) => Talk::Quiet,
                (false, 0) => Talk::Normal,
                (false, _) => Talk::Verbose,
            },
            logs_decisions: !global.quiet && global.verbose > 1,
            token_file: global.token_file,
            typed: sync.clone(),
            sync: sync.over(environment.sync).over(file.sync),
            fleet: environment.fleet.over(file.fleet),
            found: environment.settings.into_iter().chain(file.settings).collect(),
        })
    }

    /// Whether the view is drawn on standard error.
    pub(crate) fn bars(&self, world: &Process) -> bool {
        let (out, err) = (&world.out, &world.err);
        // JSON and bars in one window would write over each other.
        let window_is_free = self.format == Format::Pretty || !out.is_terminal();
        match self.progress {
            ProgressWhen::Never => false,
            ProgressWhen::Always => true,
            ProgressWhen::Auto => {
                err.is_terminal() && !world.is_dumb() && window_is_free && self.talk > Talk::Quiet
            }
        }
    }

    /// Returns the hooks that events are reported to.
    ///
    /// # Errors
    /// A command or address that is none; it is not repeated, since it may hold a secret.
    pub(crate) fn hooks(&self) -> Result<HookPlan, CommandError> {
        let SyncArgs { exec, exec_done, webhook, hook_timeout, .. } = &self.sync;
        let limit = hook_timeout.unwrap_or(HOOK_LIMIT);
        HookPlan::new(exec.as_deref(), exec_done.as_deref(), webhook.as_deref(), limit).map_err(
            |BadHook { hook, why }| {
                let why = format!("`{}`: {why}", words::option(hook));
                CommandError::misused(why, "`rcsync help hooks` has examples")
            },
        )
    }

    /// Returns the choices for the engine.
    ///
    /// # Errors
    /// A pattern that is none, or an option whose work is not built yet.
    pub(crate) fn sync_options(&self) -> Result<SyncOptions, CommandError> {
        let given = &self.sync;
        given.metrics_file.as_deref().map_or(Ok(()), metrics::check)?;
        let selection = Selection::new(&given.only, &given.include, &given.exclude, &given.accept_unproven)
            .map_err(|error| CommandError::misused(error.to_string(), "`rcsync help choosing` has examples"))?
            .among(given.steps.clone(), given.last);
        let default = SyncOptions::default();
        Ok(SyncOptions {
            once: given.once,
            interval: given.interval,
            timeout: given.timeout,
            selection,
            connections: given.connections,
            limit_rate: given.limit_rate,
            retries: given.retries.unwrap_or(default.retries),
            stall_timeout: given.stall_timeout.unwrap_or(default.stall_timeout),
            dry_run: given.dry_run,
            min_free: given.min_free,
            allow_private_hosts: given.allow_private_hosts,
            on_change: given.on_change.unwrap_or(default.on_change),
            retention: given
                .keep_last
                .map(Retention::KeepLast)
                .or_else(|| given.keep_every.map(Retention::KeepEvery)),
            auto_resume: given.auto_resume.unwrap_or(default.auto_resume),
            resumed_after: default.resumed_after,
            gather: default.gather,
            portions: default.portions,
        })
    }
}

impl Settings {
    /// Returns the ComfyUI to place LoRAs in, found and described, where one was named.
    ///
    /// # Errors
    /// A path that is none.
    pub(crate) fn comfy_ui(&self, world: &Process) -> Result<Option<ComfyUi>, CommandError> {
        let given = &self.sync.comfy;
        let Some(path) = &given.comfyui else { return Ok(None) };
        ensure_folder(path, "`--comfyui` names")?;
        Ok(Some(ComfyUi::new(ComfyOptions {
            folder: comfyui::find(path, &world.surroundings())?,
            subdir: given.comfyui_subdir.clone().unwrap_or_default(),
            keep: given.comfyui_keep,
            link: given.comfyui_link.unwrap_or_default(),
            sidecars: given.comfyui_sidecars,
            weights: if given.comfyui_pickles { Weights::PicklesToo } else { Weights::Safetensors },
            url: given.comfyui_url.clone(),
        })))
    }
}

/// An upload of a LoRA over a slow line takes about that long; a command that needs more can be given more.
const HOOK_LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::process::{Stream, fake};
    use crate::model::artifact::ArtifactKind;

    const FILE: &str = "interval = '1m'\nretries = 9\nonly = 'samples'\nonce = true\nverbose = true\n";

    fn settle(variables: &[(&str, &str)], sync: SyncArgs, global: GlobalArgs) -> Settings {
        let variables: Vec<_> = variables.iter().copied().chain([("XDG_CONFIG_HOME", "/c")]).collect();
        let (mut world, ..) = fake::world(&variables);
        world.read_file = |_| Ok(FILE.to_owned());
        Settings::settle(&world, global, sync).unwrap()
    }

    #[test]
    #[cfg(unix)]
    fn flag_over_environment_over_file_over_default() {
        let flags = SyncArgs { interval: Some(Duration::from_secs(7)), no_once: true, ..SyncArgs::default() };
        let variables = [("RCSYNC_INTERVAL", "8s"), ("RCSYNC_RETRIES", "3"), ("RCSYNC_QUIET", "1")];
        let settings = settle(&variables, flags, GlobalArgs::default());
        let options = settings.sync_options().unwrap();
        assert_eq!(options.interval, Some(Duration::from_secs(7)), "flag");
        assert!(!options.once, "a flag takes back what the file sets");
        assert_eq!(options.retries, 3, "variable");
        assert_eq!(settings.talk, Talk::Quiet, "a variable's quiet beats the file's verbose");
        let path = crate::model::names::rel_path::RelPath::parse("config.yaml").unwrap();
        assert!(!options.selection.wants(ArtifactKind::Config, &path), "file");
        assert_eq!(options.stall_timeout, Duration::from_secs(30), "default");
    }

    #[test]
    fn without_anything_the_engine_s_defaults_hold() {
        let options = Settings::default().sync_options().unwrap();
        assert_eq!(format!("{options:?}"), format!("{:?}", SyncOptions::default()));
    }

    #[test]
    fn bars_are_for_terminals() {
        let (plain, terminal) = (fake::Written::default().stream(), fake::Written::default().terminal());
        let on = |format, progress, out: &Stream, err: &Stream, variables: &[(&str, &str)]| {
            let (mut world, ..) = fake::world(variables);
            (world.out, world.err) = (out.clone(), err.clone());
            Settings { format, progress, ..Settings::default() }.bars(&world)
        };
        let bars = |format, progress, out, err| on(format, progress, out, err, &[("TERM", "xterm")]);
        assert!(!on(Format::Pretty, ProgressWhen::Auto, &terminal, &terminal, &[("TERM", "dumb")]));
        assert!(bars(Format::Pretty, ProgressWhen::Auto, &terminal, &terminal));
        assert!(!bars(Format::Pretty, ProgressWhen::Auto, &terminal, &plain));
        assert!(!bars(Format::Json, ProgressWhen::Auto, &terminal, &terminal), "one window");
        assert!(bars(Format::Json, ProgressWhen::Auto, &plain, &terminal));
        assert!(bars(Format::Pretty, ProgressWhen::Always, &plain, &plain));
        assert!(!bars(Format::Pretty, ProgressWhen::Never, &terminal, &terminal));
    }
}
