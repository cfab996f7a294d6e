//! Group M: the same names come to mean other things.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::host::Ask;
use super::reply::Reply;
use super::rig::{Case, Listing, Rig, World, hold_all};
use super::world::{File, Hosted, picture, weights, yaml};

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

/// A world that behaves by the stage of the test.
struct Stage {
    act: Arc<AtomicUsize>,
    rig: Rig,
}

impl Stage {
    /// One checkpoint and one picture. `versions` of the checkpoint are hosted one act after the other; `play` changes
    /// what the API says in each act.
    fn new(versions: Vec<File>, play: impl Fn(usize, &mut Listing) + Send + Sync + 'static) -> Self {
        let act = Arc::new(AtomicUsize::new(0));
        let (on_host, in_api) = (act.clone(), act.clone());
        let served = versions.clone();
        let mut hosted = Hosted::checkpoint(&versions[0], move |_, ask| {
            served[on_host.load(Ordering::SeqCst).min(served.len() - 1)].honest(ask)
        })
        .at("/output/lora_000000250.safetensors", "*");
        hosted.truth = versions;
        let sample = Hosted::sample("1724085406830__000000250_0.png", &picture(0), honest);
        let world = World::of(vec![hosted, sample]).api(move |ask, listing| {
            let mut listing = listing.clone();
            play(in_api.load(Ordering::SeqCst), &mut listing);
            match ask.path().rsplit('/').next() {
                Some("status") => Some(Reply::json(&listing.status.to_string())),
                Some("result") => Some(Reply::json(&listing.result.to_string())),
                _ => None,
            }
        });
        Self { act, rig: Rig::new(world) }
    }

    /// Runs one pass in this act, and returns how many requests the files' host got.
    fn pass(&self, act: usize, code: i32, more: &[&str]) -> usize {
        self.act.store(act, Ordering::SeqCst);
        let before = self.rig.host.asks().len();
        let run = self.rig.once(more);
        self.rig.promises(&run).unwrap();
        assert_eq!(run.code, Some(code), "act {act}: {}", run.output());
        self.rig.host.asks().len() - before
    }

    fn names(&self) -> Vec<String> {
        self.rig.published().into_keys().collect()
    }

    fn holds(&self, file: &File) -> bool {
        self.rig.published().values().any(|bytes| *bytes == *file.bytes)
    }
}

/// M1, M2: a resumed run writes other bytes under an old name: both are here, or the new ones alone.
#[test]
fn m1_m2_an_old_name_gets_new_bytes() {
    for (arguments, kept) in [(&[][..], true), (&["--on-change", "replace"][..], false)] {
        let (old, new) = (weights(1, 100_000), weights(2, 120_000));
        let stage = Stage::new(vec![old.clone(), new.clone()], |act, listing| {
            if act > 0 {
                listing.result["started_at"] = json!("2026-02-01T08:00:00.000001");
                listing.result["finished_at"] = json!("2026-02-01T09:00:00.000001");
            }
        });
        assert_eq!(stage.pass(0, 0, arguments), 2);
        assert!(stage.pass(1, 0, arguments) > 0, "M1: it was not asked about again");
        assert!(stage.holds(&new), "M1: {:?}", stage.names());
        assert_eq!(stage.holds(&old), kept, "M1: {:?}", stage.names());
        assert_eq!(stage.pass(1, 0, arguments), 0, "M1: the next pass is idle");
    }
}

/// M3: within one run a published file is not asked about again; its bytes here stay whole.
#[test]
fn m3_a_silent_change_within_one_run() {
    let (old, new) = (weights(1, 100_000), weights(2, 100_000));
    let stage = Stage::new(vec![old.clone(), new], |_, _| {});
    stage.pass(0, 0, &[]);
    assert_eq!(stage.pass(1, 0, &[]), 0);
    assert!(stage.holds(&old));
}

