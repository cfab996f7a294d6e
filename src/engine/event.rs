//! What happens, as typed events: bars, JSON lines, hooks, the ComfyUI mirror and tests read one stream.
//!
//! An event serializes as one object with the names that the JSON lines of the program have; causes are structured.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::decide::mirror::auto_resume::Stopped;
use crate::decide::mirror::plan::{Counts, PlannedStep};
use crate::decide::transfer::task::FailureCause;
use crate::error::{ApiError, BucketError, ExitStatus, lossy};
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::names::rel_path::RelPath;
use crate::model::units::{as_seconds, seconds};

pub(crate) use super::notice::NotAdopted;
pub use super::notice::{
    AfterFailure, ComfyNotice, HookEvent, HookKind, HookTrouble, NoStart, Notice, ServerAnswer,
};

/// Something that happened while mirroring one job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The job was submitted by this command. Always first.
    Submitted {
        /// The new job.
        #[serde(skip)]
        job: JobId,
        /// The job's name, where the API gave one.
        name: Option<String>,
    },
    /// The job was resumed: as asked, or since it stopped early.
    Resumed {
        /// Which resumption of how many at most; `None` where the user asked for it.
        #[serde(flatten, serialize_with = "as_attempt")]
        attempt: Option<(u32, u32)>,
        /// Where the job had stopped, in steps.
        step: Option<u64>,
        /// Why.
        reason: ResumeReason,
    },
    /// A poll showed something new about the job.
    Job {
        /// The job's name, where the API gave one.
        name: Option<String>,
        /// What the job is doing.
        status: JobStatus,
        /// How far it is.
        #[serde(flatten, serialize_with = "as_progress")]
        progress: Progress,
        /// The job's own error, as one line.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Files of DIR are read and compared with what is known of them, which takes longer than a second: after a crash, or
    /// where the record of what they hold was lost. Not part of the JSON stream.
    Checking {
        /// Files that were read.
        files: u64,
        /// Files to read.
        of: u64,
        /// Bytes that were read.
        bytes: u64,
        /// Bytes to read.
        of_bytes: u64,
    },
    /// What was decided after a poll. Reported when there is something to fetch, and once per run.
    Plan {
        /// Files to fetch.
        fetch: u64,
        /// Files that are here and that the host is asked about.
        #[serde(skip_serializing_if = "is_none")]
        ask: u64,
        /// Bytes to fetch, while every size is known.
        bytes: Option<u64>,
        /// Files that are here and proven, with those that are asked about.
        present: u64,
    },
    /// One line of a dry run: what would be done to a file, and why.
    Planned {
        /// The file.
        path: RelPath,
        /// Which kind it is.
        kind: ArtifactKind,
        /// The action and its reason.
        action: PlannedStep,
    },
    /// The first byte of a file is on its way.
    Started {
        /// The file.
        path: RelPath,
        /// Which kind it is.
        kind: ArtifactKind,
        /// The training step, where known.
        step: Option<u64>,
        /// Its size in bytes, where the server reported it.
        size: Option<u64>,
        /// Bytes that an earlier run left and that need not be fetched again.
        resumed_from: u64,
    },
    /// More of a file has arrived. For progress bars; not part of the JSON stream.
    Received {
        /// The file.
        path: RelPath,
        /// Bytes of it that are here.
        have: u64,
        /// Its size in bytes, where known.
        size: Option<u64>,
    },
    /// A file is whole and proven under its final name.
    Published {
        /// The file.
        path: RelPath,
        /// Which kind it is.
        kind: ArtifactKind,
        /// The training step, where known.
        step: Option<u64>,
        /// Its size in bytes.
        size: u64,
        /// Its SHA-256.
        sha256: Sha256Digest,
        /// How it was proven.
        evidence: Evidence,
        /// From its first byte to its final name.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        elapsed: Duration,
    },
    /// A file is listed, but the trainer is still writing it.
    Settling {
        /// The file.
        path: RelPath,
        /// Bytes that its own header declares, where it does.
        declared: Option<u64>,
        /// Bytes that the host has.
        have: u64,
    },
    /// A transfer failed and is tried again.
    Retrying {
        /// The file; `None` for the API or the bucket itself.
        path: Option<RelPath>,
        /// What went wrong.
        cause: RetryCause,
        /// How long it waits.
        #[serde(rename = "wait_seconds", serialize_with = "as_seconds")]
        wait: Duration,
    },
    /// A file was listed before and is gone from the host before it was fetched.
    Vanished {
        /// The file.
        path: RelPath,
    },
    /// A file could not be had in this run.
    Failed {
        /// The file.
        path: RelPath,
        /// Why.
        cause: FailureCause,
    },
    /// A LoRA was placed in a ComfyUI folder.
    Mirrored {
        /// The file in DIR.
        path: RelPath,
        /// Where it was placed.
        #[serde(serialize_with = "lossy")]
        to: std::path::PathBuf,
        /// `reflink`, `hardlink` or `copy`.
        how: &'static str,
    },
    /// Work besides fetching that failed: reported also to users who only want errors.
    Trouble {
        /// What happened.
        notice: Notice,
    },
    /// Something users should know, which is neither progress nor a failure.
    Notice {
        /// It.
        notice: Notice,
    },
    /// The training's pace, as far as it is known. Reported while the job trains; not part of the JSON stream.
    Pace {
        /// Seconds for a step, once two polls showed different steps.
        seconds_a_step: Option<f64>,
        /// The step of the next save, as far as it follows from earlier ones.
        next_save: Option<u64>,
    },
    /// The job is RUNNING and has made no step and no checkpoint for three times as long as a save usually takes. Its GPU
    /// is still billing. Reported once for each such stall.
    Stalled {
        /// The job.
        #[serde(skip)]
        job: JobId,
        /// Its last step.
        step: Option<u64>,
        /// How long nothing has happened.
        #[serde(rename = "quiet_seconds", serialize_with = "as_seconds")]
        quiet: Duration,
        /// How long it usually takes to the next save.
        #[serde(rename = "usual_seconds", serialize_with = "as_seconds")]
        usual: Duration,
    },
    /// Nothing to do until the next poll.
    Waiting {
        /// How long.
        #[serde(rename = "wait_seconds", serialize_with = "as_seconds")]
        wait: Duration,
    },
    /// The run is over. Always last.
    Done {
        /// The code this process ends with.
        #[serde(rename = "exit_code")]
        exit: ExitStatus,
        /// Files published in this run.
        published: u64,
        /// Bytes of body received in this run.
        bytes: u64,
        /// Files that are here and proven.
        present: u64,
        /// Files that are listed and not here.
        failed: u64,
        /// From the first poll to the end.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        elapsed: Duration,
        /// What the job was doing at the last poll; `None` where the run ended before the first.
        job_status: Option<JobStatus>,
        /// When another run is worth it; `None` when nothing more will come.
        #[serde(flatten, serialize_with = "as_next_look")]
        next_look: Option<Duration>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Event {
    /// What was decided after a poll, by these counts.
    pub(crate) fn plan(counts: Counts) -> Self {
        let Counts { fetch, ask, present } = counts;
        Self::Plan { fetch, ask, bytes: (fetch + ask == 0).then_some(0), present }
    }
}

/// Why a job was resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeReason {
    /// The user asked for it.
    Asked,
    /// It had stopped before its last step, without an error.
    Stopped(Stopped),
}

/// Why something is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryCause {
    /// The API gave no usable answer.
    Api(ApiError),
    /// The store of a bucket gave no usable answer.
    Store(Box<BucketError>),
    /// A file could not be fetched yet.
    File(FailureCause),
}

