//! Status and result of one poll, read together.

use std::sync::Arc;

use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::{RunState, run_state};
use crate::decide::mirror::select::Selection;
use crate::model::artifact::{Artifact, ArtifactKind};
use crate::model::job::{JobStatus, JobTimes, ResultAnswer, StatusAnswer, Unreachable};
use crate::model::listing::Listing;

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

    /// Returns the step that the run has reached; `None`, which is every step, once it is over.
    pub(crate) fn reached(&self, state: RunState) -> Option<u64> {
        (!state.is_over()).then(|| self.status.progress.current_step.unwrap_or(0))
    }

    /// Returns the listed files that `selection` may want and that have no usable address.
    pub(crate) fn unreachable<'a>(
        &'a self,
        listing: &'a Listing,
        selection: &'a Selection,
    ) -> impl Iterator<Item = &'a Unreachable> {
        let all = self.result.unreachable.iter().chain(&listing.rejected);
        all.filter(|file| selection.may_want(file.kind))
    }

    /// Whether the list of this kind has nothing in it that cannot be used.
    pub(crate) fn is_complete(&self, listing: &Listing, kind: ArtifactKind) -> bool {
        let mut unusable = self.result.unreachable.iter().chain(&listing.rejected);
        self.result.unusable.is_empty() && unusable.all(|file| file.kind != kind)
    }

    pub(crate) fn state(&self, listed: &[Arc<Artifact>]) -> RunState {
        let has_final = listed.iter().any(|artifact| artifact.is_final_checkpoint(self.name()));
        run_state(&self.status.status, &self.status.progress, self.error().is_some(), has_final)
    }
}

/// Whether a result that was asked for together with a status is older than the end that the status reports: the final
/// files may not be in it yet. A result without a status of its own shows the end by its time.
pub(crate) const fn lags(status: &StatusAnswer, result: &ResultAnswer) -> bool {
    let shows_end = match &result.status {
        Some(status) => !status.may_write(),
        None => result.times.finished_at.is_some(),
    };
    !status.status.may_write() && !shows_end
}

/// How often the job was seen running again after an end, also by earlier runs of rcsync. Distinguishes the job's runs where
/// the API does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resumes {
    /// The status of the last poll; `None` before the first one.
    pub(crate) last: Option<JobStatus>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::Progress;

    #[test]
    fn a_result_lags_behind_an_end_that_it_does_not_show() {
        let end = || Some("2026-01-31T16:12:34".to_owned());
        let rows = [
            (JobStatus::Stopped, Some(JobStatus::Running), None, true),
            (JobStatus::Stopped, Some(JobStatus::Running), end(), true),
            (JobStatus::Failed, Some(JobStatus::InQueue), None, true),
            (JobStatus::Canceled, Some(JobStatus::Other("ENDING".into())), None, true),
            (JobStatus::Stopped, None, None, true),
            (JobStatus::Stopped, None, end(), false),
            (JobStatus::Stopped, Some(JobStatus::Stopped), None, false),
            (JobStatus::Stopped, Some(JobStatus::Failed), None, false),
            (JobStatus::Running, Some(JobStatus::Running), None, false),
            (JobStatus::Running, Some(JobStatus::Stopped), end(), false),
            (JobStatus::Other("ENDING".into()), Some(JobStatus::Stopped), None, false),
        ];
        for (status, own, finished_at, expected) in rows {
            let row = format!("{status} and {own:?}, {finished_at:?}");
            let times = JobTimes { finished_at, ..JobTimes::default() };
            let progress = Progress::default();
            let status =
                StatusAnswer { name: None, status, progress, error: None, times: JobTimes::default() };
            let result = ResultAnswer {
                name: None,
                status: own,
                artifacts: Vec::new(),
                unreachable: Vec::new(),
                unusable: Vec::new(),
                error: None,
                times,
            };
            assert_eq!(lags(&status, &result), expected, "{row}");
        }
    }
}
