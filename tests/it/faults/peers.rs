//! Serves the same faults to other download tools: `tests/peers/run` starts this for one tool after the other, runs
//! them all, and prints who survived. One fresh server for each tool and case.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Case, Rig, World};
use super::world::{File, Hosted, MIB, hex, weights};

/// Which tool the servers are for, as the script names it.
const PEER: &str = "RCSYNC_PEER";

/// Where the list of servers is written.
const LIST: &str = "RCSYNC_PEERS_LIST";

/// How the script uses a server.
#[derive(Debug, Clone, Copy)]
enum Play {
    /// Run the tool; try it again when it fails.
    Run,
    /// Kill it in the middle, go to the next stage, run it again.
    Kill,
    /// The same with Ctrl-C in place of the kill.
    Interrupt,
    /// Run it, look at what it made of that, go to the next stage, run it again.
    Again,
}

/// A case in two stages; which one is chosen by the script.
fn staged(old: &File, new: &File, script: fn(usize, &File, &File, &Ask) -> Reply) -> Staged {
    let (first, second) = (old.clone(), new.clone());
    let stage = Arc::new(AtomicUsize::new(0));
    let now = stage.clone();
    let hosted =
        Hosted::checkpoint(old, move |_, ask| script(now.load(Ordering::SeqCst), &first, &second, ask));
    // Other bytes under a name mean that the job ran again, and the API says so.
    let (now, ran_again) = (stage.clone(), !Arc::ptr_eq(&old.bytes, &new.bytes));
    let world = World::of(vec![hosted.or(new)]).api(move |ask, listing| {
        let again = ran_again && now.load(Ordering::SeqCst) > 0 && ask.path().ends_with("/result");
        again.then(|| {
            let mut result = listing.result.clone();
            result["started_at"] = json!("2026-02-01T08:00:00.000001");
            result["finished_at"] = json!("2026-02-01T09:00:00.000001");
            Reply::json(&result.to_string())
        })
    });
    (world, stage)
}

type Staged = (World, Arc<AtomicUsize>);

/// Half of it, and then nothing more.
fn half(file: &File, ask: &Ask) -> Reply {
    let length = file.honest(ask);
    if ask.starts_at() == 0 { length.cut(file.len() / 2, End::Hold) } else { Reply::raw(b"").end(End::Hold) }
}

/// Makes a world, new each time.
type Make = fn() -> Staged;

