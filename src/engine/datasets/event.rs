//! What happens while a folder is sent into a dataset.
//!
//! An event serializes as one object with the names that the JSON lines of the program have; causes are structured.

use std::time::Duration;

use serde::Serialize;

use crate::decide::datasets::push::plan::Renamed;
use crate::decide::datasets::push::ready::Difference;
use crate::decide::datasets::push::sending::{Route, SendFault};
use crate::error::{Error, ExitStatus};
use crate::model::dataset::DatasetStatus;
use crate::model::digest::Sha256Digest;
use crate::model::units::as_seconds;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub(crate) enum PushEvent {
    /// What is to be done is known.
    #[serde(rename = "plan")]
    Planned {
        /// Files that will be sent.
        send: u64,
        /// Their bytes.
        bytes: u64,
        /// Files that the dataset has.
        present: u64,
        /// Those among them of which name and length alone are known to be the same.
        same_length: u64,
    },
    /// The dataset was created.
    Created {
        /// Its id.
        #[serde(skip)]
        id: String,
    },
    /// A try to send a file begins.
    Sending {
        /// The file.
        path: String,
        /// Its length.
        size: u64,
        /// Which way.
        route: Route,
    },
    /// So much of a try is given to the connection. For bars; not part of the JSON stream.
    Progress {
        /// The file.
        path: String,
        /// Bytes since the try began.
        bytes: u64,
    },
    /// A file was accepted.
    Sent {
        /// The file.
        path: String,
        /// Its length.
        size: u64,
        /// The SHA-256 of what was sent.
        sha256: Sha256Digest,
        /// Since its first try began.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        elapsed: Duration,
    },
    /// Something is tried again after a wait.
    Retrying {
        /// The file; none where it is about all of them.
        path: Option<String>,
        /// Why.
        cause: RetriedPush,
        /// How long it waits.
        #[serde(rename = "wait_seconds", serialize_with = "as_seconds")]
        wait: Duration,
    },
    /// All is sent; the dataset is not READY yet.
    Waiting {
        /// Its status.
        status: DatasetStatus,
        /// Files in its inventory, where it has one.
        #[serde(rename = "files")]
        listed: Option<u64>,
        /// Files of the folder.
        of: u64,
    },
    /// The dataset is READY and has exactly the folder's files.
    Ready {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A file could not be sent, or the dataset is not what it should be.
    Failed {
        /// The file; none where it is about the dataset.
        path: Option<String>,
        /// Why.
        cause: FailedPush,
    },
    /// Something that the user should know.
    Notice {
        /// It.
        notice: PushNotice,
    },
    /// The end.
    Done {
        /// How.
        #[serde(rename = "exit_code")]
        exit: ExitStatus,
        /// Files that were sent.
        sent: u64,
        /// Their bytes.
        bytes: u64,
        /// Files that needed no sending.
        present: u64,
        /// Files that could not be sent.
        failed: u64,
        /// Since it began.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        elapsed: Duration,
    },
}

/// What users should know of a push, beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PushNotice {
    /// What is sent cannot be recorded: a later push compares names and lengths alone.
    NotRecorded(Error),
    /// From now on what is sent is not recorded.
    RecordedNoMore(Error),
    /// This file cannot be sent.
    LeftOut(String),
    /// The API keeps these files under other names.
    OtherNames(Vec<String>),
}

/// Why something is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RetriedPush {
    /// What is wrong with the last try.
    pub fault: SendFault,
    /// How many files are sent at a time from now on, where that is fewer than before.
    pub at_a_time: Option<usize>,
}

impl RetriedPush {
    pub(crate) fn after(fault: impl Into<SendFault>) -> Self {
        Self { fault: fault.into(), at_a_time: None }
    }
}

/// Why a file could not be sent, or the dataset is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailedPush {
    /// Sending it failed, and no other try would help.
    Fault(SendFault),
    /// The folder is not what it was when the push began.
    Meanwhile(Meanwhile),
    /// The API gives names to files that part what belongs together: which files.
    Renamed(Renamed),
    /// Validation refused the dataset: why, in the API's words, where it gives a reason.
    Refused(Option<String>),
    /// Its inventory is not the folder's.
    Different {
        /// Its status.
        status: DatasetStatus,
        /// What is different.
        difference: Difference,
    },
    /// It is not READY after the wait that was asked for.
    NotReady {
        /// Its status.
        status: DatasetStatus,
        /// How long it was waited for.
        #[serde(serialize_with = "as_seconds")]
        waited: Duration,
    },
}

/// What became of a file while others were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Meanwhile {
    /// It is new in the folder.
    Came,
    /// Its length or change time is another.
    Changed,
    /// It is no longer in the folder.
    Went,
}

/// Receives what happens. Called from several threads.
pub(crate) trait PushReporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: &PushEvent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fault::LocalFault;

    #[test]
    fn causes_are_structured() {
        let json = |event: &PushEvent| serde_json::to_string(event).unwrap();
        let cause = RetriedPush { fault: LocalFault::Changed.into(), at_a_time: Some(2) };
        let wait = Duration::from_millis(1500);
        assert_eq!(
            json(&PushEvent::Retrying { path: Some("a.jpg".to_owned()), cause, wait }),
            r#"{"event":"retrying","path":"a.jpg","cause":{"fault":{"local":"changed"},"at_a_time":2},"wait_seconds":1.5}"#
        );
        let difference = Difference {
            missing: vec!["a.jpg".to_owned()],
            lengths: vec![("b.jpg".to_owned(), 7, 8)],
            foreign: Vec::new(),
        };
        let cause = FailedPush::Different { status: DatasetStatus::Ready, difference };
        assert_eq!(
            json(&PushEvent::Failed { path: None, cause }),
            r#"{"event":"failed","path":null,"cause":{"different":{"status":"READY","difference":{"missing":["a.jpg"],"lengths":[["b.jpg",7,8]],"foreign":[]}}}}"#
        );
        let files = ("a.jpg".to_owned(), "b.jpg".to_owned());
        let cause = FailedPush::Renamed(Renamed::Merged { files, stored_as: "x.jpg".to_owned() });
        assert_eq!(
            json(&PushEvent::Failed { path: None, cause }),
            r#"{"event":"failed","path":null,"cause":{"renamed":{"merged":{"files":["a.jpg","b.jpg"],"stored_as":"x.jpg"}}}}"#
        );
    }
}
