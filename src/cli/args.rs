//! What can be typed: the commands, and nothing of what they mean.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::decide::datasets::BaseModel;
use crate::edge::api::requests::{GpuCount, GpuType};
use crate::model::units::ByteCount;

use super::options::{ComfyArgs, FleetArgs, GlobalArgs, SyncArgs};
use super::values;

const EXAMPLES: &str = "\
Examples:
  rcsync demo                             see it work: no account, no network
  export RUNCOMFY_TOKEN=…                 or: runcomfy login
  rcsync 5b9b8e8e-1c1f-4c53               mirror that job into ./<JOB_ID>
  rcsync 5b9b8e8e-1c1f-4c53 ~/loras/dog   … or into one of your choice
  rcsync 5b9b8e8e-1c1f-4c53 s3://b/dog    … or into a bucket
  rcsync 5b9b8e8e-1c1f-4c53 --once -q     one silent pass, for cron
  rcsync fleet jobs.txt 'loras/{name}'    many jobs in one process
  rcsync ls ~/loras/dog                   what is there, and how verified
  rcsync verify ~/loras/dog --repair      read every byte again, repair

Topics (`rcsync help TOPIC`):
  mirroring, cron, comfyui, choosing, job, datasets, buckets, fleets, hooks,
  json, exit-codes, configuration, troubleshooting

Exit codes:
  0 all is here and verified       1 the job failed, or something differs
  64 command line   65 refused     66 no such file    69 API unreachable
  73, 74 disk       75 try again   76 odd answer      77 token   78 settings
  130, 143 interrupted: `rcsync JOB DEST` continues where this one ended

Every option of `sync` also has a variable, RCSYNC_<OPTION>, and can be set in
~/.config/rcsync/config.toml. A flag has precedence over the variable, the
variable over the file.";

const SHORT_EXAMPLES: &str = "\
Examples:
  rcsync demo                       see it work: no account, no network
  rcsync 5b9b8e8e-1c1f-4c53 ~/dog   mirror that job until it ends
  rcsync ls ~/dog                   what is there, and how it was verified

`rcsync --help` has more, and the exit codes; `rcsync sync --help` all options.
`rcsync help mirroring` explains a topic; `rcsync --help` lists them.";

const STATUS_EXAMPLES: &str = "\
Examples:
  rcsync status JOB
  rcsync status JOB --output json | jq .percent";

const RESULT_EXAMPLES: &str = "\
Examples:
  rcsync result JOB                 what can be fetched
  rcsync result JOB --dir ~/dog     … and which files are here
  rcsync result JOB --peek          rank, base model, size, from the headers
  rcsync JOB ~/dog --steps 1500     then fetch the one you want";

const LS_EXAMPLES: &str = "\
Examples:
  rcsync ls ~/dog
  rcsync ls ~/dog --output json | jq -r '.files[].path'";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  rcsync doctor                     settings, token, API, disk, ComfyUI
  rcsync doctor JOB --dir ~/dog     … and that job, its hosts and that folder

