//! Transfers while the ground moves: links that expire, files that change, hosts that push back, disks that are full.

use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use rcsync::simulator::{Fault, HostOptions, JobPlan, Simulator, SimulatorConfig, TrainerHash, What};

use crate::support::{Bench, code, snapshot, stderr, until};

const MIB: u64 = 1 << 20;

/// One checkpoint large enough for several connections.
fn large() -> JobPlan {
    JobPlan {
        steps: 100,
        save_every: 0,
        checkpoint_bytes: 40 * MIB,
        trainer_hash: TrainerHash::Missing,
        prompts: Vec::new(),
        ..JobPlan::default()
    }
}

async fn bench(host: HostOptions, plan: JobPlan) -> Bench {
    let simulator = Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await.unwrap();
    let job = simulator.add_job(plan);
    Bench::new(simulator, job)
}

fn start(bench: &Bench, more: &[&str]) -> Child {
    let dir = bench.dir();
    let mut arguments = vec![bench.job.as_str(), dir.to_str().unwrap()];
    arguments.extend(more);
    bench.command(&arguments).stdout(Stdio::piped()).spawn().unwrap()
}

async fn output(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

fn throttled() -> HostOptions {
    HostOptions { throttle: Some(4 * MIB), ..HostOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_under_eight_connections_comes_whole_in_its_new_revision() {
    let bench = bench(throttled(), large()).await;
    bench.simulator.finish(&bench.job);
    // Every connection breaks again and again, so that requests are left to be made when the file has changed.
    bench.simulator.fault(Fault::once(".safetensors", What::Cut(2 * MIB)).times(24));
    let child = start(&bench, &["--once", "--connections", "8"]);
    let simulator = &bench.simulator;
    until("several connections have delivered something", || {
        simulator.peak_transfers() >= 4 && simulator.artifact_bytes() > MIB
    })
    .await;
    let path = "my_first_lora.safetensors";
    simulator.rewrite(&bench.job, path);
    let done = output(child).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let newest = simulator.truth(&bench.job)[path].last().unwrap().sha256.to_string();
    let sums = std::fs::read_to_string(bench.dir().join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&newest), "the old revision, or a mixture, was published");
    bench.assert_sums_pass();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_expire_in_mid_file_are_renewed_once_for_all_connections() {
    let bench = bench(throttled(), large()).await;
    bench.simulator.finish(&bench.job);
    // Every connection breaks once, in the middle of its first piece, so that each of them has to come back with its link.
    bench.simulator.fault(Fault::once(".safetensors", What::Cut(MIB)).times(8));
    let child = start(&bench, &["--once", "--connections", "8"]);
    let simulator = &bench.simulator;
    until("every connection has delivered something", || simulator.artifact_bytes() > 4 * MIB).await;
    simulator.expire_links();
    let done = output(child).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let requests = simulator.requests();
    let refused = requests.iter().filter(|request| request.status == 403).count();
    let asked = requests.iter().filter(|request| request.path.ends_with("/result")).count();
    assert!(refused >= 2, "{refused} connections found their link expired");
    assert_eq!(asked, 2, "the first look, and one renewal for all");
    assert!(simulator.artifact_bytes() < 60 * MIB, "what was here was kept");
    assert_eq!(bench.assert_published_is_true(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asks_for_less_is_left_alone_by_every_connection() {
    let plan = JobPlan { checkpoint_bytes: 10_000, ..large() };
    let plan = JobPlan { prompts: vec!["a".into(); 200], picture_side: 16, first_sample: false, ..plan };
    let bench = bench(HostOptions::default(), JobPlan { sample_every: 100, ..plan }).await;
    bench.simulator.finish(&bench.job);
    bench.simulator.fault(Fault::once("samples/", What::retry_after(429, "2")).after(20));
    let child = start(&bench, &["--once"]);
    let simulator = &bench.simulator;
    until("the host asked for less", || simulator.requests().iter().any(|request| request.status == 429))
        .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let then = simulator.artifact_requests();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(simulator.artifact_requests(), then, "a request was sent although the host wanted a pause");
    assert!(then < 100, "the pause came in the middle: {then}");
    let done = output(child).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(bench.assert_sums_pass(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_stay_free_stays_free() {
    let bench = bench(HostOptions::default(), large()).await;
    bench.simulator.finish(&bench.job);
    let full = bench.once(&["--min-free", "1000T"]).await;
    assert_eq!(code(&full), 74, "{}", stderr(&full));
    assert!(stderr(&full).contains("(`--min-free`)"), "{}", stderr(&full));
    let written: u64 = snapshot(&bench.dir()).values().map(|(size, _)| size).sum();
    assert!(written < MIB, "{written} bytes were written all the same");
    let next = bench.once(&[]).await;
    assert_eq!(code(&next), 0, "{}", stderr(&next));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_waits_for_the_slowest_connection() {
    let host = HostOptions { throttle: Some(2 * MIB), ..HostOptions::default() };
    let bench = bench(host, large()).await;
    bench.simulator.finish(&bench.job);
    // Slower than anything, and above what counts as dripping: without help this would take half an hour.
    bench.simulator.fault(Fault::once(".safetensors", What::Trickle(3000)).after(2));
    let began = Instant::now();
    let done = bench.once(&[]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(!stderr(&done).contains("retry"), "not worth a word: {}", stderr(&done));
    assert_eq!(bench.assert_sums_pass(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_link_and_the_disk_will_not_bear_is_reported_in_time() {
    let host = HostOptions { throttle: Some(MIB / 8), ..HostOptions::default() };
    let config =
        SimulatorConfig { host, step_time: Some(Duration::from_millis(20)), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    // A save a second, of which two are kept; a link that needs half a minute for each; and the run is endless.
    let plan = JobPlan { steps: 1 << 40, save_every: 50, keep: 2, checkpoint_bytes: 8 * MIB, ..large() };
    let job = simulator.add_job(plan);
    let bench = Bench::new(simulator, job);
    let child = start(&bench, &["--connections", "2", "--interval", "1s", "--timeout", "8s"]);
    let done = output(child).await;
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    let reported = stderr(&done);
    let times = |what: &str| reported.matches(what).count();
    assert!(times("the link is too slow for step ") > 0, "{reported}");
    assert_eq!(times("the disk will be full at about step "), 1, "{reported}");
}
