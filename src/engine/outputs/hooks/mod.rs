//! Hooks: the user's command or address, which gets every file that is published.
//!
//! At least once: what is published and what was delivered are both on the disk, so an event that a kill swallowed is
//! delivered by the next run, with the same id. Each hook works through its events on a thread of its own: a slow one
//! delays neither the mirror nor the others, and the run ends when all events are delivered.

mod journal;
pub(crate) mod worker;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tracing::debug;

use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::net::webhook::Webhook;
use crate::edge::system::exec::Exec;
use crate::engine::event::{Event, HookEvent, HookKind, HookTrouble, NoStart, Notice, Reporter};
use crate::engine::follower::{Follower, View};
use crate::engine::stop::Stop;
use crate::model::artifact::ArtifactKey;
use crate::model::bad_hook::BadHookValue;
use crate::model::hook_event::{CommandLine, EventId, Occasion};
use crate::model::job::JobId;
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;

use journal::Journal;
use worker::{Work, Worker};

/// What gets the events.
#[derive(Debug, Clone)]
pub(crate) enum Hook {
    /// A command of the user's.
    Exec(Exec),
    /// An address of the user's.
    Webhook(Webhook),
}

impl Hook {
    /// Returns its kind.
    pub(crate) const fn kind(&self) -> HookKind {
        match self {
            Self::Exec(_) => HookKind::Exec,
            Self::Webhook(_) => HookKind::Webhook,
        }
    }

    /// Returns its kind as a hook of the end of the run.
    pub(crate) const fn kind_at_end(&self) -> HookKind {
        match self {
            Self::Exec(_) => HookKind::ExecDone,
            Self::Webhook(_) => HookKind::Webhook,
        }
    }
}

/// A hook that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadHook {
    /// The hook.
    pub hook: HookKind,
    /// Why.
    pub why: BadHookValue,
}

/// The hooks of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct HookPlan {
    /// Those that get each published file; each with what distinguishes it from others, which may be a secret.
    pub published: Vec<(Hook, EventId)>,
    /// Those that get the end of the run.
    pub done: Vec<Hook>,
}

impl HookPlan {
    /// Reads what the user gave.
    ///
    /// # Errors
    /// The hook that cannot be used, and why, without its value.
    pub(crate) fn new(
        exec: Option<&str>,
        exec_done: Option<&str>,
        webhook: Option<&str>,
        limit: Duration,
    ) -> Result<Self, BadHook> {
        let command = |hook: HookKind, text: &str| {
            let line = CommandLine::parse(text).map_err(|why| BadHook { hook, why: why.into() })?;
            Ok::<_, BadHook>(Hook::Exec(Exec::new(line, limit)))
        };
        let mut plan = Self::default();
        if let Some(text) = exec {
            plan.published.push((command(HookKind::Exec, text)?, EventId::of(&["exec", text])));
        }
        if let Some(address) = webhook {
            let hook = HookKind::Webhook;
            let webhook = Webhook::new(address).map_err(|why| BadHook { hook, why })?;
            let identity = EventId::of(&["webhook", webhook.identity()]);
            plan.published.push((Hook::Webhook(webhook.clone()), identity));
            plan.done.push(Hook::Webhook(webhook));
        }
        if let Some(text) = exec_done {
            plan.done.insert(0, command(HookKind::ExecDone, text)?);
        }
        Ok(plan)
    }

    /// Whether there is no hook.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.published.is_empty() && self.done.is_empty()
    }
}

/// Writes an event as a JSON object, with its id in it.
pub(crate) type Wording = dyn Fn(&Event, &EventId) -> String + Send + Sync;

/// Runs the user's hooks. It listens to the run as its reporter (and passes everything on), and follows its folder.
pub(crate) struct Hooks {
    plan: HookPlan,
    job: JobId,
    wording: Box<Wording>,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    heard: HashMap<RelPath, Event>,
    done: Option<Event>,
    /// Files that were there unknown when the run began: what is known of them later was not fetched.
    strays: HashSet<String>,
    running: Vec<Running>,
}

/// One hook at work.
struct Running {
    /// What was delivered to it, is being delivered or need not be.
    settled: HashSet<EventId>,
    /// What an earlier run published and did not deliver.
    left_over: HashSet<EventId>,
    /// Whether it gets alarms: a command is made for files, a webhook reads what it gets.
    hears_alarms: bool,
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

impl Hooks {
    /// Gets hooks ready for a run that reports to `reporter` and is ended by `stop`.
    #[must_use]
    pub(crate) fn new(
        plan: HookPlan,
        job: JobId,
        wording: Box<Wording>,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
    ) -> Arc<Self> {
        Arc::new(Self { plan, job, wording, reporter, stop, state: Mutex::default() })
    }

