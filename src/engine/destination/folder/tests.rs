use std::cell::Cell;
use std::io;
use std::rc::Rc;

use sha2::Digest as _;

use crate::edge::system::trace::{Change, Witness, call, dismiss};
use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::job::{JobTimes, Progress, ResultAnswer, StatusAnswer};
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
    let (stop, turns) = (Stop::new(), Cell::new(0));
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

/// Refuses the change of this number.
struct Refusal(Cell<u32>);

impl Witness for Refusal {
    fn allow(&self) -> io::Result<()> {
        self.0.set(self.0.get().wrapping_sub(1));
        if self.0.get() == 0 { Err(io::Error::other("refused")) } else { Ok(()) }
    }

    fn saw(&self, _: Change) {}
}

/// Beside this job's `job.json` the lines are this job's: it comes after the list without the other job's.
#[tokio::test]
async fn lines_of_another_job_never_become_this_jobs() {
    let looked = JobSnapshot {
        status: StatusAnswer {
            name: None,
            status: JobStatus::Running,
            progress: Progress::default(),
            error: None,
            times: JobTimes::default(),
        },
        result: ResultAnswer {
            name: None,
            status: None,
            artifacts: Vec::new(),
            unreachable: Vec::new(),
            unusable: Vec::new(),
            error: None,
            times: JobTimes::default(),
        },
        resumes: 0,
    };
    for at in 1.. {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        // Without a manifest it would be the other job's folder.
        open(dir, &Stop::new()).await.unwrap().lock().establish().unwrap();
        fs::write(dir.join("theirs"), "theirs").unwrap();
        let line = format!("{}  theirs\n", Sha256Digest::new(sha2::Sha256::digest("theirs").into()));
        fs::write(dir.join("SHA256SUMS"), line).unwrap();
        let other = serde_json::json!({
            "job_id": "other", "name": null, "status": "RUNNING", "error": null,
            "progress": { "current_step": null, "total_steps": null, "percent": null },
            "created_at": null, "started_at": null, "finished_at": null, "artifacts": [],
        });
        fs::write(dir.join("job.json"), other.to_string()).unwrap();
        let folder = open(dir, &Stop::new()).await.unwrap();
        assert!(!folder.lines_are_ours);
        assert_eq!(folder.lock().unsettled().len(), 1);
        // As after the first pass: nothing of this job is known by that line.
        folder.lock().set_unsettled(BTreeMap::new());
        let refusal = Rc::new(Refusal(Cell::new(at)));
        call(refusal.clone());
        let written = folder.write_ledger(&looked, &[], &job()).await;
        dismiss();
        drop(folder);
        let folder = open(dir, &Stop::new()).await.unwrap();
        let lines = folder.lock().unsettled().len();
        assert!(!folder.lines_are_ours || lines == 0, "{lines} lines after change {at} was refused");
        if refusal.0.get() > 0 && refusal.0.get() < u32::MAX / 2 {
            assert!(at > 4 && written.is_ok() && folder.lines_are_ours, "{at}");
            return;
        }
    }
}
