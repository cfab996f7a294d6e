//! A machine that takes bytes in more slowly than connections deliver them: its disk is busy, or its processors hash.

use std::time::Duration;

use crate::model::units::as_f64;

/// What one look counts for in the average. With looks 25 ms apart it follows a change within two or three of them, sooner than a trial
/// of more connections begins.
const WEIGHT_OF_A_LOOK: f64 = 0.35;

/// From this share of connections on that wait until their last bytes are written, or of the threads' time that writes take, more
/// connections deliver nothing, and each holds memory.
const MOST_HELD_UP: f64 = 0.5;

/// What connections wait for at one look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// Those that wait until another thread has written their last bytes.
    pub(super) held_up: usize,
    /// All that are in use.
    pub(super) connections: usize,
    /// How long connections have written and hashed themselves since the beginning, all their threads together.
    pub(super) writing: Duration,
    /// How many threads connections have.
    pub(super) threads: usize,
}

/// Whether connections wait for this machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// When the last look was, and how long connections had written until then.
    last: Option<(Duration, Duration)>,
    /// The share of connections, or of their threads' time, that waits; on average. A machine that is slow from the first bytes on
    /// is to be known before the first trial, so the average begins with the first share.
    held_up: Option<f64>,
}

impl Machine {
    pub(super) fn observe(&mut self, now: Duration, waits: &Waits) {
        let Some((before, written)) = self.last.replace((now, waits.writing)) else { return };
        let had = now.saturating_sub(before).as_secs_f64() * as_f64(waits.threads.max(1) as u64);
        let of_time = waits.writing.saturating_sub(written).as_secs_f64() / had;
        let of_connections = as_f64(waits.held_up as u64) / as_f64(waits.connections.max(1) as u64);
        // `max` passes over the quotient of two looks at the same time, which is no number.
        let share = of_connections.max(of_time).min(1.0);
        let average = self.held_up.unwrap_or(share);
        self.held_up = Some(average + (share - average) * WEIGHT_OF_A_LOOK);
    }

    pub(super) fn is_slower(&self) -> bool {
        self.held_up.is_some_and(|share| share > MOST_HELD_UP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a machine of two threads and three connections every 25 ms; returns at which looks it was slower.
    struct Looks {
        machine: Machine,
        now: Duration,
        writing: Duration,
    }

    impl Looks {
        fn look(&mut self, count: usize, held_up: usize, writing: Duration) -> Vec<bool> {
            let look = |_| {
                self.now += Duration::from_millis(25);
                self.writing += writing;
                let waits = Waits { held_up, connections: 3, writing: self.writing, threads: 2 };
                self.machine.observe(self.now, &waits);
                self.machine.is_slower()
            };
            (0..count).map(look).collect()
        }
    }

    fn looks() -> Looks {
        Looks { machine: Machine::default(), now: Duration::ZERO, writing: Duration::ZERO }
    }

    #[test]
    fn a_machine_is_slower_when_most_connections_wait_for_it_for_a_while() {
        let mut looks = looks();
        let mut look = |held_up, count| looks.look(count, held_up, Duration::ZERO);
        assert_eq!(look(1, 40), [false; 40], "a group is written now and then");
        assert_eq!(look(3, 3), [true; 3], "a disk that takes nothing");
        assert_eq!(look(0, 2), [true, false], "it takes bytes again");
        assert_eq!(look(2, 40).last(), Some(&true), "a disk that takes a third");
    }

    #[test]
    fn a_machine_is_slower_when_writes_take_most_of_the_threads_time() {
        let mut looks = looks();
        let mut look = |millis, count| looks.look(count, 0, Duration::from_millis(millis));
        assert_eq!(look(20, 40), [false; 40], "two fifths of two threads");
        assert_eq!(look(45, 40).last(), Some(&true), "nine tenths");
        assert_eq!(look(0, 3), [true, false, false], "no bytes arrive");
    }

    #[test]
    fn a_machine_that_is_slow_from_the_first_bytes_on_is_known_before_the_first_trial() {
        assert_eq!(looks().look(3, 0, Duration::from_millis(35)), [false, true, true]);
        assert_eq!(looks().look(3, 2, Duration::ZERO), [false, true, true]);
    }

    #[test]
    fn no_connection_waits_where_there_is_none() {
        let mut machine = Machine::default();
        let none = Waits { held_up: 0, connections: 0, writing: Duration::ZERO, threads: 0 };
        machine.observe(Duration::ZERO, &none);
        machine.observe(Duration::ZERO, &none);
        assert!(!machine.is_slower());
    }
}
