//! How a run is ended before its time, and with which exit status.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::error::ExitStatus;

/// A switch that ends a run gracefully: no more bytes are taken, parts are written down, the rest is committed.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    status: Arc<OnceLock<ExitStatus>>,
    /// The status of all runs that this one is one of.
    all: Option<Arc<OnceLock<ExitStatus>>>,
}

impl Stop {
    /// A switch that is not used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A switch that ends one of many runs; this one ends all of them, the new one included.
    #[must_use]
    pub(super) fn child(&self) -> Self {
        Self { token: self.token.child_token(), status: Arc::default(), all: Some(self.status.clone()) }
    }

    /// Ends the run with `status`; the first call counts.
    pub fn stop(&self, status: ExitStatus) {
        let _ = self.status.set(status); // A later call changes nothing.
        self.token.cancel();
    }

    /// Whether it was used.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn status(&self) -> ExitStatus {
        self.status.get().or_else(|| self.all.as_ref()?.get()).copied().unwrap_or(ExitStatus::Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_ends_alone_or_with_all() {
        let all = Stop::new();
        let (one, other) = (all.child(), all.child());
        one.stop(ExitStatus::TryAgain);
        assert!(one.is_stopped() && !other.is_stopped() && !all.is_stopped());
        all.stop(ExitStatus::Terminated);
        assert!(other.is_stopped());
        assert_eq!((one.status(), other.status()), (ExitStatus::TryAgain, ExitStatus::Terminated));
    }
}
