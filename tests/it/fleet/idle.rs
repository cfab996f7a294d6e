//! What hundreds of jobs cost that have nothing to do.
#![cfg(target_os = "linux")]

use std::time::Duration;

use super::yard::{Yard, plan};
use crate::support::until;

const JOBS: usize = 200;

fn kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Hundredths of a second on a processor, in the program and in the kernel for it.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_jobs_wait_in_little_memory_and_do_nothing() {
    let plans = (0..JOBS).map(|number| rcsync::simulator::JobPlan {
        sample_every: 0,
        checkpoint_bytes: 10_000,
        ..plan(&format!("dog-{number}"))
    });
    let yard = Yard::of(plans.collect()).await;
    for job in &yard.jobs {
        yard.simulator().advance_steps(job, 12);
    }
    let list = yard.list_of(&yard.jobs);
    let fleet = yard.start(&[list.to_str().unwrap(), "loras/{name}", "--interval", "60s"]);
    let pid = fleet.child.id();
    for (number, job) in yard.jobs.iter().enumerate() {
        fleet.wait_for(job, "published", |reported| reported["kind"] == "checkpoint");
        until("its list is written", || yard.dir(number).join("SHA256SUMS").is_file()).await;
    }
    // Followers gather news for a moment.
    let mut before = ticks(pid);
    until("it rests", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, ticks(pid)) == before
    })
    .await;
    let asked = yard.simulator().api_requests();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let used = ticks(pid) - before;
    // No look is due for some: the paced ones are fifteen seconds apart.
    let looks = (yard.simulator().api_requests() - asked) / 2;
    assert!(used <= 8 + looks, "{used} hundredths of a second in four seconds, for {looks} looks");
    let peak = kib(pid, "VmHWM:");
    assert!(peak <= 150 << 10, "{peak} KiB");
}