Lines with PROBLEM end with the fix. The exit code is 0 even then.";

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
Examples (JOB is the job's id, its status_url or its result_url):
  rcsync sync JOB                              follow it, fetch what it saves
  rcsync sync JOB out --only checkpoints       only weights
  rcsync sync JOB out --exclude '*_0000?????.safetensors'
  rcsync sync JOB out --last 2                 the newest two checkpoints
  rcsync sync JOB out --dry-run                what would be fetched, and why
  rcsync sync JOB out --output json | jq -r 'select(.event==\"published\").path'
  */10 * * * *  rcsync sync JOB /data/lora --once    in a crontab";

const FLEET_EXAMPLES: &str = "\
Examples (JOBS is a file with one job id a line; `-` is standard input):
  rcsync fleet jobs.txt '/data/loras/{name}'        follow all of them
  rcsync fleet jobs.txt '/data/loras/{id}' --once   one pass over all, for cron
  printf '%s\\n' JOB1 JOB2 | rcsync fleet - '/data/loras/{name}'
  rcsync fleet add JOB1 JOB2 '/data/loras/{name}'   put jobs on the list …
  rcsync fleet '/data/loras/{name}'                 … and follow that list
  rcsync fleet ls '/data/loras/{name}'              jobs, states, what is here

A line of JOBS is `ID`, or `id=ID keep-last=3 comfyui=/path`, or a `#` comment.
The file is read again when it changes.

Options of `sync` hold for each job, and --connections, --limit-rate, --timeout
and --metrics-file for all of them together. It ends when all jobs are over,
with the worst code.";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  rcsync submit dog.yaml                          submit, print the job's id
  rcsync submit dog.yaml --dry-run                check all, send nothing
  rcsync submit dog.yaml --follow ./dog           … and mirror it until it ends
  rcsync submit dog.yaml --gpu-type HOPPER_141    on an H200 instead of an H100
  sed s/LR/1e-4/ t.yaml | rcsync submit -         from standard input

Options of `sync` are for --follow. With --output json, `submit` prints one
document; with --follow it prints events, one a line, the first is `submitted`.";

const EDIT_EXAMPLES: &str = "\
Examples (JOB is the job's id):
  rcsync edit JOB dog.yaml                 the job takes it when it is resumed
  rcsync edit JOB dog.yaml --resume        … at once";

const PRUNE_EXAMPLES: &str = "\
Examples:
  rcsync prune out --keep-last 3 --dry-run   what would go
  rcsync prune out --keep-last 3             the newest three stay
  rcsync prune out --keep-every 500          steps 500, 1000, 1500 … stay

What has no step in its name always stays: the final save, the optimizer, the
configuration; and all samples. Without a final save the newest stays too.
Files that were edited here are not touched. What is removed is not fetched
again; copies in ComfyUI stay.";

const DATASET_CHECK_EXAMPLES: &str = "\
Examples:
  rcsync dataset check dog-photos                     only the folder
  rcsync dataset check dog-photos --config dog.yaml   … and whether the two fit
  rcsync dataset check dog-photos --output json | jq -r '.findings[].path'

Exit codes: 0 no errors (there may be warnings), 65 errors, 66 no such folder.";

const DATASET_PUSH_EXAMPLES: &str = "\
Examples:
  rcsync dataset push dog-photos --name dog       check, send, wait until READY
  rcsync dataset push dog-photos --dry-run        what would be sent
  rcsync dataset push dog-photos --connections 8 --limit-rate 5M

The same command again sends the rest after a break, and what changed after a
change.";

const INIT_EXAMPLES: &str = "\
Examples:
  rcsync init dog --dataset dog-photos            dog.yaml, for FLUX.1-dev
  rcsync init dog --dataset dog-photos --model sdxl --trigger d0gx
  rcsync submit dog.yaml --dry-run                checks it, sends nothing";

const MIRROR_EXAMPLES: &str = "\
Examples:
  rcsync mirror out --comfyui ~/ComfyUI                    what is there now
  rcsync mirror out --comfyui ~/ComfyUI --watch            … and what comes
  rcsync mirror out --comfyui ~/ComfyUI --comfyui-keep 3   the newest three
  rcsync mirror out --comfyui ~/ComfyUI --again            what is gone too
  rcsync sync JOB out --comfyui ~/ComfyUI                  while it trains";

/// Mirrors a RunComfy AI Toolkit training job to disk while it trains: resumable, verified, never half a file.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "rcsync",
    version,
    after_help = SHORT_EXAMPLES,
    after_long_help = EXAMPLES,
    override_usage = "rcsync [OPTIONS] <JOB_ID> [DEST]\n       rcsync <COMMAND> …",
    disable_help_subcommand = true,
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
    /// Mirror many jobs in one process, each into a folder of its own.
    #[command(after_help = FLEET_EXAMPLES)]
    Fleet(Fleet),
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
    /// What is mirrored in a folder or bucket, and how each file was verified.
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
    /// Write a folder's index.html: samples, checkpoints, how training went. `sync` writes it too. For a folder that holds
    /// several mirrors, the page compares them.
    Gallery(Gallery),
    /// Folders of pictures, clips and captions to train on.
    Dataset(DatasetGroup),
    /// Write a commented AI Toolkit configuration to begin with.
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// A simulated training job, mirrored for real: no account, no network.
    Demo(Demo),
    /// The simulated Trainer API of the demo, left running for experiments.
    Simulate(Simulate),
    /// Check this machine, token, API and disk. Nothing secret in it.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual page.
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManPage),
    /// Explain a topic or a command.
    Help(HelpOf),
    /// Words for completion scripts.
    #[command(name = "__offer", hide = true)]
    Offer(Offer),
}

