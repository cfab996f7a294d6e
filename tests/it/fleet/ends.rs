//! Signals and kills: parts are kept, locks are given back, the next run continues.
#![cfg(unix)]

use std::collections::BTreeMap;

use rcsync::simulator::{Fault, Origin, What};
use rustix::process::Signal;

use super::yard::{Running, Yard, plan};
use crate::support::{code, recorded, stderr, until};

const DEST: &str = "loras/{name}";

/// What the host sends of each checkpoint before it stalls, of 6 MiB.
const SENT: u64 = 3 << 20;

/// Five jobs with one checkpoint each, which comes half; returns when a record names all that came.
async fn in_the_middle(once: bool) -> (Yard, Running) {
    let plans = (0..5).map(|number| rcsync::simulator::JobPlan {
        checkpoint_bytes: 2 * SENT,
        save_every: 0,
        ..plan(&format!("dog-{number}"))
    });
    let yard = Yard::of(plans.collect()).await;
    yard.finish_all();
    for number in 0..5 {
        let checkpoint = format!("dog-{number}.safetensors");
        yard.simulator().fault(Fault::once(checkpoint.clone(), What::Stall(SENT)));
        yard.simulator().fault(Fault::always(checkpoint, What::Stall(0)));
    }
    let list = yard.list_of(&yard.jobs);
    let mut arguments = vec![list.to_str().unwrap(), DEST];
    arguments.extend(once.then_some("--once"));
    let fleet = yard.start(&arguments);
    until("a part of each is recorded", || (0..5).all(|number| recorded(&yard.dir(number)) == SENT)).await;
    (yard, fleet)
}

/// Runs the fleet to its end, which requests no byte that was here: what a range that was split later sends in vain is beyond
/// them, and depends on how busy the machine is.
async fn again(yard: &Yard) {
    yard.simulator().clear_faults();
    yard.simulator().clear_requests();
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--once"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    yard.assert_complete(0..5);
    let requests = yard.simulator().requests().into_iter();
    let checkpoints = requests
        .filter(|request| request.origin == Origin::Artifacts && request.path.contains(".safetensors"));
    let mut starts: BTreeMap<String, u64> = BTreeMap::new();
    for request in checkpoints {
        let range = request.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
        let start = range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0);
        let least = starts.entry(request.path).or_insert(start);
        *least = start.min(*least);
    }
    assert_eq!(starts.into_values().collect::<Vec<_>>(), [SENT; 5], "parts are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_all_in_good_order() {
    for (signal, exit) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (yard, fleet) = in_the_middle(false).await;
        fleet.signal(signal);
        for job in &yard.jobs {
            let done = fleet.wait_for(job, "done", |_| true);
            assert_eq!((&done["exit_code"], &done["over"]), (&exit.into(), &false.into()));
        }
        assert_eq!(fleet.end().await, exit);
        for number in 0..5 {
            assert!(!yard.dir(number).join(".rcsync/lock").exists(), "dog-{number} is locked");
        }
        again(&yard).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fleet_is_continued() {
    let (yard, mut fleet) = in_the_middle(true).await;
    fleet.child.kill().unwrap();
    fleet.child.wait().unwrap();
    again(&yard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_learns_about_all_jobs() {
    let yard = Yard::new(3).await;
    yard.finish_all();
    let path = yard.root().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let list = yard.list_of(&yard.jobs);
    let mut command = yard.command(&[list.to_str().unwrap(), DEST]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let hearing = std::thread::spawn(move || {
        let (mut reported, mut buffer) = (Vec::new(), [0; 4096]);
        while !reported.iter().any(|text: &String| text.contains("STOPPING=1")) {
            let count = socket.recv(&mut buffer).unwrap();
            reported.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
        }
        reported
    });
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let reported = hearing.join().unwrap();
    let at = |word: &str| reported.iter().position(|text| text.contains(word));
    assert!(at("READY=1").is_some() && at("READY=1") < at("STOPPING=1"), "{reported:?}");
    assert!(at("WATCHDOG=1").is_some() && at("STATUS=3 jobs: ").is_some(), "{reported:?}");
}
