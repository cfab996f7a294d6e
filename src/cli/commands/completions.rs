//! `rcsync completions`: a script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::super::args::Cli;
use super::super::world::World;
use crate::error::ExitStatus;

pub(super) fn run(world: &World, shell: Shell) -> ExitStatus {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rcsync", &mut script);
    world.out.write(&String::from_utf8_lossy(&script));
    ExitStatus::Complete
}
