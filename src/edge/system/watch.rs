//! A file that is being edited: a file-system event is a reason to read it again, never the news itself, since events get lost
//! and some disks send none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::blocking::can_have_threads;

/// How soon a change is seen where no event tells of it: a small file is read again this often.
const WITHOUT_EVENTS: Duration = Duration::from_secs(2);

/// Editors write a file in several steps, each of them an event: what comes this soon after belongs together.
const GATHER: Duration = Duration::from_millis(200);

pub(crate) struct Watch {
    nudge: Arc<Notify>,
    /// Events come as long as it lives; `None` where the system has none to give.
    watcher: Option<notify::RecommendedWatcher>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("has_events", &self.watcher.is_some()).finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins to watch. Many editors put a new file in the place of the old one, so its folder is watched.
    #[must_use]
    pub(crate) fn file(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        // A path without a name is no file, and no event is about it.
        Self::begin(&folder, Some(path.file_name().map(ToOwned::to_owned).unwrap_or_default()))
    }

    /// Begins to watch all files of a folder.
    #[must_use]
    pub(crate) fn folder(path: &Path) -> Self {
        Self::begin(path, None)
    }

    fn begin(folder: &Path, name: Option<OsString>) -> Self {
        let nudge = Arc::new(Notify::new());
        let ring = nudge.clone();
        let heard = move |event: notify::Result<notify::Event>| {
            let is_ours = |event: &notify::Event| {
                name.is_none() || event.paths.iter().any(|path| path.file_name() == name.as_deref())
            };
            // Reading the file is an event, too, and must not lead to reading it again.
            if event.map_or(true, |event| !event.kind.is_access() && (event.need_rescan() || is_ours(&event)))
            {
                ring.notify_one();
            }
        };
        // The library takes its thread for granted.
        let watcher = can_have_threads(1).then(|| {
            let mut watcher = notify::recommended_watcher(heard)?;
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok::<_, notify::Error>(watcher)
        });
        Self { nudge, watcher: watcher.and_then(Result::ok) }
    }

    /// Returns when the file may have changed, once those who change it are done for the moment.
    pub(crate) async fn changed(&self) {
        if tokio::time::timeout(WITHOUT_EVENTS, self.nudge.notified()).await.is_ok() {
            while tokio::time::timeout(GATHER, self.nudge.notified()).await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_rings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, "a").unwrap();
        let watch = Watch::file(&path);
        let before = tokio::time::Instant::now();
        std::fs::write(folder.path().join("new"), "b").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        watch.changed().await;
        std::fs::write(&path, "c").unwrap();
        watch.changed().await;
        // Were there no events, the two would take as long as the looks without them.
        if watch.watcher.is_some() {
            assert!(before.elapsed() < WITHOUT_EVENTS * 2, "{:?}", before.elapsed());
        }
    }
}
