//! From the mirror into ComfyUI: whole runs of the real binary beside a folder that looks like one.

mod disks;
mod kinds;
mod place;
mod running;
mod watch;
mod withdrawn;

use std::path::{Path, PathBuf};
use std::process::Output;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob};

use crate::support::Bench;

/// What ComfyUI lists, in any case of letters.
pub(crate) const MODEL_EXTENSIONS: [&str; 8] =
    ["ckpt", "pt", "pt2", "bin", "pth", "safetensors", "pkl", "sft"];

pub(crate) fn plan() -> JobPlan {
    JobPlan {
        steps: 1000,
        keep: 0,
        checkpoint_bytes: 100_000,
        picture_side: 32,
        optimizer: true,
        ..JobPlan::default()
    }
}

/// A job, a folder to mirror it into, and a ComfyUI.
pub(crate) struct Stage {
    pub(crate) bench: Bench,
}

/// A zip archive around these bytes, as far as its end record tells.
pub(crate) fn archive(content: &[u8]) -> StaticBytes {
    let mut bytes = [b"PK\x03\x04", content, b"PK\x05\x06", &[0; 12]].concat();
    bytes.extend((4 + content.len() as u32).to_le_bytes());
    bytes.extend([0, 0]);
    StaticBytes::Exact(bytes.into())
}

impl Stage {
    pub(crate) async fn new(plan: JobPlan) -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let job = simulator.add_job(plan);
        let stage = Self { bench: Bench::new(simulator, job) };
        std::fs::create_dir_all(stage.loras()).unwrap();
        stage
    }

    /// A job that is over and has just these files, mirrored already.
    pub(crate) async fn of_files(name: &str, files: Vec<StaticFile>) -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let job =
            simulator.add_static_job(StaticJob { name: name.to_owned(), files, ..StaticJob::default() });
        let stage = Self { bench: Bench::new(simulator, job) };
        std::fs::create_dir_all(stage.loras()).unwrap();
        assert_eq!(crate::support::code(&stage.bench.once(&[]).await), 0);
        stage
    }

    /// A job that is over, mirrored already.
    pub(crate) async fn finished(plan: JobPlan) -> Self {
        let stage = Self::new(plan).await;
        stage.bench.simulator.finish(&stage.bench.job);
        assert_eq!(crate::support::code(&stage.bench.once(&[]).await), 0);
        stage
    }

    pub(crate) fn ui(&self) -> PathBuf {
        self.bench.dir().with_file_name("ui")
    }

    pub(crate) fn loras(&self) -> PathBuf {
        self.ui().join("models/loras")
    }

    /// One pass of the mirror into ComfyUI too.
    pub(crate) async fn once(&self, more: &[&str]) -> Output {
        let ui = self.ui();
        let mut arguments = vec!["--comfyui", ui.to_str().unwrap()];
        arguments.extend(more);
        self.bench.once(&arguments).await
    }

    /// `rcsync mirror`.
    pub(crate) async fn mirror(&self, more: &[&str]) -> Output {
        let (dir, ui) = (self.bench.dir(), self.ui());
        let mut arguments = vec!["mirror", dir.to_str().unwrap(), "--comfyui", ui.to_str().unwrap()];
        arguments.extend(more);
        let mut command = self.bench.command(&arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The files below `loras`, sorted.
    pub(crate) fn placed(&self) -> Vec<String> {
        below(&self.loras())
    }

    /// Asserts that every LoRA in ComfyUI has the bytes of the file of its name in DIR, and returns how many there are.
    pub(crate) fn assert_same_bytes(&self) -> usize {
        let placed = self.placed();
        let models: Vec<_> = placed.iter().filter(|path| is_model(Path::new(path))).collect();
        for path in &models {
            let name = path.rsplit('/').next().unwrap();
            let (here, there) = (self.bench.dir().join(name), self.loras().join(path));
            assert_same(&there, &here);
        }
        models.len()
    }
}

/// Whether ComfyUI would list it.
pub(crate) fn is_model(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    MODEL_EXTENSIONS.contains(&extension.to_lowercase().as_str())
}

/// The files below a folder, sorted, while others may be at work in it.
pub(crate) fn below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found
                    .push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/")),
            }
        }
    }
    found.sort();
    found
}

/// Compares without printing what differs, which is long.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let same = std::fs::read(left).unwrap() == std::fs::read(right).unwrap();
    assert!(same, "{} is not {}", left.display(), right.display());
}
