//! `rcsync simulate`: the simulated Trainer API, left running.

use std::net::SocketAddr;

use super::super::backend::{self, Script};
use super::{Context, wait_for};
use crate::cli::command_error::CommandError;
use crate::error::ExitStatus;

pub(super) fn run(context: &Context<'_>, listen: SocketAddr) -> Result<ExitStatus, CommandError> {
    wait_for(context.world, |signals| async move {
        let simulated = backend::simulate(listen, Script::Long).await?;
        let out = &context.world.out;
        out.line(&format!("export {}={}", backend::API_BASE, simulated.base));
        out.line(&format!("export RUNCOMFY_TOKEN={}", simulated.token));
        out.line(&format!("rcsync {}", simulated.job));
        context.world.err.line("runs until Ctrl-C; type the lines above into another terminal");
        signals.ended().await;
        // Being ended is how this command is meant to end.
        Ok(ExitStatus::Complete)
    })
}
