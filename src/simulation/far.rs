//! Hosts that are far, crowded or uneven, in virtual time: how many connections there are and when, how many requests a
//! file takes, and what a host that refuses, resets, queues, throttles or pauses makes of that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use reqwest::{Request, Response};
use tokio::time::Instant;

use crate::edge::api::token::TokenSource;
use crate::edge::api::{ApiClient, Limits};
use crate::edge::net::wire::Wire;
use crate::engine::event::Event;
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::stop::Stop;
use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::simulator::{
    Fault, HostOptions, JobPlan, Origin, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob, What,
};

use super::stage::hosts;
use super::universe::SMALL_PORTIONS;
use super::wire::{Line, refused};

/// How a host treats a crowd of connections, or some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Even,
    /// Each connection beyond so many is refused.
    Refuses(usize),
    /// Each response beyond so many at a time breaks in the middle.
    Resets(usize),
    /// Each request beyond so many at a time is answered with this status.
    Answers(usize, u16),
    /// Requests wait for each other: with more than so many, heads come later by as much as there are more.
    Queues(usize),
    /// Each body pauses for 300 ms, again and again.
    Pauses,
    /// The response to the request of this number stays silent after its head.
    Stalls(usize),
}

/// A line with a manner, which takes down how many requests are under way.
#[derive(Debug)]
struct Crowd {
    line: Arc<Line>,
    manner: Manner,
    began: Instant,
    open: Arc<AtomicUsize>,
    requests: AtomicUsize,
    refusals: AtomicUsize,
    bytes: Arc<AtomicUsize>,
    /// How many requests were under way, each time that one more was.
    counts: Mutex<Vec<(Duration, usize)>>,
}

/// A request under way, from its first byte to the last one of its response.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crowd {
    async fn answer(&self, request: Request) -> reqwest::Result<Response> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let counted = Open(self.open.clone());
        self.counts.lock().unwrap().push((self.began.elapsed(), open));
        let is_beyond = |limit: usize| {
            let is_beyond = open > limit;
            self.refusals.fetch_add(usize::from(is_beyond), Ordering::Relaxed);
            is_beyond
        };
        match self.manner {
            Manner::Refuses(limit) if is_beyond(limit) => return Err(refused().await),
            Manner::Answers(limit, status) if is_beyond(limit) => {
                let head = hyper::Response::builder().status(status).header("retry-after", "1");
                return Ok(head.body(reqwest::Body::from("")).unwrap().into());
            }
            Manner::Queues(limit) => {
                let later = u32::try_from(open.saturating_sub(limit)).unwrap_or(u32::MAX);
                tokio::time::sleep(Duration::from_millis(10) * later).await;
            }
            _ => {}
        }
        let breaks = matches!(self.manner, Manner::Resets(limit) if is_beyond(limit));
        let (head, body) = hyper::Response::from(self.line.carry(request).await?).into_parts();
        let (manner, received) = (self.manner, self.bytes.clone());
        let frames = body.into_data_stream().enumerate().then(move |(index, bytes)| {
            let _ = &counted;
            let received = received.clone();
            async move {
                match manner {
                    Manner::Stalls(stalled) if number == stalled => std::future::pending::<()>().await,
                    Manner::Pauses if index % 4 == 3 => tokio::time::sleep(Duration::from_millis(300)).await,
                    _ => {}
                }
                let bytes = bytes.map_err(io::Error::other)?;
                received.fetch_add(bytes.len(), Ordering::Relaxed);
                Ok::<Bytes, io::Error>(bytes)
            }
        });
        let body = if breaks {
            let broken = stream::once(async { Err(io::Error::from(io::ErrorKind::ConnectionReset)) });
            let first = frames.map(|bytes| bytes.map(|bytes| bytes.slice(..bytes.len() / 2))).take(1);
            reqwest::Body::wrap_stream(first.chain(broken))
        } else {
            reqwest::Body::wrap_stream(frames)
        };
        Ok(hyper::Response::from_parts(head, body).into())
    }
}

impl Wire for Crowd {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>> {
        Box::pin(self.answer(request))
    }
}

/// What is mirrored, from which host.
struct Scene {
    host: HostOptions,
    manner: Manner,
    cap: Option<u16>,
    files: Files,
    fault: Option<Fault>,
}

#[derive(Clone, Copy)]
enum Files {
    /// Some 480 of a few hundred bytes.
    Small,
    /// So many of so many bytes.
    Large(u64, u64),
}

impl Scene {
    fn far(manner: Manner) -> Self {
        let host = HostOptions { latency: Duration::from_millis(100), ..HostOptions::default() };
        Self { host, manner, cap: None, files: Files::Small, fault: None }
    }

    fn near(manner: Manner, files: Files) -> Self {
        Self { host: HostOptions::default(), files, ..Self::far(manner) }
    }
}

