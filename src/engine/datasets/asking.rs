//! Requests that may be repeated: tried again while that may help.

use crate::decide::transfer::backoff::Policy;
use crate::edge::api::ApiClient;
use crate::engine::retry::{SHORT, api_again, retry};
use crate::engine::stop::Stop;
use crate::error::ApiError;

use super::event::{PushEvent, PushReporter, RetriedPush};

/// Asks, reports waits, and ends when it is stopped: `None` then.
pub(super) async fn ask<T, W>(
    reporter: &dyn PushReporter,
    stop: &Stop,
    policy: Policy,
    request: impl FnMut() -> W,
) -> Result<Option<T>, ApiError>
where
    W: Future<Output = Result<T, ApiError>>,
{
    let asking = retry(policy, request, api_again, |fault, wait| {
        reporter.report(&PushEvent::Retrying { path: None, cause: RetriedPush::after(fault.clone()), wait });
    });
    stop.token().run_until_cancelled(asking).await.transpose()
}

/// Reads for a command that has no events: a single fault is no reason to give up.
///
/// # Errors
/// What the API answered last.
pub(crate) async fn read<T, W>(
    api: &ApiClient,
    stop: &Stop,
    request: impl Fn(ApiClient) -> W,
) -> Result<Option<T>, ApiError>
where
    W: Future<Output = Result<T, ApiError>>,
{
    ask(&Silent, stop, SHORT, || request(api.clone())).await
}

/// Takes events and drops them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silent;

impl PushReporter for Silent {
    fn report(&self, _: &PushEvent) {}
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::error::ExitStatus;
    use crate::model::transport_fault::TransportFault;

    #[derive(Default)]
    struct Waits(Mutex<Vec<Duration>>);

    impl PushReporter for Waits {
        fn report(&self, event: &PushEvent) {
            let PushEvent::Retrying { wait, .. } = event else { panic!("{event:?}") };
            self.0.lock().unwrap().push(*wait);
        }
    }

    fn away() -> ApiError {
        ApiError::Unreachable { origin: "https://api".to_owned(), cause: TransportFault::NoRoute }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_is_away_is_asked_until_the_deadline_and_each_wait_is_reported() {
        let (began, waits) = (Instant::now(), Waits::default());
        let policy = SHORT.within(Duration::from_secs(30 * 60));
        let asked = ask(&waits, &Stop::new(), policy, || ready(Err::<(), _>(away()))).await;
        assert_eq!(asked, Err(away()));
        let waits = waits.0.into_inner().unwrap();
        assert!(waits.len() > 25, "{} waits", waits.len());
        let (elapsed, waited) = (began.elapsed(), waits.iter().sum::<Duration>());
        assert!(elapsed >= waited && elapsed < waited + Duration::from_secs(1), "{elapsed:?}, {waited:?}");
        assert!((29 * 60..30 * 60).contains(&elapsed.as_secs()), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_asks_four_times_and_not_again_after_a_refusal() {
        for (fault, most) in [(away(), 3), (ApiError::NoToken, 0)] {
            let waits = Waits::default();
            let asked = ask(&waits, &Stop::new(), SHORT, || ready(Err::<(), _>(fault.clone()))).await;
            assert_eq!((asked, waits.0.into_inner().unwrap().len()), (Err(fault), most));
        }
    }

    /// Asks and uses the stop after a while; the test's limit keeps a request that is not ended from hanging it.
    async fn asked_and_stopped<W>(waits: &Waits, request: impl FnMut() -> W) -> Result<Option<()>, ApiError>
    where
        W: Future<Output = Result<(), ApiError>>,
    {
        let stop = Stop::new();
        let stops = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.stop(ExitStatus::Interrupted);
        };
        let asking = ask(waits, &stop, SHORT, request);
        let both = async { tokio::join!(asking, stops).0 };
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("it ends")
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_request_and_a_wait() {
        let waits = Waits::default();
        assert_eq!(asked_and_stopped(&waits, pending).await, Ok(None));
        assert_eq!(asked_and_stopped(&waits, || ready(Err(away()))).await, Ok(None));
        assert_eq!(waits.0.into_inner().unwrap().len(), 1, "the wait that was stopped");
    }
}
