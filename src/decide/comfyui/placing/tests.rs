use crate::decide::comfyui::loras;
use crate::decide::comfyui::loras::Weights;
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::manifest::{Manifest, examples};
use crate::model::placement::What;
use crate::model::weights_kind::WeightsKind;

use super::*;

fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest::new([byte; 32])
}

fn manifest(names: &[(&str, Option<u64>, u8)]) -> Manifest {
    let files: Vec<_> =
        names.iter().map(|(name, step, _)| (ArtifactKind::Checkpoint, *name, *step)).collect();
    let mut manifest = examples::manifest(&files);
    for (name, _, byte) in names {
        manifest.entries.get_mut(&key(name)).unwrap().sha256 = digest(*byte);
    }
    manifest
}

fn kinds(manifest: &Manifest) -> loras::Kinds {
    manifest.entries.values().map(|entry| (entry.sha256, WeightsKind::Lora)).collect()
}

fn key(name: &str) -> ArtifactKey {
    examples::key(ArtifactKind::Checkpoint, name)
}

fn placed(step: Option<u64>, byte: u8, state: PlacedState) -> Placed {
    Placed {
        to: RelPath::parse("dog/dog.safetensors").unwrap(),
        what: What::Lora,
        key: key("dog.safetensors"),
        lora: digest(byte),
        step,
        sha256: digest(byte),
        size: 7,
        modified: Some(1),
        state,
    }
}

#[test]
fn a_job_name_is_one_folder_whatever_is_in_it() {
    let job: JobId = "j-1".parse().unwrap();
    let folder = |template: &str, name: &str| {
        template.parse::<Subdir>().unwrap().of_job(Some(name), &job).map(|path| path.to_string())
    };
    assert_eq!(folder("{name}", "my dog [v2] 犬").as_deref(), Some("my dog [v2] 犬"));
    assert_eq!(folder("trained/{name}-{job_id}", "dog").as_deref(), Some("trained/dog-j-1"));
    assert_eq!(folder("{name}", "{job_id}").as_deref(), Some("{job_id}"));
    assert_eq!(folder(".", "dog"), None);
    assert_eq!(folder("{name}", " ").as_deref(), Some("j-1"));
    for name in
        ["../../etc", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "CON", "x\u{202e}y", "a\0b", "%2e%2e"]
    {
        let path = folder("{name}", name).unwrap();
        assert_eq!(RelPath::parse(&path).unwrap().count_parts(), 1, "{name}: {path}");
        assert!(!path.starts_with('.') && !path.contains(['\\', ':']), "{name}: {path}");
    }
}

#[test]
fn templates_that_lead_elsewhere_are_refused() {
    for bad in ["..", "../x", "/x", "a//b", "C:\\x", "{nam}", "{name", "~/{name}", ".x/{name}", "a/../b", ""]
    {
        assert!(bad.parse::<Subdir>().is_err(), "{bad}");
    }
    assert_eq!("{name}/".parse::<Subdir>().unwrap(), Subdir::default());
}

#[test]
fn names_are_plain_or_marked_alike() {
    let manifest = manifest(&[
        ("dog_000000250_high_noise.safetensors", Some(250), 1),
        ("dog_000000250_low_noise.safetensors", Some(250), 2),
        ("dog.safetensors", None, 3),
    ]);
    let found = loras::find(&manifest, Some("dog"), Weights::Safetensors, &kinds(&manifest));
    let subdir = RelPath::parse("d").unwrap();
    let names = |at: usize, naming| -> Vec<String> {
        places(&found.whole[at], Some(&subdir), naming).unwrap().iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        names(0, Naming::Plain),
        ["d/dog_000000250_high_noise.safetensors", "d/dog_000000250_low_noise.safetensors"]
    );
    let marked = names(0, Naming::Marked);
    assert_eq!(marked[0].replace("high_noise", "low_noise"), marked[1]);
    assert!(marked[0].starts_with("d/dog_000000250~") && marked[0].ends_with("_high_noise.safetensors"));
    assert_eq!(names(1, Naming::Marked), ["d/dog~03030303.safetensors"]);
    assert_eq!(places(&found.whole[1], None, Naming::Plain).unwrap()[0].as_str(), "dog.safetensors");
}

