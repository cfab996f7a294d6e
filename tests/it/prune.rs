//! Retention: as a command and while mirroring.

use rcsync::simulator::{Family, JobPlan, Simulator, SimulatorConfig};

use crate::support::{Bench, code, snapshot, stderr};

fn plan() -> JobPlan {
    JobPlan {
        steps: 1000,
        keep: 0,
        checkpoint_bytes: 60_000,
        picture_side: 32,
        optimizer: true,
        ..JobPlan::default()
    }
}

async fn bench(plan: JobPlan) -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(plan);
    Bench::new(simulator, job)
}

fn weights(bench: &Bench) -> Vec<String> {
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let names = snapshot(&bench.dir()).into_keys().map(name);
    names.filter(|name| name.ends_with(".safetensors")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pruned_is_not_fetched_again_and_everything_stays_true() {
    let bench = bench(JobPlan { checkpoint_bytes: 2_200_000, ..plan() }).await;
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let dir = bench.dir();
    let prune = |more: &[&str]| {
        let mut arguments = vec!["prune", dir.to_str().unwrap()];
        arguments.extend(more);
        bench.command(&arguments).output().unwrap()
    };
    let blocks = || std::fs::read_dir(dir.join(".rcsync/blocks")).unwrap().count();
    assert_eq!(blocks(), 5, "large enough to have sums of their blocks");
    let before = snapshot(&dir);
    let rehearsal = prune(&["--keep-last", "1", "--dry-run"]);
    assert_eq!(code(&rehearsal), 0, "{}", stderr(&rehearsal));
    assert!(String::from_utf8_lossy(&rehearsal.stdout).contains("my_first_lora_000000250.safetensors"));
    assert_eq!(snapshot(&dir), before);

    let lock = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(".rcsync/lock"))
        .unwrap();
    lock.lock().unwrap();
    assert_eq!(code(&prune(&["--keep-last", "1"])), 75, "another rcsync holds the folder");
    drop(lock);

    let pruned = prune(&["--keep-last", "1", "--output", "json"]);
    assert_eq!(code(&pruned), 0, "{}", stderr(&pruned));
    let document: serde_json::Value = serde_json::from_slice(&pruned.stdout).unwrap();
    assert_eq!(document["removed"].as_array().unwrap().len(), 2, "{document}");
    let left = ["my_first_lora.safetensors", "my_first_lora_000000750.safetensors"];
    assert_eq!(weights(&bench), left);
    assert!(dir.join("optimizer.pt").exists());
    bench.assert_sums_pass();
    let job = std::fs::read_to_string(dir.join("job.json")).unwrap();
    assert_eq!(job.matches("\"pruned\"").count(), 2, "{job}");
    // The page and the sums for a repair forget them, too.
    let page = std::fs::read_to_string(dir.join("index.html")).unwrap();
    assert_eq!(page.matches("removed by prune").count(), 2, "the gallery is as it was");
    assert_eq!(blocks(), 3, "of what stays");

    bench.simulator.clear_requests();
    let again = bench.once(&[]).await;
    assert_eq!(code(&again), 0, "{}", stderr(&again));
    assert_eq!(bench.simulator.artifact_requests(), 0);
    assert_eq!(weights(&bench), left);
    bench.assert_sums_pass();
    let verified = bench.command(&["verify", dir.to_str().unwrap()]).output().unwrap();
    assert_eq!(code(&verified), 0);
    // One that the user deleted is missing, and comes again.
    std::fs::remove_file(dir.join(left[1])).unwrap();
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert_eq!(weights(&bench), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_keeps_what_its_rule_keeps() {
    let bench = bench(JobPlan { family: Family::Wan22, save_every: 100, optimizer: false, ..plan() }).await;
    let ui = bench.dir().with_file_name("ui");
    std::fs::create_dir_all(ui.join("models/loras")).unwrap();
    let options = ["--keep-last", "2", "--comfyui", ui.to_str().unwrap()];
    for _ in 0..2 {
        bench.simulator.advance_steps(&bench.job, 370);
        let run = bench.once(&options).await;
        assert_eq!(code(&run), 0, "{}", stderr(&run));
        assert_eq!(weights(&bench).len(), 4, "two pairs: {:?}", weights(&bench));
        bench.assert_sums_pass();
    }
    bench.simulator.finish(&bench.job);
    let run = bench.once(&options).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_eq!(
        weights(&bench),
        [
            "my_first_lora_000000800_high_noise.safetensors",
            "my_first_lora_000000800_low_noise.safetensors",
            "my_first_lora_000000900_high_noise.safetensors",
            "my_first_lora_000000900_low_noise.safetensors",
            "my_first_lora_high_noise.safetensors",
            "my_first_lora_low_noise.safetensors"
        ]
    );
    bench.assert_sums_pass();
    // Followers of the mirror have seen each of them before it was removed.
    let placed = crate::comfy::below(&ui);
    assert_eq!(placed.iter().filter(|path| path.ends_with(".safetensors")).count(), 20, "{placed:?}");
    let before = snapshot(&bench.dir());
    let idle = bench.once(&options).await;
    assert_eq!((code(&idle), stderr(&idle).as_str()), (0, ""));
    assert_eq!(snapshot(&bench.dir()), before);
}

/// Followers wait a second for more to come before they look; a pass that removes files comes ten times in that time.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_in_comfyui_before_it_is_removed_here() {
    let bench = bench(JobPlan { save_every: 100, optimizer: false, ..plan() }).await;
    let ui = bench.dir().with_file_name("ui");
    std::fs::create_dir_all(ui.join("models/loras")).unwrap();
    bench.simulator.finish(&bench.job);
    let (job, dir) = (bench.job.as_str(), bench.dir());
    let options = ["--keep-last", "2", "--interval", "100ms"];
    let mut arguments = vec![job, dir.to_str().unwrap(), "--comfyui", ui.to_str().unwrap()];
    arguments.extend(options);
    let run = bench.command(&arguments).output().unwrap();
    assert_eq!(weights(&bench).len(), 3, "{}", stderr(&run));
    let placed = crate::comfy::below(&ui);
    assert_eq!(placed.iter().filter(|path| path.ends_with(".safetensors")).count(), 10, "{placed:?}");
}
