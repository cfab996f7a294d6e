//! The command line: what was typed, what is shown, which code the process ends with.

mod args;
mod argv;
mod backend;
mod bucket;
mod command_error;
mod commands;
mod config;
mod config_sources;
mod exit;
mod findings;
mod fleet;
mod format;
mod local_folder;
mod options;
pub(crate) mod process;
mod push_report;
mod render;
pub(crate) mod reporters;
mod runtime;
mod suggest;
mod table;
mod topics;
mod training_file;
mod usage_error;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::command_error::CommandError;
use crate::error::ExitStatus;

use args::Cli;
use process::Process;

/// Runs the program on this process's arguments.
pub fn main() -> ExitCode {
    exit::exit_code(run(std::env::args_os().collect(), &Process::of_this_process()))
}

/// Runs the program on these arguments, of which the first is its name, in this world.
#[must_use]
pub(crate) fn run(arguments: Vec<OsString>, world: &Process) -> ExitStatus {
    if arguments.len() <= 1 && world.err.is_terminal() {
        world.err.write(&commands::first_steps(world));
        return ExitStatus::Usage;
    }
    let typed = match argv::expand(arguments) {
        Ok(expanded) => Cli::try_parse_from(expanded),
        Err(error) => return refuse(&error, world),
    };
    match typed {
        Ok(cli) => {
            let purpose = commands::Purpose::of(&cli.command);
            let done = commands::run(cli, world).unwrap_or_else(|error| refuse(&error, world));
            account_for_output(done, purpose, world)
        }
        Err(answer) => show(&answer, world),
    }
}

/// Output that could not be written is an error of a command whose purpose it is, and only a message elsewhere.
fn account_for_output(done: ExitStatus, purpose: commands::Purpose, world: &Process) -> ExitStatus {
    let Some(fault) = world.out.take_fault() else { return done };
    let fault = refuse(&CommandError::Output(fault), world);
    match purpose {
        commands::Purpose::Output if done == ExitStatus::Complete => fault,
        _ => done,
    }
}

fn refuse(error: &CommandError, world: &Process) -> ExitStatus {
    for line in error.explain().lines() {
        let line = format::shown(line);
        let painted = line.strip_prefix("error:").map(|rest| format!("\u{1b}[1;31merror:\u{1b}[0m{rest}"));
        world.err.line(painted.filter(|_| world.colours(&world.err)).as_deref().unwrap_or(&line));
    }
    error.exit_status()
}

/// Shows the parser's answer: help and version are what was asked for, everything else is a usage error.
fn show(answer: &clap::Error, world: &Process) -> ExitStatus {
    let (stream, status) = match answer.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (&world.out, ExitStatus::Complete),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => (&world.err, ExitStatus::Usage),
        _ => return refuse(&usage_error::reported(answer), world),
    };
    let text = answer.render();
    stream.write(&if world.colours(stream) { text.ansi().to_string() } else { text.to_string() });
    account_for_output(status, commands::Purpose::Output, world)
}

#[cfg(test)]
mod tests;
