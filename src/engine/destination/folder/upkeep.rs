//! What a run does with its folder beside commits, each off the async workers: local files are read again, old checkpoints
//! removed, and the newest one kept the newest.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crate::decide::mirror::outcome::count;
use crate::decide::mirror::plan::Action;
use crate::decide::mirror::retention::{Pruned, Retention};
use crate::decide::mirror::unlisted::Candidate;
use crate::decide::transfer::task::Missing;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::engine::destination::commit::{BATCH, Committer, LIST_EVERY};
use crate::engine::destination::inspect::{self, Inspected};
use crate::engine::destination::newest::Saves;
use crate::engine::destination::prune::{self, Judged};
use crate::engine::destination::reclaim::{Reclaimed, reclaim};
use crate::engine::event::Reporter;
use crate::engine::options::SyncOptions;
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::local::LocalFile;
use crate::model::manifest::Entry;

use super::Folder;

/// What is here at the end of a run.
#[derive(Debug)]
pub(crate) struct Tidied {
    /// Files that are here, offered still or not.
    pub(crate) present: u64,
    /// Wanted files that are not.
    pub(crate) missing: Vec<ArtifactKey>,
    /// Why the journal could not be folded.
    pub(crate) trouble: Option<Error>,
}

impl Folder {
    /// Fails where DIR is no longer the folder that was opened.
    pub(crate) async fn ensure_in_place(&self) -> Result<(), Error> {
        let place = self.place.clone();
        let asking = blocking(move || place.ensure_in_place());
        asking.await.map_err(lost("read", &self.dir))?
    }

    /// Makes durable what was written without a flush of its folder: `SHA256SUMS`, `job.json`, the gallery.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let unflushed = self.lock().unflushed().clone();
        let flushing = blocking(move || unflushed.flush());
        flushing.await.map_err(lost("flush", &self.dir))?
    }

    /// Reads local files that may hold what is recorded of them.
    pub(crate) async fn inspect(
        &self,
        actions: &[Action],
        reporter: &dyn Reporter,
        stop: &Stop,
    ) -> Result<Inspected, Error> {
        inspect::inspect(&self.dir, &self.store, actions, reporter, stop).await
    }

    /// Records what is here of these files, whose record is lost.
    pub(crate) async fn reclaim(
        &self,
        candidates: Vec<Candidate>,
        job_name: Option<&str>,
        reporter: &dyn Reporter,
        stop: &Stop,
    ) -> Result<Reclaimed, Error> {
        let reclaimed = reclaim(&self.dir, &self.store, candidates, job_name, reporter, stop).await?;
        self.before.lock().unwrap_or_else(PoisonError::into_inner).unread =
            Arc::new(reclaimed.unread.clone());
        Ok(reclaimed)
    }

    /// Sorts out which checkpoints `retention` does not keep.
    pub(crate) async fn judge(&self, retention: Retention) -> Result<Judged, Error> {
        let (dir, store) = (self.dir.clone(), self.store.clone());
        let judging = blocking(move || prune::judge_open(&dir, &store, retention));
        judging.await.map_err(lost("prune", &self.dir))
    }

    /// Removes the checkpoints that were judged to go.
    pub(crate) async fn prune(&self, judged: Judged) -> Result<Pruned, Error> {
        let (dir, store) = (self.dir.clone(), self.store.clone());
        let pruning = blocking(move || prune::remove(&dir, &store, judged));
        pruning.await.map_err(lost("prune", &self.dir))?
    }

    /// Keeps the newest checkpoint the newest by change time, which is what a local trainer resumes from. A folder that is
    /// not in place is left alone.
    pub(crate) async fn keep_newest(&self) -> Result<(), Error> {
        let saves = Saves::of(&self.dir, self.lock().manifest());
        let (dir, place) = (self.dir.clone(), self.place.clone());
        let renewing = blocking(move || match place.ensure_in_place() {
            Ok(()) => saves.keep_newest(&dir),
            Err(_) => Ok(()),
        });
        renewing.await.map_err(lost("set the change time of a checkpoint in", &self.dir))?
    }

    /// Returns what gives proven files their names in this folder.
    pub(crate) fn committer(&self, options: &SyncOptions, handles: usize) -> Committer {
        Committer {
            dir: self.dir.clone(),
            store: self.store.clone(),
            on_change: options.on_change,
            gather: options.gather,
            coming: Arc::default(),
            batch: BATCH.min(handles),
            list_every: LIST_EVERY,
            has_list: self.has_list,
            place: Some(self.place.clone()),
        }
    }

    /// Counts the files that are here and names those that are missing; removes parts that no file needs any more where the
    /// job `is_over` and nothing is missing, and folds the journal.
    pub(crate) async fn tidy(
        &self,
        why: HashMap<ArtifactKey, Missing>,
        wanted: Vec<ArtifactKey>,
        is_over: bool,
    ) -> Result<Tidied, Error> {
        let (dir, store, parts) = (self.dir.clone(), self.store.clone(), self.parts.clone());
        let tidying = blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            let is_there = |entry: &Entry| !disk::is_gone(&entry.path.to_path(&dir));
            let is_untouched = |entry: &Entry| {
                matches!(
                    disk::look(&dir, entry.path.as_str()),
                    Some(LocalFile::File { size, modified }) if size == entry.size && modified == entry.modified
                )
            };
            let (present, missing) = count(store.manifest(), &why, &wanted, is_there, is_untouched);
            if missing.is_empty()
                && is_over
                && let Err(error) = parts.sweep(|_| false)
            {
                tracing::debug!(%error, "parts that no file needs are left");
            }
            Tidied { present, missing, trouble: store.compact().err() }
        });
        tidying.await.map_err(lost("read", &self.dir))
    }
}
