//! What a look would need of files that are not on this machine: so that LoRAs of a bucket are fetched once, and no other
//! file is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::decide::comfyui::loras;
use crate::decide::comfyui::loras::Kinds;
use crate::decide::comfyui::placing::kept_steps;
use crate::edge::system::disk;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{Entry, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::placement::{Placed, PlacedState, What};
use crate::model::weights_kind::WeightsKind;

use super::ComfyUi;
use super::record::Held;

/// Files that a look would need.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    /// Weights and pictures that are to be placed, oldest first.
    pub(crate) files: Vec<Entry>,
    /// Weights that are placed.
    pub(crate) placed: BTreeSet<Sha256Digest>,
    /// Weights that are not placed, and why not.
    pub(crate) others: Vec<(RelPath, Other)>,
    /// Weights whose header cannot be read: they are not what was published.
    pub(crate) unread: Vec<RelPath>,
    /// Halves of pairs whose other half is not there.
    pub(crate) halves: u64,
}

/// Why weights are not placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    /// They hold something else.
    Kind(WeightsKind),
    /// They are an embedding, and there is no folder for those.
    NoFolder,
}

impl ComfyUi {
    /// Returns what weights hold that were placed from `dir` already.
    pub(crate) fn placed_kinds(&self, dir: &Path) -> Kinds {
        let roots = [
            (Some(&self.options.folder.path), WeightsKind::Lora),
            (self.embeddings(), WeightsKind::Embedding),
        ];
        let mut kinds = Kinds::new();
        for (root, kind) in roots {
            let placed = root.map(|root| Held::peek(dir, root).files).unwrap_or_default();
            let weights = placed.into_iter().filter(|file| file.what == What::Lora);
            kinds.extend(weights.map(|file| (file.sha256, kind)));
        }
        kinds
    }

    /// Returns which kinds of files are placed.
    pub(crate) const fn weights(&self) -> loras::Weights {
        self.options.weights
    }

    /// Returns what the next look at `dir` would need. `kinds` has what every candidate holds.
    pub(crate) fn lacking(
        &self,
        dir: &Path,
        manifest: &Manifest,
        name: Option<&str>,
        kinds: &Kinds,
    ) -> Lacking {
        let found = loras::find(manifest, name, self.options.weights, kinds);
        let mut lacking = Lacking { halves: found.halves.len() as u64, ..Lacking::default() };
        lacking.unread = found.unread.iter().map(|part| part.entry.path.clone()).collect();
        lacking.others =
            found.others.iter().map(|(part, kind)| (part.entry.path.clone(), Other::Kind(*kind))).collect();
        let groups =
            [(Some(&self.options.folder.path), &found.whole), (self.embeddings(), &found.embeddings)];
        for (root, whole) in groups {
            let Some(root) = root else {
                let path = |lora: &loras::Lora<'_>| lora.files[0].entry.path.clone();
                lacking.others.extend(whole.iter().map(|lora| (path(lora), Other::NoFolder)));
                continue;
            };
            let placed = Held::peek(dir, root).files;
            let kept = self.options.keep.map(|keep| kept_steps(whole, &placed, keep));
            for lora in whole {
                let stays = kept.as_ref().zip(lora.step).is_none_or(|(kept, step)| kept.contains(&step));
                let is_new = |entry: &Entry| !self.has(&placed, root, entry);
                let before = lacking.files.len();
                for part in &lora.files {
                    if !is_new(part.entry) {
                        lacking.placed.insert(part.entry.sha256);
                    } else if stays {
                        lacking.files.push(part.entry.clone());
                    }
                }
                if lacking.files.len() > before {
                    lacking.files.extend(lora.preview.cloned());
                }
            }
        }
        lacking
    }

    /// Whether weights were placed below a folder, and need not be placed anew.
    fn has(&self, placed: &[Placed], root: &Path, entry: &Entry) -> bool {
        let anew = self.anew.load(Ordering::Relaxed);
        placed.iter().any(|file| {
            file.what == What::Lora
                && file.sha256 == entry.sha256
                && file.state != PlacedState::Placing
                && (!anew || disk::look_through_links(root, file.to.as_str()).is_some())
        })
    }

    fn embeddings(&self) -> Option<&std::path::PathBuf> {
        self.options.folder.embeddings.as_ref().filter(|root| root.is_dir())
    }
}
