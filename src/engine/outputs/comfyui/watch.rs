//! Follows a folder that another rcsync writes, here or on another machine.
//!
//! A file-system event is only a reason to look: events get lost, and network disks send none. What counts is the manifest: the
//! time stamps of its two files are read once a second, and the files when those changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::edge::folder::known::known;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::blocking::{blocking, can_have_threads, lost};
use crate::edge::system::disk;
use crate::engine::event::Reporter;
use crate::engine::stop::Stop;
use crate::error::{Error, ExitStatus};

use super::{ComfyUi, Outcome, Patience};

/// Two calls to the disk a second have no cost that could be measured, and a LoRA is seen within a second or two.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Without any event, a removal from ComfyUI, or a disk that is there again, is found within this time.
const LOOK_ALL_EVERY: Duration = Duration::from_secs(30);

/// A batch of files is one look.
const GATHER: Duration = Duration::from_millis(200);

/// What the two files of the manifest look like from outside: length and time stamp.
type Look = [Option<(u64, Option<i64>)>; 2];

/// Places what is there, and continues as files come, until `stop` is used.
/// Trouble is reported and waited out: a disk that is away may come back.
pub(crate) async fn watch(
    comfy: Arc<ComfyUi>,
    dir: PathBuf,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
) -> ExitStatus {
    let nudge = Arc::new(Notify::new());
    let mut events = Events::new(&dir, nudge.clone());
    let mut seen: Option<Look> = None;
    let mut looked_at = Instant::now();
    loop {
        let asked = dir.clone();
        // A defect in looking is a look that saw nothing: all is read then.
        let now = blocking(move || look(&asked)).await.unwrap_or_default();
        if seen.is_none_or(|seen| seen != now) || looked_at.elapsed() >= LOOK_ALL_EVERY {
            let (placer, folder, reported) = (comfy.clone(), dir.clone(), reporter.clone());
            let placing = blocking(move || once(&placer, &folder, Patience::Wait, reported.as_ref()));
            let result = placing.await.unwrap_or_else(|gone| Err(lost("look into", &dir)(gone)));
            comfy.report_trouble(&result, true, false, reporter.as_ref());
            // A look that failed, or found files that are still written, does not count: the next one tries again.
            let is_done = result.is_ok_and(|outcome| outcome.unsettled == 0);
            seen = Some(if is_done { now } else { [None, None] });
            looked_at = Instant::now();
            events.renew(&dir);
        }
        tokio::select! {
            biased;
            () = stop.token().cancelled() => return stop.status(),
            () = nudge.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Reads the manifest and places what is new.
///
/// # Errors
/// When there is no manifest, or as [`ComfyUi::place`].
pub(crate) fn once(
    comfy: &ComfyUi,
    dir: &Path,
    patience: Patience,
    reporter: &dyn Reporter,
) -> Result<Outcome, Error> {
    let manifest = known(dir)?;
    comfy.place(dir, &manifest.job, &manifest, patience, reporter)
}

fn look(dir: &Path) -> Look {
    ["journal.jsonl", "manifest.json"].map(|name| {
        // Opened, since network disks answer a `stat` from memory, and an opening from the server.
        let metadata = disk::open_regular(&dir.join(PRIVATE).join(name)).and_then(|file| file.metadata());
        metadata.ok().map(|metadata| (metadata.len(), disk::modified(&metadata)))
    })
}

/// The system's events for the folder, where it has any. Without them the look once a second does it all.
struct Events {
    watcher: Option<RecommendedWatcher>,
}

impl Events {
    fn new(dir: &Path, nudge: Arc<Notify>) -> Self {
        // Every event, an overflow or an error too, is a reason to look, except those of our own reading.
        let ring = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                nudge.notify_one();
            }
        };
        let watcher = can_have_threads(1).then(|| notify::recommended_watcher(ring).ok()).flatten();
        let mut events = Self { watcher };
        events.renew(dir);
        events
    }

    /// Watches the folder, anew: it may have been removed and made again, or be another disk by now.
    fn renew(&mut self, dir: &Path) {
        if let Some(watcher) = &mut self.watcher {
            let private = dir.join(PRIVATE);
            // Where no event comes, the folder is read again at intervals.
            let _ = watcher.unwatch(&private);
            let _ = watcher.watch(&private, RecursiveMode::NonRecursive); // As above.
        }
    }
}