/// `sync`
#[derive(Debug, Clone, Args)]
pub(crate) struct Sync {
    /// The job, or its status_url or result_url.
    #[arg(value_name = "JOB_ID")]
    pub(crate) job: String,
    /// A folder, or s3://, gs:// or az:// with BUCKET/PREFIX; {id} and {name} are filled in [default: ./<JOB_ID>].
    #[arg(value_name = "DEST", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub(crate) options: SyncArgs,
}

/// `fleet`
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    mut_arg("connections", |option| option.help("Transfers in flight over all jobs, 1 to 256 [default: 32]")),
    override_usage = "rcsync fleet [OPTIONS] <JOBS|-> <DEST>\n       rcsync fleet [OPTIONS] <DEST>\n       rcsync fleet add <JOB_ID>… <DEST>\n       rcsync fleet ls <DEST>"
)]
pub(crate) struct Fleet {
    /// A command on the list of jobs.
    #[command(subcommand)]
    pub(crate) command: Option<FleetCommand>,
    /// A file with one job a line, or `-`; omitted, the jobs of `fleet add`.
    #[arg(value_name = "JOBS|-", value_hint = ValueHint::FilePath, required = true)]
    pub(crate) jobs_or_dest: Option<String>,
    /// Where to, with `{id}` or `{name}` in it.
    #[arg(value_name = "DEST")]
    pub(crate) dest: Option<String>,
    /// How all of them.
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
    /// How each of them.
    #[command(flatten)]
    pub(crate) options: SyncArgs,
}

/// What can be done with a fleet's list.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum FleetCommand {
    /// Put jobs below DEST, for `rcsync fleet DEST` to follow; it may run already.
    Add(FleetAdd),
    /// List jobs and mirrors, with their states.
    Ls(FleetLs),
}

/// `fleet add`
#[derive(Debug, Clone, Args)]
#[command(override_usage = "rcsync fleet add [OPTIONS] <JOB_ID>… <DEST>")]
pub(crate) struct FleetAdd {
    /// The jobs, and last of all the DEST of the fleet.
    #[arg(value_names = ["JOB_ID", "DEST"], num_args = 2.., required = true)]
    pub(crate) jobs_and_dest: Vec<String>,
    /// What is different for these jobs, such as `keep-last=3`. May be repeated.
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `fleet ls`
#[derive(Debug, Clone, Args)]
pub(crate) struct FleetLs {
    /// The DEST of the fleet.
    #[arg(value_name = "DEST")]
    pub(crate) dest: String,
}

/// `submit`
#[derive(Debug, Clone, Args)]
pub(crate) struct Submit {
    /// The AI Toolkit configuration; `-` reads standard input.
    #[arg(value_name = "CONFIG.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// The machine: ADA_80_PLUS (also H100), or HOPPER_141 (also H200).
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        default_value = "ADA_80_PLUS",
        value_name = "ADA_80_PLUS|HOPPER_141",
        hide_possible_values = true
    )]
    pub(crate) gpu_type: GpuType,
    /// 1, or 8 with ADA_80_PLUS [default: 1].
    #[arg(long, value_name = "1|8", value_parser = values::gpu_count(), hide_possible_values = true)]
    pub(crate) gpu_count: Option<GpuCount>,
    /// A GPU's id, passed on as it is.
    #[arg(long, value_name = "ID")]
    pub(crate) gpu_id: Option<String>,
    /// Check this folder, send it into the configuration's dataset and wait until that is READY, before the job is
    /// submitted. Several folders, as for control images: NAME=FOLDER each.
    #[arg(long, value_name = "[NAME=]FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) dataset: Vec<String>,
    /// Send it in spite of errors.
    #[arg(long)]
    pub(crate) force: bool,
    /// Mirror the job until it ends, into a folder or bucket [DEST: ./<JOB_ID> when omitted].
    #[arg(long, value_name = "DEST", value_hint = ValueHint::DirPath, num_args = 0..=1)]
    pub(crate) follow: Option<Option<PathBuf>>,
    /// How.
    #[command(flatten)]
    pub(crate) options: SyncArgs,
}

