//! Why the Trainer API gave no usable answer.

use std::time::Duration;

use serde::Serialize;

use crate::model::error_code::ErrorCode;
use crate::model::job::JobId;
use crate::model::tls_fault::TlsFault;
use crate::model::transport_fault::TransportFault;

use super::ExitStatus;
use super::answer::{OddAnswer, UnknownOutcome, detail};
use super::token::TokenFault;

/// Why the Trainer API gave no usable answer. Never contains a token or a URL's query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApiError {
    /// No token was found in any of its places.
    #[error("no RunComfy token found")]
    NoToken,
    /// A token was found that cannot be sent (empty, or with a line break or other control character in it).
    #[error("the RunComfy token from {origin} is not usable: {why}")]
    BadToken {
        /// Where it was found: an environment variable or a file.
        origin: String,
        /// What is wrong with it.
        why: TokenFault,
    },
    /// 401 or 403. The second may be about the token, the owner of what was asked for, or the plan.
    #[error("{}{}", not_allowed(*status), detail(message))]
    Unauthorized {
        /// 401 or 403.
        status: u16,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
    },
    /// 404 for this job.
    #[error("the API knows no job `{job}`{}", detail(message))]
    UnknownJob {
        /// The job that was asked for.
        job: JobId,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
    },
    /// 404 for this dataset.
    #[error("the API knows no dataset `{dataset}`{}", detail(message))]
    UnknownDataset {
        /// The dataset that was asked for.
        dataset: String,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
    },
    /// Another 4xx, or an error body under HTTP 200.
    #[error("the API refused the request (HTTP {status}){}", detail(message))]
    Refused {
        /// The HTTP status; for an error body under HTTP 200 the status that its code means.
        status: u16,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
    },
    /// 408 or 429, after retries.
    #[error("the API asks to try later (HTTP {status}){}", detail(message))]
    Busy {
        /// 408 or 429.
        status: u16,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
        /// Seconds that the API asked to wait, clamped to 15 minutes.
        retry_after: Option<u64>,
    },
    /// The API could not be reached, after retries.
    #[error("the API at `{origin}` cannot be reached: {cause}")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// What went wrong.
        cause: TransportFault,
    },
    /// There is no trusted connection to the API, after retries: its certificate, its protocol, or the certificates that are
    /// trusted here.
    #[error("the API at `{origin}` cannot be reached: TLS: {cause}")]
    Untrusted {
        /// Scheme, host and port.
        origin: String,
        /// What is wrong.
        cause: TlsFault,
    },
    /// 5xx, after retries.
    #[error("the API answered HTTP {status}{}", detail(message))]
    Server {
        /// The HTTP status.
        status: u16,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
        /// Seconds that the API asked to wait, clamped to 15 minutes.
        retry_after: Option<u64>,
    },
    /// A request that changes something was sent, and its result is unknown. It must not be sent again
    /// before its effect was looked up.
    #[error("it is unknown whether the API accepted the request: {cause}")]
    Unknown {
        /// Why it is unknown.
        cause: UnknownOutcome,
    },
    /// The answer is not what the documentation describes.
    #[error("the API's answer could not be understood: {why}")]
    Unintelligible {
        /// What is odd about it.
        why: OddAnswer,
    },
    /// The answer is about another job than the one that was asked for.
    #[error("the API answered for job `{answered}` when asked for `{asked}`")]
    WrongJob {
        /// The job that was asked for.
        asked: JobId,
        /// The id in the answer, sanitised and bounded.
        answered: String,
    },
}

impl ApiError {
    /// Whether the same request may succeed when it is sent again later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Server { .. }
            | Self::Unintelligible { .. } => true,
            Self::NoToken
            | Self::BadToken { .. }
            | Self::Unauthorized { .. }
            | Self::UnknownJob { .. }
            | Self::UnknownDataset { .. }
            | Self::Refused { .. }
            | Self::Unknown { .. }
            | Self::WrongJob { .. } => false,
        }
    }

    /// Returns the API's own code for the fault, where it gave one.
    #[must_use]
    pub const fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Unauthorized { code, .. }
            | Self::UnknownJob { code, .. }
            | Self::Refused { code, .. }
            | Self::Busy { code, .. }
            | Self::Server { code, .. } => code.as_ref(),
            _ => None,
        }
    }

    pub(super) const fn exit_status(&self) -> ExitStatus {
        match self {
            Self::NoToken | Self::BadToken { .. } | Self::Unauthorized { .. } => ExitStatus::NoPermission,
            Self::UnknownJob { .. } | Self::UnknownDataset { .. } | Self::Refused { .. } => {
                ExitStatus::BadData
            }
            Self::Busy { .. } => ExitStatus::TryAgain,
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Server { .. }
            | Self::Unknown { .. } => ExitStatus::Unavailable,
            Self::Unintelligible { .. } | Self::WrongJob { .. } => ExitStatus::Protocol,
        }
    }

    /// Returns how long the API asked to wait before the next try, clamped to 15 minutes.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } | Self::Server { retry_after, .. } => {
                retry_after.map(Duration::from_secs)
            }
            _ => None,
        }
    }
}

fn not_allowed(status: u16) -> String {
    match status {
        401 => "the API refused the token (HTTP 401)".to_owned(),
        _ => format!("the API does not allow this request (HTTP {status})"),
    }
}
