//! `--metrics-file`: how a run goes, as a text file that Prometheus' node exporter collects.
//!
//! The file is replaced as a whole, so a reader sees an old state or a new one and never half of one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::edge::system::disk;
use crate::edge::system::disk::Durability;
use crate::engine::event::Event;
use crate::error::{Error, explain_briefly};
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::names::rel_path::RelPath;

/// What a file of ours begins with.
const HEAD: &str = "# rcsync: one run of a mirror\n";

/// The node exporter collects every few seconds at the most.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Writes what it hears into a file.
pub(crate) struct Metrics {
    path: PathBuf,
    now: fn() -> Timestamp,
    state: Mutex<State>,
}

struct State {
    numbers: Numbers,
    written: Option<Instant>,
    troubled: bool,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq)]
struct Numbers {
    job: JobId,
    began: Timestamp,
    name: Option<String>,
    status: Option<JobStatus>,
    progress: Progress,
    looked: Option<Timestamp>,
    published: u64,
    published_bytes: u64,
    published_at: Option<Timestamp>,
    received: u64,
    retries: u64,
    present: Option<u64>,
    failed: u64,
    ended: Option<(Timestamp, u8)>,
    have: HashMap<RelPath, u64>,
}

/// Looks at where the metrics shall go, before anything is done.
///
/// # Errors
/// When the name is not one that is collected, or a file stands there that rcsync did not write.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    if path.extension().is_none_or(|extension| extension != "prom") {
        return Err(Error::Usage(format!("`--metrics-file {shown}`: its name has to end in `.prom`")));
    }
    let Ok(file) = disk::open_regular(path) else { return Ok(()) };
    let mut head = String::new();
    let read = file.take(HEAD.len() as u64).read_to_string(&mut head);
    match read {
        Ok(_) if head == HEAD || head.is_empty() => Ok(()),
        _ => Err(Error::Usage(format!(
            "`--metrics-file {shown}`: a file is there that rcsync did not write; it is left as it is"
        ))),
    }
}

impl Metrics {
    /// Will write to `path`.
    pub(crate) fn new(path: PathBuf, job: JobId, now: fn() -> Timestamp) -> Self {
        let state = Mutex::new(State { numbers: Numbers::new(job, now()), written: None, troubled: false });
        Self { path, now, state }
    }

    /// Hears an event, and returns, once, why the file cannot be written.
    pub(crate) fn hear(&self, event: &Event) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.numbers.hear(event, (self.now)()) {
            return None;
        }
        let last = matches!(event, Event::Done { .. });
        if !last && state.written.is_some_and(|written| written.elapsed() < SHORTEST_WAIT) {
            return None;
        }
        state.written = Some(Instant::now());
        let text = state.numbers.text();
        // The exporter reads what ends in `.prom`; what is being written does not.
        let replaced =
            disk::replace(&self.path, disk::parent(&self.path), text.as_bytes(), Durability::Hopeful);
        let trouble = replaced.err().filter(|_| !state.troubled)?;
        state.troubled = true;
        Some(format!("`--metrics-file` stays as it was: {}", explain_briefly(&trouble)))
    }
}

impl Numbers {
    fn new(job: JobId, began: Timestamp) -> Self {
        Self {
            job,
            began,
            name: None,
            status: None,
            progress: Progress::default(),
            looked: None,
            published: 0,
            published_bytes: 0,
            published_at: None,
            received: 0,
            retries: 0,
            present: None,
            failed: 0,
            ended: None,
            have: HashMap::new(),
        }
    }

