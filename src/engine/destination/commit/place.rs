//! Which name a proven file gets, and what becomes of a file that has it. Nothing that rcsync did not write is in danger.

use std::path::Path;

use crate::decide::mirror::plan::beside;
use crate::edge::folder::hashing::sha256_of;
use crate::edge::folder::manifest_store::Store;
use crate::edge::system::disk::{self, fault};
use crate::engine::commit_queue::{Committed, Finished};
use crate::engine::event::{Event, Notice};
use crate::engine::options::OnChange;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState, Older};
use crate::model::names::rel_path::RelPath;

use super::Committer;

/// What a file's name is.
pub(super) enum Placed {
    /// It was here already, with the same bytes.
    Here(ArtifactKey, Box<Entry>),
    /// It gets this one.
    Ready(Box<Ready>),
}

/// Why a file gets no name.
pub(super) struct Unplaced {
    pub(super) key: ArtifactKey,
    pub(super) error: Error,
}

/// A file and the name that it is about to get.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) file: Finished,
    pub(super) entry: Entry,
    pub(super) set_aside: Option<Aside>,
}

/// What becomes of rcsync's own file that has the name now.
#[derive(Debug)]
pub(super) enum Aside {
    /// It goes: the user wants the new bytes alone, or the disk damaged it.
    Replaced,
    /// Kept beside the new one.
    Kept(RelPath),
    /// Not what was published any more: kept under a name that no model loader lists.
    Edited(String),
}

impl Ready {
    /// Proven were the bytes that passed by: a part that has more of them now, or fewer, is not what was proven.
    /// Returns the time stamp, which a rename leaves as it is.
    pub(super) fn ensure_length(&self) -> Result<Option<i64>, Error> {
        let part = self.file.part.path();
        let metadata = self.file.part.file().metadata().map_err(fault("read", part))?;
        if metadata.len() == self.entry.size {
            return Ok(disk::modified(&metadata));
        }
        let source = std::io::Error::other("another program changed it meanwhile").into();
        Err(Error::Disk { verb: "publish", path: part.to_path_buf(), source })
    }

    pub(super) fn into_result(self, outcome: Result<(), Error>) -> Committed {
        let artifact = self.file.task.artifact;
        let (wanted, path) = (&artifact.path, &self.entry.path);
        let path = path.clone();
        let notice = match self.set_aside {
            Some(Aside::Edited(kept)) => Some(Notice::KeptEdited { path, kept }),
            Some(Aside::Kept(kept)) => Some(Notice::KeptOlder { path, kept }),
            None if path != *wanted => Some(Notice::NameTaken { wanted: wanted.clone(), path }),
            Some(Aside::Replaced) | None => None,
        };
        match outcome {
            Ok(()) => {
                let event = Event::Published {
                    path: self.entry.path,
                    kind: artifact.key.kind,
                    step: artifact.step,
                    size: self.entry.size,
                    sha256: self.entry.sha256,
                    evidence: self.entry.evidence,
                    elapsed: self.file.elapsed,
                };
                Committed::Published(event, notice)
            }
            Err(error) => Committed::Failed(error),
        }
    }
}

impl Committer {
    /// Gives a file that is new here its name without a look at it: that shows by itself whether the name is free.
    pub(super) fn unseen(&self, file: Finished) -> Ready {
        let entry = self.entry(&file, file.task.artifact.path.clone(), Vec::new());
        Ready { entry, set_aside: None, file }
    }

