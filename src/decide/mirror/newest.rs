//! Which checkpoint a local trainer has to find as the newest one. AI Toolkit takes, of all names that begin with the
//! job's, the one whose change time is the newest, whatever its step.

use crate::model::artifact::ArtifactKind;
use crate::model::manifest::{Entry, EntryState, Manifest};

/// Returns the files of the newest checkpoint that is here: those of the final save, else those of the highest step. Both
/// halves of a pair are one checkpoint.
#[must_use]
pub(crate) fn newest(manifest: &Manifest) -> Vec<&Entry> {
    let saves: Vec<(u64, &Entry)> = saves(manifest).collect();
    let newest = saves.iter().map(|(place, _)| *place).max();
    saves.into_iter().filter(|(place, _)| Some(*place) == newest).map(|(_, entry)| entry).collect()
}

/// Returns the saves that are here, each with its place in their order.
pub(crate) fn saves(manifest: &Manifest) -> impl Iterator<Item = (u64, &Entry)> {
    manifest.entries.iter().filter_map(|(key, entry)| {
        let is_here = key.kind == ArtifactKind::Checkpoint && entry.state == EntryState::Present;
        let is_final = key.kind.may_be_final(entry.step, &entry.path);
        let place = if is_final { Some(u64::MAX) } else { entry.step };
        place.filter(|_| is_here).map(|place| (place, entry))
    })
}

/// Whether the change times of the newest checkpoint have to be renewed: each has to be later than all others, since of
/// two equal ones either may be taken.
#[must_use]
pub(crate) fn is_due(newest: &[i128], others: &[i128]) -> bool {
    newest.iter().min() <= others.iter().max() && !newest.is_empty() && !others.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::examples::manifest;

    use ArtifactKind::{Checkpoint, Config, Sample};

    fn paths(manifest: &Manifest) -> Vec<&str> {
        newest(manifest).into_iter().map(|entry| entry.path.as_str()).collect()
    }

    #[test]
    fn the_final_save_is_the_newest_and_else_the_highest_step() {
        let mut manifest = manifest(&[
            (Checkpoint, "dog_000000250.safetensors", Some(250)),
            (Checkpoint, "dog_000001000_high_noise.safetensors", Some(1000)),
            (Checkpoint, "dog_000001000_low_noise.safetensors", Some(1000)),
            (Checkpoint, "dog.safetensors", None),
            (Checkpoint, "optimizer.pt", None),
            (Config, "config.yaml", None),
            (Sample, "samples/1__000002000_0.jpg", Some(2000)),
        ]);
        assert_eq!(paths(&manifest), ["dog.safetensors"]);
        for entry in manifest.entries.values_mut().filter(|entry| entry.path.as_str() == "dog.safetensors") {
            entry.state = EntryState::Pruned;
        }
        assert_eq!(
            paths(&manifest),
            ["dog_000001000_high_noise.safetensors", "dog_000001000_low_noise.safetensors"]
        );
    }

    #[test]
    fn an_optimizer_alone_is_no_checkpoint() {
        assert_eq!(paths(&manifest(&[(Checkpoint, "optimizer.pt", None)])), [""; 0]);
    }

    #[test]
    fn each_of_the_newest_is_later_than_all_others() {
        assert!(!is_due(&[5, 6], &[1, 4]));
        assert!(is_due(&[5, 4], &[1, 4]), "of two equal ones either may be taken");
        assert!(is_due(&[1], &[2]));
        assert!(!is_due(&[1], &[]) && !is_due(&[], &[1]));
    }
}
