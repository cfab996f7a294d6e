//! One large file on its way into the bucket: parts on a fixed grid, nothing visible before it is verified.

use std::sync::Arc;

use bytes::Bytes;

use crate::decide::bucket::head::{Begun, Publish};
use crate::decide::bucket::names::{candidates, is_free};
use crate::decide::bucket::parts::LARGEST;
use crate::decide::transfer::verify::Verified;
use crate::edge::bucket::{Answer, PartTag, Put, StoreFault, UploadId, When};
use crate::error::{Error, StoreRefusal};
use crate::model::names::rel_path::RelPath;

use super::create::{Settled, Stored, completed, create, no_name, settle};
use super::head_store::HeadStore;
use super::sabotage::{Rule, holds};
use super::store::{Store, about, fresh_token};

/// Where uploads wait for their names in a store that completes without a condition, or while a name is not known yet.
pub(super) const STAGED: &str = ".rcsync/staged/";

/// Bytes that are read at once where a staged object has to be sent again.
const READ_AT_ONCE: u64 = 8 << 20;

/// One upload.
#[derive(Debug)]
pub(super) struct Upload {
    store: Store,
    head: Arc<HeadStore>,
    plain: RelPath,
    key: String,
    is_staged: bool,
    id: UploadId,
    token: String,
    publish: Publish,
}

/// Why a part could not be sent.
#[derive(Debug)]
pub(super) enum PartFault {
    /// The store has the upload no more.
    Gone,
    /// The store refused, or the lease is lost.
    Error(Error),
}

impl From<Error> for PartFault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Why an upload gave no file.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// Its name was taken meanwhile by other bytes: it has to be sent again under another name.
    Taken,
    /// The store has the upload no more, and no file of it.
    Gone,
    /// The store refused, or the lease is lost.
    Error(Error),
}

impl From<Error> for Unpublished {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Upload {
    /// Begins: under the plain name where that is free and the store completes under a condition, else under a staged one.
    ///
    /// # Errors
    /// When the store refuses.
    pub(super) async fn begin(
        store: Store,
        head: Arc<HeadStore>,
        plain: RelPath,
        publish: Publish,
        may_be_direct: bool,
    ) -> Result<Self, Error> {
        let token = fresh_token();
        let is_staged = publish == Publish::Copy || !may_be_direct || !is_free(&plain, &head.known());
        let key = if is_staged { format!("{STAGED}{token}") } else { plain.as_str().to_owned() };
        let id = store
            .ask("begin an upload of", &key, || store.bucket.begin(&key, about(plain.as_str(), &token)))
            .await?;
        head.note_begun(Begun { key: key.clone(), upload: id.0.clone() });
        Ok(Self { store, head, plain, key, is_staged, id, token, publish })
    }

    /// Sends one part.
    ///
    /// # Errors
    /// When the store has the upload no more, or refuses.
    pub(super) async fn part(&self, number: usize, bytes: Bytes) -> Result<PartTag, PartFault> {
        let mut patience = self.store.patience();
        loop {
            match self.store.bucket.part(&self.key, &self.id, number, bytes.clone()).await {
                Ok(tag) => return Ok(tag),
                Err(StoreFault::NoUpload) => {
                    // The next owner need not abort it. Where the lease is lost, its new owner did.
                    self.head.ensure_ours().await?;
                    self.head.note_ended(&self.id.0);
                    return Err(PartFault::Gone);
                }
                Err(fault) => {
                    self.store.wait(&mut patience, "upload a part of", self.plain.as_str(), fault).await?;
                }
            }
        }
    }