#[test]
fn what_is_there_is_a_table() {
    use PlacedState::{Adopted, Edited, Placed, Placing};
    let file = |size, modified| Some(LocalFile::File { size, modified: Some(modified) });
    let never = || -> Option<Sha256Digest> { panic!("must not be read") };
    let wanted = (7, digest(1));
    let with = |state| placed(None, 1, state);
    assert_eq!(standing(None, wanted, None, never), Standing::Nothing);
    for state in [Placed, Adopted, Edited] {
        assert_eq!(standing(Some(&with(state)), wanted, None, never), Standing::Withdrawn);
    }
    assert_eq!(standing(Some(&with(Placing)), wanted, None, never), Standing::Nothing, "cut off before");
    assert_eq!(standing(Some(&placed(None, 2, Placed)), wanted, None, never), Standing::Nothing, "new bytes");
    assert_eq!(standing(None, wanted, Some(LocalFile::Other), never), Standing::Foreign);
    // Nothing is read when time stamp and length say enough.
    assert_eq!(standing(None, wanted, file(8, 1), never), Standing::Foreign);
    for (state, expected) in [(Placed, Standing::Ours), (Adopted, Standing::Same), (Edited, Standing::Edited)]
    {
        assert_eq!(standing(Some(&with(state)), wanted, file(7, 1), never), expected);
    }
    assert_eq!(standing(None, wanted, file(7, 9), || Some(digest(1))), Standing::Same);
    assert_eq!(standing(None, wanted, file(7, 9), || Some(digest(2))), Standing::Foreign);
    for (state, same, other) in [
        (Placed, Standing::Ours, Standing::Edited),
        (Placing, Standing::Ours, Standing::Foreign),
        (Adopted, Standing::Same, Standing::Edited),
        (Edited, Standing::Same, Standing::Edited),
    ] {
        assert_eq!(standing(Some(&with(state)), wanted, file(7, 9), || Some(digest(1))), same);
        assert_eq!(standing(Some(&with(state)), wanted, file(7, 9), || Some(digest(2))), other);
        assert_eq!(standing(Some(&with(state)), wanted, file(8, 1), never), other);
    }
    // Ours, but with other bytes than those wanted now: new bytes never take an old name.
    assert_eq!(standing(Some(&placed(None, 2, Placed)), wanted, file(8, 1), never), Standing::Foreign);
}

#[test]
fn the_newest_and_the_final_stay() {
    let manifest = manifest(&[
        ("dog_000000250.safetensors", Some(250), 1),
        ("dog_000000500.safetensors", Some(500), 2),
        ("dog.safetensors", None, 9),
    ]);
    let whole = loras::find(&manifest, Some("dog"), Weights::Safetensors, &kinds(&manifest)).whole;
    let state = PlacedState::Placed;
    // 750 is placed although DIR has it no more: it counts.
    let files = [placed(Some(250), 1, state), placed(Some(750), 3, state), placed(None, 9, state)];
    let kept = kept_steps(&whole, &files, 2);
    assert_eq!(kept, BTreeSet::from([500, 750]));
    assert_eq!(files.each_ref().map(|file| is_surplus(file, &whole, &kept)), [true, false, false]);
    assert!(is_surplus(&placed(None, 8, state), &whole, &kept), "a final that was replaced");
    assert_eq!(kept_steps(&whole, &files, 0), BTreeSet::new());
}

#[test]
fn pictures_by_their_first_bytes() {
    assert_eq!(picture_extension(b"\x89PNG\r\n\x1a\n...."), Some(".png"));
    assert_eq!(picture_extension(&[0xff, 0xd8, 0xff, 0xe0]), Some(".jpg"));
    assert_eq!(picture_extension(b"RIFF....WEBPVP8X"), Some(".webp"));
    for other in [&b"RIFF....WAVE"[..], b"RIFF", b"GIF89a", b"<html>", b""] {
        assert_eq!(picture_extension(other), None);
    }
}
