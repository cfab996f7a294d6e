//! The bytes of each save that are here and those that are missing: what forecasts of saves and of the disk begin with.

use std::collections::{BTreeMap, HashMap};

use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::listing::Listing;
use crate::model::manifest::{Entry, EntryState, Manifest};

use super::eviction_forecast::Save;

/// How far a file under way is.
#[derive(Debug, Clone)]
pub(crate) struct UnderWay {
    pub(crate) key: ArtifactKey,
    pub(crate) have: u64,
    pub(crate) length: Option<u64>,
}

/// What is here and what is missing, by step.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) saves: Vec<Save>,
    /// The bytes of the largest save.
    pub(crate) save_bytes: u64,
    /// The bytes of all samples that are here.
    pub(crate) sample_bytes: u64,
}

impl Stock {
    /// Returns the bytes of listed saves that are not here.
    pub(crate) fn missing(&self) -> u64 {
        self.saves.iter().map(|save| save.left).sum()
    }
}

/// Counts what is here of each listed save.
pub(crate) fn stock(under_way: &[UnderWay], manifest: &Manifest, listing: &Listing) -> Stock {
    let under_way: HashMap<&ArtifactKey, (u64, Option<u64>)> =
        under_way.iter().map(|file| (&file.key, (file.have, file.length))).collect();
    let length = |key: &ArtifactKey| {
        let known = manifest.entries.get(key).map(|entry| entry.size);
        known.or_else(|| under_way.get(key).and_then(|(_, length)| *length))
    };
    let numbered = || {
        let checkpoints =
            listing.artifacts.iter().filter(|artifact| artifact.key.kind == ArtifactKind::Checkpoint);
        checkpoints.filter_map(|artifact| artifact.step.map(|step| (step, &artifact.key)))
    };
    // A save that has not begun is as large as the largest of the others.
    let usual = numbered().filter_map(|(_, key)| length(key)).max().unwrap_or(0);
    let mut by_step: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (step, key) in numbered() {
        let bytes = length(key).unwrap_or(usual);
        let here = match manifest.entries.get(key) {
            Some(_) => bytes,
            None => under_way.get(key).map_or(0, |(have, _)| *have),
        };
        let (whole, left) = by_step.entry(step).or_default();
        *whole += bytes;
        *left += bytes.saturating_sub(here);
    }
    let samples = |(key, entry): (&ArtifactKey, &Entry)| {
        (key.kind == ArtifactKind::Sample && entry.state == EntryState::Present).then_some(entry.size)
    };
    Stock {
        saves: by_step.iter().map(|(step, (_, left))| Save { step: *step, left: *left }).collect(),
        save_bytes: by_step.values().map(|(whole, _)| *whole).max().unwrap_or(0),
        sample_bytes: manifest.entries.iter().filter_map(samples).sum(),
    }
}
