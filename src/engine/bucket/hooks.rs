//! Hooks of a bucket: what was delivered to each is in the head, so that another worker continues where this one was killed.
//!
//! As in a folder, an event is delivered at least once: what is published and what was delivered are both in the head, and
//! the difference is still due. `{path}` is the object's URL.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::decide::bucket::head::{Known, Line};
use crate::decide::hooks::{AGAIN, AfterFailure, after_failure, timeouts};
use crate::edge::system::clock::until;
use crate::engine::event::{Event, HookEvent, HookTrouble, Notice, Reporter};
use crate::engine::outputs::hooks::worker::deliver;
use crate::engine::outputs::hooks::{
    Hook, HookPlan, Wording, alarm, end_of_run, id_of, present, publication,
};
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::hook_event::{EventId, Occasion};
use crate::model::hook_fault::HookFault;
use crate::model::job::JobId;
use crate::model::names::rel_path::RelPath;

use super::head_store::HeadStore;
use super::store::Store;

/// How long hooks may take to end when the run is stopped: each is given five seconds, and is ended then.
const WIND_UP: Duration = Duration::from_secs(7);

/// Commands run in the folder in which rcsync was started: a bucket has none.
const HERE: &str = ".";

/// The hooks of a run, and how events are written for them.
pub(crate) struct BucketHooks {
    pub(crate) plan: HookPlan,
    pub(crate) wording: Box<Wording>,
}

/// The hooks of one run, as its reporter.
pub(super) struct HookReporter {
    hooks: BucketHooks,
    job: JobId,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    published: HashMap<RelPath, Event>,
    done: Option<Event>,
    /// Hooks at work, each with the events that it got, is getting, or need not get.
    at_work: Vec<AtWork>,
}

struct AtWork {
    identity: EventId,
    settled: HashSet<EventId>,
    gets_alarms: bool,
    work: UnboundedSender<Work>,
}

/// An event, and how reports name it.
type Work = (HookEvent, Occasion);

/// The tasks of the hooks of one run.
pub(super) struct Working {
    shared: Arc<HookReporter>,
    head: Arc<HeadStore>,
    store: Store,
    tasks: JoinSet<()>,
}

