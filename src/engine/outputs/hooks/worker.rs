//! One hook at work: delivers events one after the other, in order, and records each.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::decide::hooks::{AGAIN, AfterFailure, REQUESTS, after_failure, timeouts};
use crate::engine::event::{Event, HookEvent, HookTrouble, NoStart, Notice, Reporter};
use crate::engine::retry::{Again, retry};
use crate::engine::stop::Stop;
use crate::model::hook_event::{EventId, Occasion};
use crate::model::hook_fault::HookFault;

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
    Deliver(HookEvent, Box<Occasion>),
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

/// Delivers one event, once (to a webhook: a few times in short order).
pub(crate) async fn deliver(
    hook: &Hook,
    dir: &std::path::Path,
    occasion: &Occasion,
    stop: &Stop,
) -> Result<(), HookFault> {
    let grace = async {
        stop.token().cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    match hook {
        Hook::Exec(exec) => exec.run(dir, occasion, grace).await,
        Hook::Webhook(webhook) => {
            let posted = retry(
                REQUESTS,
                || webhook.post(occasion),
                again,
                |fault, wait| {
                    debug!(%fault, ?wait, "a webhook is called again");
                },
            );
            tokio::select! {
                posted = posted => posted,
                () = grace => Err(HookFault::Interrupted),
            }
        }
    }
}

fn again(fault: &HookFault) -> Again {
    if !fault.is_transient() {
        return Again::Never;
    }
    Again::After(fault.retry_after().map(|wait| wait.min(REQUESTS.longest)))
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
            Err(error) => return self.report(HookTrouble::NotStarted(NoStart::Thread(error.into()))),
        };
        loop {
            let due = self.later.iter().map(|(at, ..)| *at).min();
            let wait = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            match works.recv_timeout(wait) {
                Ok(Work::Known(id)) => self.note(id),
                Ok(Work::Deliver(about, occasion)) => self.deliver(&runtime, about, occasion),
                Err(RecvTimeoutError::Timeout) => self.deliver_again(&runtime),
                // What failed just now is left to the next run.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn deliver_again(&mut self, runtime: &tokio::runtime::Runtime) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, ..)| *at <= now);
        self.later = later;
        for (_, about, occasion) in due {
            self.deliver(runtime, about, occasion);
        }
    }

    fn deliver(&mut self, runtime: &tokio::runtime::Runtime, about: HookEvent, occasion: Box<Occasion>) {
        if self.out_of_order || self.stop.is_stopped() {
            return;
        }
        let outcome = runtime.block_on(deliver(&self.hook, &self.dir, &occasion, &self.stop));
        self.timeouts = timeouts(self.timeouts, &outcome);
        match outcome {
            Ok(()) => self.note(occasion.id),
            Err(HookFault::Interrupted) => {}
            Err(cause @ HookFault::NotStarted { .. }) => {
                self.out_of_order = true;
                self.report(HookTrouble::Broken(cause));
            }
            Err(cause) => self.failed(about, occasion, cause),
        }
    }

    fn failed(&mut self, about: HookEvent, occasion: Box<Occasion>, cause: HookFault) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::net::webhook::Webhook;

    #[tokio::test]
    async fn the_wait_that_a_receiver_asks_for_is_granted() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for head in ["503 Busy", "429 Busy\r\nRetry-After: 1", "200 Fine"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        let began = Instant::now();
        let occasion = Occasion { id: EventId::of(&["a"]), values: Vec::new(), json: "{}".to_owned() };
        let hook = Hook::Webhook(Webhook::new(&url).unwrap());
        deliver(&hook, std::path::Path::new("."), &occasion, &Stop::new()).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
