//! When to look at the job again: paced by the training itself, so that a new checkpoint is seen soon after it exists
//! without asking all the time.

use std::time::Duration;

use super::run_state::RunState;

/// Looks are never further apart than this, whatever the pace: a save can be asked for at any moment.
const LONGEST: Duration = Duration::from_secs(60);

/// After the end come the last save and the last samples: this many more polls without news.
const LOOKS_AFTER_END: u32 = 2;

/// The first of those looks; each later one waits twice as long.
const AFTER_END: Duration = Duration::from_secs(2);

/// A list that says itself that the job still runs is older than the status that says it does not: it is given this
/// long to catch up.
const LAG: Duration = Duration::from_secs(30);

/// A save is listed a moment after its step: writing it takes time.
const AFTER_SAVE: Duration = Duration::from_secs(2);

/// What has been learned of a run's pace. Times are durations since any fixed moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cadence {
    longest: Option<Duration>,
    last: Option<(Duration, u64)>,
    seconds_a_step: Option<f64>,
    quiet_looks: u32,
    quiet_since: Option<Duration>,
}

/// An end that an earlier run of rcsync saw too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownEnd {
    /// How long nothing has changed since then.
    pub quiet_for: Duration,
    /// Whether the final checkpoint is listed: the trainer writes it last.
    pub has_final: bool,
    /// Whether a file is listed that is not here, or something of the run's own could not be written.
    pub lacks_something: bool,
}

impl KnownEnd {
    /// Whether the looks after the end were made already, so that one more would find nothing new.
    #[must_use]
    pub(crate) fn is_waited_out(&self, look: &Look) -> bool {
        // As long as the polls without news after an end take: 2 s and 4 s.
        let looks_after_end = AFTER_END * ((1 << LOOKS_AFTER_END) - 1);
        let is_quiet = self.has_final || self.quiet_for >= looks_after_end;
        look.state.is_over() && is_quiet && !look.news && !look.lagging && !self.lacks_something
    }
}

/// What one look saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub state: RunState,
    pub step: Option<u64>,
    /// Steps between two saves, as far as known.
    pub save_every: Option<u64>,
    /// Whether it had news: a file, a state, a fault that a later poll may clear.
    pub news: bool,
    /// The list of files says itself that the job is not over, against the status.
    pub lagging: bool,
}

/// What is left when a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// What its last look saw; `news` where the run had any.
    pub look: Look,
    /// Whether a listed file is not here.
    pub missing: bool,
    /// Whether looks after the job's end have found nothing new for long enough.
    pub settled: bool,
    /// How long ago this folder first saw the job in its present state, where known.
    pub state_age: Option<Duration>,
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next {
    /// Look again after this long.
    After(Duration),
    /// The run is over and nothing new came for a while.
    Enough,
}

impl Cadence {
    /// Looks are never closer than this: the API's owner counts them too.
    pub(crate) const SHORTEST: Duration = Duration::from_secs(5);

    /// Begins to learn; `longest` is the longest wait that the user allows.
    #[must_use]
    pub(crate) fn new(longest: Option<Duration>) -> Self {
        Self { longest, ..Self::default() }
    }

    /// Returns what a step takes, as far as two looks at different steps have shown.
    #[must_use]
    pub(crate) const fn seconds_a_step(&self) -> Option<f64> {
        self.seconds_a_step
    }

    /// Takes in a look and says when to look again.
    pub(crate) fn next(&mut self, now: Duration, look: &Look) -> Next {
        self.learn(now, look.step);
        let longest = self.longest.unwrap_or(LONGEST);
        if look.state.is_over() {
            self.quiet_looks = if look.news { 0 } else { self.quiet_looks + 1 };
            self.quiet_since = self.quiet_since.filter(|_| !look.news).or(Some(now));
            let lagging = look.lagging && self.quiet_since.is_some_and(|since| now < since + LAG);
            if self.quiet_looks >= LOOKS_AFTER_END && !lagging {
                return Next::Enough;
            }
            return Next::After((AFTER_END * (1 << self.quiet_looks.min(4))).min(longest));
        }
        (self.quiet_looks, self.quiet_since) = (0, None);
        let wait = match look.state {
            RunState::Queued => LONGEST / 4,
            _ => self.until_next_save(look).unwrap_or(LONGEST / 4),
        };
        Next::After(wait.clamp(Self::SHORTEST, LONGEST).min(longest))
    }

