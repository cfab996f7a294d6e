//! The page that compares the jobs of a fleet: ROOT/index.html, drawn again while jobs change.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::decide::mirror::reported::LastTrouble;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::outputs::gallery::compare;
use crate::error::Error;

use super::News;

/// Changes that come together are drawn together: at the start of a fleet each of its jobs is polled, one after the other.
const GATHER: Duration = Duration::from_secs(2);

/// The page is drawn no sooner than this after the last time: jobs are looked at that often, too.
const SHORTEST_WAIT: Duration = Duration::from_secs(30);

/// Of a core's time, drawing the page takes no more than one part in twenty, also where all of its readers are at work.
const SHARE: u32 = 20 * compare::READERS as u32;

/// The page of one fleet.
#[derive(Debug)]
pub(super) struct Page {
    drawing: Arc<Drawing>,
    /// How often something changed that the page shows, and how often it had when the page was last drawn.
    changes: AtomicU64,
    drawn: AtomicU64,
    changed: Notify,
    trouble: Mutex<LastTrouble<Error>>,
}

/// What a thread needs to draw the page: it continues where the fleet waits for it no longer.
#[derive(Debug)]
struct Drawing {
    root: PathBuf,
    /// What was shown when the page was last drawn. Held while the page is drawn, so that no older page comes last.
    shown: Mutex<Option<Stamps>>,
}

/// The time stamp of each `job.json`: it is written whenever a file is published and whenever the job's state changes.
type Stamps = Vec<(PathBuf, Option<SystemTime>)>;

impl Page {
    /// The page of the mirrors below a folder.
    pub(super) fn below(root: PathBuf) -> Self {
        Self {
            drawing: Arc::new(Drawing { root, shown: Mutex::default() }),
            changes: AtomicU64::new(0),
            drawn: AtomicU64::new(0),
            changed: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// Something changed that the page shows.
    pub(super) fn touch(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Draws the page while jobs change, until the future is dropped; troubles go to `tell`, each once.
    pub(super) async fn keep(&self, tell: impl Fn(News)) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(GATHER).await;
            let began = Instant::now();
            self.draw(&tell).await;
            tokio::time::sleep(SHORTEST_WAIT.max(began.elapsed() * SHARE)).await;
        }
    }

    /// Draws the page a last time, where something changed since a drawing that came to its end was begun.
    pub(super) async fn finish(&self, tell: impl Fn(News)) {
        self.draw(&tell).await;
    }

    async fn draw(&self, tell: &impl Fn(News)) {
        let changes = self.changes.load(Ordering::Relaxed);
        if self.drawn.load(Ordering::Relaxed) == changes {
            return;
        }
        let drawing = self.drawing.clone();
        let drawn = blocking(move || drawing.draw()).await;
        let drawn = drawn.unwrap_or_else(|gone| Err(lost("draw", &self.drawing.root)(gone)));
        self.drawn.store(changes, Ordering::Relaxed);
        let news = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).news(drawn.err());
        if let Some(error) = news {
            tell(News::NoPage(error));
        }
    }
}

impl Drawing {
    /// Draws the page, where a mirror changed since it was drawn.
    fn draw(&self) -> Result<(), Error> {
        self.draw_by(|root| compare::refresh(root).map(|_| ()))
    }

    fn draw_by(&self, draw: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the page is drawn: what changes meanwhile may not be on it.
        let now = stamps(&self.root);
        let is_current = match &*shown {
            Some(shown) => *shown == now,
            None => is_current(&self.root, &now),
        };
        if !is_current {
            draw(&self.root)?;
        }
        *shown = Some(now);
        Ok(())
    }
}

fn stamps(root: &Path) -> Stamps {
    let stamp = |dir: PathBuf| {
        let job = dir.join("job.json");
        let written = written(&job);
        (job, written)
    };
    compare::mirrors(root).into_iter().map(stamp).collect()
}

fn written(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// Whether the page of an earlier run is newer than everything that it shows, by time stamps alone.
fn is_current(root: &Path, now: &Stamps) -> bool {
    if now.is_empty() {
        return true;
    }
    let Some(page) = written(&root.join("index.html")) else { return false };
    now.iter().all(|(_, written)| written.is_none_or(|job| job < page))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn mirror(root: &Path) -> PathBuf {
        let dir = root.join("dog");
        std::fs::create_dir_all(dir.join(".rcsync")).unwrap();
        std::fs::write(dir.join("job.json"), "{}").unwrap();
        dir.join("job.json")
    }

    fn at(path: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_page_is_old_when_a_job_changed_since() {
        let root = tempfile::tempdir().unwrap();
        let is_current = || is_current(root.path(), &stamps(root.path()));
        assert!(is_current(), "nothing is mirrored yet");
        let job = mirror(root.path());
        assert!(!is_current(), "there is no page");
        let page = root.path().join("index.html");
        std::fs::write(&page, "x").unwrap();
        for (changed, drawn, expected) in [(100, 101, true), (101, 101, false), (102, 101, false)] {
            at(&job, changed);
            at(&page, drawn);
            assert_eq!(is_current(), expected, "{changed} {drawn}");
        }
    }

    #[test]
    fn what_changes_while_the_page_is_drawn_is_drawn_next() {
        let root = tempfile::tempdir().unwrap();
        let job = mirror(root.path());
        at(&job, 100);
        let drawing = Drawing { root: root.path().to_path_buf(), shown: Mutex::default() };
        let draw = |changes_at: Option<u64>| {
            let mut is_drawn = false;
            let drawn = drawing.draw_by(|root| {
                is_drawn = true;
                changes_at.into_iter().for_each(|seconds| at(&job, seconds));
                // Newer than the change that it does not show.
                std::fs::write(root.join("index.html"), "x").unwrap();
                Ok(())
            });
            drawn.unwrap();
            is_drawn
        };
        assert!(draw(Some(101)), "there is no page");
        assert!(draw(None), "the page does not show the last change");
        assert!(!draw(None));
        at(&job, 102);
        let failed = drawing.draw_by(|root| Err(Error::ForeignPage(root.to_path_buf())));
        assert!(failed.is_err() && draw(None), "it was not drawn");
    }

    /// The end of a fleet drops the future that draws, with a drawing under way.
    #[tokio::test(start_paused = true)]
    async fn a_drawing_that_was_dropped_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        mirror(root.path());
        let page = Page::below(root.path().to_path_buf());
        page.touch();
        let tell = |news| panic!("{news:?}");
        let mut keeping = Box::pin(page.keep(tell));
        assert!((&mut keeping).now_or_never().is_none(), "changes are gathered");
        tokio::time::advance(GATHER).await;
        let held = page.drawing.shown.lock().unwrap();
        assert!((&mut keeping).now_or_never().is_none(), "another drawing is under way");
        drop(keeping);
        let mut finishing = Box::pin(page.finish(tell));
        assert!((&mut finishing).now_or_never().is_none(), "the page is not drawn yet");
        drop(held);
        finishing.await;
        assert!(root.path().join("index.html").exists());
    }
}
