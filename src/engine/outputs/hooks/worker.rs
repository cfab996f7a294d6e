//! One hook at work: delivers events one after the other, in order, and records each.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::decide::hooks::{AGAIN, AfterFailure, after_failure};
use crate::edge::system::exec::ExecFault;
use crate::engine::event::{Event, HookEvent, HookTrouble, Notice, Reporter};
use crate::engine::stop::Stop;
use crate::model::hook_event::{EventId, Occasion};

use super::Hook;
use super::journal::Journal;

/// How long a hook may continue when rcsync is asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// Something to do.
#[derive(Debug)]
pub(super) enum Work {
    /// This is no news.
    Known(EventId),
    /// Deliver this.
    Tell(HookEvent, Box<Occasion>),
}

/// A hook and what was delivered to it.
pub(super) struct Worker {
    hook: Hook,
    dir: PathBuf,
    journal: Journal,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
    later: Vec<(Instant, HookEvent, Box<Occasion>)>,
    timeouts: u32,
    out_of_order: bool,
}

/// Why an event could not be delivered.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may be tried again.
    Failed(String),
    /// It took too long.
    TimedOut(String),
    /// Nothing can be delivered at all.
    Broken(String),
    /// rcsync ends; the next run delivers it.
    Interrupted,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(cause) | Self::TimedOut(cause) | Self::Broken(cause) => f.write_str(cause),
            Self::Interrupted => f.write_str("rcsync was asked to end"),
        }
    }
}

/// Delivers one event, once (to a webhook: a few times in short order).
pub(crate) async fn tell(
    hook: &Hook,
    dir: &std::path::Path,
    occasion: &Occasion,
    stop: &Stop,
) -> Result<(), Trouble> {
    let grace = async {
        stop.token().cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    match hook {
        Hook::Exec(exec) => exec.run(dir, occasion, grace).await.map_err(|fault| match fault {
            ExecFault::NotStarted { .. } => Trouble::Broken(fault.to_string()),
            ExecFault::Failed { .. } => Trouble::Failed(fault.to_string()),
            ExecFault::TimedOut { .. } => Trouble::TimedOut(fault.to_string()),
            ExecFault::Interrupted => Trouble::Interrupted,
        }),
        Hook::Webhook(webhook) => tokio::select! {
            posted = webhook.post(occasion) => {
                posted.map_err(|cause| Trouble::Failed(format!("{}: {cause}", webhook.place())))
            }
            () = grace => Err(Trouble::Interrupted),
        },
    }
}

impl Worker {
    pub(super) const fn new(
        hook: Hook,
        dir: PathBuf,
        journal: Journal,
        reporter: Arc<dyn Reporter>,
        stop: Stop,
    ) -> Self {
        Self { hook, dir, journal, reporter, stop, later: Vec::new(), timeouts: 0, out_of_order: false }
    }

    /// Works until nothing more can come.
    pub(super) fn work(mut self, works: &Receiver<Work>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return self.report(HookTrouble::NotStarted { cause: error.to_string() }),
        };
        loop {
            let due = self.later.iter().map(|(at, ..)| *at).min();
            let wait = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            match works.recv_timeout(wait) {
                Ok(Work::Known(id)) => self.note(id),
                Ok(Work::Tell(about, occasion)) => self.tell(&runtime, about, occasion),
                Err(RecvTimeoutError::Timeout) => self.tell_again(&runtime),
                // What failed just now is left to the next run.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tell_again(&mut self, runtime: &tokio::runtime::Runtime) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, ..)| *at <= now);
        self.later = later;
        for (_, about, occasion) in due {
            self.tell(runtime, about, occasion);
        }
    }

    fn tell(&mut self, runtime: &tokio::runtime::Runtime, about: HookEvent, occasion: Box<Occasion>) {
        if self.out_of_order || self.stop.is_stopped() {
            return;
        }
        let outcome = runtime.block_on(tell(&self.hook, &self.dir, &occasion, &self.stop));
        self.timeouts = if matches!(outcome, Err(Trouble::TimedOut(_))) { self.timeouts + 1 } else { 0 };
        match outcome {
            Ok(()) => self.note(occasion.id),
            Err(Trouble::Interrupted) => {}
            Err(Trouble::Broken(cause)) => {
                self.out_of_order = true;
                self.report(HookTrouble::Broken { cause });
            }
            Err(Trouble::Failed(cause) | Trouble::TimedOut(cause)) => self.failed(about, occasion, cause),
        }
    }

    fn failed(&mut self, about: HookEvent, occasion: Box<Occasion>, cause: String) {
        let times = match self.journal.failed(&occasion.id) {
            Ok(times) => times,
            Err(error) => return self.report(HookTrouble::FailureNotRecorded(error)),
        };
        let next = after_failure(times, self.timeouts);
        self.report(HookTrouble::Failed { about: about.clone(), cause, next });
        match next {
            AfterFailure::GivenUp { .. } => self.note(occasion.id),
            AfterFailure::Unused => self.out_of_order = true,
            AfterFailure::Again => self.later.push((Instant::now() + AGAIN, about, occasion)),
        }
    }

    fn note(&mut self, id: EventId) {
        if let Err(error) = self.journal.done(id) {
            self.report(HookTrouble::SuccessNotRecorded(error));
        }
    }

    fn report(&self, what: HookTrouble) {
        self.reporter.report(&Event::Trouble { notice: Notice::Hook { hook: self.hook.kind(), what } });
    }
}
