//! Files of kinds that nothing but their length speaks for, met while the trainer writes them.
//!
//! Case C27.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::reply::Reply;
use super::rig::{Rig, Run, World};
use super::world::{File, Hosted};

const NAME: &str = "samples/1724085406830__000000250_0.opaque";

/// Bytes of which nothing tells whether they are all.
fn opaque(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

/// A job that runs until its `end`th look, with a file of which `written` says how much is there at which look.
fn growing(end: usize, written: impl Fn(usize) -> usize + Send + Sync + 'static) -> World {
    let looks = Arc::new(AtomicUsize::new(0));
    let whole = File::new(opaque(300_000));
    let seen = looks.clone();
    let hosted = Hosted::sample(NAME.rsplit('/').next().unwrap(), &whole, move |whole, ask| {
        let length = written(seen.load(Ordering::SeqCst)).min(whole.len());
        File::new(whole.bytes[..length].to_vec()).honest(ask)
    });
    World::of(vec![hosted]).api(move |ask, listing| {
        let is_status = ask.path().ends_with("/status");
        if is_status {
            looks.store(ask.nth, Ordering::SeqCst);
        }
        let running = looks.load(Ordering::SeqCst) < end;
        let mut document = if is_status { listing.status.clone() } else { listing.result.clone() };
        if running {
            document["status"] = "RUNNING".into();
            document["finished_at"] = serde_json::Value::Null;
        }
        Some(Reply::json(&document.to_string()))
    })
}

fn sizes(run: &Run) -> Vec<u64> {
    run.events("published").iter().map(|event| event["size"].as_u64().unwrap()).collect()
}

#[test]
fn half_a_file_is_not_published_while_it_grows() {
    let rig = Rig::new(growing(9, |look| 60_000 * (look + 1)));
    let run = rig.follow(&[]);
    rig.promises(&run).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert_eq!(sizes(&run), [300_000], "{}", run.output());
    assert_eq!(run.events("published")[0]["evidence"], "length");
    assert!(!run.events("settling").is_empty(), "{}", run.output());
    let names: Vec<String> = rig.published().into_keys().collect();
    assert_eq!(names, [NAME], "nothing is kept beside it");
}

#[test]
fn a_file_is_whole_at_the_end_even_where_its_writer_paused_for_two_looks() {
    let half = File::new(opaque(300_000)[..120_000].to_vec());
    let mut world = growing(9, |look| if look < 9 { 120_000 } else { 300_000 });
    world.files[0] = world.files[0].clone().or(&half);
    let rig = Rig::new(world);
    let run = rig.follow(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert_eq!(sizes(&run), [120_000, 300_000], "it was asked about again: {}", run.output());
    assert_eq!(rig.published()[NAME].len(), 300_000);
    // And never again.
    let asked = rig.host.asks().len();
    let again = rig.once(&[]);
    assert_eq!((again.code, rig.host.asks().len()), (Some(0), asked), "{}", again.output());
}

#[test]
fn the_first_of_two_looks_is_remembered_from_pass_to_pass() {
    let rig = Rig::new(growing(usize::MAX, |_| 300_000));
    let began = Instant::now();
    let first = rig.once(&[]);
    assert_eq!(first.code, Some(75), "{}", first.output());
    assert_eq!(rig.published(), BTreeMap::new());
    // Passes that come too soon prove nothing, and do not put off the one that does.
    let published = loop {
        let pass = rig.once(&[]);
        if pass.code == Some(0) {
            break pass;
        }
        assert_eq!(pass.code, Some(75), "{}", pass.output());
        assert!(began.elapsed() < Duration::from_secs(60), "{}", pass.output());
        std::thread::sleep(Duration::from_millis(500));
    };
    assert_eq!(sizes(&published), [300_000]);
    assert!(began.elapsed() >= Duration::from_secs(5), "only {:?} apart", began.elapsed());
}
