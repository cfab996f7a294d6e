//! Requests of both origins: recorded, failed on purpose, answered.
//!
//! The one idea: the state of the world is locked for the decision only, never while bytes are made or sent.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::simulator::request_log::{Origin, Record, RequestRecord};
use crate::simulator::state::World;

use super::altered;
use super::api::{self, Call, Places, Scene};
use super::body::{self, Body, FlushGate};
use super::datasets::{self, Account, Datasets, Received};
use super::faults::{Faults, What};
use super::host::{self, Asked};
use super::links::Links;
use super::plan::{HostOptions, JobPlan, SimulatorConfig};
use super::receive;
use super::reply::Reply;
use super::server::Service;

/// More than any training configuration has, and little enough to hold in memory.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// All that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) links: Links,
    pub(crate) faults: Faults,
    pub(crate) record: Record,
    pub(crate) host: HostOptions,
    pub(crate) datasets: Datasets,
    turn: u64,
}

/// What both servers share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) token: String,
    pub(crate) places: Places,
    pub(crate) habits: JobPlan,
    state: Mutex<State>,
}

/// One of the two servers.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) desk: Arc<Desk>,
    pub(crate) origin: Origin,
}

impl Desk {
    pub(crate) fn new(config: SimulatorConfig, places: Places) -> Arc<Self> {
        let SimulatorConfig { token, seed, host, submitted: habits, datasets, .. } = config;
        let state = State {
            world: World::new(seed),
            links: Links::new(seed),
            faults: Faults::default(),
            record: Record::default(),
            host,
            datasets: Datasets::new(seed, datasets),
            turn: 0,
        };
        Arc::new(Self { token, places, habits, state: Mutex::new(state) })
    }

    /// A test that fails while it holds the lock must not make the server fail too.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_api(&self, request: &Request<()>, body: &[u8], received: Option<&Received>) -> Reply {
        let expected = format!("Bearer {}", self.token);
        if header(request.headers(), "authorization").as_deref() != Some(expected.as_str()) {
            return api::unauthorized();
        }
        let call = Call { method: request.method().as_str(), path: request.uri().path(), body };
        let mut state = self.state();
        let State { world, links, host, datasets, .. } = &mut *state;
        let path = call.path.strip_prefix("/prod/v1").unwrap_or(call.path);
        if let Some(rest) = path.strip_prefix(datasets::PATH) {
            let account = Account { datasets, links, places: &self.places };
            return datasets::answer(&Call { path: rest, ..call }, received, account);
        }
        let mut scene = Scene { world, links, places: &self.places, host, habits: &self.habits };
        api::answer(&call, &mut scene)
    }

    async fn answer_artifact(
        &self,
        request: &Request<()>,
        received: Option<&Received>,
        what: Option<&What>,
    ) -> Reply {
        let headers = request.headers();
        let path = request.uri().path();
        if headers.contains_key("authorization") {
            return host::refuse_authorization();
        }
        if datasets::is_upload(false, request.method().as_str(), path) {
            let mut state = self.state();
            let State { links, datasets, .. } = &mut *state;
            let query = request.uri().query();
            let header = |name: &str| header(headers, name);
            return datasets::answer_signed(path, query, header, received, datasets, links);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return host::refuse_method();
        }
        let (view, options, turn) = {
            let mut state = self.state();
            if state.host.signed
                && let Err(bad) = state.links.check(path, request.uri().query())
            {
                return host::refuse_link(bad);
            }
            state.turn += 1;
            if matches!(what, Some(What::OtherBytes)) {
                state.world.remember_other(path);
            }
            (state.world.find(path), state.host.clone(), state.turn)
        };
        let Some(view) = view else { return host::not_found() };
        let asked = Asked {
            range: header(headers, "range"),
            if_range: header(headers, "if-range"),
            if_none_match: header(headers, "if-none-match"),
        };
        let what = what.cloned();
        let needs_digests = options.repr_digest
            || options.crc32c
            || options.linked_etag
            || options.validators == super::plan::Validators::Md5;
        let at_once = view.content.is_made() && !needs_digests && !matches!(what, Some(What::OtherBytes));
        // With one thread for everything, each waits for the others.
        if at_once || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return host::answer(&asked, view, &options, what.as_ref(), turn);
        }
        // Hashing a large file takes seconds; other connections must not wait for it.
        let answer = move || host::answer(&asked, view, &options, what.as_ref(), turn);
        tokio::task::spawn_blocking(answer).await.unwrap_or_else(|_| host::not_found())
    }
}

impl Service for Window {
    async fn call(&self, request: Request<Incoming>, gate: Arc<FlushGate>) -> io::Result<Response<Body>> {
        let (parts, incoming) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let is_upload =
            datasets::is_upload(self.origin == Origin::Api, request.method().as_str(), request.uri().path());
        let sent = if is_upload {
            self.receive(&request, incoming).await
        } else {
            Sent::Body(read_body(incoming).await)
        };
        self.answer(request, sent, Some(gate)).await
    }
}

/// What came with a request.
pub(crate) enum Sent {
    /// A body, unless it is too large or did not come whole.
    Body(Option<Bytes>),
    /// The bytes of a file, unless they did not come whole.
    Upload(Option<Received>),
    /// They were refused before they came.
    Refused(Reply),
}

