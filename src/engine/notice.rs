//! What a run reports besides progress and failed files, as values that can be compared; sentences are made by reporters.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use crate::decide::hooks::AfterFailure;
use crate::decide::mirror::auto_resume::Stopped;
use crate::decide::mirror::disk_forecast::Full;
use crate::decide::mirror::eviction_forecast::Late;
use crate::decide::mirror::plan::NothingFound;
use crate::decide::transfer::disk_space::Shortage;
use crate::decide::transfer::task::FailureCause;
use crate::error::{ApiError, Error, SystemError, lossy};
use crate::model::artifact::ArtifactKind;
use crate::model::comfyui::{LoraFolderReason, NoList};
use crate::model::hook_fault::HookFault;
use crate::model::job::{JobId, Unreachable};
use crate::model::names::rel_path::RelPath;
use crate::model::units::as_seconds;
use crate::model::unusable::{Unfetchable, UnusableRow};
use crate::model::weights_kind::WeightsKind;

/// Something users should know, which is neither progress nor the failure of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// A part of the result cannot be used.
    UnusableRow(UnusableRow),
    /// A listed file cannot be fetched, whatever its host would answer.
    Unfetchable {
        /// Its kind.
        kind: ArtifactKind,
        /// Why.
        why: Unfetchable,
    },
    /// The job is over, and the selection leaves out all of its files.
    NothingChosen {
        /// Files that the job offers.
        offered: usize,
    },
    /// Patterns of what is wanted match none of the job's files.
    NothingMatches {
        /// The patterns.
        patterns: Vec<String>,
        /// Files that the job offers.
        offered: usize,
    },
    /// Work besides fetching failed; the run continues.
    Failed(Error),
    /// The run of one job of a fleet failed.
    JobFailed(Error),
    /// Another rcsync mirrors this job of a fleet; the job is skipped until it does not any more.
    JobHeld(Error),
    /// A checkpoint was removed, since newer ones are kept.
    Pruned {
        /// The file.
        path: RelPath,
        /// From a bucket, rather than a folder.
        bucket: bool,
    },
    /// The time to follow the job is over.
    TimedOut,
    /// The trainer will delete a save before it is here.
    Late(Late),
    /// The disk will be full before the end of the run.
    DiskWillFill(Full),
    /// The job stopped early and is resumed.
    WillResume {
        /// Where it stopped.
        stopped: Stopped,
        /// After this long.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
        /// Which resumption.
        attempt: u32,
        /// Of how many.
        most: u32,
    },
    /// The job stopped early again and is left alone.
    LeftAlone {
        /// The job.
        job: JobId,
        /// Where it stopped.
        stopped: Stopped,
        /// How often it was resumed.
        times: u32,
    },
    /// It is unknown whether the API resumed the job.
    ResumeUnknown(ApiError),
    /// The API refused to resume the job.
    NotResumed(ApiError),
    /// The manifest was damaged and was put aside.
    ManifestDamaged,
    /// An older version of a file is gone and no longer hosted: it is forgotten.
    VersionGone(RelPath),
    /// Files in DIR stay as they are, and are not known as the job's.
    NotAdopted {
        /// The first of them.
        paths: Vec<RelPath>,
        /// How many more there are.
        more: usize,
        /// Why.
        why: NotAdopted,
    },
    /// A file was edited here; its bytes have another name now.
    KeptEdited {
        /// The file.
        path: RelPath,
        /// Where the edited bytes are.
        kept: String,
    },
    /// A hosted file has new bytes; the old ones have another name now.
    KeptOlder {
        /// The file.
        path: RelPath,
        /// Where the old bytes are.
        kept: RelPath,
    },
    /// A file that rcsync did not write has the name of a listed one.
    NameTaken {
        /// The listed name.
        wanted: RelPath,
        /// The name that the job's file has.
        path: RelPath,
    },
    /// A file waits for disk space.
    NoRoom {
        /// The file.
        path: RelPath,
        /// What is lacking.
        shortage: Shortage,
    },
    /// Files wait for a disk that refuses for want of something other than bytes.
    DiskFull(FailureCause),
    /// A user's hook did not do its work.
    Hook {
        /// The hook.
        hook: HookKind,
        /// What happened.
        what: HookTrouble,
    },
    /// There is no new page.
    NoGallery(Error),
    /// The head of a bucket was damaged and was put aside.
    HeadDamaged,
    /// Another rcsync holds the destination; this one waits.
    WaitingForLease {
        /// The destination.
        to: String,
        /// The holder.
        holder: String,
    },
    /// The lease could not be freed; it ends by itself.
    LeaseNotFreed(Error),
    /// Something about a ComfyUI folder.
    ComfyUi(ComfyNotice),
}

