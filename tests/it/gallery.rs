//! The gallery of whole runs, and the folders that `tests/browser/run` opens in a real browser.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rcsync::JobId;
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob};
use rcsync::{ArtifactKind, Sample};

use crate::support::{Bench, code, stderr};

/// Prompts that would be something else than text, if they could. The last one is long.
fn hostile() -> Vec<String> {
    [
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(2)</script>",
        "\"><svg/onload=alert(3)><a href=\"javascript:alert(4)\">x</a>",
        "'; alert(5); //{{constructor.constructor('alert(6)')()}}${alert(7)}",
        "<link rel=stylesheet href=http://127.0.0.1:9/x.css><img src=http://127.0.0.1:9/x.png>",
        "<!-- --><style>*{display:none}</style><base href=http://127.0.0.1:9/>",
        "\u{202e}gnp.exe \u{2066}isolated\u{2069} ‏עברית مرحبا 日本語 🐈‍⬛ a\u{0301}\u{200b}",
        "two\nlines\tand a tab",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("very long: {}", "masterpiece, best quality, ohwx dog, ".repeat(120))])
    .collect()
}

async fn simulated(plan: JobPlan) -> (Simulator, JobId) {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(plan);
    (simulator, job)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_a_page_that_shows_all_it_got_and_only_that() {
    let plan = JobPlan {
        steps: 600,
        prompts: hostile(),
        picture_side: 48,
        checkpoint_bytes: 100_000,
        ..JobPlan::default()
    };
    let (simulator, job) = simulated(plan).await;
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    let run = bench.once(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let page = std::fs::read_to_string(bench.dir().join("index.html")).unwrap();
    let sums = std::fs::read_to_string(bench.dir().join("SHA256SUMS")).unwrap();
    assert!(sums.lines().count() > 10);
    for (sha256, path) in sums.lines().filter_map(|line| line.split_once("  ")) {
        assert!(page.contains(path), "{path}");
        assert!(page.contains(sha256) || path.ends_with(".yaml"), "{path}");
    }
    assert_eq!(page.matches("<script").count(), 1, "its own");
    for markup in ["<img src=x", "<svg/", "<link", "<base", "href=\"javascript", "href=\"http", "src=\"http"]
    {
        assert!(!page.contains(markup), "{markup}");
    }
    let path = bench.dir().join("index.html");
    let shown = bench.command(&["gallery", bench.dir().to_str().unwrap()]).output().unwrap();
    assert_eq!(
        (code(&shown), String::from_utf8_lossy(&shown.stdout).trim_end()),
        (0, path.to_str().unwrap())
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "the same page");
    std::fs::write(&path, "<h1>mine</h1>").unwrap();
    let refused = bench.command(&["gallery", bench.dir().to_str().unwrap()]).output().unwrap();
    assert_eq!(code(&refused), 73, "{}", stderr(&refused));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "<h1>mine</h1>");
}

/// Mirrors `count` finished jobs that differ in their prompts' number of samples into folders below `root`.
async fn mirrors(root: &Path, count: u64, plan: impl Fn(u64) -> JobPlan) -> Simulator {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    for number in 0..count {
        let job = simulator.add_job(plan(number));
        simulator.finish(&job);
        let dir = root.join(format!("run-{number:02}"));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rcsync"));
        command
            .args([job.as_str(), dir.to_str().unwrap(), "--once", "-q"])
            .env_clear()
            .env("HOME", root)
            .env("RUNCOMFY_TRAINER_API_BASE", simulator.api_base())
            .env("RUNCOMFY_TOKEN", simulator.token());
        let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(code(&run), 0, "{}", stderr(&run));
    }
    simulator
}

fn gallery(dir: &Path, more: &[&str]) -> std::process::Output {
    gallery_from(dir, dir, more)
}

fn gallery_from(working: &Path, dir: &Path, more: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rcsync"));
    command.args(["gallery", dir.to_str().unwrap()]).args(more).env_clear().env("HOME", "/nonexistent");
    command.current_dir(working).output().unwrap()
}

/// INTERFACE 8: a page that compares the mirrors below a folder; one file, no network, a strict policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_several_mirrors_gets_a_page_that_compares_them() {
    let root = tempfile::tempdir().unwrap();
    let plan = |number: u64| JobPlan {
        name: ["dog", "dog", "<b>cat</b>"][number as usize].to_owned(),
        prompts: hostile(),
        steps: 500,
        picture_side: 48,
        checkpoint_bytes: 100_000,
        ..JobPlan::default()
    };
    mirrors(root.path(), 3, plan).await;
    let shown = gallery(root.path(), &["--output", "json"]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    let document: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&document["runs"], &document["changed"]), (&3.into(), &true.into()), "{document}");
    let path = root.path().join("index.html");
    let page = std::fs::read_to_string(&path).unwrap();
    for run in ["run-00", "run-01", "run-02"] {
        let sums = std::fs::read_to_string(root.path().join(run).join("SHA256SUMS")).unwrap();
        let samples =
            sums.lines().filter_map(|line| line.split_once("  ")).filter(|(_, it)| it.contains("samples/"));
        for (_, sample) in samples {
            assert!(page.contains(&format!("href=\"{run}/{sample}\"")), "{run}/{sample}");
        }
        assert!(page.contains(&format!("href=\"{run}/index.html\"")), "a link to the run's own page");
    }
    assert!(page.contains("dog (run-00)") && page.contains("dog (run-01)"), "equal names are distinguished");
    assert!(page.contains("&lt;b&gt;cat"), "{}", &page[..2000]);
    assert!(page.contains("<code>config.name</code>"), "settings that differ");
    assert_eq!(page.matches("<script").count(), 1, "its own");
    for markup in
        ["<img src=x", "<svg/", "<link", "<base", "<b>cat", "href=\"javascript", "href=\"http", "src=\"http"]
    {
        assert!(!page.contains(markup), "{markup}");
    }
    // From inside the folder it is the same page, under the folder's name.
    for typed in [root.path(), ".".as_ref()] {
        let again = gallery_from(root.path(), typed, &["--output", "json"]);
        let document: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(document["changed"], false, "{document}");
    }
    let left: Vec<_> =
        std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "three mirrors and the page: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_replaces_no_foreign_page_and_names_what_it_cannot_read() {
    let root = tempfile::tempdir().unwrap();
    let plan = |_| JobPlan { steps: 250, picture_side: 32, checkpoint_bytes: 50_000, ..JobPlan::default() };
    mirrors(root.path(), 2, plan).await;
    // A newer rcsync's private state cannot be read.
    let manifest = root.path().join("run-01/.rcsync/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let newer =
        text.replacen("\"format\":1", "\"format\":999", 1).replacen("\"format\": 1", "\"format\": 999", 1);
    assert_ne!(text, newer, "{}", &text[..200]);
    std::fs::write(&manifest, newer).unwrap();
    let shown = gallery(root.path(), &[]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    assert!(
        stderr(&shown).contains("not on the page: ") && stderr(&shown).contains("run-01"),
        "{}",
        stderr(&shown)
    );
    let page = root.path().join("index.html");
    std::fs::write(&page, "<h1>mine</h1>").unwrap();
    let refused = gallery(root.path(), &[]);
    assert_eq!(code(&refused), 73, "{}", stderr(&refused));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "<h1>mine</h1>");
    let empty = tempfile::tempdir().unwrap();
    let refused = gallery(empty.path(), &[]);
    assert_eq!(code(&refused), 66, "{}", stderr(&refused));
}

