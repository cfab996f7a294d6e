//! A server that misbehaves on cue, and what the real binary makes of it. Each case carries its number in the
//! catalogue of `docs/reliability.md`.

#![expect(dead_code, reason = "the later groups use the rest")]

mod api;
mod host;
mod ranges;
mod reply;
mod rig;
mod transfer;
mod world;
