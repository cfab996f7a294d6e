//! `--metrics-file`: how a run goes, as a text file that Prometheus' node exporter collects.
//!
//! The file is replaced as a whole, so a reader sees an old state or a new one and never half of one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cli::command_error::CommandError;
use crate::edge::system::disk;
use crate::edge::system::disk::Durability;
use crate::engine::event::Event;
use crate::error::explain_briefly;
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::names::rel_path::RelPath;

/// What a file of ours begins with.
const HEAD: &str = "# rcsync: one run of a mirror\n";

/// The node exporter collects every few seconds at the most.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Writes events, counted, into a file.
pub(crate) struct Metrics {
    path: PathBuf,
    now: fn() -> Timestamp,
    state: Mutex<State>,
}

struct State {
    jobs: BTreeMap<JobId, Numbers>,
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
/// When the name is not one that is collected, or there is a file that rcsync did not write.
pub(crate) fn check(path: &Path) -> Result<(), CommandError> {
    let shown = path.display();
    if path.extension().is_none_or(|extension| extension != "prom") {
        let why = format!("`--metrics-file {shown}`: its name has to end in `.prom`");
        return Err(CommandError::misused(why, "name another file: `--metrics-file <PATH>.prom`"));
    }
    let Ok(file) = disk::open_regular(path) else { return Ok(()) };
    let mut head = String::new();
    let read = file.take(HEAD.len() as u64).read_to_string(&mut head);
    match read {
        Ok(_) if head == HEAD || head.is_empty() => Ok(()),
        _ => Err(CommandError::misused(
            format!(
                "`--metrics-file {shown}`: a file is there that rcsync did not write; it is left as it is"
            ),
            "name another file: `--metrics-file <PATH>.prom`",
        )),
    }
}

impl Metrics {
    /// Will write to `path`, of these jobs and of those that come.
    pub(crate) fn new(path: PathBuf, jobs: impl IntoIterator<Item = JobId>, now: fn() -> Timestamp) -> Self {
        let jobs = jobs.into_iter().map(|job| (job.clone(), Numbers::new(job, now()))).collect();
        let state = Mutex::new(State { jobs, written: None, troubled: false });
        Self { path, now, state }
    }

