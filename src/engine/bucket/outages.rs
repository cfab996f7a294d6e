//! Reports a store that does not answer: one event for each outage, not one for each try.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::decide::bucket::outage::{is_away, is_outage};
use crate::engine::event::{Event, Reporter, RetryCause};
use crate::error::BucketError;

/// Where outages of a store are reported, which clones of the store share.
#[derive(Clone, Default)]
pub(crate) struct Outages(Option<Arc<Reported>>);

struct Reported {
    reporter: Arc<dyn Reporter>,
    /// The outage that lasts was reported.
    is_reported: AtomicBool,
}

impl Outages {
    pub(crate) fn to(reporter: Arc<dyn Reporter>) -> Self {
        Self(Some(Arc::new(Reported { reporter, is_reported: AtomicBool::new(false) })))
    }

    /// A request failed so often, and is without an answer for so long when its next try begins.
    pub(super) fn failed(&self, failed: u32, without_answer: Duration, error: BucketError, wait: Duration) {
        let Some(reported) = &self.0 else { return };
        let is_of_store = matches!(&error, BucketError::Away { cause, .. } if is_away(cause));
        if is_of_store
            && is_outage(failed, without_answer)
            && !reported.is_reported.swap(true, Ordering::Relaxed)
        {
            let cause = RetryCause::Store(Box::new(error));
            reported.reporter.report(&Event::Retrying { path: None, cause, wait });
        }
    }

    /// The store answered: what fails from now on is another outage.
    pub(super) fn answered(&self) {
        if let Some(reported) = &self.0 {
            reported.is_reported.store(false, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Outages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outages").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::head_read::Found;
    use super::super::store::Store;
    use super::*;
    use crate::edge::bucket::memory::{Hand, Shelf, Weather};
    use crate::engine::retry::Persistence;
    use crate::error::{Error, ExitStatus};
    use crate::model::destination::BucketUrl;

    type Events = Arc<Mutex<Vec<Event>>>;

    /// A store on whose way so many of 1000 requests get no answer, each for two seconds.
    fn store(dropped: u32, persistence: Persistence) -> (Store, Events) {
        let weather = Weather { dropped, ..Weather::default() };
        let bucket = Hand::new(Arc::new(Shelf::default()), weather, Duration::ZERO, 7);
        let url = Arc::new(BucketUrl::parse("s3://b/p").unwrap().unwrap());
        let events = Events::default();
        let heard = events.clone();
        let reporter = Arc::new(move |event: &Event| heard.lock().unwrap().push(event.clone()));
        (Store { bucket, url, persistence, outages: Outages::to(reporter) }, events)
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_reported_once_and_given_up_after_the_tries_of_the_command() {
        for (persistence, at_least, at_most) in [(Persistence::Short, 9, 12), (Persistence::Pass, 60, 140)] {
            let (store, events) = store(1000, persistence);
            let began = tokio::time::Instant::now();
            let error = Found::peek(&store).await.unwrap_err();
            let took = began.elapsed().as_secs();
            assert!((at_least..=at_most).contains(&took), "{persistence:?}: {took} s");
            assert_eq!(error.exit_status(), ExitStatus::Unavailable, "{error}");
            let events = std::mem::take(&mut *events.lock().unwrap());
            let [Event::Retrying { path: None, cause: RetryCause::Store(cause), wait }] = &events[..] else {
                panic!("{events:?}")
            };
            assert!(wait.as_millis() > 0);
            assert_eq!(Error::from((**cause).clone()), error, "the line names the cause that ends it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_outage_is_reported_and_a_moment_is_not() {
        let (store, events) = store(0, Persistence::Short);
        let outage =
            || BucketError::Away { to: "s3://b/p".to_owned(), cause: crate::error::Unanswered::Busy(503) };
        let (moment, long) = (Duration::from_millis(300), Duration::from_secs(3));
        store.outages.failed(1, moment, outage(), moment);
        assert_eq!(events.lock().unwrap().len(), 0, "a single failure passes");
        store.outages.failed(2, moment, outage(), moment);
        store.outages.failed(3, long, outage(), long);
        store.clone().outages.failed(1, long, outage(), long);
        assert_eq!(events.lock().unwrap().len(), 1, "one outage, whichever request notices it");
        assert_eq!(store.stat("x").await.unwrap(), None);
        store.outages.failed(2, moment, outage(), moment);
        assert_eq!(events.lock().unwrap().len(), 2, "the store had answered in between");
        let taken = BucketError::Away { to: String::new(), cause: crate::error::Unanswered::NameTaken };
        store.outages.answered();
        store.outages.failed(2, long, taken, long);
        assert_eq!(events.lock().unwrap().len(), 2, "a lost race is no outage");
    }
}
