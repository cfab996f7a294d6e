//! A job mirrored to a bucket: no local disk, several workers, the protocol of [`crate::decide::bucket`].

mod create;
mod file;
pub(crate) mod head_store;
pub(crate) mod options;
pub(crate) mod probe;
mod prune;
pub(crate) mod read;
mod records;
pub(crate) mod run;
pub(crate) mod sabotage;
#[cfg(test)]
mod simulation;
mod sole;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod upload;
