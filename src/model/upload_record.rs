//! What is remembered of the files that were sent into a dataset.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::digest::Sha256Digest;

/// What tells a file's bytes from other ones without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The length in bytes.
    pub size: u64,
    /// When it was changed last, in nanoseconds since 1970, where the file system records that.
    pub modified: Option<i64>,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadRecord {
    /// Sending began, and no answer was recorded.
    Begun {
        /// The file then.
        stamp: Stamp,
        /// Whether the dataset had no file of that name and length then, so that one which it has now is this one.
        fresh: bool,
    },
    /// The API accepted it.
    Sent {
        /// The file then.
        stamp: Stamp,
        /// The SHA-256 of what was sent.
        sha256: Sha256Digest,
        /// The name that the API gave it, where that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored_as: Option<String>,
    },
    /// The dataset had a file of that name and length, of which nothing was recorded.
    Found {
        /// The local file then.
        stamp: Stamp,
    },
}

/// What is remembered, by the file's own name.
pub(crate) type UploadRecords = BTreeMap<String, UploadRecord>;