/// How one mirror went.
struct Outcome {
    exit: ExitStatus,
    files: usize,
    failed: usize,
    /// What the mirror counted as received.
    bytes: u64,
    requests: usize,
    api_requests: u64,
    refusals: usize,
    /// Bytes that arrived.
    arrived: usize,
    counts: Vec<(Duration, usize)>,
    took: Duration,
}

impl Outcome {
    fn peak(&self) -> usize {
        self.peak_since(Duration::ZERO)
    }

    /// Returns the most requests at a time in what is left of the run after this long.
    fn peak_since(&self, since: Duration) -> usize {
        self.counts.iter().filter(|(at, _)| *at >= since).map(|(_, count)| *count).max().unwrap_or(0)
    }

    fn assert_whole(&self) {
        assert_eq!((self.exit, self.failed), (ExitStatus::Complete, 0), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exit, files, failed, requests, refusals, took, counts, .. } = self;
        write!(
            f,
            "{exit:?}: {files} files, {failed} failed, {requests} requests, {refusals} refused, {took:?}; "
        )?;
        let mut samples = counts.iter().step_by(counts.len().div_ceil(40).max(1));
        samples.try_for_each(|(at, count)| write!(f, "{}:{count} ", at.as_millis()))
    }
}

fn job(world: &Simulator, files: Files) -> crate::model::job::JobId {
    match files {
        Files::Small => {
            let prompts = (0..4).map(|number| format!("prompt {number}")).collect();
            let job = world.add_job(JobPlan {
                steps: 120,
                save_every: 0,
                sample_every: 1,
                prompts,
                checkpoint_bytes: 4000,
                picture_side: 8,
                ..JobPlan::default()
            });
            world.finish(&job);
            job
        }
        Files::Large(count, bytes) => {
            let file = |step: u64| {
                let hash = crate::simulator::TrainerHash::Right;
                let bytes = StaticBytes::Weights { bytes, step, hash };
                let name = if step == 0 {
                    "static.safetensors".to_owned()
                } else {
                    format!("static_{step:09}.safetensors")
                };
                StaticFile::new(ArtifactKind::Checkpoint, name, bytes)
            };
            world.add_static_job(StaticJob { files: (0..count).map(file).collect(), ..StaticJob::default() })
        }
    }
}

fn mirror(scene: Scene) -> Outcome {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let Scene { host, manner, cap, files, fault } = scene;
        let token = super::TOKEN.to_owned();
        let world =
            Arc::new(Simulator::unconnected(SimulatorConfig { host, token, ..SimulatorConfig::default() }));
        let job = job(&world, files);
        fault.into_iter().for_each(|fault| world.fault(fault));
        let silence = Duration::from_secs(10);
        let line = |origin| Line::new(world.clone(), origin, silence, 7);
        let crowd = Arc::new(Crowd {
            line: line(Origin::Artifacts),
            manner,
            began: Instant::now(),
            open: Arc::default(),
            requests: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            bytes: Arc::default(),
            counts: Mutex::default(),
        });
        let base = world.api_base().parse().unwrap();
        let api = ApiClient::new(base, TokenSource::fixed(super::TOKEN), Limits::default()).unwrap();
        let api_line = line(Origin::Api);
        let dir = tempfile::tempdir().unwrap();
        let options = SyncOptions {
            once: true,
            connections: cap.and_then(std::num::NonZeroU16::new),
            stall_timeout: silence,
            allow_private_hosts: true,
            portions: SMALL_PORTIONS,
            ..SyncOptions::default()
        };
        let mirror = Mirror {
            api: api.over(api_line.clone()),
            job,
            dir: dir.path().to_owned(),
            options,
            followers: Vec::new(),
            fleet: None,
        };
        let seen = Arc::new(Mutex::new((0, 0, 0)));
        let counting = seen.clone();
        let reporter = move |event: &Event| {
            let mut seen = counting.lock().unwrap();
            match event {
                Event::Published { .. } => seen.0 += 1,
                Event::Failed { .. } => seen.1 += 1,
                Event::Done { bytes, .. } => seen.2 = *bytes,
                _ => {}
            }
        };
        let began = Instant::now();
        let hosts = hosts(silence).unwrap().over(crowd.clone());
        let exit = mirror.run_with(hosts, Arc::new(reporter), Stop::new()).await.unwrap();
        let (files, failed, bytes) = *seen.lock().unwrap();
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Outcome {
            exit,
            files,
            failed,
            bytes,
            requests: count(&crowd.requests),
            api_requests: api_line.carried.load(Ordering::Relaxed),
            refusals: count(&crowd.refusals),
            arrived: count(&crowd.bytes),
            counts: std::mem::take(&mut crowd.counts.lock().unwrap()),
            took: began.elapsed(),
        }
    })
}

