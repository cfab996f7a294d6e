//! The wire between the mirror and the simulated world: no socket, no real time. Bytes come in small portions, each
//! after a moment of virtual time, and silence is noticed as the HTTP library would notice it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use fastrand::Rng;
use futures::future::BoxFuture;
use futures::stream;
use http_body_util::BodyExt as _;
use reqwest::{Request, Response};
use tokio::time::Instant;

use crate::edge::net::wire::Wire;
use crate::simulator::{Origin, Simulator};

/// How long an answer of the API may take in all, as [`crate::edge::api::Limits`] has it.
const API_TIMEOUT: Duration = Duration::from_secs(60);

/// The way from one mirror to one of the two servers.
pub(crate) struct Line {
    world: Arc<Simulator>,
    origin: Origin,
    silence: Duration,
    random: Mutex<Rng>,
    /// Requests that were carried.
    pub(crate) carried: AtomicU64,
    /// When the first one and the last one were sent.
    busy: Mutex<Option<(Instant, Instant)>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line to {:?}", self.origin)
    }
}

impl Line {
    /// `silence`: no byte of an artifact for this long is a fault.
    pub(crate) fn new(world: Arc<Simulator>, origin: Origin, silence: Duration, seed: u64) -> Arc<Self> {
        let random = Mutex::new(Rng::with_seed(seed));
        Arc::new(Self { world, origin, silence, random, carried: AtomicU64::new(0), busy: Mutex::default() })
    }

    /// Whether each of two lines was in use before the other one was done.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let busy = |line: &Self| *line.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(one), Some(other)) = (busy(self), busy(other)) else { return false };
        one.0 <= other.1 && other.0 <= one.1
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask(&self, request: Request) -> io::Result<hyper::Response<reqwest::Body>> {
        let body = request.body().and_then(|body| body.as_bytes()).map(Bytes::copy_from_slice);
        let target = &request.url()[url::Position::BeforePath..url::Position::AfterQuery];
        let mut asked = hyper::Request::new(());
        *asked.method_mut() = request.method().clone();
        *asked.uri_mut() = target.parse().map_err(io::Error::other)?;
        *asked.headers_mut() = request.headers().clone();
        tokio::time::sleep(Duration::from_millis(self.draw(|random| random.u64(1..80)))).await;
        let answer = self.world.answer(self.origin, asked, body.unwrap_or_default()).await?;
        let (head, body) = answer.into_parts();
        if self.origin == Origin::Api {
            let bytes = body.collect().await?.to_bytes();
            return Ok(hyper::Response::from_parts(head, reqwest::Body::from(bytes)));
        }
        let portions = Portions {
            body,
            waiting: Bytes::new(),
            silence: self.silence,
            random: Rng::with_seed(self.draw(|random| random.u64(..))),
        };
        let stream = stream::try_unfold(portions, Portions::next);
        Ok(hyper::Response::from_parts(head, reqwest::Body::wrap_stream(stream)))
    }
}

impl Wire for Line {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>> {
        self.carried.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((now, now)).1 = now;
        let patience = if self.origin == Origin::Api { API_TIMEOUT } else { self.silence };
        Box::pin(async move {
            match tokio::time::timeout(patience, self.ask(request)).await {
                Ok(Ok(answer)) => Ok(answer.into()),
                Ok(Err(error)) => Err(as_fault(error).await),
                Err(_) => Err(as_fault(io::ErrorKind::TimedOut.into()).await),
            }
        })
    }
}

struct Portions {
    body: crate::simulator::Body,
    waiting: Bytes,
    silence: Duration,
    random: Rng,
}

impl Portions {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        while self.waiting.is_empty() {
            let Ok(frame) = tokio::time::timeout(self.silence, self.body.frame()).await else {
                return Err(io::ErrorKind::TimedOut.into());
            };
            match frame {
                Some(frame) => self.waiting = frame?.into_data().unwrap_or_default(),
                None => return Ok(None),
            }
        }
        let most = self.random.usize(1..8192).min(self.waiting.len());
        let portion = self.waiting.split_to(most);
        let pause = self.random.u64(..40);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Ok(Some((portion, self)))
    }
}

/// What a host that refuses a connection makes of a request.
pub(super) async fn refused() -> reqwest::Error {
    as_fault(io::ErrorKind::ConnectionRefused.into()).await
}

/// The HTTP library's errors cannot be made, only had: from a body that breaks.
async fn as_fault(error: io::Error) -> reqwest::Error {
    let broken = stream::once(std::future::ready(Err::<Bytes, _>(error)));
    let answer: Response = hyper::Response::new(reqwest::Body::wrap_stream(broken)).into();
    answer.bytes().await.expect_err("its body is broken")
}
