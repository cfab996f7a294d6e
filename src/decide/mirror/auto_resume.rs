//! Whether a job that ended is resumed, and when: only one that stopped before its last step without an error, at most
//! so often, after a longer wait each time that it got no further. An end that is seen right after a resumption is still the old one.

use std::time::Duration;

use serde::Serialize;

use super::run_state::RunState;
use crate::model::job::Progress;

/// Before the first resumption: long enough for a second look, since a status can be ahead of the steps and the final
/// checkpoint that would prove a finish.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Machines that are taken away at once again and again are waited for, but no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long the old end may still be seen after a resumption was accepted: the API does not document it, a queue reacts within
/// seconds, and a job that is left alone for two minutes more costs nothing.
const GRACE: Duration = Duration::from_secs(120);

/// What has been done so far to keep one job going. Times are durations since any fixed moment.
#[derive(Debug, Clone)]
pub(crate) struct AutoResume {
    most: u32,
    first_wait: Duration,
    sent: u32,
    /// Resumptions since the job last got further than before.
    futile: u32,
    furthest: u64,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// The job continues, or its end is not one to resume after.
    Watching,
    /// It stopped early in this run: resumed when the time has come.
    Stopped { run: String, due: Duration },
    /// It was resumed: the end of `run` is old news until then, or for a while after the first look.
    Resumed { run: String, until: Option<Duration> },
    /// Nothing more is done about this run.
    GivenUp { run: String },
}

/// What one look saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub state: RunState,
    /// Which run it is, from [`super::plan::run_stamp`].
    pub run: &'a str,
    /// How far it is.
    pub progress: &'a Progress,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    Leave,
    /// Poll again after this long; this end may not be final.
    Wait {
        after: Duration,
        /// What is reported of it, once.
        news: Option<WillResume>,
    },
    /// Resume it now, and report the result.
    Resume {
        attempt: u32,
        most: u32,
        stopped: Stopped,
    },
    /// It has been resumed often enough. Returned once.
    GiveUp {
        stopped: Stopped,
        /// How often it was resumed.
        times: u32,
    },
}

/// Where a job stopped before its last step, without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// Its last step, where known.
    pub step: Option<u64>,
    /// Steps of the whole run, where known.
    pub total_steps: Option<u64>,
}

impl Stopped {
    const fn at(progress: &Progress) -> Self {
        Self { step: progress.current_step, total_steps: progress.total_steps }
    }
}

/// A resumption that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WillResume {
    /// Where the job stopped.
    pub stopped: Stopped,
    pub attempt: u32,
    pub most: u32,
}

impl AutoResume {
    /// Begins to watch a job that may be resumed `most` times; `longest` is the user's longest wait between polls, which
    /// is not exceeded. `resumed` is the run that was resumed just before, where one was.
    #[must_use]
    pub(crate) fn new(most: u32, longest: Option<Duration>, resumed: Option<String>) -> Self {
        let phase = resumed.map_or(Phase::Watching, |run| Phase::Resumed { run, until: None });
        let first_wait = longest.map_or(FIRST_WAIT, |longest| longest.min(FIRST_WAIT));
        Self { most, first_wait, sent: 0, futile: 0, furthest: 0, phase }
    }

    /// Whether a job in this state is resumed now or after a wait: of several processes, one alone may follow it then.
    #[cfg(feature = "buckets")]
    #[must_use]
    pub(crate) fn is_due_for(&self, state: RunState) -> bool {
        state == RunState::StoppedEarly && self.sent < self.most
    }

    /// Takes in a poll and returns what to do.
    pub(crate) fn next(&mut self, now: Duration, seen: &Seen<'_>) -> Next {
        if !seen.state.is_over() {
            self.phase = Phase::Watching;
            return Next::Leave;
        }
        if let Phase::Resumed { run, until } = &mut self.phase {
            let until = *until.get_or_insert(now + GRACE);
            if run == seen.run && now < until {
                return Next::Wait { after: self.first_wait.min(until - now), news: None };
            }
            self.phase = Phase::Watching;
        }
        if seen.state != RunState::StoppedEarly || self.most == 0 {
            return Next::Leave;
        }
        match &self.phase {
            Phase::GivenUp { run } if run == seen.run => Next::Leave,
            Phase::Stopped { run, due } if run == seen.run && now >= *due => {
                Next::Resume { attempt: self.sent + 1, most: self.most, stopped: Stopped::at(seen.progress) }
            }
            Phase::Stopped { run, due } if run == seen.run => {
                Next::Wait { after: due.saturating_sub(now), news: None }
            }
            _ => self.stopped(now, seen),
        }
    }

