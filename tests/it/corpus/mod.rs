//! Replays the fuzzers' corpora: what they found once, and what they began with; and mutations of it, the same in each
//! run, as many as `RCSYNC_MUTATIONS` says. `fuzz/` throws new bytes at the same functions, led by what they cover.

mod targets;

use std::path::{Path, PathBuf};
use std::time::Instant;

/// Mutations for each target in every run of the tests: about a second.
const MUTATIONS: u64 = 500;

/// What the formats are made of: bytes alone would hardly ever hit upon it.
const WORDS: [&str; 28] = [
    "bytes ",
    "*",
    "-",
    "/",
    "0",
    "18446744073709551615",
    "18446744073709551616",
    "%2e",
    "%2F",
    "..",
    "\\",
    ":",
    "?",
    "#",
    "\n",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
    "\u{202e}",
    "\u{0}",
    "é",
    "e\u{301}",
    "\"data_offsets\":[0,1]",
    "\\u0074",
];

/// Returns a target's corpus, by name.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "`{name}` has no corpus");
    files.into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

#[test]
fn mutations_of_what_was_found_hold() {
    let count = std::env::var("RCSYNC_MUTATIONS").ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(MUTATIONS);
    for (name, target) in targets::TARGETS {
        let (corpus, began) = (corpus(name), Instant::now());
        for seed in 0..count {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = corpus[random.usize(..corpus.len())].1.clone();
            for _ in 0..random.usize(1..6) {
                mutate(&mut bytes, &corpus, &mut random);
            }
            let played = std::panic::catch_unwind(|| target(&bytes));
            assert!(played.is_ok(), "{name}, seed {seed}: {:?}", bytes.escape_ascii().to_string());
        }
        println!("{name}: {count} in {:?}", began.elapsed());
    }
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)], random: &mut fastrand::Rng) {
    let at = random.usize(..=bytes.len());
    let end = at + random.usize(..=(bytes.len() - at).min(16));
    match random.u32(..7) {
        0 => drop(bytes.splice(at..end, WORDS[random.usize(..WORDS.len())].bytes())),
        1 => drop(bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].bytes())),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.u32(..8)),
        5 => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, again));
        }
        // The rest of another one.
        _ => {
            let other = &corpus[random.usize(..corpus.len())].1;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

#[test]
fn whatever_was_found_once_holds() {
    for (name, target) in targets::TARGETS {
        for (file, bytes) in corpus(name) {
            let played = std::panic::catch_unwind(|| {
                target(&bytes);
                // Every cut of it is an input, too; of long ones some.
                (0..bytes.len()).step_by(bytes.len() / 64 + 1).for_each(|length| target(&bytes[..length]));
            });
            assert!(played.is_ok(), "{name}: {}", file.display());
        }
    }
}
