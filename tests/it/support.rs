//! A simulated job, a folder, and the real binary between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use rcsync::JobId;
use rcsync::simulator::{JobPlan, Simulator};

/// The program under test: this build of it, or for measurements the release build that `RCSYNC_PROGRAM` names.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("RCSYNC_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_rcsync").into(), PathBuf::from)
}

/// A folder to mirror into, and how to run rcsync on it.
pub(crate) struct Bench {
    pub(crate) simulator: Simulator,
    pub(crate) job: JobId,
    root: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(simulator: Simulator, job: JobId) -> Self {
        Self { simulator, job, root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("out")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
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

    /// Runs one pass into the folder.
    pub(crate) async fn once(&self, more: &[&str]) -> Output {
        let dir = self.dir();
        let mut arguments = vec![self.job.as_str(), dir.to_str().unwrap(), "--once"];
        arguments.extend(more);
        let mut command = self.command(&arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Every complete version of every file that the simulator ever hosted has its SHA-256 in its truth: each
    /// published file must be one of them, whole.
    pub(crate) fn assert_published_is_true(&self) -> usize {
        self.assert_true_in(&self.dir())
    }

    /// The same in another folder.
    pub(crate) fn assert_true_in(&self, dir: &Path) -> usize {
        use sha2::Digest as _;
        let truth = self.simulator.truth(&self.job);
        let mut count = 0;
        for (path, versions) in truth {
            let Ok(bytes) = std::fs::read(dir.join(&path)) else { continue };
            let sha256 = rcsync::internals::hex(&sha2::Sha256::digest(&bytes));
            assert!(
                versions.iter().any(|version| version.sha256.to_string() == sha256),
                "{path} is no true version"
            );
            count += 1;
        }
        count
    }

    /// What `sha256sum -c SHA256SUMS` says, without needing the tool.
    pub(crate) fn assert_sums_pass(&self) -> usize {
        self.assert_sums_pass_in(&self.dir())
    }

    /// The same in another folder.
    pub(crate) fn assert_sums_pass_in(&self, dir: &Path) -> usize {
        use sha2::Digest as _;
        let sums = std::fs::read_to_string(dir.join("SHA256SUMS")).unwrap_or_default();
        for line in sums.lines() {
            let (expected, path) = line.split_once("  ").unwrap();
            let found = sha2::Sha256::digest(std::fs::read(dir.join(path)).unwrap());
            assert_eq!(rcsync::internals::hex(&found), expected, "{path}");
        }
        sums.lines().count()
    }
}

/// Every file below a folder with its length and time stamp.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                found.insert(path, (metadata.len(), metadata.modified().unwrap()));
            }
        }
    }
    found
}

/// Lines of a running process, as they come; a wait for one gives up after half a minute.
pub(crate) struct Lines(std::sync::mpsc::Receiver<String>);

impl Lines {
    pub(crate) fn of(source: impl std::io::Read + Send + 'static) -> Self {
        use std::io::BufRead as _;
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let lines = std::io::BufReader::new(source).lines();
            let _ = lines.map_while(Result::ok).try_for_each(|line| send.send(line));
        });
        Self(lines)
    }

    /// Returns the first line that fits.
    pub(crate) fn wait_for(&self, what: &str, mut fits: impl FnMut(&str) -> bool) -> String {
        let mut heard = Vec::new();
        loop {
            match self.0.recv_timeout(std::time::Duration::from_secs(30)) {
                Ok(line) if fits(&line) => return line,
                Ok(line) => heard.push(line),
                Err(_) => panic!("no {what} came; heard {heard:#?}"),
            }
        }
    }
}

/// Copies a folder, since the tests change it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reports that a test does nothing here, and why.
#[expect(clippy::print_stderr, reason = "a test that does nothing reports it")]
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A small job of this name: four checkpoints, and samples of the last two.
pub(crate) fn small(name: &str) -> JobPlan {
    JobPlan {
        name: name.to_owned(),
        steps: 40,
        save_every: 10,
        keep: 0,
        sample_every: 20,
        first_sample: false,
        prompts: vec!["a dog".to_owned()],
        checkpoint_bytes: 20_000,
        picture_side: 16,
        ..JobPlan::default()
    }
}

/// Bytes that the records of a mirror's parts name.
pub(crate) fn recorded(dir: &Path) -> u64 {
    let Ok(parts) = std::fs::read_dir(dir.join(".rcsync/parts")) else { return 0 };
    let paths = parts
        .filter_map(|part| Some(part.ok()?.path()))
        .filter(|path| path.extension() == Some("json".as_ref()));
    // One that was removed meanwhile is none.
    let texts = paths.filter_map(|path| std::fs::read_to_string(path).ok());
    texts.map(|text| named_by(&serde_json::from_str::<serde_json::Value>(&text).unwrap()["body"])).sum()
}

/// Blocks have a checksum of eight digits each, also the last one of a file, which is shorter; of blocks that are not full, the
/// record has the length of what is here.
fn named_by(record: &serde_json::Value) -> u64 {
    let (block, length) = (record["block"].as_u64().unwrap(), record["identity"]["length"].as_u64().unwrap());
    let runs = record["runs"].as_array().unwrap().iter();
    let blocks = runs.map(|run| {
        let (first, count) = (run[0].as_u64().unwrap(), run[1].as_str().unwrap().len() as u64 / 8);
        ((first + count) * block).min(length) - first * block
    });
    let blocks: u64 = blocks.sum();
    let stretches = record["stretches"].as_array().into_iter().flatten();
    blocks + stretches.map(|stretch| stretch[1].as_u64().unwrap()).sum::<u64>()
}

/// Waits for what comes by itself.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}
