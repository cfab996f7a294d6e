//! What went wrong, typed: neither a way out nor a name of the command line, which [`crate::cli`] adds.
//!
//! Each `Display` is one part of the message (a lower-case fragment, no full stop); [`explain_briefly`] appends the causes.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::comfyui::{NoLoraFolder, PathsFault};
use crate::model::dataset::{DatasetName, some};
use crate::model::destination::DestinationError;
use crate::model::error_code::ErrorCode;
use crate::model::fault::{Fault, LocalFault};
use crate::model::job::JobId;
use crate::model::tls_fault::TlsFault;

mod answer;
mod api;
mod bad_input;
mod bucket;
mod exit_status;
pub(crate) mod system;
mod token;
pub use answer::{OddAnswer, UnknownOutcome};
pub use api::ApiError;
pub use bad_input::BadInput;
pub use bucket::{BucketError, Condition, NoCredentials, StoreRefusal, Unanswered, UnfitPrefix};
pub use exit_status::ExitStatus;
pub use system::SystemError;
pub(crate) use system::lossy;
pub use token::TokenFault;

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read, written or moved.
    #[error("could not {verb} `{}`", path.display())]
    Disk {
        /// What was tried, as it fits after "could not": `create`, `read`, `rename`.
        verb: &'static str,
        /// What it was tried on.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What the system reported.
        #[source]
        source: SystemError,
    },
    /// The Trainer API gave no usable answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A bucket could not be used.
    #[error(transparent)]
    Bucket(Box<BucketError>),
    /// Another rcsync works on the same folder.
    #[error("`{}` is held by another rcsync ({owner})", path.display())]
    FolderInUse {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The holder and the time since when, as far as the lock file has them.
        owner: String,
    },
    /// Another rcsync sends files into the same dataset.
    #[error("another rcsync sends files into the dataset `{name}`")]
    DatasetInUse {
        /// The dataset.
        name: String,
    },
    /// The folder belongs to another job, or its private state cannot be used by this version.
    #[error("`{}` cannot be used for this job: {why}", path.display())]
    FolderUnfit {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What does not fit.
        why: Unfit,
    },
    /// At the gallery's path is a page that rcsync did not write.
    #[error("`{}` was not written by rcsync, or was edited since, and is left as it is", .0.display())]
    ForeignPage(#[serde(serialize_with = "lossy")] PathBuf),
    /// An input file or folder does not exist.
    #[error("there is no file or folder `{}`", .0.display())]
    NoInput(#[serde(serialize_with = "lossy")] PathBuf),
    /// No job was mirrored into the folder.
    #[error("`{}` is no mirror of a job: {why}", path.display())]
    NoMirror {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What is there instead.
        why: NoMirror,
        /// The job that was mirrored into it once, where its `job.json` still has it.
        job: Option<JobId>,
    },
    /// A path is none of the places where ComfyUI keeps LoRAs.
    #[error("`{}` is not a place that ComfyUI reads LoRAs from: {why}", path.display())]
    NoComfyUi {
        /// The path.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// What is there instead.
        why: Box<NoLoraFolder>,
        /// The file or folder that would be used if it existed; its disk may be away.
        #[serde(skip)]
        missing: Option<PathBuf>,
    },
    /// A configuration of paths cannot be used.
    #[error(transparent)]
    Paths(#[from] PathsFault),
    /// An input is there, but is not valid.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// A file was not sent: it changed, or cannot be read.
    #[error(transparent)]
    Unsent(LocalFault),
    /// The storage that the API names for uploads cannot be used.
    #[error("the storage of the API cannot be used: {0}")]
    Storage(Fault),
    /// The name of a new dataset is taken, and the account's list has no such dataset.
    #[error("the name `{name}` is taken, and the account's list has no such dataset ({fault})")]
    NameTaken {
        /// The name.
        name: DatasetName,
        /// The API's answer.
        fault: ApiError,
    },
    /// The dataset has files that the folder lacks.
    #[error("the dataset `{name}` has {} that the folder lacks: {}", files(foreign.len()), some(foreign))]
    ForeignFiles {
        /// The dataset.
        name: String,
        /// The files.
        foreign: Vec<String>,
    },
    /// The destination cannot be used.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// Changed files are to be replaced, and the destination is a bucket.
    #[error(
        "changed files can be replaced in a folder alone: in a bucket a name means one sequence of bytes for ever"
    )]
    ReplaceInBucket,
    /// Settings cannot be carried out: what a caller of the library refused, in its words.
    #[error("{0}")]
    Settings(String),
    /// The surroundings (certificates, `config.toml`) do not allow it.
    #[error(transparent)]
    Surroundings(#[from] SurroundingsFault),
}

/// What is wrong with the surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SurroundingsFault {
    /// No HTTP client can be made.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// `config.toml` cannot be read or understood: the parser's words, with the line.
    #[error("{0}")]
    Configuration(String),
}

