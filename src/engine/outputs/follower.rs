//! Readers of what is in DIR: gallery, ComfyUI and hooks follow the folder, not the events. A nudge is a reason to look, and only
//! the manifest counts: so nothing is lost to a kill, and the same follower serves a running mirror and a command of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::edge::folder::manifest_store::Store;
use crate::edge::system::blocking::blocking;
use crate::engine::destination::reports::Latest;
use crate::engine::event::Reporter;
use crate::model::job::JobId;
use crate::model::manifest::Manifest;

/// Nudges that come closer together than this are one: a batch of samples is one look, and a LoRA still reaches
/// ComfyUI within a second.
const GATHER: Duration = Duration::from_millis(300);

/// What a follower sees.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The mirrored folder; `job.json` in it says what the files are.
    pub dir: &'a Path,
    /// The job.
    pub job: &'a JobId,
    /// What is published in it.
    pub manifest: &'a Manifest,
    /// Whether this is the last look of the run.
    pub last: bool,
    /// What `job.json` was last written from.
    pub(crate) latest: &'a Latest,
}

/// Something that does its own work with published files.
pub trait Follower: Send + Sync {
    /// Sees the folder once before anything new is published in it: what is here now is not news.
    fn begin(&self, view: &View<'_>, reporter: &dyn Reporter) {
        // Most followers need no beginning. The parameters have names for the sake of the documentation.
        let _ = (view, reporter);
    }

    /// Does what is not done yet. Blocks; is called one at a time, from a thread that may. Its troubles are its own: it
    /// tells them to `reporter` and never stops the mirror. Doing it twice changes nothing.
    fn catch_up(&self, view: &View<'_>, reporter: &dyn Reporter);
}

/// The followers of one run.
pub(crate) struct Followers {
    nudge: Arc<Notify>,
    end: CancellationToken,
    looking: JoinSet<()>,
    crowd: Option<Arc<Crowd>>,
}

impl Followers {
    /// Lets `followers` follow a folder whose manifest is in `store`.
    pub(crate) async fn start(
        followers: Vec<Arc<dyn Follower>>,
        dir: PathBuf,
        job: JobId,
        store: Arc<Mutex<Store>>,
        latest: Arc<Latest>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let (nudge, end) = (Arc::new(Notify::new()), CancellationToken::new());
        let mut looking = JoinSet::new();
        let crowd =
            (!followers.is_empty()).then(|| Arc::new(Crowd { followers, dir, job, store, latest, reporter }));
        if let Some(crowd) = &crowd {
            let beginning = crowd.clone();
            let begun = blocking(move || {
                beginning.tell(|follower, view, reporter| follower.begin(view, reporter), false)
            });
            if let Err(lost) = begun.await {
                debug!(%lost, "a follower ended unexpectedly");
            }
            looking.spawn(crowd.clone().follow(nudge.clone(), end.clone()));
        }
        Self { nudge, end, looking, crowd }
    }

    /// Returns what to ring when there may be something new.
    pub(crate) fn nudge(&self) -> Arc<Notify> {
        self.nudge.clone()
    }

    /// Lets every follower look a last time, and waits for it.
    pub(crate) async fn finish(&mut self) {
        self.end.cancel();
        while self.looking.join_next().await.is_some() {}
    }

    /// After [`Self::finish`]: something went since, which a page may still show.
    pub(crate) async fn look_again(&self) {
        let Some(crowd) = self.crowd.clone() else { return };
        if let Err(lost) = blocking(move || crowd.catch_up(true)).await {
            debug!(%lost, "a follower ended unexpectedly");
        }
    }
}

struct Crowd {
    followers: Vec<Arc<dyn Follower>>,
    dir: PathBuf,
    job: JobId,
    store: Arc<Mutex<Store>>,
    latest: Arc<Latest>,
    reporter: Arc<dyn Reporter>,
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
                // Both ends of this wait lead to the same look.
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
        self.tell(|follower, view, reporter| follower.catch_up(view, reporter), last);
    }

    fn tell(&self, what: impl Fn(&dyn Follower, &View<'_>, &dyn Reporter), last: bool) {
        // A copy, so that nothing that is published waits for a slow follower.
        let manifest = self.store.lock().unwrap_or_else(PoisonError::into_inner).manifest().clone();
        let latest = &self.latest;
        let view = View { dir: &self.dir, job: &self.job, manifest: &manifest, last, latest };
        for follower in &self.followers {
            what(follower.as_ref(), &view, self.reporter.as_ref());
        }
    }
}
