//! Why a command could not do what was asked, with the way out and the code that the process ends with.
//!
//! The library's errors have neither option names nor commands: they are added here.

use std::io;
use std::path::PathBuf;

use crate::error::{
    ApiError, BadInput, BucketError, Error, ExitStatus, SurroundingsFault, Unfit, explain_briefly,
};
use crate::model::error_code::{ErrorCode, KnownCode, Subject};
use crate::model::fault::{Fault, Forbidden};
use crate::model::job::JobId;

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The library could not do it.
    #[error(transparent)]
    Library(#[from] Error),
    /// Standard output could not be written.
    #[error("could not write standard output")]
    Output(#[source] io::Error),
    /// The command line cannot be carried out, and what can be typed is the way out.
    #[error("{0}")]
    Usage(String),
    /// What was typed or set cannot be carried out.
    #[error("{why}")]
    Misused {
        /// What is wrong.
        why: String,
        /// The way out.
        next: String,
    },
    /// An input is there, but is not valid.
    #[error("{0}")]
    BadInput(String),
    /// What was asked does not fit the state of a job, dataset or file. It was not sent, or the API refused it.
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
    /// The folder for a new job is another job's.
    #[error("`{}` cannot be used for this job: it mirrors job `{job}`, and nothing was submitted", path.display())]
    FolderTaken {
        /// The folder.
        path: PathBuf,
        /// Its job.
        job: JobId,
    },
    /// The mirror of a job that this very command has submitted or resumed ended so: that part must not be done again.
    #[error("{error}")]
    Following {
        /// What ended it.
        error: Box<Self>,
        /// The command that continues the mirror.
        again: String,
    },
}

impl From<ApiError> for CommandError {
    fn from(fault: ApiError) -> Self {
        Self::Library(fault.into())
    }
}

impl From<BucketError> for CommandError {
    fn from(fault: BucketError) -> Self {
        Self::Library(fault.into())
    }
}

impl CommandError {
    /// An input file that is not there.
    pub(crate) fn no_input(path: impl Into<PathBuf>) -> Self {
        Self::Library(Error::NoInput(path.into()))
    }

    /// What was typed or set cannot be carried out; `next` is the way out.
    pub(crate) fn misused(why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Misused { why: why.into(), next: next.into() }
    }

    /// An environment variable cannot be used.
    pub(crate) fn variable(why: impl Into<String>) -> Self {
        Self::misused(why, CORRECT_THE_VARIABLE)
    }

    /// Returns it as the library's own, with the same code, for what the library calls back.
    pub(crate) fn into_library(self) -> Error {
        match self {
            Self::Library(error) => error,
            Self::Output(source) => {
                Error::Disk { verb: "write", path: "standard output".into(), source: source.into() }
            }
            Self::Usage(why) | Self::Misused { why, .. } => Error::Settings(why),
            Self::BadInput(why) | Self::Declined { why, .. } => BadInput::Refused(why).into(),
            Self::Config(why) => SurroundingsFault::Configuration(why).into(),
            Self::FolderTaken { path, job } => Error::FolderUnfit { path, why: Unfit::OtherJob(job) },
            Self::Following { error, .. } => error.into_library(),
        }
    }

    /// Returns the code that the process ends with.
    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Library(error) => error.exit_status(),
            Self::Output(_) => ExitStatus::Disk,
            Self::Usage(_) | Self::Misused { .. } => ExitStatus::Usage,
            Self::BadInput(_) | Self::Declined { .. } => ExitStatus::BadData,
            Self::Config(_) => ExitStatus::Config,
            Self::FolderTaken { .. } => ExitStatus::CannotCreate,
            Self::Following { error, .. } => error.exit_status(),
        }
    }

    /// Returns the API's own code for the error, where it gave one.
    pub(crate) fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Library(error) => error.code(),
            Self::Following { error, .. } => error.code(),
            _ => None,
        }
    }

    /// Returns the way out, as one sentence with the command to type, or `None` where the message has it already.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Library(error) => hint(error),
            Self::Output(_) => {
                "the output is lost or cut off, and everything else that the command does is done; make room where the output goes, or send it elsewhere".to_owned()
            }
            Self::Usage(_) => USAGE.to_owned(),
            Self::BadInput(_) => CORRECT_THE_INPUT.to_owned(),
            Self::Declined { next, .. } | Self::Misused { next, .. } => next.clone(),
            Self::Config(_) => CORRECT_THE_FILE.to_owned(),
            Self::FolderTaken { .. } => ANOTHER_FOLDER.to_owned(),
            Self::Following { error, again } => {
                let hint = error.hint().unwrap_or_default().replace(THE_SAME, again);
                if hint.contains(again) { hint } else { format!("{hint}; {again} continues the job's mirror") }
            }
        })
    }

    /// The same without what names this command, which is the one that failed. `None` where nothing is left.
    pub(crate) fn hint_in(&self, command: &str) -> Option<String> {
        let names =
            |part: &str| ["`", " "].iter().any(|end| part.contains(&format!("`rcsync {command}{end}")));
        let hint = self.hint()?;
        let parts: Vec<&str> = hint.split("; ").filter(|part| !names(part)).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns the error itself, where it is that of a part of the command.
    fn itself(&self) -> &Self {
        match self {
            Self::Following { error, .. } => error.itself(),
            _ => self,
        }
    }

    /// Returns the error and its causes in one line.
    pub(crate) fn explain_briefly(&self) -> String {
        explain_briefly(self.itself())
    }

    /// Returns the whole story for users: the error, each cause on its own line, and the hint.
    pub(crate) fn explain(&self) -> String {
        let mut text = format!("error: {self}");
        let mut said = self.to_string();
        let mut cause = std::error::Error::source(self.itself());
        while let Some(inner) = cause {
            let words = inner.to_string();
            // Some causes repeat their parent; a line that adds nothing is left out.
            if !said.contains(&words) {
                text.push_str("\ncaused by: ");
                text.push_str(&words);
            }
            said = words;
            cause = inner.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str("\nhint: ");
            text.push_str(&hint);
        }
        text
    }
}

