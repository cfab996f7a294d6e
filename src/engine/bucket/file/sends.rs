//! Parts on their way to the store.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::edge::bucket::PartTag;
use crate::edge::system::blocking::lost;

use super::super::upload::{PartFault, Upload};
use super::Stopped;

/// Parts on their way to the store, each with its memory.
pub(super) struct Sends {
    upload: Arc<Upload>,
    sending: JoinSet<Result<(u64, PartTag, OwnedSemaphorePermit), PartFault>>,
    tags: Vec<Option<PartTag>>,
}

impl Sends {
    pub(super) fn new(upload: Arc<Upload>, count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or_default();
        Self { upload, sending: JoinSet::new(), tags: vec![None; count] }
    }

    pub(super) fn send(&mut self, number: u64, bytes: Bytes, memory: OwnedSemaphorePermit) {
        let upload = self.upload.clone();
        self.sending.spawn(async move {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            Ok((number, upload.part(at, bytes).await?, memory))
        });
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.sending.is_empty()
    }

    /// Waits for one of them, and returns its memory.
    pub(super) async fn next(&mut self) -> Result<Option<OwnedSemaphorePermit>, Stopped> {
        let Some(sent) = self.sending.join_next().await else { return Ok(None) };
        let (number, tag, memory) = sent.map_err(lost("upload", std::path::Path::new("a part")))??;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if self.tags.len() <= at {
            self.tags.resize(at + 1, None);
        }
        self.tags[at] = Some(tag);
        Ok(Some(memory))
    }

    /// Waits for all of them.
    pub(super) async fn finish(mut self) -> Result<Vec<PartTag>, Stopped> {
        while self.is_busy() {
            self.next().await?;
        }
        Ok(self.tags.into_iter().flatten().collect())
    }
}
