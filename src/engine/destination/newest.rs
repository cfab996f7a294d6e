//! Keeps the newest checkpoint the newest by change time, which is what a local AI Toolkit resumes from. Renames, hard links
//! and kept old versions each make another file the newest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::decide::mirror::newest::{is_due, newest, saves};
use crate::edge::folder::reports;
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::job::JobId;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;

/// Waits between tries: the clock of a file system ticks every few milliseconds, on some every second or two, and the
/// newest file has to be later than what was written in the same tick.
const WAITS: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(16),
    Duration::from_millis(64),
    Duration::from_millis(256),
    Duration::from_millis(1000),
    Duration::from_millis(1000),
];

/// The names of the saves in DIR.
#[derive(Debug)]
pub(crate) struct Saves {
    job: JobId,
    newest: BTreeSet<PathBuf>,
    all: BTreeSet<PathBuf>,
}

impl Saves {
    /// Takes them from what is known of `dir`.
    pub(crate) fn of(dir: &Path, manifest: &Manifest) -> Self {
        let newest = newest(manifest).into_iter().filter_map(|entry| top(dir, &entry.path));
        let all = saves(manifest)
            .flat_map(|(_, entry)| {
                std::iter::once(&entry.path).chain(entry.older.iter().map(|older| &older.path))
            })
            .filter_map(|path| top(dir, path));
        Self { job: manifest.job.clone(), newest: newest.collect(), all: all.collect() }
    }

    /// Gives the newest checkpoint the newest change time, where it has not got it. Blocks; where it has, nothing is
    /// changed.
    ///
    /// # Errors
    /// When the disk does not allow it. No byte is in danger then.
    pub(crate) fn keep_newest(self, dir: &Path) -> Result<(), Error> {
        if self.newest.is_empty() {
            return Ok(());
        }
        let newest = self.newest.clone();
        let others = changed(&self.others(dir)?);
        let Some(latest) = others.iter().max().copied() else { return Ok(()) };
        for wait in WAITS {
            if !is_due(&changed(&newest), &others) {
                return Ok(());
            }
            std::thread::sleep(wait);
            for path in newest.iter().filter(|path| path.exists()) {
                disk::renew(path).map_err(fault("set the change time of", path))?;
            }
            // A file from the future (another clock, a restored backup) is not waited for.
            if changed(&newest).into_iter().min().is_some_and(|time| latest - time > FUTURE) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Everything else that the trainer may take for a save: what begins with the job's name, and what was saved.
    fn others(self, dir: &Path) -> Result<BTreeSet<PathBuf>, Error> {
        let Self { job, newest, mut all } = self;
        let name = reports::read_head(dir, &job).and_then(|head| head.name);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            for entry in fs::read_dir(dir).map_err(fault("read", dir))? {
                let entry = entry.map_err(fault("read", dir))?;
                if entry.file_name().as_encoded_bytes().starts_with(name.as_bytes()) {
                    all.insert(entry.path());
                }
            }
        }
        Ok(all.difference(&newest).cloned().collect())
    }
}

/// Later than the clock by more than this is no tick of it.
const FUTURE: i128 = 2_000_000_000;

/// The file or folder directly in `dir` that a path is or is in; a model that is saved as a folder is one save.
fn top(dir: &Path, path: &RelPath) -> Option<PathBuf> {
    path.as_str().split('/').next().map(|first| dir.join(first))
}

/// The change times of those that are there.
fn changed(paths: &BTreeSet<PathBuf>) -> Vec<i128> {
    paths.iter().filter_map(|path| disk::changed(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::ArtifactKind::Checkpoint;
    use crate::model::manifest::examples;

    fn keep_newest(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
        Saves::of(dir, manifest).keep_newest(dir)
    }

    fn write(dir: &Path, name: &str) {
        fs::write(dir.join(name), name).unwrap();
    }

    /// What AI Toolkit resumes from, of names that begin so.
    fn resumed(dir: &Path, name: &str) -> PathBuf {
        let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let of_job = all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
        of_job.max_by_key(|path| disk::changed(path).unwrap()).unwrap()
    }

    #[test]
    fn the_newest_checkpoint_is_what_a_trainer_resumes_from() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        fs::write(
            dir.join("job.json"),
            r#"{"job_id":"job","name":"dog","status":"STOPPED","progress":{},"artifacts":[]}"#,
        )
        .unwrap();
        let high = "dog_000000500_high_noise.safetensors";
        let low = "dog_000000500_low_noise.safetensors";
        let manifest = examples::manifest(&[
            (Checkpoint, "dog_000000250.safetensors", Some(250)),
            (Checkpoint, high, Some(500)),
            (Checkpoint, low, Some(500)),
            (Checkpoint, "gone_000000750.safetensors", Some(100)),
        ]);
        for name in [high, low, "dog_000000250.safetensors", "dog_000000250~1a2b3c4d.safetensors"] {
            write(dir, name);
        }
        assert!(!resumed(dir, "dog").ends_with(high));
        keep_newest(dir, &manifest).unwrap();
        let times = |name: &str| disk::changed(&dir.join(name)).unwrap();
        for other in ["dog_000000250.safetensors", "dog_000000250~1a2b3c4d.safetensors"] {
            assert!(times(high) > times(other) && times(low) > times(other), "{other}");
        }
        // Nothing to do: nothing is done.
        let before = (times(high), times(low));
        keep_newest(dir, &manifest).unwrap();
        assert_eq!((times(high), times(low)), before);
        // What is beside it under another name is no save.
        write(dir, "other.safetensors");
        keep_newest(dir, &manifest).unwrap();
        assert_eq!((times(high), times(low)), before);
        // A folder of the job's name counts.
        fs::create_dir(dir.join("dog_old")).unwrap();
        keep_newest(dir, &manifest).unwrap();
        assert!(times(low) > times("dog_old"));
    }

    #[test]
    fn a_model_saved_as_a_folder_is_one_save() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let part = "dog_000000500/transformer/model.safetensors";
        let manifest = examples::manifest(&[
            (Checkpoint, part, Some(500)),
            (Checkpoint, "dog_000000250/transformer/model.safetensors", Some(250)),
        ]);
        for name in ["dog_000000500/transformer", "dog_000000250/transformer"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        keep_newest(dir, &manifest).unwrap();
        assert!(resumed(dir, "dog").ends_with("dog_000000500"));
    }

    #[test]
    fn without_files_nothing_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = examples::manifest(&[(Checkpoint, "dog.safetensors", None)]);
        keep_newest(folder.path(), &manifest).unwrap();
        keep_newest(folder.path(), &examples::manifest(&[])).unwrap();
    }
}
