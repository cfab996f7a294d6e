use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::decide::formats::Format;
use crate::decide::transfer::task::examples::task;
use crate::decide::transfer::verify::{Inspection, recognise};
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::folder::tree::Tree;
use crate::edge::system::disk;
use crate::edge::system::trace::{Change, Witness, call, dismiss};
use crate::engine::destination::read_ahead::Digests;
use crate::engine::destination::recover::{Which, recover};
use crate::model::artifact::ArtifactKind;
use crate::model::evidence::Evidence;
use crate::model::manifest::{Prepared, examples};
use crate::model::revision::Revision;

use super::place::Placed;
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

/// A folder into which nothing was mirrored yet, with its parts and its manifest.
fn empty() -> (tempfile::TempDir, PartFolder, Store) {
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join(PRIVATE).join("parts");
    fs::create_dir_all(&parts).unwrap();
    let (store, _) =
        Store::load(dir.path(), &"job".parse().unwrap(), "https://api.example", || None).unwrap();
    (dir, PartFolder::new(parts), store)
}

fn committer(dir: &Path, store: Store) -> Committer {
    Committer {
        dir: dir.to_path_buf(),
        store: Arc::new(Mutex::new(store)),
        on_change: OnChange::Keep,
        gather: Gather { enough: 1, longest: Duration::ZERO },
        coming: Arc::new(AtomicUsize::new(usize::MAX)),
        batch: 2,
        list_every: Duration::ZERO,
        has_list: true,
        place: None,
    }
}

/// A panic at any step of a batch is reported for each of its files, so that no transfer waits for them; later ones come
/// through.
#[tokio::test]
async fn a_defect_is_reported_for_each_file() {
    for at in 1..16 {
        let (dir, parts, store) = empty();
        let committer = committer(dir.path(), store);
        let (commit, items) = mpsc::channel(8);
        for name in ["a", "b", "c"] {
            commit.send(ToCommit::Publish(Box::new(finished(&parts, name)))).await.unwrap();
        }
        commit.send(ToCommit::End).await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seeing = seen.clone();
        call(Rc::new(Defect(Cell::new(at))));
        committer
            .run(items, move |group| {
                for (key, committed) in group {
                    let came = matches!(committed, Committed::Published(..) | Committed::Known);
                    seeing.lock().unwrap().push((key.path.to_string(), came));
                }
            })
            .await;
        dismiss();
        let seen = seen.lock().unwrap();
        let mut names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["/o/a", "/o/b", "/o/c"], "defect at change {at}");
        for (key, came) in seen.iter() {
            let name = key.trim_start_matches("/o/");
            let here = fs::read(dir.path().join(name)).ok();
            assert!(!came || here.as_deref() == Some(name.as_bytes()), "`{name}` is no true claim");
        }
        // The first two come to grief, in their flush or later; the third is another batch.
        assert!(at > 3 || seen.iter().any(|(name, came)| name == "/o/c" && *came), "defect at change {at}");
    }
}

/// A file every 25 ms, as in a fleet, where connections go from job to job.
#[tokio::test(start_paused = true)]
async fn files_that_arrive_slowly_are_committed_in_groups_and_the_last_waits_for_none() {
    const FILES: usize = 40;
    let (dir, parts, store) = empty();
    let gather = Gather::default().in_a_fleet();
    let committer = Committer { batch: BATCH, gather, ..committer(dir.path(), store) };
    let coming = committer.coming.clone();
    coming.store(FILES, Ordering::Release);
    let (commit, items) = mpsc::channel(BATCH);
    let groups = Arc::new(Mutex::new(Vec::new()));
    let seeing = groups.clone();
    let began = Instant::now();
    let committing = tokio::spawn(committer.run(items, move |group| {
        if !group.is_empty() {
            seeing.lock().unwrap().push((group.len(), began.elapsed()));
        }
    }));
    for number in 0..FILES {
        tokio::time::sleep(Duration::from_millis(25)).await;
        coming.fetch_sub(1, Ordering::AcqRel);
        commit.send(ToCommit::Publish(Box::new(finished(&parts, &format!("f{number}"))))).await.unwrap();
    }
    let sent = began.elapsed();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let groups = groups.lock().unwrap().clone();
    assert_eq!(
        groups.iter().map(|(files, _)| files).sum::<usize>(),
        FILES,
        "all within one look: {groups:?}"
    );
    assert!(groups.len() <= 5, "{groups:?}");
    assert!(groups.last().unwrap().1 <= sent + Duration::from_millis(50), "{groups:?} after {sent:?}");
    commit.send(ToCommit::End).await.unwrap();
    committing.await.unwrap();
}

