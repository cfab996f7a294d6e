//! From DIR into a ComfyUI folder: finished LoRAs get a second name there, with a picture beside them.
//!
//! What was placed is recorded in a file of its own below `.rcsync`, one for each LoRA folder: the manifest belongs to
//! the rcsync that holds the folder's lock, and another process has to place files beside it, from another host too.

mod extras;
mod headers;
#[cfg(feature = "buckets")]
pub(crate) mod lacking;
mod place;
mod record;
mod running;
mod sources;
mod surplus;
pub(crate) mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use url::Url;

use crate::decide::comfyui::loras::Weights;
use crate::decide::comfyui::placing::Subdir;
use crate::edge::comfyui::LoraFolder;
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::edge::system::link::LinkMode;
use crate::engine::destination::newest::Saves;
use crate::engine::event::{ComfyNotice, Event, Notice, Reporter};
use crate::engine::follower::{Follower, View};
use crate::error::Error;
use crate::model::job::JobId;
use crate::model::manifest::Manifest;

use headers::Headers;
use place::Placing;

/// How LoRAs get into ComfyUI.
#[derive(Debug, Clone)]
pub(crate) struct ComfyOptions {
    /// The folder that LoRAs go to.
    pub folder: LoraFolder,
    /// The folder below it.
    pub subdir: Subdir,
    /// How many numbered LoRAs of a job stay, besides the final one; all when `None`.
    pub keep: Option<u32>,
    /// How the bytes get there.
    pub link: LinkMode,
    /// Whether each gets its SHA-256 in a file beside it.
    pub sidecars: bool,
    /// Which kinds of files are placed.
    pub weights: Weights,
    /// A running ComfyUI to ask whether it lists what was placed.
    pub url: Option<Url>,
}

/// One LoRA folder that follows DIR.
#[derive(Debug)]
pub(crate) struct ComfyUi {
    options: ComfyOptions,
    /// Whether the folder was seen in this process: one that was there and is gone is not made again, since it may be a
    /// disk that is not mounted.
    seen: AtomicBool,
    /// Whether it was reported where LoRAs go.
    reported_folder: AtomicBool,
    /// The job's name, once it is known: it never changes.
    name: OnceLock<String>,
    /// The last trouble that was reported, and when; a trouble that lasts is reported once, and once more by a run that ends
    /// long after.
    trouble: Mutex<Option<(Error, Instant)>>,
    /// Whether the last look reported files that it did not place: such a look may be repeated.
    reported_unsettled: AtomicBool,
    headers: Headers,
    /// Whether it was reported that the newest checkpoint could not be made the newest by change time.
    told_newest: AtomicBool,
    /// Whether what is gone from ComfyUI is placed anew, the next time.
    anew: AtomicBool,
}

/// A run that ends so long after a trouble was reported repeats the report: it is far above by then.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What to do while the job's name is not known, which the folder's name may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Nothing yet: there is another look.
    Wait,
    /// Take the job's id for its name.
    Act,
}

/// What one look at DIR led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    /// LoRA files that were placed now.
    pub placed: u64,
    /// LoRA files that are there in all.
    pub there: u64,
    /// LoRAs that were removed because of `keep`.
    pub removed: u64,
    /// LoRA files that could not be placed under any name.
    pub blocked: u64,
    /// LoRA files whose bytes in DIR are not those that were published, so that they are not placed.
    pub unsettled: u64,
    /// Halves of pairs that wait for their other half.
    pub halves: u64,
    /// LoRA files that were moved, renamed or deleted in ComfyUI, and are not placed again.
    pub withdrawn: u64,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.placed += other.placed;
        self.there += other.there;
        self.removed += other.removed;
        self.blocked += other.blocked;
        self.unsettled += other.unsettled;
        self.halves += other.halves;
        self.withdrawn += other.withdrawn;
    }
}

impl ComfyUi {
    /// Gets ready; nothing is touched yet.
    #[must_use]
    pub(crate) fn new(options: ComfyOptions) -> Self {
        Self {
            options,
            seen: AtomicBool::default(),
            reported_folder: AtomicBool::default(),
            name: OnceLock::new(),
            trouble: Mutex::default(),
            headers: Headers::default(),
            reported_unsettled: AtomicBool::default(),
            told_newest: AtomicBool::default(),
            anew: AtomicBool::default(),
        }
    }

    /// Places once more what its owner moved, renamed or deleted in ComfyUI.
    #[must_use]
    pub(crate) fn placing_anew(self) -> Self {
        self.anew.store(true, Ordering::Relaxed);
        self
    }

