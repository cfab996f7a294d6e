//! The mirrored folder: its private state (manifest, part files, lock), what is in it, and how files get their names.

pub(crate) mod blocks;
pub(crate) mod check;
pub(crate) mod checksummed;
pub(crate) mod hashing;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod known;
pub(crate) mod local_files;
pub(crate) mod lock;
pub(crate) mod manifest_store;
mod part_blocks;
pub(crate) mod part_file;
pub(crate) mod part_folder;
pub(crate) mod part_record;
pub(crate) mod reports;
pub(crate) mod tree;
pub(crate) mod unflushed;
