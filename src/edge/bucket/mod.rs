//! A bucket, as narrow as the protocol needs it. `cloud` is its one real implementation; the simulation has one in memory.

pub(crate) mod cloud;
pub(crate) mod connect;
mod credentials;
mod faults;
#[cfg(test)]
pub(crate) mod memory;
mod wire;

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::{NoCredentials, StoreRefusal, Unanswered};

/// What a store answers, as a future.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, StoreFault>>;

/// Tells one state of an object from all others: its `ETag` without quotes, and where the store counts versions, which one.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    text: String,
    /// GCS writes under a condition on this. Lists do not tell it, so it is not compared.
    generation: Option<String>,
}

impl Tag {
    pub(crate) fn new(etag: &str, generation: Option<String>) -> Self {
        let text = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"').to_owned();
        Self { text, generation }
    }

    /// Returns the text that the head keeps.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Tag {}

/// The store's name of an upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(pub(crate) String);

/// The store's receipt for one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartTag(pub(crate) String);

/// What a store knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Its length in bytes.
    pub(crate) size: u64,
    pub(crate) tag: Tag,
    /// The mark that its writer left on it, where a request for this object alone showed it.
    pub(crate) token: Option<String>,
    /// How long ago it was written, both times by the store's clock.
    pub(crate) age: Option<Duration>,
}

/// Bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) meta: Meta,
    pub(crate) bytes: Bytes,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its key below the prefix of the destination.
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) tag: Tag,
}

/// Under which condition an object is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum When {
    /// Nothing is under this key.
    New,
    /// The object under this key has this tag.
    Unchanged(Tag),
    /// In any case. Only for stores that ignore conditions.
    Always,
}

/// The answer to a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    /// Written; the object has this tag.
    Done(Tag),
    /// The condition does not hold; nothing was written.
    Refused,
}

/// What is written beside an object's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct About {
    /// The writer's mark, by which it recognises its own write after a lost answer.
    pub(crate) token: String,
    /// The media type, so that a browser shows a page as a page.
    pub(crate) media: &'static str,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreFault {
    /// No answer, or one that does not tell what became of the request: it may have been carried out.
    #[error("it is unknown whether the store carried the request out: {cause}")]
    Unknown {
        /// What went wrong.
        cause: Unanswered,
    },
    /// The store asks for less (429, 503), or two requests met (409). Nothing was carried out.
    #[error("the store asks to try later (HTTP {status})")]
    Busy {
        status: u16,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// No credentials could be had.
    #[error("{0}")]
    Credentials(NoCredentials),
    /// 401 or 403 for this request.
    #[error("the store refused the credentials for {permission} (HTTP {status}{}{message})", if message.is_empty() { "" } else { ": " })]
    Denied {
        status: u16,
        /// What would have to be allowed.
        permission: &'static str,
        /// The message of the store, sanitised.
        message: String,
    },
    /// There is no such bucket.
    #[error("there is no such bucket")]
    NoBucket,
    /// The bucket is in another region.
    #[error("the bucket is in another region{}", region.as_deref().map(|region| format!(" (`{region}`)")).unwrap_or_default())]
    WrongRegion {
        /// Which, where the store names it.
        region: Option<String>,
    },
    /// There is no such upload: it was completed, aborted, or removed by a rule of the bucket.
    #[error("the store has no such upload any more")]
    NoUpload,
    /// Another refusal. Nothing was carried out.
    #[error("the store refused the request (HTTP {status}{}{message})", if message.is_empty() { "" } else { ": " })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The message of the store, sanitised.
        message: String,
    },
    /// The request was not sent, or what it was for did not come about.
    #[error("{0}")]
    Unusable(StoreRefusal),
}

impl StoreFault {
    /// Whether the same request may succeed later. What became of this one is another question.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Busy { .. })
    }

    /// How long the store asked to wait.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A prefix of a bucket. Keys are relative to the prefix.
pub(crate) trait Bucket: Debug + Send + Sync {
    /// Reads an object, or a range of it; `None` where there is none.
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Option<Object>>;
    /// Looks at an object without reading it.
    fn stat<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Meta>>;
    /// Lists all objects whose keys begin with `prefix`.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Listed>>;
    /// Lists the folders directly below `prefix`, without a slash at their ends.
    fn folders<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<String>>;
    /// Writes a small object.
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When, about: About) -> Answer<'a, Put>;
    /// Begins an upload in parts. Nothing is visible before it is completed.
    fn begin<'a>(&'a self, key: &'a str, about: About) -> Answer<'a, UploadId>;
    /// Sends one part; parts are counted from 0 and come in any order.
    fn part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        number: usize,
        bytes: Bytes,
    ) -> Answer<'a, PartTag>;
    /// Makes an upload an object.
    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        parts: Vec<PartTag>,
        when: When,
    ) -> Answer<'a, Put>;
    /// Copies an object to a key where nothing is.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Put>;
    /// Drops an upload. One that is gone is dropped already.
    fn abort<'a>(&'a self, key: &'a str, upload: &'a UploadId) -> Answer<'a, ()>;
    /// Deletes an object. One that is gone is deleted already.
    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;
}
