//! One file a command: each puts together what the other rooms do.

mod cancel;
mod change;
mod completions;
mod dataset;
mod demo;
mod doctor;
mod edit;
mod equipment;
mod fleet;
mod gallery;
mod help;
mod init;
mod ls;
mod man;
mod mirror;
mod offer;
mod prune;
mod result;
mod resume;
mod simulate;
mod status;
mod submit;
mod sync;
mod verify;

pub(crate) use help::first_steps;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::config_sources;
use crate::cli::format::{shown, span};
use crate::cli::process::Process;
use crate::cli::reporters::lines::Lines;
use crate::cli::reporters::{json, logs};
use crate::engine::event::Reporter;
use crate::engine::retry::{SHORT, api_again, retry};
use crate::error::{ApiError, Error, ExitStatus};
use crate::model::job::JobId;

use super::args::{Cli, Command, DatasetCommand};
use super::config::{Settings, Talk};
use super::exit::Signals;
use super::options::{Layer as _, SyncArgs};
use super::render::lines_of;
use super::runtime;
use super::table::Room;
use super::values::Format;

/// What a command is for, which decides what output that cannot be written means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What it prints.
    Output,
    /// What it does to a folder, for as long as it takes.
    Mirror,
}

impl Purpose {
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Sync(_) | Command::Mirror(_) | Command::Demo(_) | Command::Simulate(_) => Self::Mirror,
            Command::Submit(typed) if typed.follow.is_some() => Self::Mirror,
            Command::Resume(typed) if typed.follow.is_some() => Self::Mirror,
            _ => Self::Output,
        }
    }
}

/// What every command works with.
pub(crate) struct Context<'w> {
    world: &'w Process,
    settings: Settings,
    events: Events,
}

/// What a command that writes JSON events has written of them.
#[derive(Debug, Clone, Default)]
struct Events(Rc<RefCell<Written>>);

#[derive(Debug, Default)]
struct Written {
    job: Option<JobId>,
    has_error: bool,
}

impl Events {
    /// Names the job that they are of.
    fn are_of(&self, job: &JobId) {
        self.0.borrow_mut().job = Some(job.clone());
    }

    /// The error that ends the command is among them already.
    fn have_error(&self) {
        self.0.borrow_mut().has_error = true;
    }

    /// Returns the line of an error that is not among them yet.
    fn of_error(&self, error: &CommandError, now: Timestamp) -> Option<String> {
        let written = self.0.borrow();
        if written.has_error { None } else { json::error_line(error, written.job.as_ref(), now) }
    }
}

/// Carries out what was typed.
pub(crate) fn run(cli: Cli, world: &Process) -> Result<ExitStatus, CommandError> {
    let global = cli.global;
    // What was typed counts where the settings cannot be read.
    let format = Cell::new(global.output.unwrap_or_default());
    let events = Events::default();
    let context = |options: SyncArgs| {
        let settings = Settings::settle(world, global.clone(), options)?;
        format.set(settings.format);
        logs::start(world, settings.logs_decisions)?;
        if settings.format == Format::Pretty {
            report_slips(world, &settings);
        }
        Ok::<_, CommandError>(Context { world, settings, events: events.clone() })
    };
    let has_events = match &cli.command {
        Command::Sync(_) | Command::Mirror(_) | Command::Demo(_) => true,
        Command::Fleet(typed) => typed.command.is_none(),
        Command::Submit(typed) => typed.follow.is_some(),
        Command::Resume(typed) => typed.follow.is_some(),
        Command::Dataset(typed) => matches!(typed.command, DatasetCommand::Push(_)),
        _ => false,
    };
    let plain = SyncArgs::default;
    // Settings that cannot be read are a failure of the command too.
    let work = || match cli.command {
        Command::Sync(typed) => {
            let context = context(typed.options)?;
            let done = sync::run(&context, &typed.job, typed.dir);
            // A dry run is for what it prints.
            if context.settings.sync.dry_run && world.out.is_lost() {
                let reported = || std::io::Error::other("its events are lost");
                Err(CommandError::Output(world.out.take_fault().unwrap_or_else(reported)))
            } else {
                done
            }
        }
        Command::Fleet(typed) => {
            let mut context = context(typed.options.clone())?;
            context.settings.fleet = typed.fleet.clone().over(context.settings.fleet);
            fleet::run(&context, &typed)
        }
        Command::Status(typed) => status::run(&context(plain())?, &typed.job),
        Command::Result(typed) => result::run(&context(plain())?, &typed),
        Command::Ls(typed) => ls::run(&context(plain())?, &typed.dir),
        Command::Verify(typed) => {
            let context = context(plain())?;
            let dry_run = context.settings.sync.dry_run;
            if typed.repair && dry_run && context.settings.talk > Talk::Quiet {
                world.err.line("a dry run: what is bad is reported, and nothing is fixed");
            }
            if typed.repair && !dry_run {
                verify::repair(&context, &typed.dir)
            } else {
                verify::run(&context, &typed.dir, typed.listed)
            }
        }
        Command::Mirror(typed) => {
            let options = SyncArgs { comfy: typed.comfy, ..plain() };
            mirror::run(
                &context(options)?,
                &typed.dir,
                mirror::How { watch: typed.watch, again: typed.again },
            )
        }
        Command::Dataset(typed) => dataset::run(&context(plain())?, &typed.command),
        Command::Init(typed) => init::run(&context(plain())?, &typed),
        Command::Demo(typed) => {
            // Variables and the file are meant for real jobs: their hooks and ComfyUI are not for a demo.
            let mut context = context(plain())?;
            context.settings.sync = SyncArgs { comfy: typed.comfy, ..plain() };
            demo::run(&context, typed.dir, typed.dataset)
        }
        Command::Simulate(typed) => simulate::run(&context(plain())?, typed.listen),
        // These have to work on a machine whose settings are broken.
        Command::Completions(typed) => Ok(completions::run(world, typed.shell)),
        Command::Man(typed) => man::run(world, typed.command.as_deref()),
        Command::Help(typed) => help::run(world, &typed.words),
        Command::Offer(typed) => Ok(offer::run(world, typed.kind)),
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
    };
    let done = work();
    if let Err(error) = &done
        && format.get() == Format::Json
    {
        let line = if has_events { events.of_error(error, (world.now)()) } else { json::refusal(error) };
        line.iter().for_each(|line| world.out.line(line));
    }
    done
}

