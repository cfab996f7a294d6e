//! When a dataset is as the folder is: its status alone is not enough, since it may be READY between two files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::dataset::{Dataset, DatasetStatus, RemoteFile};

/// How long an inventory that is not the folder may stay as it is before that is taken as the last word.
///
/// Files of a READY dataset were accepted and validated, so that its list is late by seconds at most. Uploads that are
/// not complete may be copied from one storage to another first.
const LATE_WHEN_READY: Duration = Duration::from_secs(15);
const LATE_WHEN_UPLOADING: Duration = Duration::from_secs(180);

/// A listed file is one whose upload is complete, so that its length is late by even less.
const LATE_LENGTH: Duration = Duration::from_secs(4);

/// How long a dataset that had failed before may still be reported as failed after files were sent.
const STALE_FAILURE: Duration = Duration::from_secs(15);

/// The first wait between two looks, and the longest. Each look also makes the API count what has arrived.
const FIRST_WAIT: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a look at a dataset means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It is READY and has exactly the folder's files.
    Ready,
    /// Validation refused it; why, in the API's words, where it gives a reason.
    Failed(Option<String>),
    /// It may become ready.
    Waiting,
    /// Its files are not those of the folder, and nothing moves any more.
    Different(Difference),
}

/// What an inventory has otherwise than a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Difference {
    /// Files that it does not have.
    pub missing: Vec<String>,
    /// Files of another length: name, expected, listed.
    pub lengths: Vec<(String, u64, u64)>,
    /// Files that the folder does not have.
    pub foreign: Vec<String>,
}

/// What is known of the looks before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Past {
    /// How long status and inventory have been what they are now.
    pub unchanged: Duration,
    /// Whether the dataset was FAILED before anything was sent, and something was sent.
    pub had_failed: bool,
}

/// Names, as they are in the dataset, and lengths.
pub(crate) type Expected = BTreeMap<String, u64>;

#[must_use]
pub(crate) fn judge(dataset: &Dataset, expected: &Expected, past: Past) -> Readiness {
    let difference = dataset.files.as_deref().map(|files| difference(expected, files)).unwrap_or_default();
    match &dataset.status {
        DatasetStatus::Failed if past.had_failed && past.unchanged < STALE_FAILURE => Readiness::Waiting,
        DatasetStatus::Failed => Readiness::Failed(dataset.error.clone()),
        DatasetStatus::Ready if difference.is_empty() => Readiness::Ready,
        status => {
            let late = match status {
                DatasetStatus::Ready if !difference.lengths.is_empty() => LATE_LENGTH,
                DatasetStatus::Ready => LATE_WHEN_READY,
                _ => LATE_WHEN_UPLOADING,
            };
            if difference.is_empty() || past.unchanged < late {
                Readiness::Waiting
            } else {
                Readiness::Different(difference)
            }
        }
    }
}

/// Compares an inventory with what it should be. A file without a length is one of the right length.
#[must_use]
pub(crate) fn difference(expected: &Expected, inventory: &[RemoteFile]) -> Difference {
    let listed: BTreeMap<&str, Option<u64>> =
        inventory.iter().map(|file| (file.name.as_str(), file.size)).collect();
    let mut found = Difference::default();
    for (name, size) in expected {
        match listed.get(name.as_str()) {
            None => found.missing.push(name.clone()),
            Some(Some(other)) if other != size => found.lengths.push((name.clone(), *size, *other)),
            Some(_) => {}
        }
    }
    found.foreign =
        listed.keys().filter(|name| !expected.contains_key(**name)).map(|name| (*name).to_owned()).collect();
    found
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.lengths.is_empty() && self.foreign.is_empty()
    }

    /// Whether all of it can be removed by sending files again.
    #[must_use]
    pub(crate) fn is_sendable(&self) -> bool {
        self.foreign.is_empty()
    }
}

/// Returns how long to wait after so many looks.
#[must_use]
pub(crate) fn wait_after(looks: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << (looks / 2).min(10)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(status: DatasetStatus, files: Option<&[(&str, u64)]>) -> Dataset {
        let file = |(name, size): &(&str, u64)| RemoteFile { name: (*name).to_owned(), size: Some(*size) };
        Dataset {
            id: "a".parse().unwrap(),
            name: None,
            status,
            error: None,
            files: files.map(|files| files.iter().map(file).collect()),
            created_at: None,
            updated_at: None,
        }
    }

    fn judged(status: DatasetStatus, files: Option<&[(&str, u64)]>, seconds: u64) -> &'static str {
        let expected = Expected::from([("a.jpg".to_owned(), 1), ("b.jpg".to_owned(), 2)]);
        let past = Past { unchanged: Duration::from_secs(seconds), had_failed: false };
        match judge(&dataset(status, files), &expected, past) {
            Readiness::Ready => "ready",
            Readiness::Failed(_) => "failed",
            Readiness::Waiting => "waiting",
            Readiness::Different(_) => "different",
        }
    }

    #[test]
    fn ready_counts_when_the_inventory_is_the_folder() {
        use DatasetStatus::*;
        let all = Some(&[("a.jpg", 1), ("b.jpg", 2)][..]);
        let one = Some(&[("a.jpg", 1)][..]);
        let more = Some(&[("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 3)][..]);
        let wrong = Some(&[("a.jpg", 1), ("b.jpg", 3)][..]);
        for (status, files, seconds, expected) in [
            (Ready, all, 0, "ready"),
            (Ready, None, 0, "ready"),
            // READY between two files, or a list that is late.
            (Ready, one, 0, "waiting"),
            (Ready, one, 20, "different"),
            (Ready, more, 3, "waiting"),
            (Ready, more, 20, "different"),
            (Ready, wrong, 3, "waiting"),
            (Ready, wrong, 5, "different"),
            (Uploading, all, 3600, "waiting"),
            (Uploading, one, 60, "waiting"),
            (Uploading, one, 200, "different"),
            (Draft, Some(&[]), 5, "waiting"),
            (Other("VALIDATING".into()), all, 500, "waiting"),
            (Failed, all, 0, "failed"),
        ] {
            assert_eq!(judged(status.clone(), files, seconds), expected, "{status} {files:?} {seconds}");
        }
    }

    #[test]
    fn an_old_failure_is_not_believed_at_once() {
        let failed = dataset(DatasetStatus::Failed, Some(&[]));
        let judge_at = |seconds| {
            judge(
                &failed,
                &Expected::new(),
                Past { unchanged: Duration::from_secs(seconds), had_failed: true },
            )
        };
        assert_eq!(judge_at(3), Readiness::Waiting);
        assert!(matches!(judge_at(20), Readiness::Failed(_)));
    }

    #[test]
    fn looks_become_rarer() {
        assert_eq!(wait_after(0), FIRST_WAIT);
        assert!(wait_after(3) > wait_after(1));
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }
}
