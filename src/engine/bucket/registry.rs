//! The jobs that `fleet add` hands over, in a bucket: one small object a job, created and never changed, so that a laptop
//! or CI may add while fleets run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::edge::bucket::{Put, When};
use crate::error::Error;

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
        let mut known = std::mem::take(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner));
        let is_line = |key: &str| key.starts_with(&self.folder) && key.ends_with(ending);
        known.retain(|key, _| listed.iter().any(|object| object.key == *key));
        let new = listed.iter().filter(|object| is_line(&object.key) && !known.contains_key(&object.key));
        let reading = stream::iter(new.map(|object| object.key.clone()).collect::<Vec<_>>());
        let read: Vec<(String, String)> = reading
            .map(|key| async move {
                let found = self.store.small(&key, LONGEST).await?;
                let text = found.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned());
                Ok::<_, Error>((key, text.unwrap_or_default()))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        known.extend(read);
        let text = known.values().map(|line| format!("{line}\n")).collect();
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(text)
    }
}
