//! What a user chooses about a bucket, and the way to its store.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::bucket::parts::{LARGEST, SMALLEST};
use crate::edge::bucket::Bucket;
use crate::edge::bucket::cloud::Cloud;
use crate::edge::bucket::connect::{Described, Dialect};
use crate::engine::retry::Persistence;
use crate::error::Error;
use crate::model::destination::BucketUrl;
use crate::model::units::ByteCount;

use super::outages::Outages;
use super::sole::Sole;
use super::store::{Store, error};

/// How a bucket is used.
#[derive(Debug, Clone)]
pub(crate) struct BucketOptions {
    /// How long a worker that does not write keeps the lease.
    pub(crate) lease: Duration,
    /// The user guarantees that there is one writer.
    pub(crate) sole_writer: bool,
    /// The length of the parts of uploads; `None`: 5 MiB.
    pub(crate) part_size: Option<ByteCount>,
}

impl BucketOptions {
    /// Returns the length of the parts of uploads.
    pub(crate) fn part(&self) -> u64 {
        self.part_size.map_or(SMALLEST, |size| size.0).clamp(SMALLEST, LARGEST)
    }
}

impl Default for BucketOptions {
    fn default() -> Self {
        Self { lease: Duration::from_secs(60), sole_writer: false, part_size: None }
    }
}

/// Gets ready to speak to a store. Sends nothing.
///
/// # Errors
/// When the environment's settings cannot be used.
pub(crate) fn connect(
    url: &BucketUrl,
    options: &BucketOptions,
    persistence: Persistence,
) -> Result<(Store, Described), Error> {
    let completes_new_only = !options.sole_writer;
    let cloud = Cloud::new(url, Dialect { completes_new_only });
    let cloud = cloud.map_err(|fault| error(url, "reach", "", fault))?;
    let url = Arc::new(url.clone());
    let described = cloud.described.clone();
    let bucket: Arc<dyn Bucket> = Arc::new(cloud);
    let bucket = if options.sole_writer { Arc::new(Sole(bucket)) } else { bucket };
    Ok((Store { bucket, url, persistence, outages: Outages::default() }, described))
}
