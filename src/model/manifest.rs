//! What is in DIR, as far as rcsync knows: the fold of a journal of records.
//!
//! Replaying records is idempotent, and a record that was cut off is as if it had never been: whatever a crash leaves,
//! the fold claims only what was made durable before the record was.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::names::rel_path::RelPath;

use super::artifact::{ArtifactKey, ArtifactKind};
use super::digest::Sha256Digest;
use super::evidence::Evidence;
use super::job::JobId;
use super::revision::Revision;
use super::shared_text;

/// Everything known of one folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The job whose files these are.
    pub job: JobId,
    /// The API's origin: the same id elsewhere is another job.
    pub origin: String,
    /// Known files.
    #[serde(with = "as_list")]
    pub entries: BTreeMap<ArtifactKey, Entry>,
    /// Files about to get their final name when the last run ended; recovery settles them.
    #[serde(default, with = "as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub prepared: BTreeMap<ArtifactKey, Prepared>,
    /// Bodies that contradicted their proof, so that a second look can tell a write in progress from a fault.
    #[serde(default, with = "as_list", skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<ArtifactKey, Doubt>,
}

/// One file that is here, or was and is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path under DIR.
    pub path: RelPath,
    /// The training step, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Sha256Digest,
    /// How it was proven.
    pub evidence: Evidence,
    /// What the host said of its revision.
    #[serde(default)]
    pub revision: Revision,
    /// The run of the job that it was last asked about in.
    #[serde(default, with = "shared_text", skip_serializing_if = "str::is_empty")]
    pub run: Arc<str>,
    /// The modification time that rcsync left on it, in nanoseconds since 1970; tells untouched files without a read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// Whether it should be here.
    #[serde(default)]
    pub state: EntryState,
    /// Bytes that were under its name before, kept beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<Older>,
}

/// Older bytes of a file whose hosted bytes changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Older {
    /// Where they are kept.
    pub path: RelPath,
    /// Their length in bytes.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: Sha256Digest,
}

/// Whether a known file should be in DIR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    /// It should; when it is not, it is fetched again.
    #[default]
    Present,
    /// It was removed by `prune` and is not fetched again.
    Pruned,
}

/// A file that was proven and flushed, and is about to get its final name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The file name of the part in `.rcsync/parts`.
    pub part: String,
    /// What the manifest will say once it has its name.
    pub entry: Entry,
}

/// A body that contradicted a hash, digest or its own format, or that nothing but its length speaks for yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What the body hashed to.
    pub sha256: Sha256Digest,
    /// What the host said of its revision.
    pub revision: Revision,
    /// Whether the run was over when it was read: only then does a second equal read condemn it.
    pub after_end: bool,
    /// Whether a second read had the same bytes: until then the host's answer that nothing changed proves nothing, since
    /// the bytes may have been spoilt on their way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_twice: bool,
    /// Nothing contradicts the body, but only its length speaks for it while the run may still write: the look that read
    /// these bytes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_look: Option<FirstLook>,
}

/// The first of two looks at a file that only its length speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstLook {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The host's `Last-Modified` then, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Record {
    /// A file is whole, proven and flushed under its part's name, and about to be renamed.
    Prepare {
        /// Which file.
        key: ArtifactKey,
        /// Its part and what will be known of it.
        prepared: Prepared,
    },
    /// Its rename did not happen and will not.
    Abandon {
        /// Which file.
        key: ArtifactKey,
    },
    /// A file is known as this from now on: published, adopted, touched, asked about again, pruned.
    Know {
        /// Which file.
        key: ArtifactKey,
        /// What is known.
        entry: Entry,
    },
    /// A body contradicted its proof.
    Doubt {
        /// Which file.
        key: ArtifactKey,
        /// What was read.
        doubt: Doubt,
    },
}

impl Manifest {
    /// A folder of which nothing is known.
    #[must_use]
    pub const fn new(job: JobId, origin: String) -> Self {
        Self { job, origin, entries: BTreeMap::new(), prepared: BTreeMap::new(), doubts: BTreeMap::new() }
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Prepare { key, prepared } => {
                self.prepared.insert(key, prepared);
            }
            Record::Abandon { key } => {
                self.prepared.remove(&key);
            }
            Record::Know { key, entry } => {
                self.prepared.remove(&key);
                self.doubts.remove(&key);
                self.entries.insert(key, entry);
            }
            Record::Doubt { key, doubt } => {
                self.doubts.insert(key, doubt);
            }
        }
    }

    /// Returns the files that should be in DIR, with their kinds, in order of path. What is about to be replaced is left
    /// out: until that is over, it is unknown which of its bytes are there.
    #[must_use]
    pub fn present(&self) -> Vec<(ArtifactKind, &Entry)> {
        let mut files: Vec<_> = self
            .entries
            .iter()
            .filter(|(key, entry)| entry.state == EntryState::Present && !self.is_being_replaced(key, entry))
            .map(|(key, entry)| (key.kind, entry))
            .collect();
        files.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
        files
    }

    /// Returns every path that the manifest has, also those of pruned files and of older versions.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.entries
            .values()
            .flat_map(|entry| std::iter::once(&entry.path).chain(entry.older.iter().map(|older| &older.path)))
    }

    fn is_being_replaced(&self, key: &ArtifactKey, entry: &Entry) -> bool {
        self.prepared.get(key).is_some_and(|prepared| {
            prepared.entry.path == entry.path && prepared.entry.sha256 != entry.sha256
        })
    }
}

/// Maps with structured keys as JSON lists of `{"key": {"kind": …, "path": …}, …value}`.
mod as_list {
    use std::collections::BTreeMap;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ArtifactKey;

    #[derive(Serialize)]
    struct Line<'a, V> {
        key: &'a ArtifactKey,
        #[serde(flatten)]
        value: &'a V,
    }

    #[derive(Deserialize)]
    #[serde(bound = "V: DeserializeOwned")]
    struct OwnedLine<V> {
        key: ArtifactKey,
        #[serde(flatten)]
        value: V,
    }

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<ArtifactKey, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.iter().map(|(key, value)| Line { key, value }))
    }

    pub(super) fn deserialize<'de, V: DeserializeOwned, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<ArtifactKey, V>, D::Error> {
        let lines = Vec::<OwnedLine<V>>::deserialize(from)?;
        Ok(lines.into_iter().map(|line| (line.key, line.value)).collect())
    }
}

#[cfg(test)]
pub(crate) mod examples;
