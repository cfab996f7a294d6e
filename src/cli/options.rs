//! The options of `sync` and those of every command, each defined once.
//!
//! The same definition reads the command line, the variables (`RCSYNC_<OPTION>`) and `config.toml`: a lower
//! source is written as options and read by the same parser (see [`crate::cli::config_sources`]). So every field says
//! whether it was given at all, and [`Layer::over`] lays one source over another.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::decide::comfyui::placing::Subdir;
use crate::decide::mirror::steps::Steps;
use crate::edge::system::link::LinkMode;
use crate::engine::options::OnChange;
use crate::model::artifact::ArtifactKind;
use crate::model::units::ByteCount;

use super::values::{self, Format, ProgressWhen};

/// One source of options over another: what is given in the higher one wins.
pub(crate) trait Layer: Sized {
    /// Whether it was given at all.
    fn is_given(&self) -> bool;

    /// Lays it over the same option of a lower source.
    #[must_use]
    fn over(self, lower: Self) -> Self {
        if self.is_given() { self } else { lower }
    }
}

impl<T> Layer for Option<T> {
    fn is_given(&self) -> bool {
        self.is_some()
    }
}

impl<T> Layer for Vec<T> {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl Layer for bool {
    fn is_given(&self) -> bool {
        *self
    }
}

/// Implements [`Layer`] for a group of options: each by itself, but for those `[together]`, which all come from one source:
/// a switch with what takes it back, and options that exclude each other.
macro_rules! layer {
    ($options:ident { $([$($together:ident),*],)* $($alone:ident),* $(,)? }) => {
        impl Layer for $options {
            fn is_given(&self) -> bool {
                $($(self.$together.is_given())||* ||)* $(self.$alone.is_given())||*
            }

            fn over(self, lower: Self) -> Self {
                $(
                    let are_given = $(self.$together.is_given())||*;
                    $(let $together = if are_given { self.$together } else { lower.$together };)*
                )*
                Self { $($($together,)*)* $($alone: self.$alone.over(lower.$alone),)* }
            }
        }
    };
}

/// Options of every command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct GlobalArgs {
    /// Read the token from this file when neither RUNCOMFY_TOKEN nor `runcomfy login` gives one.
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(crate) token_file: Option<PathBuf>,
    /// Text, or JSON for programs [default: pretty].
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "pretty|json",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub(crate) output: Option<Format>,
    /// Progress bars on standard error; auto draws them on a terminal [default: auto].
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "auto|always|never",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub(crate) progress: Option<ProgressWhen>,
    /// Only print errors.
    #[arg(short, long, global = true, overrides_with_all = ["quiet", "verbose", "no_quiet", "no_verbose"], help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Verbose output; twice (`-vv`) also logs every decision.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, overrides_with_all = ["quiet", "no_quiet", "no_verbose"], help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Override a `quiet` from a variable or the configuration file.
    #[arg(long, global = true, hide = true, overrides_with_all = ["quiet", "no_quiet"])]
    pub(crate) no_quiet: bool,
    /// Override a `verbose` from a variable or the configuration file.
    #[arg(long, global = true, hide = true, overrides_with_all = ["verbose", "no_verbose"])]
    pub(crate) no_verbose: bool,
}

impl GlobalArgs {
    /// Lays these over `lower`.
    #[must_use]
    pub(crate) fn over(self, lower: Self) -> Self {
        // Two ends of one scale: the highest source that sets either decides both.
        let says = self.quiet || self.verbose > 0;
        Self {
            quiet: self.quiet || (!says && !self.no_quiet && lower.quiet),
            verbose: if says || self.no_verbose { self.verbose } else { lower.verbose },
            no_quiet: self.no_quiet || lower.no_quiet,
            no_verbose: self.no_verbose || lower.no_verbose,
            token_file: self.token_file.or(lower.token_file),
            output: self.output.or(lower.output),
            progress: self.progress.or(lower.progress),
        }
    }
}

