//! Which files of a mirror are LoRAs, which of them belong together, and which picture shows them.

use std::collections::{BTreeMap, HashMap};

use crate::model::artifact::{ArtifactKey, ArtifactKind, PairHalf};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::weights_kind::WeightsKind;

/// One LoRA: one file, or the two halves of a Wan 2.2 pair.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lora<'a> {
    /// The training step; none for what the run saved at its end.
    pub step: Option<u64>,
    /// Its files: one, or the high and the low half, in this order.
    pub files: Vec<Part<'a>>,
    /// The sample that shows it: same step, first prompt.
    pub preview: Option<&'a Entry>,
}

/// One file of a LoRA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part<'a> {
    /// Which hosted file it is.
    pub key: &'a ArtifactKey,
    /// What is known of it.
    pub entry: &'a Entry,
    /// Which half of a pair it is.
    pub half: Option<PairHalf>,
}

/// The LoRAs of one folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Loras<'a> {
    /// Those that are whole, oldest first, final ones last.
    pub whole: Vec<Lora<'a>>,
    /// Halves of pairs whose other half is not here.
    pub halves: Vec<Part<'a>>,
    /// Embeddings, in the order of LoRAs.
    pub embeddings: Vec<Lora<'a>>,
    /// Weights that no LoRA loader and no prompt takes, and what they are.
    pub others: Vec<(Part<'a>, WeightsKind)>,
    /// Files whose header could not be read: they are not here as they were published.
    pub unread: Vec<Part<'a>>,
}

/// What weights hold, by the SHA-256 of the file. A safetensors file without an entry is not read yet or cannot be.
pub(crate) type Kinds = HashMap<Sha256Digest, WeightsKind>;

/// Which kinds of files count as LoRAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Weights {
    /// Safetensors alone: data that runs nothing, and that can be proven whole.
    #[default]
    Safetensors,
    /// Pickles as well, where the user asks for them: loading one can run whatever code it carries.
    PicklesToo,
}

/// Returns the files of which [`find`] has to know what they hold.
pub(crate) fn candidates(
    manifest: &Manifest,
    weights: Weights,
) -> impl Iterator<Item = (&ArtifactKey, &Entry)> {
    manifest.entries.iter().filter(move |(key, entry)| is_candidate(key, entry, weights))
}

/// Finds the LoRAs among everything that is published, and what else is there for ComfyUI.
///
/// `job_name` tells the final save of a job that is itself called `…_high_noise` from half a pair.
#[must_use]
pub(crate) fn find<'a>(
    manifest: &'a Manifest,
    job_name: Option<&str>,
    weights: Weights,
    kinds: &Kinds,
) -> Loras<'a> {
    let mut pairs: BTreeMap<(Option<u64>, String), Vec<Part<'a>>> = BTreeMap::new();
    let mut loras = Loras::default();
    let preview = Previews::of(manifest);
    for (key, entry) in candidates(manifest, weights) {
        let half = key.pair_half(job_name);
        let part = Part { key, entry, half: half.as_ref().map(|(_, half)| *half) };
        let alone = || Lora { step: entry.step, files: vec![part], preview: preview.for_step(entry.step) };
        match (kinds.get(&entry.sha256), half) {
            (None, _) if is_safetensors(&entry.path) => loras.unread.push(part),
            (Some(WeightsKind::Embedding), _) => loras.embeddings.push(alone()),
            (Some(kind), _) if !kind.is_patch() => loras.others.push((part, *kind)),
            // The hash in the header of a half is that of both. Where it fits this file, only this half was trained.
            (_, Some((whole, _))) if entry.evidence != Evidence::TrainerHash => {
                pairs.entry((entry.step, whole)).or_default().push(part);
            }
            _ => loras.whole.push(alone()),
        }
    }
    for ((step, _), mut files) in pairs {
        files.sort_by_key(|part| part.half);
        files.dedup_by_key(|part| part.half);
        if files.len() == 2 {
            loras.whole.push(Lora { step, files, preview: preview.for_step(step) });
        } else {
            loras.halves.append(&mut files);
        }
    }
    loras.whole.sort_by_key(order);
    loras.embeddings.sort_by_key(order);
    loras
}

