//! What is mirrored below the root of a fleet's DEST.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decide::fleet::template::Template;
use crate::engine::destination::folder::known;
use crate::engine::destination::reports;
use crate::model::job::{JobId, JobStatus, Progress};

/// One mirror of a fleet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mirrored {
    pub(crate) job: JobId,
    pub(crate) dir: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) status: JobStatus,
    pub(crate) progress: Progress,
    /// Files that are here and proven.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Returns all mirrors below DEST, in the order of their folders' names. What cannot be read is no mirror.
pub(crate) fn mirrors(to: &Template) -> Vec<Mirrored> {
    let mut folders = vec![to.root().to_path_buf()];
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
    let present = manifest.present();
    Some(Mirrored {
        job: head.job_id,
        dir: dir.to_path_buf(),
        name: head.name,
        status: head.status,
        progress: head.progress,
        files: present.len() as u64,
        bytes: present.iter().fold(0, |sum, (_, entry)| sum.saturating_add(entry.size)),
    })
}
