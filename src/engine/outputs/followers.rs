//! The followers of one run: each is called before anything is published, after each change, and at the end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::edge::folder::manifest_store::Store;
use crate::edge::folder::reports::Latest;
use crate::edge::system::blocking::blocking;
use crate::engine::event::Reporter;
use crate::engine::follower::{Follower, View};
use crate::model::job::JobId;

/// Nudges within this time are answered by one look: a batch of samples is one look, and a LoRA still reaches ComfyUI within
/// a second.
const GATHER: Duration = Duration::from_millis(300);

/// The followers of one run.
pub(crate) struct Followers {
    nudge: Arc<Notify>,
    end: CancellationToken,
    looking: JoinSet<()>,
    crowd: Option<Arc<Crowd>>,
}

impl Followers {
    /// Calls [`Follower::begin`] of each, then starts the task that calls them at each nudge.
    pub(crate) async fn start(crowd: Crowd) -> Self {
        let (nudge, end) = (Arc::new(Notify::new()), CancellationToken::new());
        let mut looking = JoinSet::new();
        let crowd = (!crowd.followers.is_empty()).then(|| Arc::new(crowd));
        if let Some(crowd) = &crowd {
            let beginning = crowd.clone();
            let begun = blocking(move || {
                beginning.each(|follower, view, reporter| follower.begin(view, reporter), false)
            });
            if let Err(lost) = begun.await {
                debug!(%lost, "a follower ended unexpectedly");
            }
            looking.spawn(crowd.clone().follow(nudge.clone(), end.clone()));
        }
        Self { nudge, end, looking, crowd }
    }

    /// Returns what to notify when something may be new.
    pub(crate) fn nudge(&self) -> Arc<Notify> {
        self.nudge.clone()
    }

    /// Calls every follower a last time, and waits for it.
    pub(crate) async fn finish(&mut self) {
        self.end.cancel();
        while self.looking.join_next().await.is_some() {}
    }

    /// Calls them again after [`Self::finish`]: a file was removed since, which a page may still show.
    pub(crate) async fn look_again(&self) {
        let Some(crowd) = self.crowd.clone() else { return };
        if let Err(lost) = blocking(move || crowd.catch_up(true)).await {
            debug!(%lost, "a follower ended unexpectedly");
        }
    }
}

/// The followers of one run, and what each call of them needs.
pub(crate) struct Crowd {
    pub(crate) followers: Vec<Arc<dyn Follower>>,
    pub(crate) dir: PathBuf,
    pub(crate) job: JobId,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) latest: Arc<Latest>,
    pub(crate) reporter: Arc<dyn Reporter>,
}

impl Crowd {
    async fn follow(self: Arc<Self>, nudge: Arc<Notify>, end: CancellationToken) {
        loop {
            let last = tokio::select! {
                biased;
                () = end.cancelled() => true,
                () = nudge.notified() => false,
            };
            if !last {
                // A wait that is over and one that was cut short are followed by the same look.
                let _ = tokio::time::timeout(GATHER, end.cancelled()).await;
            }
            let crowd = self.clone();
            // A follower that panics is a defect of rcsync; the files that it reads are not affected.
            if let Err(lost) = blocking(move || crowd.catch_up(last)).await {
                debug!(%lost, "a follower ended unexpectedly");
            }
            if last {
                return;
            }
        }
    }

    fn catch_up(&self, last: bool) {
        self.each(|follower, view, reporter| follower.catch_up(view, reporter), last);
    }

    fn each(&self, call: impl Fn(&dyn Follower, &View<'_>, &dyn Reporter), last: bool) {
        // A copy: no commit waits for a slow follower.
        let manifest = self.store.lock().unwrap_or_else(PoisonError::into_inner).manifest().clone();
        let latest = &self.latest;
        let view = View { dir: &self.dir, job: &self.job, manifest: &manifest, last, latest };
        for follower in &self.followers {
            call(follower.as_ref(), &view, self.reporter.as_ref());
        }
    }
}
