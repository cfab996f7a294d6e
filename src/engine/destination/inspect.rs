//! Reads local files that may hold what is recorded of them, and finds those that do not.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::mirror::plan::{Action, FetchReason, Step};
use crate::edge::folder::manifest_store::Store;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::engine::event::Reporter;
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, Record};

use super::read_ahead::{Digests, Unread, read_ahead};

/// What an inspection found.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// What has to be fetched: files that differ, and those that the host must be asked about since the job ran.
    pub(crate) fetch: Vec<Action>,
    /// Whether all files were read; `false` where the run was stopped meanwhile. What was read by then is recorded.
    pub(crate) is_whole: bool,
}

/// Settles every `Adopt` and `Inspect`: a file that is right is recorded; another one comes back as a `Fetch`.
pub(crate) async fn inspect(
    dir: &Path,
    store: &Arc<Mutex<Store>>,
    actions: &[Action],
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Inspected, Error> {
    let doubtful: Vec<Action> = actions
        .iter()
        .filter(|action| matches!(action.step, Step::Adopt { .. } | Step::Inspect { .. }))
        .cloned()
        .collect();
    if doubtful.is_empty() {
        return Ok(Inspected { fetch: Vec::new(), is_whole: true });
    }
    let (folder, store) = (dir.to_path_buf(), store.clone());
    let looking = blocking(move || {
        let doubts = doubts(&store, doubtful);
        let unread = doubts.iter().filter_map(|doubt| doubt.unread(&folder)).collect();
        (folder, store, doubts, unread)
    });
    let (folder, store, doubts, unread) = looking.await.map_err(lost("read", dir))?;
    let (digests, is_whole) = read_ahead(unread, reporter, stop).await;
    let settling = blocking(move || settle_all(&folder, &store, doubts, &digests, is_whole));
    let fetch = settling.await.map_err(lost("read", dir))??;
    Ok(Inspected { fetch, is_whole })
}

/// A file that may not hold what it should.
struct Doubt {
    action: Action,
    expected: Entry,
    /// Why it is fetched where it differs.
    reason: FetchReason,
    due: bool,
}

impl Doubt {
    fn unread(&self, dir: &Path) -> Option<Unread> {
        match disk::look(dir, self.expected.path.as_str())? {
            LocalFile::File { size, .. } if size == self.expected.size => {
                Some(Unread { path: self.expected.path.to_path(dir), size })
            }
            _ => None,
        }
    }
}

fn doubts(store: &Mutex<Store>, doubtful: Vec<Action>) -> Vec<Doubt> {
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let doubt = |action: Action| {
        let known = store.manifest().entries.get(&action.artifact.key).cloned();
        let (expected, reason, due) = match (&action.step, known) {
            (Step::Adopt { memory, due }, _) => {
                (memory.adopted(action.artifact.step), FetchReason::New, *due)
            }
            (Step::Inspect { due }, Some(entry)) => (entry, FetchReason::Damaged, *due),
            _ => return None,
        };
        Some(Doubt { action, expected, reason, due })
    };
    doubtful.into_iter().filter_map(doubt).collect()
}

fn settle_all(
    dir: &Path,
    store: &Mutex<Store>,
    doubts: Vec<Doubt>,
    digests: &Digests,
    is_whole: bool,
) -> Result<Vec<Action>, Error> {
    let mut records = Vec::new();
    let mut differing = Vec::new();
    for Doubt { action, expected, reason, due } in doubts {
        let path = expected.path.to_path(dir);
        if !is_whole && !digests.has(&path) {
            continue;
        }
        let is_same = |size| {
            size == expected.size && digests.sha256_of(&path).is_ok_and(|found| found == expected.sha256)
        };
        match disk::look(dir, expected.path.as_str()) {
            Some(LocalFile::File { size, modified }) if is_same(size) => {
                let key = action.artifact.key.clone();
                if due {
                    let step = Step::Fetch(FetchReason::Recheck(expected.revision.clone()));
                    differing.push(Action { step, ..action });
                }
                records.push(Record::Know { key, entry: Entry { modified, ..expected } });
            }
            _ => differing.push(Action { step: Step::Fetch(reason), ..action }),
        }
    }
    store.lock().unwrap_or_else(PoisonError::into_inner).append(records)?;
    Ok(differing)
}
