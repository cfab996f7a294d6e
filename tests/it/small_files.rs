//! What files cost in system calls and hand-overs between threads, which does not depend on the machine, and what happens when a
//! folder is replaced while many of them get their names.

use std::collections::BTreeMap;
use std::fs;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};

use crate::rig::{begin_with_fault, bytes_by_threads, count_calls, have};
use crate::support::{Bench, code, stderr, until};

/// A job with so many samples and little else.
async fn samples(count: u64) -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let prompts = (0..4).map(|at| format!("prompt {at}")).collect();
    let job = simulator.add_job(JobPlan {
        steps: 10 * count / 4,
        save_every: 1_000_000,
        sample_every: 10,
        checkpoint_bytes: 20_000,
        picture_side: 32,
        prompts,
        ..JobPlan::default()
    });
    simulator.finish(&job);
    Bench::new(simulator, job)
}

/// A busy machine adds calls, and never takes one away.
const TRIES: usize = 6;

/// The system calls of each of so many more files in a first run, by name.
async fn calls_a_file(only: Option<&'static str>) -> BTreeMap<String, f64> {
    const MORE: u64 = 400;
    let (few, many) = (samples(40).await, samples(40 + MORE).await);
    let calls = move |bench: &Bench| {
        let dir = bench.dir();
        count_calls(
            &bench.command(&["sync", bench.job.as_str(), dir.to_str().unwrap(), "--once", "-q"]),
            only,
        )
    };
    let counting = tokio::task::spawn_blocking(move || {
        let (few, many) = (calls(&few), calls(&many));
        let more = |(name, count): (&String, &f64)| {
            (name.clone(), (count - few.get(name).copied().unwrap_or_default()) / MORE as f64)
        };
        many.iter().map(more).collect()
    });
    counting.await.unwrap()
}

/// The calls that each file needs: receive, send, create, write, flush, look, rename, close.
const NEEDED: f64 = 8.0;

/// The calls that are made for every file, where `count` are made for each on average. What is done for groups of files (waking,
/// the journal, the folders, the end) adds a share to some of them, and a larger one on a busy machine, whose groups are smaller.
fn calls_for_every_file(count: f64) -> f64 {
    (count + 0.25).floor()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_costs_eight_system_calls_and_shares_of_others() {
    if !have(&["strace"]) {
        return;
    }
    let mut least = (f64::MAX, f64::MAX, BTreeMap::new());
    for _ in 0..TRIES {
        let mut calls = calls_a_file(None).await;
        // Threads wait for each other while the tracer holds one of them; see below.
        calls.remove("futex");
        // A check of each descriptor in builds with debug assertions.
        calls.remove("fcntl");
        let whole = calls.values().copied().map(calls_for_every_file).sum::<f64>();
        let all = calls.values().sum::<f64>();
        if (whole, all) < (least.0, least.1) {
            least = (whole, all, calls);
        }
        if least.0 <= NEEDED && least.1 <= NEEDED + 2.0 {
            break;
        }
    }
    let (whole, all, calls) = least;
    assert!(whole <= NEEDED && all <= NEEDED + 6.0, "{whole} for every file, {all:.2} in all: {calls:.2?}");
}

/// Before files were committed in groups, each cost 5.9 calls.
const MOST_FUTEX_CALLS: f64 = 3.0;

/// Threads that meet at a lock call futex too, the more so the busier the machine is: the least of some tries counts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "counts hand-overs between threads: it needs a quiet machine"]
async fn a_small_file_wakes_no_thread() {
    if !have(&["strace"]) {
        return;
    }
    let mut least = f64::MAX;
    for _ in 0..TRIES {
        let calls = calls_a_file(Some("futex")).await;
        least = calls.get("futex").copied().unwrap_or_default().min(least);
        if least < MOST_FUTEX_CALLS {
            break;
        }
    }
    assert!(least < MOST_FUTEX_CALLS, "{least:.2} calls of futex a file");
}

/// E9: a folder of the mirror becomes a link to elsewhere while files get their names in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_becomes_a_link_in_the_middle_of_a_group_leads_nowhere() {
    if !have(&["strace"]) {
        return;
    }
    let bench = samples(200).await;
    let (dir, samples) = (bench.dir(), bench.dir().join("samples"));
    let (outside, moved) = (dir.with_file_name("outside"), dir.with_file_name("moved"));
    fs::create_dir(&outside).unwrap();
    let arguments = ["sync", bench.job.as_str(), dir.to_str().unwrap(), "--once"];
    // Each name takes a fiftieth of a second, so that the folder is replaced between two of a group.
    let mut run = begin_with_fault(&bench.command(&arguments), "renameat2:delay_exit=20000");
    let count = |folder: &std::path::Path| fs::read_dir(folder).map_or(0, Iterator::count);
    until("some files have their names", || count(&samples) > 5).await;
    fs::rename(&samples, &moved).unwrap();
    std::os::unix::fs::symlink(&outside, &samples).unwrap();
    let output = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut run.stderr.take().unwrap(), &mut said).unwrap();
        (run.wait().unwrap(), said)
    });
    let (status, said) = output.await.unwrap();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("/samples`"), "{said}");
    assert_eq!(count(&outside), 0, "{said}");
    // What was in the folder that was moved is what the manifest had in it: the user's, and whole.
    for entry in fs::read_dir(&moved).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(said.contains(&format!("published  samples/{name}")), "`{name}` was left there:\n{said}");
    }
    fs::remove_file(&samples).unwrap();
    fs::rename(&moved, &samples).unwrap();
    let next = bench.once(&[]).await;
    assert_eq!(code(&next), 0, "{}", stderr(&next));
    assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
    bench.assert_sums_pass();
}

/// The bytes of a checkpoint, fetched by one connection: written by the thread that received them, and by others.
async fn written(inject: Option<&'static str>) -> [u64; 2] {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(JobPlan {
        steps: 10,
        save_every: 1_000_000,
        sample_every: 1_000_000,
        checkpoint_bytes: LARGE,
        prompts: Vec::new(),
        ..JobPlan::default()
    });
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    let arguments = ["sync", bench.job.as_str(), "out", "--once", "-q", "--connections", "1"];
    let mut command = bench.command(&arguments);
    command.current_dir(bench.dir().parent().unwrap());
    let writing = tokio::task::spawn_blocking(move || bytes_by_threads(&command, inject));
    let [received, others] = writing.await.unwrap();
    assert!(received + others >= LARGE, "{received} and {others} bytes");
    [received, others]
}

const LARGE: u64 = 12_000_000;

/// Bytes that come in order are written and hashed while the processor's cache still has them. A machine that is busy can make a write
/// slow, so the best of some tries counts.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_order_are_written_by_the_thread_that_received_them() {
    if !have(&["strace"]) {
        return;
    }
    let mut least = u64::MAX;
    for _ in 0..TRIES {
        let [_, others] = written(None).await;
        least = others.min(least);
        if least == 0 {
            break;
        }
    }
    assert!(least <= LARGE / 10, "{least} bytes were handed to another thread");
}

/// A thread that receives is needed by every other connection, by the API and by signals.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_does_not_hold_up_the_threads_that_receive() {
    if !have(&["strace"]) {
        return;
    }
    let [received, others] = written(Some("delay_exit=30000")).await;
    // One write finds out.
    assert!(received <= 1 << 20, "{received} bytes were written where they arrived, {others} elsewhere");
}
