//! The one real bucket: the crate `object_store` on our own HTTP client, without retries of its own.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, GetOptions, GetRange, ObjectMeta, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, UpdateVersion,
};

use crate::error::{NoCredentials, StoreRefusal};
use crate::model::destination::{BucketUrl, StoreKind};
use crate::model::names::sanitize::{for_terminal, secrets_removed};

use super::connect::{Connected, Described, Dialect, Level, connect};
use super::credentials::{FromProfile, Variables};
use super::faults::{self, CrateError, has_expired, lacks_checksum};
use super::wire::{Seen, seen};
use super::{About, Answer, Bucket, Listed, Meta, Object, PartTag, Put, StoreFault, Tag, UploadId, When};

/// The mark on our own writes. Azure takes letters and digits alone.
const TOKEN: &str = "rcsynctoken";

/// A store that copies after it answered is asked so often, for ten minutes.
const COPY_LOOKS: u32 = 300;
const BETWEEN_COPY_LOOKS: Duration = Duration::from_secs(2);

/// A prefix of a real bucket.
pub(crate) struct Cloud {
    levels: Vec<Level>,
    /// Which of them is used.
    level: AtomicUsize,
    renewable: Option<Arc<FromProfile>>,
    kind: StoreKind,
    prefix: String,
    pub(crate) described: Described,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The crate's own types hold credentials.
        f.debug_struct("Cloud").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Cloud {
    /// Gets ready to speak to a bucket. Sends nothing.
    ///
    /// # Errors
    /// When the environment's settings cannot be used.
    pub(crate) fn new(url: &BucketUrl, dialect: Dialect) -> Result<Self, StoreFault> {
        Self::with(url, dialect, &variable)
    }

    fn with(url: &BucketUrl, dialect: Dialect, variable: Variables<'_>) -> Result<Self, StoreFault> {
        let Connected { levels, renewable, described } = connect(url, dialect, variable)?;
        let (kind, prefix) = (url.store(), url.prefix().to_owned());
        Ok(Self { levels, level: AtomicUsize::new(0), renewable, kind, prefix, described })
    }

    /// The client in use, and its number.
    fn client(&self) -> (usize, &Level) {
        let at = self.level.load(Ordering::Relaxed).min(self.levels.len() - 1);
        (at, &self.levels[at])
    }

    /// Makes an error of the crate a fault, by what was seen of the request. What can be had in another way is a fault that
    /// passes: expired credentials that can be renewed, and a checksum that the store does not know.
    fn fault(
        &self,
        level: usize,
        permission: &'static str,
        seen: &Seen,
        error: &object_store::Error,
    ) -> StoreFault {
        let again =
            StoreFault::Busy { status: seen.status.unwrap_or_default(), retry_after: Some(Duration::ZERO) };
        if has_expired(seen) && self.renewable.as_ref().is_some_and(|provider| provider.renew()) {
            return again;
        }
        if lacks_checksum(seen) && level + 1 < self.levels.len() {
            let next = level + 1;
            // Others may have noticed it already.
            let _ = self.level.compare_exchange(level, next, Ordering::Relaxed, Ordering::Relaxed);
            return again;
        }
        faults::fault(permission, seen, crate_error(error))
    }

    /// The same for a write under a condition.
    fn put_answer(
        &self,
        level: usize,
        answer: object_store::Result<object_store::PutResult>,
        seen: &Seen,
    ) -> Result<Put, StoreFault> {
        match answer {
            Ok(result) => Ok(Put::Done(self.tag(result.e_tag.as_deref(), result.version.as_ref()))),
            Err(error) => self.refusal(level, "writing objects", seen, &error),
        }
    }

    fn refusal(
        &self,
        level: usize,
        permission: &'static str,
        seen: &Seen,
        error: &object_store::Error,
    ) -> Result<Put, StoreFault> {
        let is_taken = matches!(&*seen.code, "BlobAlreadyExists" | "TargetConditionNotMet");
        match seen.status {
            Some(412) => Ok(Put::Refused),
            Some(409) if is_taken => Ok(Put::Refused),
            // A swap of an object that is gone.
            Some(404) if !matches!(&*seen.code, "NoSuchBucket" | "ContainerNotFound" | "NoSuchUpload") => {
                Ok(Put::Refused)
            }
            _ => Err(self.fault(level, permission, seen, error)),
        }
    }

    fn path(&self, key: &str) -> Result<Path, StoreFault> {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        Path::parse(format!("{}{slash}{key}", self.prefix))
            .map_err(|_| StoreFault::Unusable(StoreRefusal::BadKey))
    }

    /// The folder whose objects have keys that begin with `prefix`; `None`: the whole bucket.
    fn folder(&self, prefix: &str) -> Result<Option<Path>, StoreFault> {
        let whole = match (self.prefix.is_empty(), prefix.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => prefix.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}/{prefix}", self.prefix),
        };
        Path::parse(whole.trim_end_matches('/'))
            .map(Some)
            .map_err(|_| StoreFault::Unusable(StoreRefusal::BadKey))
    }

