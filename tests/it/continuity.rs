//! A folder that an earlier rcsync wrote is read, verified, continued and pruned by this one.
//!
//! The folders are in `tests/golden`, one a version that wrote it. Their job is one of the simulator at fixed addresses, so
//! that this rcsync can continue it. `RCSYNC_WRITES_GOLDEN=path/to/an/older/rcsync cargo test --test it -- --ignored
//! an_older_rcsync_writes_a_folder` makes another one, in `target/golden`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};

use crate::support::{code, copy_folder, snapshot, stderr};

/// The folder holds the API's origin, so its address has to be the same each time.
const API: ([u8; 4], u16) = ([127, 0, 77, 1], 39177);
const FILES: ([u8; 4], u16) = ([127, 0, 77, 1], 39178);

async fn job_at(steps: u64) -> (Simulator, String) {
    let config =
        SimulatorConfig { listen: API.into(), artifact_listen: FILES.into(), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    let plan =
        JobPlan { steps: 1000, keep: 0, picture_side: 32, checkpoint_bytes: 40_000, ..JobPlan::default() };
    let job = simulator.add_job(plan);
    simulator.advance_steps(&job, steps);
    (simulator, job.to_string())
}

fn rcsync(program: &Path, simulator: &Simulator, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("RUNCOMFY_TRAINER_API_BASE", simulator.api_base())
        .env("RUNCOMFY_TOKEN", simulator.token())
        .env("HOME", "/nonexistent");
    command.output().unwrap()
}

async fn run(program: &Path, simulator: &Simulator, arguments: &[&str]) -> Output {
    let (program, arguments) =
        (program.to_path_buf(), arguments.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    tokio::task::block_in_place(|| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        rcsync(&program, simulator, &arguments)
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "made by hand, with an older rcsync"]
async fn an_older_rcsync_writes_a_folder() {
    let Some(older) = std::env::var_os("RCSYNC_WRITES_GOLDEN").map(PathBuf::from) else { return };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/golden");
    std::fs::create_dir_all(&dir).unwrap();
    let (simulator, job) = job_at(520).await;
    let dir = dir.to_str().unwrap();
    for arguments in
        [&[job.as_str(), dir, "--once", "--exec", "true"][..], &["prune", dir, "--keep-last", "1"]]
    {
        let done = run(&older, &simulator, arguments).await;
        assert_eq!(code(&done), 0, "{arguments:?}: {}", stderr(&done));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_earlier_versions_are_read_verified_continued_and_pruned() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let this = Path::new(env!("CARGO_BIN_EXE_rcsync"));
    let mut versions = 0;
    let (simulator, job) = job_at(770).await;
    for version in std::fs::read_dir(golden).unwrap() {
        versions += 1;
        let version = version.unwrap().path();
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        copy_folder(&version, &dir);
        let dir = dir.to_str().unwrap();
        let expect = async |wanted: i32, arguments: &[&str]| {
            let done = run(this, &simulator, arguments).await;
            let out = String::from_utf8_lossy(&done.stdout).into_owned();
            assert_eq!(code(&done), wanted, "{} {arguments:?}: {out}{}", version.display(), stderr(&done));
            out
        };
        let listed = expect(0, &["ls", dir]).await;
        assert!(listed.contains("my_first_lora_000000500.safetensors"), "{listed}");
        expect(0, &["verify", dir]).await;
        let before = snapshot(Path::new(dir));
        let events = expect(0, &[&job, dir, "--once", "--output", "json"]).await;
        let events: Vec<serde_json::Value> =
            events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let published = || events.iter().filter(|event| event["event"] == "published");
        for event in published() {
            let path = event["path"].as_str().unwrap();
            assert!(!before.contains_key(&Path::new(dir).join(path)), "{path} was fetched again");
            assert_ne!(path, "my_first_lora_000000250.safetensors", "it was pruned");
        }
        assert!(
            published().any(|event| event["path"] == "my_first_lora_000000750.safetensors"),
            "{events:?}"
        );
        expect(0, &["verify", dir]).await;
        expect(0, &["prune", dir, "--keep-last", "1"]).await;
        let listed = expect(0, &["ls", dir]).await;
        assert!(!listed.contains("my_first_lora_000000500.safetensors"), "{listed}");
        expect(0, &["gallery", dir]).await;
    }
    assert!(versions > 0, "no folder of an earlier version");
}
