//! Which numbered checkpoints have to go from DIR so that the disk does not fill up.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};

use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::manifest::{Entry, EntryState, Manifest};

/// What stays of the numbered checkpoints. Whatever has no step in its name stays in any case: the final save, the
/// optimizer, the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retention {
    /// The newest so many steps.
    KeepLast(NonZeroU32),
    /// Every step that so many steps divide.
    KeepEvery(NonZeroU64),
}

/// What pruning did, or would do.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Pruned {
    /// Checkpoints that are removed, oldest first.
    pub(crate) removed: Vec<Entry>,
    /// Checkpoints that would have to go, but were edited here.
    pub(crate) edited: Vec<Entry>,
    /// How many numbered checkpoints stay.
    pub(crate) kept: u64,
}

/// Returns the checkpoints that have to go, oldest first. All files of one step (the halves of a pair, the parts of a
/// full model) stay or go together.
///
/// While there is no final save the newest step stays as well: an interrupted training can only resume from it.
#[must_use]
pub(crate) fn surplus(manifest: &Manifest, retention: Retention) -> Vec<(&ArtifactKey, &Entry)> {
    let numbered = |(key, entry): (&'_ ArtifactKey, &'_ Entry)| -> Option<u64> {
        let is_here = key.kind == ArtifactKind::Checkpoint && entry.state == EntryState::Present;
        if is_here { entry.step } else { None }
    };
    let steps: BTreeSet<u64> = manifest.entries.iter().filter_map(numbered).collect();
    let mut kept: BTreeSet<u64> = match retention {
        Retention::KeepLast(count) => {
            let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
            steps.iter().rev().take(count).copied().collect()
        }
        Retention::KeepEvery(every) => steps.iter().filter(|step| **step % every == 0).copied().collect(),
    };
    if !manifest.entries.iter().any(|(key, entry)| is_final(key, entry)) {
        kept.extend(steps.last());
    }
    let mut surplus: Vec<_> = manifest
        .entries
        .iter()
        .filter(|entry| numbered(*entry).is_some_and(|step| !kept.contains(&step)))
        .collect();
    surplus.sort_by_key(|(_, entry)| (entry.step, entry.path.clone()));
    surplus
}

fn is_final(key: &ArtifactKey, entry: &Entry) -> bool {
    entry.state == EntryState::Present && key.kind.may_be_final(entry.step, &entry.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::examples::manifest;

    fn gone(manifest: &Manifest, retention: Retention) -> Vec<&str> {
        surplus(manifest, retention).into_iter().map(|(_, entry)| entry.path.as_str()).collect()
    }

    fn last(count: u32) -> Retention {
        Retention::KeepLast(NonZeroU32::new(count).unwrap())
    }

    fn every(steps: u64) -> Retention {
        Retention::KeepEvery(NonZeroU64::new(steps).unwrap())
    }

    use ArtifactKind::{Checkpoint, Config, Sample};

    #[test]
    fn the_newest_or_every_so_many_and_the_final_stay() {
        let mut manifest = manifest(&[
            (Checkpoint, "dog_000000250.safetensors", Some(250)),
            (Checkpoint, "dog_000000500.safetensors", Some(500)),
            (Checkpoint, "dog_000000750.safetensors", Some(750)),
            (Checkpoint, "dog_000001000.safetensors", Some(1000)),
            (Checkpoint, "dog.safetensors", None),
            (Checkpoint, "optimizer.pt", None),
            (Config, "config.yaml", None),
            (Sample, "samples/1__000000250_0.jpg", Some(250)),
        ]);
        assert_eq!(gone(&manifest, last(2)), ["dog_000000250.safetensors", "dog_000000500.safetensors"]);
        assert_eq!(gone(&manifest, last(9)), [""; 0]);
        assert_eq!(gone(&manifest, every(500)), ["dog_000000250.safetensors", "dog_000000750.safetensors"]);
        // What is pruned already counts no more.
        for entry in manifest.entries.values_mut().filter(|entry| entry.step == Some(1000)) {
            entry.state = EntryState::Pruned;
        }
        assert_eq!(gone(&manifest, last(2)), ["dog_000000250.safetensors"]);
    }

    #[test]
    fn a_pair_is_one_step() {
        let manifest = manifest(&[
            (Checkpoint, "dog_000000250_high_noise.safetensors", Some(250)),
            (Checkpoint, "dog_000000250_low_noise.safetensors", Some(250)),
            (Checkpoint, "dog_000000500_high_noise.safetensors", Some(500)),
            (Checkpoint, "dog_000000500_low_noise.safetensors", Some(500)),
            (Checkpoint, "dog_high_noise.safetensors", None),
        ]);
        assert_eq!(
            gone(&manifest, last(1)),
            ["dog_000000250_high_noise.safetensors", "dog_000000250_low_noise.safetensors"]
        );
    }

    #[test]
    fn without_a_final_save_the_newest_stays() {
        let manifest = manifest(&[
            (Checkpoint, "dog_000000250.safetensors", Some(250)),
            (Checkpoint, "dog_000000750.safetensors", Some(750)),
            (Checkpoint, "optimizer.pt", None),
        ]);
        assert_eq!(gone(&manifest, every(1000)), ["dog_000000250.safetensors"]);
    }
}
