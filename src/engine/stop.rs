//! How a run is told to end before its time, and as what.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::error::ExitStatus;

/// A switch that ends a run gracefully: no more bytes are taken, parts are written down, the rest is committed.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    status: Arc<OnceLock<ExitStatus>>,
}

impl Stop {
    /// A switch that nobody has used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run; it will say that it ended as `status`. The first word counts.
    pub fn stop(&self, status: ExitStatus) {
        let _ = self.status.set(status);
        self.token.cancel();
    }

    /// Whether somebody has used it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn status(&self) -> ExitStatus {
        self.status.get().copied().unwrap_or(ExitStatus::Interrupted)
    }
}
