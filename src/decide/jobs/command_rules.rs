//! Which commands fit which state of a job: the documented rules.

use crate::model::job::JobStatus;

/// A command that changes a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Only for a job that waits or trains.
    Cancel,
    /// Only for a job that ended, however it did.
    Resume,
    /// Only for a job that ended, however it did.
    Edit,
}

/// Whether a command fits a job in this state. Where the state is unknown it does: the API decides then.
#[must_use]
pub(crate) const fn fits(command: Command, status: &JobStatus) -> bool {
    match (command, status) {
        (_, JobStatus::Other(_)) => true,
        (Command::Cancel, status) => status.may_write(),
        (Command::Resume | Command::Edit, status) => !status.may_write(),
    }
}

/// Whether a job in this state shows that the command was carried out; `None` where the state does not show it.
///
/// `before` is the state that the job was in when the command was sent.
#[must_use]
pub(crate) fn was_carried_out(command: Command, before: &JobStatus, now: &JobStatus) -> Option<bool> {
    match command {
        Command::Cancel => Some(*now == JobStatus::Canceled),
        Command::Resume => Some(!before.may_write() && now.may_write()),
        // The same state and the same step, whichever configuration the job has.
        Command::Edit => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [JobStatus; 5] =
        [JobStatus::InQueue, JobStatus::Running, JobStatus::Stopped, JobStatus::Failed, JobStatus::Canceled];

    #[test]
    fn every_command_in_every_state() {
        let fit = |command| STATES.map(|status| fits(command, &status));
        //                               queue  running stopped failed canceled
        assert_eq!(fit(Command::Cancel), [true, true, false, false, false]);
        assert_eq!(fit(Command::Resume), [false, false, true, true, true]);
        assert_eq!(fit(Command::Edit), [false, false, true, true, true]);
        for command in [Command::Cancel, Command::Resume, Command::Edit] {
            assert!(fits(command, &JobStatus::Other("PAUSED".into())));
        }
    }

    #[test]
    fn a_state_shows_what_became_of_a_command() {
        use JobStatus::{Canceled, InQueue, Running, Stopped};
        assert_eq!(was_carried_out(Command::Cancel, &Running, &Canceled), Some(true));
        assert_eq!(was_carried_out(Command::Cancel, &Running, &Running), Some(false));
        assert_eq!(was_carried_out(Command::Resume, &Stopped, &InQueue), Some(true));
        assert_eq!(was_carried_out(Command::Resume, &Stopped, &Stopped), Some(false));
        assert_eq!(was_carried_out(Command::Edit, &Stopped, &Stopped), None);
    }
}
