//! Which files of a mirror are LoRAs, which of them belong together, and which picture shows them.

use std::collections::BTreeMap;

use crate::model::artifact::{ArtifactKey, ArtifactKind, PairHalf};
use crate::model::evidence::Evidence;
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;

/// One LoRA: one file, or the two halves of a Wan 2.2 pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora<'a> {
    /// The training step; none for what the run saved at its end.
    pub step: Option<u64>,
    /// Its files: one, or the high and the low half, in this order.
    pub files: Vec<Part<'a>>,
    /// The sample that shows it: same step, first prompt.
    pub preview: Option<&'a Entry>,
}

/// One file of a LoRA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part<'a> {
    /// Which hosted file it is.
    pub key: &'a ArtifactKey,
    /// What is known of it.
    pub entry: &'a Entry,
    /// Which half of a pair it is.
    pub half: Option<PairHalf>,
}

/// The LoRAs of one folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loras<'a> {
    /// Those that are whole, oldest first, final ones last.
    pub whole: Vec<Lora<'a>>,
    /// Halves of pairs whose other half is not here.
    pub halves: Vec<Part<'a>>,
}

/// Which kinds of files count as LoRAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// Safetensors alone: data that runs nothing, and that can be proven whole.
    #[default]
    Safetensors,
    /// Pickles as well, because somebody asked for them: loading one can run whatever code it carries.
    PicklesToo,
}

/// Finds the LoRAs among everything that is published.
///
/// `job_name` tells the final save of a job that is itself called `…_high_noise` from half a pair.
#[must_use]
pub fn find<'a>(manifest: &'a Manifest, job_name: Option<&str>, weights: Weights) -> Loras<'a> {
    let mut pairs: BTreeMap<(Option<u64>, String), Vec<Part<'a>>> = BTreeMap::new();
    let mut loras = Loras::default();
    let preview = Previews::of(manifest);
    for (key, entry) in manifest.entries.iter().filter(|(key, entry)| is_lora(key, entry, weights)) {
        let half = key.pair_half(job_name);
        let part = Part { key, entry, half: half.as_ref().map(|(_, half)| *half) };
        match half {
            Some((whole, _)) => pairs.entry((entry.step, whole)).or_default().push(part),
            None => loras.whole.push(Lora {
                step: entry.step,
                files: vec![part],
                preview: preview.for_step(entry.step),
            }),
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
    loras.whole.sort_by_key(|lora| {
        let path = &lora.files[0].entry.path;
        (lora.step.unwrap_or(u64::MAX), !is_safetensors(path), path.clone())
    });
    loras
}

/// Whether a file is weights that ComfyUI's LoRA loaders take. Parts of a full model stand in folders of their own.
fn is_lora(key: &ArtifactKey, entry: &Entry, weights: Weights) -> bool {
    let is_weights = match weights {
        _ if is_safetensors(&entry.path) => entry.evidence >= Evidence::Structure,
        Weights::Safetensors => false,
        // Nobody can look into a pickle without loading it, so its length has to do.
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
/// like a LoRA, is none, and every attempt to use it fails. So nobody who asks for pickles means it.
fn is_pickle(path: &RelPath) -> bool {
    let (stem, extension) = path.stem_and_extension();
    PICKLES.iter().any(|pickle| extension.eq_ignore_ascii_case(pickle))
        && !stem.eq_ignore_ascii_case("optimizer")
}

/// What ComfyUI lists besides safetensors. The trainer of our jobs writes embeddings as `.pt`; others write the rest.
const PICKLES: [&str; 6] = [".pt", ".pt2", ".pth", ".ckpt", ".bin", ".pkl"];

/// The pictures of a job, by step: that of the first prompt, and of several the last one drawn.
struct Previews<'a> {
    by_step: BTreeMap<u64, &'a Entry>,
    /// The newest step of a numbered save.
    last_save: Option<u64>,
}

impl<'a> Previews<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let mut first: BTreeMap<u64, (u64, &Entry)> = BTreeMap::new();
        for (key, entry) in &manifest.entries {
            let (Some(step), Some(prompt)) = (entry.step, key.prompt_number()) else { continue };
            if key.kind != ArtifactKind::Sample || entry.state != EntryState::Present || !is_picture(entry) {
                continue;
            }
            let better = first.get(&step).is_none_or(|(other, than)| {
                // Names begin with the time, so the later picture has the greater name.
                (prompt, &than.path) < (*other, &entry.path)
            });
            if better {
                first.insert(step, (prompt, entry));
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

/// What every LoRA picker shows. Its first bytes have the last word when it is placed.
fn is_picture(entry: &Entry) -> bool {
    let (_, extension) = entry.path.stem_and_extension();
    [".png", ".jpg", ".jpeg"].iter().any(|picture| extension.eq_ignore_ascii_case(picture))
}

#[cfg(test)]
mod tests;
