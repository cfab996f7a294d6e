//! Many small files on a far host, in virtual time: how many connections there are, and what a host that refuses a crowd
//! makes of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
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
use crate::simulator::{HostOptions, JobPlan, Origin, Simulator, SimulatorConfig};

use super::life::hosts;
use super::wire::{Line, refused};

/// A line that counts requests under way, and refuses those beyond a limit.
#[derive(Debug)]
struct Crowd {
    line: Arc<Line>,
    limit: usize,
    open: AtomicUsize,
    peak: AtomicUsize,
    requests: AtomicUsize,
    refusals: AtomicUsize,
}

impl Wire for Crowd {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>> {
        Box::pin(async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
            self.peak.fetch_max(open, Ordering::Relaxed);
            let answer = if open > self.limit {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                Err(refused().await)
            } else {
                self.line.carry(request).await
            };
            self.open.fetch_sub(1, Ordering::Relaxed);
            answer
        })
    }
}

/// How one mirror of many small files went.
struct Outcome {
    exit: ExitStatus,
    files: usize,
    failed: usize,
    peak: usize,
    requests: usize,
    refusals: usize,
    took: Duration,
}

fn mirror(latency: Duration, limit: usize, cap: Option<u16>) -> Outcome {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let host = HostOptions { latency, ..HostOptions::default() };
        let token = super::TOKEN.to_owned();
        let world =
            Arc::new(Simulator::unconnected(SimulatorConfig { host, token, ..SimulatorConfig::default() }));
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
        let silence = Duration::from_secs(10);
        let line = |origin| Line::new(world.clone(), origin, silence, 7);
        let crowd = Arc::new(Crowd {
            line: line(Origin::Artifacts),
            limit,
            open: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
        });
        let base = world.api_base().parse().unwrap();
        let api = ApiClient::new(base, TokenSource::fixed(super::TOKEN), Limits::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = SyncOptions {
            once: true,
            connections: cap.and_then(std::num::NonZeroU16::new),
            stall_timeout: silence,
            allow_private_hosts: true,
            ..SyncOptions::default()
        };
        let mirror = Mirror {
            api: api.over(line(Origin::Api)),
            job,
            dir: dir.path().to_owned(),
            options,
            followers: Vec::new(),
            fleet: None,
        };
        let seen = Arc::new(Mutex::new((0, 0)));
        let counting = seen.clone();
        let reporter = move |event: &Event| {
            let mut seen = counting.lock().unwrap();
            match event {
                Event::Published { .. } => seen.0 += 1,
                Event::Failed { .. } => seen.1 += 1,
                _ => {}
            }
        };
        let began = Instant::now();
        let hosts = hosts(silence).unwrap().over(crowd.clone());
        let exit = mirror.run_with(hosts, Arc::new(reporter), Stop::new()).await.unwrap();
        let (files, failed) = *seen.lock().unwrap();
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Outcome {
            exit,
            files,
            failed,
            peak: count(&crowd.peak),
            requests: count(&crowd.requests),
            refusals: count(&crowd.refusals),
            took: began.elapsed(),
        }
    })
}

#[test]
fn a_far_host_gets_connections_by_what_waits_and_a_request_a_file() {
    let far = mirror(Duration::from_millis(100), usize::MAX, None);
    assert_eq!((far.exit, far.failed), (ExitStatus::Complete, 0));
    assert!(far.files > 400, "{} files", far.files);
    assert_eq!(far.requests, far.files, "a request a file");
    assert!((40..=96).contains(&far.peak), "{} at once", far.peak);
    let few = mirror(Duration::from_millis(100), usize::MAX, Some(8));
    assert!(few.peak <= 8, "{} at once", few.peak);
    assert!(far.took * 3 < few.took, "{:?}, and {:?} with eight connections", far.took, few.took);
}

#[test]
fn a_host_that_refuses_the_seventeenth_connection_fails_no_file() {
    let outcome = mirror(Duration::from_millis(100), 16, None);
    assert_eq!((outcome.exit, outcome.failed), (ExitStatus::Complete, 0));
    assert!(outcome.refusals > 0, "it was never asked by a crowd");
    let most = outcome.files / 2;
    assert!(outcome.refusals < most, "{} refusals for {} files", outcome.refusals, outcome.files);
}
