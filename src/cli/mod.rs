//! The front door: what was typed, what is shown, which code the process ends with.

mod args;
mod backend;
mod config;
mod exit;
mod json;
mod layers;
mod lines;
mod options;
#[cfg(test)]
mod samples;
mod shorthand;
mod suggest;
mod values;
mod words;
pub mod world;

use std::process::ExitCode;

/// Runs the program on this process's arguments.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
