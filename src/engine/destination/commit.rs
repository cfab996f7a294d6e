//! The last steps of many files at once: flush, journal, rename, flush the folders. Durability is paid by the batch.
//!
//! After a crash at any point recovery finds either the part and its `prepare` record, or the final name, and goes on.

mod sums;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::decide::mirror::plan::beside;
use crate::decide::transfer::group_commit::{FlushCost, Gather};
use crate::decide::transfer::task::Task;
use crate::decide::transfer::verify::Verified;
use crate::edge::folder::blocks::BlockFolder;
use crate::edge::folder::lock::FolderLock;
use crate::edge::folder::manifest_store::Store;
use crate::edge::folder::part_file::Part;
use crate::edge::system::blocking::blocking;
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::engine::destination::reports;
use crate::engine::event::{Event, Notice};
use crate::engine::options::OnChange;
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::digest::Sha256Digest;
use crate::model::local::LocalFile;
use crate::model::manifest::{Doubt, Entry, EntryState, Manifest, Older, Prepared, Record};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::hashing::sha256_of;
use sums::Sums;

/// Files in one batch: enough that a flush of the journal costs each of them little, few enough that the first of them
/// does not wait long for its name.
pub(crate) const BATCH: usize = 256;

/// Files up to this size wait for others to be committed with.
const SMALL: u64 = 512 << 10;

/// How often the gathering of a group looks for more files.
const GATHER_STEP: Duration = Duration::from_millis(2);

/// Flushes at a time: disks take several flushes at once (measured: 0.43 s instead of 0.65 s for 1,000 files).
const FLUSHERS: usize = 8;

/// Something for the manifest.
#[derive(Debug)]
pub(crate) enum ToCommit {
    /// A proven file wants its final name.
    Publish(Box<Finished>),
    /// The host said in this run of the job that a file which is here did not change.
    Unchanged(ArtifactKey, RelPath, String),
    /// A file that is here already is proven to be a listed one.
    Adopt(ArtifactKey, Box<Entry>),
    /// A body contradicted its proof.
    Doubt(ArtifactKey, Doubt),
    /// Nothing more comes.
    End,
}

impl ToCommit {
    /// Whether it does not wait for others: a large file's name is worth a flush of its own, and at the end nothing comes.
    fn is_urgent(&self) -> bool {
        match self {
            Self::Publish(file) => file.verified.size() > SMALL,
            Self::End => true,
            Self::Adopt(..) | Self::Unchanged(..) | Self::Doubt(..) => false,
        }
    }
}

/// Files of a group that are flushed where they are committed, or were flushed before.
enum ToFlush {
    Here(Vec<Finished>),
    Done(Vec<Flushed>),
}

impl ToFlush {
    /// Flushes what is to be flushed; returns how long that took, too.
    fn finish(self) -> (Vec<Flushed>, Duration) {
        match self {
            Self::Done(flushed) => (flushed, Duration::ZERO),
            Self::Here(finished) => {
                let began = Instant::now();
                let flushed = finished.into_iter().map(flush).collect();
                (flushed, began.elapsed())
            }
        }
    }
}

/// A proven file.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) task: Task,
    pub(crate) part: Arc<Part>,
    pub(crate) verified: Verified,
    pub(crate) revision: Revision,
    pub(crate) elapsed: Duration,
}

impl Finished {
    fn name(&self) -> (ArtifactKey, RelPath) {
        let Artifact { key, path, .. } = self.task.artifact.as_ref();
        (key.clone(), path.clone())
    }
}

/// What became of one item.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It stands under its final name, and what else people should know of that.
    Published(Event, Option<Notice>),
    /// It was here already with the same bytes.
    Known,
    /// It could not get its name.
    Failed(Error),
}

/// Gives proven files their final names.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    pub(crate) dir: PathBuf,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) on_change: OnChange,
    /// How long a group is gathered.
    pub(crate) gather: Gather,
    /// The most files in one batch.
    pub(crate) batch: usize,
    /// Knows whether DIR is still the folder that was opened.
    pub(crate) place: Option<Arc<FolderLock>>,
}

/// Knows files from now on that were here already.
fn adopt(store: &mut Store, adopted: Vec<(ArtifactKey, Entry)>) -> Vec<(ArtifactKey, Committed)> {
    if adopted.is_empty() {
        return Vec::new();
    }
    let records = adopted.iter().cloned().map(|(key, entry)| Record::Know { key, entry }).collect();
    let failed = store.append(records).err();
    let became = |(key, entry): (ArtifactKey, Entry)| {
        let committed = match &failed {
            None => Committed::Known,
            Some(error) => {
                let source = std::io::Error::other(error.clone()).into();
                let path = entry.path.as_str().into();
                Committed::Failed(Error::Disk { verb: "record", path, source })
            }
        };
        (key, committed)
    };
    adopted.into_iter().map(became).collect()
}

