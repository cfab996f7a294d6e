//! Reads local files that may be what is known of them, and names those that are not.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::mirror::plan::{Action, FetchReason, Recollection, Step};
use crate::edge::folder::manifest_store::Store;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::error::Error;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState, Record};

use super::hashing::sha256_of;

/// Settles every `Adopt` and `Inspect`: what is right is known from now on; what is not, or must be asked about since
/// the job ran, comes back as a `Fetch`.
pub(crate) async fn inspect(
    dir: &Path,
    store: &Arc<Mutex<Store>>,
    actions: &[Action],
) -> Result<Vec<Action>, Error> {
    let doubtful: Vec<Action> = actions
        .iter()
        .filter(|action| matches!(action.step, Step::Adopt { .. } | Step::Inspect { .. }))
        .cloned()
        .collect();
    if doubtful.is_empty() {
        return Ok(Vec::new());
    }
    let (folder, store) = (dir.to_path_buf(), store.clone());
    let inspected = blocking(move || settle_all(&folder, &store, doubtful));
    inspected.await.map_err(lost("read", dir))?
}

fn settle_all(dir: &Path, store: &Mutex<Store>, doubtful: Vec<Action>) -> Result<Vec<Action>, Error> {
    let lock = || store.lock().unwrap_or_else(PoisonError::into_inner);
    let mut records = Vec::new();
    let mut differing = Vec::new();
    for action in doubtful {
        let key = action.artifact.key.clone();
        let known = lock().manifest().entries.get(&key).cloned();
        let (expected, reason, due) = match (&action.step, known) {
            (Step::Adopt { memory, due }, _) => (adopted(&action, memory), FetchReason::New, *due),
            (Step::Inspect { due }, Some(entry)) => (entry, FetchReason::Damaged, *due),
            _ => continue,
        };
        let found = disk::look(dir, expected.path.as_str());
        let hash = sha256_of(&dir.join(expected.path.as_str()));
        match (found, hash) {
            (Some(LocalFile::File { modified, .. }), Ok(sha256)) if sha256 == expected.sha256 => {
                if due {
                    let step = Step::Fetch(FetchReason::Recheck(expected.revision.clone()));
                    differing.push(Action { step, ..action });
                }
                records.push(Record::Know { key, entry: Entry { modified, ..expected } });
            }
            _ => differing.push(Action { step: Step::Fetch(reason), ..action }),
        }
    }
    lock().append(records)?;
    Ok(differing)
}

fn adopted(action: &Action, memory: &Recollection) -> Entry {
    Entry {
        path: memory.path.clone(),
        step: action.artifact.step,
        size: memory.size,
        sha256: memory.sha256,
        evidence: memory.evidence,
        revision: memory.revision.clone(),
        run: memory.run.clone(),
        modified: None,
        state: EntryState::Present,
        older: Vec::new(),
    }
}
