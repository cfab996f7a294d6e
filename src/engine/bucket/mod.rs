//! A job mirrored to a bucket: no local disk, several workers, the protocol of [`crate::decide::bucket`].

mod create;
pub(crate) mod head_store;
mod prune;
mod records;
pub(crate) mod sabotage;
#[cfg(test)]
mod simulation;
pub(crate) mod store;
mod upload;
