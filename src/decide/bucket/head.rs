//! The head: lease, epoch and manifest in one object, `.rcsync/head.json`.
//!
//! Since one swap changes all three, a worker that lost the lease cannot write a claim.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::hook_event::EventId;
use crate::model::job::{JobId, JobStatus};
use crate::model::manifest::{Doubt, Entry, EntryState, Manifest, Record};
use crate::model::names::rel_path::RelPath;

/// The format that this version writes. A newer one is refused.
pub(crate) const FORMAT: u32 = 1;

/// The head's key below the prefix.
pub(crate) const HEAD: &str = ".rcsync/head.json";

/// The contents of the head object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The format of this object.
    pub format: u32,
    /// The job whose files these are.
    pub job: JobId,
    /// The API's origin: the same id elsewhere is another job.
    pub origin: String,
    /// Counts takeovers.
    pub epoch: u64,
    /// Which worker writes.
    pub owner: Owner,
    /// The owner has ended in good order: the lease is free.
    pub free: bool,
    /// Counts swaps. With the owner's id it makes each body, and so each tag, unique.
    pub sequence: u64,
    /// How a file gets its name in this store.
    pub publish: Publish,
    /// The object that holds what was known before [`Self::lines`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Uploads that were begun and may need to be aborted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<Begun>,
    /// The job's status at the last look, and how often it was seen to continue after an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// The records that were written last (`SHA256SUMS`, `job.json`, `index.html`), by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written: BTreeMap<String, Written>,
    /// What became known since the snapshot.
    pub lines: Vec<Line>,
    /// Snapshot and lines folded, in the head of an owner that ended: an idle look then needs no second object. A copy, and
    /// no part of the protocol: the next head has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Box<Known>>,
}

/// One worker, and so one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Drawn anew for each takeover.
    pub id: String,
    /// The machine, for messages.
    pub host: String,
    /// The process, for messages.
    pub pid: u32,
}

/// How a verified upload gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// The store completes an upload only where nothing is under its name.
    Complete,
    /// The store copies only where nothing is under the new name: uploads go to a staged name first.
    Copy,
    /// The store ignores conditions, and the user guarantees that there is only one writer.
    Sole,
}

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The object's key.
    pub key: String,
    /// The store's name of the upload.
    pub upload: String,
}

/// What was seen of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What it was doing.
    pub status: JobStatus,
    /// How often it was seen to continue after an end.
    pub resumes: u32,
}

/// What was written under a name that is rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The object's tag.
    pub tag: String,
    /// The SHA-256 of what it means, without marks of its epoch.
    pub meaning: Sha256Digest,
}

/// One thing that became known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Line {
    /// A file is known as this from now on.
    Know {
        /// Which file.
        key: ArtifactKey,
        /// What is known.
        entry: Entry,
        /// The tag of its object, which tells untouched objects without a read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
    },
    /// A body contradicted its proof.
    Doubt {
        /// Which file.
        key: ArtifactKey,
        /// What was read.
        doubt: Doubt,
    },
    /// Events were delivered to a hook, or one failed.
    Hook {
        /// Which hook.
        hook: EventId,
        /// Events that it need not get again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        done: Vec<EventId>,
        /// An event that could not be delivered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<EventId>,
    },
    /// An object is deleted, and its name is never used again.
    Retire {
        /// Its path.
        path: RelPath,
        /// The tag of the object that is deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
    },
}

/// Everything known of one prefix: snapshot and lines, folded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The files.
    pub manifest: Manifest,
    /// Tags of their objects.
    #[serde(default)]
    pub tags: BTreeMap<RelPath, String>,
    /// Names that were deleted, with the tag of the object that had them.
    #[serde(default)]
    pub retired: BTreeMap<RelPath, Option<String>>,
    /// What was delivered to each hook, across runs and workers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<EventId, Delivered>,
}

/// What was delivered to one hook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Events that it need not get again.
    pub done: BTreeSet<EventId>,
    /// How often other events failed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<EventId, u32>,
}

/// What lines hold before they are folded into a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoldAt {
    /// So many lines.
    pub lines: usize,
    /// So many ids of events in them.
    pub events: usize,
}

impl Default for FoldAt {
    /// A head stays below some 100 KB.
    fn default() -> Self {
        Self { lines: 128, events: 4096 }
    }
}

/// Whether lines are to be folded into a snapshot.
#[must_use]
pub(crate) fn are_many<'a>(lines: impl IntoIterator<Item = &'a Line>, fold_at: FoldAt) -> bool {
    let events = |line: &Line| if let Line::Hook { done, .. } = line { done.len() } else { 0 };
    let (mut count, mut of_hooks) = (0, 0);
    for line in lines {
        (count, of_hooks) = (count + 1, of_hooks + events(line));
    }
    count >= fold_at.lines || of_hooks >= fold_at.events
}

/// Adds a line to others; one that continues the last line becomes part of it.
pub(crate) fn add_line(lines: &mut Vec<Line>, line: Line) {
    match (lines.last_mut(), line) {
        (
            Some(Line::Hook { hook, done, failed: None }),
            Line::Hook { hook: same, done: more, failed: None },
        ) if *hook == same => done.extend(more),
        (_, line) => lines.push(line),
    }
}

