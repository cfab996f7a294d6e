use sha2::Digest as _;

use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{Prepared, examples};

use super::*;

const ORIGIN: &str = "https://h";

/// Larger than a few steps of reading.
const LARGE: usize = 80 << 20;

fn job() -> JobId {
    "job".parse().unwrap()
}

fn silent() -> Arc<dyn Reporter> {
    Arc::new(|_: &Event| {})
}

/// A folder that a crash left while these files were about to get their names.
fn interrupted(files: &[(&str, usize)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open_at_once(root.path(), &job(), ORIGIN, silent().as_ref()).unwrap();
    for (name, size) in files {
        let bytes = vec![7; *size];
        let part = format!("{name}.part");
        fs::write(folder.parts.path(&part), &bytes).unwrap();
        let sha256 = Sha256Digest::new(sha2::Sha256::digest(&bytes).into());
        let entry = Entry { size: *size as u64, sha256, ..examples::entry(name, None) };
        let prepared = Prepared { part, entry };
        let key = examples::key(ArtifactKind::Checkpoint, name);
        folder.lock().append(vec![Record::Prepare { key, prepared }]).unwrap();
    }
    root
}

async fn open(dir: &Path, stop: &Stop) -> Option<Folder> {
    Folder::open(dir, &job(), ORIGIN, Portions::default().block, &silent(), stop).await.unwrap()
}

#[tokio::test]
async fn what_a_crash_left_is_settled_on_one_thread_while_other_tasks_run() {
    let root = interrupted(&[("a", 3), ("b", LARGE)]);
    let (stop, turns) = (Stop::new(), std::cell::Cell::new(0));
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let opened = tokio::select! {
        opened = open(root.path(), &stop) => opened,
        () = others => None,
    };
    assert_eq!(opened.unwrap().lock().manifest().entries.len(), 2);
    assert!(turns.get() >= LARGE >> 24, "{} turns", turns.get());
    assert!(root.path().join("a").exists() && root.path().join("b").exists());
}

#[tokio::test]
async fn a_stop_ends_the_opening_and_the_next_one_continues() {
    let root = interrupted(&[("a", 3), ("b", LARGE)]);
    let stop = Stop::new();
    let stopping = async {
        // Between two steps of the reading.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        stop.stop(ExitStatus::Interrupted);
    };
    let (opened, ()) = tokio::join!(open(root.path(), &stop), stopping);
    assert!(opened.is_none());
    assert!(root.path().join("a").exists(), "it was read before");
    assert!(!root.path().join("b").exists());
    // The lock is free, and nothing is lost.
    let opened = open(root.path(), &Stop::new()).await.unwrap();
    assert_eq!(opened.lock().manifest().entries.len(), 2);
    assert!(opened.lock().manifest().prepared.is_empty());
    assert_eq!(fs::metadata(root.path().join("b")).unwrap().len(), LARGE as u64);
}
