//! `rcsync dataset`: folders of pictures, clips and captions to train on.

mod account;
pub(in crate::cli::commands) mod check;
pub(in crate::cli::commands) mod folder;
mod push;

pub(in crate::cli::commands) use account::unknown;

use crate::cli::command_error::CommandError;
use crate::error::ExitStatus;

use super::super::args::DatasetCommand;
use super::Context;

pub(super) fn run(context: &Context<'_>, typed: &DatasetCommand) -> Result<ExitStatus, CommandError> {
    match typed {
        DatasetCommand::Check(typed) => check::run(context, typed),
        DatasetCommand::Push(typed) => push::run(context, typed),
        DatasetCommand::Status(typed) => account::status(context, typed),
        DatasetCommand::Ls => account::ls(context),
        DatasetCommand::Rm(typed) => account::rm(context, typed),
    }
}