/// A command on a job.
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
    /// Report of each artifact whether it is in this folder, and how it was verified.
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
    /// Mirror the job until it ends, into a folder or bucket [DEST: ./<JOB_ID> when omitted].
    #[arg(long, value_name = "DEST", value_hint = ValueHint::DirPath, num_args = 0..=1)]
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
    /// Send it in spite of errors.
    #[arg(long)]
    pub(crate) force: bool,
}

/// A command on a mirror.
#[derive(Debug, Clone, Args)]
pub(crate) struct Folder {
    /// The folder or bucket that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// `verify`
#[derive(Debug, Clone, Args)]
pub(crate) struct Verify {
    /// The folder or bucket that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Fetch what is bad or missing: only bad blocks, where the host still has the same bytes.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Only for a bucket: compare lengths and tags, and read no file.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) listed: bool,
}

/// `prune`
#[derive(Debug, Clone, Args)]
pub(crate) struct Prune {
    /// The folder or bucket that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Keep the newest N numbered checkpoints.
    #[arg(long, value_name = "N", conflicts_with = "keep_every", value_parser = values::at_least_one)]
    pub(crate) keep_last: Option<NonZeroU32>,
    /// Keep the numbered checkpoints whose step is a multiple of STEPS.
    #[arg(long, value_name = "STEPS", value_parser = values::steps_apart)]
    pub(crate) keep_every: Option<NonZeroU64>,
    /// Print what would be removed; remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mirror`
#[derive(Debug, Clone, Args)]
pub(crate) struct MirrorTo {
    /// The folder or bucket that a job was mirrored into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Continue as files arrive, from this machine or another, until Ctrl-C.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Also place what was moved, renamed or deleted in ComfyUI.
    #[arg(long)]
    pub(crate) again: bool,
    /// Where to, and how.
    #[command(flatten)]
    pub(crate) comfy: ComfyArgs,
}

/// `gallery`
#[derive(Debug, Clone, Args)]
pub(crate) struct Gallery {
    /// The folder or bucket that a job was mirrored into, or a folder or prefix with several mirrors below it.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Open it in the browser.
    #[arg(long)]
    pub(crate) open: bool,
}

/// `dataset`
#[derive(Debug, Clone, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct DatasetGroup {
    /// What to do with it.
    #[command(subcommand)]
    pub(crate) command: DatasetCommand,
}

/// The commands of `dataset`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Check whether AI Toolkit can train on a folder. Reads every file whole; no network.
    #[command(after_help = DATASET_CHECK_EXAMPLES)]
    Check(DatasetCheck),
    /// Check a folder, send what is missing or changed, and wait until the dataset is READY.
    #[command(after_help = DATASET_PUSH_EXAMPLES)]
    Push(DatasetPush),
    /// Status and files of a dataset.
    Status(DatasetStatusOf),
    /// The datasets of the account.
    Ls,
    /// Delete a dataset and all its files permanently.
    Rm(DatasetRemove),
}

/// Which files of a folder belong to the dataset.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DatasetFiles {
    /// The extension of captions [default: that of the configuration, where there is one, else txt].
    #[arg(long, value_name = "EXT", value_parser = values::extension)]
    pub(crate) caption_ext: Option<String>,
    /// Only files whose name matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// No files whose name matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
}

/// `dataset check`
#[derive(Debug, Clone, Args)]
pub(crate) struct DatasetCheck {
    /// The folder of pictures, clips and captions.
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Check the folder and this configuration against each other; `-` reads standard input.
    #[arg(long, value_name = "CONFIG.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The dataset's name [default: from --config, else the folder's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Which files.
    #[command(flatten)]
    pub(crate) files: DatasetFiles,
}

