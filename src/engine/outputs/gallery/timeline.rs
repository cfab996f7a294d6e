//! How training went: steps over time, and the turns it took.

use crate::edge::folder::history::Moment;
use crate::model::job::JobStatus;

/// Steps over time and what happened on the way.
#[derive(Debug, PartialEq)]
pub(super) struct Course {
    /// Seconds since 1970 and the step at that time, oldest first.
    pub(super) points: Vec<(i64, u64)>,
    /// What happened, oldest first.
    pub(super) turns: Vec<Turn>,
    /// Steps planned, as last reported.
    pub(super) total: Option<u64>,
    /// Seconds one step takes, over the last stretch without a turn.
    pub(super) seconds_a_step: Option<f64>,
}

/// Something that happened to the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// When it was seen, in seconds since 1970.
    pub(super) at: i64,
    /// Where training was.
    pub(super) step: Option<u64>,
    /// What it was.
    pub(super) what: What,
}

/// Kinds of turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The first look at it, in whatever state it was.
    FirstSeen {
        status: JobStatus,
        /// Whether its last step was done.
        is_complete: bool,
    },
    Queued,
    Began,
    Resumed,
    Stopped,
    Finished,
    Failed,
    Canceled,
    /// A state that this version does not know.
    Other(JobStatus),
    /// It continues in another run, or from an earlier step, without a stop that was seen.
    AnotherRun,
}

impl What {
    /// Whether it ended a run before its last step.
    pub(super) const fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Canceled)
    }
}

impl Course {
    /// Returns what polls saw. Where there was no poll during the training, the times at which samples were drawn show as much;
    /// the two come from two clocks, so they are not mixed.
    pub(super) fn new(moments: &[Moment], drawn: impl Iterator<Item = (i64, u64)>) -> Self {
        let mut points: Vec<(i64, u64)> =
            moments.iter().filter_map(|moment| Some((moment.at, moment.step?))).collect();
        if points.iter().all(|(_, step)| *step == points[0].1) {
            points = drawn.collect();
            points.sort_unstable();
        }
        Self {
            points,
            turns: turns(moments),
            total: moments.iter().rev().find_map(|moment| moment.total).filter(|total| *total > 0),
            seconds_a_step: pace(moments),
        }
    }
}

fn turns(moments: &[Moment]) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut was_running = false;
    let mut before: Option<&Moment> = None;
    for moment in moments {
        let what = match before {
            None => Some(What::FirstSeen { status: moment.status.clone(), is_complete: is_complete(moment) }),
            Some(before) if moment.status != before.status => Some(match &moment.status {
                JobStatus::InQueue => What::Queued,
                JobStatus::Running if was_running => What::Resumed,
                JobStatus::Running => What::Began,
                JobStatus::Stopped if is_complete(moment) => What::Finished,
                JobStatus::Stopped => What::Stopped,
                JobStatus::Failed => What::Failed,
                JobStatus::Canceled => What::Canceled,
                JobStatus::Other(_) => What::Other(moment.status.clone()),
            }),
            Some(before) if moment.is_turn_from(before) => Some(What::AnotherRun),
            Some(_) => None,
        };
        turns.extend(what.map(|what| Turn { at: moment.at, step: moment.step, what }));
        was_running |= moment.status == JobStatus::Running || moment.step.is_some_and(|step| step > 0);
        before = Some(moment);
    }
    turns
}

fn is_complete(moment: &Moment) -> bool {
    matches!((moment.step, moment.total), (Some(step), Some(total)) if total > 0 && step >= total)
}

/// Returns the seconds one step took over the last stretch of running without a turn.
fn pace(moments: &[Moment]) -> Option<f64> {
    let running = |moment: &&Moment| moment.status == JobStatus::Running && moment.step.is_some();
    let last_at = moments.iter().rposition(|moment| running(&moment))?;
    let mut first_at = last_at;
    while first_at > 0
        && running(&&moments[first_at - 1])
        && !moments[first_at].is_turn_from(&moments[first_at - 1])
    {
        first_at -= 1;
    }
    let (first, last) = (&moments[first_at], &moments[last_at]);
    let steps = last.step?.checked_sub(first.step?)?;
    let seconds = last.at.checked_sub(first.at)?;
    #[expect(clippy::cast_precision_loss, reason = "seconds and steps are far below 2^53")]
    (steps > 0 && seconds > 0).then(|| seconds as f64 / steps as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::Progress;

    fn moment(at: i64, word: &str, step: u64, began: &str) -> Moment {
        let progress = Progress { current_step: Some(step), total_steps: Some(1000), percent: None };
        Moment::new(at, &JobStatus::from(word.to_owned()), &progress, Some(began))
    }

    #[test]
    fn the_timeline_of_a_preempted_job_has_its_turns() {
        let moments = [
            moment(100, "IN_QUEUE", 0, ""),
            moment(200, "RUNNING", 0, "a"),
            moment(300, "RUNNING", 100, "a"),
            moment(400, "STOPPED", 150, "a"),
            moment(450, "IN_QUEUE", 150, "a"),
            moment(500, "RUNNING", 100, "b"),
            moment(600, "RUNNING", 150, "b"),
            moment(700, "RUNNING", 200, "b"),
            moment(800, "RUNNING", 150, "c"),
            moment(2000, "STOPPED", 1000, "c"),
        ];
        let course = Course::new(&moments, [(50, 7), (150, 8)].into_iter());
        let whats: Vec<What> = course.turns.iter().map(|turn| turn.what.clone()).collect();
        assert_eq!(
            whats,
            [
                What::FirstSeen { status: JobStatus::InQueue, is_complete: false },
                What::Began,
                What::Stopped,
                What::Queued,
                What::Resumed,
                What::AnotherRun,
                What::Finished
            ]
        );
        assert_eq!(course.points[..2], [(100, 0), (200, 0)]);
        let late = Course::new(&moments[9..], [(150, 8), (50, 7)].into_iter());
        assert_eq!(late.points, [(50, 7), (150, 8)], "no poll: samples show it");
        assert_eq!(late.turns[0].what, What::FirstSeen { status: JobStatus::Stopped, is_complete: true });
        assert_eq!(course.total, Some(1000));
        assert_eq!(Course::new(&moments[..8], std::iter::empty()).seconds_a_step, Some(2.0));
    }

    #[test]
    fn nothing_known_gives_an_empty_timeline() {
        let course = Course::new(&[], std::iter::empty());
        assert!(course.points.is_empty() && course.turns.is_empty() && course.seconds_a_step.is_none());
    }
}
