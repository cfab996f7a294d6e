use crate::model::manifest::examples::{self, manifest};

use super::*;
use ArtifactKind::{Checkpoint, Config, Sample};

/// What [`super::find`] finds where all weights are LoRAs.
fn find<'a>(manifest: &'a Manifest, job_name: Option<&str>, weights: Weights) -> Loras<'a> {
    let kinds = manifest.entries.values().map(|entry| (entry.sha256, WeightsKind::Lora)).collect();
    super::find(manifest, job_name, weights, &kinds)
}

fn names(loras: &Loras<'_>) -> Vec<String> {
    let name = |lora: &Lora<'_>| {
        lora.files.iter().map(|part| part.entry.path.as_str()).collect::<Vec<_>>().join("+")
    };
    loras.whole.iter().map(name).collect()
}

const SAFE: Weights = Weights::Safetensors;

#[test]
fn only_proven_weights_at_the_top_are_loras() {
    let mut manifest = manifest(&[
        (Checkpoint, "dog.safetensors", None),
        (Checkpoint, "dog_000000500.safetensors", Some(500)),
        (Checkpoint, "dog_000000250.SafeTensors", Some(250)),
        (Checkpoint, "optimizer.pt", None),
        (Checkpoint, "dog.pt", None),
        (Checkpoint, "CRITIC_dog_000000250.safetensors", Some(250)),
        (Checkpoint, "dog_000000250/transformer/model.safetensors", Some(250)),
        (Config, "config.yaml", None),
        (Sample, "samples/1__000000250_0.jpg", Some(250)),
        (Checkpoint, "pruned_000000100.safetensors", Some(100)),
        (Checkpoint, "weak_000000100.safetensors", Some(100)),
    ]);
    for entry in manifest.entries.values_mut() {
        match entry.path.file_name() {
            "pruned_000000100.safetensors" => entry.state = EntryState::Pruned,
            "weak_000000100.safetensors" => entry.evidence = Evidence::Length,
            _ => {}
        }
    }
    let loras = find(&manifest, Some("dog"), SAFE);
    assert_eq!(names(&loras), ["dog_000000250.SafeTensors", "dog_000000500.safetensors", "dog.safetensors"]);
    assert!(loras.halves.is_empty());
}

#[test]
fn pickles_come_when_they_are_asked_for_and_the_optimizer_never() {
    let mut manifest = manifest(&[
        (Checkpoint, "dog.safetensors", None),
        (Checkpoint, "dog.pt", None),
        (Checkpoint, "trigger_000000250.PT", Some(250)),
        (Checkpoint, "old_000000250.ckpt", Some(250)),
        (Checkpoint, "optimizer.pt", None),
        (Checkpoint, "Optimizer.PT", None),
        (Checkpoint, "part/model.bin", None),
        (Checkpoint, "notes.txt", None),
        (Checkpoint, "weak.safetensors", None),
        (Sample, "samples/x.pt", None),
    ]);
    // The length is all that can be proven of a pickle; of safetensors it is not enough.
    for entry in manifest.entries.values_mut().filter(|entry| entry.path.as_str() != "dog.safetensors") {
        entry.evidence = Evidence::Length;
    }
    assert_eq!(names(&find(&manifest, Some("dog"), SAFE)), ["dog.safetensors"]);
    let asked = find(&manifest, Some("dog"), Weights::PicklesToo);
    assert_eq!(names(&asked), ["old_000000250.ckpt", "trigger_000000250.PT", "dog.safetensors", "dog.pt"]);
}

#[test]
fn both_halves_or_none() {
    let manifest = manifest(&[
        (Checkpoint, "dog_000000250_high_noise.safetensors", Some(250)),
        (Checkpoint, "dog_000000250_low_noise.safetensors", Some(250)),
        (Checkpoint, "dog_000000500_low_noise.safetensors", Some(500)),
        (Checkpoint, "dog_high_noise.safetensors", None),
    ]);
    let loras = find(&manifest, Some("dog"), SAFE);
    assert_eq!(names(&loras), ["dog_000000250_high_noise.safetensors+dog_000000250_low_noise.safetensors"]);
    assert_eq!(loras.halves.len(), 2);
    // A job that is called so has a final save of that name, which is whole.
    let loras = find(&manifest, Some("dog_high_noise"), SAFE);
    assert!(names(&loras).contains(&"dog_high_noise.safetensors".to_owned()));
}

#[test]
fn a_half_whose_own_hash_fits_was_trained_alone() {
    let mut manifest = manifest(&[
        (Checkpoint, "dog_000000250_high_noise.safetensors", Some(250)),
        (Checkpoint, "dog_000000500_high_noise.safetensors", Some(500)),
        (Checkpoint, "dog_high_noise.safetensors", None),
    ]);
    for entry in manifest.entries.values_mut().filter(|entry| entry.step != Some(500)) {
        entry.evidence = Evidence::TrainerHash;
    }
    let loras = find(&manifest, Some("dog"), SAFE);
    assert_eq!(names(&loras), ["dog_000000250_high_noise.safetensors", "dog_high_noise.safetensors"]);
    assert_eq!(loras.halves[0].entry.step, Some(500));
}

