//! What stands in DIR, as a look at it found.

use std::collections::HashMap;

use crate::model::names::rel_path::RelPath;

/// What stands in DIR at the paths that matter; nothing stands where nothing is noted.
pub type Local = HashMap<RelPath, LocalFile>;

/// What stands at one path. Links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFile {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its modification time in nanoseconds since 1970.
        modified: Option<i64>,
    },
    /// A folder, link, pipe or device, or a path that runs through one.
    Other,
}
