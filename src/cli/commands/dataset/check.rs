//! `rcsync dataset check`: would AI Toolkit train on this folder?

use super::super::super::args::DatasetCheck;
use super::super::Context;
use crate::error::{Error, ExitStatus};

pub(super) fn run(_context: &Context<'_>, _typed: &DatasetCheck) -> Result<ExitStatus, Error> {
    Err(Error::Usage("in the making".to_owned()))
}
