//! The Trainer API client: one request, one answer, one attempt. Patience belongs to the caller.
//!
//! The token goes to the configured origin alone: it is set on each request, no redirect is followed, and answers
//! that repeat it are redacted before they can be quoted.

pub(crate) mod base_url;
mod body;
pub(crate) mod dataset_responses;
pub(crate) mod datasets;
pub(crate) mod error_body;
pub(crate) mod requests;
pub(crate) mod responses;
pub(crate) mod token;
pub(crate) mod toll;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, header};
use tokio::sync::Mutex;
use url::Url;

use crate::edge::api::base_url::{ApiBase, JobEndpoint};
use crate::edge::api::body::{BodyFault, Text};
use crate::edge::api::error_body::{fault_of_status, read_refusal};
use crate::edge::api::requests::{SubmitRequest, edit_body};
use crate::edge::api::responses::{
    ChangeAnswer, SubmitAnswer, read_change, read_result, read_status, read_submit,
};
use crate::edge::net::causes::{Deadlines, transport_fault};
use crate::edge::net::http::names_a_proxy;
use crate::edge::net::names::{Dialled, Names};
use crate::edge::net::retry_after::asked_wait;
use crate::edge::net::wire;
use crate::edge::net::wire::Wire;
use crate::edge::system::blocking::blocking;
use crate::error::{ApiError, OddAnswer, UnknownOutcome};
use crate::model::job::{JobId, ResultAnswer, StatusAnswer};
use crate::model::transport_fault::TransportFault;
use crate::model::units::ByteCount;

use token::{Token, TokenSource};
use toll::{Toll, Tolled};

/// How much of a refusal is read for its message.
const REFUSAL_BYTES: usize = 64 << 10;

/// A status and the outcome of a change take a few kilobytes.
const SHORT_ANSWER: ByteCount = ByteCount(1 << 20);

/// What one more portion may make of it.
const MOST_OF_A_REFUSAL: u64 = 1 << 20;

/// How much time and memory one request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the connection: one round trip, two with TLS.
    pub connect: Duration,
    /// From the first byte sent to the last one received.
    pub total: Duration,
    /// For an answer's body.
    pub answer: ByteCount,
}

impl Default for Limits {
    /// What the vendor's CLI waits, and room for a list of some 200,000 signed addresses.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(60), answer: ByteCount(64 << 20) }
    }
}

/// Asks the Trainer API. Clones share connections and token.
#[derive(Debug, Clone)]
pub struct ApiClient(pub(in crate::edge) Arc<Shared>);

#[derive(Debug)]
pub(in crate::edge) struct Shared {
    pub(in crate::edge) base: ApiBase,
    limits: Limits,
    tokens: TokenSource,
    /// The token in use; loaded with the first request, and again when the API refuses it.
    token: Mutex<Option<Token>>,
    pub(in crate::edge) client: reqwest::Client,
    wire: Arc<dyn Wire>,
}

/// One request, before a token is added to it.
pub(in crate::edge) struct Request<'a> {
    pub(in crate::edge) method: Method,
    pub(in crate::edge) url: Url,
    /// The job it is about, for what a refusal means.
    pub(in crate::edge) job: Option<&'a JobId>,
    pub(in crate::edge) body: Option<String>,
    pub(in crate::edge) effect: Effect,
    pub(in crate::edge) answer: Answer,
}

/// How long a request's answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Answer {
    /// It grows with what a job made or an account holds.
    List,
    /// It does not.
    Short,
}

/// What a request does, for what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Effect {
    /// Nothing, or the same when it is sent twice.
    Repeatable,
    /// Something that must not be done twice unasked.
    Once,
}

