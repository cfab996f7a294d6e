//! DIR/index.html: samples, checkpoints and how training went, as one page that needs no network.
//!
//! The page is a pure function of the manifest, `job.json` and the history, and is written only where it differs. Its
//! second line distinguishes rcsync's own page from a foreign one, which is never touched.

mod album;
mod chart;
mod clock;
pub(crate) mod compare;
mod file;
mod html;
mod page;
mod timeline;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::decide::mirror::reported::LastTrouble;
use crate::edge::folder::history::{History, Moment};
use crate::edge::folder::reports;
use crate::edge::system::disk::Durability;
use crate::engine::event::{Event, Notice, Reporter};
use crate::engine::follower::{Follower, View};
use crate::error::Error;
use crate::model::job_file::JobFile;
use crate::model::manifest::Manifest;
#[cfg(feature = "buckets")]
use crate::model::signed_page::sign;

use album::Album;
use file::{Stamp, Written};

/// While much arrives, the page is written again no sooner than this: reloading it more often is of no use.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);

/// Of a core's time, writing the page takes no more than one part in so many.
const SHARE: u32 = 20;

/// What writing the gallery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refreshed {
    /// The page.
    pub path: PathBuf,
    /// Whether its bytes changed.
    pub changed: bool,
    /// Samples on it.
    pub samples: u64,
    /// Checkpoints on it.
    pub checkpoints: u64,
}

/// Writes the gallery of a folder where it differs from what is there.
///
/// # Errors
/// When the disk refuses, or a page that rcsync did not write is there; that page is left as it is.
pub(crate) fn refresh(dir: &Path, manifest: &Manifest) -> Result<Refreshed, Error> {
    refresh_from(dir, manifest, Durability::Durable, || reports::read_job(dir, &manifest.job))
}

fn refresh_from(
    dir: &Path,
    manifest: &Manifest,
    durability: Durability,
    job: impl FnOnce() -> Option<JobFile>,
) -> Result<Refreshed, Error> {
    // Before the job is read: what changes in between makes the page old, and it is drawn again.
    let stamp = Stamp::of(dir, manifest);
    let job = job();
    let album = Album::new(manifest, job.as_ref(), &History::load(dir));
    let path = file::path(dir);
    let written = file::write(dir, &page::page(&album), durability)?;
    stamp.keep(dir, written == Written::Foreign)?;
    match written {
        Written::Foreign => Err(Error::ForeignPage(path)),
        Written::Same | Written::Changed => Ok(Refreshed {
            path,
            changed: written == Written::Changed,
            samples: album.count_shots(),
            checkpoints: album.checkpoints.len() as u64,
        }),
    }
}

/// Draws the page of a bucket, signed as the file is.
#[cfg(feature = "buckets")]
pub(crate) fn draw(manifest: &Manifest, job: Option<&JobFile>) -> String {
    sign(&page::page(&Album::new(manifest, job, &History::default())))
}

/// Keeps the gallery up to date while a job is mirrored.
#[derive(Debug, Default)]
pub(crate) struct Gallery {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<(u64, Option<i64>)>,
    rested: Option<Instant>,
    trouble: LastTrouble<Error>,
}

impl State {
    /// Notes what the job is doing, where `job.json` changed since the last time.
    fn note(&mut self, view: &View<'_>) -> Result<(), Error> {
        let job = file::look(&view.dir.join("job.json"));
        if job.is_none() || self.seen == job {
            return Ok(());
        }
        self.seen = job;
        let Some(job) = reports::read_head(view.dir, view.job) else { return Ok(()) };
        let now = Timestamp::now().as_second();
        let mut history = History::load(view.dir);
        if history.note(Moment::new(now, &job.status, &job.progress, job.times.started_at.as_deref())) {
            history.save(view.dir)?;
        }
        Ok(())
    }

    /// Draws the page, where something on it changed and it was not drawn just now.
    fn draw(&mut self, view: &View<'_>) -> Result<(), Error> {
        let too_soon = self.rested.is_some_and(|until| Instant::now() < until);
        if (too_soon && !view.last) || !Stamp::of(view.dir, view.manifest).is_news(view.dir) {
            return Ok(());
        }
        let began = Instant::now();
        let job = || {
            let latest = view.latest.read(view.dir, view.job);
            latest.or_else(|| reports::read_job(view.dir, view.job))
        };
        let drawn = refresh_from(view.dir, view.manifest, Durability::Whole, job);
        if drawn.as_ref().is_ok_and(|drawn| drawn.changed) {
            view.unflushed.add(view.dir);
        }
        self.rested = Some(Instant::now() + SHORTEST_WAIT.max(began.elapsed() * SHARE));
        drawn.map(|_| ())
    }
}

impl Follower for Gallery {
    fn catch_up(&self, view: &View<'_>, reporter: &dyn Reporter) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = state.note(view);
        let drawn = state.draw(view);
        if let Some(error) = state.trouble.news(noted.and(drawn).err()) {
            reporter.report(&Event::Notice { notice: Notice::NoGallery(error) });
        }
    }
}

#[cfg(test)]
mod tests;
