//! One file's bytes at a second place, without a second copy where the disk allows.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::error::Error;

use super::disk::{self, fault};

/// How a second name comes to a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LinkMode {
    /// Whichever of the others works, in their order.
    #[default]
    Auto,
    /// A file of its own that shares the bytes on the disk until one of the two is changed (btrfs, xfs, APFS, ReFS).
    Reflink,
    /// The same file under a second name.
    Hardlink,
    Copy,
}

/// How it came to be in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    /// It shares the bytes on the disk.
    Reflink,
    /// It is the same file.
    Hardlink,
    Copy,
}

impl Linked {
    /// Returns the word used in events.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::Hardlink => "hardlink",
            Self::Copy => "copy",
        }
    }
}

/// Puts the bytes of `from` under the new name `to`, flushed. Nothing is left at `to` when that fails.
///
/// # Errors
/// When the disk refuses, or a mode that was asked for by name does not work between these two places.
pub(crate) fn link(from: &Path, to: &Path, mode: LinkMode) -> Result<Linked, Error> {
    let linked = match mode {
        LinkMode::Auto => {
            if reflink(from, to).is_ok() {
                Ok(Linked::Reflink)
            } else if disk::link(from, to).is_ok() {
                Ok(Linked::Hardlink)
            } else {
                copy(from, to).map(|()| Linked::Copy)
            }
        }
        LinkMode::Reflink => reflink(from, to).map(|()| Linked::Reflink),
        LinkMode::Hardlink => disk::link(from, to).map(|()| Linked::Hardlink),
        LinkMode::Copy => copy(from, to).map(|()| Linked::Copy),
    };
    let verb = match mode {
        LinkMode::Auto | LinkMode::Copy => "copy to",
        LinkMode::Reflink => "reflink to",
        LinkMode::Hardlink => "hard link to",
    };
    linked.map_err(fault(verb, to))
}

fn reflink(from: &Path, to: &Path) -> io::Result<()> {
    let source = disk::open_regular(from)?;
    reflink_copy::reflink(from, to)?;
    finish(&source, to).inspect_err(|_| discard(to))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = disk::open_regular(from)?;
    let mut target = disk::create_new(to)?;
    io::copy(&mut source, &mut target)
        .and_then(|_| finish(&source, to))
        // A system may keep a file from being removed while it is open.
        .inspect_err(|_| discard(to))
}

/// Gives the copy the source's time stamp and the permissions of a new file, and flushes it.
fn finish(source: &File, to: &Path) -> io::Result<()> {
    let target = OpenOptions::new().write(true).open(to)?;
    disk::make_readable(&target)?;
    if let Ok(modified) = source.metadata().and_then(|metadata| metadata.modified()) {
        // Some network disks keep their own time; then the copy has another, and is known by that.
        let _ = target.set_modified(modified);
    }
    disk::flush(&target)
}

fn discard(path: &Path) {
    // Best effort: what stays has a name that no program lists, and the next pass removes it.
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_the_same_bytes_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("a");
        fs::write(&from, "weights").unwrap();
        for (mode, to) in [(LinkMode::Auto, "b"), (LinkMode::Hardlink, "c"), (LinkMode::Copy, "d")] {
            let to = folder.path().join(to);
            let linked = link(&from, &to, mode).unwrap();
            assert!(mode == LinkMode::Auto || linked.name() == format!("{mode:?}").to_lowercase());
            assert_eq!(fs::read(&to).unwrap(), b"weights");
            let modified = |path: &Path| disk::modified(&fs::metadata(path).unwrap());
            assert_eq!(modified(&to), modified(&from), "{mode:?}");
        }
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, "weights").unwrap();
        fs::write(&to, "mine").unwrap();
        for mode in [LinkMode::Auto, LinkMode::Reflink, LinkMode::Hardlink, LinkMode::Copy] {
            assert!(link(&from, &to, mode).is_err(), "{mode:?}");
            assert_eq!(fs::read(&to).unwrap(), b"mine");
        }
    }
}
