//! What the job's run is, judged from status, progress, error and the final checkpoint.
//!
//! `STOPPED` means both finished and preempted, so finished must be proven: the last step was reached, or the final
//! checkpoint is listed, and the result carries no error.

use crate::error::ExitStatus;
use crate::model::job::{JobStatus, Progress};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Waiting for a machine.
    Queued,
    /// Training, or anything that this version does not know: it may still write.
    Running,
    /// Over, with proof that it reached its last step.
    Finished,
    /// Over before its last step: preempted, or out of time. It can be resumed.
    StoppedEarly,
    /// Over, and nothing proves whether it finished.
    Unconfirmed,
    /// Ended by an error.
    Failed,
    /// Ended by the user.
    Canceled,
}

#[must_use]
pub(crate) fn run_state(
    status: &JobStatus,
    progress: &Progress,
    has_error: bool,
    has_final: bool,
) -> RunState {
    match status {
        JobStatus::InQueue => RunState::Queued,
        JobStatus::Running | JobStatus::Other(_) => RunState::Running,
        JobStatus::Failed => RunState::Failed,
        JobStatus::Canceled => RunState::Canceled,
        JobStatus::Stopped if has_error => RunState::Unconfirmed,
        JobStatus::Stopped if progress.is_complete() || has_final => RunState::Finished,
        JobStatus::Stopped => match (progress.current_step, progress.total_steps) {
            (Some(_), Some(total)) if total > 0 => RunState::StoppedEarly,
            _ => RunState::Unconfirmed,
        },
    }
}

impl RunState {
    /// Whether the trainer writes no more.
    #[must_use]
    pub(crate) const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether the trainer was ended from outside or by a fault, perhaps in the middle of a save.
    #[must_use]
    pub(crate) const fn is_cut_off(self) -> bool {
        matches!(self, Self::StoppedEarly | Self::Failed | Self::Canceled)
    }

    /// Returns how following a run that ended like this ends, where every listed file is here.
    #[must_use]
    pub(crate) const fn exit_status(self) -> ExitStatus {
        match self {
            Self::Finished => ExitStatus::Complete,
            Self::Failed | Self::Canceled => ExitStatus::Negative,
            Self::Queued | Self::Running | Self::StoppedEarly | Self::Unconfirmed => ExitStatus::TryAgain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_must_be_proven_finished() {
        let progress = |current, total| Progress { current_step: current, total_steps: total, percent: None };
        let full = progress(Some(2000), Some(2000));
        let early = progress(Some(700), Some(2000));
        let none = Progress::default();
        for (status, progress, error, last, expected) in [
            (JobStatus::Stopped, full, false, false, RunState::Finished),
            (JobStatus::Stopped, none, false, true, RunState::Finished),
            (JobStatus::Stopped, full, true, true, RunState::Unconfirmed),
            (JobStatus::Stopped, early, false, false, RunState::StoppedEarly),
            (JobStatus::Stopped, early, true, false, RunState::Unconfirmed),
            (JobStatus::Stopped, none, false, false, RunState::Unconfirmed),
            (JobStatus::Stopped, progress(Some(0), Some(0)), false, false, RunState::Unconfirmed),
            (JobStatus::Running, full, false, true, RunState::Running),
            (JobStatus::InQueue, none, false, false, RunState::Queued),
            (JobStatus::Other("PAUSED".into()), full, false, true, RunState::Running),
            (JobStatus::Failed, full, true, true, RunState::Failed),
            (JobStatus::Canceled, early, false, false, RunState::Canceled),
        ] {
            assert_eq!(run_state(&status, &progress, error, last), expected, "{status} {progress:?}");
        }
    }
}