#[test]
fn the_header_decides_what_a_file_is() {
    let mut manifest = manifest(&[
        (Checkpoint, "dog_000000250.safetensors", Some(250)),
        (Checkpoint, "dog_refiner_000000250.safetensors", Some(250)),
        (Checkpoint, "ohwx_000000500.safetensors", Some(500)),
        (Checkpoint, "ohwx_000000250.safetensors", Some(250)),
        (Checkpoint, "dog_ip_000000250.safetensors", Some(250)),
        (Checkpoint, "dog_000000500_high_noise.safetensors", Some(500)),
        (Checkpoint, "unread.safetensors", None),
        (Checkpoint, "ohwx.pt", None),
        (Checkpoint, "old.ckpt", None),
    ]);
    let mut kinds = Kinds::new();
    for (at, entry) in manifest.entries.values_mut().enumerate() {
        entry.sha256 = Sha256Digest::new([u8::try_from(at).unwrap(); 32]);
        let kind = match entry.path.as_str() {
            "dog_000000250.safetensors" => WeightsKind::Lokr,
            "dog_refiner_000000250.safetensors" | "dog_000000500_high_noise.safetensors" => {
                WeightsKind::FullModel
            }
            "dog_ip_000000250.safetensors" => WeightsKind::Adapter,
            "unread.safetensors" | "old.ckpt" => continue,
            _ => WeightsKind::Embedding,
        };
        kinds.insert(entry.sha256, kind);
    }
    let found = super::find(&manifest, Some("dog"), Weights::PicklesToo, &kinds);
    assert_eq!(names(&found), ["dog_000000250.safetensors", "old.ckpt"]);
    let paths = |loras: &[Lora<'_>]| -> Vec<String> {
        loras.iter().map(|lora| lora.files[0].entry.path.as_str().to_owned()).collect()
    };
    assert_eq!(
        paths(&found.embeddings),
        ["ohwx_000000250.safetensors", "ohwx_000000500.safetensors", "ohwx.pt"]
    );
    let others: Vec<_> =
        found.others.iter().map(|(part, kind)| (part.entry.path.as_str(), kind.name())).collect();
    assert_eq!(
        others,
        [
            ("dog_000000500_high_noise.safetensors", "full model"),
            ("dog_ip_000000250.safetensors", "adapter"),
            ("dog_refiner_000000250.safetensors", "full model"),
        ]
    );
    assert_eq!(found.unread[0].entry.path.as_str(), "unread.safetensors");
    assert!(found.halves.is_empty());
}

#[test]
fn an_animated_picture_is_shown_where_there_is_no_still_one() {
    let manifest = manifest(&[
        (Checkpoint, "dog_000000250.safetensors", Some(250)),
        (Checkpoint, "dog_000000500.safetensors", Some(500)),
        (Sample, "samples/1000000000000__000000250_0.webp", Some(250)),
        (Sample, "samples/1000000000001__000000250_1.webp", Some(250)),
        (Sample, "samples/1000000000002__000000500_0.webp", Some(500)),
        (Sample, "samples/1000000000003__000000500_1.jpg", Some(500)),
    ]);
    let loras = find(&manifest, Some("dog"), SAFE);
    let shown: Vec<_> = loras.whole.iter().map(|lora| lora.preview.unwrap().path.as_str()).collect();
    assert_eq!(shown, ["samples/1000000000000__000000250_0.webp", "samples/1000000000003__000000500_1.jpg"]);
}

#[test]
fn the_picture_is_of_the_same_step_and_the_first_prompt() {
    let manifest = manifest(&[
        (Checkpoint, "dog_000000250.safetensors", Some(250)),
        (Checkpoint, "dog_000000500.safetensors", Some(500)),
        (Checkpoint, "dog.safetensors", None),
        (Sample, "samples/1000000000001__000000250_1.jpg", Some(250)),
        (Sample, "samples/1000000000000__000000250_0.jpg", Some(250)),
        (Sample, "samples/1000000000009__000000250_0.jpg", Some(250)),
        (Sample, "samples/1000000000002__000000250_10.jpg", Some(250)),
        (Sample, "samples/1000000000003__000000500_0.mp4", Some(500)),
        (Sample, "samples/1000000000004__000000500_1.gif", Some(500)),
    ]);
    let shown = |manifest: &Manifest| -> Vec<Option<String>> {
        let path = |entry: &Entry| entry.path.as_str().to_owned();
        find(manifest, Some("dog"), SAFE).whole.iter().map(|lora| lora.preview.map(path)).collect()
    };
    // Drawn twice, since the job was resumed: the later one. The final save has none before its own is drawn.
    let first = Some("samples/1000000000009__000000250_0.jpg".to_owned());
    assert_eq!(shown(&manifest), [first.clone(), None, None]);
    let mut later = manifest;
    let last = "samples/1000000000005__000000600_0.png";
    later.entries.extend(examples::manifest(&[(Sample, last, Some(600))]).entries);
    assert_eq!(shown(&later), [first, None, Some(last.to_owned())]);
}
