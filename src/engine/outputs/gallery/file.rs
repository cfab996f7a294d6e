//! The page as a file: whether it is out of date, and how it is replaced.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::edge::folder::checksummed;
use crate::edge::folder::history::History;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;
use crate::model::digest::hex;
use crate::model::manifest::Manifest;
use crate::model::signed_page::{is_own, sign};

use super::page;

/// A page larger than this is not ours: 50,000 samples take some 30 MB.
const BOUND: u64 = 512 << 20;

/// Where the page is.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("index.html")
}

/// What became of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It was there already, the same to the byte.
    Same,
    /// It was written.
    Changed,
    /// The file of that name was not written by rcsync, or was edited since; it is left as it is.
    Foreign,
}

/// Writes the page, whole or not at all, unless a foreign file has its name.
pub(super) fn write(dir: &Path, body: &str, durability: Durability) -> Result<Written, Error> {
    write_staged(dir, &dir.join(PRIVATE), body, durability)
}

/// The same, staged in a folder of the caller's choice on the same file system.
pub(super) fn write_staged(
    dir: &Path,
    staging: &Path,
    body: &str,
    durability: Durability,
) -> Result<Written, Error> {
    let path = path(dir);
    let page = sign(body);
    let Some(old) = read(&path)? else {
        // What came there since the look is foreign too.
        return match disk::create(&path, staging, page.as_bytes(), durability) {
            Ok(()) => Ok(Written::Changed),
            Err(Error::Disk { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Written::Foreign)
            }
            Err(error) => Err(error),
        };
    };
    match old {
        old if old == page.as_bytes() => Ok(Written::Same),
        old if is_own(&old) => {
            disk::replace(&path, staging, page.as_bytes(), durability)?;
            Ok(Written::Changed)
        }
        _ => Ok(Written::Foreign),
    }
}

/// Reads the file of that name; what is no plain file reads as empty, which is nothing of ours.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("read", path)(error)),
        Ok(metadata) if !metadata.is_file() || metadata.len() > BOUND => Ok(Some(Vec::new())),
        Ok(metadata) => {
            let mut bytes =
                Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default().saturating_add(1));
            let mut file = disk::open_regular(path).map_err(fault("read", path))?.take(BOUND);
            file.read_to_end(&mut bytes).map_err(fault("read", path))?;
            Ok(Some(bytes))
        }
    }
}

/// Everything that a page depends on, as it is now, in a few bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    sources: String,
    page: Option<(u64, Option<i64>)>,
    /// A foreign page is there: reported once, not at every pass.
    #[serde(default)]
    foreign: bool,
}

impl Stamp {
    /// Looks at everything, and reads nothing.
    pub(super) fn of(dir: &Path, manifest: &Manifest) -> Self {
        let mut hasher = sha2::Sha256::new();
        // Another version draws another page.
        for drawn_with in [env!("CARGO_PKG_VERSION"), page::STYLE, page::SCRIPT] {
            hasher.update(drawn_with);
        }
        for source in [dir.join("job.json"), History::path(dir)] {
            hasher.update(format!("{:?}", look(&source)));
        }
        let mut line = String::new();
        for (key, entry) in &manifest.entries {
            line.clear();
            // Writing into a `String` cannot fail.
            let _ = writeln!(line, "{key}\n{} {:?} {}", entry.path, entry.state, entry.evidence);
            hasher.update(&line);
            hasher.update(entry.sha256.as_bytes());
            hasher.update([u8::try_from(entry.older.len()).unwrap_or(u8::MAX)]);
        }
        Self { sources: hex(&hasher.finalize()[..16]), page: look(&path(dir)), foreign: false }
    }

    /// Whether anything differs from when the page was last written.
    pub(super) fn is_news(&self, dir: &Path) -> bool {
        let kept = Self::load(dir);
        kept.is_none_or(|kept| match kept.foreign {
            // Nothing can be drawn before the foreign page goes.
            true => kept.page != self.page,
            false => kept != *self,
        })
    }

    /// Remembers that the page as it is now was made of this.
    pub(super) fn keep(self, dir: &Path, foreign: bool) -> Result<(), Error> {
        let now = Self { page: look(&path(dir)), foreign, ..self };
        if Self::load(dir).as_ref() == Some(&now) {
            return Ok(());
        }
        let file = Self::file(dir);
        let text = checksummed::seal(&now).map_err(|error| fault("write", &file)(error.into()))?;
        disk::replace(&file, &dir.join(PRIVATE), text.as_bytes(), Durability::Hopeful)
    }

    fn load(dir: &Path) -> Option<Self> {
        // A thousand times what it needs.
        checksummed::read(&Self::file(dir), 1 << 18)
    }

    fn file(dir: &Path) -> PathBuf {
        dir.join(PRIVATE).join("gallery.json")
    }
}

/// Returns a file's length and time, as far as they can tell one version from another.
pub(super) fn look(path: &Path) -> Option<(u64, Option<i64>)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.len(), disk::modified(&metadata)))
}
