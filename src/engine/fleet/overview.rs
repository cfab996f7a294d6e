//! What is mirrored below the root of a fleet's DEST.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decide::fleet::template::Template;
use crate::edge::folder::known::known;
use crate::edge::folder::reports;
#[cfg(feature = "buckets")]
use crate::engine::bucket::fleet_root::FleetRoot;
#[cfg(feature = "buckets")]
use crate::error::Error;
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::manifest::Manifest;

/// One mirror of a fleet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mirrored {
    pub(crate) job: JobId,
    /// Its folder, or its prefix of a bucket.
    pub(crate) place: String,
    pub(crate) name: Option<String>,
    /// `None` where no `job.json` was written yet.
    pub(crate) status: Option<JobStatus>,
    pub(crate) progress: Progress,
    /// Files that are here and proven.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Returns all mirrors below DEST in a bucket, in the order of their places.
///
/// # Errors
/// When the store refuses.
#[cfg(feature = "buckets")]
pub(crate) async fn in_bucket(root: &FleetRoot, to: &Template) -> Result<Vec<Mirrored>, Error> {
    let levels: Vec<Option<&str>> = to.levels().collect();
    let found = crate::engine::bucket::overview::mirrors(root, &levels).await?;
    let mirrored = found.into_iter().map(|(url, manifest, job)| {
        let (name, status, progress) = match job {
            Some(job) => (job.name, Some(job.status), job.progress),
            None => (None, None, Progress::default()),
        };
        counted(&manifest, url.to_string(), name, status, progress)
    });
    Ok(mirrored.collect())
}

/// Returns all mirrors below a folder, in the order of their folders' names. What cannot be read is no mirror.
pub(crate) fn mirrors(root: &Path, to: &Template) -> Vec<Mirrored> {
    let mut folders = vec![root.to_path_buf()];
    for level in to.levels() {
        folders = match level {
            Some(name) => folders.into_iter().map(|folder| folder.join(name)).collect(),
            None => folders.iter().flat_map(|folder| below(folder)).collect(),
        };
    }
    folders.sort();
    folders.into_iter().filter_map(|dir| mirrored(&dir)).collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn mirrored(dir: &Path) -> Option<Mirrored> {
    let head = reports::read_any_head(dir)?;
    let manifest = known(dir).ok()?;
    Some(counted(&manifest, dir.display().to_string(), head.name, Some(head.status), head.progress))
}

fn counted(
    manifest: &Manifest,
    place: String,
    name: Option<String>,
    status: Option<JobStatus>,
    progress: Progress,
) -> Mirrored {
    let present = manifest.present();
    Mirrored {
        job: manifest.job.clone(),
        place,
        name,
        status,
        progress,
        files: present.len() as u64,
        bytes: present.iter().fold(0, |sum, (_, entry)| sum.saturating_add(entry.size)),
    }
}