/// What an answer that a file did not change adds to the manifest: nothing where the file was pruned since it was asked.
fn asked_in(manifest: &Manifest, key: ArtifactKey, run: String) -> Option<Record> {
    let entry = manifest.entries.get(&key).filter(|entry| entry.state == EntryState::Present)?;
    let entry = Entry { run, ..entry.clone() };
    Some(Record::Know { key, entry })
}

impl Committer {
    /// Commits whatever comes until the end is told; tells what became of each file, in order.
    pub(crate) async fn run(
        self,
        mut items: mpsc::Receiver<ToCommit>,
        done: impl Fn(&ArtifactKey, Committed) + Send + Sync + 'static,
    ) {
        let done = Arc::new(done);
        let mut batch = Vec::with_capacity(self.batch);
        let mut ended = false;
        let mut sums = Sums::default();
        let mut cost = FlushCost::default();
        while !ended {
            tokio::select! {
                biased;
                // First: under a stream of small files there is always a next batch, and this comes seldom.
                () = sums.due() => {
                    sums.write(&self).await;
                    continue;
                }
                count = items.recv_many(&mut batch, self.batch) => if count == 0 { return },
            }
            self.gather(&mut items, &mut batch).await;
            let mut finished = Vec::new();
            let (mut unchanged, mut doubts) = (Vec::new(), Vec::new());
            let mut adopted = Vec::new();
            for item in batch.drain(..) {
                match item {
                    ToCommit::Publish(file) => finished.push(*file),
                    ToCommit::Unchanged(key, path, run) => unchanged.push((key, path, run)),
                    ToCommit::Adopt(key, entry) => adopted.push((key, *entry)),
                    ToCommit::Doubt(key, doubt) => doubts.push(Record::Doubt { key, doubt }),
                    ToCommit::End => ended = true,
                }
            }
            let unchanged_names = unchanged.iter().map(|(key, path, _)| (key.clone(), path.clone()));
            let adopted_names = adopted.iter().map(|(key, entry)| (key.clone(), entry.path.clone()));
            let names: Vec<_> =
                finished.iter().map(Finished::name).chain(unchanged_names).chain(adopted_names).collect();
            let files = finished.len();
            let to_flush = if cost.is_cheap() {
                ToFlush::Here(finished)
            } else {
                let began = Instant::now();
                let flushed = flush_all(finished).await;
                cost.observe(files, began.elapsed(), FLUSHERS.min(files));
                ToFlush::Done(flushed)
            };
            let (this, done) = (self.clone(), done.clone());
            let committing = blocking(move || {
                let (flushed, took) = to_flush.finish();
                let results = panic::catch_unwind(AssertUnwindSafe(|| {
                    this.commit(unchanged, adopted, doubts, flushed)
                }));
                // Whoever waits for these files must hear that they do not come.
                let lost = |(key, path): (ArtifactKey, RelPath)| {
                    let error = lost(&this.dir.join(path.as_str()), DEFECT);
                    (key, Committed::Failed(error))
                };
                for (key, committed) in results.unwrap_or_else(|_| names.into_iter().map(lost).collect()) {
                    done(&key, committed);
                }
                took
            });
            match committing.await {
                Ok(took) if !took.is_zero() => cost.observe(files, took, 1),
                Ok(_) => {}
                // A panic in the telling itself is nothing that could be told.
                Err(gone) => tracing::debug!(%gone, "what became of a group could not be reported"),
            }
            sums.touch();
        }
    }

    /// Waits for a group to be worth its flush of the journal. Items pile up meanwhile: the committer is not woken for each.
    async fn gather(&self, items: &mut mpsc::Receiver<ToCommit>, batch: &mut Vec<ToCommit>) {
        let began = Instant::now();
        let most = self.batch;
        while batch.len() < most
            && !self.gather.is_complete(batch.len(), began.elapsed(), batch.iter().any(ToCommit::is_urgent))
        {
            tokio::time::sleep(GATHER_STEP.min(self.gather.longest)).await;
            while batch.len() < most
                && let Ok(item) = items.try_recv()
            {
                batch.push(item);
            }
        }
    }

