//! Removes numbered checkpoints from DIR by rule, and remembers that they were here, so that they are not fetched again.
//!
//! The order, and what a kill leaves after each step:
//!
//! 1. `pruning.json` lists what is about to be removed (nothing else happened yet: the list is dropped);
//! 2. the manifest records `pruned` (the manifest never claims bytes that are not there, so it comes before the removal;
//!    the other order would have the next run fetch what was removed on purpose);
//! 3. `SHA256SUMS` no longer lists them (it may list what is there, never what is not);
//! 4. the files are removed (what is left is found in `pruning.json` and removed when the folder is opened next);
//! 5. `pruning.json` is removed. Without it a file under such a name was put back by the user, and is kept.
//!
//! Old states of the optimizer take the same way, except that the manifest forgets them.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::mirror::retention::{Pruned, Retention, surplus};
use crate::edge::folder::blocks::BlockFolder;
use crate::edge::folder::checksummed;
use crate::edge::folder::hashing::{is_as_published, is_as_published_by};
use crate::edge::folder::manifest_store::{PRIVATE, Store};
use crate::edge::folder::reports;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::engine::destination::read_ahead::{Digests, Unread};
use crate::error::Error;
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState, Manifest, Record};
use crate::model::names::rel_path::RelPath;

/// A list of ten thousand paths has some MB.
const LIST_BOUND: u64 = 64 << 20;

/// Removes what `retention` does not keep, in a folder that is open.
pub(crate) fn apply(dir: &Path, store: &Arc<Mutex<Store>>, retention: Retention) -> Result<Pruned, Error> {
    let judged = judge_open(dir, store, retention);
    remove(dir, store, judged)
}

/// Sorts out what goes, in a folder that is open. A file with a new time stamp is read, which takes its time; what is committed
/// meanwhile need not wait for that.
pub(crate) fn judge_open(dir: &Path, store: &Arc<Mutex<Store>>, retention: Retention) -> Judged {
    let manifest = store.lock().unwrap_or_else(PoisonError::into_inner).manifest().clone();
    judge(dir, &manifest, retention)
}

/// Removes what was judged to go, except what was published anew since then.
pub(crate) fn remove(dir: &Path, store: &Arc<Mutex<Store>>, mut judged: Judged) -> Result<Pruned, Error> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    judged.going.retain(|(key, entry)| store.manifest().entries.get(key) == Some(entry));
    if judged.going.is_empty() {
        return Ok(judged.into_pruned());
    }
    let paths: Vec<&RelPath> = judged.going.iter().map(|(_, entry)| &entry.path).collect();
    write_list(dir, &paths)?;
    let records = judged.going.iter().map(|(key, entry)| {
        let entry = Entry { state: EntryState::Pruned, ..entry.clone() };
        Record::Know { key: key.clone(), entry }
    });
    store.append(records.collect())?;
    finish(dir, &store, &Digests::default())?;
    Ok(judged.into_pruned())
}

/// Removes the states of the optimizer that an earlier version kept beside the newest one: a state is of no use without
/// its checkpoint. A file that was edited since stays, and is no longer recorded.
pub(crate) fn drop_old_optimizers(dir: &Path, store: &mut Store, digests: &Digests) -> Result<(), Error> {
    let mut records = Vec::new();
    for (key, entry) in old_optimizers(store.manifest()) {
        records.push(Record::Know { key: key.clone(), entry: Entry { older: Vec::new(), ..entry.clone() } });
    }
    if records.is_empty() {
        return Ok(());
    }
    let older = old_optimizers(store.manifest()).flat_map(|(_, entry)| &entry.older);
    write_list(dir, &older.map(|older| &older.path).collect::<Vec<_>>())?;
    store.append(records)?;
    finish(dir, store, digests)
}

/// The states of the optimizer that have older ones beside them.
fn old_optimizers(manifest: &Manifest) -> impl Iterator<Item = (&ArtifactKey, &Entry)> {
    manifest.entries.iter().filter(|(key, entry)| key.is_optimizer() && !entry.older.is_empty())
}

/// Completes what was begun: by [`apply`] or [`drop_old_optimizers`] just now, or by a run that was cut off.
pub(crate) fn finish(dir: &Path, store: &Store, digests: &Digests) -> Result<(), Error> {
    let Some(listed) = read_list(dir)? else { return Ok(()) };
    let manifest = store.manifest();
    reports::write_sums(dir, store, |_| true)?;
    // The list of before would name what is removed now. It may have been replaced in a run that was killed.
    store.unflushed().add(dir);
    store.unflushed().flush()?;
    let known: BTreeSet<&RelPath> = manifest.paths().collect();
    for path in listed.iter().filter(|path| !known.contains(path) && is_named_by_its_hash(dir, path, digests))
    {
        disk::remove(&path.to_path(dir))?;
    }
    let blocks = BlockFolder::new(dir);
    for (key, entry) in going(manifest, &listed) {
        if is_as_published_by(dir, entry, |path| digests.sha256_of(path)) {
            disk::remove(&entry.path.to_path(dir))?;
        }
        blocks.forget(key)?;
    }
    disk::flush_folder(dir)?;
    disk::remove(&list_path(dir))
}

