//! `rcsync init`: a commented configuration to begin with.

use super::super::args::Init;
use super::Context;
use crate::error::{Error, ExitStatus};

pub(super) fn run(_context: &Context<'_>, _typed: &Init) -> Result<ExitStatus, Error> {
    Err(Error::Usage("in the making".to_owned()))
}