    fn commit(
        &self,
        unchanged: Vec<(ArtifactKey, RelPath, String)>,
        adopted: Vec<(ArtifactKey, Entry)>,
        doubts: Vec<Record>,
        flushed: Vec<Flushed>,
    ) -> Vec<(ArtifactKey, Committed)> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut results: Vec<_> = unchanged.iter().map(|(key, ..)| (key.clone(), Committed::Known)).collect();
        let mut notes = doubts;
        notes.extend(unchanged.into_iter().filter_map(|(key, _, run)| asked_in(store.manifest(), key, run)));
        // What could not be noted is found out again by the next run; the disk's trouble shows with the next file.
        let _ = store.note(notes);
        results.extend(adopt(&mut store, adopted));
        results.extend(self.publish(&mut store, flushed));
        results
    }

    fn publish(&self, store: &mut Store, flushed: Vec<Flushed>) -> Vec<(ArtifactKey, Committed)> {
        let mut results = Vec::new();
        let mut placed = Vec::new();
        for flushed in flushed {
            match flushed.and_then(|file| self.place(store, file)) {
                Ok(Placed::Here(key, entry)) => {
                    results.push((key.clone(), Committed::Known));
                    // A note saves work; without it the next run compares the file again.
                    let _ = store.note(vec![Record::Know { key, entry: *entry }]);
                }
                Ok(Placed::Ready(ready)) => placed.push(*ready),
                Err(failed) => results.push((failed.key, Committed::Failed(failed.error))),
            }
        }
        if placed.is_empty() {
            return results;
        }
        match self.rename_all(store, &placed) {
            Ok(outcomes) => {
                for (ready, outcome) in placed.into_iter().zip(outcomes) {
                    let key = ready.file.task.artifact.key.clone();
                    results.push((key, ready.into_result(outcome)));
                }
            }
            Err(error) => {
                for ready in placed {
                    let key = ready.file.task.artifact.key.clone();
                    let error = Error::Disk {
                        verb: "publish",
                        path: self.dir.join(ready.entry.path.as_str()),
                        source: std::io::Error::other(error.clone()).into(),
                    };
                    results.push((key, Committed::Failed(error)));
                }
            }
        }
        results
    }

    /// Chooses the name and clears the way: nothing that rcsync did not write is ever in danger.
    fn place(&self, store: &Store, file: Finished) -> Result<Placed, Unplaced> {
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
                    // Nobody wrote it since: the disk lost bytes of it, and what is left is of no use to anybody.
                    (Some(_), _) => set_aside = Some(Aside::Replaced),
                    // Somebody else's file.
                    (None, _) => path = self.free_name(&beside(artifact)),
                }
            }
        }
        let entry = self.entry(&file, path, older);
        Ok(Placed::Ready(Box::new(Ready { entry, set_aside, file })))
    }

    /// A name that nothing stands under yet.
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

    /// The same for what somebody made of a file, under a name that no model loader lists. Relative to DIR.
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

    fn rename_all(
        &self,
        store: &mut Store,
        placed: &[Ready],
    ) -> Result<Vec<Result<Option<i64>, Error>>, Error> {
        // `sha256sum -c` must pass at every instant: what is about to change leaves the list first.
        let leaving: BTreeSet<&str> = placed
            .iter()
            .filter(|ready| ready.set_aside.is_some())
            .map(|ready| ready.entry.path.as_str())
            .collect();
        if !leaving.is_empty() {
            reports::write_sums(&self.dir, store.manifest(), |path| !leaving.contains(path))?;
        }
        let prepares = placed.iter().map(|ready| Record::Prepare {
            key: ready.file.task.artifact.key.clone(),
            prepared: Prepared { part: ready.file.part.name(), entry: ready.entry.clone() },
        });
        store.append(prepares.collect())?;
        let mut folders = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(placed.len());
        for ready in placed {
            let path = self.dir.join(ready.entry.path.as_str());
            let outcome = self.rename(ready, &path);
            if outcome.is_ok() {
                folders.insert(disk::parent(&path).to_path_buf());
            }
            outcomes.push(outcome);
        }
        for folder in &folders {
            disk::flush_folder(folder)?;
        }
        let mut records = Vec::with_capacity(placed.len());
        for (ready, outcome) in placed.iter().zip(&outcomes) {
            let key = ready.file.task.artifact.key.clone();
            match outcome {
                Ok(modified) => {
                    let entry = Entry { modified: *modified, ..ready.entry.clone() };
                    records.push(Record::Know { key, entry });
                    let blocks = BlockFolder::new(&self.dir);
                    // Only ever a saving for `verify --repair`.
                    let _ = blocks.keep(&ready.file.part, ready.entry.sha256);
                    let _ = ready.file.part.remove_record(); // Swept at the end.
                }
                Err(_) => records.push(Record::Abandon { key }),
            }
        }
        // The names are durable already; were this record lost, recovery would find them and write it again.
        store.note(records)?;
        Ok(outcomes)
    }

    fn rename(&self, ready: &Ready, path: &Path) -> Result<Option<i64>, Error> {
        ready.ensure_length()?;
        // For each file anew: somebody may tidy up in the middle of a batch.
        disk::create_folders(&self.dir, disk::parent(path))?;
        disk::make_readable(ready.file.part.file())
            .map_err(fault("make readable", ready.file.part.path()))?;
        match &ready.set_aside {
            None | Some(Aside::Replaced) => {}
            Some(Aside::Kept(kept)) => keep_old(path, &self.dir.join(kept.as_str()))?,
            Some(Aside::Edited(kept)) => keep_old(path, &self.dir.join(kept))?,
        }
        take_name(ready, path)
    }
}