/// Whether a file still has the bytes that a kept version is named by. The manifest has forgotten its hash by then.
fn is_named_by_its_hash(dir: &Path, path: &RelPath, digests: &Digests) -> bool {
    let is_file = matches!(disk::look(dir, path.as_str()), Some(LocalFile::File { .. }));
    is_file
        && digests
            .sha256_of(&path.to_path(dir))
            .is_ok_and(|sha256| path.file_name().contains(&format!("~{}", sha256.short())))
}

fn going<'m>(
    manifest: &'m Manifest,
    listed: &[RelPath],
) -> impl Iterator<Item = (&'m ArtifactKey, &'m Entry)> {
    let is_going = |entry: &Entry| entry.state == EntryState::Pruned && listed.contains(&entry.path);
    manifest.entries.iter().filter(move |(_, entry)| is_going(entry))
}

/// Returns the files that [`finish`] and [`drop_old_optimizers`] need the digests of: checkpoints whose time stamp changed since
/// they were published, and old states of the optimizer.
pub(crate) fn unread(dir: &Path, manifest: &Manifest) -> Result<Vec<Unread>, Error> {
    let listed = read_list(dir)?.unwrap_or_default();
    let mut unread: Vec<Unread> = going(manifest, &listed)
        .filter_map(|(_, entry)| match disk::look(dir, entry.path.as_str())? {
            LocalFile::File { size, modified } if size == entry.size && modified != entry.modified => {
                Some(Unread { path: entry.path.to_path(dir), size })
            }
            _ => None,
        })
        .collect();
    let known: BTreeSet<&RelPath> = manifest.paths().collect();
    let begun = listed.iter().filter(|path| !known.contains(path));
    let left = old_optimizers(manifest).flat_map(|(_, entry)| entry.older.iter().map(|older| &older.path));
    unread.extend(begun.chain(left).filter_map(|path| match disk::look(dir, path.as_str())? {
        LocalFile::File { size, .. } => Some(Unread { path: path.to_path(dir), size }),
        LocalFile::Other => None,
    }));
    Ok(unread)
}

/// Which checkpoints `retention` does not keep, and which of them may be removed.
#[derive(Debug)]
pub(crate) struct Judged {
    going: Vec<(ArtifactKey, Entry)>,
    edited: Vec<Entry>,
    kept: u64,
}

impl Judged {
    /// Whether a file is to be removed.
    pub(crate) const fn has_going(&self) -> bool {
        !self.going.is_empty()
    }

    pub(crate) fn into_pruned(self) -> Pruned {
        let removed = self.going.into_iter().map(|(_, entry)| entry).collect();
        Pruned { removed, edited: self.edited, kept: self.kept }
    }
}

/// Sorts out what goes. A file that is gone already only has to be remembered.
pub(crate) fn judge(dir: &Path, manifest: &Manifest, retention: Retention) -> Judged {
    let surplus = surplus(manifest, retention);
    let numbered = manifest
        .present()
        .into_iter()
        .filter(|(kind, entry)| *kind == ArtifactKind::Checkpoint && entry.step.is_some());
    let kept = numbered.count().saturating_sub(surplus.len()) as u64;
    let (going, edited): (Vec<_>, Vec<_>) = surplus.into_iter().partition(|(_, entry)| {
        disk::look(dir, entry.path.as_str()).is_none() || is_as_published(dir, entry)
    });
    Judged {
        going: going.into_iter().map(|(key, entry)| (key.clone(), entry.clone())).collect(),
        edited: edited.into_iter().map(|(_, entry)| entry.clone()).collect(),
        kept,
    }
}

pub(crate) fn list_path(dir: &Path) -> std::path::PathBuf {
    dir.join(PRIVATE).join("pruning.json")
}

pub(crate) fn write_list(dir: &Path, paths: &[&RelPath]) -> Result<(), Error> {
    let path = list_path(dir);
    let text = checksummed::seal(&paths).map_err(|error| fault("write", &path)(error.into()))?;
    disk::replace(&path, disk::parent(&path), text.as_bytes(), Durability::Durable)
}

/// Returns the list; one that is damaged names nothing, and what it meant stays.
pub(crate) fn read_list(dir: &Path) -> Result<Option<Vec<RelPath>>, Error> {
    let path = list_path(dir);
    let file = match disk::open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault("read", &path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(LIST_BOUND).read_to_end(&mut bytes).map_err(fault("read", &path))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(Some(checksummed::unseal(&text).unwrap_or_default()))
}
