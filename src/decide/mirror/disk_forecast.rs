//! Whether the disk will last until the run's end: known at its first saves, and not from a full disk at night.

use serde::Serialize;

/// What the run will still make, and what there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Course {
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps between two saves.
    pub save_every: u64,
    /// Bytes of one save, as far as seen: of all its files together.
    pub save_bytes: u64,
    /// Bytes of all samples so far.
    pub sample_bytes: u64,
    /// Bytes that may still be written, without those of files that are listed already.
    pub room: u64,
}

/// The disk will not last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Full {
    /// The first save that there will be no room for.
    pub at_step: u64,
    /// Bytes that the run will still make.
    pub needs: u64,
    /// Bytes that may still be written.
    pub room: u64,
}

/// Says whether the disk will be full before the run's end. A save of which nothing is known weighs nothing.
#[must_use]
pub(crate) fn forecast(course: &Course) -> Option<Full> {
    let Course { step, steps, save_every, save_bytes, sample_bytes, room } = *course;
    let done = step.checked_div(save_every)?;
    // Numbered saves stop before the last step; the final one comes after it.
    let saves = (steps.checked_sub(1)? / save_every).saturating_sub(done).saturating_add(1);
    if step >= steps {
        return None;
    }
    let samples_a_save = u128::from(sample_bytes) * u128::from(save_every) / u128::from(step.max(save_every));
    let a_save = u128::from(save_bytes) + samples_a_save;
    let needs = u64::try_from(a_save * u128::from(saves)).unwrap_or(u64::MAX);
    if needs <= room {
        return None;
    }
    let fit = u64::try_from(u128::from(room).checked_div(a_save)?).unwrap_or(u64::MAX);
    let at_step = done.saturating_add(fit).saturating_add(1).saturating_mul(save_every).min(steps);
    Some(Full { at_step, needs, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COURSE: Course =
        Course { step: 260, steps: 2000, save_every: 250, save_bytes: 100, sample_bytes: 0, room: 0 };

    #[test]
    fn every_save_to_come_is_counted_and_the_last_one() {
        // 500, 750, 1000, 1250, 1500, 1750 and the final one.
        assert_eq!(forecast(&Course { room: 700, ..COURSE }), None);
        assert_eq!(
            forecast(&Course { room: 699, ..COURSE }),
            Some(Full { at_step: 2000, needs: 700, room: 699 })
        );
        assert_eq!(forecast(&Course { room: 450, ..COURSE }).unwrap().at_step, 1500, "four fit");
        assert_eq!(forecast(&COURSE).unwrap().at_step, 500);
    }

    #[test]
    fn samples_are_counted_by_their_pace() {
        let course = Course { step: 500, sample_bytes: 40, room: 719, ..COURSE };
        // Six saves, each with twenty bytes of samples.
        assert_eq!(forecast(&course).unwrap().needs, 720);
        assert_eq!(forecast(&Course { room: 720, ..course }), None);
    }

    #[test]
    fn there_is_no_forecast_where_nothing_is_known() {
        for odd in [
            Course { save_bytes: 0, ..COURSE },
            Course { save_every: 0, ..COURSE },
            Course { steps: 0, ..COURSE },
            Course { step: 2000, ..COURSE },
        ] {
            assert_eq!(forecast(&odd), None, "{odd:?}");
        }
        let huge = Course { steps: u64::MAX, save_every: 1, save_bytes: u64::MAX, room: 5, ..COURSE };
        assert_eq!(forecast(&huge).unwrap().needs, u64::MAX);
    }
}
