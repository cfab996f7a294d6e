//! What stands beside a LoRA: a picture that every picker shows, and its SHA-256 where that is wanted.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::decide::comfyui::loras::Part;
use crate::decide::comfyui::placing::{PICTURE_ENDINGS, picture_extension};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::Entry;
use crate::model::names::rel_path::RelPath;
use crate::model::placement::{Placed, PlacedState, What};

use super::place::{Seat, Work};

/// A picture larger than this is no preview: trainers draw some megapixels.
const PICTURE_BOUND: u64 = 32 << 20;

/// A small file that belongs beside a LoRA.
struct Extra {
    record: Placed,
    bytes: Vec<u8>,
}

impl<'a> Work<'a> {
    /// Puts pictures and checksums beside the LoRAs that are there.
    pub(super) fn extras(&mut self, seats: &[Seat<'a>]) -> Result<(), Error> {
        let mut extras = Vec::new();
        for seat in seats {
            for (part, to, _) in &seat.files {
                let is_there = self.held.placements.files.iter().any(|placed| placed.to == *to);
                if !is_there {
                    continue;
                }
                if let Some(preview) = seat.lora.preview {
                    extras.extend(self.preview(part, to, preview));
                }
                if self.on.comfy.options.sidecars {
                    extras.extend(self.sidecar(part, to));
                }
            }
        }
        // `dog.pt` beside `dog.safetensors`: a picker looks for both under one name, and LoRAs come first.
        let mut named = BTreeSet::new();
        extras.retain(|extra: &Extra| named.insert(extra.record.to.clone()));
        if extras.is_empty() {
            return Ok(());
        }
        extras.iter().for_each(|extra| self.remember(extra.record.clone()));
        self.held.save()?;
        let mut result = Ok(());
        for extra in extras {
            if let Err(error) = self.write(&extra) {
                self.forget(&extra.record.to);
                result = Err(error);
            }
        }
        result
    }

    /// Returns the picture that is missing beside a LoRA. Where any picture is, ours or not, there is none missing.
    fn preview(&self, part: &Part<'_>, to: &RelPath, preview: &Entry) -> Option<Extra> {
        let beside = |ending: &str| beside(to, ending);
        let has_picture = PICTURE_ENDINGS
            .iter()
            .filter_map(|ending| beside(ending))
            .any(|path| disk::look(self.root, path.as_str()).is_some());
        if has_picture || preview.size > PICTURE_BOUND {
            return None;
        }
        let mut bytes = Vec::new();
        let file = disk::open_regular(&preview.path.to_path(self.on.dir)).ok()?;
        file.take(PICTURE_BOUND).read_to_end(&mut bytes).ok()?;
        let extra = self.extra(part, What::Preview, beside(picture_extension(&bytes)?)?, bytes);
        // Only what was proven; a picture that somebody edited since stays in DIR.
        (extra.record.sha256 == preview.sha256).then_some(extra)
    }

    fn sidecar(&self, part: &Part<'_>, to: &RelPath) -> Option<Extra> {
        let path = beside(to, ".sha256")?;
        // Readers take the whole file for the hash, so there is no line break.
        let bytes = part.entry.sha256.to_string().into_bytes();
        let is_free = disk::look(self.root, path.as_str()).is_none();
        is_free.then(|| self.extra(part, What::Sidecar, path, bytes))
    }

    fn extra(&self, part: &Part<'_>, what: What, to: RelPath, bytes: Vec<u8>) -> Extra {
        let record = Placed {
            to,
            what,
            key: part.key.clone(),
            lora: part.entry.sha256,
            step: part.entry.step,
            sha256: Sha256Digest::new(Sha256::digest(&bytes).into()),
            size: bytes.len() as u64,
            modified: None,
            state: PlacedState::Placing,
        };
        Extra { record, bytes }
    }

    fn write(&mut self, extra: &Extra) -> Result<(), Error> {
        let staged = self.held.staged_name(&self.folder());
        let to = extra.record.to.to_path(self.root);
        let result = write_new(&staged, &extra.bytes)
            .and_then(|()| disk::rename_to_free_name(&staged, &to))
            .map_err(fault("place", &to));
        disk::remove(&staged)?;
        result?;
        let modified = fs::symlink_metadata(&to).ok().and_then(|metadata| disk::modified(&metadata));
        self.remember(Placed { modified, state: PlacedState::Placed, ..extra.record.clone() });
        Ok(())
    }
}

fn beside(to: &RelPath, ending: &str) -> Option<RelPath> {
    let (stem, _) = to.stem_and_extension();
    let name = format!("{stem}{ending}");
    let path = to.parent().map_or_else(|| name.clone(), |folder| format!("{folder}/{name}"));
    RelPath::parse(&path).ok()
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = disk::create_new(path)?;
    disk::append(&file, bytes)?;
    disk::make_readable(&file)?;
    disk::flush(&file)
}
