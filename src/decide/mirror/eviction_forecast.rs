//! Which saves the link cannot deliver before the trainer deletes them.
//!
//! The trainer keeps its newest few saves and deletes the oldest one after each new one, so every save has a last
//! moment. Saves are fetched oldest first, which is the order of those moments: no other order saves more of them.

use std::time::Duration;

use serde::Serialize;

use crate::model::units::{as_f64, as_seconds};

/// A numbered save that the trainer has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Save {
    pub step: u64,
    /// Bytes of it that are not here yet.
    pub left: u64,
}

/// The race between the link and the trainer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Race<'a> {
    /// The saves that are offered, oldest first.
    pub saves: &'a [Save],
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps between two saves.
    pub save_every: u64,
    /// How many saves the trainer keeps.
    pub keep: u64,
    /// What a step takes, in seconds.
    pub seconds_a_step: f64,
    /// What the link delivers, in bytes a second.
    pub rate: f64,
}

/// A save that will be gone before it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Late {
    /// Its step.
    pub step: u64,
    /// When the trainer deletes it, from now.
    #[serde(serialize_with = "as_seconds")]
    pub goes_in: Duration,
    /// How long the link needs until it is here, with everything that goes before it.
    #[serde(serialize_with = "as_seconds")]
    pub needs: Duration,
}

/// Returns the saves that the link cannot deliver in time, oldest first.
#[must_use]
pub(crate) fn late(race: &Race<'_>) -> Vec<Late> {
    let mut found = Vec::new();
    let mut before = 0.0;
    for (index, save) in race.saves.iter().enumerate() {
        if save.left == 0 {
            continue;
        }
        before += as_f64(save.left);
        let newer = (race.saves.len() - index - 1) as u64;
        let Some(goes_in) = goes_in(race, newer) else { continue };
        let Ok(needs) = Duration::try_from_secs_f64(before / race.rate) else { continue };
        if needs > goes_in {
            found.push(Late { step: save.step, goes_in, needs });
        }
    }
    found
}

/// When the trainer deletes a save with so many newer ones; `None` where it never does.
fn goes_in(race: &Race<'_>, newer: u64) -> Option<Duration> {
    // Deleted right after the save that makes it one too many.
    let more = race.keep.saturating_sub(newer).max(1);
    let last = race.step.checked_div(race.save_every)?.saturating_add(more).saturating_mul(race.save_every);
    // The run's last save has no number and pushes nothing out.
    if last >= race.steps {
        return None;
    }
    Duration::try_from_secs_f64(as_f64(last - race.step) * race.seconds_a_step).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVES: [Save; 3] =
        [Save { step: 250, left: 0 }, Save { step: 500, left: 420 }, Save { step: 750, left: 420 }];

    fn race(rate: f64) -> Race<'static> {
        Race { saves: &SAVES, step: 760, steps: 3000, save_every: 250, keep: 2, seconds_a_step: 1.0, rate }
    }

    #[test]
    fn a_save_goes_when_enough_newer_ones_are_there() {
        // One save is newer than step 500; the next one, at 1000, makes it one too many.
        assert_eq!(
            late(&race(1.0)),
            [
                Late { step: 500, goes_in: Duration::from_secs(240), needs: Duration::from_secs(420) },
                Late { step: 750, goes_in: Duration::from_secs(490), needs: Duration::from_secs(840) },
            ]
        );
        assert_eq!(late(&race(1.72)).len(), 1, "what is in time for one may be too late for the next");
        assert_eq!(late(&race(2.0)), []);
    }

    #[test]
    fn what_the_run_s_end_does_not_push_out_stays() {
        let near_the_end = Race { steps: 1000, ..race(0.001) };
        assert_eq!(late(&near_the_end), [], "the last save has no number");
        let keeps_many = Race { keep: 50, ..race(0.001) };
        assert_eq!(late(&keeps_many), []);
        for odd in [Race { save_every: 0, ..race(1.0) }, race(0.0), race(f64::NAN)] {
            assert_eq!(late(&odd), []);
        }
    }
}
