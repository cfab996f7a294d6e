//! The mirrored folder: its private state (manifest, part files, lock), what is in it, and how files get their names.

pub mod blocks;
pub(crate) mod check;
pub(crate) mod checksummed;
pub(crate) mod hashing;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod known;
pub(crate) mod local_files;
pub mod lock;
pub mod manifest_store;
mod part_blocks;
pub mod part_file;
pub mod part_folder;
pub mod part_record;
pub(crate) mod reports;
pub(crate) mod tree;
