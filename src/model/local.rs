//! What is in DIR, as a scan found it.

use std::collections::HashMap;

use crate::model::names::rel_path::RelPath;

/// What is in DIR at the relevant paths. A path without an entry has nothing.
pub type Local = HashMap<RelPath, LocalFile>;

/// What is at one path. Links are not followed.
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