/// Options of `sync`, and of every `--follow`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct SyncArgs {
    /// One pass: poll, fetch what is new, exit. For cron.
    #[arg(long, overrides_with_all = ["once", "no_once"])]
    pub(crate) once: bool,
    /// Take back a `once` from a variable or the configuration file.
    #[arg(long, hide = true, overrides_with_all = ["once", "no_once"])]
    pub(crate) no_once: bool,
    /// Longest wait between two polls [default: paced by the training, 5s to 60s].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) interval: Option<Duration>,
    /// Stop following after this long (exit code 75) [default: never].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Only these kinds: checkpoints, samples, config [default: all].
    #[arg(long, value_name = "KIND,…", value_enum, value_delimiter = ',', hide_possible_values = true)]
    pub(crate) only: Vec<ArtifactKind>,
    /// Only files whose local path matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// No files whose local path matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Only these training steps, such as 1500,2000..3000,final: checkpoints and their samples. Both ends of a range
    /// are in it; `final` is the last checkpoint, and so is the end of `2000..`.
    #[arg(long, value_name = "STEPS")]
    pub(crate) steps: Option<Steps>,
    /// Only the newest N checkpoints. The final one is the newest, a pair counts as one.
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    pub(crate) last: Option<NonZeroU32>,
    /// Transfers in flight over all files, 1 to 256 [default: begins with 8, up to 96 while that pays].
    #[arg(long, value_name = "N", value_parser = values::connections)]
    pub(crate) connections: Option<NonZeroU16>,
    /// Bytes a second over all connections, such as 10M [default: no limit].
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_rate: Option<ByteCount>,
    /// Tries of one file without progress, in one pass [default: 5].
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(crate) retries: Option<u32>,
    /// End a connection after this long without a byte [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) stall_timeout: Option<Duration>,
    /// Print the plan; send, fetch and write nothing.
    #[arg(long, overrides_with_all = ["dry_run", "no_dry_run"])]
    pub(crate) dry_run: bool,
    /// Take back a `dry-run` from a variable or the configuration file.
    #[arg(long, hide = true, overrides_with_all = ["dry_run", "no_dry_run"])]
    pub(crate) no_dry_run: bool,
    /// Never let the disk under DIR fall below this [default: 1G, or 1 % where that is less].
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_free: Option<ByteCount>,
    /// Artifacts may come from private addresses, and over http.
    #[arg(long, overrides_with_all = ["allow_private_hosts", "no_allow_private_hosts"])]
    pub(crate) allow_private_hosts: bool,
    /// Take back an `allow-private-hosts` from a variable or the configuration file.
    #[arg(long, hide = true, overrides_with_all = ["allow_private_hosts", "no_allow_private_hosts"])]
    pub(crate) no_allow_private_hosts: bool,
    /// Publish matching checkpoints whose body does not match the hash in their header. May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) accept_unproven: Vec<String>,
    /// A hosted file got new bytes under an old name: keep the old ones beside it, or replace them [default: keep].
    #[arg(long, value_name = "keep|replace", value_enum, hide_possible_values = true)]
    pub(crate) on_change: Option<OnChange>,
    /// Resume a job that stopped before its last step, at most N times [N: 3 when omitted].
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "3", value_parser = values::count)]
    pub(crate) auto_resume: Option<u32>,
    /// Keep the newest N numbered checkpoints in DIR and remove older ones; the final one stays [default: keep all].
    #[arg(long, value_name = "N", conflicts_with = "keep_every", value_parser = values::at_least_one)]
    pub(crate) keep_last: Option<NonZeroU32>,
    /// Keep the numbered checkpoints whose step is a multiple of STEPS; the final one stays [default: keep all].
    #[arg(long, value_name = "STEPS", value_parser = values::steps_apart)]
    pub(crate) keep_every: Option<NonZeroU64>,
    /// How long a worker that does not write keeps its lease [default: 60s].
    #[arg(long, help_heading = "Buckets", value_name = "DURATION", value_parser = values::lease)]
    pub(crate) lease: Option<Duration>,
    /// No other rcsync writes to it: for a store that ignores conditions.
    #[arg(long, help_heading = "Buckets", overrides_with_all = ["sole_writer", "no_sole_writer"])]
    pub(crate) sole_writer: bool,
    /// Take back a `sole-writer` from a variable or the configuration file.
    #[arg(long, hide = true, overrides_with_all = ["sole_writer", "no_sole_writer"])]
    pub(crate) no_sole_writer: bool,
    /// The length of the parts of uploads, 5M to 5G [default: 5M].
    #[arg(long, help_heading = "Buckets", value_name = "SIZE", value_parser = values::part_size)]
    pub(crate) part_size: Option<ByteCount>,
    /// Into ComfyUI.
    #[command(flatten)]
    pub(crate) comfy: ComfyArgs,
    /// Run this after each published artifact, without a shell; {path}, {kind}, {step}, {sha256} and {job_id} are replaced within its arguments.
    #[arg(long, help_heading = "Hooks and monitoring", value_name = "CMD")]
    pub(crate) exec: Option<String>,
    /// Run this once at the end of the run; {exit_code}, {published}, {failed} and {job_id} are replaced.
    #[arg(long, help_heading = "Hooks and monitoring", value_name = "CMD")]
    pub(crate) exec_done: Option<String>,
    /// POST each `published`, a `stalled` and the last `done` event there, as JSON.
    #[arg(long, help_heading = "Hooks and monitoring", value_name = "URL")]
    pub(crate) webhook: Option<String>,
    /// Keep a Prometheus text file of this run up to date.
    #[arg(long, help_heading = "Hooks and monitoring", value_name = "PATH.prom")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// Longest run of one --exec or --exec-done command; then it is ended [default: 2m].
    #[arg(long, help_heading = "Hooks and monitoring", value_name = "DURATION", value_parser = values::duration)]
    pub(crate) hook_timeout: Option<Duration>,
}

