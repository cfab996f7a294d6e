use std::cell::Cell;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::rc::Rc;
use std::{fs, io};

use sha2::Digest as _;

use crate::edge::system::trace::{Change, Witness, call, dismiss};
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::model::manifest::examples;

use crate::edge::system::disk;
use crate::engine::destination::prune::list_path;
use crate::engine::outputs::gallery;
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::manifest::{Entry, EntryState, Older, Record};
use crate::model::names::rel_path::RelPath;

use super::*;

const ORIGIN: &str = "https://api.example";

/// Lets so many changes of the disk happen and no more: what is there then is what a kill leaves.
struct Killer {
    left: Cell<u32>,
    hindered: Cell<bool>,
}

impl Witness for Killer {
    fn allow(&self) -> io::Result<()> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.hindered.set(true);
                Err(io::Error::other("killed"))
            }
        }
    }

    fn saw(&self, _: Change) {}
}

/// A mirror of four numbered checkpoints and a final one.
struct Mirrored {
    root: tempfile::TempDir,
}

fn job() -> JobId {
    "job".parse().unwrap()
}

fn silent(_: &Event) {}

impl Mirrored {
    fn new() -> Self {
        let mirrored = Self { root: tempfile::tempdir().unwrap() };
        let folder = Folder::open_at_once(&mirrored.dir(), &job(), ORIGIN, &silent).unwrap();
        let names = [(Some(250), "a_250"), (Some(500), "a_500"), (Some(750), "a_750"), (None, "a")];
        let mut records = Vec::new();
        for (step, stem) in names {
            let path = RelPath::parse(&format!("{stem}.safetensors")).unwrap();
            fs::write(path.to_path(&mirrored.dir()), stem).unwrap();
            let metadata = fs::metadata(path.to_path(&mirrored.dir())).unwrap();
            let key = ArtifactKey { kind: ArtifactKind::Checkpoint, path: format!("/o/{path}").into() };
            let sha256 = crate::edge::folder::hashing::sha256_of(&path.to_path(&mirrored.dir())).unwrap();
            let entry = Entry {
                size: metadata.len(),
                sha256,
                modified: disk::modified(&metadata),
                ..examples::entry(path.as_str(), step)
            };
            records.push(Record::Know { key, entry });
        }
        let mut store = folder.lock();
        store.append(records).unwrap();
        reports::write_sums(&mirrored.dir(), &store, |_| true).unwrap();
        drop(store);
        mirrored
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("out")
    }

    fn prune(&self) -> Result<Pruned, Error> {
        let draw = |dir: &Path, manifest: &Manifest| gallery::refresh(dir, manifest).map(drop);
        prune(&self.dir(), Retention::KeepLast(NonZeroU32::new(1).unwrap()), &silent, draw)
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".safetensors"))
            .collect();
        names.sort();
        names
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir().join(name), text).unwrap();
    }

    /// What `sha256sum -c` would find.
    fn assert_sums_pass(&self) {
        for line in fs::read_to_string(self.dir().join("SHA256SUMS")).unwrap().lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            let found = crate::edge::folder::hashing::sha256_of(&self.dir().join(name)).unwrap();
            assert_eq!(found, sum.parse::<Sha256Digest>().unwrap(), "{name}");
        }
    }

    fn states(&self) -> Vec<(String, EntryState)> {
        let manifest = known(&self.dir()).unwrap();
        manifest.entries.values().map(|entry| (entry.path.to_string(), entry.state)).collect()
    }
}

#[test]
fn what_is_not_kept_goes_and_is_remembered() {
    let mirrored = Mirrored::new();
    let rehearsed = rehearse(&mirrored.dir(), Retention::KeepLast(NonZeroU32::new(1).unwrap())).unwrap();
    assert_eq!(mirrored.files().len(), 4, "a rehearsal changes nothing");
    let pruned = mirrored.prune().unwrap();
    assert_eq!(pruned, rehearsed);
    assert_eq!((pruned.removed.len(), pruned.kept), (2, 1));
    assert_eq!(mirrored.files(), ["a.safetensors", "a_750.safetensors"]);
    mirrored.assert_sums_pass();
    let pruned: Vec<_> =
        mirrored.states().into_iter().filter(|(_, state)| *state == EntryState::Pruned).collect();
    assert_eq!(pruned.len(), 2);
    assert_eq!(mirrored.prune().unwrap().removed, []);
    // The user put one back: it is kept.
    mirrored.write("a_250.safetensors", "a_250");
    mirrored.prune().unwrap();
    assert_eq!(mirrored.files().len(), 3);
}

