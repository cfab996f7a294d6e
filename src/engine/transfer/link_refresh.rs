//! Fresh links for expired ones: the job is asked again, once for all files that wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::decide::transfer::protocol::Refreshed;
use crate::edge::api::ApiClient;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::job::{JobId, ListedArtifact};
use crate::model::listing::Listing;

/// The API is not asked for links more often than this, whatever the hosts answer.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// A file that its host denies is looked for in a listing of this age, rather than in a new one for each such file.
const RECENT: Duration = Duration::from_secs(10);

/// The newest listing's links.
#[derive(Debug)]
pub(crate) struct Relister {
    api: ApiClient,
    job: JobId,
    links: Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    generation: u64,
    offered: HashMap<ArtifactKey, Arc<Artifact>>,
    asked_at: Option<Instant>,
}

impl Relister {
    pub(crate) fn new(api: ApiClient, job: JobId) -> Self {
        Self { api, job, links: Mutex::default() }
    }

    /// Takes in a listing that a poll delivered; returns its generation.
    pub(crate) async fn learn(&self, listing: &Listing) -> u64 {
        let mut links = self.links.lock().await;
        links.take_in(listing);
        links.generation
    }

    /// Returns what a listing newer than `generation` offers of a file, asking for one where there is none yet.
    /// `recent_will_do`: what is asked is whether it is still offered, not for another address.
    pub(crate) async fn newer_than(
        &self,
        generation: u64,
        key: &ArtifactKey,
        recent_will_do: bool,
    ) -> Refreshed {
        let mut links = self.links.lock().await;
        let recent = recent_will_do && links.asked_at.is_some_and(|asked_at| asked_at.elapsed() < RECENT);
        if links.generation <= generation && !recent {
            if let Some(asked_at) = links.asked_at {
                tokio::time::sleep_until(asked_at + AT_MOST_EVERY).await;
            }
            links.asked_at = Some(Instant::now());
            match self.api.result(&self.job).await {
                Ok(answer) => links.take_in(&listing_of(answer.name.as_deref(), &answer.artifacts)),
                Err(_) => return Refreshed::Unknown,
            }
        }
        match links.offered.get(key) {
            Some(artifact) => Refreshed::Here { url: artifact.url.clone(), generation: links.generation },
            None => Refreshed::Gone,
        }
    }
}

impl Links {
    fn take_in(&mut self, listing: &Listing) {
        self.generation += 1;
        self.offered =
            listing.artifacts.iter().map(|artifact| (artifact.key.clone(), artifact.clone())).collect();
    }
}

/// Only keys and links matter here, so no path needs to be the one that the manifest knows.
fn listing_of(name: Option<&str>, listed: &[ListedArtifact]) -> Listing {
    Listing::build(name, listed, &|_| None, std::iter::empty())
}