    /// The key below our prefix.
    fn key(&self, path: &Path) -> Option<String> {
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        path.as_ref().get(skip..).map(str::to_owned)
    }

    fn meta(&self, meta: &ObjectMeta, attributes: &Attributes, seen: &Seen) -> Meta {
        let token = attributes.get(&Attribute::Metadata(TOKEN.into())).map(|token| token.to_string());
        let written = u64::try_from(meta.last_modified.timestamp()).ok();
        let now = seen.date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        let age = now.zip(written).map(|(now, written)| now.saturating_sub(Duration::from_secs(written)));
        Meta { size: meta.size, tag: self.tag(meta.e_tag.as_deref(), meta.version.as_ref()), token, age }
    }

    fn tag(&self, etag: Option<&str>, version: Option<&String>) -> Tag {
        // A version of S3 is not what its conditions compare.
        let generation = version.filter(|_| self.kind == StoreKind::Gcs).cloned();
        Tag::new(etag.unwrap_or_default(), generation)
    }

    async fn get_opts(
        &self,
        key: &str,
        options: GetOptions,
        permission: &'static str,
    ) -> Result<Option<Object>, StoreFault> {
        let path = self.path(key)?;
        let is_head = options.head;
        let has_range = options.range.is_some();
        let (level, client) = self.client();
        let (answer, seen) = seen(async {
            let result = client.store.get_opts(&path, options).await?;
            let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
            let bytes = if is_head { Bytes::new() } else { result.bytes().await? };
            Ok((meta, attributes, bytes))
        })
        .await;
        match answer {
            Ok((meta, attributes, bytes)) => {
                Ok(Some(Object { meta: self.meta(&meta, &attributes, &seen), bytes }))
            }
            // A whole object where a range was asked for: some stores do so where the range covers all of it.
            Err(_) if has_range && seen.status == Some(200) => {
                let message = "it serves no ranges".to_owned();
                Err(StoreFault::Refused { status: 200, message })
            }
            Err(error) => match self.fault(level, permission, &seen, &error) {
                StoreFault::Refused { status: 404, .. } => Ok(None),
                fault => Err(fault),
            },
        }
    }

    /// Waits until a copy is whole.
    async fn copied(&self, from: &str, to: &str) -> Result<Put, StoreFault> {
        let size = self.stat(from).await?.map(|meta| meta.size);
        for _ in 0..COPY_LOOKS {
            match self.stat(to).await? {
                Some(meta) if size.is_none_or(|size| size == meta.size) => return Ok(Put::Done(meta.tag)),
                Some(_) | None => tokio::time::sleep(BETWEEN_COPY_LOOKS).await,
            }
        }
        Err(StoreFault::Unusable(StoreRefusal::CopyUnfinished))
    }

    fn attributes(&self, about: &About) -> Attributes {
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(TOKEN.into()), about.token.clone().into());
        attributes.insert(Attribute::ContentType, about.media.into());
        attributes
    }
}

/// Takes what is known of an error of the crate: the fault of our own source of credentials, else the innermost words.
fn crate_error(error: &object_store::Error) -> CrateError {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(why) = cause.downcast_ref::<NoCredentials>() {
            return CrateError::Credentials(why.clone());
        }
        let Some(inner) = cause.source() else { break };
        cause = inner;
    }
    CrateError::Other(for_terminal(&secrets_removed(&cause.to_string()), 200))
}

impl Bucket for Cloud {
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Option<Object>> {
        Box::pin(async move {
            let wanted = range.clone();
            let from_start = wanted.as_ref().is_none_or(|range| range.start == 0);
            let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
            match self.get_opts(key, options, "reading objects").await {
                // An empty object has no range.
                Err(StoreFault::Refused { status: 416, .. }) if from_start => {
                    let meta = self.stat(key).await?;
                    Ok(meta.map(|meta| Object { meta, bytes: Bytes::new() }))
                }
                Err(StoreFault::Refused { status: 200, message }) if from_start => {
                    let size = self.stat(key).await?.map_or(0, |meta| meta.size);
                    if wanted.is_some_and(|range| size > range.end) {
                        return Err(StoreFault::Refused { status: 200, message });
                    }
                    self.get_opts(key, GetOptions::default(), "reading objects").await
                }
                answer => answer,
            }
        })
    }

