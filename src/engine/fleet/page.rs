//! The page that compares the jobs of a fleet: ROOT/index.html, drawn again while jobs change.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::decide::mirror::reported::LastTrouble;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::outputs::gallery::compare;
use crate::error::Error;

use super::News;

/// The page is drawn no sooner than this after the last time: jobs are looked at that often, too.
const SHORTEST_WAIT: Duration = Duration::from_secs(30);

/// Of a core's time, drawing the page takes no more than one part in so many.
const SHARE: u32 = 20;

/// The page of one fleet.
#[derive(Debug)]
pub(super) struct Page {
    root: PathBuf,
    /// Something changed since it was drawn.
    is_old: AtomicBool,
    changed: Notify,
    trouble: Mutex<LastTrouble<Error>>,
}

impl Page {
    /// The page of the mirrors below a folder.
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root, is_old: AtomicBool::new(false), changed: Notify::new(), trouble: Mutex::default() }
    }

    /// Something changed that the page shows.
    pub(super) fn touch(&self) {
        self.is_old.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Draws the page while jobs change, until the future is dropped; troubles go to `tell`, each once.
    pub(super) async fn keep(&self, tell: impl Fn(News)) {
        loop {
            self.changed.notified().await;
            let began = Instant::now();
            self.draw(&tell).await;
            tokio::time::sleep(SHORTEST_WAIT.max(began.elapsed() * SHARE)).await;
        }
    }

    /// Draws the page a last time, where something changed.
    pub(super) async fn finish(&self, tell: impl Fn(News)) {
        self.draw(&tell).await;
    }

    async fn draw(&self, tell: &impl Fn(News)) {
        if !self.is_old.swap(false, Ordering::Relaxed) {
            return;
        }
        let root = self.root.clone();
        let drawing = blocking(move || if is_current(&root) { Ok(()) } else { draw(&root) });
        let drawn = drawing.await.unwrap_or_else(|gone| Err(lost("draw", &self.root)(gone)));
        let news = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).news(drawn.err());
        if let Some(error) = news {
            tell(News::NoPage(error));
        }
    }
}

fn draw(root: &Path) -> Result<(), Error> {
    compare::refresh(root).map(|_| ())
}

/// Whether the page is newer than everything that it shows, by time stamps alone: `job.json` is written whenever a file is
/// published and whenever the job's state changes.
fn is_current(root: &Path) -> bool {
    let written = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let mirrors = compare::mirrors(root);
    if mirrors.is_empty() {
        return true;
    }
    let Some(page) = written(&root.join("index.html")) else { return false };
    mirrors.iter().all(|dir| written(&dir.join("job.json")).is_none_or(|job| job < page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_old_when_a_job_changed_since() {
        let root = tempfile::tempdir().unwrap();
        assert!(is_current(root.path()), "nothing is mirrored yet");
        let dir = root.path().join("dog");
        std::fs::create_dir_all(dir.join(".rcsync")).unwrap();
        std::fs::write(dir.join("job.json"), "{}").unwrap();
        assert!(!is_current(root.path()), "there is no page");
        let page = root.path().join("index.html");
        std::fs::write(&page, "x").unwrap();
        let at = |path: &Path, seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        for (job, drawn, expected) in [(100, 101, true), (101, 101, false), (102, 101, false)] {
            at(&dir.join("job.json"), job);
            at(&page, drawn);
            assert_eq!(is_current(root.path()), expected, "{job} {drawn}");
        }
    }
}
