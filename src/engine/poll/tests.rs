use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use reqwest::{Request, Response};
use tokio::time::Instant;

use crate::edge::api::Limits;
use crate::edge::api::token::TokenSource;
use crate::edge::net::wire::Wire;
use crate::simulation::TOKEN;
use crate::simulation::wire::Line;
use crate::simulator::{Fault, JobPlan, Origin, Simulator, SimulatorConfig, What};

use super::*;

/// A line that takes down when each request was under way.
#[derive(Debug)]
struct Watched {
    line: Arc<Line>,
    spans: Mutex<Vec<(String, Instant, Instant)>>,
}

impl Wire for Watched {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>> {
        Box::pin(async move {
            let verb = request.url().path().rsplit('/').next().unwrap_or_default().to_owned();
            let began = Instant::now();
            let answer = self.line.carry(request).await;
            self.spans.lock().unwrap().push((verb, began, Instant::now()));
            answer
        })
    }
}

/// A job that has ended, and a client of its API.
struct Bench {
    world: Arc<Simulator>,
    wire: Arc<Watched>,
    api: ApiClient,
    job: JobId,
}

impl Bench {
    fn new() -> Self {
        let world = Arc::new(Simulator::unconnected(SimulatorConfig {
            token: TOKEN.to_owned(),
            ..SimulatorConfig::default()
        }));
        let plan = JobPlan {
            steps: 4,
            save_every: 2,
            checkpoint_bytes: 4000,
            picture_side: 8,
            ..JobPlan::default()
        };
        let job = world.add_job(plan);
        world.finish(&job);
        let line = Line::new(world.clone(), Origin::Api, Duration::from_secs(10), 7);
        let wire = Arc::new(Watched { line, spans: Mutex::default() });
        let base = world.api_base().parse().unwrap();
        let api = ApiClient::new(base, TokenSource::fixed(TOKEN), Limits::default()).unwrap();
        Self { api: api.over(wire.clone()), world, wire, job }
    }

    async fn ask(&self) -> Result<JobSnapshot, ApiError> {
        ask(&self.api, &self.job).await
    }

    /// Returns what was asked for, in the order of the ends.
    fn asked(&self) -> Vec<String> {
        self.wire.spans.lock().unwrap().iter().map(|(verb, ..)| verb.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn status_and_result_are_under_way_together() {
    let bench = Bench::new();
    let snapshot = bench.ask().await.unwrap();
    assert!(!snapshot.status.status.may_write() && !snapshot.result.artifacts.is_empty());
    let spans = bench.wire.spans.lock().unwrap();
    let [(first, one_began, one_ended), (second, other_began, other_ended)] = &spans[..] else {
        panic!("two requests and no more: {spans:?}")
    };
    assert_ne!(first, second);
    assert!(one_began < other_ended && other_began < one_ended, "{spans:?}");
}

/// A result without the final save is replaced by one that is asked for after the end.
#[tokio::test(start_paused = true)]
async fn a_result_that_lags_behind_its_status_is_asked_for_once_more() {
    let bench = Bench::new();
    let whole = bench.ask().await.unwrap().result.artifacts.len();
    bench.wire.spans.lock().unwrap().clear();
    bench.world.fault(Fault::once("/result", What::LaggingResult));
    let snapshot = bench.ask().await.unwrap();
    assert_eq!(snapshot.result.artifacts.len(), whole);
    let mut asked = bench.asked();
    asked.sort();
    assert_eq!(asked, ["result", "result", "status"]);
    bench.wire.spans.lock().unwrap().clear();
    bench.world.fault(Fault::always("/result", What::LaggingResult));
    let snapshot = bench.ask().await.unwrap();
    assert_eq!((snapshot.result.artifacts.len(), bench.asked().len()), (whole - 1, 3), "once, not for ever");
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_status_is_the_fault_of_the_poll() {
    for slow in ["/status", "/result"] {
        let bench = Bench::new();
        bench.world.fault(Fault::once("/status", What::status(503)));
        bench.world.fault(Fault::once("/result", What::status(500)));
        bench.world.fault(Fault::once(slow, What::Delay(Duration::from_secs(1))));
        let fault = bench.ask().await.unwrap_err();
        assert!(fault.to_string().contains("503"), "{fault}");
    }
    let bench = Bench::new();
    bench.world.fault(Fault::once("/result", What::status(500)));
    let fault = bench.ask().await.unwrap_err();
    assert!(fault.to_string().contains("500"), "{fault}");
}

/// Answers that come packed count as they are, and one that unpacks to more than any answer may have is refused.
#[tokio::test(start_paused = true)]
async fn packed_answers_are_unpacked_and_a_bomb_is_not() {
    let bench = Bench::new();
    let plain = bench.ask().await.unwrap();
    bench.world.fault(Fault::always("", What::Gzip));
    let packed = bench.ask().await.unwrap();
    assert_eq!((packed.status, packed.result.artifacts.len()), (plain.status, plain.result.artifacts.len()));
    bench.world.clear_faults();
    bench.world.fault(Fault::once("/result", What::GzipBomb(65)));
    let fault = bench.ask().await.unwrap_err();
    assert!(fault.to_string().contains("longer than"), "{fault}");
}
