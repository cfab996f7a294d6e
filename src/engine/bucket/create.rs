//! Creating a file where nothing is (R2), and the receipt without which nothing can be claimed (R3, R7).

use std::sync::Arc;

use bytes::Bytes;

use crate::decide::bucket::head::{Known, Line};
use crate::decide::bucket::names::candidates;
use crate::decide::transfer::verify::Verified;
use crate::edge::bucket::{Answer, Put, StoreFault, Tag, When};
use crate::error::{Error, StoreRefusal, Unanswered};
use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{Entry, EntryState, Older};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::sabotage::{Rule, holds};
use super::store::{Store, about, fresh_token, kept};

/// A verified file that is in the bucket: the store acknowledged it, or its bytes were compared. Only this module makes
/// one, and a claim needs one.
#[derive(Debug)]
pub(super) struct Stored {
    path: RelPath,
    tag: Tag,
    verified: Verified,
}

/// What else is known of a file that is claimed.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) key: ArtifactKey,
    pub(super) step: Option<u64>,
    pub(super) revision: Revision,
    pub(super) run: Arc<str>,
    /// The object that the file had before is intact.
    pub(super) keeps_older: bool,
}

impl Stored {
    pub(super) const fn path(&self) -> &RelPath {
        &self.path
    }

    pub(super) const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Returns the claim. The bytes that the file had before stay where they are, as an older version; where their object
    /// is gone or was overwritten by another program, their name is retired. Of the optimizer only the newest state is
    /// kept: the names of older ones are retired with the tags of their objects, which are then deleted.
    pub(super) fn claim(&self, origin: Origin, known: &Known) -> Vec<Line> {
        let Origin { key, step, revision, run, keeps_older } = origin;
        let mut lines = Vec::new();
        let mut older = Vec::new();
        if let Some(before) = known.manifest.entries.get(&key) {
            older.clone_from(&before.older);
            if before.state == EntryState::Present && before.path != self.path {
                if keeps_older {
                    let was = Older { path: before.path.clone(), size: before.size, sha256: before.sha256 };
                    older.push(was);
                } else {
                    lines.push(Line::Retire { path: before.path.clone(), tag: None });
                }
            }
            // Bytes that come back under their own name are the current ones again.
            older.retain(|older| older.path != self.path);
            if key.is_optimizer() {
                lines.extend(older.drain(..).map(|older| {
                    let tag = known.tags.get(&older.path).cloned();
                    Line::Retire { path: older.path, tag }
                }));
            }
        }
        let entry = Entry {
            path: self.path.clone(),
            step,
            size: self.verified.size(),
            sha256: self.verified.sha256(),
            evidence: self.verified.evidence(),
            revision,
            run,
            modified: None,
            state: EntryState::Present,
            older,
        };
        lines.push(Line::Know { key, entry, tag: Some(kept(&self.tag)) });
        lines
    }
}

/// What is under a name where a file was to be created.
enum Look {
    Nothing,
    Ours(Tag),
    Others,
}

/// Compares what is under a name: by the mark that we left on our own write, else by its bytes.
async fn look(store: &Store, key: &str, token: &str, size: u64, sha256: Sha256Digest) -> Result<Look, Error> {
    let Some(meta) = store.stat(key).await? else { return Ok(Look::Nothing) };
    if meta.size != size {
        return Ok(Look::Others);
    }
    if !holds(Rule::CompareTaken) || meta.token.as_deref() == Some(token) {
        return Ok(Look::Ours(meta.tag));
    }
    Ok(match store.hash(key).await? {
        Some((found, meta)) if found == sha256 => Look::Ours(meta.tag),
        Some(_) => Look::Others,
        None => Look::Nothing,
    })
}

/// What became of one key.
#[derive(Debug)]
pub(super) enum Settled {
    /// Our bytes are there.
    Done(Tag),
    /// Other bytes are there.
    Taken,
    /// Nothing is there, and the store has no upload that could become it.
    Gone,
}