layer!(SyncArgs {
    [once, no_once],
    [dry_run, no_dry_run],
    [allow_private_hosts, no_allow_private_hosts],
    [sole_writer, no_sole_writer],
    [keep_last, keep_every],
    interval,
    timeout,
    only,
    include,
    exclude,
    steps,
    last,
    connections,
    limit_rate,
    retries,
    stall_timeout,
    min_free,
    accept_unproven,
    on_change,
    auto_resume,
    lease,
    part_size,
    comfy,
    exec,
    exec_done,
    webhook,
    metrics_file,
    hook_timeout,
});

/// Options of `fleet`, beside those of `sync`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct FleetArgs {
    /// How many jobs poll and fetch at a time; all of them are followed [default: all].
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    pub(crate) jobs: Option<NonZeroU32>,
    /// Requests a second to the API over all jobs, such as 2/s; halved when the API asks for less [default: 4/s].
    #[arg(long, value_name = "N/s", value_parser = values::api_rate)]
    pub(crate) api_rate: Option<f64>,
}

layer!(FleetArgs { jobs, api_rate });

/// Options of everything that places LoRAs in a ComfyUI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "ComfyUI")]
pub(crate) struct ComfyArgs {
    /// Mirror finished LoRAs into this ComfyUI: its folder, a models or loras folder, an extra_model_paths.yaml, the
    /// folder of SwarmUI, A1111, Forge or StabilityMatrix, or any other folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) comfyui: Option<PathBuf>,
    /// The folder below its loras folder; {name} and {job_id} are filled in, `.` is none [default: {name}].
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) comfyui_subdir: Option<Subdir>,
    /// Keep the newest N LoRAs of the job there, and the final one; other files stay [default: all].
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(crate) comfyui_keep: Option<u32>,
    /// How files are placed; auto takes the first that works [default: auto].
    #[arg(long, value_name = "auto|reflink|hardlink|copy", value_enum, hide_possible_values = true)]
    pub(crate) comfyui_link: Option<LinkMode>,
    /// Put small files for LoRA managers beside each LoRA: its .sha256, a .civitai.info and an A1111-style .json.
    #[arg(long, overrides_with_all = ["comfyui_sidecars", "no_comfyui_sidecars"])]
    pub(crate) comfyui_sidecars: bool,
    /// Take back a `comfyui-sidecars` from a variable or the configuration file.
    #[arg(long, hide = true, overrides_with_all = ["comfyui_sidecars", "no_comfyui_sidecars"])]
    pub(crate) no_comfyui_sidecars: bool,
    /// Also place pickles (.pt, .ckpt …), whose loading can run code that is hidden in them; only for trainers that you
    /// trust. Never optimizer.pt.
    #[arg(long, overrides_with_all = ["comfyui_pickles", "no_comfyui_pickles"])]
    pub(crate) comfyui_pickles: bool,
    /// Take back a `comfyui-pickles` from a variable or the configuration file.
    #[arg(long, hide = true, overrides_with_all = ["comfyui_pickles", "no_comfyui_pickles"])]
    pub(crate) no_comfyui_pickles: bool,
    /// Ask a running ComfyUI, such as http://127.0.0.1:8188, whether it lists what was placed.
    #[arg(long, value_name = "URL", value_parser = values::server)]
    pub(crate) comfyui_url: Option<url::Url>,
}

layer!(ComfyArgs {
    [comfyui_sidecars, no_comfyui_sidecars],
    [comfyui_pickles, no_comfyui_pickles],
    comfyui,
    comfyui_subdir,
    comfyui_keep,
    comfyui_link,
    comfyui_url,
});