    /// Chooses the name and clears the way: nothing that rcsync did not write is ever in danger.
    pub(super) fn place(&self, store: &Store, file: Finished) -> Result<Placed, Unplaced> {
        let (artifact, verified) = (&file.task.artifact, &file.verified);
        let unplaced = |error| Unplaced { key: artifact.key.clone(), error };
        let known = store.manifest().entries.get(&artifact.key);
        let mut older = known.map(|entry| entry.older.clone()).unwrap_or_default();
        let mut path = artifact.path.clone();
        let mut set_aside = None;
        match disk::look(&self.dir, path.as_str()) {
            None => {}
            Some(LocalFile::Other) => path = beside(artifact),
            Some(LocalFile::File { size, modified }) => {
                let full = self.dir.join(path.as_str());
                let ours = known.filter(|entry| entry.path == path);
                let untouched = ours.is_some_and(|entry| entry.size == size && entry.modified == modified);
                let here = match ours {
                    Some(entry) if untouched && !file.task.is_damaged => Some(entry.sha256),
                    _ => match sha256_of(&full) {
                        Ok(here) => Some(here),
                        // The disk gives it back no more.
                        Err(_) if untouched => None,
                        Err(error) => return Err(unplaced(error)),
                    },
                };
                if here == Some(verified.sha256()) {
                    let mut entry = self.entry(&file, path, older);
                    entry.modified = modified;
                    // The bytes are in place; a part that is left is swept at the end.
                    let _ = file.part.discard();
                    return Ok(Placed::Here(artifact.key.clone(), Box::new(entry)));
                }
                match (ours, here) {
                    (Some(entry), Some(here)) if entry.sha256 == here => match self.on_change {
                        // The old state of the optimizer belongs to no checkpoint any more.
                        _ if artifact.key.is_optimizer() => set_aside = Some(Aside::Replaced),
                        OnChange::Replace => set_aside = Some(Aside::Replaced),
                        OnChange::Keep => {
                            let kept = self.name_to_keep(&path.with_suffix(&here.short()), here);
                            older.push(Older { path: kept.clone(), size: entry.size, sha256: here });
                            set_aside = Some(Aside::Kept(kept));
                        }
                    },
                    // Edited or cut off here since it was published: the edit is kept, under a name no loader lists.
                    (Some(_), Some(here)) if !untouched => {
                        set_aside = Some(Aside::Edited(self.edited_name(&path, here)));
                    }
                    // Unchanged since it was published: the disk lost bytes of it, and what is left is of no use.
                    (Some(_), _) => set_aside = Some(Aside::Replaced),
                    // Not a file of rcsync's.
                    (None, _) => path = self.free_name(&beside(artifact)),
                }
            }
        }
        let entry = self.entry(&file, path, older);
        Ok(Placed::Ready(Box::new(Ready { entry, set_aside, file })))
    }

    /// A name that is free.
    fn free_name(&self, path: &RelPath) -> RelPath {
        let mut free = path.clone();
        while disk::look(&self.dir, free.as_str()).is_some() {
            free = path.with_suffix(&format!("{:08x}", fastrand::u32(..)));
        }
        free
    }

    /// A name for old bytes: free, or one under which a run that was cut off has kept the same bytes already.
    fn name_to_keep(&self, path: &RelPath, sha256: Sha256Digest) -> RelPath {
        if holds(&path.to_path(&self.dir), sha256) { path.clone() } else { self.free_name(path) }
    }

    /// The same for an edited file, under a name that no model loader lists. Relative to DIR.
    fn edited_name(&self, path: &RelPath, sha256: Sha256Digest) -> String {
        let mut name = format!("{path}~{}.edited", sha256.short());
        while disk::look(&self.dir, &name).is_some() && !holds(&self.dir.join(&name), sha256) {
            name = format!("{path}~{}-{:08x}.edited", sha256.short(), fastrand::u32(..));
        }
        name
    }

    fn entry(&self, file: &Finished, path: RelPath, older: Vec<Older>) -> Entry {
        Entry {
            path,
            step: file.task.artifact.step,
            size: file.verified.size(),
            sha256: file.verified.sha256(),
            evidence: file.verified.evidence(),
            revision: file.revision.clone(),
            run: file.task.run.clone(),
            modified: None,
            state: EntryState::Present,
            older,
        }
    }
}

/// Whether a regular file with these bytes is at a path.
pub(super) fn holds(path: &Path, sha256: Sha256Digest) -> bool {
    sha256_of(path).is_ok_and(|found| found == sha256)
}
