//! A machine that takes bytes in more slowly than connections deliver them: its disk is busy, or its processors hash.

use crate::model::units::as_f64;

/// What one look counts for in the average. With looks 25 ms apart it follows a change within two or three of them, sooner than a trial
/// of more connections begins.
const WEIGHT_OF_A_LOOK: f64 = 0.35;

/// From this share of connections on that wait until their last bytes are written, more of them deliver nothing, and each holds memory.
const MOST_HELD_UP: f64 = 0.5;

/// Whether connections wait for this machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// The share of connections that do, on average.
    held_up: f64,
}

impl Machine {
    pub(super) fn observe(&mut self, held_up: usize, connections: usize) {
        let share = as_f64(held_up as u64) / as_f64(connections.max(1) as u64);
        self.held_up += (share.min(1.0) - self.held_up) * WEIGHT_OF_A_LOOK;
    }

    pub(super) fn is_slower(&self) -> bool {
        self.held_up > MOST_HELD_UP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_slower_when_most_connections_wait_for_it_for_a_while() {
        let mut machine = Machine::default();
        let mut look = |held_up, looks| -> Vec<bool> {
            let look = |_| {
                machine.observe(held_up, 3);
                machine.is_slower()
            };
            (0..looks).map(look).collect()
        };
        assert_eq!(look(1, 40), [false; 40], "a group is written now and then");
        assert_eq!(look(3, 3), [true; 3], "a disk that takes nothing");
        assert_eq!(look(0, 2), [true, false], "it takes bytes again");
        assert_eq!(look(2, 40).last(), Some(&true), "a disk that takes a third");
    }

    #[test]
    fn no_connection_waits_where_there_is_none() {
        let mut machine = Machine::default();
        machine.observe(0, 0);
        assert!(!machine.is_slower());
    }
}