impl HookReporter {
    pub(super) fn new(hooks: BucketHooks, job: JobId, reporter: Arc<dyn Reporter>, stop: Stop) -> Arc<Self> {
        Arc::new(Self { hooks, job, reporter, stop, state: Mutex::default() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a hook lacks an event of an earlier run.
    pub(super) fn lacks_something(&self, known: &Known) -> bool {
        self.hooks.plan.published.iter().any(|(_, identity)| {
            known.hooks.get(identity).is_some_and(|delivered| {
                present(&known.manifest)
                    .any(|(key, entry)| !delivered.done.contains(&id_of(&self.job, key, entry)))
            })
        })
    }

    /// Begins under the lease: what is here before a hook is first given is no news to it.
    ///
    /// # Errors
    /// When the lease is lost, or the store refuses.
    pub(super) async fn begin(
        self: &Arc<Self>,
        store: &Store,
        head: &Arc<HeadStore>,
    ) -> Result<Working, Error> {
        let known = head.known();
        let here: Vec<EventId> =
            present(&known.manifest).map(|(key, entry)| id_of(&self.job, key, entry)).collect();
        let new =
            self.hooks.plan.published.iter().filter(|(_, identity)| !known.hooks.contains_key(identity));
        let lines: Vec<Line> = new
            .map(|(_, identity)| Line::Hook { hook: identity.clone(), done: here.clone(), failed: None })
            .collect();
        if !lines.is_empty() {
            head.claim(lines).await?;
        }
        let known = head.known();
        let mut tasks = JoinSet::new();
        for (hook, identity) in &self.hooks.plan.published {
            let (work, works) = unbounded_channel();
            let delivered = known.hooks.get(identity).cloned().unwrap_or_default();
            let worker = Worker {
                hook: hook.clone(),
                identity: identity.clone(),
                failed: delivered.failed.into_iter().collect(),
                shared: self.clone(),
                head: head.clone(),
                later: Vec::new(),
                timeouts: 0,
            };
            tasks.spawn(worker.work(works));
            self.state().at_work.push(AtWork {
                identity: identity.clone(),
                settled: delivered.done.into_iter().collect(),
                gets_alarms: matches!(hook, Hook::Webhook(_)),
                work,
            });
        }
        let working = Working { shared: self.clone(), head: head.clone(), store: store.clone(), tasks };
        // What a killed run published and did not deliver.
        working.deliver_all(&known);
        Ok(working)
    }

    /// Reports the end of the run, if it had one that could be reported. To be called once, after it.
    pub(super) async fn finish(&self) {
        let Some(event) = self.state().done.take() else { return };
        let occasion = end_of_run(&self.job, &self.hooks.wording, &event);
        for hook in &self.hooks.plan.done {
            if let Err(cause) = deliver(hook, Path::new(HERE), &occasion, &self.stop).await {
                let what = HookTrouble::FailedAtEnd(cause);
                let notice = Notice::Hook { hook: hook.kind_at_end(), what };
                self.reporter.report(&Event::Trouble { notice });
            }
        }
    }
}

impl Reporter for HookReporter {
    fn report(&self, event: &Event) {
        match event {
            Event::Published { path, .. } => {
                self.state().published.insert(path.clone(), event.clone());
            }
            Event::Stalled { step, .. } => {
                let occasion = alarm(&self.job, &self.hooks.wording, event, *step);
                for hook in self.state().at_work.iter().filter(|hook| hook.gets_alarms) {
                    // A worker that ended has reported why.
                    let _ = hook.work.send((HookEvent::Stalled, occasion.clone()));
                }
            }
            Event::Done { .. } => self.state().done = Some(event.clone()),
            _ => {}
        }
        self.reporter.report(event);
    }
}

impl Working {
    /// Hands over what was published since the last call.
    pub(super) fn deliver_news(&self) {
        if !self.shared.state().published.is_empty() {
            self.deliver(&self.head.known(), |state, path| state.published.contains_key(path));
        }
    }

    fn deliver_all(&self, known: &Known) {
        self.deliver(known, |_, _| true);
    }

    fn deliver(&self, known: &Known, is_news: impl Fn(&State, &RelPath) -> bool) {
        let shared = &self.shared;
        let mut state = shared.state();
        let mut at_work = std::mem::take(&mut state.at_work);
        for hook in &mut at_work {
            let mut news: Vec<_> = present(&known.manifest)
                .filter(|(_, entry)| is_news(&state, &entry.path))
                .map(|(key, entry)| (key, entry, id_of(&shared.job, key, entry)))
                .filter(|(.., id)| !hook.settled.contains(id))
                .collect();
            news.sort_by_key(|(_, entry, _)| (entry.step, &entry.path));
            for (key, entry, id) in news {
                hook.settled.insert(id.clone());
                let event = state.published.get(&entry.path);
                let url = self.store.url.object(entry.path.as_str());
                let wording = &shared.hooks.wording;
                let occasion = publication(&shared.job, wording, (key, entry), id, event, url);
                // A worker that ended has reported why.
                let _ = hook.work.send((HookEvent::Published(entry.path.clone()), occasion));
            }
        }
        state.at_work = at_work;
        state.published.clear();
    }

    /// Waits until all that was published is delivered. What was found in the bucket and adopted is no news. Dropping the future
    /// leaves what is at work to [`Self::stop`].
    pub(super) async fn finish(&mut self) {
        self.deliver_news();
        let known = self.head.known();
        let at_work = std::mem::take(&mut self.shared.state().at_work);
        for AtWork { identity, settled, work, .. } in at_work {
            let ids = present(&known.manifest).map(|(key, entry)| id_of(&self.shared.job, key, entry));
            let adopted: Vec<EventId> = ids.filter(|id| !settled.contains(id)).collect();
            if !adopted.is_empty() {
                self.head.note_delivered(Line::Hook { hook: identity, done: adopted, failed: None });
            }
            drop(work);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends the hooks of a run that was stopped; the next run delivers what is left.
    pub(super) async fn stop(mut self) {
        self.shared.state().at_work.clear();
        if !self.shared.stop.is_stopped() {
            // The lease is lost, or the store refuses: nothing that is delivered now could be noted.
            self.tasks.abort_all();
        }
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        // The tasks that are left end with their set, and the next run delivers what they did not.
        let _ = tokio::time::timeout(WIND_UP, ending).await;
    }
}

/// One hook at work: events one after the other, in order.
struct Worker {
    hook: Hook,
    identity: EventId,
    failed: HashMap<EventId, u32>,
    shared: Arc<HookReporter>,
    head: Arc<HeadStore>,
    later: Vec<(Instant, Work)>,
    timeouts: u32,
}

impl Worker {
    async fn work(mut self, mut works: UnboundedReceiver<Work>) {
        loop {
            let due = self.later.iter().map(|(at, _)| *at).min();
            let work = tokio::select! {
                biased;
                work = works.recv() => match work {
                    Some(work) => work,
                    // What failed just now is left to the next run.
                    None => return,
                },
                () = until(due) => {
                    let at = self.later.iter().position(|(at, _)| Some(*at) == due).unwrap_or_default();
                    self.later.swap_remove(at).1
                }
            };
            if self.shared.stop.is_stopped() || !self.deliver(work).await {
                return;
            }
        }
    }

    /// Delivers one event; `false` when the hook gets nothing more in this run.
    async fn deliver(&mut self, (about, occasion): Work) -> bool {
        let outcome = deliver(&self.hook, Path::new(HERE), &occasion, &self.shared.stop).await;
        self.timeouts = timeouts(self.timeouts, &outcome);
        match outcome {
            Ok(()) => self.note(vec![occasion.id], None),
            Err(HookFault::Interrupted) => return false,
            Err(cause @ HookFault::NotStarted { .. }) => {
                self.report(HookTrouble::Broken(cause));
                return false;
            }
            Err(cause) => {
                let times = self.failed.entry(occasion.id.clone()).or_default();
                *times += 1;
                let times = *times;
                let next = after_failure(times, self.timeouts);
                self.report(HookTrouble::Failed { about: about.clone(), cause, next });
                match next {
                    AfterFailure::GivenUp { .. } => self.note(vec![occasion.id], None),
                    AfterFailure::Unused => {
                        self.note(Vec::new(), Some(occasion.id));
                        return false;
                    }
                    AfterFailure::Again => {
                        self.note(Vec::new(), Some(occasion.id.clone()));
                        self.later.push((Instant::now() + AGAIN, (about, occasion)));
                    }
                }
            }
        }
        true
    }

    fn note(&self, done: Vec<EventId>, failed: Option<EventId>) {
        self.head.note_delivered(Line::Hook { hook: self.identity.clone(), done, failed });
    }

    fn report(&self, what: HookTrouble) {
        let notice = Notice::Hook { hook: self.hook.kind(), what };
        self.shared.reporter.report(&Event::Trouble { notice });
    }
}
