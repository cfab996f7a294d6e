use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::decide::formats::Format;
use crate::decide::transfer::task::examples::task;
use crate::decide::transfer::verify::{Inspection, recognise};
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::folder::part_file::PartFolder;
use crate::edge::system::trace::{Change, Witness, call, dismiss};
use crate::engine::destination::read_ahead::Digests;
use crate::engine::destination::recover::{Which, recover};
use crate::model::artifact::ArtifactKind;
use crate::model::evidence::Evidence;
use crate::model::manifest::examples;

use super::*;

/// Panics before the change of this number.
struct Defect(Cell<u32>);

impl Witness for Defect {
    fn allow(&self) -> io::Result<()> {
        self.0.set(self.0.get().wrapping_sub(1));
        assert_ne!(self.0.get(), 0, "a defect");
        Ok(())
    }

    fn saw(&self, _: Change) {}
}

fn finished(parts: &PartFolder, name: &str) -> Finished {
    let task = task(ArtifactKind::Sample, name);
    let part = parts.create(&task.artifact.key).unwrap();
    part.write(0, name.as_bytes()).unwrap();
    let mut inspection = Inspection::new(Format::Unknown, &[]);
    inspection.feed(name.as_bytes());
    let received = inspection.finish(None);
    let verified = recognise(&received, received.sha256, Evidence::Length).unwrap();
    let elapsed = Duration::ZERO;
    Finished { task, part: Arc::new(part), verified, revision: Revision::default(), elapsed }
}

/// A panic at any step of a batch is told of each of its files, so that nobody waits for them; later ones come through.
#[tokio::test]
async fn a_defect_is_told_of_each_file_and_nobody_waits() {
    for at in 1..16 {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join(PRIVATE);
        fs::create_dir_all(private.join("parts")).unwrap();
        let parts = PartFolder::new(private.join("parts"));
        let (store, _) = Store::load(dir.path(), &"job".parse().unwrap(), "https://api.example").unwrap();
        let committer = Committer {
            dir: dir.path().to_path_buf(),
            store: Arc::new(Mutex::new(store)),
            on_change: OnChange::Keep,
            gather: Gather { enough: 1, longest: Duration::ZERO },
            batch: 2,
            place: None,
        };
        let (commit, items) = mpsc::channel(8);
        for name in ["a", "b", "c"] {
            commit.send(ToCommit::Publish(Box::new(finished(&parts, name)))).await.unwrap();
        }
        commit.send(ToCommit::End).await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = told.clone();
        call(Rc::new(Defect(Cell::new(at))));
        committer
            .run(items, move |key, committed| {
                let came = matches!(committed, Committed::Published(..) | Committed::Known);
                telling.lock().unwrap().push((key.path.to_string(), came));
            })
            .await;
        dismiss();
        let told = told.lock().unwrap();
        let mut names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["/o/a", "/o/b", "/o/c"], "defect at change {at}");
        for (key, came) in told.iter() {
            let name = key.trim_start_matches("/o/");
            let here = fs::read(dir.path().join(name)).ok();
            assert!(!came || here.as_deref() == Some(name.as_bytes()), "`{name}` is no true claim");
        }
        // The first two come to grief, in their flush or later; the third is another batch.
        assert!(at > 3 || told.iter().any(|(name, came)| name == "/o/c" && *came), "defect at change {at}");
    }
}

/// Under a stream of files there is always a next batch: the list does not wait until there is none.
#[tokio::test]
async fn the_list_of_checksums_is_not_starved() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join(PRIVATE);
    fs::create_dir_all(private.join("parts")).unwrap();
    let parts = PartFolder::new(private.join("parts"));
    let (store, _) = Store::load(dir.path(), &"job".parse().unwrap(), "https://api.example").unwrap();
    let committer = Committer {
        dir: dir.path().to_path_buf(),
        store: Arc::new(Mutex::new(store)),
        on_change: OnChange::Keep,
        gather: Gather { enough: 1, longest: Duration::ZERO },
        batch: 1,
        place: None,
    };
    let (commit, items) = mpsc::channel(8);
    for name in ["a", "b"] {
        commit.send(ToCommit::Publish(Box::new(finished(&parts, name)))).await.unwrap();
    }
    commit.send(ToCommit::End).await.unwrap();
    let (list, seen) = (dir.path().join("SHA256SUMS"), Arc::new(Mutex::new(Vec::new())));
    let seeing = seen.clone();
    let lines = move || fs::read_to_string(&list).map_or(0, |text| text.lines().count());
    committer.run(items, move |_, _| seeing.lock().unwrap().push(lines())).await;
    assert_eq!(*seen.lock().unwrap(), [0, 1], "the first file is in the list before the second has its name");
}

/// Another rcsync gives a part its name just before the next change.
struct Quicker {
    part: PathBuf,
    path: PathBuf,
}

impl Witness for Quicker {
    fn allow(&self) -> io::Result<()> {
        let _ = fs::rename(&self.part, &self.path);
        Ok(())
    }

    fn saw(&self, _: Change) {}
}

/// J2: one that begins on a disk that granted it the lock too reads that a part is about to get its name, and moves it
/// there. Both find it done, whoever was quicker.
#[test]
fn a_part_that_another_named_meanwhile_is_published() {
    for is_quicker in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join(PRIVATE);
        fs::create_dir_all(private.join("parts")).unwrap();
        let parts = PartFolder::new(private.join("parts"));
        let load = || Store::load(dir.path(), &"job".parse().unwrap(), "https://api.example").unwrap().0;
        let store = Arc::new(Mutex::new(load()));
        let committer = Committer {
            dir: dir.path().to_path_buf(),
            store: store.clone(),
            on_change: OnChange::Keep,
            gather: Gather { enough: 1, longest: Duration::ZERO },
            batch: 2,
            place: None,
        };
        let file = finished(&parts, "a");
        let Ok(Placed::Ready(ready)) = committer.place(&store.lock().unwrap(), file) else {
            panic!("what is in its way?")
        };
        let key = ready.file.task.artifact.key.clone();
        let prepared = Prepared { part: ready.file.part.name(), entry: ready.entry.clone() };
        store.lock().unwrap().append(vec![Record::Prepare { key, prepared }]).unwrap();
        let path = dir.path().join("a");
        let part = ready.file.part.path().to_path_buf();
        let mut other = load();
        if is_quicker {
            call(Rc::new(Quicker { part, path: path.clone() }));
        }
        let recovered = recover(dir.path(), &mut other, &parts, &Digests::default(), Which::All);
        dismiss();
        assert_eq!(recovered.unwrap(), 1);
        committer.rename(&ready, &path).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"a");
    }
}

/// A host that answers late, that a file did not change, does not bring back what was pruned meanwhile.
#[test]
fn a_late_answer_revives_nothing() {
    let (kind, path) = (ArtifactKind::Checkpoint, "a_000000250.safetensors");
    let (key, manifest) = (examples::key(kind, path), examples::manifest(&[(kind, path, Some(250))]));
    let asked = asked_in(&manifest, key.clone(), "run 2".to_owned());
    assert!(matches!(asked, Some(Record::Know { entry, .. }) if entry.run == "run 2"));
    let mut pruned = manifest;
    pruned.entries.get_mut(&key).unwrap().state = EntryState::Pruned;
    assert_eq!(asked_in(&pruned, key.clone(), "run 2".to_owned()), None);
    pruned.entries.clear();
    assert_eq!(asked_in(&pruned, key, "run 2".to_owned()), None);
}
