//! The dead-man's alarm: a job that says RUNNING and makes nothing any more still costs money.

use std::time::Duration;

use super::run_state::RunState;

/// Training pauses while it saves and draws samples, for about as long as one interval at the most.
const INTERVALS: u32 = 3;

/// Time without polls (a machine asleep, an API away) is no evidence about the job beyond this.
const LONGEST_GAP: Duration = Duration::from_secs(120);

/// What has been learned of a job's rhythm. Times are durations since any fixed moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarm {
    looked: Option<Duration>,
    last: Option<(Option<u64>, Option<u64>)>,
    quiet: Duration,
    longest: Duration,
    is_reported: bool,
}

/// What one look saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sign {
    pub state: RunState,
    pub step: Option<u64>,
    /// The newest checkpoint's step, or how many there are: anything that changes with a new one.
    pub newest: Option<u64>,
    /// Steps between two saves, as far as known.
    pub save_every: Option<u64>,
    /// Seconds that a step takes, as far as known.
    pub seconds_a_step: Option<f64>,
    /// The longest wait between two looks: nothing shorter can be seen.
    pub between_looks: Duration,
}

/// Nothing new for far too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    pub quiet: Duration,
    /// How long it usually takes to the next save.
    pub usual: Duration,
}

impl Alarm {
    /// Takes in a look; returns a stall once, when it has lasted for three times the learned interval.
    pub(crate) fn next(&mut self, now: Duration, sign: &Sign) -> Option<Stall> {
        let since = now.saturating_sub(self.looked.replace(now).unwrap_or(now));
        if sign.state != RunState::Running {
            // In the queue nothing is billed; a new run begins a new story at the old rhythm.
            *self = Self { longest: self.longest, ..Self::default() };
            return None;
        }
        self.quiet += since.min(LONGEST_GAP);
        let news = (sign.step, sign.newest);
        if self.last != Some(news) {
            if self.last.is_some() {
                self.longest = self.longest.max(self.quiet);
            }
            *self = Self { last: Some(news), quiet: Duration::ZERO, is_reported: false, ..*self };
            return None;
        }
        let usual = usual(sign)?.max(self.longest).max(sign.between_looks);
        if self.is_reported || self.quiet < usual * INTERVALS {
            return None;
        }
        self.is_reported = true;
        Some(Stall { quiet: self.quiet, usual })
    }
}

/// Returns the time between two saves, once a save and a pace have been seen: before, loading a model may take long.
fn usual(sign: &Sign) -> Option<Duration> {
    let every = u32::try_from(sign.save_every.filter(|every| *every > 0)?).ok()?;
    Duration::try_from_secs_f64(f64::from(every) * sign.seconds_a_step?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(step: u64) -> Sign {
        Sign {
            state: RunState::Running,
            step: Some(step),
            newest: Some(step / 250),
            save_every: Some(250),
            seconds_a_step: Some(2.0),
            between_looks: Duration::from_secs(60),
        }
    }

    /// Looks every ten seconds at a job without progress; returns when the alarm is raised.
    fn alarms(alarm: &mut Alarm, from: u64, until: u64, sign: &Sign) -> Vec<u64> {
        (from..until)
            .step_by(10)
            .filter(|now| alarm.next(Duration::from_secs(*now), sign).is_some())
            .collect()
    }

    #[test]
    fn three_intervals_without_news_raise_it_once() {
        let mut alarm = Alarm::default();
        assert_eq!(alarms(&mut alarm, 0, 10_000, &sign(300)), [1500]);
        assert_eq!(alarms(&mut alarm, 10_000, 10_010, &sign(301)), [0; 0], "news");
        // A gap that was survived is part of the rhythm from then on.
        assert_eq!(alarms(&mut alarm, 10_010, 50_000, &sign(301)), [10_000 + 3 * 10_000]);
    }

    #[test]
    fn only_a_running_job_with_a_rhythm_is_watched() {
        for still in [
            Sign { state: RunState::Queued, ..sign(300) },
            Sign { state: RunState::StoppedEarly, ..sign(300) },
            Sign { save_every: None, ..sign(0) },
            Sign { seconds_a_step: None, ..sign(0) },
            Sign { seconds_a_step: Some(f64::NAN), ..sign(0) },
        ] {
            assert_eq!(alarms(&mut Alarm::default(), 0, 100_000, &still), [0; 0], "{still:?}");
        }
    }

    #[test]
    fn a_checkpoint_is_news_and_so_is_a_step_backwards() {
        let mut alarm = Alarm::default();
        assert_eq!(alarms(&mut alarm, 0, 1400, &sign(300)), [0; 0]);
        assert_eq!(alarms(&mut alarm, 1400, 2800, &Sign { newest: Some(9), ..sign(300) }), [0; 0]);
        assert_eq!(alarms(&mut alarm, 2800, 4200, &sign(250)), [0; 0]);
    }

    #[test]
    fn time_without_polls_does_not_count() {
        let mut alarm = Alarm::default();
        alarm.next(Duration::ZERO, &sign(300));
        assert_eq!(alarm.next(Duration::from_secs(100_000), &sign(300)), None, "the lid was closed");
        assert_eq!(alarms(&mut alarm, 100_010, 200_000, &sign(300)), [100_000 + 1500 - 120]);
    }

    #[test]
    fn quick_looks_do_not_make_a_hasty_alarm() {
        let fast = Sign { seconds_a_step: Some(0.001), ..sign(300) };
        assert_eq!(alarms(&mut Alarm::default(), 0, 1000, &fast), [180]);
    }
}
