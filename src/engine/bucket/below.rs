//! A folder of a bucket as a bucket of its own: the same client, a longer prefix.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::edge::bucket::{About, Answer, Bucket, Listed, Meta, Object, PartTag, Put, UploadId, When};

/// All keys are below this prefix.
#[derive(Debug)]
pub(super) struct Below {
    all: Arc<dyn Bucket>,
    prefix: String,
}

impl Below {
    /// `prefix` is without a slash at either end.
    pub(super) fn new(all: Arc<dyn Bucket>, prefix: &str) -> Self {
        Self { all, prefix: format!("{prefix}/") }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn short(&self, key: &str) -> Option<String> {
        key.strip_prefix(&self.prefix).map(str::to_owned)
    }
}

impl Bucket for Below {
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Option<Object>> {
        Box::pin(async move { self.all.get(&self.key(key), range).await })
    }

    fn stat<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Meta>> {
        Box::pin(async move { self.all.stat(&self.key(key)).await })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Listed>> {
        Box::pin(async move {
            let listed = self.all.list(&self.key(prefix)).await?;
            let short = |listed: Listed| Some(Listed { key: self.short(&listed.key)?, ..listed });
            Ok(listed.into_iter().filter_map(short).collect())
        })
    }

    fn folders<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let folders = self.all.folders(&self.key(prefix)).await?;
            Ok(folders.iter().filter_map(|folder| self.short(folder)).collect())
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When, about: About) -> Answer<'a, Put> {
        Box::pin(async move { self.all.put(&self.key(key), bytes, when, about).await })
    }

    fn begin<'a>(&'a self, key: &'a str, about: About) -> Answer<'a, UploadId> {
        Box::pin(async move { self.all.begin(&self.key(key), about).await })
    }

    fn part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        number: usize,
        bytes: Bytes,
    ) -> Answer<'a, PartTag> {
        Box::pin(async move { self.all.part(&self.key(key), upload, number, bytes).await })
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a UploadId,
        parts: Vec<PartTag>,
        when: When,
    ) -> Answer<'a, Put> {
        Box::pin(async move { self.all.complete(&self.key(key), upload, parts, when).await })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Answer<'a, Put> {
        Box::pin(async move { self.all.copy(&self.key(from), &self.key(to)).await })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a UploadId) -> Answer<'a, ()> {
        Box::pin(async move { self.all.abort(&self.key(key), upload).await })
    }

    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.all.remove(&self.key(key)).await })
    }
}