    /// Returns how long after the end of a run another one is worth it; `None` when nothing more will come.
    pub(crate) fn next_run(&mut self, now: Duration, left: &Left) -> Option<Duration> {
        let longest = self.longest.unwrap_or(LONGEST);
        if !left.look.state.is_over() {
            return match self.next(now, &left.look) {
                Next::After(wait) => Some(wait),
                Next::Enough => Some(longest),
            };
        }
        let lagging = left.look.lagging && left.state_age.is_none_or(|age| age < LAG);
        let wait = match () {
            () if left.missing => LONGEST,
            () if left.settled => return None,
            () if left.look.news => AFTER_END,
            () if lagging => LAG,
            () => return None,
        };
        Some(wait.min(longest))
    }

    /// Takes in a look of an earlier run.
    pub(crate) fn recall(&mut self, at: Duration, step: u64) {
        self.learn(at, Some(step));
    }

    fn learn(&mut self, now: Duration, step: Option<u64>) {
        let Some(step) = step else { return };
        match self.last {
            // A resumed run may go back; its pace is learned anew.
            Some((_, before)) if step < before => self.last = Some((now, step)),
            Some((then, before)) if step > before => {
                let taken = now.saturating_sub(then).as_secs_f64() / steps_f64(step - before);
                // Half old, half new: follows a change of machine within a few looks, without trembling.
                self.seconds_a_step =
                    Some(self.seconds_a_step.map_or(taken, |known| f64::midpoint(known, taken)));
                self.last = Some((now, step));
            }
            Some(_) => {}
            None => self.last = Some((now, step)),
        }
    }

    fn until_next_save(&self, look: &Look) -> Option<Duration> {
        let (every, step) = (look.save_every.filter(|every| *every > 0)?, look.step?);
        let left = steps_f64(every - step % every) * self.seconds_a_step?;
        Duration::try_from_secs_f64(left).ok().map(|wait| wait + AFTER_SAVE)
    }
}

/// Steps are far below 2^52, and a rounded one would only change a wait by nothing.
fn steps_f64(steps: u64) -> f64 {
    u32::try_from(steps).map_or_else(|_| f64::from(u32::MAX), f64::from)
}

/// Guesses how many steps lie between two saves: the smallest distance between the steps seen.
#[must_use]
pub(crate) fn save_interval(steps: &[u64]) -> Option<u64> {
    let mut steps = steps.to_vec();
    steps.sort_unstable();
    steps.dedup();
    let gaps = steps.windows(2).map(|pair| pair[1] - pair[0]).min();
    gaps.or_else(|| steps.first().copied().filter(|step| *step > 0))
}

