//! The front door: what was typed, what is shown, which code the process ends with.

pub mod args;
mod backend;
mod layers;
pub mod options;
mod shorthand;
mod suggest;
mod values;
mod world;

use std::process::ExitCode;

/// Runs the program on this process's arguments.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
