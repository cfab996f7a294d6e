//! Whole mirrors in virtual time against a world in memory, checked by an oracle.
//!
//! A seed makes a universe: a training job, a host with quirks, mishaps on the way, and lives of the mirror that end as
//! they should, by a signal, by `kill -9` or by a power cut before any change of the disk. After each life the folder is
//! put back as such an end leaves it, and everything that is promised for every instant is checked; then the next life
//! begins. At last the world comes to rest, and everything that can be had must be there.
//!
//! Everything happens on one thread in an order that the seed decides, so a seed that fails can be played again:
//! `RCSYNC_SEED=17 cargo test --lib simulation -- --nocapture`. `RCSYNC_SEEDS=100000` plays more of them.

mod disk;
mod far;
mod fleet;
mod life;
mod oracle;
mod stage;
mod universe;
pub(crate) mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use life::Trace;

/// The canary: found nowhere but in requests to the API.
pub(crate) const TOKEN: &str = "canary-0a1b2c3d4e5f";

/// Seeds that every run of the tests plays: ten seconds on two cores. `.ci/run` plays 2,000.
const SEEDS: u64 = 300;

/// Plays one universe; the error names what was broken.
fn play(seed: u64, trace: Trace) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| life::play(seed, trace))).unwrap_or_else(|panic| {
        crate::edge::system::trace::dismiss();
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        Err(format!("panic: {text}"))
    })
}

#[test]
fn every_universe_keeps_its_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("RCSYNC_SEED") {
        let outcome = play(seed, Trace::Printed);
        assert!(outcome.is_ok(), "seed {seed}: {}", outcome.unwrap_err());
        return;
    }
    let (first, count) = (number("RCSYNC_FIRST_SEED").unwrap_or(0), number("RCSYNC_SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + count {
                            return failures;
                        }
                        if let Err(broken) = play(seed, Trace::Silent) {
                            failures.push(format!("RCSYNC_SEED={seed}: {broken}"));
                        }
                    }
                })
            })
            .collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {count} universes:\n{}", failures.len(), failures.join("\n"));
}

/// Of fleets, which are five mirrors each and sometimes two processes, one for so many universes of single mirrors.
const UNIVERSES_A_FLEET: u64 = 25;

#[test]
fn every_fleet_keeps_its_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = (number("RCSYNC_FIRST_SEED").unwrap_or(0), number("RCSYNC_SEEDS").unwrap_or(SEEDS));
    let seeds = match number("RCSYNC_FLEET_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + count.div_ceil(UNIVERSES_A_FLEET),
    };
    let printed = number("RCSYNC_FLEET_SEED").is_some();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..2)
            .map(|half| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let own = seeds.filter(|seed| seed % 2 == half);
                    let broken =
                        own.filter_map(|seed| fleet::play(seed, printed).err().map(|broken| (seed, broken)));
                    broken
                        .map(|(seed, broken)| format!("RCSYNC_FLEET_SEED={seed}: {broken}"))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} fleets:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_seed_plays_the_same_story_twice() {
    for seed in 0..12 {
        let story = || {
            let lines = Arc::new(Mutex::new(Vec::new()));
            play(seed, Trace::Kept(lines.clone())).unwrap();
            let lines = lines.lock().unwrap();
            lines.clone()
        };
        let (first, second) = (story(), story());
        let differs = first.iter().zip(&second).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}