impl Context<'_> {
    /// Returns the room for tables, where standard output is a terminal.
    fn room(&self) -> Option<Room> {
        let out = &self.world.out;
        let dots = if self.world.speaks_unicode() { "…" } else { "~" };
        out.is_terminal().then(|| Room { columns: out.columns().into(), dots })
    }

    /// Reports that something is wrong, where the command continues or ends with a code of its own.
    fn complain(&self, error: &CommandError) {
        for line in error.explain().lines() {
            self.world.err.line(&shown(line));
        }
    }

    /// Refuses a command that has no dry run where a variable or the configuration file asks for one.
    fn refuse_dry_run(&self, command: &str) -> Result<(), CommandError> {
        if !self.settings.sync.dry_run {
            return Ok(());
        }
        Err(CommandError::misused(
            format!("{command} has no dry run, and `RCSYNC_DRY_RUN` or the configuration file asks for one"),
            "nothing was done; set `RCSYNC_DRY_RUN=0` for this command",
        ))
    }

    /// Reports what a dry run of a command would have done: a sentence, or a JSON document.
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

    /// Prints the answer of a command that changed something. It is repeated on standard error where it cannot be written: a new
    /// job's id must not be lost.
    fn answer_of_change<T: Serialize>(&self, document: &T, words: impl Fn() -> String) {
        self.answer(document, &words);
        if self.world.out.is_lost() {
            self.world.err.write(&words());
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

/// Reports variables whose names are nearly those of options: they have no effect, and no other sign.
fn report_slips(world: &Process, settings: &Settings) {
    for (name, near) in config_sources::slips(world) {
        let text = format!("the variable `{name}` is for no option; did you mean `{near}`?");
        lines_of(world, settings).note(&text);
    }
}

/// Runs work that waits for something, until it is done or a signal ends it.
fn wait_for<T, W>(world: &Process, work: impl FnOnce(Signals) -> W) -> Result<T, CommandError>
where
    W: Future<Output = Result<T, CommandError>>,
{
    let runtime = runtime::build().map_err(|source| Error::Disk {
        verb: "start",
        path: "rcsync".into(),
        source: source.into(),
    })?;
    let done = runtime.block_on(async {
        let signals = if world.signals { Signals::listen() } else { Signals::default() };
        work(signals).await
    });
    // A thread that still reads from a disk that hangs must not keep the process.
    runtime.shutdown_background();
    done
}

/// Does work that a signal may end at any time. A bucket's lease, where one was taken, ends by itself then.
fn until_signal<T>(
    world: &Process,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, ExitStatus>, CommandError> {
    wait_for(world, |signals| async move { Ok(look(&signals, work).await?.ok_or_else(|| signals.status())) })
}

impl Context<'_> {
    /// Reports on standard error that a store does not answer, and that it is asked again: the answer itself is one document.
    fn outages(&self) -> Arc<dyn Reporter> {
        Arc::new(Lines { hold: false, ..lines_of(self.world, &self.settings) })
    }
}

/// Waits shorter than this pass without a word.
const NOTICED: Duration = Duration::from_secs(2);

impl Context<'_> {
    /// Asks the API what changes nothing, and rides out what passes: a 500, a dropped connection, a 429. `None` when a signal
    /// comes first.
    async fn ask<T, W>(
        &self,
        signals: &Signals,
        question: impl FnMut() -> W,
    ) -> Result<Option<T>, CommandError>
    where
        W: Future<Output = Result<T, ApiError>>,
    {
        let asking = retry(SHORT, question, api_again, |fault, wait| {
            if wait >= NOTICED && self.settings.talk > Talk::Quiet {
                self.world.err.line(&format!("{}; next try in {}", shown(&fault.to_string()), span(wait)));
            }
        });
        look(signals, asking).await
    }
}

/// Does what may be dropped when a signal comes; `None` then.
async fn look<T, E>(
    signals: &Signals,
    work: impl Future<Output = Result<T, E>>,
) -> Result<Option<T>, CommandError>
where
    CommandError: From<E>,
{
    signals.unless_ended(work).await.transpose().map_err(CommandError::from)
}
