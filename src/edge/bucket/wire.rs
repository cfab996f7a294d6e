//! Our own HTTP client below the crate that implements the stores' protocols: one request at a time, no retries of its own.
//!
//! It adds what the crate does not send (a condition on completing an upload), and notes what the crate does not pass on:
//! status, error code, the store's clock.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use crate::edge::net::causes::{Deadlines, transport_fault};
use crate::edge::net::client;
use crate::edge::net::retry_after::{answered_at, asked_wait};
use crate::error::Unanswered;
use crate::model::names::sanitize::{for_terminal, secrets_removed};
use crate::model::tls_fault::TlsFault;
use crate::model::transport_fault::TransportFault;

/// An answer comes in this time …
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// … and what is sent before it at no less than this many bytes a second. Completing an upload of many parts takes a
/// store minutes.
const SLOWEST: u64 = 20 << 10;
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(600);

/// How much of a refusal is read.
const REFUSAL_BOUND: usize = 64 << 10;

/// Where clouds hand out credentials. What goes wrong with these is no fault of the store.
const CREDENTIAL_HOSTS: [&str; 7] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "metadata.google.internal",
    "metadata",
    "oauth2.googleapis.com",
    "login.microsoftonline.com",
];

tokio::task_local! {
    static SEEN: RefCell<Seen>;
}

/// What was seen of the last request that a call to the crate sent.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// A request was sent.
    pub(super) is_sent: bool,
    /// To a host that hands out credentials.
    pub(super) is_for_credentials: bool,
    /// The status, where an answer came.
    pub(super) status: Option<u16>,
    /// The error's code, where the answer has one.
    pub(super) code: String,
    /// The error's message, sanitised.
    pub(super) message: String,
    /// The store's clock.
    pub(super) date: Option<SystemTime>,
    /// The bucket's region, where a refusal has it.
    pub(super) region: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// Why no answer came.
    pub(super) cause: Option<Unanswered>,
}

/// Runs a call to the crate, and returns what was seen of its last request.
pub(super) async fn seen<T>(call: impl Future<Output = T>) -> (T, Seen) {
    SEEN.scope(RefCell::new(Seen::default()), async {
        let value = call.await;
        (value, SEEN.with(RefCell::take))
    })
    .await
}

fn note(change: impl FnOnce(&mut Seen)) {
    // Outside of a call nothing is noted.
    let _ = SEEN.try_with(|seen| change(&mut seen.borrow_mut()));
}

/// The client, as the crate wants it.
#[derive(Debug, Clone)]
pub(super) struct OwnWire {
    client: reqwest::Client,
    /// Uploads are completed only where nothing is under their name.
    completes_new_only: bool,
}

impl OwnWire {
    /// Builds a client.
    ///
    /// # Errors
    /// When the system has no certificates to trust.
    pub(super) fn new(plain_http: bool, completes_new_only: bool) -> Result<Self, TlsFault> {
        let builder = || {
            client::builder()
                // A store that does not take a connection in this time is away.
                .connect_timeout(client::CONNECT_TIMEOUT)
                .pool_idle_timeout(Duration::from_secs(20))
        };
        let client = client::for_any_host(builder, plain_http)?;
        Ok(Self { client, completes_new_only })
    }
}

impl HttpConnector for OwnWire {
    fn connect(&self, _: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// An error without the address, which may be signed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(Unanswered);

fn failed(kind: HttpErrorKind, cause: Unanswered) -> HttpError {
    note(|seen| seen.cause = Some(cause.clone()));
    HttpError::new(kind, Failure(cause))
}

#[async_trait]
impl HttpService for OwnWire {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let is_complete = *request.method() == http::Method::POST && query.contains("uploadId=");
        if is_complete && self.completes_new_only {
            // Not among the headers that were signed: a store checks only those that are.
            request.headers_mut().insert(http::header::IF_NONE_MATCH, http::HeaderValue::from_static("*"));
        }
        let host = request.uri().host().unwrap_or_default().to_ascii_lowercase();
        let is_for_credentials = CREDENTIAL_HOSTS.contains(&&*host) || host.starts_with("sts.");
        note(|seen| *seen = Seen { is_sent: true, is_for_credentials, ..Seen::default() });
        let length = request.body().content_length() as u64;
        let patience = if is_complete { COMPLETE_TIMEOUT } else { ANSWER_TIMEOUT };
        let patience = patience + Duration::from_secs(length / SLOWEST);
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse::<url::Url>();
        let url = url.map_err(|_| {
            let cause = TransportFault::Other("the address cannot be read".to_owned());
            failed(HttpErrorKind::Unknown, Unanswered::Transport(cause))
        })?;
        let fault = move |error: &reqwest::Error| {
            transport_fault(error, Deadlines { connect: client::CONNECT_TIMEOUT, total: patience })
        };
        let mut out = reqwest::Request::new(parts.method, url);
        *out.headers_mut() = parts.headers;
        *out.body_mut() = Some(reqwest::Body::wrap(body));
        let answer = tokio::time::timeout(patience, self.client.execute(out)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let cause = fault(&error);
                return Err(match error.is_connect() {
                    true => failed(HttpErrorKind::Connect, Unanswered::Connect(cause)),
                    false => failed(HttpErrorKind::Unknown, Unanswered::Transport(cause)),
                });
            }
            Err(_) => return Err(failed(HttpErrorKind::Timeout, Unanswered::TimedOut { after: patience })),
        };
        let answer: http::Response<reqwest::Body> = answer.into();
        let (parts, body) = answer.into_parts();
        note_head(&parts);
        let broken = move |error: reqwest::Error| {
            failed(HttpErrorKind::Interrupted, Unanswered::Transport(fault(&error)))
        };
        if parts.status.as_u16() < 300 {
            let body = HttpResponseBody::new(body.map_err(broken));
            return Ok(HttpResponse::from_parts(parts, body));
        }
        // A refusal is read here: it has the error's code, which the crate does not pass on.
        let reading = Limited::new(body, REFUSAL_BOUND).collect();
        let text = match tokio::time::timeout(ANSWER_TIMEOUT, reading).await {
            Ok(Ok(text)) => text.to_bytes(),
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        note_refusal(&text);
        let body = Full::new(text).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

fn note_head(parts: &http::response::Parts) {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    note(|seen| {
        seen.status = Some(parts.status.as_u16());
        seen.date = answered_at(&parts.headers);
        seen.region = text("x-amz-bucket-region").map(|region| for_terminal(region, 40));
        seen.retry_after = asked_wait(&parts.headers);
        // Azure has it in a header.
        seen.code = text("x-ms-error-code").map(|code| for_terminal(code, 60)).unwrap_or_default();
    });
}

fn note_refusal(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(for_terminal(&secrets_removed(value), 160))
    };
    note(|seen| {
        if let Some(code) = element("Code") {
            seen.code = code;
        }
        seen.message = element("Message").unwrap_or_default();
        seen.region = seen.region.take().or_else(|| element("Region"));
    });
}
