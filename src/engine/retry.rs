//! Trying again: the one loop around what may fail for a moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::decide::transfer::backoff::{Policy, Tries};
use crate::error::ApiError;

/// The patience of a single pass, of the first poll of all, and of a command that only reads: about four seconds.
pub(crate) const SHORT: Policy = Policy::patient(4, Duration::from_millis(500), Duration::from_secs(60));

/// How long the store of a bucket that does not answer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// As often as a command that only reads asks the API: a user waits for the answer.
    Short,
    /// As long as a single pass has patience.
    Pass,
    /// For ever: the training continues meanwhile.
    Endless,
}

/// What an error means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The next try would end like this one.
    Never,
    /// It may succeed, not before this wait where the other side asked for one.
    After(Option<Duration>),
}

/// What the API's error means for the same question.
pub(crate) fn api_again(fault: &ApiError) -> Again {
    if fault.is_transient() { Again::After(fault.retry_after()) } else { Again::Never }
}

/// Does `work` until it succeeds, its error is final, or the policy is used up; returns the last outcome. `waits` gets each
/// error that is followed by a wait. Dropping the future ends it, also during a wait.
pub(crate) async fn retry<T, E, W>(
    policy: Policy,
    mut work: impl FnMut() -> W,
    again: impl Fn(&E) -> Again,
    mut waits: impl FnMut(&E, Duration),
) -> Result<T, E>
where
    W: Future<Output = Result<T, E>>,
{
    let mut tries = Tries::new(policy, fastrand::u64(..));
    let began = Instant::now();
    loop {
        let error = match work().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let wait = match again(&error) {
            Again::Never => None,
            Again::After(asked) => tries.next_wait(began.elapsed(), asked),
        };
        let Some(wait) = wait else { return Err(error) };
        waits(&error, wait);
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Runs work that fails `failures` times; returns its outcome, how often it ran, and how long it took.
    async fn run(policy: Policy, failures: u32, again: Again) -> (Result<u32, u32>, u32, Duration) {
        let (began, ran) = (Instant::now(), Cell::new(0));
        let work = || {
            ran.set(ran.get() + 1);
            std::future::ready(if ran.get() > failures { Ok(ran.get()) } else { Err(ran.get()) })
        };
        let heard = Cell::new(0);
        let outcome = retry(policy, work, |_| again, |_, _| heard.set(heard.get() + 1)).await;
        assert_eq!(heard.get() + 1, ran.get(), "each try but the last is followed by a wait");
        (outcome, ran.get(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_ridden_out_and_what_stays_is_returned() {
        let soon = Again::After(None);
        assert_eq!(run(SHORT, 1, soon).await.0, Ok(2));
        assert_eq!(run(SHORT, 3, soon).await.0, Ok(4));
        let (outcome, ran, took) = run(SHORT, 9, soon).await;
        assert_eq!((outcome, ran), (Err(4), 4));
        assert!(took >= Duration::from_millis(1750) && took <= Duration::from_millis(3510), "{took:?}");
        assert_eq!(run(SHORT, 9, Again::Never).await.1, 1);
        assert_eq!(run(SHORT.endless(), 100, soon).await.0, Ok(101));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_asked_for_is_kept_where_it_is_short_enough() {
        let asked = |seconds| Again::After(Some(Duration::from_secs(seconds)));
        let (outcome, _, took) = run(SHORT, 1, asked(7)).await;
        assert_eq!(outcome, Ok(2));
        assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(9), "{took:?}");
        assert_eq!(run(SHORT, 1, asked(61)).await.1, 1, "longer than a person waits");
        assert_eq!(run(SHORT.endless(), 1, asked(61)).await.1, 2, "no limit to the patience");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_the_tries_before_a_wait_that_would_last_until_then() {
        let policy = SHORT.within(Duration::from_secs(100));
        let (outcome, ran, took) = run(policy, 99, Again::After(None)).await;
        assert!(outcome.is_err() && ran > 7, "{ran} tries: their number does not end them");
        assert!(took >= Duration::from_secs(40) && took < Duration::from_secs(100), "{took:?}");
        assert_eq!(run(policy, 1, Again::After(Some(Duration::from_secs(90)))).await.1, 2);
        let (outcome, ran, took) = run(policy, 1, Again::After(Some(Duration::from_secs(100)))).await;
        assert_eq!((outcome, ran, took), (Err(1), 1, Duration::ZERO));
    }
}
