//! Takes the body of an upload in: hashed as it comes, never kept.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

use crate::model::digest::Sha256Digest;

use super::datasets::Received;

/// Receives the part `file` of a form; `None` where it does not come whole.
pub(crate) async fn form(
    content_type: &str,
    declared: Option<u64>,
    all: &AtomicU64,
    incoming: Incoming,
) -> Option<Received> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    let frames = BodyStream::new(incoming)
        .filter_map(async |frame| frame.map(|frame| frame.into_data().ok()).transpose());
    let mut form = multer::Multipart::new(Box::pin(frames), boundary);
    let mut received = Received { name: None, size: 0, sha256: Sha256Digest::new([0; 32]), declared };
    while let Some(mut field) = form.next_field().await.ok()? {
        let mut counted = Counted::default();
        while let Some(bytes) = field.chunk().await.ok()? {
            counted.add(&bytes, all);
        }
        if field.name() == Some("file") {
            received.name = field.file_name().map(str::to_owned);
            (received.size, received.sha256) = counted.finish();
        }
    }
    Some(received)
}

/// Receives raw bytes; `None` where they do not come whole.
pub(crate) async fn raw(declared: Option<u64>, all: &AtomicU64, mut incoming: Incoming) -> Option<Received> {
    let mut counted = Counted::default();
    while let Some(frame) = incoming.frame().await {
        if let Ok(bytes) = frame.ok()?.into_data() {
            counted.add(&bytes, all);
        }
    }
    let (size, sha256) = counted.finish();
    Some(Received { name: None, size, sha256, declared })
}

#[derive(Default)]
struct Counted {
    size: u64,
    hasher: Sha256,
}

impl Counted {
    fn add(&mut self, bytes: &Bytes, all: &AtomicU64) {
        all.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    fn finish(self) -> (u64, Sha256Digest) {
        (self.size, Sha256Digest::new(self.hasher.finalize().into()))
    }
}
