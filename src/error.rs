//! The public error, its hint, and one place that walks the chain for people.
//!
//! Each `Display` says its own part only (a lower-case fragment, no full stop); [`explain`] walks the chain.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::error_code::{ErrorCode, KnownCode, Subject};
use crate::model::job::JobId;

mod bucket;
pub use bucket::BucketError;

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read, written or moved.
    #[error("could not {verb} `{}`", path.display())]
    Disk {
        /// What was tried, as it fits after "could not": `create`, `read`, `rename`.
        verb: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("could not write standard output")]
    Output(#[source] io::Error),
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
        path: PathBuf,
        /// Who holds it and since when, as far as the lock file says.
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
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// Where the gallery belongs stands a page that rcsync did not write.
    #[error("`{}` was not written by rcsync, or was edited since, and is left as it is", .0.display())]
    ForeignPage(PathBuf),
    /// The command line cannot be carried out.
    #[error("{0}")]
    Usage(String),
    /// A file that the command line names is not there.
    #[error("there is no file `{}`", .0.display())]
    NoInput(PathBuf),
    /// A folder that the command line names is none that a job was mirrored into.
    #[error("`{}` is no mirror of a job: {why}", path.display())]
    NoMirror {
        /// The folder.
        path: PathBuf,
        /// What is there instead.
        why: &'static str,
        /// The job that was mirrored into it once, where its `job.json` still says so.
        job: Option<JobId>,
    },
    /// A path is none of the places where ComfyUI keeps LoRAs.
    #[error("`{}` is not a place that ComfyUI reads LoRAs from: {looked_for}", path.display())]
    NoComfyUi {
        /// The path.
        path: PathBuf,
        /// What was looked for there.
        looked_for: String,
        /// The file or folder that would be used if it existed; its disk may be away.
        missing: Option<PathBuf>,
    },
    /// An input file is there, but is not valid.
    #[error("{0}")]
    BadInput(String),
    /// What was asked does not fit the state that things are in. It was not sent, or the API refused it.
    #[error("{why}")]
    Declined {
        /// What does not fit.
        why: String,
        /// The way out, with the next command to type.
        next: String,
    },
    /// The configuration file is not valid.
    #[error("{0}")]
    Config(String),
    /// The mirror of a job that this very command has submitted or resumed ended so: that part must not be done again.
    #[error("{source}")]
    Following {
        /// What ended it.
        source: Box<Self>,
        /// The command that goes on with the mirror.
        again: String,
    },
}

impl From<BucketError> for Error {
    fn from(fault: BucketError) -> Self {
        Self::Bucket(Box::new(fault))
    }
}

