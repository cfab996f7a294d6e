//! Asks of a store with patience, and faults as errors that name the destination.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::debug;

use crate::decide::transfer::backoff::{Policy, Tries};
use crate::edge::bucket::{About, Answer, Bucket, Meta, StoreFault, Tag};
use crate::engine::event::Reporter;
use crate::engine::retry::{Again, Persistence, SHORT, retry};
use crate::error::{BucketError, Error, StoreRefusal, Unanswered};
use crate::model::destination::BucketUrl;
use crate::model::digest::{Sha256Digest, hex};

use super::outages::Outages;

/// How often one request is sent before a single pass gives up: for some two minutes. A store that asks for a longer wait is
/// overloaded, and it gets the wait.
const PASS: Policy =
    Policy::patient(9, Duration::from_millis(500), Duration::from_secs(30)).however_long_asked();

/// Bytes of an object that are read at once to compare it.
const READ_AT_ONCE: u64 = 8 << 20;

/// A store, with what its errors need to be understood.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) url: Arc<BucketUrl>,
    pub(crate) persistence: Persistence,
    pub(crate) outages: Outages,
}

/// What is under a key where a small object is expected.
#[derive(Debug)]
pub(super) enum Small {
    Nothing,
    /// More than was asked for: no object of rcsync's.
    TooLarge {
        size: u64,
    },
    Whole(Bytes, Meta),
}

/// Waits between tries of a request whose outcome has to be found out in between.
#[derive(Debug)]
pub(super) struct Patience {
    tries: Tries,
    failures: Failures,
}

/// How often a request has failed, and since when it is without an answer.
#[derive(Debug)]
struct Failures {
    count: u32,
    began: Instant,
}

impl Failures {
    /// Begins with the first try.
    fn none() -> Self {
        Self { count: 0, began: Instant::now() }
    }
}

impl Store {
    /// The same store, whose outages are reported there.
    pub(super) fn reporting(self, reporter: Arc<dyn Reporter>) -> Self {
        Self { outages: Outages::to(reporter), ..self }
    }

    /// The same store, asked with the patience of a pass: it has answered, and what was begun is worth more than a few seconds.
    pub(super) fn as_in_a_pass(&self) -> Self {
        Self { persistence: Persistence::Pass, ..self.clone() }
    }

    /// Begins a series of tries.
    pub(super) fn patience(&self) -> Patience {
        Patience { tries: Tries::new(self.policy(), fastrand::u64(..)), failures: Failures::none() }
    }

    const fn policy(&self) -> Policy {
        match self.persistence {
            Persistence::Short => SHORT,
            Persistence::Pass => PASS,
            Persistence::Endless => PASS.endless(),
        }
    }

