//! Which reporters a run has: lines or JSON, with or without the view.

use std::sync::{Arc, Mutex};

use crate::cli::format::shown;
use crate::cli::process::Process;
use crate::cli::reporters::json::JsonLines;
use crate::cli::reporters::lines::Lines;
use crate::cli::reporters::metrics::Metrics;
use crate::cli::reporters::view::{Look, View};
use crate::engine::event::{Event, Reporter};
use crate::error::ExitStatus;
use crate::model::job::JobId;

use super::config::{Settings, Talk};
use super::exit::Signals;
use super::values::Format;

#[cfg(unix)]
use crate::cli::reporters::systemd::Service;

/// What continues after an early end, where typing it again begins nothing anew.
pub(crate) const THE_SAME_COMMAND: &str = "the same command";

/// Everything that reports a run to users and programs.
pub(crate) struct Telling {
    job: JobId,
    view: Option<Arc<View>>,
    lines: Option<Lines>,
    json: Option<JsonLines>,
    metrics: Option<Metrics>,
    #[cfg(unix)]
    service: Option<Service>,
}

impl Telling {
    /// Chooses by the settings and by where the streams go; `again` is the command that continues after an early end.
    pub(crate) fn new(
        world: &Process,
        settings: &Settings,
        job: &JobId,
        signals: &Signals,
        again: &str,
    ) -> Arc<Self> {
        // A dry run is over before anything could move.
        let moves = settings.bars(world) && !settings.sync.dry_run;
        let look = Look { colours: world.colours(&world.err), unicode: world.speaks_unicode() };
        let view = moves.then(|| Arc::new(View::new(world.err.clone(), look)));
        let json = settings.format == Format::Json;
        Arc::new(Self {
            job: job.clone(),
            lines: (!json).then(|| lines(world, settings, view.clone(), again)),
            json: json.then(|| json_lines(world, job, signals)),
            view,
            metrics: metrics(world, settings, job),
            #[cfg(unix)]
            service: Service::begin(world).filter(|_| !settings.sync.dry_run),
        })
    }

    /// Removes the view, also when the run ended without its last event.
    pub(crate) fn end(&self) {
        if let Some(view) = &self.view {
            view.end();
        }
        #[cfg(unix)]
        if let Some(service) = &self.service {
            service.end();
        }
    }

    /// Reports a notice of the program's own.
    fn note(&self, message: &str) {
        if let Some(lines) = &self.lines {
            lines.note(message);
        }
        if let Some(json) = &self.json {
            json.note(message);
        }
    }

    fn show(&self, events: &[Event]) {
        // The view first: the last event takes it away before the summary is written.
        if let Some(view) = &self.view {
            view.report_all(events);
        }
        if let Some(lines) = &self.lines {
            lines.report_all(events);
        }
        if let Some(json) = &self.json {
            json.report_all(events);
        }
    }
}

impl Reporter for Telling {
    fn report(&self, event: &Event) {
        self.report_all(std::slice::from_ref(event));
    }

    fn report_all(&self, events: &[Event]) {
        for event in events {
            // The notice before the event: nothing is reported after the last one.
            if let Some(message) = self.metrics.as_ref().and_then(|metrics| metrics.apply(&self.job, event)) {
                self.note(&message);
            }
        }
        #[cfg(unix)]
        if let Some(service) = &self.service {
            service.report_all(events);
        }
        self.show(events);
    }
}

fn metrics(world: &Process, settings: &Settings, job: &JobId) -> Option<Metrics> {
    let path = settings.sync.metrics_file.clone().filter(|_| !settings.sync.dry_run)?;
    Some(Metrics::new(path, [job.clone()], world.now))
}

fn lines(world: &Process, settings: &Settings, view: Option<Arc<View>>, again: &str) -> Lines {
    let err = world.err.clone();
    let bars = view.is_some();
    let print: Box<dyn Fn(&str) + Send + Sync> = match view {
        Some(view) => Box::new(move |line| view.line(line)),
        None => Box::new(move |line| err.line(line)),
    };
    Lines { bars, print, again: again.to_owned(), ..lines_of(world, settings) }
}

/// Lines as the settings want them, on standard error.
pub(crate) fn lines_of(world: &Process, settings: &Settings) -> Lines {
    let (out, err) = (world.out.clone(), world.err.clone());
    Lines {
        print: Box::new(move |line| err.line(line)),
        data: Box::new(move |line| out.line(line)),
        talk: settings.talk,
        hold: settings.sync.once
            && !settings.sync.dry_run
            && !world.err.is_terminal()
            && settings.talk < Talk::Verbose,
        bars: false,
        plan_only: settings.sync.dry_run,
        colours: world.colours(&world.err),
        label: None,
        again: THE_SAME_COMMAND.to_owned(),
        held: Mutex::default(),
    }
}

fn json_lines(world: &Process, job: &JobId, signals: &Signals) -> JsonLines {
    let (signals, err) = (signals.clone(), world.err.clone());
    JsonLines {
        out: world.out.clone(),
        job: job.clone(),
        now: world.now,
        // The reader of the events is gone (`| head`): end as if asked to, with all parts kept.
        on_closed: Box::new(move || signals.end(ExitStatus::Interrupted)),
        on_lost: Box::new(move |fault| {
            err.line(&format!("{}; the run continues without its events", shown(&fault.explain_briefly())));
        }),
    }
}
