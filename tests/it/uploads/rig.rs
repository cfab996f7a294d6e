//! A simulated account, folders of pictures, and the real binary between them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rcsync::simulator::{RequestRecord, Simulator, SimulatorConfig, picture};
use serde_json::Value;

use crate::support::{code, program, stderr};

pub(super) struct Rig {
    pub(super) simulator: Simulator,
    root: tempfile::TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(SimulatorConfig::default()).await
    }

    pub(super) async fn with(config: SimulatorConfig) -> Self {
        Self { simulator: Simulator::start(config).await.unwrap(), root: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    pub(super) fn write(&self, relative: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A folder of so many pictures, each with a caption.
    pub(super) fn photos(&self, folder: &str, count: u64) {
        for number in 0..count {
            self.write(&format!("{folder}/{number:03}.jpg"), picture(number, 64));
            self.write(&format!("{folder}/{number:03}.txt"), format!("picture {number:03}"));
        }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env_clear()
            .env("RUNCOMFY_TRAINER_API_BASE", self.simulator.api_base())
            .env("RUNCOMFY_TOKEN", self.simulator.token())
            .env("HOME", self.root.path())
            .current_dir(self.root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(super) async fn run(&self, arguments: &str) -> Output {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut command = self.command(&arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs it and expects this code.
    pub(super) async fn run_to(&self, arguments: &str, expected: i32) -> Output {
        let done = self.run(arguments).await;
        assert_eq!(code(&done), expected, "{arguments}\n{}\n{}", out(&done), stderr(&done));
        done
    }

    pub(super) fn spawn(&self, arguments: &str) -> Child {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        self.command(&arguments).spawn().unwrap()
    }

    /// Requests whose method and path are these.
    pub(super) fn requests(&self, method: &str, path: &str) -> Vec<RequestRecord> {
        let fits = |request: &RequestRecord| request.method == method && request.path.contains(path);
        self.simulator.requests().into_iter().filter(fits).collect()
    }

    /// How often each file of a dataset was uploaded whole.
    pub(super) fn uploads(&self, dataset: &str) -> Vec<u32> {
        let dataset = self.simulator.dataset(dataset).unwrap();
        dataset.files.values().map(|file| file.uploads).collect()
    }

    /// Asserts that a dataset has exactly the files of a folder, byte for byte.
    pub(super) fn assert_equal(&self, folder: &str, dataset: &str) {
        let there = self.simulator.dataset(dataset).unwrap().files;
        let mut count = 0;
        for entry in std::fs::read_dir(self.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let file = there.get(&name).unwrap_or_else(|| panic!("the dataset lacks {name}"));
            assert_eq!(file.sha256.to_string(), sha256(&path), "{name}");
            count += 1;
        }
        assert_eq!(there.len(), count);
    }

    pub(super) fn posted_jobs(&self) -> usize {
        let is_one = |request: &&RequestRecord| request.path.ends_with("/jobs");
        self.requests("POST", "/trainers/ai-toolkit/jobs").iter().filter(is_one).count()
    }
}

pub(super) fn sha256(path: &Path) -> String {
    use sha2::Digest as _;
    rcsync::internals::hex(&sha2::Sha256::digest(std::fs::read(path).unwrap()))
}

pub(super) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Events of a run with `--output json`.
pub(super) fn events(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// A configuration that trains on these datasets; the first one has the others as control images.
pub(super) fn config(datasets: &[&str]) -> String {
    let control = datasets.get(1).map_or_else(String::new, |name| {
        format!("          control_path: /app/ai-toolkit/datasets/{name}\n")
    });
    format!(
        "job: extension\nconfig:\n  name: dog\n  process:\n    - type: sd_trainer\n      training_folder: /app/ai-toolkit/output\n      datasets:\n        - folder_path: /app/ai-toolkit/datasets/{}\n{control}      train:\n        steps: 40\n      save:\n        save_every: 20\n      sample:\n        sample_every: 0\n",
        datasets[0]
    )
}
