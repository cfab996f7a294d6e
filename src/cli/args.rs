//! What can be typed: the commands, and nothing of what they mean.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::edge::api::requests::GpuCount;

use super::options::{ComfyArgs, GlobalArgs, SyncArgs};
use super::values::{self, GpuType};

const EXAMPLES: &str = "\
Examples:
  rcsync demo                             see it work: no account, no network
  export RUNCOMFY_TOKEN=…                 or: runcomfy login
  rcsync 5b9b8e8e-1c1f-4c53               mirror that job into a folder of its name
  rcsync 5b9b8e8e-1c1f-4c53 ~/loras/dog   … or into one of your choice
  rcsync 5b9b8e8e-1c1f-4c53 --once -q     one silent pass, for cron
  rcsync ls ~/loras/dog                   what is there, and how it was proven
  rcsync verify ~/loras/dog               read every byte again; --repair mends

Exit codes:
  0 all is here and verified       1 the job failed, or something differs
  64 command line   65 refused     66 no such file    69 API unreachable
  73, 74 disk       75 try again   76 odd answer      77 token   78 settings
  130, 143 interrupted: `rcsync JOB DIR` goes on where this one ended

Every option of `sync` also has a variable, RCSYNC_<OPTION>, and may stand in
~/.config/rcsync/config.toml. A flag beats the variable, the variable the file.";

const SHORT_EXAMPLES: &str = "\
Examples:
  rcsync demo                       see it work: no account, no network
  rcsync 5b9b8e8e-1c1f-4c53 ~/dog   mirror that job until it ends
  rcsync ls ~/dog                   what is there, and how it was proven

`rcsync --help` has more, and the exit codes; `rcsync sync --help` all options.";

const STATUS_EXAMPLES: &str = "\
Examples:
  rcsync status JOB
  rcsync status JOB --output json | jq .percent";

const RESULT_EXAMPLES: &str = "\
Examples:
  rcsync result JOB                 what can be fetched
  rcsync result JOB --dir ~/dog     … and what of it is here
  rcsync result JOB --peek          rank, base model and size from the headers alone
  rcsync JOB ~/dog --steps 1500     then fetch the one you want";

const LS_EXAMPLES: &str = "\
Examples:
  rcsync ls ~/dog
  rcsync ls ~/dog --output json | jq -r '.files[] | select(.kind==\"checkpoint\").path'";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  rcsync doctor                     settings and where they come from, token, API, disk
  rcsync doctor JOB --dir ~/dog     … and that job, its hosts and that folder";

const COMPLETIONS_EXAMPLES: &str = "\
Where they go:
  bash (with its bash-completion package):
    mkdir -p ~/.local/share/bash-completion/completions
    rcsync completions bash > ~/.local/share/bash-completion/completions/rcsync
  zsh (and in ~/.zshrc, before compinit: fpath+=~/.zfunc):
    mkdir -p ~/.zfunc; rcsync completions zsh > ~/.zfunc/_rcsync
  fish:
    mkdir -p ~/.config/fish/completions
    rcsync completions fish > ~/.config/fish/completions/rcsync.fish
  PowerShell (in $PROFILE):
    rcsync completions powershell | Out-String | Invoke-Expression";

const MAN_EXAMPLES: &str = "\
Examples:
  rcsync man | man -l -
  rcsync man > ~/.local/share/man/man1/rcsync.1
  rcsync man result > ~/.local/share/man/man1/rcsync-result.1";

const SYNC_EXAMPLES: &str = "\
Examples (JOB stands for the job's id, its status_url or its result_url):
  rcsync sync JOB                              follow it, fetch what it saves
  rcsync sync JOB out --only checkpoints       weights alone
  rcsync sync JOB out --exclude '*_0000?????.safetensors'
  rcsync sync JOB out --last 2                 the newest two checkpoints
  rcsync sync JOB out --dry-run                what would be fetched, and why
  rcsync sync JOB out --output json | jq -r 'select(.event==\"published\").path'
  */10 * * * *  rcsync sync JOB /data/lora --once     a crontab: mails news alone";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  rcsync submit dog.yaml --gpu-type H100                     submit, and print the job's id
  rcsync submit dog.yaml --gpu-type H100 --dry-run           check everything, send nothing
  rcsync submit dog.yaml --gpu-type H100 --follow ./dog --auto-resume
                                                             … and mirror it until it ends
  sed s/LR/1e-4/ t.yaml | rcsync submit - --gpu-type H200    from standard input