impl fmt::Display for RetryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(fault) => fault.fmt(f),
            Self::Store(fault) => fault.fmt(f),
            Self::File(cause) => cause.fmt(f),
        }
    }
}

/// Which resumption, of how many at most.
#[derive(Serialize)]
struct Attempt {
    attempt: Option<u32>,
    of: Option<u32>,
}

fn as_attempt<S: Serializer>(attempt: &Option<(u32, u32)>, serializer: S) -> Result<S::Ok, S::Error> {
    let (attempt, of) = attempt.unzip();
    Attempt { attempt, of }.serialize(serializer)
}

#[derive(Serialize)]
struct Steps {
    step: Option<u64>,
    total_steps: Option<u64>,
    percent: Option<f64>,
}

fn as_progress<S: Serializer>(progress: &Progress, serializer: S) -> Result<S::Ok, S::Error> {
    let Progress { current_step: step, total_steps, .. } = *progress;
    Steps { step, total_steps, percent: progress.percent_done() }.serialize(serializer)
}

#[derive(Serialize)]
struct NextLook {
    over: bool,
    next_look_seconds: Option<f64>,
}

fn as_next_look<S: Serializer>(next: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    NextLook { over: next.is_none(), next_look_seconds: next.map(seconds) }.serialize(serializer)
}

/// A listener. `report` is called from many threads, in order for each file, and must not block for long.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: &Event);

    /// Takes events that happened together, in order: what is written of them may be written at once.
    fn report_all(&self, events: &[Event]) {
        events.iter().for_each(|event| self.report(event));
    }
}

impl<F: Fn(&Event) + Send + Sync> Reporter for F {
    fn report(&self, event: &Event) {
        self(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::model::fault::Fault;

    fn json(event: &Event) -> String {
        serde_json::to_string(event).unwrap()
    }

    /// What a program gets that serializes events itself: the names of the JSON lines, and causes with their structure.
    #[test]
    fn causes_are_structured() {
        let path = || RelPath::parse("a.jpg").unwrap();
        let gone = || FailureCause::Network(Fault::Status { status: 404, retry_after: None, excerpt: None });
        assert_eq!(
            json(&Event::Failed { path: path(), cause: gone() }),
            r#"{"event":"failed","path":"a.jpg","cause":{"network":{"status":{"status":404,"retry_after":null,"excerpt":null}}}}"#
        );
        let full = Error::Disk {
            verb: "write",
            path: "a.jpg".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(
            json(&Event::Trouble { notice: Notice::Failed(full) }),
            r#"{"event":"trouble","notice":{"failed":{"disk":{"verb":"write","path":"a.jpg","source":"no storage space"}}}}"#
        );
        assert_eq!(
            json(&Event::Waiting { wait: Duration::from_micros(1_234_567) }),
            r#"{"event":"waiting","wait_seconds":1.235}"#
        );
    }

    /// The same failure is the same value, however often it happens.
    #[test]
    fn causes_are_compared_as_values() {
        let full = || -> FailureCause {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull).into();
            FailureCause::Disk(Error::Disk { verb: "write", path: "a.jpg".into(), source })
        };
        assert_eq!(full(), full());
        assert_ne!(full(), FailureCause::Disk(Error::NoInput("a.jpg".into())));
    }
}