impl Head {
    /// Whether this worker wrote it.
    #[must_use]
    pub fn is_of(&self, owner: &Owner) -> bool {
        self.owner.id == owner.id
    }

    /// Returns the head after this one.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { sequence: self.sequence + 1, rest: None, ..self.clone() }
    }

    /// Returns this head as another worker takes it over.
    #[must_use]
    pub fn taken_by(&self, owner: Owner) -> Self {
        Self { epoch: self.epoch + 1, owner, free: false, ..self.next() }
    }

    /// Returns the first head of a prefix.
    #[must_use]
    pub fn first(job: JobId, origin: String, owner: Owner, publish: Publish) -> Self {
        Self {
            format: FORMAT,
            job,
            origin,
            epoch: 1,
            owner,
            free: false,
            sequence: 1,
            publish,
            snapshot: None,
            begun: Vec::new(),
            seen: None,
            written: BTreeMap::new(),
            lines: Vec::new(),
            rest: None,
        }
    }
}

impl Known {
    /// A prefix of which nothing is known.
    #[must_use]
    pub const fn new(job: JobId, origin: String) -> Self {
        Self {
            manifest: Manifest::new(job, origin),
            tags: BTreeMap::new(),
            retired: BTreeMap::new(),
            hooks: BTreeMap::new(),
        }
    }

    /// Takes one line in.
    pub fn apply(&mut self, line: Line) {
        match line {
            Line::Know { key, entry, tag } => {
                match tag {
                    Some(tag) => self.tags.insert(entry.path.clone(), tag),
                    None => self.tags.remove(&entry.path),
                };
                self.manifest.apply(Record::Know { key, entry });
            }
            Line::Doubt { key, doubt } => self.manifest.apply(Record::Doubt { key, doubt }),
            Line::Hook { hook, done, failed } => {
                let delivered = self.hooks.entry(hook).or_default();
                for id in done {
                    delivered.failed.remove(&id);
                    delivered.done.insert(id);
                }
                if let Some(id) = failed.filter(|id| !delivered.done.contains(id)) {
                    *delivered.failed.entry(id).or_default() += 1;
                }
            }
            Line::Retire { path, tag } => {
                self.tags.remove(&path);
                self.retired.insert(path, tag);
            }
        }
    }

    /// Returns every name that was ever given away.
    #[must_use]
    pub fn used(&self) -> BTreeSet<&RelPath> {
        let entries = self.manifest.entries.values();
        let paths = entries.flat_map(|entry| {
            std::iter::once(&entry.path).chain(entry.older.iter().map(|older| &older.path))
        });
        paths.chain(self.retired.keys()).collect()
    }

    /// Returns what should be here: path and SHA-256 of every file, older versions too.
    #[must_use]
    pub fn claimed(&self) -> BTreeMap<&RelPath, Sha256Digest> {
        let mut claimed = BTreeMap::new();
        for entry in self.manifest.entries.values() {
            if entry.state == EntryState::Present {
                claimed.insert(&entry.path, entry.sha256);
            }
            claimed.extend(entry.older.iter().map(|older| (&older.path, older.sha256)));
        }
        claimed
    }

    /// Returns the name that the trainer's file got first, before newer bytes came.
    #[must_use]
    pub fn plain_name(&self, key: &ArtifactKey) -> Option<RelPath> {
        let entry = self.manifest.entries.get(key)?;
        // Its older states are gone, and with them the plain name.
        if key.is_optimizer() && entry.older.is_empty() {
            let plain = entry.path.as_str().replace(&format!("~{}", entry.sha256.short()), "");
            return RelPath::parse(&plain).ok();
        }
        Some(entry.older.first().map_or(&entry.path, |older| &older.path).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_to_a_hook_is_kept_and_lines_of_it_are_joined() {
        let id = |word: &str| EventId::of(&[word]);
        let done = |words: &[&str]| Line::Hook {
            hook: id("hook"),
            done: words.iter().map(|word| id(word)).collect(),
            failed: None,
        };
        let failed = |word: &str| Line::Hook { hook: id("hook"), done: Vec::new(), failed: Some(id(word)) };
        let mut lines = Vec::new();
        for line in [done(&["a"]), done(&["b"]), failed("c"), failed("c"), failed("a"), done(&["d"])] {
            add_line(&mut lines, line);
        }
        assert_eq!(lines.len(), 5, "only what continues the last line is part of it");
        let mut known = Known::new("job".parse().unwrap(), "o".to_owned());
        lines.into_iter().for_each(|line| known.apply(line));
        let delivered = &known.hooks[&id("hook")];
        assert_eq!(delivered.done, [id("a"), id("b"), id("d")].into());
        assert_eq!(delivered.failed, [(id("c"), 2)].into());
        known.apply(done(&["c"]));
        assert!(known.hooks[&id("hook")].failed.is_empty());
        for (lines, events, are_few) in [(2, 4, true), (1, 4, false), (2, 3, false)] {
            assert_eq!(are_many(&[done(&["a", "b", "c"])], FoldAt { lines, events }), !are_few);
        }
    }
}
