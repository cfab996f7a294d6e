//! Reading every mirrored byte again, and reporting what is not as it was published. Changes nothing.

use std::ops::Range;
use std::path::Path;

use crate::edge::folder::blocks::BlockFolder;
use crate::edge::system::disk;
use crate::error::explain_briefly;
use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::job_file::{JobArtifact, UNREAD};
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;

use super::hashing::sha256_of;
use super::reports::read_job_keeping;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Checked {
    /// Files that are as they were published.
    pub(crate) good: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The others, in order of path.
    pub(crate) bad: Vec<BadFile>,
}

/// A file that is not as it was published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BadFile {
    /// Which file it is.
    pub(crate) key: ArtifactKey,
    /// Where it should be.
    pub(crate) path: RelPath,
    /// It was kept when the hosted file got new bytes, so it is hosted no more.
    pub(crate) is_older: bool,
    /// What is wrong.
    pub(crate) problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Problem {
    /// There is nothing.
    Missing,
    /// What is there is no regular file, or the way there leads through a link.
    NoFile,
    /// Its length differs.
    Length {
        /// Bytes that are there.
        found: u64,
        /// Bytes that were published.
        expected: u64,
        /// The bytes that differ, where that is known.
        ranges: Option<Vec<Range<u64>>>,
    },
    /// Its bytes differ.
    Bytes {
        /// What they hash to.
        found: Sha256Digest,
        /// What they hashed to when they were published.
        expected: Sha256Digest,
        /// The bytes that differ, where that is known.
        ranges: Option<Vec<Range<u64>>>,
    },
    /// The disk does not give it.
    Unreadable(String),
}

/// Reads every file; `None` when `is_ended` was true in between.
pub(crate) fn check(dir: &Path, manifest: &Manifest, is_ended: impl Fn() -> bool) -> Option<Checked> {
    let mut checked = Checked::default();
    let mut entries: Vec<(&ArtifactKey, &Entry)> =
        manifest.entries.iter().filter(|(_, entry)| entry.state == EntryState::Present).collect();
    entries.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    for (key, entry) in entries {
        let own = (&entry.path, entry.size, entry.sha256, false);
        let older = entry.older.iter().map(|older| (&older.path, older.size, older.sha256, true));
        for (path, size, sha256, is_older) in std::iter::once(own).chain(older) {
            if is_ended() {
                return None;
            }
            let problem = problem(dir, key, path, size, sha256);
            // A run that was cut off may have published new bytes and not yet recorded it: those are good too.
            let next =
                manifest.prepared.get(key).map(|prepared| &prepared.entry).filter(|next| next.path == *path);
            let is_next =
                || next.is_some_and(|next| self::problem(dir, key, path, next.size, next.sha256).is_none());
            match problem.filter(|_| !is_next()) {
                None => {
                    checked.good += 1;
                    checked.bytes = checked.bytes.saturating_add(size);
                }
                Some(problem) => {
                    checked.bad.push(BadFile { key: key.clone(), path: path.clone(), is_older, problem });
                }
            }
        }
    }
    for (key, row) in unread(dir, manifest) {
        if is_ended() {
            return None;
        }
        let Some((size, sha256, _)) = row.proven() else { continue };
        match problem(dir, &key, &row.path, size, sha256) {
            None => {
                checked.good += 1;
                checked.bytes = checked.bytes.saturating_add(size);
            }
            Some(problem) => checked.bad.push(BadFile { key, path: row.path, is_older: false, problem }),
        }
    }
    checked.bad.sort_by(|a, b| a.path.cmp(&b.path));
    Some(checked)
}

/// Files that could not be read when the manifest was lost: it does not know them, and their rows of `job.json` are all that is
/// recorded.
fn unread(dir: &Path, manifest: &Manifest) -> Vec<(ArtifactKey, JobArtifact)> {
    let rows = read_job_keeping(dir, &manifest.job, |row| {
        row.state == UNREAD && !manifest.entries.contains_key(&row.key())
    });
    let rows = rows.map(|read| read.artifacts).unwrap_or_default();
    rows.into_iter().map(|row| (row.key(), row)).collect()
}

/// What is wrong where the system does not let a path be looked at.
fn unreachable(path: &Path) -> Problem {
    match path.symlink_metadata() {
        Ok(_) => Problem::Unreadable("it could not be looked at".to_owned()),
        Err(error) => Problem::Unreadable(explain_briefly(&disk::fault("look at", path)(error))),
    }
}

/// Returns what is wrong with what is at `path`; `None` when it is what was published.
pub(crate) fn problem(
    dir: &Path,
    key: &ArtifactKey,
    path: &RelPath,
    size: u64,
    sha256: Sha256Digest,
) -> Option<Problem> {
    let full = path.to_path(dir);
    let ranges = || BlockFolder::new(dir).read(key, sha256)?.bad_ranges(&full).ok();
    match disk::look(dir, path.as_str()) {
        None if disk::is_out_of_reach(&full) => Some(unreachable(&full)),
        None => Some(Problem::Missing),
        Some(LocalFile::Other) => Some(Problem::NoFile),
        Some(LocalFile::File { size: found, .. }) if found != size => {
            Some(Problem::Length { found, expected: size, ranges: ranges() })
        }
        Some(LocalFile::File { .. }) => match sha256_of(&full) {
            Ok(found) if found == sha256 => None,
            Ok(found) => Some(Problem::Bytes { found, expected: sha256, ranges: ranges() }),
            Err(error) => Some(Problem::Unreadable(explain_briefly(&error))),
        },
    }
}
