//! What the weights in DIR say of themselves: which of them are LoRAs, and what a picker shows of one.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::comfyui::loras::{Kinds, Weights, candidates};
use crate::decide::formats::safetensors_header::{LENGTH_BYTES, MAX_HEADER_BYTES, SafetensorsHeader};
use crate::edge::folder::hashing::is_as_published;
use crate::edge::system::disk;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{Entry, Manifest};
use crate::model::placement::{Placements, What};
use crate::model::weights_kind::{self, WeightsKind};

/// Where the list of a pickle's parts ends at the latest: it comes first in the file, before the tensors.
const PICKLE_LIST: u64 = 1 << 20;

/// Headers that were read in this process. They never change: a file with other bytes has another hash.
#[derive(Debug, Default)]
pub(super) struct Headers(Mutex<HashMap<Sha256Digest, Arc<SafetensorsHeader>>>);

impl Headers {
    /// Returns the header of a file that is in `dir` as it was published.
    pub(super) fn of(&self, dir: &Path, entry: &Entry) -> Option<Arc<SafetensorsHeader>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(header) = lock().get(&entry.sha256) {
            return Some(header.clone());
        }
        if !is_as_published(dir, entry) {
            return None;
        }
        let header = Arc::new(read(&entry.path.to_path(dir))?);
        lock().insert(entry.sha256, header.clone());
        Some(header)
    }

    /// Returns what the weights hold that may be placed. What `placed` has in ComfyUI already was found to be a LoRA when
    /// it was placed, and is not read again.
    pub(super) fn kinds(
        &self,
        dir: &Path,
        manifest: &Manifest,
        weights: Weights,
        placed: &[(&Placements, WeightsKind)],
    ) -> Kinds {
        let known = |entry: &Entry| {
            let has = |placements: &Placements| {
                placements.files.iter().any(|file| file.what == What::Lora && file.sha256 == entry.sha256)
            };
            placed.iter().find(|(placements, _)| has(placements)).map(|(_, kind)| *kind)
        };
        let kind = |entry: &Entry| {
            if is_pickle(entry) {
                return of_pickle(&entry.path.to_path(dir));
            }
            known(entry).or_else(|| self.of(dir, entry)?.kind.or(Some(WeightsKind::FullModel)))
        };
        candidates(manifest, weights).filter_map(|(_, entry)| Some((entry.sha256, kind(entry)?))).collect()
    }
}

fn is_pickle(entry: &Entry) -> bool {
    !entry.path.stem_and_extension().1.eq_ignore_ascii_case(".safetensors")
}

fn read(path: &Path) -> Option<SafetensorsHeader> {
    let mut file = disk::open_regular(path).ok()?;
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    SafetensorsHeader::parse(&header).ok()
}

fn of_pickle(path: &Path) -> Option<WeightsKind> {
    let mut first = Vec::new();
    disk::open_regular(path).ok()?.take(PICKLE_LIST).read_to_end(&mut first).ok()?;
    weights_kind::of_pickle(&first)
}