#[test]
fn a_far_host_gets_connections_by_what_waits_and_a_request_a_file() {
    let far = mirror(Scene::far(Manner::Even));
    far.assert_whole();
    assert!(far.files > 400, "{far}");
    assert_eq!(
        (far.requests, far.api_requests),
        (far.files, 2),
        "a request a file, and one for status and result each"
    );
    assert!((40..=96).contains(&far.peak()), "{far}");
    // All of them in one step: most of the peak is there a round trip after the first response.
    let first = far.counts[0].0;
    let early = far.counts.iter().filter(|(at, _)| *at < first + Duration::from_millis(400));
    assert!(early.map(|(_, count)| *count).max().unwrap() * 3 >= far.peak() * 2, "{far}");
    let few = mirror(Scene { cap: Some(8), ..Scene::far(Manner::Even) });
    assert!(few.peak() <= 8, "{few}");
    assert!(far.took * 3 < few.took, "{:?}, and {:?} with eight connections", far.took, few.took);
}

/// Each way to refuse a crowd costs no file, and the count comes down to what the host serves.
#[test]
fn a_host_that_serves_sixteen_at_a_time_fails_no_file() {
    for manner in
        [Manner::Refuses(16), Manner::Resets(16), Manner::Answers(16, 503), Manner::Answers(16, 429)]
    {
        let outcome = mirror(Scene::far(manner));
        outcome.assert_whole();
        assert!(outcome.refusals > 0, "{manner:?} was never asked by a crowd: {outcome}");
        let most = outcome.files / 2;
        assert!(outcome.refusals < most, "{manner:?}: {outcome}");
        let last_half = outcome.counts[0].0 + outcome.took / 2;
        assert!(outcome.peak() > 16 && outcome.peak_since(last_half) <= 32, "{manner:?}: {outcome}");
    }
}

/// A queue on the way makes every request wait: the count halves, and nothing fails.
#[test]
fn a_queue_that_overflows_gets_half_of_the_connections() {
    let outcome = mirror(Scene::far(Manner::Queues(24)));
    outcome.assert_whole();
    let last_half = outcome.took / 2;
    assert!(outcome.peak() > 48 && outcome.peak_since(last_half) <= 48, "{outcome}");
    assert_eq!(outcome.requests, outcome.files, "{outcome}");
}

/// A host that throttles each connection is worth many of them: the link must not look fast.
#[test]
fn a_host_that_throttles_each_connection_gets_many() {
    let throttled = |cap| {
        let mut scene = Scene::near(Manner::Even, Files::Large(4, 1 << 19));
        scene.host.throttle = Some(20_000);
        scene.cap = cap;
        mirror(scene)
    };
    let (many, few) = (throttled(None), throttled(Some(4)));
    many.assert_whole();
    assert!(many.peak() >= 24, "{many}");
    assert!(many.took * 3 < few.took, "{:?}, and {:?} with four connections", many.took, few.took);
}

/// Pauses of every connection cost no file, and few bytes come twice.
#[test]
fn pauses_cost_no_file_and_few_bytes() {
    let outcome = mirror(Scene::near(Manner::Pauses, Files::Large(3, 1 << 19)));
    outcome.assert_whole();
    let whole = outcome.bytes;
    assert!(outcome.arrived as u64 <= whole + whole / 4, "{} bytes for {whole}: {outcome}", outcome.arrived);
}

/// A connection that falls silent at the end of the work is raced by another: the file is whole long before anything times
/// out, and its bytes count once.
#[test]
fn a_straggler_is_raced_and_no_byte_counts_twice() {
    let scene = |manner| Scene::near(manner, Files::Large(1, 1 << 20));
    let even = mirror(scene(Manner::Even));
    even.assert_whole();
    for number in [1, even.requests / 2, even.requests - 1] {
        let stalled = mirror(scene(Manner::Stalls(number)));
        stalled.assert_whole();
        assert_eq!(stalled.bytes, even.bytes, "number {number}: {stalled}");
        assert!(stalled.took < even.took + Duration::from_millis(1500), "number {number}: {stalled}, {even}");
    }
}

/// The result that comes with a finished status may be older than the end: it is asked for again in the same pass.
#[test]
fn a_result_that_lags_behind_its_status_costs_no_file() {
    let lagging = Some(Fault::once("/result", What::LaggingResult));
    let files = Files::Large(3, 10_000);
    let outcome = mirror(Scene { fault: lagging, ..Scene::near(Manner::Even, files) });
    outcome.assert_whole();
    assert_eq!((outcome.files, outcome.api_requests), (3, 3), "{outcome}");
}

/// A bomb is refused by its unpacked bytes, and the next answer is taken.
#[test]
fn a_gzip_bomb_as_an_answer_is_asked_for_again() {
    let bomb = Some(Fault::once("/result", What::GzipBomb(65)));
    let outcome = mirror(Scene { fault: bomb, ..Scene::near(Manner::Even, Files::Large(1, 10_000)) });
    outcome.assert_whole();
    assert_eq!(outcome.api_requests, 4, "{outcome}");
}
