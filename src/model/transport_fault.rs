//! Why a request or its answer was lost on the way: a name, a connection, a deadline, or the end of a body.

use std::time::Duration;

use serde::Serialize;

use crate::model::tls_fault::TlsFault;
use crate::model::units::as_seconds;

/// Why a request was not answered, or not whole. Never contains a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TransportFault {
    /// The name server did not answer in time.
    #[error("the host name was not resolved within {} s", after.as_secs_f64())]
    NameTimedOut {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// The host name has no address, or no name server could be asked.
    #[error("could not resolve the host name{}", in_parentheses(reported.as_deref()))]
    NameUnresolved {
        /// What the system reported.
        reported: Option<String>,
    },
    /// No connection was made in time.
    #[error("no connection within {} s", after.as_secs_f64())]
    ConnectTimedOut {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// No program takes connections there.
    #[error("connection refused")]
    Refused,
    /// The other side or something in between broke the connection.
    #[error("the connection was reset")]
    Reset,
    /// The host's network is known, the host is not.
    #[error("no route to the host")]
    NoRoute,
    /// This machine has no network, or none that leads there.
    #[error("no network")]
    NoNetwork,
    /// The whole exchange took too long.
    #[error("timed out after {} s", after.as_secs_f64())]
    TimedOut {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// There was no answer within the time that this request is worth.
    #[error("no answer within {} s", after.as_secs())]
    NoAnswer {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// No byte was sent or received for too long.
    #[error("nothing moved for {} s", after.as_secs())]
    Stalled {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// The connection ended within an answer.
    #[error("the connection was closed before the answer was complete")]
    ClosedEarly,
    /// The body ended, in good order, before the bytes that were asked for.
    #[error("the body ended {}early", bytes(*missing))]
    EndedEarly {
        /// How many bytes are missing, where that is known.
        missing: Option<u64>,
    },
    /// The other side does not speak HTTP, or its head is beyond the bounds.
    #[error("what came back is not HTTP, or its head is too large")]
    NotHttp,
    /// There is no trusted connection.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// Another fault, in the words of the system or of the HTTP library.
    #[error("{0}")]
    Other(String),
}

fn in_parentheses(reported: Option<&str>) -> String {
    reported.map_or_else(String::new, |reported| format!(" ({reported})"))
}

fn bytes(missing: Option<u64>) -> String {
    missing.map_or_else(String::new, |missing| format!("{missing} bytes "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tls_fault::CertificateFault;

    #[test]
    fn causes_are_structured_and_have_words() {
        let after = Duration::from_millis(1500);
        for (fault, json, words) in [
            (TransportFault::Refused, r#""refused""#, "connection refused"),
            (TransportFault::TimedOut { after }, r#"{"timed_out":{"after":1.5}}"#, "timed out after 1.5 s"),
            (
                TransportFault::NameUnresolved { reported: Some("no such host".to_owned()) },
                r#"{"name_unresolved":{"reported":"no such host"}}"#,
                "could not resolve the host name (no such host)",
            ),
            (
                TransportFault::NameUnresolved { reported: None },
                r#"{"name_unresolved":{"reported":null}}"#,
                "could not resolve the host name",
            ),
            (
                TransportFault::EndedEarly { missing: Some(7) },
                r#"{"ended_early":{"missing":7}}"#,
                "the body ended 7 bytes early",
            ),
            (
                TransportFault::EndedEarly { missing: None },
                r#"{"ended_early":{"missing":null}}"#,
                "the body ended early",
            ),
            (
                TransportFault::Tls(CertificateFault::Expired.into()),
                r#"{"tls":{"certificate":"expired"}}"#,
                "TLS: the certificate has expired (or is this machine's clock wrong?)",
            ),
        ] {
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
            assert_eq!(fault.to_string(), words);
        }
    }
}
