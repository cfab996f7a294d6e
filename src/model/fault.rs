//! What can go wrong with one request for a hosted file. No HTTP library's error passes this line.

use std::time::Duration;

use serde::Serialize;

use crate::error::system::SystemError;
use crate::model::tls_fault::TlsFault;
use crate::model::transport_fault::TransportFault;
use crate::model::units::{as_seconds, as_seconds_or_none};

/// How long a server is left alone, whatever its `Retry-After` asks: a quarter of an hour later it costs nothing to ask.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// How much of the wait that a server asks for is granted.
pub(crate) fn granted_wait(asked: Duration) -> Duration {
    asked.min(LONGEST_WAIT)
}

/// What is wrong with a local file that was to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum LocalFault {
    /// Its length or change time is not what it was when its folder was checked.
    #[error("it changed while it was sent")]
    Changed,
    /// It no longer exists.
    #[error("it is gone since the folder was checked")]
    Gone,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(SystemError),
    /// The thread that read it ended.
    #[error("it cannot be read: the reading thread ended")]
    Interrupted,
}

/// Why one request for a hosted file delivered nothing, or less than it should. Never contains a URL's query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No connection could be made.
    #[error("cannot connect to `{host}`: {cause}")]
    Connect {
        /// The host.
        host: String,
        /// What went wrong.
        cause: TransportFault,
    },
    /// No byte arrived for too long.
    #[error("no data for {} s", after.as_secs())]
    Stalled {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// So little came for so long that it was as good as nothing.
    #[error("hardly any data for {} s", after.as_secs())]
    Dripped {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// The connection broke, or the body ended before its announced length.
    #[error("the connection broke after {received} bytes: {cause}")]
    Interrupted {
        /// Bytes of this answer's body that arrived.
        received: u64,
        /// What went wrong.
        cause: TransportFault,
    },
    /// A status that delivers no bytes.
    #[error("the host answered HTTP {status}{}", excerpt.as_deref().map(|text| format!(" (`{text}`)")).unwrap_or_default())]
    Status {
        /// The status code.
        status: u16,
        /// How long the server asked to wait, clamped.
        #[serde(serialize_with = "as_seconds_or_none")]
        retry_after: Option<Duration>,
        /// The begin of the body, sanitised and bounded, where it has words.
        excerpt: Option<String>,
    },
    /// The answer to a range does not fit the question.
    #[error("the host's answer does not fit the request: {0}")]
    Range(RangeFault),
    /// This address must not be used.
    #[error("`{host}` is refused: {why}")]
    Forbidden {
        /// The host.
        host: String,
        /// The rule that it breaks.
        why: Forbidden,
    },
    /// The server's certificate or protocol cannot be trusted.
    #[error("no trusted connection to `{host}`: {cause}")]
    Untrusted {
        /// The host.
        host: String,
        /// What is wrong.
        cause: TlsFault,
    },
}

impl Fault {
    /// A body that ended, in good order, before the bytes that were asked for.
    pub(crate) const fn ended_early(received: u64, missing: Option<u64>) -> Self {
        Self::Interrupted { received, cause: TransportFault::EndedEarly { missing } }
    }
}

/// Why an address must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Forbidden {
    /// It is an address in a private network, and those are not allowed.
    #[error("it is an address in a private network")]
    Private,
    /// It is plain http, which is allowed in private networks alone.
    #[error("plain http is not allowed")]
    PlainHttp,
    /// It is neither http nor https.
    #[error("only http and https are spoken here")]
    Scheme,
    /// It has a user name in it.
    #[error("its address has a user name in it")]
    UserName,
    /// It has no host.
    #[error("its address has no host")]
    NoHost,
    /// It cannot be read.
    #[error("its address cannot be read")]
    Unreadable,
    /// Headers for it cannot be sent.
    #[error("its headers cannot be sent")]
    Headers,
    /// It redirects too often.
    #[error("it redirects too often")]
    TooManyRedirects,
    /// It redirects from https to http.
    #[error("it redirects from https to http")]
    Downgrade,
}

/// How an answer to a range request can be wrong (RFC 9110 section 15.3.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum RangeFault {
    /// 206 without a usable `Content-Range`.
    #[error("a partial answer without a usable `Content-Range`")]
    Unlabelled,
    /// 206 that begins after the byte that was asked for, or ends before it.
    #[error("asked for byte {asked}, got bytes {start} to {end}")]
    Misplaced {
        /// The first byte asked for.
        asked: u64,
        /// The first byte offered.
        start: u64,
        /// One past the last byte offered.
        end: u64,
    },
    /// 206 whose `Content-Length` is not its range's length.
    #[error("a range of {range} bytes in a body of {body}")]
    LengthMismatch {
        /// Bytes in the range.
        range: u64,
        /// Bytes in the body.
        body: u64,
    },
    /// `multipart/byteranges` for a single range.
    #[error("several ranges in one answer")]
    Multipart,
    /// A body in a content encoding: its bytes are not the file's.
    #[error(
        "the body has a `Content-Encoding`, although none was asked for: its bytes are not the file's (stored without that header it can be fetched)"
    )]
    Encoded,
    /// A packed text that cannot be unpacked, or is far longer than any such text.
    #[error("the packed body {0}")]
    Packed(&'static str),
    /// A status that makes no sense here (204, 205, an unasked 206 or 304, 416 without a length …).
    #[error("HTTP {0} makes no sense here")]
    Nonsense(u16),
    /// The body is longer than announced.
    #[error("more bytes than announced")]
    Overlong,
}
