//! How the process ends: signals become a cancellation, and the code says which one it was.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

use crate::engine::event::{Event, Reporter};
use crate::error::ExitStatus;

/// Returns the code for the system.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code())
}

/// Requests to end this process, as they came in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Fires at the first request.
    pub(crate) cancel: CancellationToken,
    /// The code of the first signal; 0 before.
    first: Arc<AtomicU8>,
}

impl Signals {
    /// Listens from now on; needs a runtime. The first signal asks the work to end, which keeps its parts; the
    /// second one ends the process at once.
    pub(crate) fn listen() -> Self {
        let signals = Self::default();
        tokio::spawn(signals.clone().watch());
        signals
    }

    async fn watch(self) {
        // Without a handler the system's own way of ending the process stays, which is no harm.
        let Ok(mut source) = Source::new() else { return };
        loop {
            let status = source.next().await;
            if self.first.compare_exchange(0, status.code(), Ordering::Relaxed, Ordering::Relaxed).is_err() {
                std::process::exit(status.code().into());
            }
            self.cancel.cancel();
        }
    }

    /// Returns `status` as the signal that came in wants it: what was cut short by SIGTERM ends with 143.
    pub(crate) fn settle(&self, status: ExitStatus) -> ExitStatus {
        let terminated = self.first.load(Ordering::Relaxed) == ExitStatus::Terminated.code();
        if status == ExitStatus::Interrupted && terminated { ExitStatus::Terminated } else { status }
    }

    /// Returns a listener for whom the last event has the code that the process really ends with.
    pub(crate) fn truthful(&self, inner: Arc<dyn Reporter>) -> Arc<dyn Reporter> {
        let signals = self.clone();
        Arc::new(move |event: &Event| {
            let mut event = event.clone();
            if let Event::Done { exit, .. } = &mut event {
                *exit = signals.settle(*exit);
            }
            inner.report(&event);
        })
    }
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
        Ok(Self { interrupt: ctrl_c()?, stop: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
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

    #[test]
    fn the_signal_decides_between_130_and_143() {
        let signals = Signals::default();
        assert_eq!(signals.settle(ExitStatus::Interrupted), ExitStatus::Interrupted);
        signals.first.store(143, Ordering::Relaxed);
        assert_eq!(signals.settle(ExitStatus::Interrupted), ExitStatus::Terminated);
        assert_eq!(signals.settle(ExitStatus::Complete), ExitStatus::Complete, "it was done before");
    }
}