    /// Counts; `false` where nothing changed that is worth a new file.
    fn hear(&mut self, event: &Event, now: Timestamp) -> bool {
        match event {
            Event::Job { name, status, progress, .. } => {
                self.name.clone_from(name);
                self.status = Some(status.clone());
                self.progress = *progress;
                self.looked = Some(now);
            }
            Event::Plan { present, .. } => {
                self.present = Some(*present);
                self.looked = Some(now);
            }
            Event::Waiting { .. } => self.looked = Some(now),
            Event::Started { path, resumed_from, .. } => {
                self.have.insert(path.clone(), *resumed_from);
                return false;
            }
            Event::Received { path, have, .. } => {
                let before = self.have.insert(path.clone(), *have).unwrap_or(0);
                // A file that is begun anew has less than before.
                self.received += have.saturating_sub(before);
            }
            Event::Published { path, size, .. } => {
                self.have.remove(path);
                self.published += 1;
                self.published_bytes = self.published_bytes.saturating_add(*size);
                self.published_at = Some(now);
                self.present = self.present.map(|present| present + 1);
            }
            Event::Retrying { .. } => self.retries += 1,
            Event::Failed { .. } => self.failed += 1,
            Event::Done { exit, published, bytes, present, failed, .. } => {
                self.published = *published;
                self.received = *bytes;
                self.present = Some(*present);
                self.failed = *failed;
                self.ended = Some((now, exit.code()));
            }
            _ => return false,
        }
        true
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let job = label(self.job.as_str());
        let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                let _ = writeln!(text, "# HELP rcsync_{name} {help}\n# TYPE rcsync_{name} {kind}");
                let _ = writeln!(text, "rcsync_{name}{{job_id=\"{job}\"}} {value}");
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
        let number = |number: u64| Some(number as f64);
        let seconds = |time: Timestamp| Some(time.as_duration().as_secs_f64());
        let gauge = "gauge";
        let step = self.progress.current_step;
        add("step", gauge, "Training steps done.", step.and_then(number));
        add("total_steps", gauge, "Training steps planned.", self.progress.total_steps.and_then(number));
        add("present_files", gauge, "Files that are here and proven.", self.present.and_then(number));
        add("failed_files", gauge, "Files that could not be had in this run.", number(self.failed));
        add("published_files_total", "counter", "Files published in this run.", number(self.published));
        add("published_bytes_total", "counter", "Bytes of them.", number(self.published_bytes));
        add("received_bytes_total", "counter", "Bytes received in this run.", number(self.received));
        add("retries_total", "counter", "Transfers that failed and were tried again.", number(self.retries));
        add("run_start_timestamp_seconds", gauge, "When this run began.", seconds(self.began));
        let looked = self.looked.and_then(seconds);
        add("last_look_timestamp_seconds", gauge, "When the job was last seen.", looked);
        let published = self.published_at.and_then(seconds);
        add("last_published_timestamp_seconds", gauge, "When a file was last published.", published);
        let ended = self.ended.and_then(|(time, _)| seconds(time));
        add("run_end_timestamp_seconds", gauge, "When this run ended; not there while it goes on.", ended);
        let code = self.ended.and_then(|(_, code)| number(code.into()));
        add("exit_code", gauge, "How this run ended; not there while it goes on.", code);
        if let Some(status) = &self.status {
            let (name, status) = (label(self.name.as_deref().unwrap_or_default()), label(status.as_str()));
            let _ = writeln!(text, "# HELP rcsync_job What the job is and does.\n# TYPE rcsync_job gauge");
            let _ = writeln!(text, "rcsync_job{{job_id=\"{job}\",name=\"{name}\",status=\"{status}\"}} 1");
        }
        text
    }
}

/// Returns text as it may stand between a label's quotes.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::reporters::samples::{every_event, job};

    fn noon() -> Timestamp {
        Timestamp::from_second(1_769_860_800).unwrap()
    }

    #[test]
    fn a_run_in_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lora.prom");
        check(&path).unwrap();
        let metrics = Metrics::new(path.clone(), job(), noon);
        for event in every_event() {
            assert_eq!(metrics.hear(&event), None);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "rcsync_step{job_id=\"abc-1\"} 320",
                "rcsync_total_steps{job_id=\"abc-1\"} 2000",
                "rcsync_present_files{job_id=\"abc-1\"} 6",
                "rcsync_failed_files{job_id=\"abc-1\"} 1",
                "rcsync_published_files_total{job_id=\"abc-1\"} 1",
                "rcsync_published_bytes_total{job_id=\"abc-1\"} 171863244",
                "rcsync_received_bytes_total{job_id=\"abc-1\"} 171863244",
                "rcsync_retries_total{job_id=\"abc-1\"} 2",
                "rcsync_run_start_timestamp_seconds{job_id=\"abc-1\"} 1769860800",
                "rcsync_last_look_timestamp_seconds{job_id=\"abc-1\"} 1769860800",
                "rcsync_last_published_timestamp_seconds{job_id=\"abc-1\"} 1769860800",
                "rcsync_run_end_timestamp_seconds{job_id=\"abc-1\"} 1769860800",
                "rcsync_exit_code{job_id=\"abc-1\"} 75",
                "rcsync_job{job_id=\"abc-1\",name=\"dog\",status=\"RUNNING\"} 1",
            ]
        );
        check(&path).unwrap();
        let names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [path], "nothing is left beside it");
    }

    #[test]
    fn nothing_of_others_is_overwritten_and_trouble_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("theirs.prom");
        std::fs::write(&path, "node_load1 3\n").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("did not write"));
        assert!(check(&dir.path().join("a.txt")).unwrap_err().to_string().contains("`.prom`"));
        let metrics = Metrics::new(dir.path().join("no/such/a.prom"), job(), noon);
        let told = every_event().iter().filter_map(|event| metrics.hear(event)).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn labels_hold_any_text() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
