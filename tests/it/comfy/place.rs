use std::fs;
use std::path::Path;

use rcsync::ArtifactKind;
use rcsync::simulator::{Family, JobPlan, StaticBytes, StaticFile, TrainerHash, Writes};

use super::{Stage, assert_same, plan};
use crate::support::{code, snapshot, stderr};

const ALL: [&str; 8] = [
    "my_first_lora/my_first_lora.jpg",
    "my_first_lora/my_first_lora.safetensors",
    "my_first_lora/my_first_lora_000000250.jpg",
    "my_first_lora/my_first_lora_000000250.safetensors",
    "my_first_lora/my_first_lora_000000500.jpg",
    "my_first_lora/my_first_lora_000000500.safetensors",
    "my_first_lora/my_first_lora_000000750.jpg",
    "my_first_lora/my_first_lora_000000750.safetensors",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_mirrored_job_is_in_comfyui_and_an_idle_pass_changes_nothing() {
    let stage = Stage::new(plan()).await;
    let bench = &stage.bench;
    bench.simulator.finish(&bench.job);
    let first = stage.once(&["--output", "json"]).await;
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    assert!(bench.dir().join("optimizer.pt").exists());
    assert_eq!(stage.placed(), ALL, "LoRAs and their pictures, no pickle");
    assert_eq!(stage.assert_same_bytes(), 4);
    let events = String::from_utf8(first.stdout).unwrap();
    let reported = events.lines().find(|line| line.contains("LoRAs go to")).expect("where, and why there");
    assert!(reported.contains(stage.loras().to_str().unwrap()), "{reported}");
    let mirrored: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["event"] == "mirrored")
        .collect();
    assert_eq!(mirrored.len(), 4);
    for event in mirrored {
        let to = Path::new(event["to"].as_str().unwrap());
        assert!(to.starts_with(stage.loras()) && to.ends_with(event["path"].as_str().unwrap()), "{event}");
        assert!(["reflink", "hardlink", "copy"].contains(&event["how"].as_str().unwrap()), "{event}");
    }

    let before = (snapshot(&bench.dir()), snapshot(&stage.ui()));
    bench.simulator.clear_requests();
    let second = stage.once(&[]).await;
    assert_eq!(code(&second), 0);
    assert_eq!((bench.simulator.api_requests(), bench.simulator.artifact_requests()), (2, 0));
    assert_eq!((snapshot(&bench.dir()), snapshot(&stage.ui())), before);
    assert!(second.stdout.is_empty() && second.stderr.is_empty(), "{}", stderr(&second));
    let third = stage.mirror(&[]).await;
    assert_eq!((code(&third), stderr(&third).as_str()), (0, ""));
    assert_eq!((snapshot(&bench.dir()), snapshot(&stage.ui())), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pickles_are_placed_when_they_are_asked_for() {
    let weights = |step| StaticBytes::Weights { bytes: 9000, step, hash: TrainerHash::Right };
    let pickle = || super::archive(b" not to be loaded");
    let file = |path: &str, bytes| StaticFile::new(ArtifactKind::Checkpoint, path, bytes);
    let files = vec![
        file("dog.safetensors", weights(1000)),
        file("dog.pt", pickle()),
        file("sks_000000250.pt", pickle()),
        file("optimizer.pt", pickle()),
    ];
    let stage = Stage::of_files("dog", files).await;
    assert_eq!(code(&stage.mirror(&["--comfyui-sidecars"]).await), 0);
    let sidecars = ["dog/dog.civitai.info", "dog/dog.json", "dog/dog.safetensors", "dog/dog.sha256"];
    assert_eq!(stage.placed(), sidecars);
    let run = stage.mirror(&["--comfyui-sidecars", "--comfyui-pickles"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    // `optimizer.pt` is no LoRA and is never placed.
    let all = [
        "dog/dog.civitai.info",
        "dog/dog.json",
        "dog/dog.pt",
        "dog/dog.safetensors",
        "dog/dog.sha256",
        "dog/sks_000000250.civitai.info",
        "dog/sks_000000250.json",
        "dog/sks_000000250.pt",
        "dog/sks_000000250.sha256",
    ];
    assert_eq!(stage.placed(), all);
    assert_eq!(stage.assert_same_bytes(), 3);
    // Not asked for any more: what is placed stays, since only `--comfyui-keep` removes.
    assert_eq!(code(&stage.mirror(&[]).await), 0);
    assert_eq!(stage.placed(), all);
    // Both at once, and one name for the sums of two: it is that of the LoRA that can be proven.
    fs::remove_dir_all(stage.loras().join("dog")).unwrap();
    let again = stage.mirror(&["--comfyui-sidecars", "--comfyui-pickles", "--again"]).await;
    assert_eq!(code(&again), 0, "{}", stderr(&again));
    assert_eq!(stage.placed(), all);
    let sums = fs::read_to_string(stage.bench.dir().join("SHA256SUMS")).unwrap();
    let sidecar = fs::read_to_string(stage.loras().join("dog/dog.sha256")).unwrap();
    assert!(sums.contains(&format!("{sidecar}  dog.safetensors")), "{sidecar}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_come_by_the_way_that_was_asked_for() {
    let stage = Stage::finished(plan()).await;
    for (link, name) in [("copy", "my_first_lora_000000250"), ("hardlink", "my_first_lora_000000500")] {
        fs::remove_dir_all(stage.loras().join("my_first_lora")).unwrap_or_default();
        let run = stage.mirror(&["--comfyui-link", link, "--output", "json", "--again"]).await;
        assert_eq!(code(&run), 0, "{}", stderr(&run));
        let events = String::from_utf8(run.stdout).unwrap();
        assert_eq!(events.matches(&format!(r#""how":"{link}""#)).count(), 4, "{events}");
        let path = stage.loras().join(format!("my_first_lora/{name}.safetensors"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(path.metadata().unwrap().nlink() > 1, link == "hardlink", "{link}");
        }
        assert_eq!(stage.assert_same_bytes(), 4);
        assert!(path.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_comfyui_ends_it_before_anything_is_asked() {
    let stage = Stage::new(plan()).await;
    let bench = &stage.bench;
    bench.simulator.finish(&bench.job);
    let odd = bench.dir().with_file_name("odd");
    fs::create_dir_all(odd.join("models/Stable-diffusion")).unwrap();
    for path in [odd.clone(), odd.join("nothing")] {
        let run = bench.once(&["--comfyui", path.to_str().unwrap()]).await;
        assert_eq!(code(&run), 66, "{}", stderr(&run));
        assert!(stderr(&run).contains(path.to_str().unwrap()) && stderr(&run).contains("hint: "));
    }
    assert_eq!(bench.simulator.api_requests(), 0);
    assert!(!bench.dir().exists());
    let none = bench.command(&["mirror", "x"]).output().unwrap();
    assert_eq!(code(&none), 64, "{}", stderr(&none));
    assert!(stderr(&none).contains("--comfyui"));
}

/// A run that ends reports what it did not place, and promises no other try: it has none.
#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn a_run_that_ends_reports_what_it_did_not_place() {
    let stage = Stage::finished(plan()).await;
    let (dir, ui) = (stage.bench.dir(), stage.ui());
    // The job's folder is a link to a disk that is away.
    let link = stage.loras().join("my_first_lora");
    std::os::unix::fs::symlink(dir.with_file_name("away"), &link).unwrap();
    let follow = [stage.bench.job.as_str(), dir.to_str().unwrap(), "--comfyui", ui.to_str().unwrap()];
    for more in [&["--once"][..], &[][..], &["-q"][..]] {
        let run = stage.bench.command(&[&follow[..], more].concat()).output().unwrap();
        let printed = stderr(&run);
        assert_eq!(code(&run), 0, "the mirror itself is complete: {printed}");
        assert_eq!(printed.matches("not everything could be placed in ComfyUI").count(), 1, "{printed}");
        assert!(printed.contains("my_first_lora") && !printed.contains("again"), "{printed}");
    }
    fs::remove_file(&link).unwrap();
    assert_eq!(stage.placed(), [""; 0], "nothing was placed elsewhere");
    let run = stage.bench.command(&[&follow[..], &["--once"]].concat()).output().unwrap();
    assert_eq!((code(&run), stage.assert_same_bytes()), (0, 4), "{}", stderr(&run));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_stays_as_it_is() {
    let stage = Stage::finished(plan()).await;
    let folder = stage.loras().join("my_first_lora");
    fs::create_dir(&folder).unwrap();
    // A foreign file of that name; the same bytes from another tool; a picture that the user chose.
    fs::write(folder.join("my_first_lora_000000250.safetensors"), "theirs").unwrap();
    fs::copy(stage.bench.dir().join("my_first_lora.safetensors"), folder.join("my_first_lora.safetensors"))
        .unwrap();
    fs::write(folder.join("my_first_lora_000000500.preview.png"), "chosen").unwrap();
    let run = stage.mirror(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_eq!(fs::read(folder.join("my_first_lora_000000250.safetensors")).unwrap(), b"theirs");
    let placed = stage.placed();
    let marked = placed
        .iter()
        .find(|path| path.contains("000000250~") && path.ends_with(".safetensors"))
        .expect("placed under a marked name");
    assert_same(&stage.loras().join(marked), &stage.bench.dir().join("my_first_lora_000000250.safetensors"));
    assert!(!placed.iter().any(|path| path.ends_with("my_first_lora_000000500.jpg")), "{placed:?}");

    // Edited after it was placed: kept, and no second copy comes.
    let edited = folder.join("my_first_lora_000000750.safetensors");
    fs::remove_file(&edited).unwrap();
    fs::write(&edited, "edited").unwrap();
    let before = snapshot(&stage.ui());
    for _ in 0..2 {
        assert_eq!(code(&stage.mirror(&[]).await), 0);
        assert_eq!(snapshot(&stage.ui()), before);
    }
    // Nothing of this is ours to remove, either.
    let run = stage.mirror(&["--comfyui-keep", "0"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let left = stage.placed();
    assert_eq!(
        left.iter().filter(|path| path.ends_with(".safetensors")).collect::<Vec<_>>(),
        [
            "my_first_lora/my_first_lora.safetensors",
            "my_first_lora/my_first_lora_000000250.safetensors",
            "my_first_lora/my_first_lora_000000750.safetensors"
        ]
    );
    assert!(folder.join("my_first_lora_000000500.preview.png").exists());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn links_to_folders_are_followed_and_links_that_lead_nowhere_refused() {
    let stage = Stage::finished(plan()).await;
    let nowhere = stage.bench.dir().with_file_name("nowhere");
    let link = stage.loras().join("my_first_lora");
    std::os::unix::fs::symlink(&nowhere, &link).unwrap();
    let run = stage.mirror(&[]).await;
    assert_eq!(code(&run), 73, "{}", stderr(&run));
    assert!(!nowhere.exists() && stderr(&run).contains("my_first_lora"), "{}", stderr(&run));
    // The folder of one job may be a link to another disk.
    let other = stage.bench.dir().with_file_name("other");
    fs::create_dir(&other).unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    let run = stage.mirror(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(other.join("my_first_lora.safetensors").exists());
    let before = snapshot(&other);
    assert_eq!(code(&stage.mirror(&[]).await), 0);
    assert_eq!(snapshot(&other), before);
    // What is a link itself is not ours, and stays.
    let linked = other.join("my_first_lora_000000250.safetensors");
    fs::remove_file(&linked).unwrap();
    std::os::unix::fs::symlink("my_first_lora.safetensors", &linked).unwrap();
    assert_eq!(code(&stage.mirror(&["--comfyui-keep", "0"]).await), 0);
    assert!(linked.symlink_metadata().unwrap().is_symlink());
    // The loras folder itself may be a link: that is how people share it.
    let shared = stage.bench.dir().with_file_name("shared");
    fs::create_dir(&shared).unwrap();
    fs::remove_file(&link).unwrap();
    fs::remove_dir(stage.loras()).unwrap();
    std::os::unix::fs::symlink(&shared, stage.loras()).unwrap();
    let run = stage.mirror(&["--again"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(shared.join("my_first_lora/my_first_lora.safetensors").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_is_one_folder() {
    let stage = Stage::finished(JobPlan { name: "..\\..\\evil: dog".to_owned(), ..plan() }).await;
    let run = stage.mirror(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let placed = stage.placed();
    let listed = super::below(&stage.bench.dir());
    assert!(!placed.is_empty(), "{listed:?}");
    assert!(placed.iter().filter(|path| path.ends_with(".safetensors")).count() > 0, "{placed:?}");
    let folders: Vec<_> = fs::read_dir(stage.loras()).unwrap().collect();
    assert_eq!(folders.len(), 1, "{placed:?}");
    assert_eq!(super::below(&stage.ui()).len(), placed.len(), "nothing beside the loras folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_halves_of_a_pair_or_none() {
    let plan = JobPlan { family: Family::Wan22, optimizer: false, ..plan() };
    let stage = Stage::new(plan).await;
    let bench = &stage.bench;
    bench.simulator.advance_steps(&bench.job, 300);
    let low = "my_first_lora_000000250_low_noise.safetensors";
    bench.simulator.set_written(&bench.job, low, Writes::Growing, 1, 2);
    let half = stage.once(&[]).await;
    assert_eq!(code(&half), 75, "{}", stderr(&half));
    assert!(bench.dir().join("my_first_lora_000000250_high_noise.safetensors").exists());
    assert_eq!(stage.placed(), [""; 0], "not half a pair");
    let words =
        "`my_first_lora_000000250_high_noise.safetensors` is not placed in ComfyUI: it is half of a pair";
    assert!(stderr(&half).contains(words), "{}", stderr(&half));
    assert_eq!(code(&stage.mirror(&[]).await), 75);
    assert_eq!(stage.placed(), [""; 0]);
    bench.simulator.finish_writes(&bench.job);
    let whole = stage.once(&[]).await;
    assert_eq!(code(&whole), 0, "{}", stderr(&whole));
    assert_eq!(
        stage.placed(),
        [
            "my_first_lora/my_first_lora_000000250_high_noise.jpg",
            "my_first_lora/my_first_lora_000000250_high_noise.safetensors",
            "my_first_lora/my_first_lora_000000250_low_noise.jpg",
            "my_first_lora/my_first_lora_000000250_low_noise.safetensors"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_and_the_final_are_kept() {
    let stage = Stage::finished(plan()).await;
    assert_eq!(code(&stage.mirror(&["--comfyui-sidecars"]).await), 0);
    let sidecar = fs::read_to_string(stage.loras().join("my_first_lora/my_first_lora.sha256")).unwrap();
    let sums = fs::read_to_string(stage.bench.dir().join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&format!("{sidecar}  my_first_lora.safetensors")), "{sidecar}");
    fs::write(stage.loras().join("my_first_lora/notes.txt"), "mine").unwrap();
    let theirs = stage.loras().join("my_first_lora/my_first_lora_000000250.metadata.json");
    fs::write(&theirs, "{}").unwrap();
    fs::write(stage.loras().join("my_first_lora/my_first_lora_000000500.json"), "edited").unwrap();
    let run = stage.mirror(&["--comfyui-keep", "1"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    for left in [
        "beside `my_first_lora/my_first_lora_000000250.safetensors` there stays what rcsync did not write: `my_first_lora_000000250.metadata.json`",
        "beside `my_first_lora/my_first_lora_000000500.safetensors` there stays what rcsync did not write: `my_first_lora_000000500.json`",
    ] {
        assert!(stderr(&run).contains(left), "{}", stderr(&run));
    }
    let removed = stderr(&run).matches("is removed from ComfyUI").count();
    let said = String::from_utf8(run.stdout.clone()).unwrap() + &stderr(&run);
    assert!(removed > 0 && said.contains(&format!(", {removed} removed")), "{said}");
    let kept = [
        "my_first_lora/my_first_lora.civitai.info",
        "my_first_lora/my_first_lora.jpg",
        "my_first_lora/my_first_lora.json",
        "my_first_lora/my_first_lora.safetensors",
        "my_first_lora/my_first_lora.sha256",
        "my_first_lora/my_first_lora_000000250.metadata.json",
        "my_first_lora/my_first_lora_000000500.json",
        "my_first_lora/my_first_lora_000000750.civitai.info",
        "my_first_lora/my_first_lora_000000750.jpg",
        "my_first_lora/my_first_lora_000000750.json",
        "my_first_lora/my_first_lora_000000750.safetensors",
        "my_first_lora/my_first_lora_000000750.sha256",
        "my_first_lora/notes.txt",
    ];
    assert_eq!(stage.placed(), kept);
    let before = snapshot(&stage.ui());
    assert_eq!(code(&stage.mirror(&["--comfyui-keep", "1"]).await), 0);
    assert_eq!(snapshot(&stage.ui()), before, "what was removed does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_edited_since_it_was_placed_stays_and_an_edited_picture_shows_nothing() {
    let stage = Stage::finished(plan()).await;
    let samples = super::below(&stage.bench.dir());
    let is_first_of_500 = |path: &&String| path.ends_with("__000000500_0.jpg");
    let sample = stage.bench.dir().join(samples.iter().find(is_first_of_500).expect("a sample"));
    let mut picture = fs::read(&sample).unwrap();
    *picture.last_mut().unwrap() ^= 1;
    fs::write(&sample, picture).unwrap();
    assert_eq!(code(&stage.mirror(&[]).await), 0);
    let folder = stage.loras().join("my_first_lora");
    assert!(folder.join("my_first_lora_000000500.safetensors").exists());
    assert!(!folder.join("my_first_lora_000000500.jpg").exists(), "its bytes were never proven");
    // DIR has forgotten the LoRA by the time that its edited copy would have to go.
    let dir = stage.bench.dir();
    let pruned = stage.bench.command(&["prune", dir.to_str().unwrap(), "--keep-last", "1"]).output().unwrap();
    assert_eq!(code(&pruned), 0, "{}", stderr(&pruned));
    let edited = folder.join("my_first_lora_000000250.safetensors");
    fs::remove_file(&edited).unwrap();
    fs::write(&edited, "edited").unwrap();
    assert_eq!(code(&stage.mirror(&["--comfyui-keep", "1"]).await), 0);
    assert_eq!(fs::read(&edited).unwrap(), b"edited");
    assert!(!folder.join("my_first_lora_000000500.safetensors").exists(), "this one was not edited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_that_changed_gets_a_name_of_its_own() {
    let stage = Stage::finished(plan()).await;
    assert_eq!(code(&stage.mirror(&[]).await), 0);
    let first = fs::read(stage.loras().join("my_first_lora/my_first_lora.safetensors")).unwrap();
    let bench = &stage.bench;
    bench.simulator.rewrite(&bench.job, "my_first_lora.safetensors");
    bench.simulator.resume(&bench.job);
    bench.simulator.finish(&bench.job);
    let run = stage.once(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let new = fs::read(bench.dir().join("my_first_lora.safetensors")).unwrap();
    assert!(new != first, "the simulator wrote other bytes");
    let old = fs::read(stage.loras().join("my_first_lora/my_first_lora.safetensors")).unwrap();
    assert!(old == first, "ComfyUI caches by path, so what it may have loaded keeps its name");
    let is_marked = |path: &String| path.contains("my_first_lora~") && path.ends_with(".safetensors");
    let marked = stage.placed().into_iter().find(is_marked).expect("a marked name");
    assert_same(&stage.loras().join(marked), &bench.dir().join("my_first_lora.safetensors"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_mirror_leaves_whole_files_and_continues() {
    let stage = Stage::finished(JobPlan { save_every: 20, checkpoint_bytes: 400_000, ..plan() }).await;
    let (dir, ui) = (stage.bench.dir(), stage.ui());
    let arguments =
        ["mirror", dir.to_str().unwrap(), "--comfyui", ui.to_str().unwrap(), "--comfyui-link", "copy"];
    let mut killed = 0;
    for round in 0..12 {
        let mut run = stage.bench.command(&arguments).spawn().unwrap();
        // Killed after a growing number of files, not after a guessed time.
        while super::below(&stage.loras()).len() < round * 5 && run.try_wait().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        killed += usize::from(run.try_wait().unwrap().is_none());
        run.kill().unwrap();
        run.wait().unwrap();
        stage.assert_same_bytes();
    }
    assert!(killed > 3, "killed at work, not after it: {killed}");
    let last = stage.mirror(&["--comfyui-link", "copy"]).await;
    assert_eq!(code(&last), 0, "{}", stderr(&last));
    assert_eq!(stage.assert_same_bytes(), 50);
    let placed = stage.placed();
    assert!(!placed.iter().any(|path| path.ends_with("rcsync-part")), "nothing staged is left");
    // What was placed before a kill is known to be ours.
    assert_eq!(code(&stage.mirror(&["--comfyui-keep", "1"]).await), 0);
    assert_eq!(stage.assert_same_bytes(), 2);
}

/// J5: two jobs of the same name, mirrored into one ComfyUI: every LoRA of both is there, under a name of its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_of_one_name_do_not_meet() {
    let stage = Stage::finished(plan()).await;
    let (bench, ui) = (&stage.bench, stage.ui());
    let other = bench.simulator.add_job(JobPlan { checkpoint_bytes: 90_000, ..plan() });
    bench.simulator.finish(&other);
    let second = bench.dir().with_file_name("second");
    let pass = async |job: &str, dir: &Path| {
        let arguments = [job, dir.to_str().unwrap(), "--once", "--comfyui", ui.to_str().unwrap()];
        let mut command = bench.command(&arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    for _ in 0..2 {
        for (job, dir) in [(bench.job.as_str(), bench.dir()), (other.as_str(), second.clone())] {
            let run = pass(job, &dir).await;
            assert_eq!(code(&run), 0, "{}", stderr(&run));
        }
    }
    let bytes = |folder: &Path| {
        let models = super::below(folder).into_iter().filter(|path| super::is_model(Path::new(path)));
        models.map(|path| fs::read(folder.join(path)).unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    let placed = bytes(&stage.loras());
    let is_lora = |bytes: &Vec<u8>| placed.contains(bytes);
    let (ours, theirs) = (bytes(&bench.dir()), bytes(&second));
    assert_eq!((ours.iter().filter(|file| is_lora(file)).count(), placed.len()), (4, 8));
    assert_eq!(theirs.iter().filter(|file| is_lora(file)).count(), 4);
}

/// Each event names the job, and so does that of the error which ends the command.
#[tokio::test(flavor = "multi_thread")]
async fn the_error_that_ends_a_mirror_names_the_job() {
    let stage = Stage::finished(plan()).await;
    fs::write(stage.bench.dir().join(".rcsync/comfyui"), "a file where a folder is needed").unwrap();
    let run = stage.mirror(&["--output", "json"]).await;
    let events = String::from_utf8(run.stdout.clone()).unwrap();
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "error", "{events}");
    assert_eq!(last["job_id"], stage.bench.job.as_str(), "{events}");
    assert_eq!(last["exit_code"], code(&run), "{events}");
}
