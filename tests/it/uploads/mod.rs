//! Folders of pictures on their way into datasets, with the real binary against a simulated account.

mod bad_input;
mod breaks;
mod faults;
#[cfg(target_os = "linux")]
mod measure;
mod push;
mod rig;
mod submit;
