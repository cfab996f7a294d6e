//! The private state of a mirrored folder: manifest, part files, lock.

pub mod blocks;
pub(crate) mod checksummed;
pub(crate) mod journal;
pub mod lock;
pub mod manifest_store;
pub mod part_file;