    fn stopped(&mut self, now: Duration, seen: &Seen<'_>) -> Next {
        let stopped = Stopped::at(seen.progress);
        if self.sent >= self.most {
            self.phase = Phase::GivenUp { run: seen.run.to_owned() };
            return Next::GiveUp { stopped, times: self.sent };
        }
        let step = seen.progress.current_step.unwrap_or_default();
        if step > self.furthest {
            self.furthest = step;
            self.futile = 0;
        }
        let after = self.wait();
        self.phase = Phase::Stopped { run: seen.run.to_owned(), due: now + after };
        let news = WillResume { stopped, attempt: self.sent + 1, most: self.most };
        Next::Wait { after, news: Some(news) }
    }

    /// The resumption was sent, and accepted for all that is known.
    pub(crate) fn sent(&mut self, now: Duration, run: &str) {
        self.sent += 1;
        self.futile += 1;
        self.phase = Phase::Resumed { run: run.to_owned(), until: Some(now + GRACE) };
    }

    /// The resumption surely did not arrive: it is tried again after the wait that this returns.
    pub(crate) fn not_sent(&mut self, now: Duration, at_least: Option<Duration>) -> Duration {
        let after = at_least.unwrap_or_default().max(self.wait());
        if let Phase::Stopped { due, .. } = &mut self.phase {
            *due = now + after;
        }
        after
    }

    /// The API refused it: this run is left alone.
    pub(crate) fn refused(&mut self, run: &str) {
        self.phase = Phase::GivenUp { run: run.to_owned() };
    }

