//! Which files of a folder have to be sent: the folder against the dataset's inventory and what is remembered of
//! earlier pushes.
//!
//! The inventory has names and lengths alone. What was sent by this machine is known by its SHA-256; a file of the same
//! name and length of which nothing is remembered is taken to be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::model::dataset::RemoteFile;
use crate::model::digest::Sha256Digest;
use crate::model::upload_record::{Stamp, UploadRecord, UploadRecords};

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    pub name: String,
    /// Its length and change time.
    pub stamp: Stamp,
}

/// What has to be done about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Keep(Kept),
    /// It has its old length and a new change time: it is sent if its bytes hash to another digest than this.
    Compare(Sha256Digest),
    Send(Reason),
}

/// How it is known that a file need not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It was sent, and has not changed.
    Sent,
    /// It was being sent when an earlier push ended, and has arrived.
    Arrived,
    /// The dataset has a file of this name and length. Nothing is known of its bytes.
    SameLength,
}

/// Why a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The dataset does not have it.
    Missing,
    /// The dataset has it with another length.
    OtherLength,
    /// It changed since it was sent.
    Changed,
    /// An earlier push ended while it was sent over an older version.
    Interrupted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "the dataset does not have it",
            Self::OtherLength => "the dataset has it with another length",
            Self::Changed => "it changed since it was sent",
            Self::Interrupted => "an earlier push ended while it was sent",
        })
    }
}

/// What a push has to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    /// One step for each file, in the order of the files.
    pub steps: Vec<Step>,
    /// Files of the dataset that the folder does not have.
    pub foreign: Vec<String>,
}

/// Compares a folder with a dataset. Without an inventory, what is remembered decides alone.
#[must_use]
pub(crate) fn plan(files: &[LocalFile], inventory: Option<&[RemoteFile]>, records: &UploadRecords) -> Plan {
    let listed: BTreeMap<&str, &RemoteFile> =
        inventory.into_iter().flatten().map(|file| (file.name.as_str(), file)).collect();
    let mut expected = BTreeSet::new();
    let mut steps = Vec::with_capacity(files.len());
    for file in files {
        let record = records.get(&file.name);
        let stored_as = stored_as(&file.name, record);
        expected.insert(stored_as);
        let there = match inventory {
            None => Remote::Unknown,
            Some(_) => listed.get(stored_as).map_or(Remote::Absent, |file| Remote::Listed(file.size)),
        };
        steps.push(step(file.stamp, there, record));
    }
    let foreign =
        listed.keys().filter(|name| !expected.contains(*name)).map(|name| (*name).to_owned()).collect();
    Plan { steps, foreign }
}

/// Returns the name that a file has in the dataset.
#[must_use]
pub(crate) fn stored_as<'a>(name: &'a str, record: Option<&'a UploadRecord>) -> &'a str {
    match record {
        Some(UploadRecord::Sent { stored_as: Some(other), .. }) => other,
        _ => name,
    }
}

/// What the dataset has of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remote {
    /// There is no inventory.
    Unknown,
    /// It is not in the inventory.
    Absent,
    /// It is, with this length where one is given.
    Listed(Option<u64>),
}

fn step(local: Stamp, remote: Remote, record: Option<&UploadRecord>) -> Step {
    match remote {
        Remote::Absent => return Step::Send(Reason::Missing),
        Remote::Listed(Some(size)) if size != local.size => return Step::Send(Reason::OtherLength),
        Remote::Unknown | Remote::Listed(_) => {}
    }
    match record {
        Some(UploadRecord::Sent { stamp, .. }) if *stamp == local && stamp.modified.is_some() => {
            Step::Keep(Kept::Sent)
        }
        Some(UploadRecord::Sent { stamp, sha256, .. }) if stamp.size == local.size => Step::Compare(*sha256),
        Some(UploadRecord::Sent { .. }) => Step::Send(Reason::Changed),
        Some(UploadRecord::Begun { stamp, fresh }) => match remote {
            Remote::Listed(Some(_)) if *fresh && *stamp == local => Step::Keep(Kept::Arrived),
            _ => Step::Send(Reason::Interrupted),
        },
        Some(UploadRecord::Found { stamp }) if *stamp != local => Step::Send(Reason::Changed),
        None | Some(UploadRecord::Found { .. }) => match remote {
            Remote::Listed(Some(_)) => Step::Keep(Kept::SameLength),
            _ => Step::Send(Reason::Missing),
        },
    }
}

/// What is wrong with the names that the API gave to a folder's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Renamed {
    /// Two files have one name.
    Merged {
        /// Their names in the folder.
        files: (String, String),
        /// Their name in the dataset.
        stored_as: String,
    },
    /// A caption and its picture have different stems.
    Parted {
        /// Their names in the folder.
        files: (String, String),
        /// Their stems in the dataset.
        stems: (String, String),
    },
}

impl fmt::Display for Renamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Merged { files: (one, other), stored_as } => {
                write!(f, "`{one}` and `{other}` are both `{stored_as}` in the dataset")
            }
            Self::Parted { files: (one, other), stems: (stem, other_stem) } => write!(
                f,
                "`{one}` and `{other}` belong together, and have the stems `{stem}` and `{other_stem}` in the dataset"
            ),
        }
    }
}