#[test]
fn what_was_edited_or_is_not_ours_stays() {
    let mirrored = Mirrored::new();
    mirrored.write("a_250.safetensors", "edited, longer");
    mirrored.write("theirs_100.safetensors", "theirs");
    // Touched, with the same bytes: still ours.
    let touched = fs::OpenOptions::new().write(true).open(mirrored.dir().join("a_500.safetensors")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    let pruned = mirrored.prune().unwrap();
    let paths = |entries: &[Entry]| entries.iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(&pruned.removed), ["a_500.safetensors"]);
    assert_eq!(paths(&pruned.edited), ["a_250.safetensors"]);
    assert_eq!(
        mirrored.files(),
        ["a.safetensors", "a_250.safetensors", "a_750.safetensors", "theirs_100.safetensors"]
    );
}

#[test]
fn a_kill_before_any_change_of_the_disk_is_survived() {
    for changes in 0.. {
        let mirrored = Mirrored::new();
        let killer = Rc::new(Killer { left: Cell::new(changes), hindered: Cell::new(false) });
        call(killer.clone());
        let result = mirrored.prune();
        dismiss();
        // The system gives a dead process's lock back; its file stays.
        mirrored.assert_sums_pass();
        for (path, state) in mirrored.states() {
            let is_there = mirrored.dir().join(&path).exists();
            assert!(is_there || state == EntryState::Pruned, "{path} is claimed and gone after {changes}");
        }
        // The next run ends what was begun, or begins anew.
        mirrored.prune().unwrap();
        mirrored.assert_sums_pass();
        assert_eq!(mirrored.files(), ["a.safetensors", "a_750.safetensors"], "after {changes} changes");
        assert!(!list_path(&mirrored.dir()).exists(), "after {changes} changes");
        if !killer.hindered.get() {
            assert!(changes > 8 && result.is_ok(), "{changes}");
            return;
        }
    }
}

/// A mirror with two old states of the optimizer, as versions before this one kept them, and one that was edited since.
fn with_old_optimizers() -> Mirrored {
    let mirrored = Mirrored::new();
    let dir = mirrored.dir();
    let folder = Folder::open_at_once(&dir, &job(), ORIGIN, &silent).unwrap();
    let keep = |text: &str| {
        let sha256 = Sha256Digest::new(sha2::Sha256::digest(text).into());
        let path = RelPath::parse("optimizer.pt").unwrap().with_suffix(&sha256.short());
        fs::write(path.to_path(&dir), text).unwrap();
        Older { path, size: text.len() as u64, sha256 }
    };
    let older = vec![keep("first"), keep("second"), keep("third")];
    fs::write(older[2].path.to_path(&dir), "edited").unwrap();
    let path = RelPath::parse("optimizer.pt").unwrap();
    fs::write(path.to_path(&dir), "newest").unwrap();
    let sha256 = Sha256Digest::new(sha2::Sha256::digest("newest").into());
    let entry = Entry { size: 6, sha256, older, ..examples::entry("optimizer.pt", None) };
    let key = ArtifactKey { kind: ArtifactKind::Checkpoint, path: "/o/optimizer.pt".into() };
    let mut store = folder.lock();
    store.append(vec![Record::Know { key, entry }]).unwrap();
    // They are in the list, as everything that was mirrored.
    reports::write_sums(&dir, &store, |_| true).unwrap();
    assert_eq!(fs::read_to_string(dir.join("SHA256SUMS")).unwrap().matches("optimizer~").count(), 3);
    drop(store);
    drop(folder);
    mirrored
}

#[test]
fn old_states_of_the_optimizer_are_removed_and_an_edited_one_is_kept() {
    for changes in 0.. {
        let mirrored = with_old_optimizers();
        let killer = Rc::new(Killer { left: Cell::new(changes), hindered: Cell::new(false) });
        call(killer.clone());
        let result = Folder::open_at_once(&mirrored.dir(), &job(), ORIGIN, &silent).map(drop);
        dismiss();
        Folder::open_at_once(&mirrored.dir(), &job(), ORIGIN, &silent).map(drop).unwrap();
        mirrored.assert_sums_pass();
        let states: Vec<String> = fs::read_dir(mirrored.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("optimizer"))
            .collect();
        assert_eq!(states.len(), 2, "{states:?} after {changes} changes");
        assert_eq!(fs::read(mirrored.dir().join("optimizer.pt")).unwrap(), b"newest");
        assert!(states.iter().any(|name| fs::read(mirrored.dir().join(name)).unwrap() == b"edited"));
        assert!(known(&mirrored.dir()).unwrap().entries.values().all(|entry| entry.older.is_empty()));
        assert_eq!(mirrored.files().len(), 4, "a checkpoint is no state");
        if !killer.hindered.get() {
            assert!(changes > 4 && result.is_ok(), "{changes}");
            return;
        }
    }
}
