//! Hashes in order.

use bytes::Bytes;

use crate::decide::formats::Format;
use crate::decide::transfer::verify::{BodyHash, Inspection, Received};
use crate::edge::system::blocking::{blocking, lost};
use crate::error::Error;
use crate::model::claim::Claim;

/// Hashes of a file, fed in the order of its bytes.
pub(super) struct Hashes {
    pub(super) inspection: Inspection,
    body: Option<BodyHash>,
}

impl Hashes {
    pub(super) fn new(file_name: &str, claims: &[Claim]) -> Self {
        Self { inspection: Inspection::new(Format::of(file_name), claims), body: None }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let start = self.inspection.position();
        self.inspection.feed(bytes);
        if self.body.is_none() {
            self.body = self.inspection.body();
        }
        if let Some(body) = &mut self.body {
            let skip = body.position().saturating_sub(start);
            let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            body.feed(&bytes[skip..]);
        }
    }

    /// Feeds a part on a thread for such work.
    pub(super) async fn feed_beside(mut self, bytes: Bytes) -> Result<Self, Error> {
        blocking(move || {
            self.feed(&bytes);
            self
        })
        .await
        .map_err(lost("hash", std::path::Path::new("a part")))
    }

    pub(super) fn finish(self) -> Received {
        self.inspection.finish(self.body)
    }
}
