//! Status and result of one poll, read together.

use std::sync::Arc;

use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::{RunState, run_state};
use crate::model::artifact::Artifact;
use crate::model::job::{JobStatus, JobTimes, ResultAnswer, StatusAnswer};

/// Status and result of one poll.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobSnapshot {
    pub(crate) status: StatusAnswer,
    pub(crate) result: ResultAnswer,
    /// How often the job was seen running again after an end.
    pub(crate) resumes: u32,
}

impl JobSnapshot {
    pub(crate) fn name(&self) -> Option<&str> {
        self.status.name.as_deref().or(self.result.name.as_deref())
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.status.error.as_deref().or(self.result.error.as_deref())
    }

    pub(crate) fn times(&self) -> JobTimes {
        let (result, status) = (self.result.times.clone(), self.status.times.clone());
        JobTimes {
            created_at: result.created_at.or(status.created_at),
            started_at: result.started_at.or(status.started_at),
            finished_at: result.finished_at.or(status.finished_at),
        }
    }

    pub(crate) fn run(&self) -> String {
        run_stamp(&self.status.status, &self.times(), self.resumes)
    }

    pub(crate) fn state(&self, listed: &[Arc<Artifact>]) -> RunState {
        let has_final = listed.iter().any(|artifact| artifact.is_final_checkpoint(self.name()));
        run_state(&self.status.status, &self.status.progress, self.error().is_some(), has_final)
    }
}

/// How often the job was seen running again after an end, also by earlier runs of rcsync. Tells the job's runs apart where
/// the API does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resumes {
    /// The status of the last poll; `None` before the first one.
    pub(crate) last: Option<JobStatus>,
    /// How often.
    pub(crate) count: u32,
}

impl Resumes {
    /// Counts a poll, and writes the count into it.
    pub(crate) fn count(&mut self, snapshot: &mut JobSnapshot) {
        let now = &snapshot.status.status;
        if now.may_write() && self.last.as_ref().is_some_and(|last| !last.may_write()) {
            self.count = self.count.saturating_add(1);
        }
        self.last = Some(now.clone());
        snapshot.resumes = self.count;
    }
}
