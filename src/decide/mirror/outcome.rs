//! How a run ended: which wanted files are missing, and the exit status that follows.

use std::collections::{HashMap, HashSet};

use crate::decide::transfer::task::Missing;
use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKey;
use crate::model::manifest::{Entry, EntryState, Manifest};

use super::run_state::RunState;

/// What the exit status of a run depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// The last state of the job.
    pub(crate) state: RunState,
    /// A single pass was asked for.
    pub(crate) once: bool,
    /// The run lasted as long as it may.
    pub(crate) timed_out: bool,
    /// The disk refused a wanted file.
    pub(crate) disk_refused: bool,
    /// What could not be written besides files, and was not repaired since: its exit status.
    pub(crate) trouble: Option<ExitStatus>,
    /// A wanted file is not here.
    pub(crate) lacks_files: bool,
}

impl Outcome {
    /// Returns the exit status of a run that was not interrupted.
    pub(crate) const fn exit_status(&self) -> ExitStatus {
        match self {
            Self { disk_refused: true, .. } => ExitStatus::Disk,
            Self { trouble: Some(status), .. } => *status,
            Self { lacks_files: true, .. } => ExitStatus::TryAgain,
            Self { once: true, .. } => ExitStatus::Complete,
            Self { timed_out: true, state, .. } if !state.is_over() => ExitStatus::TryAgain,
            Self { state, .. } => state.exit_status(),
        }
    }
}

/// Counts the files that are here, offered still or not, and names the wanted ones that are not. The manifest alone does not
/// decide: a file that was deleted here and is offered no more is not here (`is_there` reads the disk), nor is one that was changed
/// or deleted here and that its host no longer has (`is_untouched`), and one whose new bytes could not be fetched is not what
/// is listed.
pub(crate) fn count(
    manifest: &Manifest,
    why: &HashMap<ArtifactKey, Missing>,
    wanted: &[ArtifactKey],
    is_there: impl Fn(&Entry) -> bool,
    is_untouched: impl Fn(&Entry) -> bool,
) -> (u64, Vec<ArtifactKey>) {
    let planned: HashSet<&ArtifactKey> = wanted.iter().collect();
    let is_here = |key: &ArtifactKey| {
        let entry = manifest.entries.get(key).filter(|entry| entry.state == EntryState::Present);
        entry.is_some_and(|entry| match why.get(key) {
            // The plan of what is wanted has read the disk already.
            None => planned.contains(key) || is_there(entry),
            Some(Missing::Vanished) => is_untouched(entry),
            Some(Missing::Settling | Missing::Failed(_)) => false,
        })
    };
    let present = manifest.entries.keys().filter(|key| is_here(key)).count() as u64;
    // What was removed on purpose since it was planned is not missing.
    let is_pruned =
        |key: &ArtifactKey| manifest.entries.get(key).is_some_and(|entry| entry.state == EntryState::Pruned);
    (present, wanted.iter().filter(|key| !is_here(key) && !is_pruned(key)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::transfer::task::FailureCause;
    use crate::model::artifact::ArtifactKind::Checkpoint;
    use crate::model::manifest::examples;

    const COMPLETE: Outcome = Outcome {
        state: RunState::Finished,
        once: false,
        timed_out: false,
        disk_refused: false,
        trouble: None,
        lacks_files: false,
    };

    #[test]
    fn the_exit_status_is_that_of_the_gravest_fact() {
        let running = Outcome { state: RunState::Running, ..COMPLETE };
        let rows = [
            (COMPLETE, ExitStatus::Complete),
            (Outcome { state: RunState::Failed, ..COMPLETE }, ExitStatus::Negative),
            (Outcome { state: RunState::Failed, once: true, ..COMPLETE }, ExitStatus::Complete),
            (Outcome { once: true, ..running }, ExitStatus::Complete),
            (running, ExitStatus::TryAgain),
            (Outcome { timed_out: true, ..running }, ExitStatus::TryAgain),
            (Outcome { timed_out: true, ..COMPLETE }, ExitStatus::Complete),
            (Outcome { lacks_files: true, ..COMPLETE }, ExitStatus::TryAgain),
            (Outcome { lacks_files: true, once: true, ..COMPLETE }, ExitStatus::TryAgain),
            (
                Outcome { lacks_files: true, trouble: Some(ExitStatus::CannotCreate), ..COMPLETE },
                ExitStatus::CannotCreate,
            ),
            (
                Outcome { disk_refused: true, trouble: Some(ExitStatus::CannotCreate), ..COMPLETE },
                ExitStatus::Disk,
            ),
        ];
        for (outcome, expected) in rows {
            assert_eq!(outcome.exit_status(), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_file_is_here_where_manifest_disk_and_host_agree() {
        let manifest = examples::manifest(&[(Checkpoint, "a.safetensors", Some(1))]);
        let key = manifest.entries.keys().next().unwrap().clone();
        let wanted = [key.clone()];
        let failed = Missing::Failed(FailureCause::Defect);
        let rows = [
            (None, false, 1, 0),
            (Some(Missing::Vanished), true, 1, 0),
            (Some(Missing::Vanished), false, 0, 1),
            (Some(Missing::Settling), true, 0, 1),
            (Some(failed), true, 0, 1),
        ];
        for (why, is_untouched, present, missing) in rows {
            let why: HashMap<ArtifactKey, Missing> = why.into_iter().map(|why| (key.clone(), why)).collect();
            let (here, lacking) = count(&manifest, &why, &wanted, |_| false, |_| is_untouched);
            assert_eq!((here, lacking.len()), (present, missing), "{why:?}, {is_untouched}");
        }
        for (is_there, present) in [(true, 1), (false, 0)] {
            let unlisted = count(&manifest, &HashMap::new(), &[], |_| is_there, |_| false);
            assert_eq!(unlisted, (present, Vec::new()), "what the job offers no more is not missing");
        }
        let mut pruned = manifest;
        pruned.entries.values_mut().for_each(|entry| entry.state = EntryState::Pruned);
        assert_eq!(count(&pruned, &HashMap::new(), &wanted, |_| true, |_| true), (0, Vec::new()));
        let gone = count(&examples::manifest(&[]), &HashMap::new(), &wanted, |_| true, |_| true);
        assert_eq!(gone, (0, wanted.to_vec()));
    }
}
