//! Rules for job commands: which command fits which state, and whether a configuration is worth a GPU.

pub(crate) mod command_rules;
pub mod preflight;
