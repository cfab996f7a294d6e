use sha2::Digest as _;

use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{Entry, Older, Prepared, Record, examples};
use crate::model::names::rel_path::RelPath;

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

/// Opens a folder on one thread; returns it with the turns that other tasks had meanwhile.
async fn open_beside_others(dir: &Path) -> (Folder, usize) {
    let (stop, turns) = (Stop::new(), std::cell::Cell::new(0));
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let opened = tokio::select! {
        opened = open(dir, &stop) => opened,
        () = others => None,
    };
    (opened.unwrap(), turns.get())
}

#[tokio::test]
async fn what_a_crash_left_is_settled_on_one_thread_while_other_tasks_run() {
    let root = interrupted(&[("a", 3), ("b", LARGE)]);
    let (opened, turns) = open_beside_others(root.path()).await;
    assert_eq!(opened.lock().manifest().entries.len(), 2);
    assert!(turns >= LARGE >> 24, "{turns} turns");
    assert!(root.path().join("a").exists() && root.path().join("b").exists());
}

/// An earlier version kept old states of the optimizer; of one, a run that was cut off has forgotten all but its path.
#[tokio::test]
async fn old_states_of_the_optimizer_are_read_in_steps_before_they_go() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open_at_once(root.path(), &job(), ORIGIN, silent().as_ref()).unwrap();
    let kept = |byte: u8| {
        let bytes = vec![byte; LARGE / 2];
        let sha256 = Sha256Digest::new(sha2::Sha256::digest(&bytes).into());
        let path = RelPath::parse(&format!("optimizer~{}.pt", sha256.short())).unwrap();
        fs::write(path.to_path(root.path()), bytes).unwrap();
        Older { path, size: (LARGE / 2) as u64, sha256 }
    };
    let (known, forgotten) = (kept(1), kept(2));
    let edited = RelPath::parse("optimizer~00000000.pt").unwrap();
    fs::write(edited.to_path(root.path()), "edited").unwrap();
    let older = vec![known.clone(), Older { path: edited.clone(), ..known.clone() }];
    let key = examples::key(ArtifactKind::Checkpoint, "optimizer.pt");
    let entry = Entry { older, ..examples::entry("optimizer.pt", None) };
    folder.lock().append(vec![Record::Know { key: key.clone(), entry }]).unwrap();
    drop(folder);
    prune::write_list(root.path(), &[&forgotten.path]).unwrap();
    let (opened, turns) = open_beside_others(root.path()).await;
    assert!(turns >= LARGE >> 24, "{turns} turns");
    assert!(opened.lock().manifest().entries[&key].older.is_empty());
    let left = |path: &RelPath| path.to_path(root.path()).exists();
    assert!(!left(&known.path) && !left(&forgotten.path) && left(&edited));
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
