//! Waits until a dataset is READY and has exactly the folder's files. The rules are `decide::datasets::push::ready`'s.

use tokio::time::{Instant, sleep};

use crate::decide::datasets::push::ready::{Expected, Past, Readiness, judge, wait_after};
use crate::engine::datasets::asking::ask;
use crate::engine::datasets::event::{FailedPush, PushEvent, PushReporter};
use crate::engine::retry::SHORT;
use crate::engine::stop::Stop;
use crate::error::{Error, ExitStatus};
use crate::model::dataset::{DatasetId, DatasetStatus};

use super::Push;
use super::prepare::conflict;

/// A dataset into which everything was sent.
pub(super) struct Awaited<'a> {
    pub(super) push: &'a Push,
    pub(super) id: &'a DatasetId,
    /// What is to be in it.
    pub(super) expected: &'a Expected,
    /// Whether it was FAILED before files were sent.
    pub(super) had_failed: bool,
}

impl Awaited<'_> {
    /// Polls the dataset until it is ready, cannot become so, or the user's time is over.
    pub(super) async fn until_ready(
        &self,
        reporter: &dyn PushReporter,
        stop: &Stop,
    ) -> Result<ExitStatus, Error> {
        let timeout = self.push.options.timeout;
        let end = Instant::now() + timeout;
        let (mut looks, mut last, mut since) = (0, None, Instant::now());
        loop {
            let policy = SHORT.within(end.saturating_duration_since(Instant::now()));
            let answer = ask(reporter, stop, policy, || self.push.api.dataset(self.id)).await?;
            let Some(dataset) = answer else { return Ok(stop.status()) };
            let now = Instant::now();
            let state = (dataset.status.clone(), dataset.updated_at.clone(), dataset.files.clone());
            if last.as_ref() != Some(&state) {
                (last, since, looks) = (Some(state), now, 0);
            }
            let past = Past { unchanged: now.duration_since(since), had_failed: self.had_failed };
            let readiness = judge(&dataset, self.expected, past);
            if let Some(exit) = self.conclude(&dataset.status, readiness, reporter)? {
                return Ok(exit);
            }
            if looks == 0 {
                let listed = dataset.files.as_ref().map(|files| files.len() as u64);
                let (status, of) = (dataset.status.clone(), self.expected.len() as u64);
                reporter.report(&PushEvent::Waiting { status, listed, of });
            }
            let wait = wait_after(looks);
            looks += 1;
            if now + wait >= end {
                let cause = FailedPush::NotReady { status: dataset.status, waited: timeout };
                reporter.report(&PushEvent::Failed { path: None, cause });
                return Ok(ExitStatus::TryAgain);
            }
            if stop.token().run_until_cancelled(sleep(wait)).await.is_none() {
                return Ok(stop.status());
            }
        }
    }

    /// Reports what ends the wait; `None` where nothing does yet.
    fn conclude(
        &self,
        status: &DatasetStatus,
        readiness: Readiness,
        reporter: &dyn PushReporter,
    ) -> Result<Option<ExitStatus>, Error> {
        let (cause, exit) = match readiness {
            Readiness::Waiting => return Ok(None),
            Readiness::Ready => {
                let (files, bytes) = (self.expected.len() as u64, self.expected.values().sum());
                reporter.report(&PushEvent::Ready { files, bytes });
                return Ok(Some(ExitStatus::Complete));
            }
            Readiness::Different(difference)
                if !difference.is_sendable() && difference.missing.is_empty() =>
            {
                return Err(conflict(self.push.name.as_str(), &difference.foreign));
            }
            Readiness::Different(difference) => {
                (FailedPush::Different { status: status.clone(), difference }, ExitStatus::TryAgain)
            }
            Readiness::Failed(why) => (FailedPush::Refused(why), ExitStatus::Negative),
        };
        reporter.report(&PushEvent::Failed { path: None, cause });
        Ok(Some(exit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::edge::api::token::TokenSource;
    use crate::edge::api::{ApiClient, Limits};
    use crate::edge::net::upload::UploadClient;
    use crate::engine::datasets::asking::Silent;
    use crate::engine::datasets::push::PushOptions;
    use crate::simulation::TOKEN;
    use crate::simulation::wire::Line;
    use crate::simulator::{Fault, Origin, Simulator, SimulatorConfig, What};

    /// Waits for a dataset that is READY, where the API refuses to answer so many times first.
    async fn wait_through(faults: u64, timeout: Duration) -> (Result<ExitStatus, Error>, Duration) {
        let config = SimulatorConfig { token: TOKEN.to_owned(), ..SimulatorConfig::default() };
        let world = Arc::new(Simulator::unconnected(config));
        let id = world.add_dataset("dog", DatasetStatus::Ready, &[("a.txt", b"a dog")]);
        world.fault(Fault::always("", What::status(500)).times(faults));
        let base = world.api_base().parse().unwrap();
        let api = ApiClient::new(base, TokenSource::fixed(TOKEN), Limits::default()).unwrap();
        let push = Push {
            api: api.over(Line::new(world.clone(), Origin::Api, Duration::from_secs(10), 7)),
            uploads: UploadClient::new(false).unwrap(),
            name: "dog".parse().unwrap(),
            files: Vec::new(),
            options: PushOptions { timeout, ..PushOptions::default() },
            state: None,
            relist: Arc::new(|| Ok(Vec::new())),
        };
        let (id, expected) = (id.parse().unwrap(), Expected::from([("a.txt".to_owned(), 5)]));
        let awaited = Awaited { push: &push, id: &id, expected: &expected, had_failed: false };
        let began = Instant::now();
        (awaited.until_ready(&Silent, &Stop::new()).await, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_is_away_is_asked_as_long_as_the_user_waits() {
        let half_an_hour = Duration::from_secs(30 * 60);
        assert_eq!(wait_through(12, half_an_hour).await.0, Ok(ExitStatus::Complete));
        let (ended, took) = wait_through(1000, half_an_hour).await;
        assert!(matches!(ended, Err(Error::Api(_))), "{ended:?}");
        assert!(took > half_an_hour - Duration::from_secs(65) && took < half_an_hour, "{took:?}");
    }
}
