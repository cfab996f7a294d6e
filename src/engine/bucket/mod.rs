//! A job mirrored to a bucket: no local disk, several workers, the protocol of [`crate::decide::bucket`].

mod at_rest;
mod below;
pub(crate) mod comfyui;
pub(crate) mod compare;
mod create;
mod file;
pub(crate) mod fleet_root;
mod head_read;
pub(crate) mod head_store;
pub(crate) mod hooks;
pub(crate) mod options;
pub(crate) mod outages;
pub(crate) mod overview;
mod part_memory;
pub(crate) mod probe;
mod prune;
pub(crate) mod read;
mod records;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod sabotage;
#[cfg(test)]
mod simulation;
mod sole;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