/// `dataset push`
#[derive(Debug, Clone, Args)]
pub(crate) struct DatasetPush {
    /// The folder of pictures, clips and captions.
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// The dataset's name [default: from --config, else the folder's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Check the folder and this configuration against each other; `-` reads standard input.
    #[arg(long, value_name = "CONFIG.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Files that are sent at a time, 1 to 256 [default: 4].
    #[arg(long, value_name = "N", value_parser = values::connections)]
    pub(crate) connections: Option<NonZeroU16>,
    /// Bytes a second over all files, such as 10M [default: no limit].
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_rate: Option<ByteCount>,
    /// Tries of one file [default: 5].
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(crate) retries: Option<u32>,
    /// Print what would be sent; send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// End when all is sent; do not wait until the dataset is READY.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait for READY this long, then end with 75 [default: 30m].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Send it in spite of errors.
    #[arg(long)]
    pub(crate) force: bool,
    /// Which files.
    #[command(flatten)]
    pub(crate) files: DatasetFiles,
}

/// `dataset status`
#[derive(Debug, Clone, Args)]
pub(crate) struct DatasetStatusOf {
    /// The dataset's name or id.
    #[arg(value_name = "NAME|ID")]
    pub(crate) dataset: String,
    /// Compare its files with those of this folder, by name and length (exit code 1 when they differ).
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) against: Option<PathBuf>,
    /// Which files.
    #[command(flatten)]
    pub(crate) files: DatasetFiles,
}

/// `dataset rm`
#[derive(Debug, Clone, Args)]
pub(crate) struct DatasetRemove {
    /// The dataset's name or id.
    #[arg(value_name = "NAME|ID")]
    pub(crate) dataset: String,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `init`
#[derive(Debug, Clone, Args)]
pub(crate) struct Init {
    /// The job's name; the configuration is written to NAME.yaml.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The folder of pictures, clips and captions to train on.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) dataset: PathBuf,
    /// The base model.
    #[arg(long, value_enum, value_name = "MODEL", default_value = "flux")]
    pub(crate) model: BaseModel,
    /// The trigger word of what is trained; it replaces `[trigger]` in captions and prompts.
    #[arg(long, value_name = "WORD")]
    pub(crate) trigger: Option<String>,
    /// Write to this file instead; `-` prints to standard output.
    #[arg(long, value_name = "CONFIG.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) to: Option<PathBuf>,
}

/// `demo`
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// Where to [default: ./rcsync-demo, or the next free name].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Also the way there: drawn pictures are checked, sent and trained on.
    #[arg(long)]
    pub(crate) dataset: bool,
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
    /// Check this folder, its disk and its lock; or a bucket.
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

/// `help`
#[derive(Debug, Clone, Args)]
pub(crate) struct HelpOf {
    /// A command, or one of: mirroring, cron, comfyui, choosing, job, datasets, buckets, fleets, hooks, json, exit-codes,
    /// configuration, troubleshooting.
    #[arg(value_name = "TOPIC|COMMAND")]
    pub(crate) words: Vec<String>,
}

/// `__offer`
#[derive(Debug, Clone, Args)]
pub(crate) struct Offer {
    /// Of which kind.
    #[arg(value_enum)]
    pub(crate) kind: Offered,
}

/// What is offered to a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Offered {
    /// The jobs of the mirrors here.
    Jobs,
    /// The steps of their files.
    Steps,
    /// The paths of their files.
    Files,
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

    #[test]
    fn no_help_is_wider_than_a_terminal() {
        fn check(command: &mut clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for help in [command.render_help(), command.render_long_help()] {
                for line in help.to_string().lines() {
                    assert!(line.chars().count() <= 100, "{path}: {line}");
                }
            }
            // Examples are columns: a window of 80 must not break them.
            for text in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
                for line in text.to_string().lines() {
                    assert!(line.chars().count() < 80, "{path}: {line}");
                }
            }
            let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            for name in names {
                command.find_subcommand_mut(&name).into_iter().for_each(|sub| check(sub, &path));
            }
        }
        let mut program = Cli::command();
        program.build();
        check(&mut program, "");
    }

    #[test]
    fn every_topic_is_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        for topic in crate::cli::topics::TOPICS {
            assert!(help.contains(topic.name), "{}: {help}", topic.name);
        }
    }
}
