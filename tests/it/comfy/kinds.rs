//! Real files of AI Toolkit's own saving code: what each is decides where it goes.

use std::fs;
use std::path::{Path, PathBuf};

use rcsync::ArtifactKind;
use rcsync::simulator::{JobPlan, StaticBytes, StaticFile};

use super::{Stage, plan};
use crate::support::{code, snapshot, stderr};

fn real(name: &str) -> StaticBytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/comfy/fixtures").join(name);
    StaticBytes::Exact(fs::read(path).unwrap().into())
}

fn checkpoint(path: &str, name: &str) -> StaticFile {
    StaticFile::new(ArtifactKind::Checkpoint, path, real(name))
}

fn sample(path: &str, name: &str) -> StaticFile {
    StaticFile::new(ArtifactKind::Sample, path, real(name))
}

const EMBEDDING: &str = "embedding_000000250.safetensors";
const FULL: &str = "full_model_000000250.safetensors";

#[tokio::test(flavor = "multi_thread")]
async fn one_stage_of_wan_is_a_lora_with_its_animated_preview() {
    let files = vec![
        checkpoint(
            "my_lora_000000250_high_noise.safetensors",
            "wan_one_stage_000000250_high_noise.safetensors",
        ),
        checkpoint("my_lora_high_noise.safetensors", "wan_one_stage_high_noise.safetensors"),
        sample("samples/1724085406830__000000250_0.webp", "animated_sample.webp"),
        sample("samples/1724085406831__000000500_0.webp", "animated_sample.webp"),
    ];
    let stage = Stage::of_files("my_lora", files).await;
    let run = stage.mirror(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_eq!(
        stage.placed(),
        [
            "my_lora/my_lora_000000250_high_noise.safetensors",
            "my_lora/my_lora_000000250_high_noise.webp",
            "my_lora/my_lora_high_noise.safetensors",
            "my_lora/my_lora_high_noise.webp",
        ]
    );
    let listed = stage.bench.command(&["ls", stage.bench.dir().to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout).matches("trainer-hash").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_full_models_and_adapters_stay_out_of_loras() {
    let files = vec![
        checkpoint("ohwx_000000250.safetensors", EMBEDDING),
        checkpoint("my_lora_000000250.safetensors", FULL),
        checkpoint("my_lora_high_noise.safetensors", "wan_one_stage_high_noise.safetensors"),
        StaticFile::new(ArtifactKind::Checkpoint, "ohwx.pt", super::archive(b"data.pkl X string_to_paramq")),
    ];
    let stage = Stage::of_files("my_lora", files).await;
    let lora = ["my_lora/my_lora_high_noise.safetensors"];
    let run = stage.mirror(&["--comfyui-pickles"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_eq!(stage.placed(), lora);
    for words in [
        "`my_lora_000000250.safetensors` is not placed in ComfyUI: by its header it holds no LoRA (full model)",
        "`ohwx_000000250.safetensors` is not placed in ComfyUI: it is an embedding",
        "`ohwx.pt` is not placed in ComfyUI: it is an embedding",
    ] {
        assert_eq!(stderr(&run).matches(words).count(), 1, "{words}: {}", stderr(&run));
    }
    let before = snapshot(&stage.bench.dir());
    let run = stage.mirror(&["--comfyui-pickles"]).await;
    assert_eq!((code(&run), stderr(&run).as_str()), (0, ""), "reported once");
    assert_eq!(snapshot(&stage.bench.dir()), before);

    // Where the installation has a folder for embeddings, they go there.
    let embeddings = stage.ui().join("models/embeddings");
    fs::create_dir(&embeddings).unwrap();
    let run = stage.mirror(&["--comfyui-sidecars"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let below = super::below(&embeddings);
    assert_eq!(
        below,
        [
            "my_lora/ohwx_000000250.civitai.info",
            "my_lora/ohwx_000000250.json",
            "my_lora/ohwx_000000250.safetensors",
            "my_lora/ohwx_000000250.sha256"
        ]
    );
    let json = fs::read_to_string(embeddings.join("my_lora/ohwx_000000250.json")).unwrap();
    assert!(json.contains("\"activation text\": \"ohwx\""), "{json}");
    let before = (snapshot(&stage.bench.dir()), snapshot(&stage.ui()));
    let run = stage.mirror(&["--comfyui-sidecars"]).await;
    assert_eq!((code(&run), stderr(&run).as_str()), (0, ""));
    assert_eq!((snapshot(&stage.bench.dir()), snapshot(&stage.ui())), before);
    // It is withdrawn by its owner like a LoRA.
    fs::remove_file(embeddings.join(&below[2])).unwrap();
    assert_eq!(code(&stage.mirror(&[]).await), 0);
    assert!(!embeddings.join(&below[2]).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn peek_shows_what_each_is() {
    let files = vec![
        checkpoint("ohwx_000000250.safetensors", EMBEDDING),
        checkpoint("my_lora_000000250.safetensors", FULL),
        checkpoint("my_lora_high_noise.safetensors", "wan_one_stage_high_noise.safetensors"),
    ];
    let stage = Stage::of_files("my_lora", files).await;
    let job = stage.bench.job.as_str();
    let run = stage.bench.command(&["result", job, "--peek", "--output", "json"]).output().unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let document: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let peek = |path: &str| {
        let rows = document["artifacts"].as_array().unwrap();
        rows.iter().find(|row| row["path"] == path).unwrap()["peek"].clone()
    };
    let lora = peek("my_lora_high_noise.safetensors");
    assert_eq!((lora["kind"].as_str(), lora["rank"].as_u64()), (Some("LoRA"), Some(8)));
    let embedding = peek("ohwx_000000250.safetensors");
    assert_eq!((embedding["kind"].as_str(), embedding["step"].as_u64()), (Some("embedding"), Some(250)));
    assert_eq!(embedding["trigger_words"], serde_json::json!(["ohwx"]));
    assert_eq!(peek("my_lora_000000250.safetensors")["kind"], "full model");
    let run = stage.bench.command(&["result", job, "--peek"]).output().unwrap();
    let table = String::from_utf8(run.stdout).unwrap();
    assert!(table.contains("kind") && table.contains("full model"), "{table}");
}

/// What a local AI Toolkit resumes from, as its own code finds it.
#[cfg(unix)]
fn resumed(dir: &Path, name: &str) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let of_job = paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
    let changed = |path: &PathBuf| path.metadata().map(|metadata| (metadata.ctime(), metadata.ctime_nsec()));
    of_job.max_by_key(|path| changed(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn the_newest_checkpoint_is_what_a_local_trainer_resumes_from() {
    use std::os::unix::fs::MetadataExt;
    let stage = Stage::new(plan()).await;
    let (bench, dir) = (&stage.bench, stage.bench.dir());
    let name = "my_first_lora";
    let assert_newest = |file: &str, when: &str| {
        assert_eq!(resumed(&dir, name), dir.join(file), "{when}");
    };
    bench.simulator.advance_steps(&bench.job, 600);
    assert_eq!(code(&stage.once(&["--comfyui-link", "hardlink"]).await), 0);
    assert_newest("my_first_lora_000000500.safetensors", "after a pass that published two");
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert_newest("my_first_lora.safetensors", "after the final save");
    // Links that come and go change the files that they are of.
    assert_eq!(code(&stage.mirror(&["--comfyui-link", "hardlink"]).await), 0);
    assert_newest("my_first_lora.safetensors", "after links were made");
    assert_eq!(code(&stage.mirror(&["--comfyui-keep", "1"]).await), 0);
    assert_newest("my_first_lora.safetensors", "after links were removed");
    // A pass that finds it so changes nothing, not even that.
    let changed = || {
        let metadata = dir.join("my_first_lora.safetensors").metadata().unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let before = changed();
    assert_eq!(code(&stage.once(&["--comfyui-keep", "1"]).await), 0);
    assert_eq!(code(&stage.mirror(&["--comfyui-keep", "1"]).await), 0);
    assert_eq!(changed(), before);
    // An older one was touched by hand; the kept version of an older save has the job's name too.
    fs::write(dir.join("my_first_lora_000000250~1a2b3c4d.safetensors"), "kept").unwrap();
    assert_eq!(code(&stage.mirror(&[]).await), 0);
    assert_newest("my_first_lora.safetensors", "after a mirror");
    fs::hard_link(dir.join("my_first_lora_000000500.safetensors"), dir.with_file_name("link")).unwrap();
    let arguments = ["prune", dir.to_str().unwrap(), "--keep-every", "500"];
    assert_eq!(code(&bench.command(&arguments).output().unwrap()), 0);
    assert_newest("my_first_lora.safetensors", "after prune");
    assert!(dir.join("my_first_lora_000000500.safetensors").exists());
    assert!(bench.assert_sums_pass() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_state_of_the_optimizer_is_kept() {
    let stage = Stage::new(JobPlan { steps: 1000, ..plan() }).await;
    let (bench, dir) = (&stage.bench, stage.bench.dir());
    let state = || fs::read(dir.join("optimizer.pt")).unwrap();
    bench.simulator.advance_steps(&bench.job, 300);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let first = state();
    bench.simulator.advance_steps(&bench.job, 250);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let second = state();
    assert!(second != first, "it came with the checkpoint of step 500");
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert!(state() != second, "and with the final one");
    let states: Vec<_> =
        super::below(&dir).into_iter().filter(|path| path.starts_with("optimizer")).collect();
    assert_eq!(states, ["optimizer.pt"], "no older state is kept");
    bench.assert_published_is_true();
    bench.assert_sums_pass();
    bench.simulator.clear_requests();
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert_eq!((bench.simulator.api_requests(), bench.simulator.artifact_requests()), (2, 0));
}

/// ComfyUI makes a pattern of a LoRA's name, and `[` means something in one.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_gets_no_preview_in_comfyui() {
    let stage = Stage::finished(JobPlan { name: "dog [v2]".to_owned(), ..plan() }).await;
    let doctor =
        stage.bench.command(&["doctor", "--dir", stage.bench.dir().to_str().unwrap()]).output().unwrap();
    let report = String::from_utf8(doctor.stdout).unwrap();
    assert!(report.contains("a name with `[` in it gets no preview in ComfyUI"), "{report}");
    let stage = Stage::finished(plan()).await;
    let doctor =
        stage.bench.command(&["doctor", "--dir", stage.bench.dir().to_str().unwrap()]).output().unwrap();
    assert!(!String::from_utf8(doctor.stdout).unwrap().contains("no preview"));
}
