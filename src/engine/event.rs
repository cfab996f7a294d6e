//! What happens, told as typed events: bars, JSON lines, hooks, the ComfyUI mirror and tests read one stream.

use std::time::Duration;

use crate::error::ExitStatus;
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::error_code::ErrorCode;
use crate::model::evidence::Evidence;
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::names::rel_path::RelPath;

/// Something that happened while mirroring one job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The job was submitted by this command. Always first.
    Submitted {
        /// The new job.
        job: JobId,
        /// The job's name, where the API gave one.
        name: Option<String>,
    },
    /// The job was resumed: by this command, or since it stopped early (`--auto-resume`).
    Resumed {
        /// Which resumption of how many at most; `None`: somebody asked for it.
        attempt: Option<(u32, u32)>,
        /// Where the job had stopped, in steps.
        step: Option<u64>,
        /// Why, for people.
        reason: String,
    },
    /// The job was looked at and something about it changed.
    Job {
        /// The job's name, where the API gave one.
        name: Option<String>,
        /// What the job is doing.
        status: JobStatus,
        /// How far it is.
        progress: Progress,
        /// The job's own error, as one line.
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
    /// What this look decided. Told when there is something to fetch, and once per run.
    Plan {
        /// Files to fetch.
        fetch: u64,
        /// Bytes to fetch, while every size is known.
        bytes: Option<u64>,
        /// Files that are here and proven.
        present: u64,
    },
    /// One line of a dry run: what would be done to a file, and why.
    Planned {
        /// The file.
        path: RelPath,
        /// Which kind it is.
        kind: ArtifactKind,
        /// The action and its reason, for people: `fetch (new)`.
        action: String,
    },
    /// The first byte of a file is on its way.
    Started {
        /// The file.
        path: RelPath,
        /// Which kind it is.
        kind: ArtifactKind,
        /// The training step, where known.
        step: Option<u64>,
        /// Its size in bytes, where the server told.
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
    /// A file stands whole and proven under its final name.
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
        /// The file; `None` for the API itself.
        path: Option<RelPath>,
        /// What went wrong, for people.
        cause: String,
        /// The API's own code for it, where it gave one.
        error_code: Option<ErrorCode>,
        /// How long it waits.
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
        /// What went wrong, for people.
        cause: String,
    },
    /// A LoRA was placed in a ComfyUI folder.
    Mirrored {
        /// The file in DIR.
        path: RelPath,
        /// Where it was placed.
        to: std::path::PathBuf,
        /// `reflink`, `hardlink` or `copy`.
        how: &'static str,
    },
    /// Something that a run wanted to do and could not, besides fetching: told also to those who want errors alone.
    Trouble {
        /// One sentence.
        message: String,
    },
    /// Something people should know, which is neither progress nor a failure.
    Notice {
        /// One sentence.
        message: String,
    },
    /// What the looks so far have taught of the training's pace. Told while it trains; not part of the JSON stream.
    Pace {
        /// What a step takes, once two looks saw different steps.
        seconds_a_step: Option<f64>,
        /// The step of the next save, as far as the saves that were seen tell.
        next_save: Option<u64>,
    },
    /// The job says that it is running, and has made no step and no checkpoint for three times as long as it usually
    /// takes to the next save. Its GPU is still billing. Told once for each such silence.
    Stalled {
        /// The job, for the command to type.
        job: JobId,
        /// The step it stands at.
        step: Option<u64>,
        /// For how long.
        quiet: Duration,
        /// How long it usually takes to the next save.
        usual: Duration,
    },
    /// Nothing to do until the next look.
    Waiting {
        /// How long.
        wait: Duration,
    },
    /// The run could not do its work at all. For programs alone: the command's own message is for people.
    Error {
        /// What went wrong, with its causes.
        message: String,
        /// The API's own code for it, where it gave one.
        error_code: Option<ErrorCode>,
        /// The code this process ends with.
        exit: ExitStatus,
    },
    /// The run is over. Always last.
    Done {
        /// The code this process ends with.
        exit: ExitStatus,
        /// Files published in this run.
        published: u64,
        /// Bytes of body received in this run.
        bytes: u64,
        /// Files that are here and proven.
        present: u64,
        /// Files that are listed and not here.
        failed: u64,
        /// From the first look to the end.
        elapsed: Duration,
        /// What the job was doing at the last look; `None` where the run ended before the first.
        job_status: Option<JobStatus>,
        /// When another run is worth it; `None` when nothing more will come.
        next_look: Option<Duration>,
    },
}

/// A listener. `report` is called from many threads, in order for each file, and must not block for long.
pub trait Reporter: Send + Sync {
    /// Hears one event.
    fn report(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Reporter for F {
    fn report(&self, event: &Event) {
        self(event);
    }
}