/// Sends a create until it is known what became of it.
pub(super) async fn settle<'a>(
    store: &Store,
    key: &str,
    token: &str,
    verified: &Verified,
    mut send: impl FnMut() -> Answer<'a, Put>,
) -> Result<Settled, Error> {
    let mut patience = store.patience();
    loop {
        let (fault, is_refused) = match send().await {
            Ok(Put::Done(tag)) => return Ok(Settled::Done(tag)),
            Ok(Put::Refused) => (StoreFault::Unknown { cause: Unanswered::NameTaken }, true),
            Err(fault) => (fault, false),
        };
        let is_unknown = matches!(fault, StoreFault::Unknown { .. });
        if is_unknown && !is_refused {
            if !holds(Rule::UnknownIsNoSuccess) {
                return Ok(Settled::Done(Tag::new("", None)));
            }
            if !holds(Rule::UnknownIsNoRefusal) {
                return Ok(Settled::Taken);
            }
        }
        // An upload that is gone may have become our object.
        if is_unknown || fault == StoreFault::NoUpload {
            match look(store, key, token, verified.size(), verified.sha256()).await? {
                Look::Ours(tag) => return Ok(Settled::Done(tag)),
                Look::Others => return Ok(Settled::Taken),
                Look::Nothing if fault == StoreFault::NoUpload => return Ok(Settled::Gone),
                Look::Nothing => {}
            }
        }
        store.wait(&mut patience, "write", key, fault).await?;
    }
}

/// Creates a file under the first name that is free or has these bytes already; `send` creates it under one.
///
/// # Errors
/// When the store refuses, or no name is left.
pub(super) async fn create<'a>(
    store: &Store,
    plain: &RelPath,
    token: &str,
    verified: Verified,
    known: &Known,
    send: impl Fn(String, When) -> Answer<'a, Put>,
) -> Result<Stored, Error> {
    for path in names(plain, verified.sha256(), known) {
        let key = path.as_str();
        let when = || if holds(Rule::CreateOnly) { When::New } else { When::Always };
        match settle(store, key, token, &verified, || send(key.to_owned(), when())).await? {
            Settled::Done(tag) => return Ok(Stored { path, tag, verified }),
            Settled::Taken => {}
            // The object that is copied is gone.
            Settled::Gone => return Err(store.error("write", key, StoreFault::NoUpload)),
        }
    }
    Err(no_name(store, plain))
}

/// Creates a small file from memory.
///
/// # Errors
/// As [`create`].
pub(super) async fn create_small(
    store: &Store,
    plain: &RelPath,
    bytes: Bytes,
    verified: Verified,
    known: &Known,
) -> Result<Stored, Error> {
    let token = fresh_token();
    let send = |key: String, when| -> Answer<'_, Put> {
        let (bytes, token) = (bytes.clone(), &token);
        Box::pin(async move { store.bucket.put(&key, bytes, when, about(&key, token)).await })
    };
    create(store, plain, &token, verified, known, send).await
}

pub(super) fn no_name(store: &Store, plain: &RelPath) -> Error {
    store.error("write", plain.as_str(), StoreFault::Unusable(StoreRefusal::NoFreeName))
}

fn names(plain: &RelPath, sha256: Sha256Digest, known: &Known) -> Vec<RelPath> {
    if holds(Rule::NamesOnce) {
        return candidates(plain, sha256, known);
    }
    let claimed = known.claimed();
    let hashed = plain.with_suffix(&sha256.short());
    let is_free = |name: &RelPath| claimed.get(name).is_none_or(|here| *here == sha256);
    [plain.clone(), hashed].into_iter().filter(is_free).collect()
}

/// The receipt for an object that the caller has seen under `path`: completed, or read and judged.
pub(super) const fn completed(path: RelPath, tag: Tag, verified: Verified) -> Stored {
    Stored { path, tag, verified }
}