/// Whether the names that the API gave to a folder's files take a caption from its picture, or let two files fall
/// together; returns what is wrong with the first such file.
#[must_use]
pub(crate) fn renaming_fault<'a>(names: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Renamed> {
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let mut stems: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (name, stored_as) in names {
        if let Some(other) = taken.insert(stored_as, name) {
            return Some(Renamed::Merged { files: pair(other, name), stored_as: stored_as.to_owned() });
        }
        let (old, new) = (stem(name), stem(stored_as));
        if let Some((other, other_name)) = stems.insert(old, (new, name)).filter(|(other, _)| *other != new) {
            return Some(Renamed::Parted { files: pair(other_name, name), stems: pair(other, new) });
        }
    }
    None
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64, modified: i64) -> Stamp {
        Stamp { size, modified: Some(modified) }
    }

    fn digest() -> Sha256Digest {
        Sha256Digest::new([7; 32])
    }

    fn sent(stamp: Stamp) -> UploadRecord {
        UploadRecord::Sent { stamp, sha256: digest(), stored_as: None }
    }

    #[test]
    fn what_has_to_be_sent() {
        use {Kept::*, Reason::*, Step::*};
        let local = stamp(10, 5);
        let listed = |size| Remote::Listed(Some(size));
        for (remote, record, expected) in [
            // Nothing is remembered: the inventory decides.
            (Remote::Absent, None, Send(Missing)),
            (listed(9), None, Send(OtherLength)),
            (listed(10), None, Keep(SameLength)),
            (Remote::Listed(None), None, Send(Missing)),
            (Remote::Unknown, None, Send(Missing)),
            // It was sent.
            (listed(10), Some(sent(stamp(10, 5))), Keep(Sent)),
            (listed(10), Some(sent(stamp(10, 4))), Compare(digest())),
            (listed(10), Some(sent(stamp(9, 5))), Send(Changed)),
            (Remote::Listed(None), Some(sent(stamp(10, 5))), Keep(Sent)),
            (Remote::Unknown, Some(sent(stamp(10, 5))), Keep(Sent)),
            (Remote::Absent, Some(sent(stamp(10, 5))), Send(Missing)),
            (listed(9), Some(sent(stamp(10, 5))), Send(OtherLength)),
            (listed(10), Some(sent(Stamp { size: 10, modified: None })), Compare(digest())),
            // A push ended while it was sent.
            (listed(10), Some(UploadRecord::Begun { stamp: local, fresh: true }), Keep(Arrived)),
            (listed(10), Some(UploadRecord::Begun { stamp: local, fresh: false }), Send(Interrupted)),
            (listed(10), Some(UploadRecord::Begun { stamp: stamp(10, 4), fresh: true }), Send(Interrupted)),
            (Remote::Unknown, Some(UploadRecord::Begun { stamp: local, fresh: true }), Send(Interrupted)),
            (Remote::Absent, Some(UploadRecord::Begun { stamp: local, fresh: true }), Send(Missing)),
            // It was there.
            (listed(10), Some(UploadRecord::Found { stamp: local }), Keep(SameLength)),
            (listed(10), Some(UploadRecord::Found { stamp: stamp(10, 4) }), Send(Changed)),
        ] {
            assert_eq!(step(local, remote, record.as_ref()), expected, "{remote:?} {record:?}");
        }
    }

    #[test]
    fn a_file_is_looked_for_under_the_name_that_it_got() {
        let files =
            ["my dog.jpg", "b.jpg"].map(|name| LocalFile { name: name.to_owned(), stamp: stamp(1, 1) });
        let remote = |name: &str| RemoteFile { name: name.to_owned(), size: Some(1) };
        let records = UploadRecords::from([(
            "my dog.jpg".to_owned(),
            UploadRecord::Sent {
                stamp: stamp(1, 1),
                sha256: digest(),
                stored_as: Some("my_dog.jpg".to_owned()),
            },
        )]);
        let inventory = [remote("my_dog.jpg"), remote("c.jpg")];
        let plan = plan(&files, Some(&inventory), &records);
        assert_eq!(plan.steps, [Step::Keep(Kept::Sent), Step::Send(Reason::Missing)]);
        assert_eq!(plan.foreign, ["c.jpg"]);
    }

    #[test]
    fn names_that_part_what_belongs_together() {
        let pairs = [("a b.jpg", "a_b.jpg"), ("a b.txt", "a_b.txt"), ("c.jpg", "c.jpg")];
        assert_eq!(renaming_fault(pairs), None);
        let words = |names| renaming_fault(names).map(|renamed| renamed.to_string());
        assert_eq!(
            words([("a b.jpg", "a_b.jpg"), ("a b.txt", "a b.txt")]).as_deref(),
            Some(
                "`a b.jpg` and `a b.txt` belong together, and have the stems `a_b` and `a b` in the dataset"
            )
        );
        assert_eq!(
            words([("a b.jpg", "a_b.jpg"), ("a?b.jpg", "a_b.jpg")]).as_deref(),
            Some("`a b.jpg` and `a?b.jpg` are both `a_b.jpg` in the dataset")
        );
    }
}
