//! What a run reported of the job and of troubles: what is wrong in the same way at every poll is reported once.

use std::sync::Arc;

use crate::decide::mirror::reported::is_news;
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::engine::event::{Event, Notice, Reporter};

/// What was reported.
pub(crate) struct Reported {
    reporter: Arc<dyn Reporter>,
    job: Option<Event>,
    notices: Vec<Notice>,
}

impl Reported {
    pub(crate) fn new(reporter: Arc<dyn Reporter>) -> Self {
        Self { reporter, job: None, notices: Vec::new() }
    }

    /// Reports what the job is doing, where that changed.
    pub(crate) fn job(&mut self, snapshot: &JobSnapshot) {
        let job = job_event(snapshot);
        if self.job.as_ref() != Some(&job) {
            self.reporter.report(&job);
            self.job = Some(job);
        }
    }

    /// Reports something that users should know.
    pub(crate) fn notice(&mut self, notice: Notice) {
        if is_news(&mut self.notices, &notice) {
            self.reporter.report(&Event::Notice { notice });
        }
    }

    /// Reports something that went wrong.
    pub(crate) fn trouble(&mut self, notice: Notice) {
        if is_news(&mut self.notices, &notice) {
            self.reporter.report(&Event::Trouble { notice });
        }
    }
}

/// The event for what a poll saw of the job.
pub(crate) fn job_event(snapshot: &JobSnapshot) -> Event {
    Event::Job {
        name: snapshot.name().map(str::to_owned),
        status: snapshot.status.status.clone(),
        progress: snapshot.status.progress,
        error: snapshot.error().map(str::to_owned),
    }
}
