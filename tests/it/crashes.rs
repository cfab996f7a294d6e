//! Killed at every step, and the power cut at some: what is published is whole, what is claimed is there, and the next run
//! ends where an undisturbed one does.
//!
//! A step is a system call that changes something below DIR. The sweeps take a sample of them; with
//! `RCSYNC_LONG_SWEEPS=1` they take all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcsync::internals::hex;
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
use sha2::Digest as _;

use crate::rig::{Disk, Ended, have, killed_after, killed_at, long_sweeps};
use crate::support::{Bench, code, skip, stderr};

/// A job with everything that takes another way to the disk: a config, pictures, small and large checkpoints.
fn plan() -> JobPlan {
    JobPlan {
        steps: 500,
        keep: 0,
        sample_every: 500,
        checkpoint_bytes: 2_300_000,
        picture_side: 32,
        prompts: vec!["a dog".to_owned()],
        ..JobPlan::default()
    }
}

/// What is tried: a folder to begin with, and what an undisturbed run makes of it.
struct Trial {
    bench: Bench,
    /// The folder before the run; empty for a first run.
    before: Option<PathBuf>,
    /// What must be there at the end.
    expected: BTreeMap<PathBuf, String>,
    /// The hash of every version that was ever hosted.
    true_hashes: BTreeSet<String>,
}