Options of `sync` are for --follow. With --output json, `submit` prints one document; with --follow it
prints events, one a line, of which the first is `submitted`.";

const EDIT_EXAMPLES: &str = "\
Examples (JOB stands for the job's id):
  rcsync edit JOB dog.yaml                 the job takes it when it is resumed
  rcsync edit JOB dog.yaml --resume        … at once
  rcsync edit JOB dog.yaml --watch         check it at every save, and send it when the job takes it";

const PRUNE_EXAMPLES: &str = "\
Examples:
  rcsync prune out --keep-last 3 --dry-run   what would go
  rcsync prune out --keep-last 3             the newest three stay
  rcsync prune out --keep-every 500          steps 500, 1000, 1500 … stay

What has no step in its name always stays: the final save, the optimizer, the
configuration, and samples anyway. While there is no final save, so does the
newest. What was edited here is not touched. What is removed is not fetched
again; copies in ComfyUI stay.";

const MIRROR_EXAMPLES: &str = "\
Examples:
  rcsync mirror out --comfyui ~/ComfyUI                    what is there now
  rcsync mirror out --comfyui ~/ComfyUI --watch            … and what comes
  rcsync mirror out --comfyui ~/ComfyUI --comfyui-keep 3   the newest three
  rcsync sync JOB out --comfyui ~/ComfyUI                  while it trains";

/// Mirrors a RunComfy AI Toolkit training job to disk while it trains: resumable, proven, never half a file.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "rcsync",
    version,
    after_help = SHORT_EXAMPLES,
    after_long_help = EXAMPLES,
    override_usage = "rcsync [OPTIONS] <JOB_ID> [DIR]\n       rcsync <COMMAND> …",
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Mirror a job until it ends (also without the word `sync`).
    #[command(after_help = SYNC_EXAMPLES)]
    Sync(Sync),
    /// Submit a training job.
    #[command(after_help = SUBMIT_EXAMPLES)]
    Submit(Submit),
    /// One look at a job's status and progress.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Job),
    /// What a job offers now: one row an artifact.
    #[command(after_help = RESULT_EXAMPLES)]
    Result(ResultOf),
    /// Cancel a job that waits or trains.
    Cancel(Job),
    /// Resume a job that ended, from its latest checkpoint.
    Resume(Resume),
    /// Give a job that has ended a new configuration.
    #[command(after_help = EDIT_EXAMPLES)]
    Edit(Edit),
    /// What is mirrored in a folder, and how each file was proven.
    #[command(after_help = LS_EXAMPLES)]
    Ls(Folder),
    /// Read every mirrored byte again and compare.
    Verify(Verify),
    /// Remove mirrored checkpoints by rule.
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(Prune),
    /// Mirror finished LoRAs of a folder into ComfyUI.
    #[command(after_help = MIRROR_EXAMPLES)]
    Mirror(MirrorTo),
    /// Write a folder's index.html: samples, checkpoints, how training went. `sync` does it by itself.
    Gallery(Gallery),
    /// A simulated training job, mirrored for real: no account, no network.
    Demo(Demo),
    /// The simulated Trainer API of the demo, left running for experiments.
    Simulate(Simulate),
    /// What this machine, token, API and disk look like from here. Nothing secret in it.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual page.
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManPage),
}

/// `sync`
#[derive(Debug, Clone, Args)]
pub(crate) struct Sync {
    /// The job, or its status_url or result_url.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: String,
    /// Where to; created when it is not there [default: ./<JOB_ID>].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub(crate) options: SyncArgs,
}

