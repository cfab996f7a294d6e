//! What a fleet reports: lines that name the job, JSON, one view, one metrics file, one service.

mod labels;
mod summary;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(unix)]
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cli::format::shown;
#[cfg(feature = "buckets")]
use crate::cli::format::span;
use crate::cli::process::{Process, Stream};
use crate::cli::reporters::json;
use crate::cli::reporters::lines::Lines;
use crate::cli::reporters::metrics::Metrics;
use crate::cli::reporters::view::{FleetFacts, Look, View};
use crate::cli::reporters::words;
use crate::decide::mirror::plan::Counts;
use crate::engine::event::{Event, Notice, Reporter};
use crate::engine::fleet::{Endings, Listener, News};
use crate::error::{ExitStatus, explain_briefly};
use crate::model::job::JobId;

use super::config::{Settings, Talk};
use super::exit::Signals;
use super::render::lines_of;
use super::values::Format;
use labels::Labels;

#[cfg(unix)]
use crate::cli::reporters::systemd::Service;

/// The shortest time between two reports to the service manager.
#[cfg(unix)]
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// All reporters of a fleet.
pub(crate) struct FleetReporter {
    world: Process,
    settings: Settings,
    signals: Signals,
    labels: Arc<Labels>,
    view: Option<Arc<View<FleetFacts>>>,
    /// The same without a view, for the service manager.
    #[cfg(unix)]
    service: Option<(Service, Mutex<Reported>)>,
    lines: Mutex<HashMap<JobId, Arc<Lines>>>,
    /// What a dry run would do.
    planned: Mutex<Counts>,
    metrics: Option<Metrics>,
}

#[cfg(unix)]
struct Reported {
    facts: FleetFacts,
    seen: bool,
    at: Option<Instant>,
}

impl FleetReporter {
    /// Chooses by the settings and by where the streams go.
    pub(crate) fn new(world: &Process, settings: &Settings, signals: &Signals) -> Arc<Self> {
        let moves = settings.bars(world) && !settings.sync.dry_run;
        let look = Look { colours: world.colours(&world.err), unicode: world.speaks_unicode() };
        let metrics = settings.sync.metrics_file.clone().filter(|_| !settings.sync.dry_run);
        Arc::new(Self {
            world: world.clone(),
            settings: settings.clone(),
            signals: signals.clone(),
            labels: Arc::default(),
            view: moves.then(|| Arc::new(View::new(world.err.clone(), look))),
            #[cfg(unix)]
            service: Service::begin(world).filter(|_| !settings.sync.dry_run).map(|service| {
                (service, Mutex::new(Reported { facts: FleetFacts::default(), seen: false, at: None }))
            }),
            lines: Mutex::default(),
            planned: Mutex::default(),
            metrics: metrics.map(|path| Metrics::new(path, [], world.now)),
        })
    }

    /// Takes the view away and sums up.
    pub(crate) fn end(&self, endings: Option<&Endings>) {
        if let Some(view) = &self.view {
            view.end();
        }
        if let Some(why) = self.metrics.as_ref().and_then(Metrics::finish) {
            self.write_line("notice", &why, Talk::Normal);
        }
        #[cfg(unix)]
        if let Some((service, _)) = &self.service {
            service.end();
        }
        // What went wrong was reported when it happened, once for each job.
        let sums_up = self.settings.format == Format::Pretty && self.settings.talk > Talk::Quiet;
        let Some(endings) = endings.filter(|_| sums_up) else { return };
        let is_silent = self.holds();
        let planned = *self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = self.settings.sync.dry_run.then_some(planned);
        for line in summary::lines(endings, planned, |job| self.labels.label(job)) {
            if line.is_trouble || !is_silent {
                self.world.err.line(&line.text);
            }
        }
    }

    /// Whether nothing is printed while nothing is wrong and nothing is new: one pass without a terminal.
    fn holds(&self) -> bool {
        self.settings.sync.once && !self.world.err.is_terminal() && self.settings.talk < Talk::Verbose
    }

