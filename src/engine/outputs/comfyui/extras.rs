//! What is beside a LoRA: a picture that pickers show, and, where that is wanted, its SHA-256 and what LoRA managers read.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::decide::comfyui::loras::Part;
use crate::decide::comfyui::placing::{PICTURE_ENDINGS, Standing, picture_extension};
use crate::decide::comfyui::sidecars::Facts;
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

/// What is written beside a LoRA for its managers, in the order of their contents.
const SIDECARS: [&str; 3] = [".sha256", ".civitai.info", ".json"];

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
            for (part, to, standing) in &seat.files {
                let is_there = self.held.placements.files.iter().any(|placed| placed.to == *to);
                if !is_there || *standing == Standing::Withdrawn {
                    continue;
                }
                if let Some(preview) = seat.lora.preview {
                    extras.extend(self.preview(part, to, preview));
                }
                if self.on.comfy.options.sidecars {
                    extras.extend(self.sidecars(part, to));
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
            .any(|path| disk::look_through_links(self.root, path.as_str()).is_some());
        let is_withdrawn = self.is_recorded(part, |placed| placed.what == What::Preview);
        if has_picture || is_withdrawn || preview.size > PICTURE_BOUND {
            return None;
        }
        let mut bytes = Vec::new();
        let file = disk::open_regular(&preview.path.to_path(self.on.dir)).ok()?;
        file.take(PICTURE_BOUND).read_to_end(&mut bytes).ok()?;
        let extra = self.extra(part, What::Preview, beside(picture_extension(&bytes)?)?, bytes);
        // Only what was proven; a picture that was edited since stays in DIR.
        (extra.record.sha256 == preview.sha256).then_some(extra)
    }

    /// Returns the small files that are missing beside a LoRA, and that no other file has the name of. A `.metadata.json`
    /// is none of them: LoRA Manager passes over a LoRA that has one without everything that it writes there itself.
    fn sidecars(&self, part: &Part<'_>, to: &RelPath) -> Vec<Extra> {
        let missing = |ending: &str| {
            let path = beside(to, ending)?;
            let is_free = disk::look_through_links(self.root, path.as_str()).is_none();
            (is_free && !self.is_recorded(part, |placed| placed.to == path)).then_some(path)
        };
        let paths = SIDECARS.map(missing);
        if paths.iter().all(Option::is_none) {
            return Vec::new();
        }
        let header = self.on.comfy.headers.of(self.on.dir, part.entry);
        let facts = Facts {
            file_name: to.file_name(),
            sha256: part.entry.sha256,
            size: part.entry.size,
            step: part.entry.step,
            job_name: self.on.name,
            job: self.on.job,
            header: header.as_deref(),
        };
        // Readers take the whole file for the hash, so there is no line break.
        let hash = part.entry.sha256.to_string().into_bytes();
        let contents = [hash, facts.civitai_info(), facts.a1111()];
        let written = paths.into_iter().zip(contents);
        written.filter_map(|(path, bytes)| Some(self.extra(part, What::Sidecar, path?, bytes))).collect()
    }

    /// Whether something of a LoRA was placed already: what is gone since was withdrawn by its owner.
    fn is_recorded(&self, part: &Part<'_>, what: impl Fn(&Placed) -> bool) -> bool {
        self.held.placements.files.iter().any(|placed| {
            placed.key == *part.key
                && placed.lora == part.entry.sha256
                && placed.state != PlacedState::Placing
                && what(placed)
        })
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
