//! Prunes a folder that no run has open: takes its lock, removes, and renews what depends on what was removed.

use std::path::Path;

use crate::decide::mirror::retention::{Pruned, Retention};
use crate::edge::folder::known::known;
use crate::edge::folder::reports;
use crate::engine::destination::folder::Folder;
use crate::engine::destination::newest::Saves;
use crate::engine::event::{Event, Notice, Reporter};
use crate::error::Error;
use crate::model::manifest::Manifest;

use super::prune::{apply, judge};

/// Returns what [`prune`] would do. Changes nothing.
///
/// # Errors
/// When nothing was mirrored into `dir`, or the disk refuses.
pub(crate) fn rehearse(dir: &Path, retention: Retention) -> Result<Pruned, Error> {
    Ok(judge(dir, &known(dir)?, retention).into_pruned())
}

/// Removes what `retention` does not keep, and has the gallery drawn anew with `draw`. Takes the folder's lock.
///
/// # Errors
/// As [`rehearse`], and when another rcsync holds the folder.
pub(crate) fn prune(
    dir: &Path,
    retention: Retention,
    reporter: &dyn Reporter,
    draw: impl FnOnce(&Path, &Manifest) -> Result<(), Error>,
) -> Result<Pruned, Error> {
    let manifest = known(dir)?;
    if manifest.entries.is_empty() {
        return Ok(Pruned::default());
    }
    let folder = Folder::open_at_once(dir, &manifest.job, &manifest.origin, reporter)?;
    let pruned = apply(dir, &folder.store, retention)?;
    let mut store = folder.lock();
    if !pruned.removed.is_empty() {
        reports::refresh_job(dir, store.manifest())?;
        // A foreign page stays; it was reported when the folder was mirrored.
        match draw(dir, store.manifest()) {
            Ok(()) | Err(Error::ForeignPage(_)) => {}
            Err(error) => reporter.report(&Event::Notice { notice: Notice::NoGallery(error) }),
        }
    }
    store.compact()?;
    // What goes may be a name of a file that stays (a hard link), whose change time that renews.
    if let Err(error) = Saves::of(dir, store.manifest()).keep_newest(dir) {
        reporter.report(&Event::Notice { notice: Notice::Failed(error) });
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests;
