//! The jobs that `fleet add` hands over, in a bucket: one small object a job, created and never changed, so that a laptop
//! or CI may add while fleets run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::edge::bucket::{Put, When};
use crate::engine::event::Reporter;
use crate::error::Error;
use crate::model::destination::BucketUrl;

use super::store::{Store, about, fresh_token};

/// A larger object is none of ours: an id and a few options.
const LONGEST: u64 = 64 << 10;

/// Lines that are read at a time.
const AT_ONCE: usize = 16;

/// The jobs below the root of a fleet's DEST.
#[derive(Debug)]
pub(crate) struct Lines {
    store: Store,
    folder: String,
    /// What was read: objects never change, so each is read once.
    read: Mutex<BTreeMap<String, String>>,
}

impl Lines {
    /// The lines in a folder of a fleet's root.
    pub(crate) fn new(store: Store, folder: &str) -> Self {
        Self { store, folder: format!("{folder}/"), read: Mutex::default() }
    }

    /// The same lines, none of them read yet, of a store whose outages are reported there.
    pub(crate) fn reporting(&self, reporter: Arc<dyn Reporter>) -> Self {
        Self {
            store: self.store.clone().reporting(reporter),
            folder: self.folder.clone(),
            read: Mutex::default(),
        }
    }

    /// The root of the fleet.
    pub(crate) fn url(&self) -> &BucketUrl {
        &self.store.url
    }

    /// Adds a line under a name; `false` where one is there already, which changes nothing.
    ///
    /// # Errors
    /// When the store refuses.
    pub(crate) async fn add(&self, name: &str, line: &str) -> Result<bool, Error> {
        let (key, token) = (format!("{}{name}", self.folder), fresh_token());
        let bytes = Bytes::from(format!("{line}\n"));
        let put = self
            .store
            .ask("write", &key, || self.store.bucket.put(&key, bytes.clone(), When::New, about(&key, &token)))
            .await?;
        Ok(match put {
            Put::Done(_) => true,
            // Ours, where the first answer was lost.
            Put::Refused => {
                self.store.stat(&key).await?.is_some_and(|meta| meta.token.as_deref() == Some(&*token))
            }
        })
    }

    /// Returns all lines whose names end in `ending`, in the order of their names.
    ///
    /// # Errors
    /// When the store refuses.
    pub(crate) async fn read(&self, ending: &str) -> Result<String, Error> {
        let listed = self.store.ask("list", &self.folder, || self.store.bucket.list(&self.folder)).await?;
        let is_line = |key: &str| key.starts_with(&self.folder) && key.ends_with(ending);
        let keys: BTreeSet<String> =
            listed.into_iter().map(|object| object.key).filter(|key| is_line(key)).collect();
        let new: Vec<String> = {
            let mut known = self.known();
            known.retain(|key, _| keys.contains(key));
            keys.into_iter().filter(|key| !known.contains_key(key)).collect()
        };
        // Kept as they come: where one cannot be read, the next look need not read the others again.
        stream::iter(new)
            .map(Ok::<_, Error>)
            .try_for_each_concurrent(AT_ONCE, |key| async move {
                // One that was removed since the list was made is not there any more.
                if let Some((bytes, _)) = self.store.small(&key, LONGEST).await? {
                    let line = String::from_utf8_lossy(&bytes).into_owned();
                    self.known().insert(key, line);
                }
                Ok(())
            })
            .await?;
        Ok(self.known().values().map(|line| format!("{line}\n")).collect())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
