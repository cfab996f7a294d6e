//! The last steps of many files at once: flush, journal, rename, flush the folders. Durability is paid by the batch.
//!
//! After a crash at any point recovery finds either the part and its `prepare` record, or the final name, and continues.

mod flush;
mod naming;
mod place;
mod sums;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::decide::transfer::group_commit::{FlushCost, Gather};
use crate::edge::folder::lock::FolderLock;
use crate::edge::folder::manifest_store::Store;
use crate::edge::system::blocking::blocking;
use crate::engine::commit_queue::{Committed, Finished, ToCommit};
use crate::engine::options::OnChange;
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::manifest::{Entry, EntryState, Manifest, Record};
use crate::model::names::rel_path::RelPath;

use flush::{FLUSHERS, Flushed, ToFlush, flush_all, lost_to_a_defect};
use place::Unplaced;
use sums::Sums;

pub(crate) use sums::EVERY as LIST_EVERY;

/// Files in one batch: enough that a flush of the journal costs each of them little, few enough that the first of them
/// does not wait long for its name.
pub(crate) const BATCH: usize = 256;

/// Files up to this size wait for others to be committed with.
const SMALL: u64 = 512 << 10;

/// The gathering of a group looks for more files this often in its longest time.
const LOOKS: u32 = 5;

/// … and as often as this at least, since a group that is full waits for nothing.
const LONGEST_LOOK: Duration = Duration::from_millis(10);

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

impl Finished {
    fn name(&self) -> (ArtifactKey, RelPath) {
        let Artifact { key, path, .. } = self.task.artifact.as_ref();
        (key.clone(), path.clone())
    }
}

/// Gives proven files their final names.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    pub(crate) dir: PathBuf,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) on_change: OnChange,
    /// How long a group is gathered.
    pub(crate) gather: Gather,
    /// Files under way that were not handed over yet: a group waits for no others.
    pub(crate) coming: Arc<AtomicUsize>,
    /// The most files in one batch.
    pub(crate) batch: usize,
    /// How long after a file got its name it is in `SHA256SUMS` at the latest.
    pub(crate) list_every: Duration,
    /// There was a list when the run began.
    pub(crate) has_list: bool,
    /// Knows whether DIR is still the folder that was opened.
    pub(crate) place: Option<Arc<FolderLock>>,
}

/// Records files as known that were here already.
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
fn asked_in(manifest: &Manifest, key: ArtifactKey, run: Arc<str>) -> Option<Record> {
    let entry = manifest.entries.get(&key).filter(|entry| entry.state == EntryState::Present)?;
    let entry = Entry { run, ..entry.clone() };
    Some(Record::Know { key, entry })
}

impl Committer {
    /// Commits what comes until [`ToCommit::End`]; reports what became of each file, in order.
    pub(crate) async fn run(
        self,
        mut items: mpsc::Receiver<ToCommit>,
        done: impl Fn(Vec<(ArtifactKey, Committed)>) + Send + Sync + 'static,
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
                // A transfer waits for the outcome of each of these files.
                let lost = |(key, path): (ArtifactKey, RelPath)| {
                    let error = lost_to_a_defect(&this.dir.join(path.as_str()));
                    (key, Committed::Failed(error))
                };
                done(results.unwrap_or_else(|_| names.into_iter().map(lost).collect()));
                took
            });
            match committing.await {
                Ok(took) if !took.is_zero() => cost.observe(files, took, 1),
                Ok(_) => {}
                // A panic in the report itself cannot be reported.
                Err(gone) => tracing::debug!(%gone, "what became of a group could not be reported"),
            }
            sums.touch(self.list_every, self.has_list);
        }
    }

    /// Waits for a group to be worth its flush of the journal. Items pile up meanwhile: the committer is not woken for each.
    async fn gather(&self, items: &mut mpsc::Receiver<ToCommit>, batch: &mut Vec<ToCommit>) {
        let began = Instant::now();
        let most = self.batch;
        while batch.len() < most
            && !self.gather.is_complete(
                batch.len(),
                began.elapsed(),
                batch.iter().any(ToCommit::is_urgent),
                // What was handed over and is not in the queue yet becomes a group of its own.
                self.coming.load(Ordering::Acquire),
            )
        {
            tokio::time::sleep((self.gather.longest / LOOKS).min(LONGEST_LOOK)).await;
            while batch.len() < most
                && let Ok(item) = items.try_recv()
            {
                batch.push(item);
            }
        }
    }

    fn commit(
        &self,
        unchanged: Vec<(ArtifactKey, RelPath, Arc<str>)>,
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
}

#[cfg(test)]
mod tests;
