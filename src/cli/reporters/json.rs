//! Events as JSON lines, and the way JSON is written everywhere: a reader's contract, so each field is spelled here.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;

use crate::cli::format::percent;
use crate::cli::process::Stream;
use crate::engine::event::{Event, Reporter};
use crate::error::Error;
use crate::model::error_code::ErrorCode;
use crate::model::hook_event::EventId;
use crate::model::job::{JobId, JobStatus};
use crate::model::names::sanitize::is_invisible;

/// Writes each event as one line to `out`; does what `on_closed` says once nobody reads them any more.
pub(crate) struct JsonLines {
    pub(crate) out: Stream,
    pub(crate) job: JobId,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) on_closed: Box<dyn Fn() + Send + Sync>,
    /// Called once when the lines cannot be written. The run continues without them.
    pub(crate) on_lost: Box<dyn Fn(&Error) + Send + Sync>,
}

impl Reporter for JsonLines {
    fn report(&self, event: &Event) {
        if let Some(line) = line(event, &self.job, (self.now)()) {
            self.out.line(&line);
            if self.out.is_closed() {
                (self.on_closed)();
            }
            if let Some(fault) = self.out.take_fault() {
                (self.on_lost)(&Error::Output(fault));
            }
        }
    }
}

/// Returns an event's line; `None` for those that are for bars alone.
pub(crate) fn line(event: &Event, job: &JobId, now: Timestamp) -> Option<String> {
    line_with(event, job, now, None)
}

/// The same for a hook, which may be told an event twice and tells by `event_id` that it is the same.
pub(crate) fn line_with_id(event: &Event, job: &JobId, now: Timestamp, id: &EventId) -> Option<String> {
    line_with(event, job, now, Some(id))
}

fn line_with(event: &Event, job: &JobId, now: Timestamp, id: Option<&EventId>) -> Option<String> {
    let (event, fields) = fields(event)?;
    text(&Line { event, time: time(now), job_id: job.as_str(), fields, event_id: id.map(EventId::as_str) })
}

/// Returns the document of a command that the API refused: what a program reads in place of the answer.
pub(crate) fn refusal(error: &Error) -> Option<String> {
    #[derive(Serialize)]
    struct Refused<'a> {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<&'a ErrorCode>,
        exit_code: u8,
    }
    let Error::Api(fault) = error else { return None };
    let exit_code = error.exit_status().code();
    text(&Refused { error: fault.to_string(), error_code: fault.code(), exit_code })
}

/// Returns a document, on one line.
pub(crate) fn text<T: Serialize>(value: &T) -> Option<String> {
    // Every value here is made of strings, numbers and lists: there is nothing that could not be written.
    serde_json::to_string(value).ok().map(|text| harmless(&text))
}

/// Returns an instant in UTC with milliseconds.
pub(crate) fn time(now: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&now)
}