/// M4, M5: a list that shrinks, is empty, or comes back takes nothing away and fetches nothing twice.
#[test]
fn m4_m5_a_list_that_shrinks() {
    let only = weights(1, 100_000);
    let stage = Stage::new(vec![only.clone()], |act, listing| match act {
        1 => listing.result["artifacts"]["checkpoints"] = json!([]),
        2 => listing.result["artifacts"] = Value::Null,
        _ => {}
    });
    assert_eq!(stage.pass(0, 0, &[]), 2);
    for act in [1, 2, 3] {
        assert_eq!(stage.pass(act, 0, &[]), 0, "act {act}");
        assert!(stage.holds(&only) && stage.names().len() == 2, "act {act}: {:?}", stage.names());
    }
}

/// M6: a job that stops, and then runs again, is followed to its real end.
#[test]
fn m6_a_job_that_is_revived() {
    let mut world = World::of(vec![Hosted::checkpoint(&weights(1, 1000), honest)]);
    world.progress = (500, 1000);
    let looks = AtomicUsize::new(0);
    let rig = Rig::new(world.api(move |ask, listing| {
        let is_status = ask.path().ends_with("/status");
        let look =
            if is_status { looks.fetch_add(1, Ordering::SeqCst) } else { looks.load(Ordering::SeqCst) - 1 };
        let (status, step) = match look {
            0 => ("STOPPED", 500),
            1 | 2 => ("RUNNING", 700),
            _ => ("STOPPED", 1000),
        };
        let mut answer = if is_status { listing.status.clone() } else { listing.result.clone() };
        answer["status"] = json!(status);
        if is_status {
            answer["progress"]["current_step"] = json!(step);
        } else if look < 3 {
            answer["artifacts"]["checkpoints"] = json!([]);
        }
        Some(Reply::json(&answer.to_string()))
    }));
    let run = rig.follow(&[]);
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(0), 1), "{}", run.output());
}

/// M8: an edited configuration is a new version; the old one is kept beside it.
#[test]
fn m8_an_edited_configuration() {
    let new = File::new(b"job: extension\nconfig:\n  name: lora\n  process: [{ steps: 2000 }]\n".to_vec());
    let (first, second) = (yaml(), new.clone());
    let (act, run) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (on_host, in_api) = (act.clone(), run);
    let config = Hosted::config(&first, move |first, ask| {
        if on_host.load(Ordering::SeqCst) == 0 { first.honest(ask) } else { second.honest(ask) }
    })
    .at("/output/config.yaml", "*")
    .or(&new);
    let acts = act.clone();
    let rig = Rig::new(World::of(vec![config]).api(move |ask, listing| {
        in_api.fetch_add(1, Ordering::SeqCst);
        (ask.path().ends_with("/result") && acts.load(Ordering::SeqCst) > 0).then(|| {
            let mut result = listing.result.clone();
            result["started_at"] = json!("2026-02-01T08:00:00.000001");
            Reply::json(&result.to_string())
        })
    }));
    for pass in 0..2 {
        act.store(pass, Ordering::SeqCst);
        let run = rig.once(&[]);
        rig.promises(&run).unwrap();
        assert_eq!(run.code, Some(0), "{}", run.output());
    }
    let versions: Vec<String> = rig.published().into_keys().collect();
    assert_eq!(versions.len(), 2, "M8: {versions:?}");
}

/// M10: other kinds of files, and addresses that are folders.
#[test]
fn group_m_other_kinds() {
    let state = File::new(vec![7; 5000]);
    let optimizer = |path: &str, local: &str| Hosted::checkpoint(&state, honest).at(path, local);
    hold_all(vec![
        Case::survives("M10", "pickles and optimizer states are kept as they are", {
            World::of(vec![
                optimizer("/output/optimizer.pt", "optimizer.pt"),
                optimizer("/output/lora_000000250.pt", "lora_000000250.pt"),
            ])
        })
        .evidence("length"),
        Case::survives("M10", "a folder's address", {
            World::of(vec![optimizer("/output/lora_000000250/", "*")])
        }),
        Case::survives("M9", "two pictures of one step and index", {
            World::of(vec![
                Hosted::sample("1724085406830__000000250_0.png", &picture(1), honest),
                Hosted::sample("1724085499999__000000250_0.png", &picture(2), honest),
            ])
        }),
    ]);
}