fn order(lora: &Lora<'_>) -> (u64, bool, RelPath) {
    let path = &lora.files[0].entry.path;
    (lora.step.unwrap_or(u64::MAX), !is_safetensors(path), path.clone())
}

/// Whether a file may be weights that ComfyUI takes, before its header is read. Parts of a full model are in folders of
/// their own.
fn is_candidate(key: &ArtifactKey, entry: &Entry, weights: Weights) -> bool {
    let is_weights = match weights {
        _ if is_safetensors(&entry.path) => entry.evidence >= Evidence::Structure,
        Weights::Safetensors => false,
        // A pickle cannot be proven without loading it, so its length has to do.
        Weights::PicklesToo => is_pickle(&entry.path),
    };
    key.kind == ArtifactKind::Checkpoint
        && entry.state == EntryState::Present
        && is_weights
        && entry.path.parent().is_none()
        // What the trainer writes when it trains a critic of a VAE; no loader takes it.
        && !entry.path.file_name().starts_with("CRITIC_")
}

fn is_safetensors(path: &RelPath) -> bool {
    path.stem_and_extension().1.eq_ignore_ascii_case(".safetensors")
}

/// Whether it is a pickle that ComfyUI would list and can load. `optimizer.pt` is the state of a training: it is listed
/// like a LoRA, is none, and every attempt to use it fails. So asking for pickles does not include it.
fn is_pickle(path: &RelPath) -> bool {
    let (stem, extension) = path.stem_and_extension();
    PICKLES.iter().any(|pickle| extension.eq_ignore_ascii_case(pickle))
        && !stem.eq_ignore_ascii_case("optimizer")
}

/// What ComfyUI lists besides safetensors. The trainer of our jobs writes embeddings as `.pt`; others write the rest.
const PICKLES: [&str; 6] = [".pt", ".pt2", ".pth", ".ckpt", ".bin", ".pkl"];

/// The pictures of a job, by step: a still one before an animated one, then that of the first prompt, and of several the
/// last one drawn.
struct Previews<'a> {
    by_step: BTreeMap<u64, &'a Entry>,
    /// The newest step of a numbered save.
    last_save: Option<u64>,
}

impl<'a> Previews<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let mut first: BTreeMap<u64, ((Picture, u64), &Entry)> = BTreeMap::new();
        for (key, entry) in &manifest.entries {
            let (Some(step), Some(prompt), Some(picture)) = (entry.step, key.prompt_number(), picture(entry))
            else {
                continue;
            };
            if key.kind != ArtifactKind::Sample || entry.state != EntryState::Present {
                continue;
            }
            let rank = (picture, prompt);
            let better = first.get(&step).is_none_or(|(other, than)| {
                // Names begin with the time, so the later picture has the greater name.
                (rank, &than.path) < (*other, &entry.path)
            });
            if better {
                first.insert(step, (rank, entry));
            }
        }
        let saves = manifest.entries.iter().filter(|(key, _)| key.kind == ArtifactKind::Checkpoint);
        Self {
            by_step: first.into_iter().map(|(step, (_, entry))| (step, entry)).collect(),
            last_save: saves.filter_map(|(_, entry)| entry.step).max(),
        }
    }

    /// The final save has no step in its name; the trainer draws its samples at the last step, past all saves.
    fn for_step(&self, step: Option<u64>) -> Option<&'a Entry> {
        match step {
            Some(step) => self.by_step.get(&step).copied(),
            None => {
                let (step, entry) = self.by_step.last_key_value()?;
                (Some(*step) > self.last_save).then_some(*entry)
            }
        }
    }
}

/// What LoRA pickers show, the better first. Its first bytes have the last word when it is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Picture {
    /// Every picker shows it.
    Still,
    /// A WebP, which is what video models are sampled as: ComfyUI serves it, some pickers do not.
    Webp,
}

fn picture(entry: &Entry) -> Option<Picture> {
    let (_, extension) = entry.path.stem_and_extension();
    let is = |other: &str| extension.eq_ignore_ascii_case(other);
    match () {
        () if [".png", ".jpg", ".jpeg"].into_iter().any(is) => Some(Picture::Still),
        () if is(".webp") => Some(Picture::Webp),
        () => None,
    }
}

#[cfg(test)]
mod tests;
