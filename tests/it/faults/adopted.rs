//! Files that are in DIR before rcsync ever saw it.
//!
//! Case C29.

use std::fs;

use base64::Engine as _;
use sha2::Digest as _;

use super::rig::{Rig, Run, World, ranges};
use super::world::{File, Hosted, MIB, picture, unhashed_weights, weights, yaml};

const CHECKPOINT: &str = "lora_000000250.safetensors";

/// A world in which each file is in DIR already, with these bytes.
fn with(files: Vec<(Hosted, &[u8])>) -> Rig {
    let here: Vec<(String, Vec<u8>)> =
        files.iter().map(|(hosted, bytes)| (hosted.local.clone(), bytes.to_vec())).collect();
    let rig = Rig::new(World::of(files.into_iter().map(|(hosted, _)| hosted).collect()));
    for (local, bytes) in here {
        let path = rig.dir().join(local);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    rig
}

/// The evidence of each file, by `ls`.
fn evidence(rig: &Rig) -> Vec<(String, String)> {
    let dir = rig.dir();
    let run = rig.run(rig.command(&["ls", dir.to_str().unwrap(), "--output", "json"]));
    let listed: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let text = |file: &serde_json::Value, field: &str| file[field].as_str().unwrap_or_default().to_owned();
    let files = listed["files"].as_array().or_else(|| listed.as_array()).unwrap();
    files.iter().map(|file| (text(file, "path"), text(file, "evidence"))).collect()
}

/// Returns how many bytes of bodies were asked for.
fn asked_for(rig: &Rig, length: usize) -> usize {
    let asks = rig.host.asks();
    let each = asks.iter().map(|ask| {
        let (first, last) = ask.range().unwrap();
        last.map_or(length, |last| (last + 1).min(length)) - first
    });
    each.sum()
}

fn adopts(rig: &Rig, file: &File, proven: &str) -> Run {
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert_eq!(run.events("published"), Vec::<serde_json::Value>::new(), "{}", run.output());
    let asked = asked_for(rig, file.len());
    assert!(asked <= 16 << 10, "{asked} bytes: {}", ranges(&rig.host.asks()));
    let found = evidence(rig);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1, proven);
    let before = rig.host.asks().len();
    assert_eq!(rig.once(&[]).code, Some(0));
    assert_eq!(rig.host.asks().len(), before, "the next pass asks nothing");
    run
}

#[test]
fn what_the_trainers_hash_proves_is_not_fetched() {
    let file = weights(1, 3 * MIB);
    let rig = with(vec![(Hosted::checkpoint(&file, File::honest), &file.bytes)]);
    let modified = fs::metadata(rig.dir().join(CHECKPOINT)).unwrap().modified().unwrap();
    adopts(&rig, &file, "trainer-hash");
    assert_eq!(fs::metadata(rig.dir().join(CHECKPOINT)).unwrap().modified().unwrap(), modified, "untouched");
    assert_eq!(rig.host.asks().len(), 1);
}

#[test]
fn what_a_digest_of_the_server_proves_is_not_fetched() {
    let file = unhashed_weights(1, MIB);
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&*file.bytes));
    let hosted = Hosted::checkpoint(&file, move |file, ask| {
        file.honest(ask).header("Repr-Digest", &format!("sha-256=:{digest}:"))
    });
    let rig = with(vec![(hosted, &file.bytes)]);
    adopts(&rig, &file, "digest");
}

#[test]
fn what_fits_into_the_first_bytes_is_compared_as_a_whole() {
    for (file, hosted, proven) in [
        (yaml(), Hosted::config(&yaml(), File::honest), "structure"),
        (
            picture(1),
            Hosted::sample("1724085406830__000000250_0.png", &picture(1), File::honest),
            "structure",
        ),
    ] {
        let rig = with(vec![(hosted, &file.bytes)]);
        adopts(&rig, &file, proven);
    }
}

#[test]
fn what_cannot_be_proven_is_fetched_and_what_was_here_stays() {
    let right = weights(1, 3 * MIB);
    let mut flipped = right.bytes.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut other_header = right.bytes.to_vec();
    other_header[40] ^= 1;
    for (about, here) in [
        ("a byte of the body", flipped),
        ("a byte of the header", other_header),
        ("another length", right.bytes[..MIB].to_vec()),
        ("another version", weights(2, 3 * MIB).bytes.to_vec()),
    ] {
        let rig = with(vec![(Hosted::checkpoint(&right, File::honest), &here)]);
        let run = rig.once(&[]);
        assert_eq!(run.code, Some(0), "{about}: {}", run.output());
        let published = rig.published();
        assert_eq!(published[CHECKPOINT], here, "{about}: it is not ours");
        assert!(published.values().any(|bytes| *bytes == *right.bytes), "{about}: {:?}", published.keys());
        assert_eq!(published.len(), 2, "{about}");
    }
}

#[test]
fn weights_that_nothing_proves_are_fetched_and_found_to_be_the_same() {
    let file = unhashed_weights(1, MIB);
    let rig = with(vec![(Hosted::checkpoint(&file, File::honest), &file.bytes)]);
    let run = rig.once(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert!(asked_for(&rig, file.len()) >= file.len());
    assert_eq!(rig.published().len(), 1, "{:?}", rig.published().keys());
}