    /// Where LoRAs go.
    #[must_use]
    pub(crate) const fn folder(&self) -> &LoraFolder {
        &self.options.folder
    }

    /// Places what is published in `dir` and not there yet, and removes what has to go. Blocks.
    ///
    /// # Errors
    /// When a disk refuses, or the folder is gone. What was placed until then stays and is recorded.
    pub(crate) fn place(
        &self,
        dir: &Path,
        job: &JobId,
        manifest: &Manifest,
        patience: Patience,
        reporter: &dyn Reporter,
    ) -> Result<Outcome, Error> {
        let name = self.job_name(dir, job);
        // `job.json` is written when the first look has ordered everything; until then the name is unknown.
        if name.is_none() && patience == Patience::Wait {
            return Ok(Outcome { unsettled: 1, ..Outcome::default() });
        }
        let subdir = self.options.subdir.of_job(name, job);
        let subdir = subdir.as_ref();
        let is_last = patience == Patience::Act;
        let result = Placing { comfy: self, dir, manifest, job, name, subdir, is_last, reporter }.run();
        // A hard link that came or went is a change of the file in DIR as well.
        if let Err(error) = Saves::of(dir, manifest).keep_newest(dir)
            && !self.told_newest.swap(true, Ordering::Relaxed)
        {
            reporter.report(&Event::Notice { notice: Notice::Failed(error) });
        }
        result
    }

    /// Returns the job's name, where `dir` has it.
    #[cfg(feature = "buckets")]
    pub(crate) fn name_in(&self, dir: &Path, job: &JobId) -> Option<String> {
        self.job_name(dir, job).map(str::to_owned)
    }

    fn job_name(&self, dir: &Path, job: &JobId) -> Option<&str> {
        if self.name.get().is_none()
            && let Some(name) = sources::job_name(dir, job)
        {
            // The first name stays.
            let _ = self.name.set(name);
        }
        self.name.get().map(String::as_str)
    }

    /// Makes sure that the folder is there. Only its last part is ever made, and only before it was first seen.
    fn enter(&self) -> Result<&Path, Error> {
        let root = &self.options.folder.path;
        if root.is_dir() {
            self.seen.store(true, Ordering::Relaxed);
            return Ok(root);
        }
        if self.seen.load(Ordering::Relaxed) {
            return Err(fault("find", root)(std::io::ErrorKind::NotFound.into()));
        }
        disk::make_folder(root, &std::fs::DirBuilder::new()).map_err(fault("create", root))?;
        self.seen.store(true, Ordering::Relaxed);
        Ok(root)
    }

    fn report_folder(&self, reporter: &dyn Reporter) {
        if !self.reported_folder.swap(true, Ordering::Relaxed) {
            let LoraFolder { path, why, .. } = &self.options.folder;
            let folder = ComfyNotice::Folder { path: path.clone(), why: why.clone().into() };
            reporter.report(&Event::Notice { notice: Notice::ComfyUi(folder) });
        }
    }

    /// Reports a trouble once, as long as it lasts; `again`: it is tried again by itself; `is_last`: a report that the user may
    /// have forgotten by now is repeated.
    fn report_trouble(
        &self,
        result: &Result<Outcome, Error>,
        again: bool,
        is_last: bool,
        reporter: &dyn Reporter,
    ) {
        let mut reported = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Err(error) = result else {
            *reported = None;
            return;
        };
        let is_known =
            |(known, at): &(Error, Instant)| known == error && !(is_last && at.elapsed() >= FORGOTTEN);
        if !reported.as_ref().is_some_and(is_known) {
            let notice = Notice::ComfyUi(ComfyNotice::Incomplete { error: error.clone(), again });
            reporter.report(&Event::Trouble { notice });
            *reported = Some((error.clone(), Instant::now()));
        }
    }
}

impl Follower for ComfyUi {
    fn catch_up(&self, view: &View<'_>, reporter: &dyn Reporter) {
        let patience = if view.last { Patience::Act } else { Patience::Wait };
        let result = self.place(view.dir, view.job, view.manifest, patience, reporter);
        self.report_trouble(&result, false, view.last, reporter);
        if view.last
            && let Ok(Outcome { unsettled: files @ 1.., .. }) = result
            && !self.reported_unsettled.swap(true, Ordering::Relaxed)
        {
            reporter.report(&Event::Notice { notice: Notice::ComfyUi(ComfyNotice::Unsettled { files }) });
        }
    }
}