/// What hints call the command that was typed.
const THE_SAME: &str = "the same command again";

const USAGE: &str = "`rcsync --help` and `rcsync <COMMAND> --help` list what can be typed";
const CORRECT_THE_VARIABLE: &str = "correct or unset it; `rcsync doctor` lists all settings";
const CORRECT_THE_SURROUNDINGS: &str =
    "correct or unset the variable that names it; `rcsync doctor` shows what is used";
const NAME_A_DESTINATION: &str =
    "name a folder, or a bucket such as `s3://BUCKET/PREFIX`; `rcsync help buckets` has examples";
const ANOTHER_FOLDER: &str = "nothing in it was changed; name another folder: `rcsync <JOB_ID> <DIR>`";
const CORRECT_THE_INPUT: &str = "correct the input and type the same command again; nothing was changed";
const CORRECT_THE_FILE: &str = "correct or remove the file; `rcsync doctor` shows which one is read";

/// Returns the way out of an error of the library.
pub(crate) fn hint(error: &Error) -> String {
    match error {
        Error::Disk { source, .. } => of_disk(source.kind()).to_owned(),
        Error::Api(fault) => of_api(fault),
        Error::Bucket(fault) => of_bucket(fault),
        Error::FolderInUse { .. } => {
            "wait for the other one to end, or mirror into another folder: `rcsync <JOB_ID> <DIR>`".to_owned()
        }
        Error::DatasetInUse { .. } => {
            "wait for the other one to end; the same command again sends what is missing then".to_owned()
        }
        Error::FolderUnfit { .. } => ANOTHER_FOLDER.to_owned(),
        Error::ForeignPage(_) => {
            "move it away to get the gallery, and type `rcsync gallery <DIR>` then".to_owned()
        }
        Error::NoInput(_) => "check the path; nothing was sent or changed".to_owned(),
        Error::NoMirror { path, job: None, .. } => format!(
            "name the folder that a job was mirrored into; `rcsync <JOB_ID> {}` mirrors one",
            path.display()
        ),
        Error::NoMirror { path, job: Some(job), .. } => format!(
            "`rcsync {job} {} --once` checks what is there and keeps it; nothing is fetched twice",
            path.display()
        ),
        Error::NoComfyUi { .. } => {
            "name the folder that has `models/loras` in it, as in `--comfyui ~/ComfyUI`; `rcsync doctor` shows where ComfyUI is found here".to_owned()
        }
        Error::Storage(Fault::Forbidden { why: Forbidden::Private | Forbidden::PlainHttp, .. }) => {
            "`--allow-private-hosts` allows it; what was accepted stays, and the same command again sends the rest"
                .to_owned()
        }
        Error::Storage(_) => "what was accepted stays; the same command again sends the rest".to_owned(),
        Error::NameTaken { .. } => "nothing was sent; push under another name with `--name`".to_owned(),
        Error::ForeignFiles { name, .. } => format!(
            "nothing was deleted; `rcsync dataset rm {name}` deletes the whole dataset, so that the same command again makes it anew; or push under another name with `--name`"
        ),
        Error::Destination(_) => NAME_A_DESTINATION.to_owned(),
        Error::ReplaceInBucket => "leave `--on-change replace` out, or mirror into a folder".to_owned(),
        Error::Settings(_) => USAGE.to_owned(),
        Error::Surroundings(SurroundingsFault::Tls(_)) => CORRECT_THE_SURROUNDINGS.to_owned(),
        Error::Surroundings(SurroundingsFault::Configuration(_)) => CORRECT_THE_FILE.to_owned(),
        Error::Paths(_) | Error::BadInput(_) => CORRECT_THE_INPUT.to_owned(),
        Error::Unsent(_) => {
            "what was accepted stays; the same command again checks the folder anew and sends the rest".to_owned()
        }
    }
}

