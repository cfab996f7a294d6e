//! `rcsync dataset`: folders of pictures, clips and captions to train on.

mod check;

use super::super::args::DatasetCommand;
use super::Context;
use crate::error::{Error, ExitStatus};

pub(super) fn run(context: &Context<'_>, typed: &DatasetCommand) -> Result<ExitStatus, Error> {
    match typed {
        DatasetCommand::Check(typed) => check::run(context, typed),
    }
}