fn take_name(ready: &Ready, path: &Path) -> Result<Option<i64>, Error> {
    let part = ready.file.part.path();
    let named = match ready.set_aside {
        None => disk::publish_to_free_name(part, path),
        Some(_) => disk::publish(part, path),
    };
    match named {
        // Another rcsync, to whom this disk gave the lock too, was quicker: with a part of its own, or, when it had
        // just begun and read that this one was about to be named, with this one.
        Err(_) if holds(path, ready.entry.sha256) => {
            // The bytes are in place; a part that is left is swept at the end.
            let _ = ready.file.part.discard();
        }
        named => named.map_err(fault("publish", path))?,
    }
    stamp(path)
}

/// Keeps old bytes under another name before new ones take theirs: by a second link, so that the name is never empty.
fn keep_old(path: &Path, kept: &Path) -> Result<(), Error> {
    match disk::link(path, kept) {
        Ok(()) => Ok(()),
        // Already kept by a run that was cut off right here.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => disk::rename(path, kept).map_err(fault("keep the old bytes of", path)),
    }
}

/// Whether a regular file with these bytes stands at a path.
fn holds(path: &Path, sha256: Sha256Digest) -> bool {
    sha256_of(path).is_ok_and(|found| found == sha256)
}

fn stamp(path: &Path) -> Result<Option<i64>, Error> {
    fs::symlink_metadata(path).map(|metadata| disk::modified(&metadata)).map_err(fault("read", path))
}

enum Placed {
    Here(ArtifactKey, Box<Entry>),
    Ready(Box<Ready>),
}

struct Unplaced {
    key: ArtifactKey,
    error: Error,
}

#[derive(Debug)]
struct Ready {
    file: Finished,
    entry: Entry,
    set_aside: Option<Aside>,
}

/// What becomes of our own file that stands under the name now.
#[derive(Debug)]
enum Aside {
    /// It goes: the user wants the new bytes alone, or the disk damaged it.
    Replaced,
    /// Kept beside the new one.
    Kept(RelPath),
    /// Not what was published any more: kept under a name that no model loader lists.
    Edited(String),
}

impl Ready {
    /// Proven were the bytes that passed by: a part that has more of them now, or fewer, is not what was proven.
    fn ensure_length(&self) -> Result<(), Error> {
        let part = self.file.part.path();
        let metadata = self.file.part.file().metadata().map_err(fault("read", part))?;
        if metadata.len() == self.entry.size {
            return Ok(());
        }
        let source = std::io::Error::other("another program changed it meanwhile").into();
        Err(Error::Disk { verb: "publish", path: part.to_path_buf(), source })
    }

    fn into_result(self, outcome: Result<Option<i64>, Error>) -> Committed {
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
            Ok(_) => {
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

/// A proven file whose bytes are on the disk now, or why they are not.
type Flushed = Result<Finished, Unplaced>;

/// What is said of a panic: a defect of ours, which the files of a batch survive as parts that the next run publishes.
const DEFECT: &str = "rcsync failed by a defect of its own; what arrived is kept for the next run";

fn lost(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    fault("publish", path)(std::io::Error::other(why))
}

/// Flushes every part, several at once: each thread a share of them, since handing over a thread costs more than the
/// flush of a small file on a fast disk. In order.
async fn flush_all(finished: Vec<Finished>) -> Vec<Flushed> {
    let share = finished.len().div_ceil(FLUSHERS).max(1);
    let mut rest = finished.into_iter();
    let mut flushing = Vec::with_capacity(FLUSHERS);
    while rest.len() > 0 {
        let files: Vec<Finished> = rest.by_ref().take(share).collect();
        flushing.push(blocking(move || files.into_iter().map(flush).collect::<Vec<Flushed>>()));
    }
    join_all(flushing).await.into_iter().flatten().flatten().collect()
}

/// Flushes one part. Where that fails the part is dropped: flushing again would prove nothing.
fn flush(file: Finished) -> Flushed {
    let (key, path) = file.name();
    let error = match panic::catch_unwind(AssertUnwindSafe(|| file.part.flush())) {
        Ok(Ok(())) => return Ok(file),
        Ok(Err(error)) => {
            // Its bytes are doubtful; the error is returned, and the file is fetched again.
            let _ = file.part.discard();
            error
        }
        Err(_) => lost(Path::new(path.as_str()), DEFECT),
    };
    Err(Unplaced { key, error })
}

#[cfg(test)]
mod tests;
