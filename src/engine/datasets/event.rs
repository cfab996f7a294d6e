//! What happens while a folder is sent into a dataset.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::decide::datasets::push::plan::Renamed;
use crate::decide::datasets::push::ready::Difference;
use crate::decide::datasets::push::sending::{Route, SendFault};
use crate::error::{Error, ExitStatus, explain_briefly};
use crate::model::dataset::{DatasetStatus, some};
use crate::model::digest::Sha256Digest;
use crate::model::units::as_seconds;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PushEvent {
    /// What is to be done is known.
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
    /// So much of a try is given to the connection.
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
        elapsed: Duration,
    },
    /// Something is tried again after a wait.
    Retrying {
        /// The file; none where it is about all of them.
        path: Option<String>,
        /// Why.
        cause: PushCause,
        /// How long it waits.
        wait: Duration,
    },
    /// All is sent; the dataset is not READY yet.
    Waiting {
        /// Its status.
        status: DatasetStatus,
        /// Files in its inventory, where it has one.
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
        cause: PushCause,
    },
    /// Something that the user should know.
    Notice {
        /// What.
        notice: PushNotice,
    },
    /// The end.
    Done {
        /// How.
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
        elapsed: Duration,
    },
}

/// Why something is tried again, or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushCause {
    /// A request failed.
    Fault(SendFault),
    /// The API takes fewer files than were sent.
    SlowedDown {
        /// Its answer.
        fault: SendFault,
        /// Files that are sent at a time now.
        allowed: usize,
    },
    /// The folder changed while other files were sent.
    Changed(Change),
    /// The names that the API gave take a caption from its picture, or are one name for two files.
    Renamed(Renamed),
    /// The API refused the files; why, in its words.
    Refused(String),
    /// The dataset has other files than the folder.
    Different {
        /// Its status.
        status: DatasetStatus,
        /// What differs.
        difference: Difference,
    },
    /// It is not READY after the time that it was given.
    NotReady {
        /// Its status.
        status: DatasetStatus,
        /// How long it was given.
        #[serde(rename = "waited_seconds", serialize_with = "as_seconds")]
        waited: Duration,
    },
}

impl fmt::Display for PushCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::SlowedDown { fault, allowed } => write!(f, "{fault}; {allowed} at a time now"),
            Self::Changed(Change::Came) => f.write_str("it came into the folder while others were sent"),
            Self::Changed(Change::Changed) => f.write_str("it changed while others were sent"),
            Self::Changed(Change::Gone) => f.write_str("it went from the folder while others were sent"),
            Self::Renamed(renamed) => write!(
                f,
                "{renamed}: rename them to letters, digits, `_` and `-`, and push into a new dataset"
            ),
            Self::Refused(why) => f.write_str(why),
            Self::Different { status, difference } => {
                write!(f, "it is {status} and not as the folder is: {}", difference.words())
            }
            Self::NotReady { status, waited } => {
                write!(f, "it is still {status} after {} s", waited.as_secs())
            }
        }
    }
}

/// What became of a file of the folder while others were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Came,
    /// It has another length or time.
    Changed,
    /// It is not there any more.
    Gone,
}

/// Something that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushNotice {
    /// What is sent cannot be remembered.
    NotRemembered(Error),
    /// What is sent is remembered no more.
    RememberedNoMore(Error),
    /// The API keeps these files under other names.
    OtherNames(Vec<String>),
    /// This file cannot be sent.
    LeftOut(String),
}

impl fmt::Display for PushNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRemembered(error) => write!(
                f,
                "what is sent cannot be remembered, so that a later push compares names and lengths alone: {}",
                explain_briefly(error)
            ),
            Self::RememberedNoMore(error) => {
                write!(f, "what is sent is remembered no more: {}", explain_briefly(error))
            }
            Self::OtherNames(names) => write!(f, "the API keeps {} under other names", some(names)),
            Self::LeftOut(name) => write!(f, "`{name}` cannot be sent and is left out"),
        }
    }
}

