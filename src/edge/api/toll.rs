//! A wire whose requests wait until they may be sent, and whose refusals hold back all of them: one budget for many jobs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use reqwest::{Request, Response, StatusCode};

use crate::edge::net::retry_after::{answered_at, asked_wait};
use crate::edge::net::wire::Wire;

/// Decides when a request may go.
pub(crate) trait Toll: fmt::Debug + Send + Sync {
    /// Returns when a request may go. Those that wait go in the order in which they came.
    fn pass(&self) -> BoxFuture<'_, Passed>;

    /// A request that passed was answered: this and later ones are too many.
    fn too_many(&self, passed: Passed, wait: Option<Duration>);

    /// A request was answered with the wish to be left alone for this long.
    fn pause(&self, wait: Duration);

    /// A request was answered when the server's clock showed this.
    fn dated(&self, _date: SystemTime) {}
}

/// When a request went, as the toll counts time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed(pub(crate) Duration);

/// A wire behind a toll.
#[derive(Debug)]
pub(crate) struct Tolled {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) toll: Arc<dyn Toll>,
}

impl Wire for Tolled {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>> {
        Box::pin(async {
            let passed = self.toll.pass().await;
            let answer = self.wire.carry(request).await;
            if let Ok(response) = &answer {
                self.learn(passed, response);
            }
            answer
        })
    }
}

impl Tolled {
    fn learn(&self, passed: Passed, response: &Response) {
        if let Some(date) = answered_at(response.headers()) {
            self.toll.dated(date);
        }
        match (response.status(), asked_wait(response.headers())) {
            (StatusCode::TOO_MANY_REQUESTS, wait) => self.toll.too_many(passed, wait),
            (status, Some(wait)) if status.is_server_error() => self.toll.pause(wait),
            _ => {}
        }
    }
}