/// Why the Trainer API gave no usable answer. Never contains a token or a URL's query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No token was found anywhere it is looked for.
    #[error("no RunComfy token found")]
    NoToken,
    /// A token was found that cannot be sent (empty, or with a line break or other control character in it).
    #[error("the RunComfy token from {origin} is not usable: {why}")]
    BadToken {
        /// Where it was found: an environment variable or a file.
        origin: String,
        /// What is wrong with it (never the token itself).
        why: String,
    },
    /// 401 or 403. The second may be about the token, the owner of what was asked for, or the plan.
    #[error("{}{}", not_allowed(*status), detail(message))]
    Unauthorized {
        /// 401 or 403.
        status: u16,
        /// What the API said, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
    },
    /// 404 for this job.
    #[error("the API knows no job `{job}`{}", detail(message))]
    UnknownJob {
        /// The job that was asked for.
        job: JobId,
        /// What the API said, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
    },
    /// 404 for this dataset.
    #[error("the API knows no dataset `{dataset}`{}", detail(message))]
    UnknownDataset {
        /// The dataset that was asked for.
        dataset: String,
        /// What the API said, sanitised and bounded; may be empty.
        message: String,
    },
    /// Another 4xx, or an error body under HTTP 200.
    #[error("the API refused the request (HTTP {status}){}", detail(message))]
    Refused {
        /// The HTTP status; for an error body under HTTP 200 the status its code stands for.
        status: u16,
        /// What the API said, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
    },
    /// 408 or 429, after retries.
    #[error("the API asks to try later (HTTP {status}){}", detail(message))]
    Busy {
        /// 408 or 429.
        status: u16,
        /// What the API said, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
        /// Seconds that the API asked to wait, clamped to 15 minutes.
        retry_after: Option<u64>,
    },
    /// The API could not be reached, after retries.
    #[error("the API at `{origin}` cannot be reached: {cause}")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// What went wrong, without any URL.
        cause: String,
    },
    /// The API cannot be spoken with over TLS, after retries: its certificate, its protocol, or the certificates that are
    /// trusted here.
    #[error("the API at `{origin}` cannot be reached: {cause}")]
    Untrusted {
        /// Scheme, host and port.
        origin: String,
        /// What is wrong, without any URL.
        cause: String,
    },
    /// 5xx, after retries.
    #[error("the API answered HTTP {status}{}", detail(message))]
    Server {
        /// The HTTP status.
        status: u16,
        /// What the API said, sanitised and bounded; may be empty.
        message: String,
        /// The API's own code.
        code: Option<ErrorCode>,
        /// Seconds that the API asked to wait, clamped to 15 minutes.
        retry_after: Option<u64>,
    },
    /// A request that changes something was sent, and no answer says what became of it. It must not be sent again
    /// before somebody has looked.
    #[error("it is unknown whether the API accepted the request: {cause}")]
    Unknown {
        /// What went wrong, without any URL.
        cause: String,
    },
    /// The answer is not what the documentation describes.
    #[error("the API's answer could not be understood: {why}")]
    Unintelligible {
        /// What is odd about it, with a sanitised, bounded excerpt.
        why: String,
    },
    /// The answer speaks of another job than the one that was asked for.
    #[error("the API answered for job `{answered}` when asked for `{asked}`")]
    WrongJob {
        /// The job that was asked for.
        asked: JobId,
        /// The id in the answer, sanitised and bounded.
        answered: String,
    },
}

impl ApiError {
    /// Whether the same request may succeed when it is sent again later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Server { .. }
            | Self::Unintelligible { .. } => true,
            Self::NoToken
            | Self::BadToken { .. }
            | Self::Unauthorized { .. }
            | Self::UnknownJob { .. }
            | Self::UnknownDataset { .. }
            | Self::Refused { .. }
            | Self::Unknown { .. }
            | Self::WrongJob { .. } => false,
        }
    }

    /// Returns the API's own code for the fault, where it gave one.
    #[must_use]
    pub const fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Unauthorized { code, .. }
            | Self::UnknownJob { code, .. }
            | Self::Refused { code, .. }
            | Self::Busy { code, .. }
            | Self::Server { code, .. } => code.as_ref(),
            _ => None,
        }
    }

    /// Returns how long the API asked to wait before the next try, clamped to 15 minutes.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } | Self::Server { retry_after, .. } => {
                retry_after.map(Duration::from_secs)
            }
            _ => None,
        }
    }
}