impl ApiClient {
    /// Builds a client. No token is looked for and nothing is sent before the first request.
    ///
    /// # Errors
    /// [`ApiError::Untrusted`] when the system has no certificates to trust, or `SSL_CERT_FILE` names a bad file.
    pub fn new(base: ApiBase, tokens: TokenSource, limits: Limits) -> Result<Self, ApiError> {
        // Half of a request's time, so that a look-up that fails leaves some for the next try.
        let names = Names::new(limits.total / 2);
        let client = transport::client(&base, limits, &names)
            .map_err(|cause| ApiError::Untrusted { origin: base.origin(), cause })?;
        let may_use_proxy = base.is_https() && names_a_proxy(|name| std::env::var(name).ok());
        let wire = Arc::new(Dialled { client: client.clone(), names, may_use_proxy });
        Ok(Self(Arc::new(Shared { base, limits, tokens, token: Mutex::new(None), client, wire })))
    }

    /// The same client, speaking over another wire.
    #[cfg(test)]
    pub(crate) fn over(self, wire: Arc<dyn Wire>) -> Self {
        let Shared { base, limits, tokens, client, .. } = self.0.as_ref();
        let (base, limits, tokens, client) = (base.clone(), *limits, tokens.clone(), client.clone());
        Self(Arc::new(Shared { base, limits, tokens, token: Mutex::new(None), client, wire }))
    }

    /// The same client, whose requests all pass `toll`.
    pub(crate) fn through(self, toll: Arc<dyn Toll>) -> Self {
        let Shared { base, limits, tokens, client, wire, .. } = self.0.as_ref();
        let (base, limits, tokens, client) = (base.clone(), *limits, tokens.clone(), client.clone());
        let wire = Arc::new(Tolled { wire: wire.clone(), toll });
        Self(Arc::new(Shared { base, limits, tokens, token: Mutex::new(None), client, wire }))
    }

