//! Events as JSON lines, and the way JSON is written everywhere. An event is written as it serializes, with words in place
//! of typed causes; the test below is the contract with readers.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::process::Stream;
use crate::engine::event::{Event, Reporter, RetryCause};
use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::model::error_code::ErrorCode;
use crate::model::hook_event::EventId;
use crate::model::job::JobId;
use crate::model::names::rel_path::RelPath;
use crate::model::names::sanitize::is_invisible;
use crate::model::units::seconds;

use super::words;

/// Writes each event as one line to `out`; calls `on_closed` once the reader is gone.
pub(crate) struct JsonLines {
    pub(crate) out: Stream,
    pub(crate) job: JobId,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) on_closed: Box<dyn Fn() + Send + Sync>,
    /// Called once when the lines cannot be written. The run continues without them.
    pub(crate) on_lost: Box<dyn Fn(&CommandError) + Send + Sync>,
}

impl JsonLines {
    /// Writes a notice of the program's own.
    pub(crate) fn note(&self, message: &str) {
        let notice = text(&Worded::Notice { message: message.to_owned() });
        self.write(notice.and_then(|notice| stamped(&notice, Some(&self.job), (self.now)(), None)));
    }

    fn write(&self, lines: impl IntoIterator<Item = String>) {
        let lines: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
        if !lines.is_empty() {
            self.out.write(&lines);
            if self.out.is_closed() {
                (self.on_closed)();
            }
            if let Some(fault) = self.out.take_fault() {
                (self.on_lost)(&CommandError::Output(fault));
            }
        }
    }
}

impl Reporter for JsonLines {
    fn report(&self, event: &Event) {
        self.write(line(event, &self.job, (self.now)()));
    }

    fn report_all(&self, events: &[Event]) {
        self.write(events.iter().filter_map(|event| line(event, &self.job, (self.now)())));
    }
}

/// Returns an event's line; `None` for those that are for bars alone.
pub(crate) fn line(event: &Event, job: &JobId, now: Timestamp) -> Option<String> {
    line_with(event, Some(job), now, None)
}

/// The same for a hook, which may get an event twice: `event_id` is the same then.
pub(crate) fn line_with_id(event: &Event, job: &JobId, now: Timestamp, id: &EventId) -> Option<String> {
    line_with(event, Some(job), now, Some(id))
}

/// Returns the last line of a command that writes events and failed.
pub(crate) fn error_line(error: &CommandError, job: Option<&JobId>, now: Timestamp) -> Option<String> {
    stamped(&text(&Named { event: "error", fields: &Failure::of(error) })?, job, now, None)
}

/// An event that serializes without its name.
#[derive(Serialize)]
pub(crate) struct Named<'a, F> {
    pub(crate) event: &'static str,
    #[serde(flatten)]
    pub(crate) fields: &'a F,
}

/// The fields of the event `error`.
#[derive(Serialize)]
pub(crate) struct Failure<'a> {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a ErrorCode>,
    exit_code: ExitStatus,
}

impl<'a> Failure<'a> {
    pub(crate) fn of(error: &'a CommandError) -> Self {
        let (message, exit_code) = (error.explain_briefly(), error.exit_status());
        Self { message, error_code: error.code(), exit_code }
    }
}

fn line_with(event: &Event, job: Option<&JobId>, now: Timestamp, id: Option<&EventId>) -> Option<String> {
    let fields = match event {
        Event::Checking { .. } | Event::Received { .. } | Event::Pace { .. } | Event::Waiting { .. } => {
            return None;
        }
        _ => match Worded::of(event) {
            Some(worded) => text(&worded),
            None => text(event),
        },
    };
    stamped(&fields?, job, now, id)
}