fn not_allowed(status: u16) -> String {
    match status {
        401 => "the API refused the token (HTTP 401)".to_owned(),
        _ => format!("the API does not allow this request (HTTP {status})"),
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Returns an error and its causes in one line.
#[must_use]
pub fn explain_briefly(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// How a process ends (`sysexits`, like the vendor's own CLI). New codes may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitStatus {
    /// 0: everything listed is here and verified; following: and the job finished its last step.
    Complete,
    /// 1: the job ended FAILED or CANCELED; `verify`: something differs or is missing.
    Negative,
    /// 64: bad command line.
    Usage,
    /// 65: the API refused the request, or the input is not valid.
    BadData,
    /// 66: a local input file is missing.
    NoInput,
    /// 69: the API cannot be reached or answers 5xx.
    Unavailable,
    /// 73: DIR cannot be created or written.
    CannotCreate,
    /// 74: a disk error, such as a full disk.
    Disk,
    /// 75: try again.
    TryAgain,
    /// 76: the API's answer could not be understood.
    Protocol,
    /// 77: no token, or the API answered 401 or 403.
    NoPermission,
    /// 78: the configuration file is not valid.
    Config,
    /// 130: interrupted (SIGINT).
    Interrupted,
    /// 143: terminated (SIGTERM).
    Terminated,
}

impl ExitStatus {
    /// Returns the number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Negative => 1,
            Self::Usage => 64,
            Self::BadData => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::CannotCreate => 73,
            Self::Disk => 74,
            Self::TryAgain => 75,
            Self::Protocol => 76,
            Self::NoPermission => 77,
            Self::Config => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
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
            Self::Api(fault) => match fault {
                ApiError::NoToken | ApiError::BadToken { .. } | ApiError::Unauthorized { .. } => {
                    ExitStatus::NoPermission
                }
                ApiError::UnknownJob { .. } | ApiError::UnknownDataset { .. } | ApiError::Refused { .. } => {
                    ExitStatus::BadData
                }
                ApiError::Busy { .. } => ExitStatus::TryAgain,
                ApiError::Unreachable { .. }
                | ApiError::Untrusted { .. }
                | ApiError::Server { .. }
                | ApiError::Unknown { .. } => ExitStatus::Unavailable,
                ApiError::Unintelligible { .. } | ApiError::WrongJob { .. } => ExitStatus::Protocol,
            },
            Self::Bucket(fault) => fault.exit_status(),
            Self::Output(_) => ExitStatus::Disk,
            Self::FolderInUse { .. } | Self::DatasetInUse { .. } => ExitStatus::TryAgain,
            Self::FolderUnfit { .. } | Self::ForeignPage(_) => ExitStatus::CannotCreate,
            Self::Usage(_) => ExitStatus::Usage,
            Self::NoInput(_) | Self::NoMirror { .. } | Self::NoComfyUi { .. } => ExitStatus::NoInput,
            Self::BadInput(_) | Self::Declined { .. } => ExitStatus::BadData,
            Self::Config(_) => ExitStatus::Config,
            Self::Following { source, .. } => source.exit_status(),
        }
    }
}

impl Error {
    /// Returns the API's own code for the error, where it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Api(fault) => fault.code(),
            Self::Following { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Returns the way out, as one sentence with the command to type, or `None` where the message says it already.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Disk { source, .. } => disk_hint(source.kind()).to_owned(),
            Self::Output(_) => {
                "the output is lost or cut off, and whatever else the command does is done; make room where the output goes, or send it elsewhere".to_owned()
            }
            Self::Api(fault) => return fault.hint(),
            Self::Bucket(fault) => fault.hint(),
            Self::FolderInUse { .. } => {
                "wait for the other one to end, or mirror into another folder: `rcsync <JOB_ID> <DIR>`"
                    .to_owned()
            }
            Self::DatasetInUse { .. } => {
                "wait for the other one to end; the same command again sends what is missing then".to_owned()
            }
            Self::FolderUnfit { .. } => {
                "nothing in it was changed; name another folder: `rcsync <JOB_ID> <DIR>`".to_owned()
            }
            Self::ForeignPage(_) => {
                "move it away to get the gallery, and type `rcsync gallery <DIR>` then".to_owned()
            }
            Self::Usage(_) => {
                "`rcsync --help` and `rcsync <COMMAND> --help` say what can be typed".to_owned()
            }
            Self::NoInput(_) => "check the path; nothing was sent or changed".to_owned(),
            Self::NoMirror { path, job: None, .. } => {
                format!(
                    "name the folder that a job was mirrored into; `rcsync <JOB_ID> {}` mirrors one",
                    path.display()
                )
            }
            Self::NoMirror { path, job: Some(job), .. } => {
                format!(
                    "`rcsync {job} {} --once` checks what is there and keeps it; nothing is fetched twice",
                    path.display()
                )
            }
            Self::NoComfyUi { .. } => {
                "name the folder that has `models/loras` in it, as in `--comfyui ~/ComfyUI`; `rcsync doctor` shows where ComfyUI is found here".to_owned()
            }
            Self::BadInput(_) => {
                "correct the input and type the same command again; nothing was changed".to_owned()
            }
            Self::Declined { next, .. } => next.clone(),
            Self::Config(_) => "correct or remove the file; `rcsync doctor` shows which one is read".to_owned(),
            Self::Following { source, again } => {
                let hint = source.hint().unwrap_or_default().replace(THE_SAME, again);
                if hint.contains(again) { hint } else { format!("{hint}; {again} goes on with the job's mirror") }
            }
        })
    }
}