fn of_disk(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "everything published stays, parts are kept; make room and type the same command again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "check who may read and write there, or name another place"
        }
        io::ErrorKind::NotFound => "check the path; nothing was changed",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is where a folder is needed; move it away, or name another folder"
        }
        _ => "everything published stays as it was; check the disk, then type the same command again",
    }
}

fn of_api(fault: &ApiError) -> String {
    const TOP_UP: &str = "top up the account on the RunComfy site; `rcsync resume <JOB_ID>` then continues a job that stopped for it, and type the same command again for one that was not accepted";
    const LATER: &str = "everything published stays, parts are kept; type the same command again later";
    match fault {
        ApiError::NoToken => {
            "set `RUNCOMFY_TOKEN`, or run `runcomfy login`, or name a file that holds it: `--token-file <PATH>`".to_owned()
        }
        ApiError::BadToken { origin, .. } if origin.contains("token.json") => {
            "type `runcomfy login` again, or set `RUNCOMFY_TOKEN`".to_owned()
        }
        ApiError::BadToken { origin, .. } => format!("put the bare token, on one line, into {origin}"),
        ApiError::Unauthorized { status: 403, .. } => {
            "the token may belong to another account than the job, or the account's plan may not include this; `rcsync doctor` shows which token is used".to_owned()
        }
        ApiError::Unauthorized { .. } => {
            "make a new token in your RunComfy profile; `rcsync doctor` shows where the refused one is from, and `RUNCOMFY_TOKEN` has precedence over files".to_owned()
        }
        ApiError::UnknownJob { .. } => {
            "check the id on the RunComfy site, and that the token belongs to the account of the job; `rcsync doctor` shows which token is used".to_owned()
        }
        ApiError::Refused { status: 402, .. } => TOP_UP.to_owned(),
        ApiError::Refused { code: Some(code), .. } if code.known() == Some(KnownCode::InsufficientFunds) => {
            TOP_UP.to_owned()
        }
        ApiError::Refused { status: 404, code: Some(code), .. } if code.subject() == Some(Subject::Dataset) => {
            "the dataset is unknown, deleted, or of another account; make it again on the RunComfy site under the name that the configuration uses".to_owned()
        }
        ApiError::UnknownDataset { .. } => {
            "`rcsync dataset ls` lists the account's datasets; check that the token belongs to that account"
                .to_owned()
        }
        ApiError::Refused { .. } => "nothing on the disk was changed; what the API said is above".to_owned(),
        ApiError::Busy { retry_after: Some(seconds), .. } => {
            format!("everything published stays, parts are kept; type the same command again in {seconds} s")
        }
        ApiError::Busy { retry_after: None, .. } | ApiError::Server { .. } => LATER.to_owned(),
        ApiError::Unknown { .. } => {
            "look before you send it again, or you may pay twice: your jobs are listed on the RunComfy site, and `rcsync status <JOB_ID>` shows a known one".to_owned()
        }
        ApiError::Unreachable { .. } => {
            format!("check the network, `HTTPS_PROXY` and `RUNCOMFY_TRAINER_API_BASE`; `rcsync doctor` tries them out; {LATER}")
        }
        ApiError::Untrusted { .. } => {
            format!("`SSL_CERT_FILE` names a file with the certificates to trust, a proxy's among them; `rcsync doctor` tries it out; {LATER}")
        }
        ApiError::Unintelligible { .. } | ApiError::WrongJob { .. } => {
            "nothing on the disk was changed; check `RUNCOMFY_TRAINER_API_BASE`, or look for a newer rcsync; `rcsync doctor` shows what is used".to_owned()
        }
    }
}

