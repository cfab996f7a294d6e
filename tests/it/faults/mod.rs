//! A server that misbehaves on cue, and what the real binary makes of it. Each case carries its number in the
//! catalogue of `docs/reliability.md`.

mod adopted;
mod api;
mod bounds;
mod crowd;
mod field;
mod host;
#[cfg(unix)]
mod kills;
mod looks;
mod meaning;
mod names;
mod peers;
mod ranges;
mod reply;
mod rig;
mod secrets;
mod state;
mod transfer;
mod trust;
mod world;