/// What hints call the command that was typed.
const THE_SAME: &str = "the same command again";

impl ApiError {
    fn hint(&self) -> Option<String> {
        const TOP_UP: &str = "top up the account on the RunComfy site; `rcsync resume <JOB_ID>` then continues a job that stopped for it, and type the same command again for one that was not accepted";
        const LATER: &str = "everything published stays, parts are kept; type the same command again later";
        Some(match self {
            Self::NoToken => {
                "set `RUNCOMFY_TOKEN`, or run `runcomfy login`, or name a file that holds it: `--token-file <PATH>`".to_owned()
            }
            Self::BadToken { origin, .. } if origin.contains("token.json") => {
                "type `runcomfy login` again, or set `RUNCOMFY_TOKEN`".to_owned()
            }
            Self::BadToken { origin, .. } => format!("put the bare token, on one line, into {origin}"),
            Self::Unauthorized { status: 403, .. } => {
                "the token may belong to another account than the job, or the account's plan may not include this; `rcsync doctor` shows which token is used".to_owned()
            }
            Self::Unauthorized { .. } => {
                "make a new token in your RunComfy profile and set `RUNCOMFY_TOKEN`; `rcsync doctor` shows which one is used".to_owned()
            }
            Self::UnknownJob { job, .. } => {
                format!("check the id, and that the token belongs to the account of the job: `rcsync status {job}`")
            }
            Self::Refused { status: 402, .. } => TOP_UP.to_owned(),
            Self::Refused { code: Some(code), .. } if code.known() == Some(KnownCode::InsufficientFunds) => {
                TOP_UP.to_owned()
            }
            Self::Refused { status: 404, code: Some(code), .. } if code.subject() == Some(Subject::Dataset) => {
                "the dataset is unknown, deleted, or of another account; make it again on the RunComfy site under the name that the configuration uses".to_owned()
            }
            Self::UnknownDataset { .. } => {
                "`rcsync dataset ls` lists the account's datasets; check that the token belongs to that account"
                    .to_owned()
            }
            Self::Refused { .. } => "nothing on the disk was changed; what the API said is above".to_owned(),
            Self::Busy { retry_after: Some(seconds), .. } => {
                format!("everything published stays, parts are kept; type the same command again in {seconds} s")
            }
            Self::Busy { retry_after: None, .. } | Self::Server { .. } => LATER.to_owned(),
            Self::Unknown { .. } => {
                "look before you send it again, or you may pay twice: your jobs are listed on the RunComfy site, and `rcsync status <JOB_ID>` shows a known one".to_owned()
            }
            Self::Unreachable { .. } => {
                format!("check the network, `HTTPS_PROXY` and `RUNCOMFY_TRAINER_API_BASE` with `rcsync doctor`; {LATER}")
            }
            Self::Untrusted { .. } => {
                format!("`SSL_CERT_FILE` names a file with the certificates to trust, a proxy's among them; `rcsync doctor` tries it out; {LATER}")
            }
            Self::Unintelligible { .. } | Self::WrongJob { .. } => {
                "nothing on the disk was changed; check `RUNCOMFY_TRAINER_API_BASE` with `rcsync doctor`, or look for a newer rcsync".to_owned()
            }
        })
    }
}

fn disk_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "everything published stays, parts are kept; make room and type the same command again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "check who may read and write there, or name another folder: `rcsync <JOB_ID> <DIR>`"
        }
        io::ErrorKind::NotFound => "check the path; nothing was changed",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a folder is needed; move it away, or name another folder: `rcsync <JOB_ID> <DIR>`"
        }
        _ => "everything published stays as it was; check the disk, then type the same command again",
    }
}

/// Returns the whole story for people: the error, each cause on its own line, and the hint.
#[must_use]
pub fn explain(error: &Error) -> String {
    let mut text = format!("error: {error}");
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        // Some causes repeat what their parent said; a line that adds nothing is left out.
        if !said.contains(&words) {
            text.push_str("\ncaused by: ");
            text.push_str(&words);
        }
        said = words;
        cause = inner.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

#[cfg(test)]
mod tests;
