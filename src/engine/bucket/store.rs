//! Asks of a store with patience, and faults as errors that name the destination.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::decide::transfer::backoff::Backoff;
use crate::edge::bucket::{About, Answer, Bucket, Meta, StoreFault, Tag};
use crate::error::{BucketError, Error};
use crate::model::destination::BucketUrl;
use crate::model::digest::{Sha256Digest, hex};

/// The first wait after a fault; it doubles, with jitter, to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Tries of one request before a single pass gives up: some two minutes.
const TRIES: u32 = 9;

/// Bytes of an object that are read at once to compare it.
const READ_AT_ONCE: u64 = 8 << 20;

/// A store, with what its errors need to be understood.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) url: Arc<BucketUrl>,
    /// Whether a store that is away is asked for ever.
    pub(crate) is_endless: bool,
}

/// Waits between tries.
#[derive(Debug)]
pub(super) struct Patience {
    backoff: Backoff,
    tries: u32,
}

impl Store {
    /// Begins a series of tries.
    pub(super) fn patience(&self) -> Patience {
        Patience { backoff: Backoff::new(fastrand::u64(..), FIRST_WAIT, LONGEST_WAIT), tries: 0 }
    }

    /// Waits before the next try; the fault is an error where no later try can succeed, or there were enough of them.
    pub(super) async fn wait(
        &self,
        patience: &mut Patience,
        verb: &'static str,
        key: &str,
        fault: StoreFault,
    ) -> Result<(), Error> {
        patience.tries += 1;
        if !fault.is_transient() || (patience.tries >= TRIES && !self.is_endless) {
            return Err(self.error(verb, key, fault));
        }
        tokio::time::sleep(patience.backoff.next(fault.retry_after())).await;
        Ok(())
    }

    /// Sends a request that may be carried out twice, until it is answered.
    pub(super) async fn ask<'a, T>(
        &self,
        verb: &'static str,
        key: &str,
        mut request: impl FnMut() -> Answer<'a, T>,
    ) -> Result<T, Error> {
        let mut patience = self.patience();
        loop {
            match request().await {
                Ok(answer) => return Ok(answer),
                Err(fault) => self.wait(&mut patience, verb, key, fault).await?,
            }
        }
    }

    pub(super) async fn stat(&self, key: &str) -> Result<Option<Meta>, Error> {
        self.ask("look at", key, || self.bucket.stat(key)).await
    }

    /// Returns the SHA-256 of what is under a key, with the object's tag; `None` where nothing is. Reads every byte, some
    /// MiB at a time.
    pub(super) async fn hash(&self, key: &str) -> Result<Option<(Sha256Digest, Meta)>, Error> {
        let mut hash = Some(<sha2::Sha256 as sha2::digest::Digest>::new());
        let meta = self
            .read(key, |bytes| {
                if let Some(hash) = &mut hash {
                    sha2::digest::Digest::update(hash, bytes);
                }
            })
            .await?;
        let sha256 = hash.map(|hash| Sha256Digest::new(sha2::digest::Digest::finalize(hash).into()));
        Ok(meta.zip(sha256).map(|(meta, sha256)| (sha256, meta)))
    }

    /// Feeds an object's bytes in order. An object that changes meanwhile is an error: it was written by another program.
    pub(super) async fn read(&self, key: &str, mut feed: impl FnMut(&[u8])) -> Result<Option<Meta>, Error> {
        let mut at = 0;
        let mut first: Option<Meta> = None;
        loop {
            let range = at..at + READ_AT_ONCE;
            // A range of an empty object is an error in some stores.
            let known_empty = first.as_ref().is_some_and(|meta| meta.size == 0);
            let object = if known_empty {
                None
            } else {
                self.ask("read", key, || self.bucket.get(key, Some(range.clone()))).await?
            };
            let Some(object) = object else { return Ok(first) };
            if let Some(first) = &first
                && first.tag != object.meta.tag
            {
                let cause = "it changed while it was read".to_owned();
                return Err(self.error("read", key, StoreFault::Refused { status: 0, message: cause }));
            }
            at += object.bytes.len() as u64;
            feed(&object.bytes);
            let is_over = at >= object.meta.size || object.bytes.is_empty();
            first.get_or_insert(object.meta);
            if is_over {
                return Ok(first);
            }
        }
    }

    /// Reads a small object whole; `None` where nothing is, or more than `bound` bytes.
    pub(super) async fn small(&self, key: &str, bound: u64) -> Result<Option<(Bytes, Meta)>, Error> {
        let object = self.ask("read", key, || self.bucket.get(key, None)).await?;
        Ok(object.filter(|object| object.meta.size <= bound).map(|object| (object.bytes, object.meta)))
    }

    /// Makes a fault an error.
    pub(super) fn error(&self, verb: &'static str, key: &str, fault: StoreFault) -> Error {
        error(&self.url, verb, key, fault)
    }
}

/// Makes a fault an error that names the destination.
pub(super) fn error(url: &BucketUrl, verb: &'static str, key: &str, fault: StoreFault) -> Error {
    let to = url.to_string();
    let store = url.store().name();
    Error::from(match fault {
        StoreFault::Unknown { cause } => BucketError::Away { to, cause },
        StoreFault::Busy { .. } => BucketError::Away { to, cause: fault.to_string() },
        StoreFault::Credentials(why) => BucketError::NoCredentials { to, store, why },
        StoreFault::Denied { status, permission, message } => {
            BucketError::Denied { to, store, permission, status, message }
        }
        StoreFault::NoBucket => BucketError::NoBucket { to },
        StoreFault::WrongRegion { region } => BucketError::WrongRegion { to, region },
        StoreFault::NoUpload | StoreFault::Refused { .. } => {
            BucketError::Refused { verb, object: url.object(key), cause: fault.to_string() }
        }
    })
}

/// A mark that no other write has.
pub(super) fn fresh_token() -> String {
    hex(&fastrand::u128(..).to_be_bytes())
}

/// What is written beside an object's bytes.
pub(super) fn about(key: &str, token: &str) -> About {
    let extension = key.rsplit_once('.').map_or("", |(_, extension)| extension);
    let media = match extension {
        "json" => "application/json",
        "html" => "text/html; charset=utf-8",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "mp4" => "video/mp4",
        "yaml" | "yml" | "txt" => "text/plain; charset=utf-8",
        _ if key.ends_with("SHA256SUMS") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    About { token: token.to_owned(), media }
}

/// The tag as it is kept in the head.
pub(super) fn kept(tag: &Tag) -> String {
    tag.as_str().to_owned()
}
