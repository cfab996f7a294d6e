//! The followers of one run: each is called before anything is published, after each change, and at the end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// two seconds.
const GATHER: Duration = Duration::from_secs(1);

/// The followers of one run.
pub(crate) struct Followers {
    nudge: Arc<Notify>,
    end: CancellationToken,
    looking: JoinSet<()>,
    /// Locked for as long as the followers look: one look at a time.
    crowd: Option<Arc<Mutex<Crowd>>>,
}

impl Followers {
    /// Calls [`Follower::begin`] of each, then starts the task that calls them at each nudge.
    pub(crate) async fn start(crowd: Crowd) -> Self {
        let (nudge, end) = (Arc::new(Notify::new()), CancellationToken::new());
        let mut looking = JoinSet::new();
        let crowd = (!crowd.followers.is_empty()).then(|| Arc::new(Mutex::new(crowd)));
        if let Some(crowd) = &crowd {
            let beginning = crowd.clone();
            let begun = blocking(move || {
                lock(&beginning).each(|follower, view, reporter| follower.begin(view, reporter), false)
            });
            if let Err(lost) = begun.await {
                debug!(%lost, "a follower ended unexpectedly");
            }
            looking.spawn(follow(crowd.clone(), nudge.clone(), end.clone()));
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

    /// Calls every follower now, and waits for it. Does nothing after [`Self::finish`], which was their last look.
    pub(crate) async fn look(&self) {
        if !self.end.is_cancelled() {
            self.catch_up(false).await;
        }
    }

    /// Calls them again after [`Self::finish`]: a file was removed since, which a page may still show.
    pub(crate) async fn look_again(&self) {
        self.catch_up(true).await;
    }

    async fn catch_up(&self, last: bool) {
        let Some(crowd) = self.crowd.clone() else { return };
        if let Err(lost) = blocking(move || lock(&crowd).catch_up(last)).await {
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

/// Calls every follower after nudges, until the end.
async fn follow(crowd: Arc<Mutex<Crowd>>, nudge: Arc<Notify>, end: CancellationToken) {
    loop {
        let last = tokio::select! {
            biased;
            () = end.cancelled() => true,
            () = nudge.notified() => false,
        };
        // At the end the last look is enough.
        if !last && tokio::time::timeout(GATHER, end.cancelled()).await.is_ok() {
            continue;
        }
        let crowd = crowd.clone();
        // A follower that panics is a defect of rcsync; the files that it reads are not affected.
        if let Err(lost) = blocking(move || lock(&crowd).catch_up(last)).await {
            debug!(%lost, "a follower ended unexpectedly");
        }
        if last {
            return;
        }
    }
}

fn lock(crowd: &Mutex<Crowd>) -> MutexGuard<'_, Crowd> {
    // A follower that panics is a defect of rcsync; the others are still called.
    crowd.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crowd {
    fn catch_up(&self, last: bool) {
        self.each(|follower, view, reporter| follower.catch_up(view, reporter), last);
    }

    fn each(&self, call: impl Fn(&dyn Follower, &View<'_>, &dyn Reporter), last: bool) {
        // A copy: no commit waits for a slow follower.
        let (manifest, unflushed) = {
            let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            (store.manifest().clone(), store.unflushed().clone())
        };
        let (latest, unflushed) = (&self.latest, &unflushed);
        let view = View { dir: &self.dir, job: &self.job, manifest: &manifest, last, latest, unflushed };
        for follower in &self.followers {
            call(follower.as_ref(), &view, self.reporter.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::edge::folder::manifest_store::PRIVATE;
    use crate::engine::event::Event;

    /// Counts its calls, by whether they were the last of the run.
    #[derive(Default)]
    struct Counting(Mutex<Vec<bool>>);

    impl Follower for Counting {
        fn catch_up(&self, view: &View<'_>, _: &dyn Reporter) {
            self.0.lock().unwrap().push(view.last);
        }
    }

    struct Silent;

    impl Reporter for Silent {
        fn report(&self, _: &Event) {}
    }

    async fn followed(dir: &Path) -> (Arc<Counting>, Followers) {
        std::fs::create_dir(dir.join(PRIVATE)).unwrap();
        let job: JobId = "job".parse().unwrap();
        let (store, _) = Store::load(dir, &job, "https://api.example", || None).unwrap();
        let counting = Arc::new(Counting::default());
        let crowd = Crowd {
            followers: vec![counting.clone()],
            dir: dir.to_path_buf(),
            job,
            store: Arc::new(Mutex::new(store)),
            latest: Arc::default(),
            reporter: Arc::new(Silent),
        };
        (counting, Followers::start(crowd).await)
    }

    /// Each look of a page reads and writes it: a run of a second looks once.
    #[tokio::test(start_paused = true)]
    async fn a_run_that_ends_while_nudges_are_gathered_looks_once() {
        let dir = tempfile::tempdir().unwrap();
        let (counting, mut followers) = followed(dir.path()).await;
        followers.nudge().notify_one();
        tokio::time::sleep(GATHER / 2).await;
        followers.finish().await;
        assert_eq!(*counting.0.lock().unwrap(), [true]);
    }

    #[tokio::test(start_paused = true)]
    async fn nudges_that_come_together_are_one_look() {
        let dir = tempfile::tempdir().unwrap();
        let (counting, mut followers) = followed(dir.path()).await;
        for _ in 0..10 {
            followers.nudge().notify_one();
            tokio::time::sleep(GATHER / 20).await;
        }
        tokio::time::sleep(GATHER).await;
        while counting.0.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        followers.finish().await;
        assert_eq!(*counting.0.lock().unwrap(), [false, true]);
    }
}