impl Trial {
    /// A first run into an empty folder.
    async fn first_run() -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let job = simulator.add_job(plan());
        simulator.finish(&job);
        Self::new(Bench::new(simulator, job), None)
    }

    /// A run over a finished mirror whose final file got new bytes, whose config was edited, and of which a file is gone.
    async fn second_run() -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let job = simulator.add_job(plan());
        simulator.finish(&job);
        let bench = Bench::new(simulator, job);
        let run = bench.once(&[]).await;
        assert_eq!(code(&run), 0, "{}", stderr(&run));
        fs::write(bench.dir().join("config.yaml"), "mine: true\n").unwrap();
        fs::remove_file(bench.dir().join("my_first_lora_000000250.safetensors")).unwrap();
        let before = bench.dir().with_file_name("before");
        fs::rename(bench.dir(), &before).unwrap();
        assert!(bench.simulator.resume(&bench.job));
        bench.simulator.finish(&bench.job);
        bench.simulator.rewrite(&bench.job, "my_first_lora.safetensors");
        Self::new(bench, Some(before))
    }

    fn new(bench: Bench, before: Option<PathBuf>) -> Self {
        let versions = bench.simulator.truth(&bench.job);
        let true_hashes = versions.values().flatten().map(|version| version.sha256.to_string()).collect();
        let mut trial = Self { bench, before, expected: BTreeMap::new(), true_hashes };
        let undisturbed = trial.folder("undisturbed");
        trial.run_to_the_end(&undisturbed, "undisturbed");
        trial.expected = trial.contents(&undisturbed);
        trial
    }

    /// A folder as it was before the run.
    fn folder(&self, name: &str) -> PathBuf {
        self.folder_in(self.bench.dir().parent().unwrap(), name)
    }

    fn folder_in(&self, parent: &Path, name: &str) -> PathBuf {
        let folder = parent.join(name);
        if let Some(before) = &self.before {
            let copied = Command::new("cp").arg("-a").arg(before).arg(&folder).status().unwrap();
            assert!(copied.success());
        }
        folder
    }

    fn command(&self, dir: &Path) -> Command {
        self.bench.command(&[self.bench.job.as_str(), dir.to_str().unwrap(), "--once", "-q"])
    }

    fn run_to_the_end(&self, dir: &Path, what: &str) {
        let output = self.command(dir).output().unwrap();
        assert_eq!(code(&output), 0, "{what}: {}", stderr(&output));
    }

    /// Everything outside the private folder, by its hash.
    fn contents(&self, dir: &Path) -> BTreeMap<PathBuf, String> {
        let files = crate::support::snapshot(dir).into_keys();
        let files = files.map(|path| (path.strip_prefix(dir).unwrap().to_path_buf(), path));
        files
            .filter(|(relative, _)| !relative.starts_with(".rcsync"))
            .map(|(relative, path)| {
                let bytes = fs::read(path).unwrap();
                // The gallery tells how the training went as this folder saw it, which no two folders do alike.
                let is_gallery =
                    relative == Path::new("index.html") && bytes.trim_ascii_end().ends_with(b"</html>");
                let what =
                    if is_gallery { "a whole page".to_owned() } else { hex(&sha2::Sha256::digest(bytes)) };
                (relative, what)
            })
            .collect()
    }

    /// What holds at every instant.
    fn assert_sound(&self, dir: &Path, what: &str) {
        if !dir.exists() {
            return;
        }
        let before = self.before.as_deref().map(|before| self.contents(before)).unwrap_or_default();
        let contents = self.contents(dir);
        for (path, hash) in &contents {
            let name = path.to_str().unwrap();
            let ours = ["job.json", "SHA256SUMS"].contains(&name) || hash == "a whole page";
            let as_before = before.values().any(|known| known == hash);
            assert!(
                ours || as_before || self.true_hashes.contains(hash),
                "{what}: {name} is no true version"
            );
        }
        // The user's own bytes are there, under one name or another.
        let mine = hex(&sha2::Sha256::digest("mine: true\n"));
        assert!(
            self.before.is_none() || contents.values().any(|hash| *hash == mine),
            "{what}: an edit is lost"
        );
        let sums = fs::read_to_string(dir.join("SHA256SUMS")).unwrap_or_default();
        for line in sums.lines() {
            let (hash, path) = line.split_once("  ").unwrap();
            let known = before.get(Path::new(path));
            let found = contents.get(Path::new(path)).map(String::as_str);
            // What the user changed or removed before the run differs until it is repaired.
            let broken_before = self.before.is_some() && known.is_none_or(|known| known != hash);
            assert!(
                found == Some(hash) || broken_before && found == known.map(String::as_str),
                "{what}: {path} in SHA256SUMS"
            );
        }
        self.assert_claims_hold(dir, what);
        let private = crate::support::snapshot(&dir.join(".rcsync")).into_keys();
        for path in private {
            let loadable = path.extension().is_some_and(|end| end == "safetensors" || end == "ckpt");
            assert!(!loadable, "{what}: {} could be loaded", path.display());
        }
    }

    /// The manifest claims nothing that is not on the disk.
    fn assert_claims_hold(&self, dir: &Path, what: &str) {
        let output =
            self.bench.command(&["verify", dir.to_str().unwrap(), "--output", "json"]).output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        if code(&output) == 66 {
            return;
        }
        assert!([0, 1].contains(&code(&output)), "{what}: verify: {}", stderr(&output));
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for bad in document["bad"].as_array().unwrap() {
            let path = bad["path"].as_str().unwrap();
            let of_the_user = ["config.yaml", "my_first_lora_000000250.safetensors"].contains(&path);
            assert!(self.before.is_some() && of_the_user, "{what}: {bad} is claimed");
        }
    }

    /// Continues after a crash, and ends like a run that was not disturbed.
    fn assert_converges(&self, dir: &Path, what: &str) {
        self.run_to_the_end(dir, what);
        assert_eq!(self.contents(dir), self.expected, "{what}");
        let parts: Vec<_> = fs::read_dir(dir.join(".rcsync/parts")).unwrap().collect();
        assert!(parts.is_empty(), "{what}: left over: {parts:?}");
    }

    /// Counts the steps of an undisturbed run.
    fn steps(&self) -> usize {
        let dir = self.folder("counted");
        let ended = killed_after(&self.command(&dir), "counted", |_, _| false, || ());
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        fs::remove_dir_all(dir).unwrap();
        ended.steps
    }

    /// Kills a run after so many steps, and checks everything.
    fn kill_after(&self, step: usize) -> Ended {
        self.kill_when(|steps, _| steps == step)
    }

    /// Kills a run after the step of which `is_last` says so, and checks everything.
    fn kill_when(&self, is_last: impl Fn(usize, &str) -> bool) -> Ended {
        let dir = self.folder("killed");
        let ended = killed_after(&self.command(&dir), "killed", is_last, || ());
        let what = format!("step {}, {}", ended.steps, ended.last);
        self.assert_sound(&dir, &what);
        self.assert_converges(&dir, &what);
        fs::remove_dir_all(dir).unwrap();
        ended
    }
}

/// Some of so many steps, evenly spread, another choice at each call; all of them in a long sweep.
fn sample(steps: usize, count: usize) -> Vec<usize> {
    if long_sweeps() || steps <= count {
        return (1..=steps).collect();
    }
    let offset = fastrand::usize(..steps);
    (0..count).map(|at| 1 + (offset + at * steps / count) % steps).collect()
}

async fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_of_a_first_run() {
    if have(&["strace"]) {
        let trial = Trial::first_run().await;
        on_a_thread(move || {
            let steps = trial.steps();
            assert!(steps > 40, "only {steps} steps were seen");
            let killed = sample(steps, 16).into_iter().filter(|step| trial.kill_after(*step).was_killed());
            assert!(killed.count() > 8, "the kills come too late");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_over_changed_files() {
    if have(&["strace"]) {
        let trial = Trial::second_run().await;
        on_a_thread(move || {
            let kept = trial.expected.keys().filter(|path| path.to_str().unwrap().contains('~')).count();
            assert_eq!(kept, 2, "an older version and an edit are kept: {:?}", trial.expected.keys());
            let steps = trial.steps();
            for step in sample(steps, 12) {
                trial.kill_after(step);
            }
            // The moments in which names change hands, every time.
            for call in
                ["linkat(", "renameat2(", "_lora.safetensors\") = 0", "SHA256SUMS", "config.yaml\") = 0"]
            {
                let ended = trial.kill_when(|_, line| line.contains(call));
                assert!(ended.was_killed(), "{call} was not called");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_any_kind_of_call() {
    if !have(&["strace"]) {
        return;
    }
    let trial = Trial::second_run().await;
    on_a_thread(move || {
        let most = if long_sweeps() { usize::MAX } else { 2 };
        for call in
            ["openat", "write", "pwrite64", "fdatasync", "rename", "renameat2", "unlink", "linkat", "fchmod"]
        {
            let first = if call == "openat" { 40 } else { 1 };
            for nth in (first..).take(most) {
                let dir = trial.folder("killed");
                let ended = killed_at(&trial.command(&dir), call, nth);
                let what = format!("{call} {nth}: {}", ended.last);
                trial.assert_sound(&dir, &what);
                trial.assert_converges(&dir, &what);
                fs::remove_dir_all(dir).unwrap();
                if !ended.was_killed() {
                    break;
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_that_is_killed_again_and_again_converges() {
    if !have(&["strace"]) {
        return;
    }
    let trial = Trial::second_run().await;
    on_a_thread(move || {
        let steps = trial.steps();
        for first in sample(steps, 4) {
            let dir = trial.folder("killed");
            let mut story = Vec::new();
            let mut next = first;
            // Each run gets less far than the one before, so that recovery itself is what is killed.
            while next > 0 {
                let ended = killed_after(&trial.command(&dir), "killed", |steps, _| steps == next, || ());
                story.push(format!("{next}: {}", ended.last));
                trial.assert_sound(&dir, &story.join("\n"));
                next = next * 2 / 3;
            }
            trial.assert_converges(&dir, &story.join("\n"));
            fs::remove_dir_all(dir).unwrap();
        }
    })
    .await;
}

/// Cuts the power after so many steps, on this disk.
fn cut_power(trial: &Trial, disk: &Disk, step: usize, flush_log: bool) {
    let dir = trial.folder_in(&disk.path(), "cut");
    // What was there before has been there for long.
    rustix::fs::sync();
    let ended = killed_after(
        &trial.command(&dir),
        "cut",
        |steps, _| steps == step,
        || {
            disk.cut_power(flush_log);
        },
    );
    if ended.steps < step {
        disk.cut_power(flush_log);
    }
    disk.power_up();
    let what = format!("power cut (journal flushed: {flush_log}) after step {step}, {}", ended.last);
    trial.assert_sound(&dir, &what);
    trial.assert_converges(&dir, &what);
    fs::remove_dir_all(dir).unwrap();
}

async fn power_cuts(disk: Option<Disk>, points: usize) {
    let Some(disk) = disk.filter(|_| have(&["strace", "perl"])) else {
        return skip("no disk to cut the power of");
    };
    let (first, second) = (Trial::first_run().await, Trial::second_run().await);
    on_a_thread(move || {
        for trial in [first, second] {
            let steps = trial.steps();
            for flush_log in [false, true] {
                for step in sample(steps, points) {
                    cut_power(&trial, &disk, step, flush_log);
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_is_cut_on_ext4() {
    power_cuts(Disk::ext4(), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_is_cut_on_xfs() {
    power_cuts(Disk::xfs(), 5).await;
}
