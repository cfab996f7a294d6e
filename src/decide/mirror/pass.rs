//! What one pass over the listing found: how far the job is, which files are wanted, and which cannot be fetched.

use std::time::Duration;

use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::job::JobStatus;
use crate::model::listing::Listing;

use super::plan::{Action, Step};
use super::poll_interval::{Look, next_save, save_interval};
use super::run_state::RunState;
use super::snapshot::JobSnapshot;

/// What one pass over the listing found. The default is that of a pass that could not be made.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    pub(crate) state: Option<RunState>,
    pub(crate) step: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) save_every: Option<u64>,
    /// The newest checkpoint's step; with a final one more than any step.
    pub(crate) newest: Option<u64>,
    /// Files that were ordered and were not under way already.
    pub(crate) ordered: u64,
    /// The list of files is older than the end that the status reports.
    pub(crate) lagging: bool,
    pub(crate) wanted: Vec<ArtifactKey>,
    /// Listed files that may be wanted and have no usable address.
    pub(crate) unreachable: u64,
}

impl Pass {
    /// Reads from a listing and its plan what later decisions need; nothing is ordered yet.
    pub(crate) fn of(
        snapshot: &JobSnapshot,
        listing: &Listing,
        state: RunState,
        actions: &[Action],
        unreachable: u64,
    ) -> Self {
        let checkpoints =
            listing.artifacts.iter().filter(|artifact| artifact.key.kind == ArtifactKind::Checkpoint);
        let steps: Vec<u64> = checkpoints.filter_map(|artifact| artifact.step).collect();
        let has_final =
            listing.artifacts.iter().any(|artifact| artifact.is_final_checkpoint(snapshot.name()));
        let wanted = actions.iter().filter(|action| !matches!(action.step, Step::Skip(_)));
        Self {
            state: Some(state),
            step: snapshot.status.progress.current_step,
            total: snapshot.status.progress.total_steps,
            save_every: save_interval(&steps),
            newest: steps.iter().max().copied().max(has_final.then_some(u64::MAX)),
            ordered: 0,
            lagging: snapshot.result.status.as_ref().is_some_and(JobStatus::may_write),
            wanted: wanted.map(|action| action.artifact.key.clone()).collect(),
            unreachable,
        }
    }

    /// Whether the final checkpoint is listed.
    pub(crate) fn has_final(&self) -> bool {
        self.newest == Some(u64::MAX)
    }

    /// Returns the step of the next save.
    pub(crate) fn next_save(&self) -> Option<u64> {
        next_save(self.step?, self.save_every?, self.total)
    }

    /// Returns the time until the next save, at this pace.
    pub(crate) fn until_next_save(&self, seconds_a_step: Option<f64>) -> Option<Duration> {
        let steps = u32::try_from(self.next_save()?.saturating_sub(self.step?)).ok()?;
        Duration::try_from_secs_f64(seconds_a_step? * f64::from(steps)).ok()
    }

    /// Returns what the poll interval depends on. `busy`: files are under way.
    pub(crate) fn look(&self, busy: bool) -> Look {
        Look {
            state: self.state.unwrap_or(RunState::Running),
            step: self.step,
            save_every: self.save_every,
            news: self.ordered > 0 || busy,
            lagging: self.lagging,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_the_next_save_follows_from_step_interval_and_pace() {
        let pass = |step, save_every, total| Pass { step, save_every, total, ..Pass::default() };
        let rows = [
            (pass(Some(300), Some(250), Some(1000)), Some(2.0), Some(500), Some(400)),
            (pass(Some(900), Some(250), Some(1000)), Some(1.0), Some(1000), Some(100)),
            (pass(Some(300), Some(250), Some(1000)), None, Some(500), None),
            (pass(Some(300), None, Some(1000)), Some(2.0), None, None),
            (pass(None, Some(250), Some(1000)), Some(2.0), None, None),
        ];
        for (pass, pace, save, seconds) in rows {
            assert_eq!(pass.next_save(), save, "{pass:?}");
            assert_eq!(pass.until_next_save(pace), seconds.map(Duration::from_secs), "{pass:?}");
        }
    }

    #[test]
    fn a_pass_that_could_not_be_made_is_one_of_a_running_job_without_news() {
        let look = Pass::default().look(false);
        assert_eq!((look.state, look.news, look.lagging), (RunState::Running, false, false));
        assert!(Pass::default().look(true).news, "files are under way");
        assert!(Pass { ordered: 1, ..Pass::default() }.look(false).news);
    }
}
