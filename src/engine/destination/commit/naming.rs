//! The names of a group: recorded as about to be given, given, made durable, and recorded as known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use crate::edge::folder::blocks::BlockFolder;
use crate::edge::folder::manifest_store::Store;
use crate::edge::folder::reports;
use crate::edge::folder::tree::{Over, Published, Tree};
use crate::edge::system::disk::{self, fault};
use crate::engine::commit_queue::{Committed, Finished};
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::manifest::{Entry, Prepared, Record};
use crate::model::names::rel_path::RelPath;

use super::Committer;
use super::flush::Flushed;
use super::place::{Aside, Placed, Ready, holds};

type Results = Vec<(ArtifactKey, Committed)>;

/// What giving a name came to.
#[derive(Debug)]
pub(super) enum Named {
    /// The file has it, and this time stamp.
    Given(Option<i64>),
    /// Something has the name that was not looked at before.
    Taken,
}

impl Committer {
    /// Gives flushed files their names. Files that are new here are renamed without a look at the name; where it is taken
    /// all the same, what has it is looked at.
    pub(super) fn publish(&self, store: &mut Store, flushed: Vec<Flushed>) -> Results {
        let mut results = Vec::new();
        let mut placed = Vec::new();
        for flushed in flushed {
            match flushed {
                Ok(file) if !store.manifest().entries.contains_key(&file.task.artifact.key) => {
                    placed.push(self.unseen(file));
                }
                Ok(file) => self.look_and_place(store, file, &mut placed, &mut results),
                Err(failed) => results.push((failed.key, Committed::Failed(failed.error))),
            }
        }
        let taken = self.name_all(store, placed, &mut results);
        let mut placed = Vec::new();
        for ready in taken {
            self.look_and_place(store, ready.file, &mut placed, &mut results);
        }
        for ready in self.name_all(store, placed, &mut results) {
            let path = self.dir.join(ready.entry.path.as_str());
            let error = fault("publish", &path)(io::Error::from(io::ErrorKind::AlreadyExists));
            results.push((ready.file.task.artifact.key.clone(), ready.into_result(Err(error))));
        }
        results
    }

    fn look_and_place(
        &self,
        store: &mut Store,
        file: Finished,
        placed: &mut Vec<Ready>,
        results: &mut Results,
    ) {
        match self.place(store, file) {
            Ok(Placed::Here(key, entry)) => {
                results.push((key.clone(), Committed::Known));
                // A note saves work; without it the next run compares the file again.
                let _ = store.note(vec![Record::Know { key, entry: *entry }]);
            }
            Ok(Placed::Ready(ready)) => placed.push(*ready),
            Err(failed) => results.push((failed.key, Committed::Failed(failed.error))),
        }
    }

    /// Gives files their names; returns those whose name is taken.
    fn name_all(&self, store: &mut Store, placed: Vec<Ready>, results: &mut Results) -> Vec<Ready> {
        if placed.is_empty() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        match self.rename_all(store, &placed) {
            Ok(outcomes) => {
                for (ready, outcome) in placed.into_iter().zip(outcomes) {
                    let key = ready.file.task.artifact.key.clone();
                    match outcome {
                        Ok(Named::Taken) => taken.push(ready),
                        Ok(Named::Given(_)) => results.push((key, ready.into_result(Ok(())))),
                        Err(error) => results.push((key, ready.into_result(Err(error)))),
                    }
                }
            }
            Err(error) => {
                for ready in placed {
                    let key = ready.file.task.artifact.key.clone();
                    let path = self.dir.join(ready.entry.path.as_str());
                    let error = fault("publish", &path)(io::Error::other(error.clone()));
                    results.push((key, Committed::Failed(error)));
                }
            }
        }
        taken
    }