    /// Delivers the end of the run, if it had one. To be called once, after it.
    pub(crate) async fn finish(&self, dir: &Path) {
        let Some(event) = self.state().done.take() else { return };
        let occasion = end_of_run(&self.job, &self.wording, &event);
        for hook in &self.plan.done {
            if let Err(cause) = worker::deliver(hook, dir, &occasion, &self.stop).await {
                self.note(hook.kind_at_end(), HookTrouble::FailedAtEnd(cause));
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job without progress is worth a message: its GPU is still billing.
    fn alarm(&self, event: &Event, step: Option<u64>) {
        let occasion = alarm(&self.job, &self.wording, event, step);
        for hook in self.state().running.iter().filter(|hook| hook.hears_alarms) {
            // A worker that ended has reported why.
            let _ = hook.work.send(Work::Deliver(HookEvent::Stalled, Box::new(occasion.clone())));
        }
    }

    fn note(&self, hook: HookKind, what: HookTrouble) {
        self.reporter.report(&Event::Trouble { notice: Notice::Hook { hook, what } });
    }
}

/// The id of a file's publication: the same artifact with the same bytes is the same event.
pub(crate) fn id_of(job: &JobId, key: &ArtifactKey, entry: &Entry) -> EventId {
    EventId::of(&[job.as_str(), key.kind.name(), &key.path, &entry.sha256.to_string()])
}

pub(crate) fn present(manifest: &Manifest) -> impl Iterator<Item = (&ArtifactKey, &Entry)> {
    manifest.entries.iter().filter(|(_, entry)| entry.state == EntryState::Present)
}

/// The end of a run, for a hook.
pub(crate) fn end_of_run(job: &JobId, wording: &Wording, event: &Event) -> Occasion {
    // Every run has one end: the moment and the process distinguish it from all others.
    let moment = Timestamp::now().as_nanosecond().to_string();
    let id = EventId::of(&["done", job.as_str(), &moment, &std::process::id().to_string()]);
    let json = wording(event, &id);
    let mut values = vec![("event", "done".to_owned()), ("event_id", id.as_str().to_owned())];
    values.push(("job_id", job.as_str().to_owned()));
    if let Event::Done { exit, published, bytes, present, failed, elapsed, .. } = event {
        values.extend([
            ("exit_code", exit.code().to_string()),
            ("published", published.to_string()),
            ("bytes", bytes.to_string()),
            ("present", present.to_string()),
            ("failed", failed.to_string()),
            ("seconds", elapsed.as_secs().to_string()),
        ]);
    }
    Occasion { id, values, json }
}

/// A published file, for a hook. `path` is where the file is: below the hook's folder, or a URL.
pub(crate) fn publication(
    job: &JobId,
    wording: &Wording,
    (key, entry): (&ArtifactKey, &Entry),
    id: EventId,
    heard: Option<&Event>,
    path: String,
) -> Occasion {
    let event = heard.cloned().unwrap_or_else(|| Event::Published {
        path: entry.path.clone(),
        kind: key.kind,
        step: entry.step,
        size: entry.size,
        sha256: entry.sha256,
        evidence: entry.evidence,
        // An earlier run knew.
        elapsed: Duration::ZERO,
    });
    let values = vec![
        ("event", "published".to_owned()),
        ("event_id", id.as_str().to_owned()),
        ("job_id", job.as_str().to_owned()),
        ("path", path),
        ("kind", key.kind.name().to_owned()),
        ("step", entry.step.map_or_else(String::new, |step| step.to_string())),
        ("size", entry.size.to_string()),
        ("sha256", entry.sha256.to_string()),
        ("evidence", entry.evidence.name().to_owned()),
    ];
    Occasion { json: wording(&event, &id), id, values }
}

/// A job without progress, for a webhook.
pub(crate) fn alarm(job: &JobId, wording: &Wording, event: &Event, step: Option<u64>) -> Occasion {
    let step = step.map_or_else(String::new, |step| step.to_string());
    let id = EventId::of(&["stalled", job.as_str(), &step]);
    let values = vec![
        ("event", "stalled".to_owned()),
        ("event_id", id.as_str().to_owned()),
        ("job_id", job.as_str().to_owned()),
        ("step", step),
    ];
    Occasion { json: wording(event, &id), id, values }
}

impl Reporter for Hooks {
    fn report(&self, event: &Event) {
        match event {
            Event::Published { path, .. } if !self.plan.published.is_empty() => {
                self.state().heard.insert(path.clone(), event.clone());
            }
            Event::Stalled { step, .. } => self.alarm(event, *step),
            Event::Done { .. } => self.state().done = Some(event.clone()),
            _ => {}
        }
        self.reporter.report(event);
    }
}

impl Follower for Hooks {
    fn begin(&self, view: &View<'_>, _: &dyn Reporter) {
        if self.plan.published.is_empty() {
            return;
        }
        let mut state = self.state();
        let known: HashSet<&str> = view.manifest.entries.values().map(|entry| entry.path.as_str()).collect();
        state.strays = strays(view.dir, &known);
        let here: Vec<EventId> =
            present(view.manifest).map(|(key, entry)| id_of(view.job, key, entry)).collect();
        for (hook, identity) in &self.plan.published {
            let journal = match Journal::open(view.dir, identity, &here) {
                Ok(journal) => journal,
                Err(error) => {
                    self.note(hook.kind(), HookTrouble::NotStarted(NoStart::Journal(error)));
                    continue;
                }
            };
            let (settled, left_over) = here.iter().cloned().partition(|id| journal.is_done(id));
            let (work, works) = channel();
            let worker = Worker::new(
                hook.clone(),
                view.dir.to_path_buf(),
                journal,
                self.reporter.clone(),
                self.stop.clone(),
            );
            match std::thread::Builder::new()
                .name("rcsync-hook".to_owned())
                .spawn(move || worker.work(&works))
            {
                Ok(thread) => {
                    let hears_alarms = matches!(hook, Hook::Webhook(_));
                    state.running.push(Running { settled, left_over, hears_alarms, work, thread });
                }
                Err(error) => {
                    self.note(hook.kind(), HookTrouble::NotStarted(NoStart::Thread(error.into())));
                }
            }
        }
    }

    fn catch_up(&self, view: &View<'_>, _: &dyn Reporter) {
        let mut state = self.state();
        let State { heard, strays, running, .. } = &mut *state;
        for hook in running.iter_mut() {
            let mut news = Vec::new();
            for (key, entry) in present(view.manifest) {
                let id = id_of(view.job, key, entry);
                if hook.settled.contains(&id) {
                    continue;
                }
                let event = heard.get(&entry.path);
                // What is known and was not heard of: published by a run that was killed; or here before, and adopted;
                // or just about to be heard of.
                match (event, strays.contains(entry.path.as_str())) {
                    (Some(event), _) => news.push((key, entry, id, Some(event))),
                    (None, false) if view.last || hook.left_over.contains(&id) => {
                        news.push((key, entry, id, None))
                    }
                    (None, true) if view.last => {
                        // A worker that ended has reported why.
                        let _ = hook.work.send(Work::Known(id.clone()));
                        hook.settled.insert(id);
                    }
                    (None, _) => {}
                }
            }
            news.sort_by_key(|(_, entry, ..)| (entry.step, &entry.path));
            for (key, entry, id, event) in news {
                hook.settled.insert(id.clone());
                let path = entry.path.as_str().to_owned();
                let occasion = publication(&self.job, &self.wording, (key, entry), id, event, path);
                let about = HookEvent::Published(entry.path.clone());
                // A worker that ended has reported why.
                let _ = hook.work.send(Work::Deliver(about, Box::new(occasion)));
            }
        }
        if view.last {
            let running = std::mem::take(running);
            // The lock is not held while hooks work: events continue.
            drop(state);
            for Running { work, thread, .. } in running {
                drop(work);
                if thread.join().is_err() {
                    debug!("a hook ended unexpectedly; its events are repeated by the next run");
                }
            }
        }
    }
}

/// Returns the files below `dir` that are not in `known`, by their path from there.
fn strays(dir: &Path, known: &HashSet<&str>) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut folders = vec![(dir.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && path != PRIVATE => {
                    folders.push((entry.path(), format!("{path}/")))
                }
                Ok(kind) if kind.is_file() && !known.contains(path.as_str()) => {
                    found.insert(path);
                }
                _ => {}
            }
        }
    }
    found
}
