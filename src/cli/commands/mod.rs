//! One file a command: each puts together what the other rooms do.

mod cancel;
mod change;
mod completions;
mod demo;
mod doctor;
mod edit;
mod gallery;
mod ls;
mod man;
mod mirror;
mod prune;
mod result;
mod resume;
mod simulate;
mod status;
mod submit;
mod sync;
mod verify;

use serde::Serialize;

use crate::cli::format::shown;
use crate::cli::process::Process;
use crate::cli::reporters::json;
use crate::error::{Error, ExitStatus, explain};
use crate::model::job::JobId;

use super::args::{Cli, Command};
use super::config::{Settings, Talk};
use super::exit::Signals;
use super::options::SyncArgs;
use super::table::Room;
use super::values::Format;

/// What every command works with.
pub(crate) struct Context<'w> {
    world: &'w Process,
    settings: Settings,
}

/// Carries out what was typed.
pub(crate) fn run(cli: Cli, world: &Process) -> Result<ExitStatus, Error> {
    let global = cli.global;
    let context = |options: SyncArgs| {
        Settings::settle(world, global.clone(), options).map(|settings| Context { world, settings })
    };
    let plain = SyncArgs::default;
    match cli.command {
        Command::Sync(typed) => sync::run(&context(typed.options)?, &typed.job, typed.dir),
        Command::Status(typed) => status::run(&context(plain())?, &typed.job),
        Command::Result(typed) => result::run(&context(plain())?, &typed),
        Command::Ls(typed) => ls::run(&context(plain())?, &typed.dir),
        Command::Verify(typed) => {
            let context = context(plain())?;
            let dry_run = context.settings.sync.dry_run;
            if typed.repair && dry_run && context.settings.talk > Talk::Quiet {
                world.err.line("a dry run: what is bad is told, and nothing is mended");
            }
            if typed.repair && !dry_run {
                verify::repair(&context, &typed.dir)
            } else {
                verify::run(&context, &typed.dir, typed.listed)
            }
        }
        Command::Mirror(typed) => {
            let options = SyncArgs { comfy: typed.comfy, ..plain() };
            mirror::run(&context(options)?, &typed.dir, typed.watch)
        }
        Command::Demo(typed) => {
            // What variables and the file say is meant for real jobs: their hooks and ComfyUI are not for a show.
            let mut context = context(plain())?;
            context.settings.sync = SyncArgs { comfy: typed.comfy, ..plain() };
            demo::run(&context, typed.dir)
        }
        Command::Simulate(typed) => simulate::run(&context(plain())?, typed.listen),
        // These two have to work on a machine whose settings are broken.
        Command::Completions(typed) => Ok(completions::run(world, typed.shell)),
        Command::Man(typed) => man::run(world, typed.command.as_deref()),
        Command::Doctor(typed) => doctor::run(world, global.clone(), &typed),
        Command::Submit(typed) => submit::run(&context(typed.options.clone())?, &typed),
        Command::Cancel(typed) => cancel::run(&context(plain())?, &typed.job),
        Command::Resume(typed) => resume::run(&context(typed.options.clone())?, &typed),
        Command::Edit(typed) => edit::run(&context(plain())?, &typed),
        Command::Prune(typed) => {
            let options = SyncArgs { dry_run: typed.dry_run, ..plain() };
            prune::run(&context(options)?, &typed)
        }
        Command::Gallery(typed) => gallery::run(&context(plain())?, &typed.dir, typed.open),
    }
}

impl Context<'_> {
    /// Returns the room for tables, where standard output is a terminal.
    fn room(&self) -> Option<Room> {
        let out = &self.world.out;
        let dots = if self.world.speaks_unicode() { "…" } else { "~" };
        out.is_terminal().then(|| Room { columns: out.columns().into(), dots })
    }

    /// Says that something is wrong, where the command goes on or ends with a code of its own.
    fn complain(&self, error: &Error) {
        for line in explain(error).lines() {
            self.world.err.line(&shown(line));
        }
    }

    /// Refuses a command that has no dry run where a variable or the configuration file asks for one.
    fn refuse_dry_run(&self, command: &str) -> Result<(), Error> {
        if !self.settings.sync.dry_run {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{command} has no dry run, and `RCSYNC_DRY_RUN` or the configuration file asks for one"
        )))
    }

    /// Says what a dry run of a command would have done: a sentence, or a JSON document.
    fn rehearsed(&self, command: &'static str, job: Option<&JobId>, name: Option<&str>, what: &str) {
        #[derive(Serialize)]
        struct Rehearsed<'a> {
            dry_run: bool,
            command: &'static str,
            job_id: Option<&'a str>,
            name: Option<&'a str>,
        }
        match self.settings.format {
            Format::Json => {
                let document = Rehearsed { dry_run: true, command, job_id: job.map(JobId::as_str), name };
                self.world.out.line(&json::text(&document).unwrap_or_default());
            }
            Format::Pretty if self.settings.talk > Talk::Quiet => {
                self.world.err.line(&format!("{what}; nothing was sent"));
            }
            Format::Pretty => {}
        }
    }

    /// Prints a command's one answer: words, or a JSON document.
    fn answer<T: Serialize>(&self, document: &T, words: impl FnOnce() -> String) {
        match self.settings.format {
            Format::Pretty => self.world.out.write(&words()),
            Format::Json => self.world.out.line(&json::text(document).unwrap_or_default()),
        }
    }
}

/// Runs work that waits for something, until it is done or a signal ends it.
fn wait_for<T, W>(world: &Process, work: impl FnOnce(Signals) -> W) -> Result<T, Error>
where
    W: Future<Output = Result<T, Error>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Disk { verb: "start the threads of", path: "rcsync".into(), source })?;
    let done = runtime.block_on(async {
        let signals = if world.signals { Signals::listen() } else { Signals::default() };
        work(signals).await
    });
    // A thread that still reads from a disk that hangs must not keep the process.
    runtime.shutdown_background();
    done
}

/// Does what a bucket's store is asked for, until a signal ends it. The store's lease, where one was taken, is over by itself.
#[cfg(feature = "buckets")]
fn wait_for_bucket<T>(
    world: &Process,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, ExitStatus>, Error> {
    wait_for(world, |signals| async move { Ok(look(&signals, work).await?.ok_or_else(|| signals.status())) })
}

/// Does what may be dropped when a signal comes; `None` then.
async fn look<T, E>(signals: &Signals, work: impl Future<Output = Result<T, E>>) -> Result<Option<T>, Error>
where
    Error: From<E>,
{
    signals.unless_ended(work).await.transpose().map_err(Error::from)
}