    /// Gives the verified file its name.
    ///
    /// # Errors
    /// When its name was taken meanwhile, or the store refuses.
    pub(super) async fn publish(
        &self,
        parts: Vec<PartTag>,
        verified: Verified,
    ) -> Result<Stored, Unpublished> {
        let when = || if holds(Rule::CreateOnly) { When::New } else { When::Always };
        let complete = || self.store.bucket.complete(&self.key, &self.id, parts.clone(), when());
        let settled = settle(&self.store, &self.key, &self.token, &verified, complete).await?;
        match settled {
            Settled::Done(tag) if !self.is_staged => {
                self.head.note_ended(&self.id.0);
                Ok(completed(self.plain.clone(), tag, verified))
            }
            Settled::Taken => {
                self.abort().await;
                Err(Unpublished::Taken)
            }
            Settled::Gone => {
                self.head.ensure_ours().await?;
                self.head.note_ended(&self.id.0);
                Err(Unpublished::Gone)
            }
            Settled::Done(_) => {
                self.head.note_ended(&self.id.0);
                let stored = self.name(verified).await?;
                // One that stays costs its storage until the next owner looks.
                let _ = self.store.bucket.remove(&self.key).await;
                Ok(stored)
            }
        }
    }

    /// Gives a staged object its name.
    async fn name(&self, verified: Verified) -> Result<Stored, Error> {
        let known = self.head.known();
        if self.publish == Publish::Sole || verified.size() > LARGEST {
            return self.send_again(verified).await;
        }
        let copy = |to: String, _| -> Answer<'_, Put> {
            Box::pin(async move { self.store.bucket.copy(&self.key, &to).await })
        };
        create(&self.store, &self.plain, &self.token, verified, &known, copy).await
    }

    /// The same where the store cannot copy it: its bytes are read and sent again.
    async fn send_again(&self, verified: Verified) -> Result<Stored, Error> {
        for path in candidates(&self.plain, verified.sha256(), &self.head.known()) {
            let key = path.as_str();
            let token = fresh_token();
            let begin = || self.store.bucket.begin(key, about(key, &token));
            let id = self.store.ask("begin an upload of", key, begin).await?;
            self.head.note_begun(Begun { key: key.to_owned(), upload: id.0.clone() });
            let part_size = crate::decide::bucket::parts::part_size(READ_AT_ONCE, verified.size());
            let mut parts = Vec::new();
            let mut at = 0;
            while at < verified.size() {
                let range = at..(at + part_size).min(verified.size());
                let read = || self.store.bucket.get(&self.key, Some(range.clone()));
                let Some(object) = self.store.ask("read", &self.key, read).await? else {
                    let fault = StoreFault::Unusable(StoreRefusal::Gone);
                    return Err(self.store.error("read", &self.key, fault));
                };
                let send = || self.store.bucket.part(key, &id, parts.len(), object.bytes.clone());
                let tag = self.store.ask("upload a part of", key, send).await?;
                parts.push(tag);
                at = range.end;
            }
            let complete = || self.store.bucket.complete(key, &id, parts.clone(), When::New);
            let settled = settle(&self.store, key, &token, &verified, complete).await?;
            self.head.note_ended(&id.0);
            match settled {
                Settled::Done(tag) => return Ok(completed(path, tag, verified)),
                Settled::Gone => {
                    let fault = StoreFault::NoUpload;
                    return Err(self.store.error("write", key, fault));
                }
                Settled::Taken => {
                    self.store.ask("abort an upload of", key, || self.store.bucket.abort(key, &id)).await?
                }
            }
        }
        Err(no_name(&self.store, &self.plain))
    }

    /// Drops what was sent. One that could not be dropped is named in the head for the next owner.
    pub(super) async fn abort(&self) {
        if self.store.bucket.abort(&self.key, &self.id).await.is_ok() {
            self.head.note_ended(&self.id.0);
        }
    }
}

/// Drops uploads and staged objects that an earlier owner left.
///
/// # Errors
/// When the store refuses.
pub(super) async fn sweep(store: &Store, head: &HeadStore, staged: &[String]) -> Result<(), Error> {
    for Begun { key, upload } in head.begun().await {
        let id = UploadId(upload);
        store.ask("abort an upload of", &key, || store.bucket.abort(&key, &id)).await?;
        head.note_ended(&id.0);
    }
    for key in staged {
        store.ask("delete", key, || store.bucket.remove(key)).await?;
    }
    Ok(())
}
