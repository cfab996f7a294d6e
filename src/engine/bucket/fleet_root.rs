//! What the jobs of a fleet share of a bucket: one client, one memory for parts; and whether a job that another process
//! holds is free.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::bucket::lease::{Standing, standing};
use crate::engine::event::Reporter;
use crate::engine::retry::Persistence;
use crate::error::{BadInput, Error};
use crate::model::destination::BucketUrl;

use super::below::Below;
use super::head_read;
use super::options::{BucketOptions, connect};
use super::part_memory::PartMemory;
use super::store::Store;

/// A job that another process holds is looked at this often: one request each time.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// The prefix below which all jobs of a fleet are.
#[derive(Debug)]
pub(crate) struct FleetRoot {
    store: Store,
    lease: Duration,
    pub(super) memory: Arc<PartMemory>,
}

impl FleetRoot {
    /// Gets ready to speak to the store. Sends nothing. `outages` gets each one; the runs of jobs report theirs themselves.
    ///
    /// # Errors
    /// When the environment's settings cannot be used.
    pub(crate) fn connect(
        root: &BucketUrl,
        options: &BucketOptions,
        persistence: Persistence,
        outages: Option<Arc<dyn Reporter>>,
    ) -> Result<Arc<Self>, Error> {
        let (store, _) = connect(root, options, persistence)?;
        let store = match outages {
            Some(reporter) => store.reporting(reporter),
            None => store,
        };
        Ok(Self::over(store, options))
    }

    /// The same over a store of the caller's.
    pub(crate) fn over(store: Store, options: &BucketOptions) -> Arc<Self> {
        let memory = PartMemory::for_parts_of(options.part());
        Arc::new(Self { store, lease: options.lease, memory })
    }

    /// The store of all jobs.
    pub(crate) const fn all(&self) -> &Store {
        &self.store
    }

    /// Returns the store of one job.
    ///
    /// # Errors
    /// When the destination is not below this root: a defect of ours.
    pub(crate) fn store(&self, to: &BucketUrl) -> Result<Store, Error> {
        let Some(prefix) = to.below(&self.store.url) else {
            let (to, root) = (to.to_string(), self.store.url.to_string());
            return Err(BadInput::NotBelow { to, root }.into());
        };
        let bucket = Arc::new(Below::new(self.store.bucket.clone(), prefix));
        Ok(Store { bucket, url: Arc::new(to.clone()), ..self.store.clone() })
    }

    /// Waits until the lease of a job may be taken, as far as a look at its head tells; no request goes to the API. What
    /// cannot be looked at is left to the next run of the job.
    pub(crate) async fn until_free(&self, to: &BucketUrl) {
        let Ok(store) = self.store(to) else { return };
        let mut same = None;
        loop {
            let Ok(Some((head, tag, age))) = head_read::glance(&store).await else { return };
            let since = match same.take() {
                Some((before, since)) if before == tag => since,
                _ => Instant::now(),
            };
            let Standing::Held { wait } = standing(Some(&head), age, since.elapsed(), self.lease) else {
                return;
            };
            same = Some((tag, since));
            tokio::time::sleep(wait.min(BETWEEN_LOOKS)).await;
        }
    }
}
