//! How the process ends: signals stop the work, and the exit code names the signal.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::engine::stop::Stop;
use crate::error::ExitStatus;

/// Returns the code for the system.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code())
}

/// Requests to end this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// The engine's switch: it records its parts and ends with the signal's code.
    pub(crate) stop: Stop,
    /// The same for work that can be dropped at any point.
    cancel: CancellationToken,
    first: Arc<OnceLock<ExitStatus>>,
    came_at: Arc<OnceLock<Instant>>,
}

/// `timeout` ends its child and then the child's group, so one request to end comes twice within a moment. A second
/// Ctrl-C is meant.
const ONE_REQUEST: Duration = Duration::from_millis(300);

impl Signals {
    /// Listens from now on; needs a runtime. The first signal asks the work to end; the second one ends the
    /// process at once.
    pub(crate) fn listen() -> Self {
        let signals = Self::default();
        // Before any work, and not by the task: a signal between a handler and its listener would be lost. Without a handler the
        // system's own way of ending the process stays, which is no harm.
        if let Ok(source) = Source::new() {
            tokio::spawn(signals.clone().watch(source));
        }
        signals
    }

    async fn watch(self, mut source: Source) {
        loop {
            let status = source.next().await;
            self.came(status);
        }
    }

    fn came(&self, status: ExitStatus) {
        let since = self.came_at.get().map(Instant::elapsed);
        if since.is_some_and(|since| !is_echo(status, since)) {
            std::process::exit(status.code().into());
        }
        self.end(status);
    }

    /// Ends the work as `status`, as a signal would.
    pub(crate) fn end(&self, status: ExitStatus) {
        // The first signal counts.
        let _ = self.first.set(status);
        let _ = self.came_at.set(Instant::now()); // As above.
        self.stop.stop(status);
        self.cancel.cancel();
    }

    /// Does `work` unless a signal ends it first.
    pub(crate) async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cancel.run_until_cancelled(work).await
    }

    /// Returns when a signal has come.
    pub(crate) async fn ended(&self) {
        self.cancel.cancelled().await;
    }

    /// Returns what a command that was cut short ends as.
    pub(crate) fn status(&self) -> ExitStatus {
        self.first.get().copied().unwrap_or(ExitStatus::Interrupted)
    }

    /// Whether a signal has come.
    pub(crate) fn is_ended(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// Whether a request is the same one that came this long ago.
fn is_echo(status: ExitStatus, since: Duration) -> bool {
    status == ExitStatus::Terminated && since < ONE_REQUEST
}

#[cfg(unix)]
struct Source {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // A file that may grow no further (`ulimit -f`) shall be an error of the write, and not the end of the process.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> ExitStatus {
        tokio::select! {
            _ = self.interrupt.recv() => ExitStatus::Interrupted,
            _ = self.terminate.recv() => ExitStatus::Terminated,
        }
    }
}

#[cfg(windows)]
struct Source {
    interrupt: tokio::signal::windows::CtrlC,
    stop: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Source {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) -> ExitStatus {
        tokio::select! {
            _ = self.interrupt.recv() => ExitStatus::Interrupted,
            _ = self.stop.recv() => ExitStatus::Terminated,
            _ = self.close.recv() => ExitStatus::Terminated,
            _ = self.shutdown.recv() => ExitStatus::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_ends_all_that_waits() {
        let signals = Signals::default();
        assert_eq!(signals.unless_ended(async { 1 }).await, Some(1));
        signals.came(ExitStatus::Terminated);
        assert!(signals.is_ended() && signals.stop.is_stopped());
        assert_eq!(signals.status(), ExitStatus::Terminated);
        assert_eq!(signals.unless_ended(std::future::pending::<()>()).await, None);
    }

    #[test]
    fn one_request_may_come_twice() {
        let soon = Duration::from_millis(5);
        assert!(is_echo(ExitStatus::Terminated, soon), "`timeout` ends a child and then its group");
        assert!(!is_echo(ExitStatus::Interrupted, soon), "who presses Ctrl-C twice means it");
        assert!(!is_echo(ExitStatus::Terminated, Duration::from_secs(1)));
    }
}