    /// Waits before the next try; the fault is an error where no later try can succeed, or there were enough of them.
    pub(super) async fn wait(
        &self,
        patience: &mut Patience,
        verb: &'static str,
        key: &str,
        fault: StoreFault,
    ) -> Result<(), Error> {
        let wait = match again(&fault) {
            Again::Never => None,
            Again::After(asked) => patience.tries.next_wait(patience.failures.began.elapsed(), asked),
        };
        let error = bucket_error(&self.url, verb, key, fault);
        let Some(wait) = wait else { return Err(error.into()) };
        self.report(&mut patience.failures, verb, key, error, wait);
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Logs a failed request that is repeated after a wait, and reports a store that does not answer.
    fn report(
        &self,
        failures: &mut Failures,
        verb: &'static str,
        key: &str,
        error: BucketError,
        wait: Duration,
    ) {
        debug!(verb, key, %error, ?wait, "a request to the store failed and is repeated");
        failures.count = failures.count.saturating_add(1);
        self.outages.failed(failures.count, failures.began.elapsed().saturating_add(wait), error, wait);
    }

    /// Sends a request that may be carried out twice, until it is answered.
    pub(super) async fn ask<'a, T>(
        &self,
        verb: &'static str,
        key: &str,
        mut request: impl FnMut() -> Answer<'a, T>,
    ) -> Result<T, Error> {
        let mut failures = Failures::none();
        let waits = |fault: &StoreFault, wait| {
            let error = bucket_error(&self.url, verb, key, fault.clone());
            self.report(&mut failures, verb, key, error, wait);
        };
        let answer = retry(self.policy(), &mut request, again, waits).await;
        let answer = answer.map_err(|fault| self.error(verb, key, fault))?;
        self.outages.answered();
        Ok(answer)
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
                return Err(self.unusable("read", key, StoreRefusal::Changed));
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

    /// Reads an object whole where it has at most `bound` bytes; of a larger one no more than that is read.
    pub(super) async fn look(&self, key: &str, bound: u64) -> Result<Small, Error> {
        let object = self.ask("read", key, || self.bucket.get(key, Some(0..bound))).await?;
        Ok(match object {
            None => Small::Nothing,
            Some(object) if object.meta.size > bound => Small::TooLarge { size: object.meta.size },
            Some(object) => Small::Whole(object.bytes, object.meta),
        })
    }

    /// Reads a small object whole; `None` where nothing is.
    ///
    /// # Errors
    /// When the store refuses, or the object has more than `bound` bytes: what is in it is unknown then, and it is not treated as
    /// if it were not there.
    pub(super) async fn small(&self, key: &str, bound: u64) -> Result<Option<(Bytes, Meta)>, Error> {
        match self.look(key, bound).await? {
            Small::Nothing => Ok(None),
            Small::Whole(bytes, meta) => Ok(Some((bytes, meta))),
            Small::TooLarge { size } => {
                Err(self.unusable("read", key, StoreRefusal::TooLarge { size, most: bound }))
            }
        }
    }

    /// The same where another program's object may have the name: one that is too large to be rcsync's is as none.
    pub(super) async fn small_of_ours(&self, key: &str, bound: u64) -> Result<Option<Bytes>, Error> {
        Ok(match self.look(key, bound).await? {
            Small::Whole(bytes, _) => Some(bytes),
            Small::Nothing | Small::TooLarge { .. } => None,
        })
    }

    /// Why an object cannot be used, where the store did what it was asked.
    fn unusable(&self, verb: &'static str, key: &str, cause: StoreRefusal) -> Error {
        BucketError::Refused { verb, object: self.url.object(key), cause }.into()
    }

    /// Makes a fault an error.
    pub(super) fn error(&self, verb: &'static str, key: &str, fault: StoreFault) -> Error {
        error(&self.url, verb, key, fault)
    }
}

/// What a store's fault means for the same request.
fn again(fault: &StoreFault) -> Again {
    if fault.is_transient() { Again::After(fault.retry_after()) } else { Again::Never }
}

/// Makes a fault an error that names the destination.
pub(super) fn error(url: &BucketUrl, verb: &'static str, key: &str, fault: StoreFault) -> Error {
    bucket_error(url, verb, key, fault).into()
}

fn bucket_error(url: &BucketUrl, verb: &'static str, key: &str, fault: StoreFault) -> BucketError {
    let to = url.to_string();
    let store = url.store().name();
    let refused = |cause| BucketError::Refused { verb, object: url.object(key), cause };
    match fault {
        StoreFault::Unknown { cause } => BucketError::Away { to, cause },
        StoreFault::Busy { status, .. } => BucketError::Away { to, cause: Unanswered::Busy(status) },
        StoreFault::Credentials(why) => BucketError::NoCredentials { to, store, why },
        StoreFault::Denied { status, permission, message } => {
            BucketError::Denied { to, store, permission, status, message }
        }
        StoreFault::NoBucket => BucketError::NoBucket { to },
        StoreFault::WrongRegion { region } => BucketError::WrongRegion { to, region },
        StoreFault::NoUpload => refused(StoreRefusal::NoUpload),
        StoreFault::Refused { status, message } => refused(StoreRefusal::Status { status, message }),
        StoreFault::Unusable(why) => refused(why),
    }
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