/// Returns the step of the next save after `step`; the last step saves whatever the interval.
#[must_use]
pub(crate) fn next_save(step: u64, every: u64, total: Option<u64>) -> Option<u64> {
    let total = total.filter(|total| *total > 0);
    let next = step.checked_div(every)?.checked_add(1)?.checked_mul(every)?;
    Some(total.map_or(next, |total| next.min(total))).filter(|next| *next > step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(step: u64) -> Look {
        Look { state: RunState::Running, step: Some(step), save_every: Some(250), news: true, lagging: false }
    }

    fn seconds(next: Next) -> f64 {
        match next {
            Next::After(wait) => wait.as_secs_f64(),
            Next::Enough => panic!("not over"),
        }
    }

    #[test]
    fn paced_by_the_training() {
        let mut cadence = Cadence::new(None);
        cadence.next(Duration::from_secs(0), &look(0));
        // 1 s a step, 230 steps to go: the longest wait.
        assert_eq!(seconds(cadence.next(Duration::from_secs(20), &look(20))), 60.0);
        // 30 steps to go.
        assert_eq!(seconds(cadence.next(Duration::from_secs(220), &look(220))), 32.0);
        // The save is due now.
        assert_eq!(seconds(cadence.next(Duration::from_secs(249), &look(249))), 5.0);
        let mut short = Cadence::new(Some(Duration::from_secs(1)));
        assert_eq!(seconds(short.next(Duration::ZERO, &look(0))), 1.0);
    }

    #[test]
    fn an_end_that_is_known_is_not_waited_out_again() {
        let over =
            Look { state: RunState::Finished, step: Some(9), save_every: None, news: false, lagging: false };
        let known = |seconds, has_final, lacks_something| KnownEnd {
            quiet_for: Duration::from_secs(seconds),
            has_final,
            lacks_something,
        };
        assert!(known(0, true, false).is_waited_out(&over));
        assert!(known(6, false, false).is_waited_out(&over));
        assert!(!known(5, false, false).is_waited_out(&over), "the final save may come yet");
        assert!(!known(99, true, true).is_waited_out(&over));
        assert!(!known(99, true, false).is_waited_out(&Look { news: true, ..over }));
        assert!(!known(99, true, false).is_waited_out(&Look { lagging: true, ..over }));
        assert!(!known(99, true, false).is_waited_out(&Look { state: RunState::Running, ..over }));
    }

    #[test]
    fn a_few_more_looks_after_the_end() {
        let mut cadence = Cadence::new(None);
        let over =
            |news| Look { state: RunState::Finished, step: Some(9), save_every: None, news, lagging: false };
        assert_eq!(cadence.next(Duration::ZERO, &over(true)), Next::After(Duration::from_secs(2)));
        assert_eq!(cadence.next(Duration::ZERO, &over(false)), Next::After(Duration::from_secs(4)));
        assert_eq!(cadence.next(Duration::ZERO, &over(false)), Next::Enough);
        assert!(matches!(cadence.next(Duration::ZERO, &look(9)), Next::After(_)), "revived");
    }

    #[test]
    fn a_list_that_lags_is_waited_for_but_not_for_ever() {
        let mut cadence = Cadence::new(None);
        let lagging =
            Look { state: RunState::Finished, step: Some(9), save_every: None, news: false, lagging: true };
        for second in [0, 4, 12, 28] {
            assert!(matches!(cadence.next(Duration::from_secs(second), &lagging), Next::After(_)));
        }
        assert_eq!(cadence.next(Duration::from_secs(60), &lagging), Next::Enough);
    }

    #[test]
    fn what_a_scheduler_does_after_a_run() {
        let seconds = Duration::from_secs;
        let over = |news, lagging| Look {
            state: RunState::Finished,
            step: Some(9),
            save_every: None,
            news,
            lagging,
        };
        let left = |look| Left { look, missing: false, settled: false, state_age: None };
        for (name, left, next) in [
            ("files came, so more may", left(over(true, false)), Some(2)),
            ("nothing new", left(over(false, false)), None),
            ("followed to the end", Left { settled: true, ..left(over(true, true)) }, None),
            (
                "a file is missing",
                Left { missing: true, settled: true, ..left(over(false, false)) },
                Some(60),
            ),
            ("the list lags behind", left(over(false, true)), Some(30)),
            (
                "… and has for a minute",
                Left { state_age: Some(seconds(60)), ..left(over(false, true)) },
                None,
            ),
            ("it trains at an unknown pace", left(look(20)), Some(15)),
            ("it trains, and a file is missing", Left { missing: true, ..left(look(20)) }, Some(15)),
        ] {
            let got = Cadence::new(None).next_run(Duration::ZERO, &left);
            assert_eq!(got, next.map(seconds), "{name}");
        }
    }

    #[test]
    fn the_pace_of_earlier_runs_is_known_to_a_single_pass() {
        let mut cadence = Cadence::new(None);
        cadence.recall(Duration::from_secs(1000), 100);
        cadence.recall(Duration::from_secs(1100), 200);
        let left = Left { look: look(220), missing: false, settled: false, state_age: None };
        // 30 steps of a second, and the save itself.
        assert_eq!(cadence.next_run(Duration::from_secs(1120), &left), Some(Duration::from_secs(32)));
    }

    #[test]
    fn the_next_save() {
        for (step, every, total, next) in [
            (0, 250, Some(2000), Some(250)),
            (249, 250, Some(2000), Some(250)),
            (250, 250, Some(2000), Some(500)),
            (1800, 250, Some(1900), Some(1900)),
            (1900, 250, Some(1900), None),
            (300, 250, Some(0), Some(500)),
            (300, 250, None, Some(500)),
            (300, 0, None, None),
            (u64::MAX, 250, None, None),
        ] {
            assert_eq!(next_save(step, every, total), next, "{step} {every} {total:?}");
        }
    }

    #[test]
    fn the_interval_between_saves() {
        assert_eq!(save_interval(&[]), None);
        assert_eq!(save_interval(&[250]), Some(250));
        assert_eq!(save_interval(&[1000, 500, 750, 750]), Some(250));
    }
}