    /// Twice as long after each resumption after which the job made no progress.
    fn wait(&self) -> Duration {
        self.first_wait.saturating_mul(1 << self.futile.min(20)).min(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Progress = Progress { current_step: Some(700), total_steps: Some(2000), percent: None };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn look(life: &mut AutoResume, seconds: u64, state: RunState, run: &str) -> Next {
        life.next(at(seconds), &Seen { state, run, progress: &EARLY })
    }

    fn waits(next: &Next) -> u64 {
        match next {
            Next::Wait { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_that_gets_further_each_time_is_not_kept_waiting() {
        let mut life = AutoResume::new(9, None, None);
        for (turn, step) in [(1, 700), (2, 900), (3, 901)] {
            let (start, run) = (turn * 1000, format!("{turn}/"));
            let progress = Progress { current_step: Some(step), ..EARLY };
            let seen = Seen { state: RunState::StoppedEarly, run: &run, progress: &progress };
            assert_eq!(waits(&life.next(at(start), &seen)), 5, "step {step}");
            life.sent(at(start + 5), &run);
        }
        let seen = Seen { state: RunState::StoppedEarly, run: "4/", progress: &EARLY };
        assert_eq!(waits(&life.next(at(4000), &seen)), 10, "it fell back");
    }

    #[test]
    fn a_job_that_stopped_early_is_resumed_with_growing_waits_and_not_too_often() {
        let mut life = AutoResume::new(2, None, None);
        assert_eq!(look(&mut life, 0, RunState::Running, "a"), Next::Leave);
        let first = look(&mut life, 10, RunState::StoppedEarly, "a/1");
        let stopped = Stopped { step: Some(700), total_steps: Some(2000) };
        let news = WillResume { stopped, attempt: 1, most: 2 };
        assert_eq!(first, Next::Wait { after: at(5), news: Some(news) });
        assert_eq!(
            look(&mut life, 13, RunState::StoppedEarly, "a/1"),
            Next::Wait { after: at(2), news: None }
        );
        assert_eq!(
            look(&mut life, 15, RunState::StoppedEarly, "a/1"),
            Next::Resume { attempt: 1, most: 2, stopped }
        );
        life.sent(at(15), "a/1");
        assert_eq!(waits(&look(&mut life, 16, RunState::StoppedEarly, "a/1")), 5, "the old end is old news");
        assert_eq!(look(&mut life, 20, RunState::Queued, ""), Next::Leave);
        assert_eq!(look(&mut life, 60, RunState::Running, "b"), Next::Leave);
        assert_eq!(waits(&look(&mut life, 90, RunState::StoppedEarly, "b/2")), 10);
        assert!(matches!(
            look(&mut life, 100, RunState::StoppedEarly, "b/2"),
            Next::Resume { attempt: 2, .. }
        ));
        life.sent(at(100), "b/2");
        let end = look(&mut life, 150, RunState::StoppedEarly, "c/3");
        assert_eq!(end, Next::GiveUp { stopped, times: 2 });
        assert_eq!(look(&mut life, 160, RunState::StoppedEarly, "c/3"), Next::Leave, "reported once");
    }

    #[test]
    fn no_other_end_is_touched() {
        for state in [RunState::Finished, RunState::Failed, RunState::Canceled, RunState::Unconfirmed] {
            let mut life = AutoResume::new(3, None, None);
            for seconds in 0..1000 {
                assert_eq!(look(&mut life, seconds, state, "a/1"), Next::Leave, "{state:?}");
            }
        }
        let mut off = AutoResume::new(0, None, None);
        assert_eq!(look(&mut off, 0, RunState::StoppedEarly, "a/1"), Next::Leave);
    }

    #[test]
    fn an_end_that_turns_out_a_finish_is_left_alone() {
        let mut life = AutoResume::new(3, None, None);
        waits(&look(&mut life, 0, RunState::StoppedEarly, "a/1"));
        assert_eq!(look(&mut life, 5, RunState::Finished, "a/1"), Next::Leave);
    }

    #[test]
    fn a_resumption_that_shows_no_effect_is_tried_again_after_a_while_and_counts() {
        let mut life = AutoResume::new(2, None, None);
        waits(&look(&mut life, 0, RunState::StoppedEarly, "?/?"));
        assert!(matches!(look(&mut life, 5, RunState::StoppedEarly, "?/?"), Next::Resume { attempt: 1, .. }));
        life.sent(at(5), "?/?");
        assert_eq!(waits(&look(&mut life, 124, RunState::StoppedEarly, "?/?")), 1);
        assert_eq!(waits(&look(&mut life, 125, RunState::StoppedEarly, "?/?")), 10);
        assert!(matches!(
            look(&mut life, 135, RunState::StoppedEarly, "?/?"),
            Next::Resume { attempt: 2, .. }
        ));
    }

    #[test]
    fn what_did_not_arrive_does_not_count_and_what_is_refused_ends_it() {
        let mut life = AutoResume::new(1, None, None);
        waits(&look(&mut life, 0, RunState::StoppedEarly, "a/1"));
        assert!(matches!(look(&mut life, 5, RunState::StoppedEarly, "a/1"), Next::Resume { .. }));
        assert_eq!(life.not_sent(at(5), Some(at(30))), at(30));
        assert_eq!(waits(&look(&mut life, 10, RunState::StoppedEarly, "a/1")), 25);
        assert!(matches!(
            look(&mut life, 35, RunState::StoppedEarly, "a/1"),
            Next::Resume { attempt: 1, .. }
        ));
        life.refused("a/1");
        assert_eq!(look(&mut life, 40, RunState::StoppedEarly, "a/1"), Next::Leave);
        assert!(
            matches!(look(&mut life, 90, RunState::StoppedEarly, "b/2"), Next::Wait { .. }),
            "another run"
        );
    }

    #[test]
    fn after_a_resumption_by_hand_the_old_end_is_waited_out() {
        let mut life = AutoResume::new(0, Some(Duration::from_secs(1)), Some("a/1".to_owned()));
        assert_eq!(waits(&look(&mut life, 7, RunState::Failed, "a/1")), 1);
        assert_eq!(waits(&look(&mut life, 126, RunState::Failed, "a/1")), 1);
        assert_eq!(look(&mut life, 127, RunState::Failed, "a/1"), Next::Leave, "it really is the end");
        let mut quick = AutoResume::new(0, None, Some("a/1".to_owned()));
        assert_eq!(look(&mut quick, 5, RunState::Finished, "b/2"), Next::Leave, "a new end");
    }

    #[test]
    fn waits_are_bounded() {
        let mut life = AutoResume::new(u32::MAX, None, None);
        (life.sent, life.futile, life.furthest) = (u32::MAX - 1, u32::MAX - 1, 700);
        assert_eq!(waits(&look(&mut life, 0, RunState::StoppedEarly, "a/1")), 600);
    }
}
