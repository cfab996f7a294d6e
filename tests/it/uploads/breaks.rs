//! Pushes and submissions that are killed, and typed again.

use std::time::Duration;

use super::rig::{Rig, config};
use crate::support::{Lines, code, stderr, until};

/// Kills of one push. The figure.
pub(super) const KILLS: usize = 20;

/// Kills a push twenty times and lets the next one complete; returns how often each file was sent.
pub(super) async fn uploads_of_a_push_that_is_killed() -> Vec<u32> {
    let rig = Rig::new().await;
    rig.photos("dog", 60);
    // Some files go by the other way, whose arrival shows only when the status is read.
    rig.simulator.set_datasets(|options| {
        options.form_limit = 1600;
        options.latency = Duration::from_millis(15);
    });
    for kill in 0..KILLS {
        let mut child = rig.spawn("dataset push dog --output json");
        let lines = Lines::of(child.stdout.take().unwrap());
        let mut seen = 0;
        let wanted = kill % 5 + 1;
        lines.wait_for("files on their way", |line| {
            assert!(!line.contains("\"done\""), "it ended before it was killed: {line}");
            // By turns right when a file begins, and right when one was accepted.
            seen += usize::from(line.contains(if kill % 2 == 0 { "\"sending\"" } else { "\"sent\"" }));
            seen >= wanted
        });
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    rig.run_to("dataset push dog", 0).await;
    rig.assert_equal("dog", "dog");
    rig.uploads("dog")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_killed_twenty_times_sends_each_file_at_most_once_more() {
    let uploads = uploads_of_a_push_that_is_killed().await;
    assert!(uploads.iter().all(|uploads| *uploads <= 2), "{uploads:?}");
    let surplus: u32 = uploads.iter().map(|uploads| uploads - 1).sum();
    assert!(surplus as usize <= KILLS * 4, "{surplus}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_push_in_good_order() {
    let rig = Rig::new().await;
    rig.photos("dog", 20);
    rig.simulator.set_datasets(|options| options.latency = Duration::from_millis(50));
    let mut child = rig.spawn("dataset push dog --output json");
    let lines = Lines::of(child.stdout.take().unwrap());
    lines.wait_for("an accepted file", |line| line.contains("\"sent\""));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let done = lines.wait_for("the end", |line| line.contains("\"done\""));
    assert!(done.contains("\"exit_code\":130"), "{done}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    rig.run_to("dataset push dog", 0).await;
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads <= 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_is_killed_while_it_sends_continues_and_submits_once() {
    let rig = Rig::new().await;
    rig.photos("dog", 20);
    rig.write("dog.yaml", config(&["dog"]));
    rig.simulator.set_datasets(|options| options.latency = Duration::from_millis(30));
    let mut child = rig.spawn("submit dog.yaml --dataset dog");
    until("some files are there", || {
        rig.simulator.dataset("dog").is_some_and(|dataset| dataset.files.len() > 5)
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rig.posted_jobs(), 0);
    rig.run_to("submit dog.yaml --dataset dog", 0).await;
    assert_eq!(rig.posted_jobs(), 1);
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads <= 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_is_killed_while_it_follows_is_followed_again() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.write("dog.yaml", config(&["dog"]));
    let typed = "submit dog.yaml --dataset dog --follow out --interval 200ms --timeout 20s --output json";
    let mut child = rig.spawn(typed);
    let lines = Lines::of(child.stdout.take().unwrap());
    let submitted = lines.wait_for("a submission", |line| line.contains("\"submitted\""));
    let submitted: serde_json::Value = serde_json::from_str(&submitted).unwrap();
    lines.wait_for("a job", |line| line.contains("\"event\":\"job\""));
    child.kill().unwrap();
    child.wait().unwrap();
    let job = submitted["job_id"].as_str().unwrap().parse().unwrap();
    rig.simulator.finish(&job);
    let done = rig.run(typed).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("submitted already"), "{}", stderr(&done));
    assert_eq!(rig.posted_jobs(), 1, "one job for one command");
    assert!(rig.path("out/dog.safetensors").exists());
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads == 1));
    // It is over: the same command is a new wish. Its folder holds the first job, so nothing is submitted into it.
    rig.run_to(typed, 73).await;
    assert_eq!(rig.posted_jobs(), 1);
}