    fn rename_all(&self, store: &mut Store, placed: &[Ready]) -> Result<Vec<Result<Named, Error>>, Error> {
        // `sha256sum -c` must pass at every instant: what is about to change leaves the list first.
        let leaving: BTreeSet<&str> = placed
            .iter()
            .filter(|ready| ready.set_aside.is_some())
            .map(|ready| ready.entry.path.as_str())
            .collect();
        if !leaving.is_empty() {
            reports::write_sums(&self.dir, store, |path| !leaving.contains(path))?;
            // It may have left the list in a run that was killed before the folder was flushed.
            store.unflushed().add(&self.dir);
        }
        let mut tree = Tree::open(&self.dir)?;
        let prepares = placed.iter().map(|ready| Record::Prepare {
            key: ready.file.task.artifact.key.clone(),
            prepared: Prepared { part: ready.file.part.name(), entry: ready.entry.clone() },
        });
        store.append(prepares.collect())?;
        let mut outcomes: Vec<_> = placed.iter().map(|ready| self.rename(&mut tree, ready)).collect();
        make_durable(&mut tree, store, placed, &mut outcomes)?;
        let blocks = BlockFolder::new(&self.dir);
        let mut records = Vec::with_capacity(placed.len());
        for (ready, outcome) in placed.iter().zip(&outcomes) {
            let key = ready.file.task.artifact.key.clone();
            match outcome {
                Ok(Named::Given(modified)) => {
                    let entry = Entry { modified: *modified, ..ready.entry.clone() };
                    records.push(Record::Know { key, entry });
                    // Only ever a saving for `verify --repair`.
                    let _ = blocks.keep(&ready.file.part, ready.entry.sha256);
                    // A record that is left is swept at the end.
                    let _ = ready.file.part.remove_record();
                }
                Ok(Named::Taken) | Err(_) => records.push(Record::Abandon { key }),
            }
        }
        // The names are durable already; were this record lost, recovery would find them and write it again.
        store.note(records)?;
        Ok(outcomes)
    }

    pub(super) fn rename(&self, tree: &mut Tree, ready: &Ready) -> Result<Named, Error> {
        let modified = ready.ensure_length()?;
        let name = ready.entry.path.as_str();
        match &ready.set_aside {
            None | Some(Aside::Replaced) => {}
            // By a second name, so that the first is never without a file.
            Some(Aside::Kept(kept)) => tree.keep(name, kept.as_str())?,
            Some(Aside::Edited(kept)) => tree.keep(name, kept)?,
        }
        let over = if ready.set_aside.is_some() { Over::Old } else { Over::Nothing };
        let error = match tree.publish(&ready.file.part.name(), name, over) {
            Ok(Published::Renamed) => return Ok(Named::Given(modified)),
            Ok(Published::Copied(modified)) => return Ok(Named::Given(modified)),
            Err(error) => error,
        };
        if matches!(&error, Error::Disk { source, .. } if source.kind() == io::ErrorKind::AlreadyExists) {
            return Ok(Named::Taken);
        }
        // Another rcsync, which was granted the lock on this disk too, was quicker: with a part of its own, or, when it
        // had just begun and read that this one was about to be named, with this one.
        let path = self.dir.join(name);
        if holds(&path, ready.entry.sha256) {
            // The bytes are in place; a part that is left is swept at the end.
            let _ = ready.file.part.discard();
            return stamp(&path).map(Named::Given);
        }
        Err(error)
    }
}

/// Flushes the folders that names were given in. A file in one that was moved meanwhile, or that something else took the
/// place of, has no name that counts: it becomes a part again.
fn make_durable(
    tree: &mut Tree,
    store: &Store,
    placed: &[Ready],
    outcomes: &mut [Result<Named, Error>],
) -> Result<(), Error> {
    let mut folders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, (ready, outcome)) in placed.iter().zip(outcomes.iter()).enumerate() {
        if matches!(outcome, Ok(Named::Given(_))) {
            folders.entry(folder_of(&ready.entry.path).to_owned()).or_default().push(at);
        }
    }
    for above in tree.take_unflushed() {
        // Should its flush fail, it is tried before the next record.
        store.unflushed().add(&tree.path_of(&above));
        folders.entry(above).or_default();
    }
    for (folder, files) in &folders {
        store.unflushed().flush_one(&tree.path_of(folder), || tree.flush(folder))?;
        if tree.ensure_in_place(folder).is_ok() {
            continue;
        }
        for &at in files {
            let ready = &placed[at];
            tree.take_back(ready.entry.path.as_str(), &ready.file.part.name());
            outcomes[at] = tree.ensure_in_place(folder).and(Ok(Named::Taken));
        }
    }
    Ok(())
}

fn folder_of(path: &RelPath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn stamp(path: &Path) -> Result<Option<i64>, Error> {
    fs::symlink_metadata(path).map(|metadata| disk::modified(&metadata)).map_err(fault("read", path))
}