    fn stat<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Meta>> {
        Box::pin(async move {
            let options = GetOptions { head: true, ..GetOptions::default() };
            Ok(self.get_opts(key, options, "reading objects").await?.map(|object| object.meta))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Listed>> {
        Box::pin(async move {
            let folder = self.folder(prefix)?;
            let (level, client) = self.client();
            let (answer, seen) = seen(client.store.list(folder.as_ref()).try_collect::<Vec<_>>()).await;
            let found = answer.map_err(|error| self.fault(level, "listing the bucket", &seen, &error))?;
            let listed = found.into_iter().filter_map(|meta| {
                let key = self.key(&meta.location)?;
                let tag = self.tag(meta.e_tag.as_deref(), meta.version.as_ref());
                Some(Listed { key, size: meta.size, tag })
            });
            Ok(listed.collect())
        })
    }

    fn folders<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let folder = self.folder(prefix)?;
            let (level, client) = self.client();
            let (answer, seen) = seen(client.store.list_with_delimiter(folder.as_ref())).await;
            let found = answer.map_err(|error| self.fault(level, "listing the bucket", &seen, &error))?;
            Ok(found.common_prefixes.iter().filter_map(|folder| self.key(folder)).collect())
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When, about: About) -> Answer<'a, Put> {
        Box::pin(async move {
            let path = self.path(key)?;
            let mode = match when {
                When::New => PutMode::Create,
                When::Always => PutMode::Overwrite,
                When::Unchanged(Tag { text, generation }) => {
                    PutMode::Update(UpdateVersion { e_tag: Some(format!("\"{text}\"")), version: generation })
                }
            };
            let options = PutOptions { mode, attributes: self.attributes(&about), ..PutOptions::default() };
            let (level, client) = self.client();
            let (answer, seen) = seen(client.store.put_opts(&path, PutPayload::from(bytes), options)).await;
            self.put_answer(level, answer, &seen)
        })
    }

    fn begin<'a>(&'a self, key: &'a str, about: About) -> Answer<'a, UploadId> {
        Box::pin(async move {
            let path = self.path(key)?;
            // Azure has no uploads, only blocks, and takes no attributes before they are put together.
            let attributes = match self.kind {
                StoreKind::Azure => Attributes::new(),
                StoreKind::S3 | StoreKind::Gcs => self.attributes(&about),
            };
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            let (level, client) = self.client();
            let (answer, seen) = seen(client.multipart.create_multipart_opts(&path, options)).await;
            answer.map(UploadId).map_err(|error| self.fault(level, "writing objects", &seen, &error))
        })
    }

    fn part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        number: usize,
        bytes: Bytes,
    ) -> Answer<'a, PartTag> {
        Box::pin(async move {
            let path = self.path(key)?;
            let (level, client) = self.client();
            let sending = client.multipart.put_part(&path, &upload.0, number, PutPayload::from(bytes));
            let (answer, seen) = seen(sending).await;
            answer
                .map(|part| PartTag(part.content_id))
                .map_err(|error| self.fault(level, "writing objects", &seen, &error))
        })
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        parts: Vec<PartTag>,
        _: When,
    ) -> Answer<'a, Put> {
        // The condition is the wire's: the crate has none here.
        Box::pin(async move {
            let path = self.path(key)?;
            let parts = parts.into_iter().map(|part| PartId { content_id: part.0 }).collect();
            let (level, client) = self.client();
            let (answer, seen) = seen(client.multipart.complete_multipart(&path, &upload.0, parts)).await;
            if seen.status == Some(404) {
                return Err(match self.fault(level, "writing objects", &seen, &no_error()) {
                    StoreFault::Refused { .. } => StoreFault::NoUpload,
                    fault => fault,
                });
            }
            self.put_answer(level, answer, &seen)
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Put> {
        Box::pin(async move {
            let (source, target) = (self.path(from)?, self.path(to)?);
            let options = CopyOptions { mode: CopyMode::Create, ..CopyOptions::default() };
            let (level, client) = self.client();
            let (answer, seen) = seen(client.store.copy_opts(&source, &target, options)).await;
            match answer {
                // Azure may copy a large blob after it answered, and no store returns the new object's tag.
                Ok(()) => self.copied(from, to).await,
                Err(error) if seen.status == Some(404) => {
                    Err(match self.fault(level, "copying objects", &seen, &error) {
                        StoreFault::Refused { .. } => StoreFault::NoUpload,
                        fault => fault,
                    })
                }
                Err(error) => self.refusal(level, "copying objects", &seen, &error),
            }
        })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a UploadId) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = self.path(key)?;
            let (level, client) = self.client();
            let (answer, seen) = seen(client.multipart.abort_multipart(&path, &upload.0)).await;
            match answer {
                Ok(()) => Ok(()),
                Err(_) if seen.status == Some(404) => Ok(()),
                Err(error) => Err(self.fault(level, "aborting uploads", &seen, &error)),
            }
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = self.path(key)?;
            use object_store::ObjectStoreExt as _;
            let (level, client) = self.client();
            let (answer, seen) = seen(client.store.delete(&path)).await;
            match answer {
                Ok(()) => Ok(()),
                Err(_) if seen.status == Some(404) => Ok(()),
                Err(error) => Err(self.fault(level, "deleting objects", &seen, &error)),
            }
        })
    }
}

fn no_error() -> object_store::Error {
    object_store::Error::NotImplemented { operation: String::new(), implementer: String::new() }
}

#[cfg(test)]
mod tests;