impl Window {
    /// Takes the bytes of a file in, unless there are too many of them, or too many files at a time.
    async fn receive(&self, request: &Request<()>, mut incoming: Incoming) -> Sent {
        let headers = request.headers();
        let declared = header(headers, "content-length").and_then(|digits| digits.parse().ok());
        let is_form = self.origin == Origin::Api;
        let (latency, all) = {
            let mut state = self.desk.state();
            let Datasets { options, in_flight, received, .. } = &mut state.datasets;
            if is_form && declared.is_some_and(|declared| declared > options.form_limit) {
                return Sent::Refused(api::refusal(413, 41301, "the file is larger than 150 MB"));
            }
            let is_crowded = options.most_at_a_time.is_some_and(|most| *in_flight >= most);
            *in_flight += usize::from(!is_crowded);
            (options.latency, (!is_crowded).then(|| Arc::clone(received)))
        };
        let Some(all) = all else {
            // To its end, as real servers do: a connection that is closed before may lose the answer.
            while incoming.frame().await.is_some() {}
            return Sent::Refused(api::refusal(429, 42901, "too many uploads at a time"));
        };
        let counted = InFlight(Arc::clone(&self.desk));
        let received = match is_form {
            true => {
                let kind = header(headers, "content-type").unwrap_or_default();
                receive::form(&kind, declared, &all, incoming).await
            }
            false => receive::raw(declared, &all, incoming).await,
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        drop(counted);
        Sent::Upload(received)
    }

    /// Answers a request; `sent` is what came with it. An error means that the
    /// connection is dropped instead.
    pub(crate) async fn answer(
        &self,
        request: Request<()>,
        sent: Sent,
        gate: Option<Arc<FlushGate>>,
    ) -> io::Result<Response<Body>> {
        let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let (what, latency) = {
            let mut state = self.desk.state();
            let latency = match (self.origin, &sent) {
                (Origin::Artifacts, Sent::Body(_)) => state.host.latency,
                (Origin::Api, Sent::Body(_)) if target.contains(datasets::PATH) => {
                    state.datasets.options.latency
                }
                _ => std::time::Duration::ZERO,
            };
            (state.faults.take(&target), latency)
        };
        let body = match (self.origin, &sent) {
            (Origin::Api, Sent::Body(Some(sent))) => Some(String::from_utf8_lossy(sent).into_owned()),
            _ => None,
        };
        let body = body.unwrap_or_default();
        match &what {
            Some(What::Drop) => {
                self.desk.state().record.add(self.record(&request, body, 0));
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Some(What::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ if !latency.is_zero() => tokio::time::sleep(latency).await,
            _ => {}
        }
        let mut reply = match (&what, sent) {
            (Some(What::Answer { status, headers, body }), _) => Reply {
                status: *status,
                headers: headers.clone(),
                ..Reply::text(*status, "text/plain", body.clone())
            },
            (_, Sent::Body(None)) => api::refusal(413, 41351, "the body is too large or did not come whole"),
            (_, Sent::Refused(reply)) => reply,
            (_, Sent::Body(Some(sent))) => self.reply(&request, &sent, None, what.as_ref()).await,
            (_, Sent::Upload(received)) => self.reply(&request, &[], received.as_ref(), what.as_ref()).await,
        };
        if matches!(what, Some(What::DropAnswer)) {
            self.desk.state().record.add(self.record(&request, body, 0));
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Some(what) = &what {
            altered::alter(&mut reply, what);
            reply.spoil(what);
        }
        let meter = self.desk.state().record.add(self.record(&request, body, reply.status));
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(name, value);
        }
        if reply.manner.end_early.is_none() {
            let length = if reply.status == 304 { None } else { Some(reply.slice.length) };
            response = length
                .into_iter()
                .fold(response, |response, length| response.header("content-length", length.to_string()));
        }
        let body = if *request.method() == Method::HEAD || reply.slice.length == 0 {
            body::empty()
        } else {
            body::body(reply.slice, reply.manner, meter, gate)
        };
        // Only a fault with a header that is none can make this fail.
        response.body(body).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    async fn reply(
        &self,
        request: &Request<()>,
        body: &[u8],
        received: Option<&Received>,
        what: Option<&What>,
    ) -> Reply {
        match self.origin {
            Origin::Api => self.desk.answer_api(request, body, received),
            Origin::Artifacts => self.desk.answer_artifact(request, received, what).await,
        }
    }

    fn record(&self, request: &Request<()>, body: String, status: u16) -> RequestRecord {
        let headers = request.headers();
        let shown = headers.iter().map(|(name, value)| {
            let secret = name == "authorization";
            let value = if secret { String::new() } else { String::from_utf8_lossy(value.as_bytes()).into() };
            (name.to_string(), value)
        });
        RequestRecord {
            origin: self.origin,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            range: header(headers, "range"),
            had_authorization: headers.contains_key("authorization"),
            headers: shown.collect(),
            body,
            status,
            body_bytes: 0,
        }
    }
}

/// Counts an upload for as long as it lasts.
struct InFlight(Arc<Desk>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().datasets.in_flight -= 1;
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

async fn read_body(incoming: Incoming) -> Option<Bytes> {
    Limited::new(incoming, LARGEST_BODY).collect().await.ok().map(http_body_util::Collected::to_bytes)
}