/// Returns how many lines the list has when each of two batches has its names.
async fn lines_while_files_come(list_every: Duration, has_list: bool) -> Vec<usize> {
    let (dir, parts, store) = empty();
    let committer = Committer { batch: 1, list_every, has_list, ..committer(dir.path(), store) };
    let (commit, items) = mpsc::channel(8);
    for name in ["a", "b"] {
        commit.send(ToCommit::Publish(Box::new(finished(&parts, name)))).await.unwrap();
    }
    commit.send(ToCommit::End).await.unwrap();
    let (list, seen) = (dir.path().join("SHA256SUMS"), Arc::new(Mutex::new(Vec::new())));
    let seeing = seen.clone();
    let lines = move || fs::read_to_string(&list).map_or(0, |text| text.lines().count());
    committer
        .run(items, move |group| {
            if !group.is_empty() {
                seeing.lock().unwrap().push(lines());
            }
        })
        .await;
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// Under a stream of files there is always a next batch: the list does not wait until there is none.
#[tokio::test]
async fn the_list_of_checksums_is_not_starved() {
    let seen = lines_while_files_come(Duration::ZERO, true).await;
    assert_eq!(seen, [0, 1], "the first file is in the list before the second has its name");
}

/// `sha256sum -c` fails without a list, and a run may be killed at any time.
#[tokio::test]
async fn the_first_list_of_a_folder_comes_with_its_first_files() {
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(lines_while_files_come(hour, false).await, [0, 1]);
    assert_eq!(lines_while_files_come(hour, true).await, [0, 0], "one that is there may be a while behind");
}

/// Refuses the change of this number, as a rename to another disk is refused.
struct OtherDisk {
    at: Cell<u32>,
    has_copied: Cell<bool>,
}

impl Witness for OtherDisk {
    fn allow(&self) -> io::Result<()> {
        self.at.set(self.at.get().wrapping_sub(1));
        if self.at.get() == 0 { Err(io::ErrorKind::CrossesDevices.into()) } else { Ok(()) }
    }

    fn saw(&self, change: Change) {
        let is_staged = |path: &Path| path.to_string_lossy().ends_with(".rcsync-part");
        if let Change::Opened { path, .. } = change {
            self.has_copied.set(self.has_copied.get() || is_staged(&path));
        }
    }
}

/// A file in a folder that is another disk is a copy: what is known of it is the copy's time stamp, else each later run would
/// read it again.
#[tokio::test]
async fn a_copy_on_another_disk_is_known_by_its_own_time_stamp() {
    let mut copies = 0;
    for at in 1..16 {
        let (dir, parts, store) = empty();
        let committer = committer(dir.path(), store);
        let store = committer.store.clone();
        let file = finished(&parts, "a");
        let key = file.task.artifact.key.clone();
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        fs::File::options().write(true).open(file.part.path()).unwrap().set_modified(old).unwrap();
        let (commit, items) = mpsc::channel(8);
        commit.send(ToCommit::Publish(Box::new(file))).await.unwrap();
        commit.send(ToCommit::End).await.unwrap();
        let other = Rc::new(OtherDisk { at: Cell::new(at), has_copied: Cell::new(false) });
        call(other.clone());
        committer.run(items, |_| {}).await;
        dismiss();
        let store = store.lock().unwrap();
        if let Some(entry) = store.manifest().entries.get(&key) {
            let there = fs::metadata(dir.path().join("a")).unwrap();
            assert_eq!(entry.modified, disk::modified(&there), "refused at change {at}");
            copies += u32::from(other.has_copied.get());
        }
    }
    assert_eq!(copies, 1);
}

/// Puts a link in the place of a folder of the mirror just before the change of this number.
#[cfg(unix)]
struct Swapper {
    at: Cell<u32>,
    folder: PathBuf,
    moved: PathBuf,
    outside: PathBuf,
}

#[cfg(unix)]
impl Witness for Swapper {
    fn allow(&self) -> io::Result<()> {
        self.at.set(self.at.get().wrapping_sub(1));
        if self.at.get() == 0 {
            let _ = fs::rename(&self.folder, &self.moved);
            std::os::unix::fs::symlink(&self.outside, &self.folder).unwrap();
        }
        Ok(())
    }

    fn saw(&self, _: Change) {}
}

/// A folder that is replaced by a link at any moment of a group: nothing is written through the link or left in the folder
/// that was moved without its name, the error names the folder, files elsewhere get their names, and nothing is lost.
#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_is_swapped_in_the_middle_of_a_group_takes_no_file_elsewhere() {
    let (mut refused, mut published) = (0, 0);
    for was_there in [false, true] {
        for at in 1..24 {
            let place = tempfile::tempdir().unwrap();
            let (dir, outside, moved) =
                (place.path().join("dir"), place.path().join("outside"), place.path().join("moved"));
            let (private, samples) = (dir.join(PRIVATE), dir.join("samples"));
            fs::create_dir_all(private.join("parts")).unwrap();
            fs::create_dir(&outside).unwrap();
            if was_there {
                fs::create_dir(&samples).unwrap();
            }
            let parts = PartFolder::new(private.join("parts"));
            let (store, _) =
                Store::load(&dir, &"job".parse().unwrap(), "https://api.example", || None).unwrap();
            let mut committer = committer(&dir, store);
            committer.gather = Gather { enough: 8, longest: Duration::from_millis(1) };
            committer.batch = 8;
            let (commit, items) = mpsc::channel(8);
            for name in ["samples/a", "samples/b", "c"] {
                commit.send(ToCommit::Publish(Box::new(finished(&parts, name)))).await.unwrap();
            }
            commit.send(ToCommit::End).await.unwrap();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let seeing = seen.clone();
            call(Rc::new(Swapper {
                at: Cell::new(at),
                folder: samples.clone(),
                moved: moved.clone(),
                outside: outside.clone(),
            }));
            committer.run(items, move |group| seeing.lock().unwrap().extend(group)).await;
            dismiss();
            let what = format!("swapped before change {at}, the folder was there: {was_there}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{what}: something is outside");
            assert_eq!(seen.lock().unwrap().len(), 3, "{what}");
            for (key, committed) in seen.lock().unwrap().iter() {
                let name = key.path.trim_start_matches("/o/");
                let Some(file) = name.strip_prefix("samples/") else {
                    assert!(matches!(committed, Committed::Published(..)), "{what}: {committed:?}");
                    assert_eq!(fs::read(dir.join(name)).unwrap(), name.as_bytes(), "{what}");
                    continue;
                };
                match committed {
                    Committed::Published(..) => {
                        published += 1;
                        let here = if moved.exists() { moved.join(file) } else { samples.join(file) };
                        assert_eq!(fs::read(here).unwrap(), name.as_bytes(), "{what}");
                    }
                    Committed::Failed(error) => {
                        refused += 1;
                        assert!(error.to_string().contains("/samples`"), "{what}: {error}");
                        assert!(
                            !moved.join(file).exists(),
                            "{what}: it is left in a folder that is not the mirror's"
                        );
                        let stem = format!("{}.", key.fingerprint());
                        let kept = fs::read_dir(private.join("parts")).unwrap().any(|part| {
                            let part = part.unwrap();
                            part.file_name().to_str().unwrap().starts_with(&stem)
                                && fs::read(part.path()).unwrap() == name.as_bytes()
                        });
                        assert!(kept, "{what}: the bytes of `{name}` are lost");
                    }
                    Committed::Known => panic!("{what}: it was not here before"),
                }
            }
        }
    }
    assert!(refused > 8 && published > 8, "{refused} refused, {published} published");
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
/// there. Both find it done, in either order.
#[test]
fn a_part_that_another_named_meanwhile_is_published() {
    for is_quicker in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join(PRIVATE);
        fs::create_dir_all(private.join("parts")).unwrap();
        let parts = PartFolder::new(private.join("parts"));
        let load =
            || Store::load(dir.path(), &"job".parse().unwrap(), "https://api.example", || None).unwrap().0;
        let committer = committer(dir.path(), load());
        let store = committer.store.clone();
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
        committer.rename(&mut Tree::open(dir.path()).unwrap(), &ready).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"a");
    }
}

/// A host that answers late, that a file did not change, does not bring back what was pruned meanwhile.
#[test]
fn a_late_answer_revives_nothing() {
    let (kind, path) = (ArtifactKind::Checkpoint, "a_000000250.safetensors");
    let (key, manifest) = (examples::key(kind, path), examples::manifest(&[(kind, path, Some(250))]));
    let asked = asked_in(&manifest, key.clone(), "run 2".into());
    assert!(matches!(asked, Some(Record::Know { entry, .. }) if &*entry.run == "run 2"));
    let mut pruned = manifest;
    pruned.entries.get_mut(&key).unwrap().state = EntryState::Pruned;
    assert_eq!(asked_in(&pruned, key.clone(), "run 2".into()), None);
    pruned.entries.clear();
    assert_eq!(asked_in(&pruned, key, "run 2".into()), None);
}
