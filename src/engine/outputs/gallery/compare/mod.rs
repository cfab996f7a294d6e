//! ROOT/index.html: the jobs mirrored below ROOT, and their samples side by side by prompt and step.
//!
//! The page follows the rules of a single mirror's gallery: one file, no network, a strict policy, written only where it
//! differs, and never over a page that rcsync did not write.

mod page;
mod runs;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::edge::folder::history::History;
use crate::edge::folder::known::known;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::folder::reports;
use crate::edge::system::disk::Durability;
use crate::error::{Error, explain_briefly};
use crate::model::job_file::JobFile;
use crate::model::manifest::Manifest;
#[cfg(feature = "buckets")]
use crate::model::signed_page::sign;
#[cfg(feature = "buckets")]
pub(crate) use settings::{BOUND as CONFIG_BOUND, newest_config};

use super::album::Album;
use super::file::{self, Written};
use runs::{Comparison, Run};

/// Folders between ROOT and a mirror: `ROOT/{id}` and `ROOT/{name}/{id}`.
pub(crate) const DEPTH: usize = 2;

/// More mirrors than this make a page that no browser shows; the rest is reported.
pub(crate) const MOST_RUNS: usize = 1000;

/// Folders that are looked into, so that a ROOT named by mistake (a home folder) ends soon.
const MOST_FOLDERS: usize = 100_000;

/// What writing the comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The page.
    pub path: PathBuf,
    /// Whether its bytes changed.
    pub changed: bool,
    /// Mirrors on it.
    pub runs: u64,
    /// Samples on it.
    pub samples: u64,
    /// Checkpoints on it.
    pub checkpoints: u64,
    /// Mirrors that are not on it, each with the reason.
    pub left_out: Vec<String>,
}

/// One mirror, read.
#[derive(Debug)]
pub(crate) struct Mirrored {
    /// Its folder below ROOT, with `/` between parts.
    below: String,
    manifest: Manifest,
    job: Option<JobFile>,
    history: History,
    settings: settings::Settings,
    has_page: bool,
}

/// Returns the folders of the mirrors below `root`, in the order of their names. A mirror inside a mirror is not looked for.
#[must_use]
pub(crate) fn mirrors(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![(root.to_path_buf(), 0)];
    let mut visited = 0;
    while let Some((folder, depth)) = next.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            visited += 1;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            // A link to a folder may lead back up, so links are not followed.
            if visited > MOST_FOLDERS || is_hidden || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            if path.join(PRIVATE).is_dir() {
                found.push(path);
            } else if depth + 1 < DEPTH {
                next.push((path, depth + 1));
            }
        }
    }
    found.sort();
    found
}

/// Writes the comparison of all mirrors below `root` where it differs from what is there.
///
/// # Errors
/// When the disk refuses, or a page that rcsync did not write is there; that page is left as it is.
pub(crate) fn refresh(root: &Path) -> Result<Compared, Error> {
    let folders = mirrors(root);
    let mut left_out: Vec<String> = surplus(folders.len()).into_iter().collect();
    let mut read = Vec::new();
    for mirrored in read_mirrors(root, &folders[..folders.len().min(MOST_RUNS)]) {
        match mirrored {
            Ok(mirrored) => read.push(mirrored),
            Err(error) => left_out.push(explain_briefly(&error)),
        }
    }
    let path = file::path(root);
    let drawn = Drawn::new(&title(root), &read);
    let written = file::write_staged(root, root, &drawn.body, Durability::Durable)?;
    if written == Written::Foreign {
        return Err(Error::ForeignPage(path));
    }
    Ok(Compared {
        path,
        changed: written == Written::Changed,
        runs: drawn.runs,
        samples: drawn.samples,
        checkpoints: drawn.checkpoints,
        left_out,
    })
}

/// Returns the name of the folder, also where `.` or `..` was typed.
fn title(root: &Path) -> String {
    let whole = root.file_name().is_none().then(|| root.canonicalize().ok()).flatten();
    let name = whole.as_deref().unwrap_or(root).file_name();
    name.map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into())
}

/// Returns why mirrors are left out of a page, where there are too many.
pub(crate) fn surplus(mirrors: usize) -> Option<String> {
    let more = mirrors.checked_sub(MOST_RUNS).filter(|more| *more > 0)?;
    Some(format!("{more} more mirrors than the page shows"))
}

/// A page that was not written yet.
#[derive(Debug)]
pub(crate) struct Drawn {
    body: String,
    /// Mirrors on it.
    pub(crate) runs: u64,
    /// Samples on it.
    pub(crate) samples: u64,
    /// Checkpoints on it.
    pub(crate) checkpoints: u64,
}

impl Drawn {
    /// Draws the comparison of these mirrors.
    pub(crate) fn new(title: &str, read: &[Mirrored]) -> Self {
        let albums: Vec<Album<'_>> = read
            .iter()
            .map(|mirrored| Album::new(&mirrored.manifest, mirrored.job.as_ref(), &mirrored.history))
            .collect();
        let runs = read.iter().zip(&albums).map(|(mirrored, album)| Run {
            below: &mirrored.below,
            album,
            settings: &mirrored.settings,
            has_page: mirrored.has_page,
        });
        let comparison = Comparison::new(runs.collect());
        let runs = &comparison.runs;
        Self {
            runs: runs.len() as u64,
            samples: runs.iter().map(|run| run.album.count_shots()).sum(),
            checkpoints: runs.iter().map(|run| run.album.checkpoints.len() as u64).sum(),
            body: page::page(title, &comparison),
        }
    }

    /// The whole page, signed as the file is.
    #[cfg(feature = "buckets")]
    pub(crate) fn signed(&self) -> String {
        sign(&self.body)
    }
}

#[cfg(feature = "buckets")]
impl Mirrored {
    /// Takes what was read of a mirror in a bucket. Buckets have no history.
    pub(crate) fn in_bucket(
        below: String,
        manifest: Manifest,
        job: Option<JobFile>,
        config: Option<&str>,
        has_page: bool,
    ) -> Self {
        let settings = config.map_or_else(settings::Settings::default, settings::Settings::parse);
        Self { below, manifest, job, history: History::default(), settings, has_page }
    }
}

/// Threads that read mirrors: the page of hundreds of jobs is drawn at the end of a fleet, when nothing else is left to do.
pub(crate) const READERS: usize = 4;

/// Reads mirrors, in the order of their folders.
fn read_mirrors(root: &Path, folders: &[PathBuf]) -> Vec<Result<Mirrored, Error>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(READERS);
    let read =
        |folders: &[PathBuf]| -> Vec<_> { folders.iter().map(|folder| read_mirror(root, folder)).collect() };
    let each = folders.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let started: Vec<_> = folders
            .chunks(each)
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, move || read(part))))
            .collect();
        let mirrors = started.into_iter().flat_map(|(part, started)| {
            // Where the system has no thread left, or a thread ended unexpectedly, this one reads its part.
            let theirs = started.ok().and_then(|started| started.join().ok());
            theirs.unwrap_or_else(|| read(part))
        });
        mirrors.collect()
    })
}

fn read_mirror(root: &Path, folder: &Path) -> Result<Mirrored, Error> {
    let manifest = known(folder)?;
    let job = reports::read_job(folder, &manifest.job);
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let settings = settings::Settings::of_mirror(folder, &manifest);
    Ok(Mirrored {
        below: parts.join("/"),
        job,
        history: History::load(folder),
        settings,
        has_page: file::path(folder).is_file(),
        manifest,
    })
}
