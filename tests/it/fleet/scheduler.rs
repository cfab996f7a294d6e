//! The last event says what a scheduler has to do next.

use rcsync::ArtifactKind;
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob};
use serde_json::{Value, json};

use crate::support::{self, Bench, code};

fn small() -> JobPlan {
    JobPlan { sample_every: 0, ..support::small("my_first_lora") }
}

async fn bench(plan: JobPlan) -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(plan);
    Bench::new(simulator, job)
}

/// One pass: its code, and what its last event tells a scheduler.
async fn pass(bench: &Bench, more: &[&str]) -> (i32, Value) {
    let run = bench.once(&[&["--output", "json"], more].concat()).await;
    let last = String::from_utf8(run.stdout.clone()).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&json!("done"), &json!(code(&run))), "{last}");
    (code(&run), json!([last["job_status"], last["over"], last["next_look_seconds"]]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_reports_whether_and_when_to_come_again() {
    let bench = bench(small()).await;
    bench.simulator.advance_steps(&bench.job, 12);
    assert_eq!(pass(&bench, &[]).await, (0, json!(["RUNNING", false, 15.0])), "pace unknown");
    assert_eq!(pass(&bench, &["--interval", "7s"]).await, (0, json!(["RUNNING", false, 7.0])));
    assert_eq!(pass(&bench, &["--dry-run"]).await, (0, json!(["RUNNING", false, 5.0])));
    bench.simulator.finish(&bench.job);
    assert_eq!(pass(&bench, &[]).await, (0, json!(["STOPPED", false, 2.0])), "files came, so more may");
    assert_eq!(pass(&bench, &[]).await, (0, json!(["STOPPED", true, null])));
    assert_eq!(pass(&bench, &["--dry-run"]).await, (0, json!(["STOPPED", true, null])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ended_badly_is_over_too() {
    let bench = bench(small()).await;
    bench.simulator.advance_steps(&bench.job, 12);
    bench.simulator.fail(&bench.job, "out of memory");
    pass(&bench, &[]).await;
    assert_eq!(pass(&bench, &[]).await, (0, json!(["FAILED", true, null])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_over_is_not_over_while_a_listed_file_is_missing() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let gone = StaticFile::new(ArtifactKind::Checkpoint, "a.safetensors", StaticBytes::Gone);
    let job = simulator.add_static_job(StaticJob { files: vec![gone], ..StaticJob::default() });
    let bench = Bench::new(simulator, job);
    let (code, last) = pass(&bench, &[]).await;
    assert_eq!((code, &last[0], &last[1]), (75, &json!("STOPPED"), &json!(false)));
    assert!(last[2].as_f64().is_some_and(|seconds| (1.0..=60.0).contains(&seconds)), "{last}");
}

/// The pace that earlier passes saw is in the folder.
#[tokio::test(flavor = "multi_thread")]
async fn single_passes_know_the_pace_of_the_training() {
    let bench = bench(JobPlan { steps: 4000, save_every: 1000, ..small() }).await;
    bench.simulator.advance_steps(&bench.job, 1000);
    pass(&bench, &[]).await;
    // The history has whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    bench.simulator.advance_steps(&bench.job, 100);
    let (_, last) = pass(&bench, &[]).await;
    // 900 steps are left until the save, 100 took one or two seconds or three on a busy machine; without a pace it is 15.
    let seconds = last[2].as_f64().unwrap();
    assert!((8.0..=60.0).contains(&seconds) && seconds != 15.0, "{last}");
}
