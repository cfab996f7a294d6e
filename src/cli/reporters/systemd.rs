//! Under systemd (`Type=notify`): when the run is ready, what it does, that it lives, and that it ends.
//!
//! Only where `NOTIFY_SOCKET` is set. What cannot be sent to the manager is dropped: it is no reason to stop a mirror.
//! So nothing here waits for a manager that does not listen, as the library's own sending would once its queue is full.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use crate::cli::format;
use crate::cli::process::Process;
use crate::engine::event::{Event, Reporter};

/// How much longer the manager shall wait for the start, from each report on, in microseconds.
const MORE_TIME: u32 = 60_000_000;

/// Speaks to the service manager.
#[derive(Debug)]
pub(crate) struct Service {
    manager: Arc<Manager>,
    state: Mutex<State>,
    watchdog: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the job was seen and the folder is ours.
    seen: bool,
    /// Whether that was reported.
    ready: bool,
    doing: String,
    present: u64,
    reported: String,
}

impl Service {
    /// Begins to report, where a service manager listens.
    pub(crate) fn begin(world: &Process) -> Option<Self> {
        let socket = world.set("NOTIFY_SOCKET")?;
        let manager = Arc::new(Manager::at(&socket).ok()?);
        let living = manager.clone();
        let every = sd_notify::watchdog_enabled().filter(|every| !every.is_zero());
        // The run's own runtime sends the watchdog's message: where that hangs, none is sent.
        let watchdog = every.and_then(|every| {
            let runtime = tokio::runtime::Handle::try_current().ok()?;
            Some(runtime.spawn(async move {
                loop {
                    living.send(&[NotifyState::Watchdog]);
                    // The manager advises half the time.
                    tokio::time::sleep(every / 2).await;
                }
            }))
        });
        Some(Self { manager, state: Mutex::default(), watchdog })
    }

    /// Says that the run ends.
    pub(crate) fn end(&self) {
        self.manager.send(&[NotifyState::Stopping]);
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
                let steps = format::steps(progress).map_or_else(String::new, |steps| format!(", {steps}"));
                state.doing = format!("{}{steps}", format::state(status, progress));
            }
            Event::Checking { files, of, bytes, of_bytes } => {
                // Local files are read before the run is ready, which may take longer than the manager waits for a start.
                self.manager.send(&[NotifyState::ExtendTimeoutUsec(MORE_TIME)]);
                let status = format!("checking {}", format::checking(*files, *of, *bytes, *of_bytes));
                return self.notify(&mut state, &status);
            }
            Event::Plan { present, .. } => state.present = *present,
            Event::Published { .. } => state.present += 1,
            Event::Done { present, .. } => state.present = *present,
            _ => return,
        }
        state.seen |= matches!(event, Event::Plan { .. });
        let status = format!("{}; {} here", state.doing, format::files(state.present));
        self.notify(&mut state, &status);
    }
}

impl Service {
    /// Reports what a fleet does, and that it is ready once `seen`.
    pub(crate) fn report_fleet(&self, seen: bool, status: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen |= seen;
        self.notify(&mut state, status);
    }

    fn notify(&self, state: &mut State, status: &str) {
        let mut news = Vec::new();
        if state.seen && !state.ready {
            news.push(NotifyState::Ready);
        }
        if status != state.reported {
            news.push(NotifyState::Status(status));
        }
        // What did not fit into a full queue is sent with the next event.
        if !news.is_empty() && self.manager.send(&news) {
            state.ready = state.seen;
            status.clone_into(&mut state.reported);
        }
    }
}

/// The manager's ear.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    fn at(path: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address: address(path)? })
    }

    /// Sends it, unless the manager has more to read than fits; `false` then.
    fn send(&self, news: &[NotifyState<'_>]) -> bool {
        let text: String = news.iter().map(|news| format!("{news}\n")).collect();
        self.socket.send_to_addr(text.as_bytes(), &self.address).is_ok()
    }
}

/// A path, or a name behind `@` that Linux keeps apart from all files.
#[cfg(target_os = "linux")]
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(path)
}
