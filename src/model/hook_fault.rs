//! Why a hook did not take an event: its command failed, or its address did not accept it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::error::system::SystemError;
use crate::model::transport_fault::TransportFault;
use crate::model::units::{as_seconds, as_seconds_or_none};

/// Why a hook did not take an event. Never contains a webhook's address, which is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HookFault {
    /// There is no such program, or it may not be run.
    #[error("could not start `{program}`: {cause}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system reported.
        cause: SystemError,
    },
    /// The command ended with another code than 0.
    #[error("it ended with {ending}{}", quoted(output))]
    Failed {
        /// Its code or signal.
        ending: Ending,
        /// The last line that it wrote; may be empty.
        output: String,
    },
    /// The command ran too long and was ended, with everything that it had started.
    #[error("it was ended after {} s{}", after.as_secs_f64(), quoted(output))]
    TimedOut {
        /// How long it ran.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
        /// The last line that it wrote; may be empty.
        output: String,
    },
    /// The webhook answered that it does not take the event.
    #[error("{place}: HTTP {status}")]
    Refused {
        /// Its scheme and host.
        place: String,
        /// The status code.
        status: u16,
        /// How long it asked to wait.
        #[serde(serialize_with = "as_seconds_or_none")]
        retry_after: Option<Duration>,
    },
    /// The webhook did not answer in time.
    #[error("{place}: {cause}")]
    NoAnswer {
        /// Its scheme and host.
        place: String,
        /// Which limit it exceeded.
        cause: TransportFault,
    },
    /// The webhook could not be reached.
    #[error("{place}: {cause}")]
    Unreachable {
        /// Its scheme and host.
        place: String,
        /// What went wrong.
        cause: TransportFault,
    },
    /// rcsync ends; the next run delivers the event.
    #[error("rcsync was asked to end")]
    Interrupted,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The system does not report how.
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("no code"),
        }
    }
}

impl HookFault {
    /// Whether the same webhook may accept the event a moment later.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status >= 500 || matches!(*status, 408 | 429),
            Self::Unreachable { .. } | Self::NoAnswer { .. } => true,
            Self::NotStarted { .. } | Self::Failed { .. } | Self::TimedOut { .. } | Self::Interrupted => {
                false
            }
        }
    }

    /// Whether the event took all the time that a hook is given for one.
    pub(crate) const fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::NoAnswer { .. })
    }

    /// How long a webhook asked to wait.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn quoted(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_asked_again_where_that_may_help() {
        let refused =
            |status| HookFault::Refused { place: "https://h/…".to_owned(), status, retry_after: None };
        for (status, again) in
            [(400, false), (404, false), (408, true), (410, false), (429, true), (500, true), (503, true)]
        {
            assert_eq!(refused(status).is_transient(), again, "{status}");
        }
        assert!(!HookFault::Interrupted.is_transient());
        assert_eq!(refused(503).to_string(), "https://h/…: HTTP 503");
    }

    #[test]
    fn causes_are_structured() {
        let json = |fault: &HookFault| serde_json::to_string(fault).unwrap();
        let failed = HookFault::Failed { ending: Ending::Code(3), output: "no space".to_owned() };
        assert_eq!(json(&failed), r#"{"failed":{"ending":{"code":3},"output":"no space"}}"#);
        let retry_after = Some(Duration::from_secs(2));
        let refused = HookFault::Refused { place: "https://h/…".to_owned(), status: 429, retry_after };
        assert_eq!(json(&refused), r#"{"refused":{"place":"https://h/…","status":429,"retry_after":2.0}}"#);
    }
}
