//! The jobs that `fleet add` hands over: one small file or object a job, below the root of all mirrors, created and never
//! changed, so that several programs may add at once.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
#[cfg(feature = "buckets")]
use std::sync::Arc;

use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk::{self, Durability, fault};
#[cfg(feature = "buckets")]
use crate::engine::bucket::fleet_root::FleetRoot;
#[cfg(feature = "buckets")]
use crate::engine::bucket::registry::Lines;
use crate::error::Error;
use crate::model::job::JobId;
use crate::model::names::rel_path::RelPath;

/// The folder below the root of a fleet's DEST.
const FOLDER: &str = ".rcsync-fleet";

/// What its files end in: other files in it are passed over.
const ENDING: &str = ".job";

/// A longer file is none of ours: an id and a few options.
const LONGEST: u64 = 64 << 10;

/// The jobs below a root.
#[derive(Debug, Clone)]
pub(crate) enum Registry {
    /// In a folder.
    Folder(Files),
    /// In a bucket.
    #[cfg(feature = "buckets")]
    Bucket(Arc<Lines>),
}

impl Registry {
    /// The registry of a fleet whose mirrors are below a folder.
    pub(crate) fn below(root: &Path) -> Self {
        Self::Folder(Files { folder: root.join(FOLDER) })
    }

    /// The registry of a fleet whose mirrors are below a prefix of a bucket.
    #[cfg(feature = "buckets")]
    pub(crate) fn in_bucket(root: &FleetRoot) -> Self {
        Self::Bucket(Arc::new(Lines::new(root.all().clone(), FOLDER)))
    }

    /// What its lines are called in messages: they are counted over all its files.
    pub(crate) fn description(&self) -> String {
        let place = match self {
            Self::Folder(files) => files.folder().display().to_string(),
            #[cfg(feature = "buckets")]
            Self::Bucket(lines) => format!("{}/{FOLDER}", lines.url()),
        };
        format!("what `fleet add` put into `{place}`")
    }

    /// Adds a job with its line; `false` where it is there already, which changes nothing.
    ///
    /// # Errors
    /// When the disk or the store refuses.
    pub(crate) async fn add(&self, job: &JobId, line: &str) -> Result<bool, Error> {
        match self {
            Self::Folder(files) => files.add(job, line),
            #[cfg(feature = "buckets")]
            Self::Bucket(lines) => lines.add(&file_name(job), line).await,
        }
    }

    /// Returns all lines, in the order of the names of their files; none where nothing was added yet.
    ///
    /// # Errors
    /// When the disk or the store refuses.
    pub(crate) async fn read(&self) -> Result<String, Error> {
        match self {
            Self::Folder(files) => {
                let (reading, path) = (files.clone(), files.folder.clone());
                blocking(move || reading.read()).await.map_err(lost("read", &path))?
            }
            #[cfg(feature = "buckets")]
            Self::Bucket(lines) => lines.read(ENDING).await,
        }
    }
}

/// The files of a registry in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn add(&self, job: &JobId, line: &str) -> Result<bool, Error> {
        disk::create_with_parents(&self.folder)?;
        let path = self.folder.join(file_name(job));
        match disk::create(&path, &self.folder, format!("{line}\n").as_bytes(), Durability::Durable) {
            Ok(()) => Ok(true),
            Err(Error::Disk { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&self) -> Result<String, Error> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(fault("read", &self.folder)(error)),
        };
        let mut paths = Vec::new();
        for entry in listed {
            let path = entry.map_err(fault("read", &self.folder))?.path();
            if path.to_string_lossy().ends_with(ENDING) {
                paths.push(path);
            }
        }
        paths.sort();
        let mut text = String::new();
        for path in paths {
            let file = match disk::open_regular(&path) {
                Ok(file) => file,
                // Removed since the folder was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fault("read", &path)(error)),
            };
            file.take(LONGEST).read_to_string(&mut text).map_err(fault("read", &path))?;
            text.push('\n');
        }
        Ok(text)
    }
}

/// A job's id is any text without white space: as a file's name it is kept, or altered and marked.
fn file_name(job: &JobId) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let id = utf8_percent_encode(job.as_str(), NON_ALPHANUMERIC).to_string();
    let name = RelPath::from_remote(&[&id]).map_or_else(|| id.clone(), |path| path.as_str().to_owned());
    name + ENDING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_added_once() {
        let root = tempfile::tempdir().unwrap();
        let registry = Files { folder: root.path().join("a/b").join(FOLDER) };
        assert_eq!(registry.read().unwrap(), "");
        let job = |id: &str| id.parse::<JobId>().unwrap();
        assert!(registry.add(&job("b-2"), "id=b-2 keep-last=3").unwrap());
        assert!(registry.add(&job("a:1"), "id=a:1").unwrap());
        assert!(!registry.add(&job("b-2"), "id=b-2").unwrap(), "what is there stays");
        fs::write(registry.folder().join("notes.txt"), "x").unwrap();
        let text = registry.read().unwrap();
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["id=a:1", "id=b-2 keep-last=3"]);
    }
}
