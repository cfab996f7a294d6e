//! What the job was doing at each poll that saw a change: how training went, for the page.
//!
//! Small and bounded, in a file of its own under `.rcsync`. It is a convenience: where it is lost, it begins anew.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::edge::folder::checksummed;
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::disk;
use crate::edge::system::disk::Durability;
use crate::error::Error;
use crate::model::job::{JobStatus, Progress};

/// Moments that are kept: a chart as wide as a screen shows no more, and the file stays under 200 kB.
const MOST: usize = 1000;

/// A file larger than this was not written by us.
const BOUND: u64 = 4 << 20;

/// What one look saw of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// When, in seconds since 1970, by this machine's clock.
    pub(crate) at: i64,
    /// What the job was doing.
    pub(crate) status: JobStatus,
    /// Steps done.
    pub(crate) step: Option<u64>,
    /// Steps planned.
    pub(crate) total: Option<u64>,
    /// When the run had begun, as the API wrote it: distinguishes one run of the job from the next.
    pub(crate) began: Option<String>,
}

impl Moment {
    /// Puts down what a look saw.
    pub(crate) fn new(at: i64, status: &JobStatus, progress: &Progress, began: Option<&str>) -> Self {
        Self {
            at,
            status: status.clone(),
            step: progress.current_step,
            total: progress.total_steps,
            began: began.map(str::to_owned),
        }
    }

    /// Whether the job is where it was, whatever the time.
    fn is_like(&self, other: &Self) -> bool {
        let at = other.at;
        Self { at, ..self.clone() } == *other
    }

    /// Whether something other than the number of steps changed between two moments, or steps were lost.
    pub(crate) fn is_turn_from(&self, before: &Self) -> bool {
        self.status != before.status || self.began != before.began || self.step < before.step
    }
}

/// The end of the history, as far as the job has been in one state since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Recent {
    /// Since when.
    pub(crate) since: Option<i64>,
    /// When the run was seen at which step, while it trained.
    pub(crate) steps: Vec<(i64, u64)>,
}

/// All moments that are kept, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct History {
    moments: Vec<Moment>,
}

impl History {
    /// Where it is kept.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join(PRIVATE).join("history.json")
    }

    /// Reads it; one that is not there or damaged is empty.
    pub(crate) fn load(dir: &Path) -> Self {
        Self { moments: checksummed::read(&Self::path(dir), BOUND).unwrap_or_default() }
    }

    /// Replaces what is on the disk.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        let path = Self::path(dir);
        let text =
            checksummed::seal(&self.moments).map_err(|error| disk::fault("write", &path)(error.into()))?;
        disk::replace(&path, &dir.join(PRIVATE), text.as_bytes(), Durability::Hopeful)
    }

    /// Adds a moment and returns `true`, unless the job is where it was.
    pub(crate) fn note(&mut self, moment: Moment) -> bool {
        if self.moments.last().is_some_and(|last| last.is_like(&moment)) {
            return false;
        }
        self.moments.push(moment);
        if self.moments.len() > MOST {
            self.thin();
        }
        true
    }

    /// Returns the moments, oldest first.
    pub(crate) fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Returns what is known of the job's present run and state.
    pub(crate) fn recent(&self, status: &JobStatus) -> Recent {
        let present = self.moments.rsplit(|moment| moment.status != *status).next().unwrap_or_default();
        let turn = |pair: &[Moment]| pair[1].is_turn_from(&pair[0]);
        let begin = present.windows(2).rposition(turn).map_or(0, |at| at + 1);
        let run = present.get(begin..).unwrap_or_default();
        let steps = run.iter().filter(|moment| moment.status == JobStatus::Running);
        Recent {
            since: present.first().map(|moment| moment.at),
            steps: steps.filter_map(|moment| Some((moment.at, moment.step?))).collect(),
        }
    }

    /// Drops every second moment between two turns, so that old times get coarser and turns stay.
    fn thin(&mut self) {
        let old = std::mem::take(&mut self.moments);
        let last = old.len() - 1;
        let is_turn = |at: usize| at > 0 && old[at].is_turn_from(&old[at - 1]);
        let stays =
            |at: usize| at == 0 || at == last || at.is_multiple_of(2) || is_turn(at) || is_turn(at + 1);
        self.moments = old.iter().enumerate().filter(|(at, _)| stays(*at)).map(|(_, m)| m.clone()).collect();
        // A status that flaps for ever is all turns.
        let surplus = self.moments.len().saturating_sub(MOST);
        self.moments.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: i64, status: JobStatus, step: u64) -> Moment {
        let progress = Progress { current_step: Some(step), total_steps: Some(9000), percent: None };
        Moment::new(at, &status, &progress, None)
    }

    #[test]
    fn only_changes_are_noted() {
        let mut history = History::default();
        assert!(history.note(moment(1, JobStatus::Running, 5)));
        assert!(!history.note(moment(2, JobStatus::Running, 5)));
        assert!(history.note(moment(3, JobStatus::Stopped, 5)));
        assert_eq!(history.moments().len(), 2);
    }

    #[test]
    fn what_is_recent_is_of_the_present_run_and_state() {
        let mut history = History::default();
        for (at, status, step) in [
            (1, JobStatus::Running, 5),
            (2, JobStatus::Running, 9),
            (3, JobStatus::Stopped, 9),
            (4, JobStatus::Running, 10),
            (5, JobStatus::Running, 3),
            (6, JobStatus::Running, 4),
        ] {
            history.note(moment(at, status, step));
        }
        let recent = history.recent(&JobStatus::Running);
        assert_eq!(recent, Recent { since: Some(4), steps: vec![(5, 3), (6, 4)] });
        assert_eq!(history.recent(&JobStatus::Stopped), Recent::default(), "no longer");
        assert_eq!(History::default().recent(&JobStatus::Running), Recent::default());
        history.note(moment(7, JobStatus::Failed, 4));
        assert_eq!(history.recent(&JobStatus::Failed), Recent { since: Some(7), steps: Vec::new() });
    }

    #[test]
    fn it_stays_bounded_and_keeps_every_turn() {
        let mut history = History::default();
        let mut at = 0;
        for run in 0..5 {
            for step in 0..1000_u64 {
                at += 1;
                history.note(moment(at, JobStatus::Running, run * 1000 + step));
            }
            at += 1;
            history.note(moment(at, JobStatus::Stopped, run * 1000 + 999));
        }
        assert!(history.moments().len() <= MOST, "{}", history.moments().len());
        let stops: Vec<i64> = history
            .moments()
            .iter()
            .filter(|moment| moment.status == JobStatus::Stopped)
            .map(|moment| moment.at)
            .collect();
        assert_eq!(stops, [1001, 2002, 3003, 4004, 5005]);
        assert_eq!(history.moments().first().map(|moment| moment.at), Some(1));
        for at in 0..10_000 {
            let status = if at % 2 == 0 { JobStatus::Running } else { JobStatus::Stopped };
            history.note(moment(10_000 + at, status, 1));
        }
        assert!(history.moments().len() <= MOST);
    }

    #[test]
    fn a_damaged_file_is_an_empty_history() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(PRIVATE)).unwrap();
        let mut history = History::default();
        history.note(moment(1, JobStatus::Running, 5));
        history.save(dir.path()).unwrap();
        assert_eq!(History::load(dir.path()), history);
        let path = History::path(dir.path());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("RUNNING", "STOPPED")).unwrap();
        assert_eq!(History::load(dir.path()), History::default());
    }
}