    /// Returns the API's scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.base.origin()
    }

    /// Whether the API is on this machine or in a private network.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.0.base.is_private()
    }

    /// Asks what a job is doing.
    ///
    /// # Errors
    /// When there is no usable token or no usable answer.
    pub async fn status(&self, job: &JobId) -> Result<StatusAnswer, ApiError> {
        self.call(&self.get(job, JobEndpoint::Status), |body| read_status(body, job)).await
    }

    /// Asks what a job offers.
    ///
    /// # Errors
    /// When there is no usable token or no usable answer.
    pub async fn result(&self, job: &JobId) -> Result<ResultAnswer, ApiError> {
        self.call(&self.get(job, JobEndpoint::Result), |body| read_result(body, job)).await
    }

    /// Submits a job. Whatever the error: only [`ApiError::Unreachable`], [`ApiError::Untrusted`] and a refusal (4xx) mean for sure that there
    /// is no new job.
    ///
    /// # Errors
    /// When there is no usable token, the API refuses, or it is unknown whether it accepted.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ApiError> {
        let request = Request {
            method: Method::POST,
            url: self.0.base.jobs_url(),
            job: None,
            body: Some(request.body()),
            effect: Effect::Once,
            answer: Answer::Short,
        };
        self.call(&request, read_submit).await
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// When there is no usable token, the API refuses, or it is unknown whether it accepted.
    pub async fn cancel(&self, job: &JobId) -> Result<ChangeAnswer, ApiError> {
        self.change(job, JobEndpoint::Cancel, None).await
    }

    /// Resumes a job from its latest checkpoint.
    ///
    /// # Errors
    /// When there is no usable token, the API refuses, or it is unknown whether it accepted.
    pub async fn resume(&self, job: &JobId) -> Result<ChangeAnswer, ApiError> {
        self.change(job, JobEndpoint::Resume, Some("{}".to_owned())).await
    }

    /// Gives a job that does not run another configuration, sent unchanged.
    ///
    /// # Errors
    /// When there is no usable token, the API refuses, or it is unknown whether it accepted.
    pub async fn edit(&self, job: &JobId, config: &str) -> Result<ChangeAnswer, ApiError> {
        self.change(job, JobEndpoint::Edit, Some(edit_body(config))).await
    }

    fn get<'a>(&self, job: &'a JobId, endpoint: JobEndpoint) -> Request<'a> {
        Request {
            method: Method::GET,
            url: self.0.base.job_url(job, endpoint),
            job: Some(job),
            body: None,
            effect: Effect::Repeatable,
            answer: if endpoint == JobEndpoint::Result { Answer::List } else { Answer::Short },
        }
    }

    async fn change(
        &self,
        job: &JobId,
        endpoint: JobEndpoint,
        body: Option<String>,
    ) -> Result<ChangeAnswer, ApiError> {
        let url = self.0.base.job_url(job, endpoint);
        let (effect, answer) = (Effect::Once, Answer::Short);
        let request = Request { method: Method::POST, url, job: Some(job), body, effect, answer };
        self.call(&request, |body| read_change(body, job)).await
    }

    /// Makes one attempt, and another one where the refused token has a successor: a login in another window renews
    /// the file while this process runs for days. A refused request was not carried out, so this is safe for all.
    pub(in crate::edge) async fn call<T>(
        &self,
        request: &Request<'_>,
        read: impl Fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let token = self.token().await?;
        let refusal = match self.attempt(request, &token, &read).await {
            Err(refusal @ ApiError::Unauthorized { .. }) => refusal,
            outcome => return outcome,
        };
        match self.successor(&token).await {
            Some(newer) => self.attempt(request, &newer, &read).await,
            None => Err(refusal),
        }
    }

    /// The same for a request whose body can be sent once alone: `build` makes another one for another token.
    pub(in crate::edge) async fn call_built<T>(
        &self,
        request: &Request<'_>,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
        read: impl Fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let token = self.token().await?;
        let builder = build(self.begin(request, &token)?);
        let refusal = match self.exchange(request, &token, builder, &read).await {
            Err(refusal @ ApiError::Unauthorized { .. }) => refusal,
            outcome => return outcome,
        };
        let Some(newer) = self.successor(&token).await else { return Err(refusal) };
        let builder = build(self.begin(request, &newer)?);
        self.exchange(request, &newer, builder, &read).await
    }

    async fn token(&self) -> Result<Token, ApiError> {
        let mut token = self.0.token.lock().await;
        if let Some(token) = token.as_ref() {
            return Ok(token.clone());
        }
        Ok(token.insert(self.load_token().await?).clone())
    }

    /// Returns the token that has taken the place of a refused one.
    async fn successor(&self, refused: &Token) -> Option<Token> {
        let mut token = self.0.token.lock().await;
        // Another request may have found it meanwhile.
        if let Some(current) = token.as_ref().filter(|current| !current.is_same(refused)) {
            return Some(current.clone());
        }
        let newer = self.load_token().await.ok().filter(|newer| !newer.is_same(refused))?;
        Some(token.insert(newer).clone())
    }

    async fn load_token(&self) -> Result<Token, ApiError> {
        let tokens = self.0.tokens.clone();
        let loaded = blocking(move || tokens.load()).await;
        // The task is only lost when the runtime ends, and with it this one.
        loaded.unwrap_or(Err(ApiError::NoToken))
    }

    async fn attempt<T>(
        &self,
        request: &Request<'_>,
        token: &Token,
        read: impl Fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut builder = self.begin(request, token)?;
        match &request.body {
            Some(body) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json").body(body.clone())
            }
            // Without it, some servers and proxies wait for a body, or answer 411.
            None if request.method != Method::GET => builder = builder.header(header::CONTENT_LENGTH, 0),
            None => {}
        }
        self.exchange(request, token, builder, read).await
    }

    fn begin(&self, request: &Request<'_>, token: &Token) -> Result<RequestBuilder, ApiError> {
        let builder = self.0.client.request(request.method.clone(), request.url.clone());
        let builder = builder.header(header::AUTHORIZATION, token.header()?);
        // A list of a thousand signed addresses packs to a twentieth: three round trips less on a far API.
        Ok(builder.header(header::ACCEPT, "application/json").header(header::ACCEPT_ENCODING, "gzip"))
    }

    async fn exchange<T>(
        &self,
        request: &Request<'_>,
        token: &Token,
        builder: RequestBuilder,
        read: impl Fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let sent = wire::send(self.0.wire.as_ref(), builder).await;
        let response = sent.map_err(|error| self.fault(request, &error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(self.redirected(&response));
        }
        if !status.is_success() {
            return Err(self.refused(request, token, response).await);
        }
        let body = self.answer(request, response).await?;
        read(&token.redact(body))
    }

    /// Reads the whole body of an answer, within bounds.
    async fn answer(&self, request: &Request<'_>, mut response: Response) -> Result<Vec<u8>, ApiError> {
        let bound = match request.answer {
            Answer::List => self.0.limits.answer,
            Answer::Short => self.0.limits.answer.min(SHORT_ANSWER),
        };
        let unusable = |fault| match fault {
            BodyFault::TooLong => OddAnswer::TooLong { most: bound.0 },
            BodyFault::Packed { coding } => OddAnswer::Packed { coding },
            BodyFault::Unpackable => OddAnswer::Unpackable,
        };
        let unusable = |fault| ApiError::Unintelligible { why: unusable(fault) };
        let mut text = Text::new(response.headers(), bound.0).map_err(unusable)?;
        if response.content_length().is_some_and(|length| length > bound.0) {
            return Err(unusable(BodyFault::TooLong));
        }
        let mut is_empty = true;
        while let Some(bytes) = response.chunk().await.map_err(|error| self.fault(request, &error))? {
            is_empty &= bytes.is_empty();
            text.add(&bytes).map_err(unusable)?;
        }
        // Proxies leave the header of a packed body with an empty one, which is enough for an answer to some requests.
        if is_empty {
            return Ok(Vec::new());
        }
        text.whole().map_err(unusable)
    }

    async fn refused(&self, request: &Request<'_>, token: &Token, mut response: Response) -> ApiError {
        let status = response.status();
        let wait = asked_wait(response.headers()).map(|wait| wait.as_secs());
        let mut body = Vec::new();
        // What cannot be read of a refusal only makes its message shorter.
        if let Ok(mut text) = Text::new(response.headers(), MOST_OF_A_REFUSAL) {
            while let Ok(Some(bytes)) = response.chunk().await {
                if text.add(&bytes).is_err() || text.len() > REFUSAL_BYTES {
                    break;
                }
            }
            body = text.so_far();
        }
        let refusal = read_refusal(&token.redact(body));
        if status.is_server_error() && request.changes_something() {
            // A gateway answers for an API that does not answer, and an API that broke down may have done so after it
            // did what was asked.
            let cause = UnknownOutcome::Server { status: status.as_u16(), message: refusal.message };
            return ApiError::Unknown { cause };
        }
        fault_of_status(status.as_u16(), refusal, request.job, wait)
    }

    fn redirected(&self, response: &Response) -> ApiError {
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|text| response.url().join(text).ok());
        // Only the origin is shown: the rest may hold a secret.
        let target = target.map(|url| format!(" to `{}`", url.origin().ascii_serialization()));
        let message = format!("it redirects{}, where the token must not follow", target.unwrap_or_default());
        ApiError::Refused { status: response.status().as_u16(), message, code: None }
    }

    fn fault(&self, request: &Request<'_>, error: &reqwest::Error) -> ApiError {
        let Limits { connect, total, .. } = self.0.limits;
        let cause = transport_fault(error, Deadlines { connect, total });
        let surely_not_sent = error.is_connect() || error.is_builder();
        if request.changes_something() && !surely_not_sent {
            return ApiError::Unknown { cause: UnknownOutcome::Transport(cause) };
        }
        let origin = self.origin();
        match cause {
            TransportFault::NotHttp => ApiError::Unintelligible { why: OddAnswer::Transport(cause) },
            TransportFault::Tls(cause) => ApiError::Untrusted { origin, cause },
            cause => ApiError::Unreachable { origin, cause },
        }
    }
}

impl Request<'_> {
    fn changes_something(&self) -> bool {
        self.effect == Effect::Once
    }
}

#[cfg(test)]
mod tests;
