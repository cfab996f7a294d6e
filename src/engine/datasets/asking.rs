//! Requests that may be repeated: tried again while that may help.

use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::backoff::Backoff;
use crate::edge::api::ApiClient;
use crate::engine::stop::Stop;
use crate::error::ApiError;

use super::event::{PushEvent, PushReporter, RetriedPush};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tries before a command gives up: about four seconds, as for jobs.
const TRIES: u32 = 4;

/// How long an API that does not answer is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// A few tries.
    Short,
    /// Until then.
    Until(Instant),
}

/// Asks, reports waits, and ends when it is stopped: `None` then.
pub(super) async fn ask<T, W>(
    reporter: &dyn PushReporter,
    stop: &Stop,
    patience: Patience,
    request: impl Fn() -> W,
) -> Result<Option<T>, ApiError>
where
    W: Future<Output = Result<T, ApiError>>,
{
    let mut backoff = Backoff::new(fastrand::u64(..), FIRST_WAIT, LONGEST_WAIT);
    let mut tries = 0;
    loop {
        let Some(answer) = stop.token().run_until_cancelled(request()).await else { return Ok(None) };
        let fault = match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(fault) => fault,
        };
        tries += 1;
        let asked = fault.retry_after();
        let wait = backoff.next(asked);
        let gives_up = match patience {
            Patience::Short => tries >= TRIES || asked.is_some_and(|wait| wait > LONGEST_WAIT),
            Patience::Until(end) => Instant::now() + wait >= end,
        };
        if gives_up || !fault.is_transient() {
            return Err(fault);
        }
        reporter.report(&PushEvent::Retrying { path: None, cause: RetriedPush::after(fault), wait });
        if stop.token().run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return Ok(None);
        }
    }
}

/// Reads for a command that has no events: a single fault is no reason to give up.
///
/// # Errors
/// What the API answered last.
pub async fn read<T, W>(
    api: &ApiClient,
    stop: &Stop,
    request: impl Fn(ApiClient) -> W,
) -> Result<Option<T>, ApiError>
where
    W: Future<Output = Result<T, ApiError>>,
{
    ask(&Silent, stop, Patience::Short, || request(api.clone())).await
}

/// Takes events and drops them.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl PushReporter for Silent {
    fn report(&self, _: &PushEvent) {}
}
