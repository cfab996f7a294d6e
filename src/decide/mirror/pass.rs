//! What one pass over everything that a job offers came to, as far as later decisions depend on it.

use std::time::Duration;

use super::plan::{Action, NothingFound, Step};
use super::poll_interval::{Look, next_save, save_interval};
use super::run_state::RunState;
use super::snapshot::JobSnapshot;
use super::stall_alert::Sign;
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::job::JobStatus;
use crate::model::listing::Listing;

/// What a pass found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pass {
    /// What the run is; `None` where the pass came to no end.
    pub(crate) state: Option<RunState>,
    pub(crate) step: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) save_every: Option<u64>,
    /// The newest checkpoint's step, and with a final one more than any step.
    pub(crate) newest: Option<u64>,
    /// Files whose fetch was begun.
    pub(crate) ordered: u64,
    /// The list of files reports itself that the job is not over, against the status.
    pub(crate) lagging: bool,
    pub(crate) wanted: Vec<ArtifactKey>,
    /// Listed files that may be wanted and have no address that can be used.
    pub(crate) unreachable: u64,
    /// How many files the job offers.
    pub(crate) offered: usize,
    /// What the user's choice finds nothing of.
    pub(crate) nothing: Option<NothingFound>,
}

impl Pass {
    /// What was listed and planned; nothing is ordered yet, nothing unreachable counted, and the user's choice not judged.
    pub(crate) fn of(looked: &JobSnapshot, listing: &Listing, actions: &[Action], state: RunState) -> Self {
        let checkpoints =
            listing.artifacts.iter().filter(|artifact| artifact.key.kind == ArtifactKind::Checkpoint);
        let steps: Vec<u64> = checkpoints.filter_map(|artifact| artifact.step).collect();
        let has_final = listing.artifacts.iter().any(|artifact| artifact.is_final_checkpoint(looked.name()));
        let wanted = actions.iter().filter(|action| !matches!(action.step, Step::Skip(_)));
        Self {
            state: Some(state),
            step: looked.status.progress.current_step,
            total: looked.status.progress.total_steps,
            save_every: save_interval(&steps),
            newest: steps.iter().max().copied().max(has_final.then_some(u64::MAX)),
            ordered: 0,
            lagging: looked.result.status.as_ref().is_some_and(JobStatus::may_write),
            wanted: wanted.map(|action| action.artifact.key.clone()).collect(),
            unreachable: 0,
            offered: actions.len(),
            nothing: None,
        }
    }

    /// Whether the final checkpoint is listed.
    pub(crate) fn has_final(&self) -> bool {
        self.newest == Some(u64::MAX)
    }

    /// The pass as the interval of polls depends on it. `busy`: files are on their way.
    pub(crate) fn look(&self, busy: bool) -> Look {
        Look {
            state: self.state.unwrap_or(RunState::Running),
            step: self.step,
            save_every: self.save_every,
            news: self.ordered > 0 || busy,
            lagging: self.lagging,
        }
    }

    /// The pass as the alarm for a job without progress depends on it.
    pub(crate) fn sign(&self, seconds_a_step: Option<f64>, between_looks: Duration) -> Sign {
        Sign {
            state: self.state.unwrap_or(RunState::Queued),
            step: self.step,
            newest: self.newest,
            save_every: self.save_every,
            seconds_a_step,
            between_looks,
        }
    }

    pub(crate) fn next_save(&self) -> Option<u64> {
        next_save(self.step?, self.save_every?, self.total)
    }

    pub(crate) fn until_next_save(&self, seconds_a_step: Option<f64>) -> Option<Duration> {
        let steps = u32::try_from(self.next_save()?.saturating_sub(self.step?)).ok()?;
        Duration::try_from_secs_f64(seconds_a_step? * f64::from(steps)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_save_in_steps_and_in_time() {
        let pass = |step, save_every, total| Pass { step, save_every, total, ..Pass::default() };
        for (pass, step, seconds) in [
            (pass(Some(700), Some(250), Some(2000)), Some(750), Some(100)),
            (pass(Some(1900), Some(250), Some(2000)), Some(2000), Some(200)),
            (pass(Some(2000), Some(250), Some(2000)), None, None),
            (pass(None, Some(250), None), None, None),
            (pass(Some(700), None, None), None, None),
        ] {
            assert_eq!(pass.next_save(), step, "{pass:?}");
            assert_eq!(pass.until_next_save(Some(2.0)), seconds.map(Duration::from_secs), "{pass:?}");
            assert_eq!(pass.until_next_save(None), None);
        }
    }

    #[test]
    fn files_on_their_way_are_news() {
        for (ordered, busy, news) in [(0, false, false), (1, false, true), (0, true, true)] {
            assert_eq!(Pass { ordered, ..Pass::default() }.look(busy).news, news);
        }
    }
}
