//! The record of what was placed in one LoRA folder: a sealed JSON file in `.rcsync/comfyui`, replaced as a whole, and the
//! lock that keeps two placers of one folder apart.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::edge::folder::checksummed;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::Error;
use crate::model::digest::hex;
use crate::model::placement::Placements;

/// The layout of the file. A newer one is not understood, and what it says is then found out anew.
const FORMAT: u32 = 1;

/// Ten thousand placed files take some 5 MB.
const BOUND: u64 = 64 << 20;

/// The end of a file's name while it is being written in the LoRA folder: no model extension, in no tool's list.
pub(super) const STAGED: &str = "rcsync-part";

#[derive(Serialize, Deserialize)]
struct RecordFile<P> {
    format: u32,
    /// For people: which folder this is about.
    folder: String,
    #[serde(flatten)]
    placements: P,
}

/// The record, held by one placer at a time.
pub(super) struct Held {
    pub(super) placements: Placements,
    saved: Placements,
    path: PathBuf,
    private: PathBuf,
    folder: String,
    id: String,
    _lock: Option<File>,
}

impl Held {
    /// Takes the lock, waiting for another placer to end, and reads the record. A damaged record says nothing: files
    /// that are there are then found to be the same and adopted.
    pub(super) fn take(dir: &Path, root: &Path) -> Result<Self, Error> {
        let private = dir.join(PRIVATE).join("comfyui");
        // In DIR's private folder, which only the mirror itself makes, so that what is no mirror never becomes one.
        match disk::make_folder(&private, &fs::DirBuilder::new()) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(fault("create", &private)(error));
            }
            _ => {}
        }
        let folder = root.display().to_string();
        let path = record_path(dir, root);
        let lock = lock(&path.with_extension("lock"))?;
        let placements = read(&path)?;
        let here = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        let id = hex(&Sha256::digest(
            [here.as_os_str().as_encoded_bytes(), root.as_os_str().as_encoded_bytes()].concat(),
        )[..4]);
        Ok(Self { saved: placements.clone(), placements, path, private, folder, id, _lock: lock })
    }

    /// Reads what was placed, beside another placer too.
    pub(super) fn peek(dir: &Path, root: &Path) -> Placements {
        read(&record_path(dir, root)).unwrap_or_default()
    }

    /// Writes the record where it changed.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        if self.placements == self.saved {
            return Ok(());
        }
        let file = RecordFile { format: FORMAT, folder: self.folder.clone(), placements: &self.placements };
        let mut text = checksummed::seal(&file).map_err(|error| fault("write", &self.path)(error.into()))?;
        text.push('\n');
        disk::replace(&self.path, &self.private, text.as_bytes(), Durability::Durable)?;
        self.saved = self.placements.clone();
        Ok(())
    }

    /// Returns a name for a file that is being written in `folder`. It has no extension that ComfyUI lists, hidden or
    /// not, and says whose it is, so that what a crash left is found again.
    pub(super) fn staged_name(&self, folder: &Path) -> PathBuf {
        folder.join(format!(".{}-{:08x}.{STAGED}", self.id, fastrand::u32(..)))
    }

    /// Removes what a crash left in `folder`.
    pub(super) fn sweep(&self, folder: &Path) {
        let ours = format!(".{}-", self.id);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&ours) && name.ends_with(STAGED) {
                // ComfyUI does not list its name, so it may also stay.
                let _ = disk::remove(&entry.path());
            }
        }
    }
}

fn record_path(dir: &Path, root: &Path) -> PathBuf {
    let target = hex(&Sha256::digest(root.as_os_str().as_encoded_bytes())[..4]);
    dir.join(PRIVATE).join("comfyui").join(format!("{target}.json"))
}

fn lock(path: &Path) -> Result<Option<File>, Error> {
    // The file stays: an idle pass changes nothing by locking it, and removing it would let two in.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = disk::open(path, &options).map_err(fault("create", path))?;
    match file.lock() {
        Ok(()) => Ok(Some(file)),
        // No locks on this file system: two placers at once only do the same work twice.
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(fault("lock", path)(error)),
    }
}

fn read(path: &Path) -> Result<Placements, Error> {
    let text = match disk::read_text(path, BOUND) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => String::new(),
        Err(error) => return Err(fault("read", path)(error)),
    };
    let known =
        checksummed::unseal::<RecordFile<Placements>>(text.trim_end()).filter(|file| file.format <= FORMAT);
    Ok(known.map(|file| file.placements).unwrap_or_default())
}
