//! Hashes in order.

use bytes::Bytes;

use crate::decide::formats::Format;
use crate::decide::transfer::verify::{Inspection, Reading, Received};
use crate::edge::system::blocking::{blocking, lost};
use crate::error::Error;
use crate::model::claim::Claim;

/// Hashes of a file, fed in the order of its bytes.
pub(super) struct Hashes(Reading);

impl Hashes {
    pub(super) fn new(file_name: &str, claims: &[Claim]) -> Self {
        Self(Reading::new(Format::of(file_name), claims))
    }

    pub(super) const fn inspection(&self) -> &Inspection {
        self.0.inspection()
    }

    /// Feeds a part on a thread for such work.
    pub(super) async fn feed_beside(mut self, bytes: Bytes) -> Result<Self, Error> {
        blocking(move || {
            self.0.feed(&bytes);
            self
        })
        .await
        .map_err(lost("hash", std::path::Path::new("a part")))
    }

    pub(super) fn finish(self) -> Received {
        self.0.finish()
    }
}