    fn lines(&self, job: &JobId) -> Arc<Lines> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(job.clone()).or_insert_with(|| Arc::new(self.lines_for(job))).clone()
    }

    fn lines_for(&self, job: &JobId) -> Lines {
        let mut lines = lines_of(&self.world, &self.settings);
        if let Some(view) = self.view.clone() {
            lines.print = Box::new(move |line| view.line(line));
            lines.bars = true;
        }
        let (labels, job) = (self.labels.clone(), job.clone());
        lines.label = Some(Box::new(move || labels.label(&job)));
        lines
    }

    /// Writes a line of the fleet's own.
    fn write_line(&self, mark: &str, text: &str, least: Talk) {
        if self.settings.talk < least || (self.settings.format == Format::Json && least > Talk::Quiet) {
            return;
        }
        let line = format!("{mark:<9}  {}", shown(text));
        match &self.view {
            Some(view) => view.line(&line),
            None => self.world.err.line(&line),
        }
    }

    fn show(&self, job: &JobId, event: &Event) {
        match self.settings.format {
            // The label names the job.
            Format::Pretty => self.lines(job).report(&without_name(event)),
            Format::Json => self.json(job, event),
        }
    }

    fn json(&self, job: &JobId, event: &Event) {
        let (out, now): (&Stream, Timestamp) = (&self.world.out, (self.world.now)());
        if let Some(line) = json::line(event, job, now) {
            out.line(&line);
            if out.is_closed() {
                // The reader has gone (`| head`): this ends as if asked to, with all parts kept.
                self.signals.end(ExitStatus::Interrupted);
            }
        }
    }

    #[cfg(unix)]
    fn report_to_service(&self, now: Instant, change: impl FnOnce(&mut Reported)) {
        let Some((service, state)) = &self.service else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_seen = state.seen;
        change(&mut state);
        let is_due = state.at.is_none_or(|at| now.duration_since(at) >= STATUS_EVERY);
        if is_due || state.seen != was_seen {
            state.at = Some(now);
            service.report_fleet(state.seen, &state.facts.summary());
        }
    }
}

/// A job's name precedes each of its lines.
fn without_name(event: &Event) -> Event {
    match event {
        Event::Job { status, progress, error, .. } => {
            Event::Job { name: None, status: status.clone(), progress: *progress, error: error.clone() }
        }
        other => other.clone(),
    }
}

impl Listener for FleetReporter {
    fn event(&self, job: &JobId, event: &Event) {
        if let Event::Job { name, .. } = event {
            self.labels.learn(job, name.as_deref());
        }
        if let Event::Plan { fetch, ask, present, .. } = event {
            let counts = Counts { fetch: *fetch, ask: *ask, present: *present };
            let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
            *planned = planned.plus(counts);
        }
        let trouble = self.metrics.as_ref().and_then(|metrics| metrics.apply(job, event));
        if let Some(view) = &self.view {
            view.learn(|facts, now| facts.apply(job, event, now));
        }
        #[cfg(unix)]
        self.report_to_service(Instant::now(), |state| {
            // The list is read and the API was asked.
            state.seen |= matches!(event, Event::Plan { .. } | Event::Done { .. });
            state.facts.apply(job, event, Instant::now());
        });
        if let Some(message) = trouble {
            self.write_line("notice", &message, Talk::Normal);
        }
        if !matches!(event, Event::Received { .. }) {
            self.show(job, event);
        }
    }

    fn news(&self, news: &News) {
        let change = |facts: &mut FleetFacts| match news {
            News::Listed { added, removed, .. } => {
                added.iter().for_each(|job| facts.list(job));
                removed.iter().for_each(|job| facts.remove(job));
            }
            News::Over { job, exit } => facts.end(job, *exit),
            News::BadList { .. } | News::TooMany { .. } | News::NoPage(_) => {}
            #[cfg(feature = "buckets")]
            News::ListAway { .. } => {}
        };
        if let Some(view) = &self.view {
            view.learn(|facts, _| change(facts));
        }
        #[cfg(unix)]
        self.report_to_service(Instant::now(), |state| change(&mut state.facts));
        match news {
            News::Listed { jobs, added, removed } => {
                removed.iter().for_each(|job| self.labels.forget(job));
                if let Some(metrics) = &self.metrics {
                    removed.iter().for_each(|job| metrics.forget(job));
                }
                let text = summary::listed(*jobs, added.len(), removed.len());
                let least = if self.holds() { Talk::Verbose } else { Talk::Normal };
                self.write_line("fleet", &text, least);
            }
            #[cfg(feature = "buckets")]
            News::ListAway { cause, wait } => {
                let text = format!("the list of jobs  in {}: {}", span(*wait), words::retry(cause));
                self.write_line("retrying", &shown(&text), Talk::Normal);
            }
            News::BadList { why } => {
                let why = explain_briefly(why);
                let text = format!("the list of jobs cannot be used, its last version stays in force: {why}");
                self.write_line("trouble", &text, Talk::Quiet);
            }
            News::TooMany { jobs, open } => {
                let text = format!(
                    "of {jobs} jobs, {open} can be followed at a time, as this process may open no more files (`ulimit -n`); the others wait until one is over"
                );
                self.write_line("notice", &text, Talk::Normal);
            }
            News::NoPage(error) => {
                let text = words::notice(&Notice::NoGallery(error.clone()));
                self.write_line("notice", &shown(&text), Talk::Normal);
            }
            News::Over { .. } => {}
        }
    }
}
