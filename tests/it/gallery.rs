//! The gallery of whole runs, and the folders that `tests/browser/run` opens in a real browser.

use std::path::PathBuf;

use bytes::Bytes;
use rcsync::model::artifact::{ArtifactKind, Sample};
use rcsync::model::job::JobId;
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob};

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
