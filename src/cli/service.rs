//! Under systemd (`Type=notify`): when the run is ready, what it does, that it lives, and that it ends.
//!
//! Only where `NOTIFY_SOCKET` is set. What cannot be said to the manager is not said: it is no reason to stop a mirror.

use std::sync::{Mutex, PoisonError};

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::words;
use super::world::World;
use crate::engine::event::{Event, Reporter};

/// Speaks to the service manager.
#[derive(Debug, Default)]
pub(crate) struct Service {
    state: Mutex<State>,
    watchdog: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    ready: bool,
    doing: String,
    present: u64,
    told: String,
}

impl Service {
    /// Begins to speak, where somebody listens.
    pub(crate) fn begin(world: &World) -> Option<Self> {
        (world.variable)("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let every = sd_notify::watchdog_enabled().filter(|every| !every.is_zero());
        // The run's own runtime says that it lives: where that hangs, nothing is said.
        let watchdog = every.and_then(|every| {
            let runtime = tokio::runtime::Handle::try_current().ok()?;
            Some(runtime.spawn(async move {
                loop {
                    say(&[NotifyState::Watchdog]);
                    // The manager advises half the time.
                    tokio::time::sleep(every / 2).await;
                }
            }))
        });
        Some(Self { state: Mutex::default(), watchdog })
    }

    /// Says that the run ends.
    pub(crate) fn end(&self) {
        say(&[NotifyState::Stopping]);
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

impl Reporter for Service {
    fn report(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Job { status, progress, .. } => {
                let steps = words::steps(progress).map_or_else(String::new, |steps| format!(", {steps}"));
                state.doing = format!("{}{steps}", words::state(status, progress));
            }
            Event::Plan { present, .. } => state.present = *present,
            Event::Published { .. } => state.present += 1,
            Event::Done { present, .. } => state.present = *present,
            _ => return,
        }
        let mut news = Vec::new();
        // The job was seen and the folder is ours.
        if !state.ready && matches!(event, Event::Plan { .. }) {
            state.ready = true;
            news.push(NotifyState::Ready);
        }
        let status = format!("{}; {} here", state.doing, words::files(state.present));
        if status != state.told {
            news.push(NotifyState::Status(&status));
        }
        if !news.is_empty() {
            say(&news);
        }
        state.told = status;
    }
}

fn say(news: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(news);
}