/// A second of a tone.
fn tone() -> Bytes {
    let samples: Vec<u8> = (0..8000_u32).map(|at| if at / 9 % 2 == 0 { 96 } else { 160 }).collect();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + 8000_u32).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(8000_u32.to_le_bytes());
    wav.extend([1, 0, 8, 0]);
    wav.extend(b"data");
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(samples);
    wav.into()
}

fn media() -> StaticJob {
    let film = Bytes::from_static(include_bytes!("../browser/film.mp4"));
    let mut files = Vec::new();
    for step in [0, 250, 500] {
        for (number, extension, kind, bytes) in
            [(0, "mp4", "video", film.clone()), (1, "wav", "audio", tone())]
        {
            let path = format!("samples/172408540683{number}__{step:09}_{number}.{extension}");
            let mut file = StaticFile::new(ArtifactKind::Sample, path, StaticBytes::Exact(bytes));
            file.sample = Some(Sample {
                media: Some(kind.to_owned()),
                step: Some(step),
                seed: Some(42.into()),
                prompt: Some(format!("a {kind} of a dog that barks")),
                ..Sample::default()
            });
            files.push(file);
        }
    }
    StaticJob { name: "films".to_owned(), files, ..StaticJob::default() }
}

/// Mirrors jobs into the folder that `RCSYNC_SCENES` names, for `tests/browser/run`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "made for tests/browser/run"]
async fn scenes_for_the_browser() {
    let Some(scenes) = std::env::var_os("RCSYNC_SCENES").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&scenes).unwrap();
    let small = JobPlan { picture_side: 64, checkpoint_bytes: 60_000, ..JobPlan::default() };
    let pass = async |bench: &Bench, name: &str| {
        let dir = scenes.join(name);
        let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--once", "-q"]);
        let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!([0, 1, 75].contains(&code(&run)), "{name}: {}", stderr(&run));
    };

    let plan = JobPlan {
        name: "<img src=x onerror=alert(8)>\"'&".to_owned(),
        prompts: hostile(),
        steps: 1000,
        sample_every: 250,
        ..small.clone()
    };
    let (simulator, job) = simulated(plan).await;
    simulator.advance_steps(&job, 800);
    simulator.fail(&job, "</p><script>alert(9)</script> CUDA out of memory");
    pass(&Bench::new(simulator, job), "hostile").await;

    let prompts = (0..10).map(|number| format!("prompt number {number}, a photo of ohwx dog")).collect();
    let plan = JobPlan { prompts, steps: 10_000, sample_every: 50, save_every: 1000, ..small.clone() };
    let (simulator, job) = simulated(plan).await;
    simulator.finish(&job);
    pass(&Bench::new(simulator, job), "many").await;

    let runs = scenes.join("runs");
    std::fs::create_dir_all(&runs).unwrap();
    let plan = |number: u64| JobPlan {
        name: format!("dog_rank_{}", 4 << (number % 5)),
        prompts: (0..10).map(|number| format!("prompt number {number}, a photo of ohwx dog")).collect(),
        steps: 2500 - 50 * (number % 4),
        sample_every: 50,
        save_every: 1000,
        ..small.clone()
    };
    mirrors(&runs, 20, plan).await;
    let compared = gallery(&runs, &[]);
    assert_eq!(code(&compared), 0, "{}", stderr(&compared));

    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_static_job(media());
    pass(&Bench::new(simulator, job), "media").await;

    let prompts =
        ["a photo of ohwx dog on a beach at sunset, golden hour, 85mm", "ohwx dog as a watercolour painting"]
            .map(str::to_owned)
            .into();
    let plan = JobPlan {
        prompts,
        steps: 2000,
        keep: 0,
        picture_side: 512,
        checkpoint_bytes: 3_000_000,
        ..JobPlan::default()
    };
    let (simulator, job) = simulated(plan).await;
    let bench = Bench::new(simulator, job);
    // A pass every second, as the history counts in seconds.
    for moment in 0..14 {
        match moment {
            6 => bench.simulator.preempt(&bench.job),
            8 => assert!(bench.simulator.resume(&bench.job)),
            _ => bench.simulator.advance_steps(&bench.job, 190),
        }
        pass(&bench, "story").await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