impl Notice {
    pub(crate) fn of_nothing(found: NothingFound, offered: usize) -> Self {
        match found {
            NothingFound::AtAll => Self::NothingChosen { offered },
            NothingFound::For(patterns) => Self::NothingMatches { patterns, offered },
        }
    }
}

/// Why files are not known as the job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotAdopted {
    /// Their bytes are not those that `job.json` or `SHA256SUMS` records.
    Differs,
    /// They cannot be read. The next run tries again.
    Unreadable,
    /// Nothing records what they hold.
    Unrecorded,
}

/// A user's hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// The command for each published file.
    Exec,
    /// The command for the end of the run.
    ExecDone,
    /// The address.
    Webhook,
}

/// What happened to a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookTrouble {
    /// It could not be started; it is not used in this run.
    NotStarted(NoStart),
    /// It cannot run; it is not used in this run, and the next one delivers what it missed.
    Broken(HookFault),
    /// It failed for one event.
    Failed {
        /// The event.
        about: HookEvent,
        /// How it failed.
        cause: HookFault,
        /// What follows.
        next: AfterFailure,
    },
    /// It failed at the end of the run.
    FailedAtEnd(HookFault),
    /// Its failure could not be recorded.
    FailureNotRecorded(Error),
    /// It ran, and this could not be recorded: it will run again.
    SuccessNotRecorded(Error),
}

/// Why a hook is not used in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoStart {
    /// What was delivered to it cannot be read or recorded.
    Journal(Error),
    /// The system gives no thread to run it on.
    Thread(SystemError),
}

/// What a hook runs for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// A published file.
    Published(RelPath),
    /// A job that makes no progress.
    Stalled,
    /// The end of the run.
    Done,
}

/// Something about a ComfyUI folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ComfyNotice {
    /// Where LoRAs go.
    Folder {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// Why this one.
        why: Box<LoraFolderReason>,
    },
    /// A disk refused; the rest was placed.
    Incomplete {
        /// What happened.
        error: Error,
        /// It is tried again by itself.
        again: bool,
    },
    /// Files in DIR are not as they were published.
    Unsettled {
        /// How many.
        files: u64,
    },
    /// A file's bytes in the bucket are not as they were published.
    ChangedInBucket(RelPath),
    /// The file holds no LoRA.
    NotALora {
        /// The file in DIR.
        path: RelPath,
        /// What it holds.
        kind: WeightsKind,
    },
    /// The file is an embedding, and the installation has no folder for those.
    NoFolderForEmbedding(RelPath),
    /// The file is half of a pair whose other half is not here.
    HalfOfPair(RelPath),
    /// Its owner moved, renamed or deleted it in ComfyUI.
    Withdrawn(RelPath),
    /// The name is taken by something else.
    NameTaken {
        /// The file's name.
        name: String,
        /// What is in its place.
        at: RelPath,
    },
    /// The name is too long for a folder there.
    NameTooLong {
        /// The file's name.
        name: String,
    },
    /// A LoRA was removed, since newer ones are kept.
    Removed(RelPath),
    /// A LoRA could not be removed yet.
    NotRemoved(Error),
    /// Files of other programs stay beside a removed LoRA.
    LeftBeside {
        /// The LoRA.
        lora: RelPath,
        /// The first of them.
        names: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// A running ComfyUI was asked for its list.
    Server {
        /// Its origin.
        origin: String,
        /// What it answered.
        answer: ServerAnswer,
    },
}

/// What a running ComfyUI answered about the LoRAs that were placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerAnswer {
    /// It could not be asked.
    None {
        /// Why.
        why: NoList,
    },
    /// It lists them.
    Listed(Vec<RelPath>),
    /// It does not list one of them.
    Unlisted {
        /// The LoRA.
        path: RelPath,
        /// The folder that LoRAs were placed in.
        #[serde(serialize_with = "lossy")]
        root: PathBuf,
        /// The folders that it reads.
        roots: Vec<String>,
    },
    /// It takes a file of the same name in another folder.
    Shadowed {
        /// The LoRA.
        path: RelPath,
        /// The folder that it searches first.
        #[serde(serialize_with = "lossy")]
        by: PathBuf,
    },
}

impl From<&Unreachable> for Notice {
    fn from(file: &Unreachable) -> Self {
        Self::Unfetchable { kind: file.kind, why: file.why.clone() }
    }
}