/// Escapes what a terminal would act upon. Outside of strings JSON has no such character, so the value is the same.
fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() || !is_invisible(c) {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    time: String,
    job_id: &'a str,
    #[serde(flatten)]
    fields: Fields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Submitted {
        name: Option<&'a str>,
    },
    Resumed {
        attempt: Option<u32>,
        of: Option<u32>,
        step: Option<u64>,
        reason: &'a str,
    },
    Job {
        name: Option<&'a str>,
        status: &'a str,
        step: Option<u64>,
        total_steps: Option<u64>,
        percent: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    Plan {
        fetch: u64,
        bytes: Option<u64>,
        present: u64,
    },
    Planned {
        path: &'a str,
        kind: &'static str,
        action: &'a str,
    },
    Started {
        path: &'a str,
        kind: &'static str,
        step: Option<u64>,
        size: Option<u64>,
        resumed_from: u64,
    },
    Published {
        path: &'a str,
        kind: &'static str,
        step: Option<u64>,
        size: u64,
        sha256: String,
        evidence: &'static str,
        seconds: f64,
    },
    Settling {
        path: &'a str,
        declared: Option<u64>,
        have: u64,
    },
    Retrying {
        path: Option<&'a str>,
        cause: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<&'a ErrorCode>,
        wait_seconds: f64,
    },
    Vanished {
        path: &'a str,
    },
    Failed {
        path: &'a str,
        cause: &'a str,
    },
    Mirrored {
        path: &'a str,
        to: String,
        how: &'static str,
    },
    Trouble {
        message: &'a str,
    },
    Notice {
        message: &'a str,
    },
    Stalled {
        step: Option<u64>,
        quiet_seconds: f64,
        usual_seconds: f64,
    },
    Error {
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<&'a ErrorCode>,
        exit_code: u8,
    },
    Done {
        exit_code: u8,
        published: u64,
        bytes: u64,
        present: u64,
        failed: u64,
        seconds: f64,
        job_status: Option<&'a str>,
        over: bool,
        next_look_seconds: Option<f64>,
    },
}

fn fields(event: &Event) -> Option<(&'static str, Fields<'_>)> {
    Some(match event {
        Event::Submitted { name, .. } => ("submitted", Fields::Submitted { name: name.as_deref() }),
        Event::Resumed { attempt, step, reason } => {
            let (attempt, of) = attempt.unzip();
            ("resumed", Fields::Resumed { attempt, of, step: *step, reason })
        }
        Event::Job { name, status, progress, error } => {
            let fields = Fields::Job {
                name: name.as_deref(),
                status: status.as_str(),
                step: progress.current_step,
                total_steps: progress.total_steps,
                percent: percent(progress),
                error: error.as_deref(),
            };
            ("job", fields)
        }
        Event::Plan { fetch, bytes, present } => {
            ("plan", Fields::Plan { fetch: *fetch, bytes: *bytes, present: *present })
        }
        Event::Planned { path, kind, action } => {
            ("planned", Fields::Planned { path: path.as_str(), kind: kind.name(), action })
        }
        Event::Started { path, kind, step, size, resumed_from } => {
            let (path, kind) = (path.as_str(), kind.name());
            ("started", Fields::Started { path, kind, step: *step, size: *size, resumed_from: *resumed_from })
        }
        Event::Published { path, kind, step, size, sha256, evidence, elapsed } => {
            let fields = Fields::Published {
                path: path.as_str(),
                kind: kind.name(),
                step: *step,
                size: *size,
                sha256: sha256.to_string(),
                evidence: evidence.name(),
                seconds: seconds(*elapsed),
            };
            ("published", fields)
        }
        Event::Settling { path, declared, have } => {
            ("settling", Fields::Settling { path: path.as_str(), declared: *declared, have: *have })
        }
        Event::Retrying { path, cause, error_code, wait } => {
            let (path, error_code) = (path.as_ref().map(|path| path.as_str()), error_code.as_ref());
            ("retrying", Fields::Retrying { path, cause, error_code, wait_seconds: seconds(*wait) })
        }
        Event::Vanished { path } => ("vanished", Fields::Vanished { path: path.as_str() }),
        Event::Failed { path, cause } => ("failed", Fields::Failed { path: path.as_str(), cause }),
        Event::Mirrored { path, to, how } => {
            ("mirrored", Fields::Mirrored { path: path.as_str(), to: to.to_string_lossy().into_owned(), how })
        }
        Event::Trouble { message } => ("trouble", Fields::Trouble { message }),
        Event::Notice { message } => ("notice", Fields::Notice { message }),
        Event::Stalled { step, quiet, usual, .. } => {
            let (quiet_seconds, usual_seconds) = (seconds(*quiet), seconds(*usual));
            ("stalled", Fields::Stalled { step: *step, quiet_seconds, usual_seconds })
        }
        Event::Error { message, error_code, exit } => {
            let (error_code, exit_code) = (error_code.as_ref(), exit.code());
            ("error", Fields::Error { message, error_code, exit_code })
        }
        Event::Done { exit, published, bytes, present, failed, elapsed, job_status, next_look } => {
            let fields = Fields::Done {
                exit_code: exit.code(),
                published: *published,
                bytes: *bytes,
                present: *present,
                failed: *failed,
                seconds: seconds(*elapsed),
                job_status: job_status.as_ref().map(JobStatus::as_str),
                over: next_look.is_none(),
                next_look_seconds: next_look.map(seconds),
            };
            ("done", fields)
        }
        Event::Checking { .. } | Event::Received { .. } | Event::Pace { .. } | Event::Waiting { .. } => {
            return None;
        }
    })
}

/// Returns seconds with milliseconds.
pub(crate) fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::reporters::samples::{every_event, job};

    #[test]
    fn every_event_as_a_script_reads_it() {
        let now = Timestamp::from_millisecond(1_769_860_800_120).unwrap();
        let lines: Vec<String> = every_event().iter().filter_map(|event| line(event, &job(), now)).collect();
        let head =
            |event| format!(r#"{{"event":"{event}","time":"2026-01-31T12:00:00.120Z","job_id":"abc-1","#);
        let sha256 = "ab".repeat(32);
        assert_eq!(lines.join("\n"), [
            head("submitted") + r#""name":"dog"}"#,
            head("resumed") + r#""attempt":1,"of":3,"step":700,"reason":"it stopped at step 700 of 2000"}"#,
            head("resumed") + r#""attempt":null,"of":null,"step":null,"reason":"as asked"}"#,
            head("job") + r#""name":"dog","status":"RUNNING","step":320,"total_steps":2000,"percent":16.0}"#,
            head("plan") + r#""fetch":2,"bytes":null,"present":5}"#,
            head("planned") + r#""path":"dog_000000250.safetensors","kind":"checkpoint","action":"fetch (new)"}"#,
            head("started") + r#""path":"dog_000000250.safetensors","kind":"checkpoint","step":250,"size":171863244,"resumed_from":1024}"#,
            head("published") + r#""path":"dog_000000250.safetensors","kind":"checkpoint","step":250,"size":171863244,"sha256":""# + &sha256 + r#"","evidence":"trainer-hash","seconds":4.251}"#,
            head("settling") + r#""path":"dog_000000500.safetensors","declared":171863244,"have":1024}"#,
            head("retrying") + r#""path":"dog_000000500.safetensors","cause":"connection reset","wait_seconds":1.5}"#,
            head("retrying") + r#""path":null,"cause":"HTTP 503","error_code":50301,"wait_seconds":2.0}"#,
            head("vanished") + r#""path":"samples/1__000000250_0.jpg"}"#,
            head("failed") + r#""path":"samples/1__000000250_0.jpg","cause":"HTTP 403"}"#,
            head("mirrored") + r#""path":"dog_000000250.safetensors","to":"/ui/dog_250.safetensors","how":"hardlink"}"#,
            head("notice") + r#""message":"\u001b]0;title\u0007 \u202e is harmless"}"#,
            head("stalled") + r#""step":700,"quiet_seconds":1080.0,"usual_seconds":350.0}"#,
            head("error") + r#""message":"the API knows no job `abc-1`","error_code":40451,"exit_code":65}"#,
            head("done") + r#""exit_code":75,"published":1,"bytes":171863244,"present":6,"failed":1,"seconds":80.0,"job_status":"RUNNING","over":false,"next_look_seconds":15.0}"#,
        ].join("\n"));
    }

    #[test]
    fn what_is_escaped_reads_back_the_same() {
        let odd = "a\u{202e}\u{9b}\u{e0001}é 犬\u{2028}";
        let json = text(&odd).unwrap();
        assert!(!json.chars().any(|c| c != '\n' && is_invisible(c)), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), odd);
    }

    #[test]
    fn when_nobody_reads_any_more_it_is_told() {
        let told = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let tell = told.clone();
        let lines = JsonLines {
            out: Stream::new(crate::cli::process::fake::Gone, None),
            job: job(),
            now: Timestamp::now,
            on_closed: Box::new(move || tell.store(true, std::sync::atomic::Ordering::Relaxed)),
            on_lost: Box::new(|fault| panic!("{fault}")),
        };
        lines.report(&every_event()[0]);
        assert!(told.load(std::sync::atomic::Ordering::Relaxed));
    }

    #[test]
    fn lines_that_cannot_be_written_end_nothing_and_are_reported_once() {
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let hear = heard.clone();
        let lines = JsonLines {
            out: Stream::new(crate::cli::process::fake::Full, None),
            job: job(),
            now: Timestamp::now,
            on_closed: Box::new(|| panic!("the run is ended")),
            on_lost: Box::new(move |fault| hear.lock().unwrap().push(fault.to_string())),
        };
        every_event().iter().for_each(|event| lines.report(event));
        assert_eq!(*heard.lock().unwrap(), ["could not write standard output"]);
    }

    #[test]
    fn seconds_have_milliseconds() {
        assert_eq!(seconds(Duration::from_micros(1_234_567)).to_string(), "1.235");
    }
}