/// Adds time and job after the name of the event, which its fields begin with, and the id at the end.
fn stamped(fields: &str, job: Option<&JobId>, now: Timestamp, id: Option<&EventId>) -> Option<String> {
    #[derive(Serialize)]
    struct Stamp<'a> {
        time: String,
        job_id: Option<&'a str>,
    }
    let line = inserted(fields, &Stamp { time: time(now), job_id: job.map(JobId::as_str) })?;
    match id {
        Some(id) => Some(format!(r#"{},"event_id":"{}"}}"#, line.strip_suffix('}')?, id.as_str())),
        None => Some(line),
    }
}

/// Inserts the stamp's fields after the name of the event, which its fields begin with.
pub(crate) fn inserted<S: Serialize>(fields: &str, stamp: &S) -> Option<String> {
    let name = fields.find(',').or_else(|| fields.len().checked_sub(1))?;
    let (name, rest) = fields.split_at_checked(name)?;
    let stamp = text(stamp)?;
    Some(format!("{name},{}{rest}", stamp.strip_prefix('{')?.strip_suffix('}')?))
}

/// Returns the document of a command that failed: what a program reads in place of the answer.
pub(crate) fn refusal(error: &CommandError) -> Option<String> {
    #[derive(Serialize)]
    struct Refused<'a> {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<&'a ErrorCode>,
        exit_code: ExitStatus,
    }
    let Failure { message, error_code, exit_code } = Failure::of(error);
    text(&Refused { error: message, error_code, exit_code })
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

/// Events that have words in place of a typed cause; all others are written as they serialize.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Worded<'a> {
    Resumed {
        attempt: Option<u32>,
        of: Option<u32>,
        step: Option<u64>,
        reason: String,
    },
    Planned {
        path: &'a RelPath,
        kind: ArtifactKind,
        action: String,
    },
    Retrying {
        path: Option<&'a RelPath>,
        cause: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<&'a ErrorCode>,
        wait_seconds: f64,
    },
    Failed {
        path: &'a RelPath,
        cause: String,
    },
    Trouble {
        message: String,
    },
    Notice {
        message: String,
    },
}

