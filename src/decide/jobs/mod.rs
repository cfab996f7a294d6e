//! Rules for job commands: which command fits which state, and whether a configuration is worth a GPU.

pub mod command_rules;
pub mod preflight;
