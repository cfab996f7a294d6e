//! A store that ignores conditions, for a user who guarantees that there is one writer: conditions are
//! looked at before the write.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::edge::bucket::{About, Answer, Bucket, Listed, Meta, Object, PartTag, Put, UploadId, When};

/// Looks before each write.
#[derive(Debug)]
pub(super) struct Sole(pub(super) Arc<dyn Bucket>);

impl Sole {
    async fn holds(&self, key: &str, when: &When) -> Result<bool, crate::edge::bucket::StoreFault> {
        Ok(match when {
            When::Always => true,
            When::New => self.0.stat(key).await?.is_none(),
            When::Unchanged(tag) => self.0.stat(key).await?.is_some_and(|meta| meta.tag == *tag),
        })
    }
}

impl Bucket for Sole {
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Option<Object>> {
        self.0.get(key, range)
    }

    fn stat<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Meta>> {
        self.0.stat(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Listed>> {
        self.0.list(prefix)
    }

    fn folders<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<String>> {
        self.0.folders(prefix)
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When, about: About) -> Answer<'a, Put> {
        Box::pin(async move {
            if !self.holds(key, &when).await? {
                return Ok(Put::Refused);
            }
            self.0.put(key, bytes, When::Always, about).await
        })
    }

    fn begin<'a>(&'a self, key: &'a str, about: About) -> Answer<'a, UploadId> {
        self.0.begin(key, about)
    }

    fn part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        number: usize,
        bytes: Bytes,
    ) -> Answer<'a, PartTag> {
        self.0.part(key, upload, number, bytes)
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        parts: Vec<PartTag>,
        when: When,
    ) -> Answer<'a, Put> {
        Box::pin(async move {
            if !self.holds(key, &when).await? {
                return Ok(Put::Refused);
            }
            self.0.complete(key, upload, parts, When::Always).await
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Put> {
        Box::pin(async move {
            if !self.holds(to, &When::New).await? {
                return Ok(Put::Refused);
            }
            self.0.copy(from, to).await
        })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a UploadId) -> Answer<'a, ()> {
        self.0.abort(key, upload)
    }

    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.0.remove(key)
    }
}