/// Receives what happens. Called from several threads.
pub trait PushReporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: &PushEvent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiError;
    use crate::model::fault::Fault;

    fn gone() -> SendFault {
        Fault::Status { status: 404, retry_after: None, excerpt: None }.into()
    }

    fn difference() -> Difference {
        Difference { missing: vec!["a.jpg".to_owned()], ..Difference::default() }
    }

    /// The words are those that lines and JSON lines have had since before causes had types.
    #[test]
    fn every_cause_has_its_words() {
        let busy = ApiError::Busy { status: 429, message: "slow".to_owned(), code: None, retry_after: None };
        let names = || ("a b.jpg".to_owned(), "a?b.jpg".to_owned());
        let status = DatasetStatus::Uploading;
        let rows = [
            (PushCause::Fault(gone()), gone().to_string()),
            (
                PushCause::SlowedDown { fault: busy.clone().into(), allowed: 2 },
                format!("{busy}; 2 at a time now"),
            ),
            (
                PushCause::Changed(Change::Came),
                "it came into the folder while others were sent".to_owned(),
            ),
            (PushCause::Changed(Change::Changed), "it changed while others were sent".to_owned()),
            (
                PushCause::Changed(Change::Gone),
                "it went from the folder while others were sent".to_owned(),
            ),
            (
                PushCause::Renamed(Renamed::Merged { files: names(), stored_as: "a_b.jpg".to_owned() }),
                "`a b.jpg` and `a?b.jpg` are both `a_b.jpg` in the dataset: rename them to letters, digits, `_` and `-`, and push into a new dataset".to_owned(),
            ),
            (PushCause::Refused("no picture".to_owned()), "no picture".to_owned()),
            (
                PushCause::Different { status: status.clone(), difference: difference() },
                "it is UPLOADING and not as the folder is: it lacks `a.jpg`".to_owned(),
            ),
            (
                PushCause::NotReady { status, waited: Duration::from_secs(600) },
                "it is still UPLOADING after 600 s".to_owned(),
            ),
        ];
        for (cause, words) in rows {
            assert_eq!(cause.to_string(), words, "{cause:?}");
        }
    }

    /// What a program gets that serializes causes itself.
    #[test]
    fn causes_are_structured() {
        let json = |cause: &PushCause| serde_json::to_string(cause).unwrap();
        assert_eq!(
            json(&PushCause::Fault(gone())),
            r#"{"fault":{"host":{"status":{"status":404,"retry_after":null,"excerpt":null}}}}"#
        );
        assert_eq!(json(&PushCause::Changed(Change::Gone)), r#"{"changed":"gone"}"#);
        assert_eq!(
            json(&PushCause::Different { status: DatasetStatus::Ready, difference: difference() }),
            r#"{"different":{"status":"READY","difference":{"missing":["a.jpg"],"lengths":[],"foreign":[]}}}"#
        );
        assert_eq!(
            json(&PushCause::NotReady { status: DatasetStatus::Draft, waited: Duration::from_millis(1500) }),
            r#"{"not_ready":{"status":"DRAFT","waited_seconds":1.5}}"#
        );
    }

    #[test]
    fn every_notice_has_its_words() {
        let error = || Error::NoInput("x".into());
        let why = explain_briefly(&error());
        let rows = [
            (
                PushNotice::NotRemembered(error()),
                format!(
                    "what is sent cannot be remembered, so that a later push compares names and lengths alone: {why}"
                ),
            ),
            (PushNotice::RememberedNoMore(error()), format!("what is sent is remembered no more: {why}")),
            (
                PushNotice::OtherNames(vec!["a b.jpg".to_owned()]),
                "the API keeps `a b.jpg` under other names".to_owned(),
            ),
            (PushNotice::LeftOut("a".to_owned()), "`a` cannot be sent and is left out".to_owned()),
        ];
        for (notice, words) in rows {
            assert_eq!(notice.to_string(), words, "{notice:?}");
        }
    }
}
