//! What is reported of a push: lines or JSON, with or without bars.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::findings::{Findings, verdict};
use crate::cli::format::{files, shown, span};
use crate::cli::process::{Process, Stream};
use crate::cli::reporters::json;
use crate::cli::reporters::view::{Look, UploadFacts, View};
use crate::cli::reporters::words;
use crate::decide::datasets::Report;
use crate::decide::datasets::push::sending::SendFault;
use crate::engine::datasets::event::{PushEvent, PushReporter};
use crate::error::ExitStatus;
use crate::model::error_code::ErrorCode;
use crate::model::units::{ByteCount, seconds};

use super::config::{Settings, Talk};
use super::exit::Signals;
use super::values::Format;

/// Reports one push.
pub(crate) struct PushReport {
    name: String,
    /// Whether the push is one part of a command that has events of its own: its end is not the command's.
    is_part: bool,
    talk: Talk,
    err: Stream,
    colours: bool,
    json: Option<Json>,
    view: Option<View<UploadFacts>>,
}

struct Json {
    out: Stream,
    now: fn() -> Timestamp,
    signals: Signals,
    id: Mutex<Option<String>>,
}

impl PushReport {
    /// Chooses by the settings and by where the streams go.
    pub(crate) fn new(world: &Process, settings: &Settings, name: &str, signals: &Signals) -> Arc<Self> {
        Self::build(world, settings, name, signals, false, settings.format == Format::Json)
    }

    /// The same for a part of another command; `events`: as JSON events, else in words on standard error.
    pub(crate) fn part(
        world: &Process,
        settings: &Settings,
        name: &str,
        signals: &Signals,
        events: bool,
    ) -> Arc<Self> {
        Self::build(world, settings, name, signals, true, events)
    }

    fn build(
        world: &Process,
        settings: &Settings,
        name: &str,
        signals: &Signals,
        is_part: bool,
        events: bool,
    ) -> Arc<Self> {
        let look = Look { colours: world.colours(&world.err), unicode: world.speaks_unicode() };
        let draws = settings.bars(world) && !settings.sync.dry_run;
        let view = draws.then(|| View::<UploadFacts>::new(world.err.clone(), look));
        if let Some(view) = &view {
            view.learn(|facts, _| name.clone_into(&mut facts.name));
        }
        let json = events.then(|| Json {
            out: world.out.clone(),
            now: world.now,
            signals: signals.clone(),
            id: Mutex::default(),
        });
        Arc::new(Self {
            name: name.to_owned(),
            is_part,
            talk: settings.talk,
            err: world.err.clone(),
            colours: world.colours(&world.err),
            json,
            view,
        })
    }

    /// Sets the id of a dataset that exists already.
    pub(crate) fn set_id(&self, id: &str) {
        if let Some(json) = &self.json {
            *json.id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
        }
    }

    /// Reports what the check of the folder found.
    pub(crate) fn checked(&self, report: &Report) {
        if let Some(json) = &self.json {
            self.write(json, json::text(&json::Named { event: "checked", fields: &Findings::of(report) }));
            return;
        }
        let found = verdict(report);
        let (name, counts) = (shown(&self.name), report.counts);
        let text = format!("{name}: {}, {}: {found}", files(counts.files), ByteCount(counts.bytes));
        self.line(Talk::Normal, "checked", &text);
    }

    /// Reports the error that ended the push; the event `done` follows.
    pub(crate) fn error(&self, error: &CommandError) {
        if let Some(json) = self.json.as_ref().filter(|_| !self.is_part) {
            let failure = json::Failure::of(error);
            self.write(json, json::text(&json::Named { event: "error", fields: &failure }));
        }
    }

    /// Takes the bars away, also when the push ended without its last event.
    pub(crate) fn end(&self) {
        if let Some(view) = &self.view {
            view.end();
        }
    }

    fn write(&self, json: &Json, fields: Option<String>) {
        let id = json.id.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (time, dataset) = (json::time((json.now)()), self.name.as_str());
        let stamp = Stamp { time, job_id: None, dataset, dataset_id: id.as_deref() };
        if let Some(line) = fields.and_then(|fields| json::inserted(&fields, &stamp)) {
            json.out.line(&line);
            if json.out.is_closed() {
                json.signals.end(ExitStatus::Interrupted);
            }
        }
    }

    fn report_json(&self, json: &Json, event: &PushEvent) {
        if let PushEvent::Created { id } = event {
            *json.id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        }
        if self.is_part && matches!(event, PushEvent::Done { .. }) {
            return;
        }
        self.write(json, fields(event));
    }

    fn line(&self, weight: Talk, mark: &str, text: &str) {
        if self.talk < weight {
            return;
        }
        let colour = match mark {
            "failed" => Some(31),
            "retrying" => Some(33),
            "ready" | "sent" => Some(32),
            _ => None,
        };
        let padded = format!("{mark:<9}");
        let mark = match colour.filter(|_| self.colours) {
            Some(code) => format!("\u{1b}[{code}m{padded}\u{1b}[0m"),
            None => padded,
        };
        let line = format!("{mark}  {text}");
        match &self.view {
            Some(view) => view.line(&line),
            None => self.err.line(&line),
        }
    }