/// `submit`
#[derive(Debug, Clone, Args)]
pub(crate) struct Submit {
    /// The AI Toolkit configuration; `-` reads standard input.
    #[arg(value_name = "CONFIG.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// The machine: ADA_80_PLUS, or H100 as the web page calls it; HOPPER_141, or H200.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "ADA_80_PLUS|HOPPER_141",
        hide_possible_values = true
    )]
    pub(crate) gpu_type: GpuType,
    /// 1, or 8 with ADA_80_PLUS.
    #[arg(long, value_parser = values::gpu_count())]
    pub(crate) gpu_count: Option<GpuCount>,
    /// A GPU's id, passed on as it is.
    #[arg(long, value_name = "ID")]
    pub(crate) gpu_id: Option<String>,
    /// Send it although a check says that it cannot train.
    #[arg(long)]
    pub(crate) force: bool,
    /// Mirror the job until it ends [DIR: ./<JOB_ID> when left away].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 0..=1)]
    pub(crate) follow: Option<Option<PathBuf>>,
    /// How.
    #[command(flatten)]
    pub(crate) options: SyncArgs,
}

/// A command with a job alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct Job {
    /// The job, or its status_url or result_url.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: String,
}

/// `result`
#[derive(Debug, Clone, Args)]
pub(crate) struct ResultOf {
    /// The job, or its status_url or result_url.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: String,
    /// Say of each artifact whether it is in this folder, and how it was proven.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Read the headers of the checkpoints, a few KiB of each: rank, element type, base model, trigger words, size.
    #[arg(long)]
    pub(crate) peek: bool,
}

/// `resume`
#[derive(Debug, Clone, Args)]
pub(crate) struct Resume {
    /// The job, or its status_url or result_url.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: String,
    /// Mirror the job until it ends [DIR: ./<JOB_ID> when left away].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 0..=1)]
    pub(crate) follow: Option<Option<PathBuf>>,
    /// How.
    #[command(flatten)]
    pub(crate) options: SyncArgs,
}

/// `edit`
#[derive(Debug, Clone, Args)]
pub(crate) struct Edit {
    /// The job, or its status_url or result_url.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: String,
    /// The new configuration; `-` reads standard input.
    #[arg(value_name = "CONFIG.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Resume the job afterwards.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Send it although a check says that it cannot train.
    #[arg(long)]
    pub(crate) force: bool,
    /// Go on: check the file whenever it is saved, and send it when the job takes it.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// A command with a folder alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct Folder {
    /// The folder that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// `verify`
#[derive(Debug, Clone, Args)]
pub(crate) struct Verify {
    /// The folder that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Fetch what is bad or missing: bad blocks alone, where the host still has the same bytes.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Of a bucket: compare lengths and tags alone, and read nothing.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) listed: bool,
}

/// `prune`
#[derive(Debug, Clone, Args)]
pub(crate) struct Prune {
    /// The folder that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Keep the newest N numbered checkpoints.
    #[arg(long, value_name = "N", conflicts_with = "keep_every", value_parser = values::at_least_one)]
    pub(crate) keep_last: Option<NonZeroU32>,
    /// Keep the numbered checkpoints whose step so many divide.
    #[arg(long, value_name = "STEPS", value_parser = values::steps_apart)]
    pub(crate) keep_every: Option<NonZeroU64>,
    /// Say what would be removed; remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mirror`
#[derive(Debug, Clone, Args)]
pub(crate) struct MirrorTo {
    /// The folder that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Go on as files come, from this machine or another, until Ctrl-C.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Where to, and how.
    #[command(flatten)]
    pub(crate) comfy: ComfyArgs,
}

/// `gallery`
#[derive(Debug, Clone, Args)]
pub(crate) struct Gallery {
    /// The folder that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Show it in the browser.
    #[arg(long)]
    pub(crate) open: bool,
}

/// `demo`
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// Where to [default: ./rcsync-demo, or the next free name].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Into ComfyUI too.
    #[command(flatten)]
    pub(crate) comfy: ComfyArgs,
}

/// `simulate`
#[derive(Debug, Clone, Args)]
pub(crate) struct Simulate {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = values::address)]
    pub(crate) listen: SocketAddr,
}

/// `doctor`
#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    /// Ask the API about this job too.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: Option<String>,
    /// Look at the disk under this folder.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

/// `man`
#[derive(Debug, Clone, Args)]
pub(crate) struct ManPage {
    /// The page of this command, instead of the one of all.
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

/// `completions`
#[derive(Debug, Clone, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        for word in ["sync", "submit", "status", "result", "cancel", "resume", "edit", "mirror", "prune"] {
            assert!(help.contains(&format!("\n  {word}")), "{word}: {help}");
        }
    }
}
