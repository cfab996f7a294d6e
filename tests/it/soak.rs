//! A long run at high pace, with everything that happens in a week beside a training: memory and open files stay flat.
//!
//! Not part of a usual test run: `benches/soak` calls it with `RCSYNC_SOAK_MINUTES` and `RCSYNC_PROGRAM`, a release build of
//! the program.

use std::time::{Duration, Instant};

use rcsync::simulator::{Fault, HostOptions, JobPlan, Simulator, SimulatorConfig, What};

use crate::support::{Bench, code, stderr};

/// How often the process is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the process held at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    rss_kib: u64,
    files: usize,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as many minutes as RCSYNC_SOAK_MINUTES gives it"]
async fn memory_and_open_files_stay_flat() {
    let minutes = std::env::var("RCSYNC_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let length = Duration::from_secs(60 * minutes);
    let step_time = Duration::from_millis(20);
    let host = HostOptions { link_lifetime: Some(Duration::from_secs(20)), ..HostOptions::default() };
    let config = SimulatorConfig { host, step_time: Some(step_time), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    // A save and two samples a second; the newest three saves stay, so that a late mirror loses some.
    let job = simulator.add_job(JobPlan {
        steps: u64::try_from(length.as_millis() / step_time.as_millis()).unwrap(),
        save_every: 50,
        sample_every: 50,
        keep: 3,
        checkpoint_bytes: 2_000_000,
        picture_side: 64,
        ..JobPlan::default()
    });
    let bench = Bench::new(simulator, job);
    let dir = bench.dir();
    let arguments =
        [bench.job.as_str(), dir.to_str().unwrap(), "--auto-resume=1000", "--interval", "1s", "-q"];
    let mut run = bench.command(&arguments).spawn().unwrap();

    let began = Instant::now();
    let mut looks: Vec<Held> = Vec::new();
    let (mut outages, mut preemptions) = (0, 0);
    while run.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < length * 3 + Duration::from_secs(120), "it does not end");
        tokio::time::sleep(LOOK).await;
        let Some(held) = look(run.id()) else { break };
        looks.push(held);
        match looks.len() % 12 {
            3 => bench.simulator.expire_links(),
            5 => {
                bench.simulator.fault(Fault::always("/status", What::status(503)));
                outages += 1;
            }
            7 => bench.simulator.clear_faults(),
            9 => {
                bench.simulator.preempt(&bench.job);
                preemptions += 1;
            }
            _ => {}
        }
        if looks.len().is_multiple_of(60) {
            println!(
                "{:>5.0} s  step {:>6}  {held:?}",
                began.elapsed().as_secs_f64(),
                bench.simulator.step(&bench.job)
            );
        }
    }
    let output = run.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let files = bench.assert_published_is_true();
    bench.assert_sums_pass();

    // The first fifth is for warming up: allocators, pools of connections, the first files.
    let settled = &looks[looks.len() / 5..];
    let (early, late) = settled.split_at(settled.len() / 2);
    let most = |looks: &[Held]| {
        (
            looks.iter().map(|held| held.rss_kib).max().unwrap(),
            looks.iter().map(|held| held.files).max().unwrap(),
        )
    };
    let ((early_rss, early_files), (late_rss, late_files)) = (most(early), most(late));
    println!(
        "{files} files; {outages} outages, {preemptions} preemptions; most RSS {early_rss} KiB in the first half, \
         {late_rss} KiB in the second; most open files {early_files}, {late_files}"
    );
    for (name, looks) in ["first", "second", "last"].iter().zip(looks.chunks(looks.len().div_ceil(3))) {
        let sum: u64 = looks.iter().map(|held| held.rss_kib).sum();
        let ((most, _), mean) = (most(looks), sum / looks.len() as u64);
        println!("{name} third: RSS {mean} KiB in the mean, {most} KiB at the most");
    }
    assert!(late_rss < early_rss + early_rss / 4 + 4096, "memory grows");
    assert!(late_files <= early_files + 8, "open files grow");
}

fn look(process: u32) -> Option<Held> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kib = rss.trim().trim_end_matches("kB").trim().parse().ok()?;
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    Some(Held { rss_kib, files })
}
