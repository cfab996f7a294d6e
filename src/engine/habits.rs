//! What this run has learned of each host's way with ranges.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::decide::plain::Habit;

/// Hosts of which something is known.
#[derive(Debug, Default)]
pub(super) struct Habits {
    known: Mutex<HashMap<Box<str>, Habit>>,
}

impl Habits {
    pub(super) fn of(&self, host: &str) -> Habit {
        self.known().get(host).copied().unwrap_or_default()
    }

    pub(super) fn learn(&self, host: &str, habit: Habit) {
        let mut known = self.known();
        if known.get(host) != Some(&habit) {
            known.insert(host.into(), habit);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, Habit>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