    /// Counts an event of a job, and returns, once, why the file cannot be written.
    pub(crate) fn apply(&self, job: &JobId, event: &Event) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.now)();
        let numbers = match state.jobs.get_mut(job) {
            Some(numbers) => numbers,
            None => state.jobs.entry(job.clone()).or_insert_with(|| Numbers::new(job.clone(), now)),
        };
        if !numbers.apply(event, now) {
            return None;
        }
        // Of many jobs, one that ends is no reason to write more often.
        let last = matches!(event, Event::Done { .. }) && state.jobs.len() == 1;
        if !last && state.written.is_some_and(|written| written.elapsed() < SHORTEST_WAIT) {
            return None;
        }
        self.write(&mut state)
    }

    /// Forgets a job that is followed no more.
    pub(crate) fn forget(&self, job: &JobId) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.remove(job);
    }

    /// Writes the last numbers, and returns, once, why it cannot be written.
    pub(crate) fn finish(&self) -> Option<String> {
        self.write(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, state: &mut State) -> Option<String> {
        state.written = Some(Instant::now());
        let text = text(state.jobs.values());
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
    fn apply(&mut self, event: &Event, now: Timestamp) -> bool {
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
}

/// What a number of a job is called, what it means, and how it is read.
type Measure = (&'static str, &'static str, &'static str, fn(&Numbers) -> Option<f64>);

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

const MEASURES: &[Measure] = &[
    ("step", GAUGE, "Training steps done.", |job| job.progress.current_step.map(number)),
    ("total_steps", GAUGE, "Training steps planned.", |job| job.progress.total_steps.map(number)),
    ("present_files", GAUGE, "Files that are here and proven.", |job| job.present.map(number)),
    ("failed_files", GAUGE, "Files that could not be had in this run.", |job| Some(number(job.failed))),
    ("published_files_total", COUNTER, "Files published in this run.", |job| Some(number(job.published))),
    ("published_bytes_total", COUNTER, "Bytes of them.", |job| Some(number(job.published_bytes))),
    ("received_bytes_total", COUNTER, "Bytes received in this run.", |job| Some(number(job.received))),
    ("retries_total", COUNTER, "Transfers that failed and were tried again.", |job| {
        Some(number(job.retries))
    }),
    ("run_start_timestamp_seconds", GAUGE, "When this run began.", |job| seconds(job.began)),
    ("last_look_timestamp_seconds", GAUGE, "When the job was last seen.", |job| seconds(job.looked?)),
    ("last_published_timestamp_seconds", GAUGE, "When a file was last published.", |job| {
        seconds(job.published_at?)
    }),
    ("run_end_timestamp_seconds", GAUGE, "When this run ended; absent while it runs.", |job| {
        seconds(job.ended?.0)
    }),
    ("exit_code", GAUGE, "How this run ended; absent while it runs.", |job| Some(f64::from(job.ended?.1))),
];

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
const fn number(number: u64) -> f64 {
    number as f64
}

fn seconds(time: Timestamp) -> Option<f64> {
    Some(time.as_duration().as_secs_f64())
}

/// All lines of one name are in one block, as the format demands.
fn text<'n>(jobs: impl Iterator<Item = &'n Numbers> + Clone) -> String {
    let mut text = HEAD.to_owned();
    for (name, kind, help, read) in MEASURES {
        let mut head = Some(format!("# HELP rcsync_{name} {help}\n# TYPE rcsync_{name} {kind}\n"));
        for job in jobs.clone() {
            if let Some(value) = read(job) {
                text.push_str(&head.take().unwrap_or_default());
                // Writing into a `String` cannot fail.
                let _ = writeln!(text, "rcsync_{name}{{job_id=\"{}\"}} {value}", label(job.job.as_str()));
            }
        }
    }
    let mut head = Some("# HELP rcsync_job What the job is and does.\n# TYPE rcsync_job gauge\n");
    for job in jobs {
        if let Some(status) = &job.status {
            text.push_str(head.take().unwrap_or_default());
            let (name, status) = (label(job.name.as_deref().unwrap_or_default()), label(status.as_str()));
            let id = label(job.job.as_str());
            // Writing into a `String` cannot fail.
            let _ = writeln!(text, "rcsync_job{{job_id=\"{id}\",name=\"{name}\",status=\"{status}\"}} 1");
        }
    }
    text
}

/// Escapes text for a label's quotes.
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
        let metrics = Metrics::new(path.clone(), [job()], noon);
        for event in every_event() {
            assert_eq!(metrics.apply(&job(), &event), None);
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
                "rcsync_retries_total{job_id=\"abc-1\"} 3",
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
    fn many_jobs_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.prom");
        let other: JobId = "b-2".parse().unwrap();
        let metrics = Metrics::new(path.clone(), [], noon);
        for event in every_event() {
            assert_eq!(metrics.apply(&job(), &event), None);
        }
        metrics.apply(&other, &every_event()[3]);
        assert_eq!(metrics.finish(), None);
        let text = std::fs::read_to_string(&path).unwrap();
        check(&path).unwrap();
        let at = |line: &str| {
            text.lines().position(|found| found == line).unwrap_or_else(|| panic!("{line}: {text}"))
        };
        let head = at("# TYPE rcsync_step gauge");
        assert_eq!(at("rcsync_step{job_id=\"abc-1\"} 320"), head + 1);
        assert_eq!(at("rcsync_step{job_id=\"b-2\"} 320"), head + 2);
        assert_eq!(text.matches("# TYPE rcsync_step ").count(), 1);
        at("rcsync_job{job_id=\"b-2\",name=\"dog\",status=\"RUNNING\"} 1");
        metrics.forget(&other);
        metrics.finish();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("b-2"));
    }

    #[test]
    fn nothing_of_others_is_overwritten_and_trouble_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("theirs.prom");
        std::fs::write(&path, "node_load1 3\n").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("did not write"));
        assert!(check(&dir.path().join("a.txt")).unwrap_err().to_string().contains("`.prom`"));
        let metrics = Metrics::new(dir.path().join("no/such/a.prom"), [job()], noon);
        let reported = every_event().iter().filter_map(|event| metrics.apply(&job(), event)).count();
        assert_eq!(reported, 1);
    }

    #[test]
    fn labels_hold_any_text() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