    fn report_words(&self, event: &PushEvent) {
        let name = shown(&self.name);
        let of = |path: &Option<String>| path.as_deref().map_or_else(|| name.clone(), shown);
        match event {
            PushEvent::Planned { send, bytes, present, same_length } => {
                let mut text = format!(
                    "{name}: {} to send, {}, {present} there already",
                    files(*send),
                    ByteCount(*bytes)
                );
                if *same_length > 0 {
                    text += &format!(" ({same_length} of them known only by name and length)");
                }
                self.line(Talk::Normal, "plan", &text);
            }
            PushEvent::Created { id } => {
                self.line(Talk::Normal, "created", &format!("{name} as {}", shown(id)))
            }
            PushEvent::Sending { path, size, route } => {
                let text = format!("{}  {}, {}", shown(path), ByteCount(*size), route.name());
                self.line(Talk::Verbose, "sending", &text);
            }
            PushEvent::Progress { .. } => {}
            PushEvent::Sent { path, size, .. } => {
                self.line(Talk::Verbose, "sent", &format!("{}  {}", shown(path), ByteCount(*size)));
            }
            PushEvent::Retrying { path, cause, wait } => {
                let what = path.as_deref().map_or_else(|| "the API".to_owned(), shown);
                self.line(
                    Talk::Normal,
                    "retrying",
                    &format!("{what}  in {}: {}", span(*wait), shown(&words::retried_push(cause))),
                );
            }
            PushEvent::Waiting { status, listed, of } => {
                let listed =
                    listed.map_or_else(String::new, |listed| format!(", {listed} of {of} files listed"));
                let text = format!("{name} is {}{listed}", shown(status.as_str()));
                self.line(Talk::Normal, "waiting", &text);
            }
            PushEvent::Ready { files: count, bytes } => {
                let text = format!("{name}  {}, {}", files(*count), ByteCount(*bytes));
                self.line(Talk::Normal, "ready", &text);
            }
            PushEvent::Failed { path, cause } => {
                self.line(
                    Talk::Quiet,
                    "failed",
                    &format!("{}  {}", of(path), shown(&words::failed_push(cause))),
                );
            }
            PushEvent::Notice { notice } => {
                self.line(Talk::Normal, "notice", &shown(&words::push_notice(notice)));
            }
            PushEvent::Done { exit, sent, bytes, present, failed, elapsed } => {
                let failures =
                    if *failed > 0 { format!(", {} failed", files(*failed)) } else { String::new() };
                let text = format!(
                    "{} sent, {}, {present} there already{failures}, in {}",
                    files(*sent),
                    ByteCount(*bytes),
                    span(*elapsed)
                );
                self.line(Talk::Normal, "done", &text);
                let again = match exit {
                    ExitStatus::TryAgain
                    | ExitStatus::Unavailable
                    | ExitStatus::Interrupted
                    | ExitStatus::Terminated => {
                        Some("what was accepted stays; the same command again sends the rest")
                    }
                    _ => None,
                };
                if let Some(again) = again {
                    self.line(Talk::Normal, "next", again);
                }
            }
        }
    }
}

impl PushReporter for PushReport {
    fn report(&self, event: &PushEvent) {
        if let Some(view) = &self.view {
            if matches!(event, PushEvent::Done { .. } | PushEvent::Ready { .. }) {
                view.end();
            } else {
                view.learn(|facts, now| facts.apply(event, now));
            }
        }
        match &self.json {
            Some(json) => self.report_json(json, event),
            None => self.report_words(event),
        }
    }
}

/// What every event has beside its own fields.
#[derive(Serialize)]
struct Stamp<'a> {
    time: String,
    /// There is no job yet; every event has the field.
    job_id: Option<&'a str>,
    dataset: &'a str,
    dataset_id: Option<&'a str>,
}

/// Returns an event as JSON; `None` for those that are for bars alone.
fn fields(event: &PushEvent) -> Option<String> {
    match event {
        PushEvent::Progress { .. } => None,
        _ => match Worded::of(event) {
            Some(worded) => json::text(&worded),
            None => json::text(event),
        },
    }
}

/// Events that have words in place of a typed cause; all others are written as they serialize.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Worded<'a> {
    Retrying {
        path: Option<&'a str>,
        cause: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<&'a ErrorCode>,
        wait_seconds: f64,
    },
    Failed {
        path: Option<&'a str>,
        cause: String,
    },
    Notice {
        message: String,
    },
}

impl<'a> Worded<'a> {
    fn of(event: &'a PushEvent) -> Option<Self> {
        Some(match event {
            PushEvent::Retrying { path, cause, wait } => Self::Retrying {
                path: path.as_deref(),
                cause: words::retried_push(cause),
                error_code: match &cause.fault {
                    SendFault::Api(fault) => fault.code(),
                    SendFault::Host(_) | SendFault::Local(_) => None,
                },
                wait_seconds: seconds(*wait),
            },
            PushEvent::Failed { path, cause } => {
                Self::Failed { path: path.as_deref(), cause: words::failed_push(cause) }
            }
            PushEvent::Notice { notice } => Self::Notice { message: words::push_notice(notice) },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
