//! What is mirrored below the root of a fleet's DEST.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decide::fleet::template::Template;
use crate::edge::folder::known::known;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::folder::reports;
#[cfg(feature = "buckets")]
use crate::engine::bucket::fleet_root::FleetRoot;
use crate::error::{Error, NoMirror, explain_briefly};
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

/// What is mirrored below DEST.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overview {
    /// In the order of their places.
    pub(crate) mirrors: Vec<Mirrored>,
    /// Mirrors that cannot be read, each with the reason.
    pub(crate) left_out: Vec<String>,
}

/// Returns all mirrors below DEST in a bucket.
///
/// # Errors
/// When the store refuses.
#[cfg(feature = "buckets")]
pub(crate) async fn in_bucket(root: &FleetRoot, to: &Template) -> Result<Overview, Error> {
    let levels: Vec<Option<&str>> = to.levels().collect();
    let found = crate::engine::bucket::overview::overview(root, &levels).await?;
    let mirrored = found.mirrors.into_iter().map(|(url, manifest, job)| {
        let (name, status, progress) = match job {
            Some(job) => (job.name, Some(job.status), job.progress),
            None => (None, None, Progress::default()),
        };
        counted(&manifest, url.to_string(), name, status, progress)
    });
    Ok(Overview { mirrors: mirrored.collect(), left_out: found.left_out })
}

/// Returns all mirrors below a folder.
pub(crate) fn in_folder(root: &Path, to: &Template) -> Overview {
    let mut folders = vec![root.to_path_buf()];
    for level in to.levels() {
        folders = match level {
            Some(name) => folders.into_iter().map(|folder| folder.join(name)).collect(),
            None => folders.iter().flat_map(|folder| below(folder)).collect(),
        };
    }
    folders.sort();
    let mut overview = Overview::default();
    for dir in folders {
        match mirrored(&dir) {
            Some(Ok(mirror)) => overview.mirrors.push(mirror),
            Some(Err(why)) => overview.left_out.push(why),
            None => {}
        }
    }
    overview
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Reads one mirror, or why it cannot be read; `None` where none is.
fn mirrored(dir: &Path) -> Option<Result<Mirrored, String>> {
    let (name, status, progress) = match reports::read_any_head(dir) {
        Some(head) => (head.name, Some(head.status), head.progress),
        None if dir.join(PRIVATE).is_dir() => (None, None, Progress::default()),
        None => return None,
    };
    match known(dir) {
        Ok(manifest) => Some(Ok(counted(&manifest, dir.display().to_string(), name, status, progress))),
        // It was created, and nothing was polled for it yet.
        Err(Error::NoMirror { why: NoMirror::Empty, .. }) => None,
        Err(error) => Some(Err(explain_briefly(&error))),
    }
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
