//! What is rewritten for people and other programs: `SHA256SUMS`, `job.json`, `index.html` (R5).

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::decide::bucket::head::{Known, Written};
use crate::edge::bucket::{Put, StoreFault, When};
use crate::edge::folder::reports::parse_job;
use crate::engine::outputs::gallery;
use crate::error::{Error, Unanswered};
use crate::model::digest::Sha256Digest;
use crate::model::manifest::Manifest;
use crate::model::signed_page::is_own;

use super::head_store::HeadStore;
use super::sabotage::{Rule, holds};
use super::store::{Store, about, fresh_token, kept};

/// The list of checksums.
pub(super) const SUMS: &str = "SHA256SUMS";

/// The job as it was last seen, and all of its files.
pub(super) const JOB: &str = "job.json";

/// A `job.json` or a gallery larger than this was not written by us.
pub(super) const JOB_BOUND: u64 = 512 << 20;

/// The gallery.
pub(super) const PAGE: &str = "index.html";

/// An object that is rewritten: the same meaning has the same hash, whatever marks of its epoch are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) key: &'static str,
    /// What it means.
    pub(super) meaning: Sha256Digest,
    /// Its text, without a mark of its epoch.
    text: String,
}

impl Draft {
    pub(super) fn new(key: &'static str, text: String) -> Self {
        Self { key, meaning: Sha256Digest::new(Sha256::digest(text.as_bytes()).into()), text }
    }

    /// A text that means what another one does.
    pub(super) fn with_meaning(key: &'static str, meaning: &str, text: String) -> Self {
        Self { key, meaning: Sha256Digest::new(Sha256::digest(meaning.as_bytes()).into()), text }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_nothing(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The checksums of everything that is claimed.
    pub(super) fn sums(known: &Known) -> Self {
        let mut text = String::new();
        for (path, sha256) in known.claimed() {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{sha256}  {path}");
        }
        Self::new(SUMS, text)
    }

    /// The gallery, from what is known and the bytes of `job.json`.
    pub(super) fn page(manifest: &Manifest, job: Option<&[u8]>) -> Self {
        let job = job.and_then(|bytes| parse_job(bytes, &manifest.job));
        Self::new(PAGE, gallery::draw(manifest, job.as_ref()))
    }

    /// Whether the object is as it was written, and means this.
    pub(super) fn is_written(&self, written: Option<&Written>, tag: Option<&str>) -> bool {
        match written {
            Some(written) => written.meaning == self.meaning && tag == Some(&*written.tag),
            // Nothing to list, and no list.
            None => self.text.is_empty() && tag.is_none(),
        }
    }

    /// The bytes as they are written. `SHA256SUMS` names epoch and sequence in a comment, so that no tag of it returns.
    fn bytes(&self, epoch: u64, sequence: u64) -> Bytes {
        if self.key != SUMS {
            return Bytes::copy_from_slice(self.text.as_bytes());
        }
        format!("# rcsync epoch {epoch} sequence {sequence}\n{}", self.text).into_bytes().into()
    }
}

/// Writes an object that is rewritten: its tag is read, then the head is seen to be ours, then it is swapped on that tag.
/// The draft is made after the look at the head, so that it lists nothing that was pruned meanwhile.
///
/// # Errors
/// When the lease is lost, or the store refuses.
pub(super) async fn write(
    store: &Store,
    head: &HeadStore,
    key: &'static str,
    draft: impl Fn(&Known) -> Draft,
) -> Result<(), Error> {
    let mut patience = store.patience();
    let token = fresh_token();
    // Counts the tries, so that the bytes of each are fresh.
    let mut tries = 0;
    loop {
        let (tag, (epoch, sequence)) = if holds(Rule::TagBeforeHead) {
            let tag = store.stat(key).await?.map(|meta| meta.tag);
            (tag, head.ensure_ours().await?)
        } else {
            let mark = head.ensure_ours().await?;
            (store.stat(key).await?.map(|meta| meta.tag), mark)
        };
        let draft = draft(&head.known());
        let when = match tag {
            _ if !holds(Rule::SumsUnderCondition) => When::Always,
            Some(tag) => When::Unchanged(tag),
            None => When::New,
        };
        let bytes = draft.bytes(epoch, sequence + tries);
        tries += 1;
        let fault = match store.bucket.put(key, bytes, when, about(key, &token)).await {
            Ok(Put::Done(tag)) => {
                head.note_written(key, Written { tag: kept(&tag), meaning: draft.meaning });
                return Ok(());
            }
            // Another worker wrote it, or a late request of our own did: the next look at the head shows which.
            Ok(Put::Refused) => StoreFault::Unknown { cause: Unanswered::WrittenMeanwhile },
            Err(fault) => fault,
        };
        store.wait(&mut patience, "write", key, fault).await?;
    }
}

/// The gallery, from what is known and the `job.json` that is there.
pub(super) async fn draw(store: &Store, manifest: &Manifest) -> Result<Draft, Error> {
    let job = store.small_of_ours(JOB, JOB_BOUND).await?;
    Ok(Draft::page(manifest, job.as_deref()))
}

/// Draws the gallery anew, where one is there, after files came or went; `job.json` follows with the next look at the job.
pub(super) async fn refresh(store: &Store, head: &HeadStore) -> Result<(), Error> {
    let there = store.small_of_ours(PAGE, JOB_BOUND).await?;
    if there.is_some_and(|page| is_own(&page)) {
        let drawn = draw(store, &head.known().manifest).await?;
        write(store, head, PAGE, |_| drawn.clone()).await?;
    }
    Ok(())
}
