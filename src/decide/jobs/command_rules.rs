//! Which commands fit which state of a job: the documented rules, each refusal as a sentence with a way out.

use crate::model::job::{JobId, JobStatus};

/// A command that changes a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Only for a job that waits or trains.
    Cancel,
    /// Only for a job that ended, however it did.
    Resume,
    /// Only for a job that ended, however it did.
    Edit,
}

/// Why a command does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// A sentence without its full stop.
    pub why: String,
    /// What to type instead.
    pub next: String,
}

/// Returns why a command does not fit a job in this state; `None` where it does, and where the state is unknown: the
/// API decides then.
#[must_use]
pub fn misfit(command: Command, job: &JobId, status: &JobStatus) -> Option<Misfit> {
    let misfit = |why: &str, next: String| Some(Misfit { why: format!("job `{job}` {why}"), next });
    match (command, status) {
        (_, JobStatus::Other(_))
        | (Command::Cancel, JobStatus::InQueue | JobStatus::Running)
        | (Command::Resume | Command::Edit, JobStatus::Stopped | JobStatus::Failed | JobStatus::Canceled) => {
            None
        }
        (Command::Cancel, JobStatus::Stopped) => misfit(
            "is STOPPED: there is nothing to cancel",
            format!("`rcsync {job}` fetches what it made; `rcsync resume {job}` lets it go on"),
        ),
        (Command::Cancel, JobStatus::Failed) => misfit(
            "is FAILED: there is nothing to cancel",
            format!("`rcsync status {job}` shows the error; `rcsync {job}` fetches what it made before"),
        ),
        (Command::Cancel, JobStatus::Canceled) => misfit(
            "is CANCELED already",
            format!("`rcsync {job}` fetches what it made; `rcsync resume {job}` lets it go on"),
        ),
        (Command::Resume, JobStatus::InQueue) => misfit(
            "is IN_QUEUE already: it goes on as soon as a GPU is free",
            format!("`rcsync {job}` mirrors it; `rcsync cancel {job}` takes it out of the queue"),
        ),
        (Command::Resume, JobStatus::Running) => misfit(
            "is RUNNING already: there is nothing to resume",
            format!("`rcsync {job}` mirrors it; `rcsync status {job}` shows how far it is"),
        ),
        (Command::Edit, JobStatus::InQueue) => misfit(
            "is IN_QUEUE, and only a job that has ended takes an edit",
            format!("type `rcsync cancel {job}`, then the same command again with `--resume`"),
        ),
        (Command::Edit, JobStatus::Running) => misfit(
            "is RUNNING, and only a job that has ended takes an edit",
            format!(
                "wait for its end (`--watch` does), or type `rcsync cancel {job}`, then the same command again with `--resume`"
            ),
        ),
    }
}

/// Whether a job in this state shows that the command was carried out; `None` where the state does not show it.
///
/// `before` is the state that the job was in when the command was sent.
#[must_use]
pub fn was_carried_out(command: Command, before: &JobStatus, now: &JobStatus) -> Option<bool> {
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
        let job: JobId = "abc-1".parse().unwrap();
        let fits = |command| STATES.map(|status| misfit(command, &job, &status).is_none());
        //                                queue  running stopped failed canceled
        assert_eq!(fits(Command::Cancel), [true, true, false, false, false]);
        assert_eq!(fits(Command::Resume), [false, false, true, true, true]);
        assert_eq!(fits(Command::Edit), [false, false, true, true, true]);
        for command in [Command::Cancel, Command::Resume, Command::Edit] {
            assert_eq!(misfit(command, &job, &JobStatus::Other("PAUSED".into())), None);
            for misfit in STATES.iter().filter_map(|status| misfit(command, &job, status)) {
                assert!(misfit.why.starts_with("job `abc-1` is "), "{}", misfit.why);
                assert!(
                    misfit.next.contains("`rcsync ") && misfit.next.contains("abc-1`"),
                    "{}",
                    misfit.next
                );
            }
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
