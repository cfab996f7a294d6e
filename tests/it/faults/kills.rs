//! What a kill and a stop cost of what has arrived, on slow links.
//!
//! Case C28.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::rig::{begin_with_fault, have};
use crate::support::recorded;

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Rig, Run, World};
use super::world::{File, Hosted, JOB, MIB, picture, weights};

/// What each connection delivers before it stalls.
const DELIVERED: usize = 300_000;

/// As many requests as the first run sends deliver little and stall; later ones are served.
fn stuck(file: &File, first_run: usize) -> World {
    World::of(vec![Hosted::checkpoint(file, move |file, ask| {
        let reply = file.honest(ask);
        if ask.nth < first_run { reply.cut(DELIVERED, End::Hold) } else { reply }
    })])
}

/// Waits for something that must come.
pub(super) fn wait(most: Duration, came: impl Fn() -> bool) {
    let began = Instant::now();
    while !came() {
        assert!(began.elapsed() < most);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a mirror, and waits until every connection holds still.
fn start(rig: &Rig, connections: usize) -> Child {
    let dir = rig.dir();
    let connections_wanted = connections.to_string();
    let arguments = [JOB, dir.to_str().unwrap(), "--once", "--connections", &connections_wanted];
    let mut child = rig.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while rig.host.asks().len() < connections {
        assert!(began.elapsed() < Duration::from_secs(60), "{} requests", rig.host.asks().len());
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// Returns how many bytes have arrived.
fn arrived(asks: &[Ask], file: &File) -> u64 {
    let each = asks.iter().map(|ask| {
        let (first, last) = ask.range().unwrap();
        last.map_or(file.len(), |last| (last + 1).min(file.len())).saturating_sub(first).min(DELIVERED)
    });
    each.sum::<usize>() as u64
}

fn resumed_from(run: &Run) -> u64 {
    run.events("started")[0]["resumed_from"].as_u64().unwrap()
}

pub(super) fn stop(child: &mut Child, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(process, signal).unwrap();
    child.wait().unwrap();
}

/// Ends the first run so, and returns how many bytes had arrived and how many the second one had not to fetch.
fn ended_by(signal: rustix::process::Signal, file: &File, connections: usize, after: Duration) -> (u64, u64) {
    let rig = Rig::new(stuck(file, connections));
    let mut child = start(&rig, connections);
    std::thread::sleep(after);
    stop(&mut child, signal);
    let arrived = arrived(&rig.host.asks(), file);
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.output());
    (arrived, resumed_from(&run))
}

/// What is lost is what arrived in the last second: these bytes are older.
const OLD: Duration = Duration::from_millis(2500);

#[test]
fn a_kill_costs_nothing_that_arrived_more_than_a_second_ago() {
    let (arrived, kept) = ended_by(rustix::process::Signal::KILL, &weights(1, 24 * MIB), 4, OLD);
    assert!(arrived >= DELIVERED as u64, "{arrived}");
    assert_eq!(kept, arrived);
}

#[test]
fn nor_of_a_small_file_of_a_host_without_validators() {
    let file = weights(1, 2 * DELIVERED).etag("");
    let (arrived, kept) = ended_by(rustix::process::Signal::KILL, &file, 1, OLD);
    assert_eq!((arrived, kept), (DELIVERED as u64, DELIVERED as u64));
}

#[test]
fn a_stop_costs_nothing_that_arrived() {
    let moment = Duration::from_millis(600);
    let (arrived, kept) = ended_by(rustix::process::Signal::TERM, &weights(1, 24 * MIB), 4, moment);
    assert!(arrived >= DELIVERED as u64, "{arrived}");
    assert_eq!(kept, arrived);
}

/// The host ends its first answer early and is away then: what it does to later requests of the first run is `then`. The kill comes
/// when all that arrived is in a record.
fn a_kill_costs_nothing_while_the_host_is_away(then: fn() -> Reply) {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = is_back.clone();
    let file = weights(1, 24 * MIB);
    let rig = Rig::new(World::of(vec![Hosted::checkpoint(&file, move |file, ask| {
        if back.load(Ordering::Relaxed) {
            file.honest(ask)
        } else if ask.nth == 0 {
            file.honest(ask).cut(3 * MIB, End::Close)
        } else {
            then()
        }
    })]));
    let mut child = start(&rig, 1);
    // The second request begins where what the first one brought ends.
    let arrived = || rig.host.asks().get(1).map(Ask::starts_at);
    let began = Instant::now();
    while arrived().is_none_or(|arrived| recorded(&rig.dir()) < arrived as u64) {
        let seen = (recorded(&rig.dir()), arrived());
        assert!(began.elapsed() < Duration::from_secs(60), "recorded, and arrived: {seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    stop(&mut child, rustix::process::Signal::KILL);
    let arrived = arrived().unwrap();
    assert!(arrived >= MIB, "{arrived}");
    is_back.store(true, Ordering::Relaxed);
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    assert_eq!((run.code, resumed_from(&run)), (Some(0), arrived as u64), "{}", run.output());
}

#[test]
fn a_kill_while_the_host_does_not_answer_costs_nothing() {
    a_kill_costs_nothing_while_the_host_is_away(|| Reply::raw(b"").end(End::Hold));
}

#[test]
fn a_kill_while_a_connection_waits_to_try_again_costs_nothing() {
    a_kill_costs_nothing_while_the_host_is_away(|| Reply::new(503, b"").header("Retry-After", "60"));
}

/// The first file of a batch arrives, and the host is away then.
#[test]
fn a_file_is_published_while_the_next_of_its_batch_waits() {
    let asked = Arc::new(AtomicUsize::new(0));
    let sample = |at| {
        let asked = asked.clone();
        Hosted::sample(&format!("{at}.png"), &picture(at), move |file, ask| {
            let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            if is_first { file.honest(ask) } else { Reply::raw(b"").end(End::Hold) }
        })
    };
    let rig = Rig::new(World::of((0..40).map(sample).collect()));
    let mut child = start(&rig, 1);
    let samples = rig.dir().join("samples");
    // The connection that waits gives up after half a minute.
    wait(Duration::from_secs(20), || std::fs::read_dir(&samples).is_ok_and(|files| files.count() == 1));
    assert_eq!(rig.host.asks().len(), 2);
    stop(&mut child, rustix::process::Signal::KILL);
}

/// All of it is here before any record was due, and the disk takes a second for each flush.
#[test]
fn a_file_that_waits_for_its_flush_is_recorded() {
    if !have(&["strace"]) {
        return;
    }
    let file = weights(1, 2 * DELIVERED);
    let rig = Rig::new(World::of(vec![Hosted::checkpoint(&file, File::honest)]));
    let dir = rig.dir();
    let command = rig.command(&[JOB, dir.to_str().unwrap(), "--once"]);
    let mut run = begin_with_fault(&command, "fsync,fdatasync:delay_enter=1000000");
    wait(Duration::from_secs(60), || recorded(&dir) >= file.len() as u64);
    assert!(run.wait().unwrap().success());
    assert_eq!(std::fs::read(dir.join("lora_000000250.safetensors")).unwrap(), *file.bytes);
}

/// From cron each look is a run of its own, and a run that was cut off cannot report what became of its file.
#[test]
fn a_file_that_a_killed_run_awaited_is_reported_when_it_is_offered_no_more() {
    let (kept, lost) = (weights(1, MIB), weights(2, 2 * DELIVERED));
    let is_deleted = Arc::new(AtomicBool::new(false));
    let deleted = is_deleted.clone();
    let names = ["lora_000000500.safetensors", "lora_000000250.safetensors"];
    let world = World::of(vec![
        Hosted::checkpoint(&kept, |file, ask| file.honest(ask)).at(&format!("/out/{}", names[0]), names[0]),
        Hosted::checkpoint(&lost, |file, ask| file.honest(ask).cut(DELIVERED, End::Hold))
            .at(&format!("/out/{}", names[1]), names[1]),
    ]);
    let rig = Rig::new(world.api(move |ask, listing| {
        let mut result = listing.result.clone();
        if deleted.load(Ordering::Relaxed) {
            result["artifacts"]["checkpoints"].as_array_mut().unwrap().truncate(1);
        }
        ask.path().ends_with("/result").then(|| Reply::json(&result.to_string()))
    }));
    let dir = rig.dir();
    let mut command = rig.command(&[JOB, dir.to_str().unwrap(), "--once"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait(Duration::from_secs(60), || dir.join(names[0]).exists() && dir.join("job.json").exists());
    stop(&mut child, rustix::process::Signal::KILL);
    is_deleted.store(true, Ordering::Relaxed);
    let first = rig.once(&[]);
    assert_eq!(first.code, Some(0), "{}", first.output());
    let vanished = first.events("vanished");
    assert_eq!(vanished.len(), 1, "{}", first.output());
    assert_eq!(vanished[0]["path"], names[1]);
    let second = rig.once(&[]);
    assert_eq!(second.events("vanished").len(), 0, "it was reported: {}", second.output());
}
