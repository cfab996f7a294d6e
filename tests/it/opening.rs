//! A folder with files that have to be read first, since the record of what they hold was lost: it is checked with progress,
//! can be interrupted, and continues.

use std::fs;
use std::path::Path;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Bench, Lines, code, stderr};

/// More than any machine reads in half a minute; on the disk it is a hole.
const ENDLESS: u64 = 1 << 40;

async fn mirrored() -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let plan =
        JobPlan { steps: 500, keep: 0, checkpoint_bytes: 60_000, picture_side: 32, ..JobPlan::default() };
    let job = simulator.add_job(plan);
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    bench.simulator.clear_requests();
    bench
}

const LONG: &str = "my_first_lora.safetensors";

/// Damages the manifest: what the files hold is then remembered by `job.json` alone.
fn damage_manifest(dir: &Path) {
    for name in ["manifest.json", "journal.jsonl"] {
        let path = dir.join(".rcsync").join(name);
        if path.exists() {
            fs::write(path, "damaged\n").unwrap();
        }
    }
}

/// Makes a file as long as that, and `job.json` remember it so.
fn lengthen(dir: &Path, length: u64) {
    let path = dir.join("job.json");
    let mut job: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let rows = job["artifacts"].as_array_mut().unwrap();
    let row = rows.iter_mut().find(|row| row["path"] == LONG).unwrap();
    row["size"] = length.into();
    fs::write(&path, serde_json::to_string_pretty(&job).unwrap()).unwrap();
    set_length(&dir.join(LONG), length);
}

fn set_length(file: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_folder_shows_progress_can_be_interrupted_and_continues() {
    let bench = mirrored().await;
    let dir = bench.dir();
    damage_manifest(&dir);
    let remembered = fs::read(dir.join("job.json")).unwrap();
    let length = fs::metadata(dir.join(LONG)).unwrap().len();
    lengthen(&dir, ENDLESS);
    let lengthened = fs::read(dir.join("job.json")).unwrap();

    let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap()]);
    let mut running = command.spawn().unwrap();
    let lines = Lines::of(running.stderr.take().unwrap());
    let line = lines.wait_for("progress", |line| line.starts_with("checking"));
    assert!(line.contains(" of 1.0 TiB") && line.contains(" files, "), "{line}");
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    lines.wait_for("the end", |line| line.starts_with("stopped"));
    assert_eq!(running.wait().unwrap().code(), Some(130));
    // What is remembered is still remembered, of every file.
    assert_eq!(fs::read(dir.join("job.json")).unwrap(), lengthened);
    assert_eq!(fs::metadata(dir.join(LONG)).unwrap().len(), ENDLESS);

    set_length(&dir.join(LONG), length);
    fs::write(dir.join("job.json"), remembered).unwrap();
    bench.simulator.clear_requests();
    let next = bench.once(&[]).await;
    assert_eq!(code(&next), 0, "{}", stderr(&next));
    bench.assert_sums_pass();
    let fetched: Vec<String> = bench
        .simulator
        .requests()
        .into_iter()
        .filter(|request| request.body_bytes > 0 && request.path.contains("safetensors"))
        .map(|request| request.path)
        .collect();
    assert_eq!(fetched, [""; 0], "every file was read here");
}