/// What does not fit about a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unfit {
    /// It is another job's.
    #[error("it mirrors job `{0}`")]
    OtherJob(JobId),
    /// It is this job's, of another API.
    #[error("it mirrors this job from `{0}`")]
    OtherOrigin(String),
    /// A newer version wrote it.
    #[error("its private state has format {found}, and this rcsync knows {known}")]
    NewerFormat {
        /// The format that it has.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// Another job of the same fleet has the same name.
    #[error(
        "job `{0}` of this fleet has the same name and is mirrored into it; `{{id}}` in DEST tells them apart"
    )]
    SameName(JobId),
}

/// What a folder is that is no mirror of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoMirror {
    /// It does not exist.
    #[error("there is no such folder")]
    Missing,
    /// It is a file.
    #[error("it is a file")]
    File,
    /// Nothing was mirrored into it.
    #[error("nothing was mirrored into it yet")]
    Empty,
    /// The manifest is gone.
    #[error("its private folder `.rcsync` is gone")]
    NoManifest,
    /// The manifest cannot be read.
    #[error("its manifest `.rcsync/manifest.json` is damaged")]
    Damaged,
}

impl From<TlsFault> for Error {
    fn from(fault: TlsFault) -> Self {
        SurroundingsFault::Tls(fault).into()
    }
}

impl From<BucketError> for Error {
    fn from(fault: BucketError) -> Self {
        Self::Bucket(Box::new(fault))
    }
}

impl Error {
    /// Returns the code that a process which ends with this error should have.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Disk { verb, source, .. } => {
                let unwritable = matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::AlreadyExists
                ) || *verb == "create";
                let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                if unwritable && !full { ExitStatus::CannotCreate } else { ExitStatus::Disk }
            }
            Self::Api(fault) => fault.exit_status(),
            Self::Bucket(fault) => fault.exit_status(),
            Self::FolderInUse { .. } | Self::DatasetInUse { .. } => ExitStatus::TryAgain,
            Self::FolderUnfit { .. } | Self::ForeignPage(_) => ExitStatus::CannotCreate,
            Self::NoMirror { why: NoMirror::Damaged, .. } => ExitStatus::BadData,
            Self::NoInput(_) | Self::NoMirror { .. } | Self::NoComfyUi { .. } => ExitStatus::NoInput,
            Self::Paths(_)
            | Self::BadInput(_)
            | Self::Unsent(_)
            | Self::Storage(_)
            | Self::NameTaken { .. }
            | Self::ForeignFiles { .. } => ExitStatus::BadData,
            Self::Destination(_) | Self::ReplaceInBucket | Self::Settings(_) => ExitStatus::Usage,
            Self::Surroundings(_) => ExitStatus::Config,
        }
    }

    /// Returns the API's own code for the error, where it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Api(fault) => fault.code(),
            _ => None,
        }
    }
}

fn files(count: usize) -> String {
    if count == 1 { "a file".to_owned() } else { format!("{count} files") }
}

/// Returns an error and its causes in one line.
#[must_use]
pub fn explain_briefly(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
