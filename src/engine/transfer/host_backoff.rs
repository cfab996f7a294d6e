//! One gate for each host: one that asks for less is left alone by all connections, not only by the one that it answered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::outcome::{AtGate, at_gate};
use crate::model::fault::Fault;

/// Requests that waited are not sent in one instant.
const SPREAD: Duration = Duration::from_millis(500);

/// The gates that are closed.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    closed: Mutex<HashMap<String, Closed>>,
}

/// A gate that is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Until when.
    pub(crate) until: Instant,
    /// The status that closed it.
    pub(crate) status: u16,
}

impl Gates {
    /// A host answered `status` (429 or 503) and is to be left alone for this long. A longer wish is kept.
    pub(crate) fn close(&self, host: &str, status: u16, wait: Duration) {
        let until = Instant::now() + wait;
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = closed.entry(host.to_owned()).or_insert(Closed { until, status });
        if gate.until < until {
            *gate = Closed { until, status };
        }
    }

    /// Returns the gate before a host while it is closed.
    pub(crate) fn closed(&self, host: &str) -> Option<Closed> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = *closed.get(host)?;
        if gate.until > Instant::now() {
            return Some(gate);
        }
        closed.remove(host);
        None
    }

    /// Waits while the gate before a host is closed, and a moment longer. `once`: a single pass, which fails the request of a
    /// host that is to be left alone for longer than it waits.
    pub(crate) async fn pass(&self, host: &str, once: bool) -> Result<(), Fault> {
        if let Some(gate) = self.closed(host) {
            let wait = gate.until.saturating_duration_since(Instant::now());
            if at_gate(wait, once) == AtGate::Fail {
                return Err(Fault::Status { status: gate.status, retry_after: Some(wait), excerpt: None });
            }
        }
        while let Some(gate) = self.closed(host) {
            tokio::time::sleep_until(gate.until + SPREAD.mul_f64(fastrand::f64())).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_host_waits_for_all_and_others_do_not() {
        let gates = Gates::default();
        gates.close("busy", 429, Duration::from_secs(7));
        gates.close("busy", 503, Duration::from_secs(2));
        let began = Instant::now();
        gates.pass("idle", true).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        gates.pass("busy", true).await.unwrap();
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(7), "{waited:?}");
        assert!(waited <= Duration::from_secs(7) + SPREAD + Duration::from_millis(1), "{waited:?}");
        assert_eq!(gates.closed("busy"), None);
    }
}
