//! One test binary: what only whole runs can show, and what only a look at the source can.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue should stop")]

mod adoption;
mod architecture;
mod comfy;
mod commands;
mod completions;
mod continuity;
mod corpus;
#[cfg(target_os = "linux")]
mod crashes;
mod datasets;
#[cfg(target_os = "linux")]
mod disks;
mod docs;
#[cfg(target_os = "linux")]
mod environment;
mod evidence;
mod faults;
mod fleet;
mod gallery;
mod hooks;
mod interface;
mod life;
mod lock;
mod logs;
mod mirror;
mod monitoring;
#[cfg(unix)]
mod opening;
mod prune;
mod repair;
#[cfg(target_os = "linux")]
mod rig;
#[cfg(target_os = "linux")]
mod small_files;
mod soak;
mod support;
mod transfer;
mod uploads;
