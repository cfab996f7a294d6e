//! A simulated API with several jobs, and a folder for all of them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use rcsync::JobId;
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
use serde_json::Value;

use crate::support::{Bench, Lines};

/// Jobs of a fleet.
pub(super) struct Yard {
    pub(super) bench: Bench,
    pub(super) jobs: Vec<JobId>,
    root: tempfile::TempDir,
}

pub(super) use crate::support::small as plan;

impl Yard {
    /// Jobs `dog-0`, `dog-1` … that have not begun.
    pub(super) async fn new(count: usize) -> Self {
        Self::of((0..count).map(|number| plan(&format!("dog-{number}"))).collect()).await
    }

    pub(super) async fn of(plans: Vec<JobPlan>) -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let jobs: Vec<JobId> = plans.into_iter().map(|plan| simulator.add_job(plan)).collect();
        let bench = Bench::new(simulator, jobs[0].clone());
        Self { bench, jobs, root: tempfile::tempdir().unwrap() }
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn simulator(&self) -> &Simulator {
        &self.bench.simulator
    }

    /// Where a job of this number is mirrored.
    pub(super) fn dir(&self, number: usize) -> PathBuf {
        self.root().join("loras").join(format!("dog-{number}"))
    }

    pub(super) fn list(&self, lines: &[&str]) -> PathBuf {
        let path = self.root().join("jobs.txt");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        path
    }

    /// The list of these jobs.
    pub(super) fn list_of(&self, jobs: &[JobId]) -> PathBuf {
        self.list(&jobs.iter().map(JobId::as_str).collect::<Vec<_>>())
    }

    /// `rcsync fleet` with these words, in the yard; requests come as fast as they like.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let words = [&["fleet"], words, &["--api-rate", "10000"]].concat();
        let mut command = self.bench.command(&words);
        command.current_dir(self.root());
        command
    }

    /// Runs it to its end.
    pub(super) async fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs it beside the test.
    pub(super) fn start(&self, words: &[&str]) -> Running {
        let mut child = self.command(&[words, &["--output", "json"]].concat()).spawn().unwrap();
        let events = Lines::of(child.stdout.take().unwrap());
        let messages = Lines::of(child.stderr.take().unwrap());
        Running { child, events, messages, heard: RefCell::default() }
    }

    /// Counts published files of a job, which must all be true and in `SHA256SUMS`.
    pub(super) fn published(&self, number: usize) -> usize {
        use sha2::Digest as _;
        let (dir, truth) = (self.dir(number), self.simulator().truth(&self.jobs[number]));
        let count = truth
            .into_iter()
            .filter_map(|(path, versions)| Some((std::fs::read(dir.join(&path)).ok()?, path, versions)))
            .inspect(|(bytes, path, versions)| {
                let sha256 = rcsync::internals::hex(&sha2::Sha256::digest(bytes));
                let is_true = versions.iter().any(|version| version.sha256.to_string() == sha256);
                assert!(is_true, "{path} of dog-{number} is no true version");
            })
            .count();
        assert_eq!(self.bench.assert_sums_pass_in(&dir), count, "dog-{number}");
        count
    }

    /// Everything that the jobs host is here.
    pub(super) fn assert_complete(&self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            let hosted = self.simulator().hosted(&self.jobs[number]).len();
            assert_eq!(self.published(number), hosted, "dog-{number}");
        }
    }

    pub(super) fn finish_all(&self) {
        self.jobs.iter().for_each(|job| self.simulator().finish(job));
    }
}

/// A fleet that runs beside the test; killed when the test ends before it.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) events: Lines,
    pub(super) messages: Lines,
    /// What came while something else was waited for.
    heard: RefCell<Vec<Value>>,
}

impl Running {
    /// Waits for an event of this job, or returns one that came while another was waited for.
    pub(super) fn wait_for(&self, job: &JobId, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let is_it = |reported: &Value| {
            reported["job_id"] == job.as_str() && reported["event"] == event && fits(reported)
        };
        let mut heard = self.heard.borrow_mut();
        if let Some(at) = heard.iter().position(&is_it) {
            return heard.remove(at);
        }
        loop {
            let line = self.events.wait_for(&format!("{event} of {job}; heard {heard:#?}"), |_| true);
            let reported: Value = serde_json::from_str(&line).unwrap();
            if is_it(&reported) {
                return reported;
            }
            heard.push(reported);
        }
    }

    #[cfg(unix)]
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(super) async fn end(mut self) -> i32 {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap().code().unwrap_or(-1)).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events of a run that has ended.
pub(super) fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
