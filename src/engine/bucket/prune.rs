//! Removes files by rule (R4): the head forgets them, `SHA256SUMS` does, then they are deleted, and their names are never
//! used again.

use crate::decide::bucket::head::Line;
use crate::edge::bucket::Listed;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::manifest::{Entry, EntryState};
use crate::model::names::rel_path::RelPath;

use super::head_store::HeadStore;
use super::records::{self, Draft, SUMS};
use super::sabotage::{Rule, holds};
use super::store::Store;

/// Removes files.
///
/// # Errors
/// When the lease is lost, or the store refuses. What was begun is ended by the next owner.
pub(super) async fn remove(
    store: &Store,
    head: &HeadStore,
    going: &[(ArtifactKey, Entry)],
) -> Result<(), Error> {
    if going.is_empty() {
        return Ok(());
    }
    let known = head.known();
    let mut lines = Vec::new();
    for (key, entry) in going {
        let entry = Entry { state: EntryState::Pruned, ..entry.clone() };
        lines.push(Line::Retire { path: entry.path.clone(), tag: known.tags.get(&entry.path).cloned() });
        lines.push(Line::Know { key: key.clone(), entry, tag: None });
    }
    head.claim(lines).await?;
    if !holds(Rule::SumsForgetFirst) {
        for (_, entry) in going {
            delete(store, &entry.path, known.tags.get(&entry.path)).await?;
        }
    }
    // Written in any case: the fresh tag refuses a list that a frozen worker still wants to write.
    records::write(store, head, SUMS, Draft::sums).await?;
    for (_, entry) in going {
        delete(store, &entry.path, known.tags.get(&entry.path)).await?;
    }
    Ok(())
}

/// Deletes objects whose names a claim has retired.
///
/// # Errors
/// When the lease is lost, or the store refuses. The next owner deletes what is left.
pub(super) async fn delete_retired(
    store: &Store,
    head: &HeadStore,
    retired: &[(RelPath, String)],
) -> Result<(), Error> {
    if retired.is_empty() {
        return Ok(());
    }
    records::write(store, head, SUMS, Draft::sums).await?;
    for (path, tag) in retired {
        delete(store, path, Some(tag)).await?;
    }
    Ok(())
}

/// Ends what a worker that was killed began: deletes objects that are retired and still there.
///
/// # Errors
/// When the lease is lost, or the store refuses.
pub(super) async fn finish(store: &Store, head: &HeadStore, listed: &[Listed]) -> Result<(), Error> {
    let known = head.known();
    let left: Vec<_> = listed
        .iter()
        .filter_map(|object| {
            let path = RelPath::parse(&object.key).ok()?;
            let tag = known.retired.get(&path)?.clone();
            tag.filter(|tag| tag == object.tag.as_str()).map(|tag| (path, tag))
        })
        .collect();
    delete_retired(store, head, &left).await
}

/// Deletes an object that we wrote. One that another program wrote under its name stays.
async fn delete(store: &Store, path: &RelPath, tag: Option<&String>) -> Result<(), Error> {
    let key = path.as_str();
    let (Some(tag), Some(meta)) = (tag, store.stat(key).await?) else { return Ok(()) };
    if meta.tag.as_str() != tag {
        return Ok(());
    }
    store.ask("delete", key, || store.bucket.remove(key)).await
}