fn of_bucket(fault: &BucketError) -> String {
    const SETTINGS: &str = "`AWS_ACCESS_KEY_ID`/`AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE` or an instance role for s3://, `GOOGLE_APPLICATION_CREDENTIALS` for gs://, `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY` for az://";
    match fault {
        BucketError::NoBucket { .. } => {
            "create it with the cloud's own tool, or check the name, the region and `AWS_ENDPOINT_URL`; rcsync creates no buckets".to_owned()
        }
        BucketError::NoCredentials { .. } => format!("set {SETTINGS}; the RunComfy token is not involved"),
        BucketError::Denied { permission, .. } => format!(
            "allow {permission} for these credentials (docs/buckets.md has the least policy), or set others: {SETTINGS}; the RunComfy token is not involved"
        ),
        BucketError::Held { .. } => {
            "wait for the other one to end; one that was killed holds it until its lease is over (`--lease`)".to_owned()
        }
        BucketError::TakenOver { .. } => {
            "everything published stays, and the other one continues; a longer `--lease` survives longer pauses".to_owned()
        }
        BucketError::IgnoresConditions { .. } => {
            "use another store, or `--sole-writer` if there is only ever one rcsync for this destination; nothing was mirrored".to_owned()
        }
        BucketError::Unfit { .. } => {
            "nothing in it was changed; name another prefix: `rcsync <JOB_ID> s3://BUCKET/PREFIX`".to_owned()
        }
        BucketError::NoMirror { .. } => {
            "name the prefix that a job was mirrored to; `rcsync <JOB_ID> s3://BUCKET/PREFIX` mirrors one".to_owned()
        }
        BucketError::WrongRegion { region: Some(region), .. } => format!("set `AWS_REGION={region}`"),
        BucketError::WrongRegion { region: None, .. } => "set `AWS_REGION` to the bucket's region".to_owned(),
        BucketError::Away { .. } => {
            "check the network and `AWS_ENDPOINT_URL`; everything published stays; type the same command again later".to_owned()
        }
        BucketError::Refused { .. } => "everything published stays as it was; `rcsync doctor --dir` asks the store step by step".to_owned(),
    }
}

#[cfg(test)]
mod tests;