fn two_stages() -> Vec<(&'static str, &'static str, Play, Make)> {
    vec![
        ("H3", "killed in the middle, run again", Play::Kill, || {
            let file = weights(1, 9 * MIB);
            staged(
                &file,
                &file,
                |stage, old, _, ask| if stage == 0 { half(old, ask) } else { old.honest(ask) },
            )
        }),
        ("H3, C8", "killed in the middle, the file is replaced, run again", Play::Kill, || {
            staged(&weights(1, 9 * MIB), &weights(2, 9 * MIB), |stage, old, new, ask| {
                if stage == 0 { half(old, ask) } else { new.honest(ask) }
            })
        }),
        ("H3, C9", "the same, and the host ignores If-Range", Play::Kill, || {
            staged(&weights(1, 9 * MIB), &weights(2, 9 * MIB), |stage, old, new, ask| {
                match (stage, ask.range()) {
                    (0, _) => half(old, ask),
                    (_, Some((first, last))) if first < new.len() => {
                        new.part(first, last.map_or(new.len(), |last| last + 1))
                    }
                    _ => new.honest(ask),
                }
            })
        }),
        ("H3, C1", "killed in the middle, then ranges are ignored", Play::Kill, || {
            let file = weights(1, 9 * MIB);
            staged(&file, &file, |stage, old, _, ask| if stage == 0 { half(old, ask) } else { old.whole() })
        }),
        ("H19", "interrupted in the middle, run again", Play::Interrupt, || {
            let file = weights(1, 9 * MIB);
            staged(
                &file,
                &file,
                |stage, old, _, ask| if stage == 0 { half(old, ask) } else { old.honest(ask) },
            )
        }),
        ("H19, C8", "interrupted in the middle, the file is replaced, run again", Play::Interrupt, || {
            staged(&weights(1, 9 * MIB), &weights(2, 9 * MIB), |stage, old, new, ask| {
                if stage == 0 { half(old, ask) } else { new.honest(ask) }
            })
        }),
        ("M1", "complete, then a longer file is hosted under the name", Play::Again, || {
            staged(&weights(1, 3 * MIB), &weights(2, 5 * MIB), |stage, old, new, ask| {
                if stage == 0 { old.honest(ask) } else { new.honest(ask) }
            })
        }),
        ("M1", "complete, then a shorter file is hosted under the name", Play::Again, || {
            staged(&weights(1, 5 * MIB), &weights(2, 3 * MIB), |stage, old, new, ask| {
                if stage == 0 { old.honest(ask) } else { new.honest(ask) }
            })
        }),
        ("M7", "half written when it is first listed", Play::Again, || {
            let file = weights(1, 4 * MIB);
            staged(&file, &file, |stage, old, _, ask| {
                let half = File::new(old.bytes[..old.len() / 2].to_vec());
                if stage == 0 { half.honest(ask) } else { old.honest(ask) }
            })
        }),
        ("M7", "full length, but its second half is not written yet", Play::Again, || {
            let file = weights(1, 4 * MIB);
            staged(&file, &file, |stage, old, _, ask| {
                let mut bytes = old.bytes[..].to_vec();
                bytes[old.len() / 2..].fill(0);
                let unwritten = File::new(bytes);
                if stage == 0 { unwritten.honest(ask) } else { old.honest(ask) }
            })
        }),
    ]
}

fn row((id, about): (&str, &str), peer: &str, play: Play, rig: &Rig, stage: u16, can: bool) -> Value {
    let hosted = &rig.world.files[0];
    let truths: Vec<String> = hosted.truth.iter().map(|file| hex(&Sha256::digest(&*file.bytes))).collect();
    json!({
        "id": id, "about": about, "peer": peer, "play": format!("{play:?}"), "can_be_had": can,
        "url": format!("http://127.0.0.1:{}{}", rig.host.port(), hosted.path),
        "api": format!("http://127.0.0.1:{}", rig.api.port()),
        "stage": format!("http://127.0.0.1:{stage}/"),
        "length": hosted.truth[0].len(), "next_length": hosted.truth[hosted.truth.len() - 1].len(),
        "truths": truths,
    })
}

/// Each tool has to meet the same fault for the first time, so the cases are made anew for each.
fn simple_cases() -> Vec<Case> {
    let mut cases = super::transfer::cases();
    cases.extend(super::ranges::cases());
    cases.retain(Case::is_for_peers);
    cases
}

#[test]
#[ignore = "serves until its input ends: tests/peers/run starts it"]
fn serve_for_peers() {
    let Some(list) = std::env::var_os(LIST) else { return };
    let peer = std::env::var(PEER).unwrap();
    let (mut rows, mut kept) = (Vec::new(), Vec::new());
    for case in simple_cases() {
        let rig = Rig::new(case.world().clone());
        rows.push(row((case.id, case.about), &peer, Play::Run, &rig, 9, case.can_be_had()));
        kept.push((rig, None));
    }
    for (id, about, play, make) in two_stages() {
        let (world, stage) = make();
        let rig = Rig::new(world);
        let next = super::host::Host::start(Arc::new(move |_| {
            stage.fetch_add(1, Ordering::SeqCst);
            Reply::new(200, b"next")
        }));
        rows.push(row((id, about), &peer, play, &rig, next.port(), true));
        kept.push((rig, Some(next)));
    }
    // Under its name only when it is whole: the script waits for the name.
    let list = std::path::PathBuf::from(list);
    let written = list.with_extension("part");
    std::fs::write(&written, serde_json::to_vec_pretty(&rows).unwrap()).unwrap();
    std::fs::rename(written, list).unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