impl<'a> Worded<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        Some(match event {
            Event::Resumed { attempt, step, reason } => {
                let (attempt, of) = attempt.unzip();
                Self::Resumed { attempt, of, step: *step, reason: words::resumed(reason) }
            }
            Event::Planned { path, kind, action } => {
                Self::Planned { path, kind: *kind, action: action.to_string() }
            }
            Event::Retrying { path, cause, wait } => Self::Retrying {
                path: path.as_ref(),
                cause: words::retry(cause),
                error_code: match cause {
                    RetryCause::Api(fault) => fault.code(),
                    RetryCause::Store(_) | RetryCause::File(_) => None,
                },
                wait_seconds: seconds(*wait),
            },
            Event::Failed { path, cause } => Self::Failed { path, cause: words::failure(cause) },
            Event::Trouble { notice } => Self::Trouble { message: words::notice(notice) },
            Event::Notice { notice } => Self::Notice { message: words::notice(notice) },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::reporters::samples::{every_event, job};
    use crate::error::ApiError;

    #[test]
    fn every_event_as_a_script_reads_it() {
        let now = Timestamp::from_millisecond(1_769_860_800_120).unwrap();
        let lines: Vec<String> = every_event().iter().filter_map(|event| line(event, &job(), now)).collect();
        let head =
            |event| format!(r#"{{"event":"{event}","time":"2026-01-31T12:00:00.120Z","job_id":"abc-1","#);
        let sha256 = "ab".repeat(32);
        assert_eq!(lines.join("\n"), [
            head("submitted") + r#""name":"dog"}"#,
            head("resumed") + r#""attempt":1,"of":3,"step":700,"reason":"the job stopped at step 700 of 2000 without an error"}"#,
            head("resumed") + r#""attempt":null,"of":null,"step":null,"reason":"as asked"}"#,
            head("job") + r#""name":"dog","status":"RUNNING","step":320,"total_steps":2000,"percent":16.0}"#,
            head("plan") + r#""fetch":2,"bytes":null,"present":5}"#,
            head("planned") + r#""path":"dog_000000250.safetensors","kind":"checkpoint","action":"fetch (new)"}"#,
            head("started") + r#""path":"dog_000000250.safetensors","kind":"checkpoint","step":250,"size":171863244,"resumed_from":1024}"#,
            head("published") + r#""path":"dog_000000250.safetensors","kind":"checkpoint","step":250,"size":171863244,"sha256":""# + &sha256 + r#"","evidence":"trainer-hash","seconds":4.251}"#,
            head("settling") + r#""path":"dog_000000500.safetensors","declared":171863244,"have":1024}"#,
            head("retrying") + r#""path":"dog_000000500.safetensors","cause":"the connection broke after 7 bytes: connection reset","wait_seconds":1.5}"#,
            head("retrying") + r#""path":null,"cause":"the API answered HTTP 503","error_code":50301,"wait_seconds":2.0}"#,
            head("retrying") + r#""path":null,"cause":"the store of `s3://loras/dog` cannot be reached: no answer for 30 s","wait_seconds":0.5}"#,
            head("vanished") + r#""path":"samples/1__000000250_0.jpg"}"#,
            head("failed") + r#""path":"samples/1__000000250_0.jpg","cause":"the host answered HTTP 403"}"#,
            head("mirrored") + r#""path":"dog_000000250.safetensors","to":"/ui/dog_250.safetensors","how":"hardlink"}"#,
            head("notice") + r#""message":"`\u001b]0;title\u0007 \u202e` has no `path`"}"#,
            head("stalled") + r#""step":700,"quiet_seconds":1080.0,"usual_seconds":350.0}"#,
            head("done") + r#""exit_code":75,"published":1,"bytes":171863244,"present":6,"failed":1,"seconds":80.0,"job_status":"RUNNING","over":false,"next_look_seconds":15.0}"#,
        ].join("\n"));
    }

    #[test]
    fn a_failure_is_an_event_or_a_document() {
        let now = Timestamp::from_millisecond(1_769_860_800_120).unwrap();
        let fault =
            ApiError::UnknownJob { job: job(), message: String::new(), code: ErrorCode::new("40451") };
        let error = CommandError::from(fault);
        assert_eq!(
            error_line(&error, Some(&job()), now).unwrap(),
            r#"{"event":"error","time":"2026-01-31T12:00:00.120Z","job_id":"abc-1","message":"the API knows no job `abc-1`","error_code":40451,"exit_code":65}"#
        );
        assert_eq!(
            refusal(&error).unwrap(),
            r#"{"error":"the API knows no job `abc-1`","error_code":40451,"exit_code":65}"#
        );
        let error = CommandError::Usage("bad".to_owned());
        assert_eq!(
            error_line(&error, None, now).unwrap(),
            r#"{"event":"error","time":"2026-01-31T12:00:00.120Z","job_id":null,"message":"bad","exit_code":64}"#
        );
        assert_eq!(refusal(&error).unwrap(), r#"{"error":"bad","exit_code":64}"#);
    }

    #[test]
    fn what_is_escaped_reads_back_the_same() {
        let odd = "a\u{202e}\u{9b}\u{e0001}é 犬\u{2028}";
        let json = text(&odd).unwrap();
        assert!(!json.chars().any(|c| c != '\n' && is_invisible(c)), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), odd);
    }

    #[test]
    fn a_reader_that_is_gone_is_reported_once() {
        let called = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let call = called.clone();
        let lines = JsonLines {
            out: Stream::new(crate::cli::process::fake::Gone, None),
            job: job(),
            now: Timestamp::now,
            on_closed: Box::new(move || call.store(true, std::sync::atomic::Ordering::Relaxed)),
            on_lost: Box::new(|fault| panic!("{fault}")),
        };
        lines.report(&every_event()[0]);
        assert!(called.load(std::sync::atomic::Ordering::Relaxed));
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
}
