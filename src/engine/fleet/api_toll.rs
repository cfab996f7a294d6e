//! The API budget of a fleet: requests wait in the order in which they came, and `decide::fleet::api_rate` lets them go.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::decide::fleet::api_rate::ApiRate;
use crate::edge::api::toll::{Passed, Toll};

/// One budget for all requests of a fleet.
#[derive(Debug)]
pub(crate) struct ApiToll {
    began: Instant,
    rate: Mutex<ApiRate>,
    /// Held by the request that goes next.
    queue: tokio::sync::Mutex<()>,
}

impl ApiToll {
    /// Lets `a_second` requests pass in a second.
    pub(crate) fn new(a_second: f64) -> Self {
        let rate = Mutex::new(ApiRate::new(a_second));
        Self { began: Instant::now(), rate, queue: tokio::sync::Mutex::new(()) }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn rate(&self) -> MutexGuard<'_, ApiRate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Toll for ApiToll {
    fn pass(&self) -> BoxFuture<'_, Passed> {
        Box::pin(async {
            let _next = self.queue.lock().await;
            loop {
                let now = self.now();
                let taken = self.rate().take(now);
                match taken {
                    Ok(()) => return Passed(now),
                    Err(wait) => tokio::time::sleep(wait).await,
                }
            }
        })
    }

    fn too_many(&self, passed: Passed, wait: Option<Duration>) {
        self.rate().refused(self.now(), passed.0, wait);
    }

    fn pause(&self, wait: Duration) {
        self.rate().pause(self.now(), wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wish_to_wait_holds_up_those_that_wait_already() {
        let toll = std::sync::Arc::new(ApiToll::new(10.0));
        let passed = toll.pass().await;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let toll = toll.clone();
                tokio::spawn(async move { toll.pass().await.0 })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        toll.too_many(passed, Some(Duration::from_secs(7)));
        let mut times = Vec::new();
        for task in waiting {
            times.push(task.await.unwrap().as_millis());
        }
        // At half the rate from then on.
        assert!((7050..7100).contains(&times[0]), "{times:?}");
        assert!((190..=210).contains(&(times[1] - times[0])), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_leaves_the_queue_holds_up_no_other() {
        let toll = ApiToll::new(1.0);
        toll.pass().await;
        assert!(tokio::time::timeout(Duration::from_millis(100), toll.pass()).await.is_err());
        assert_eq!(toll.pass().await.0.as_millis(), 1000);
    }
}
