//! Why a bucket could not be used. Each message names the bucket, and the store whose credentials were refused.

use std::time::Duration;

use serde::Serialize;

use crate::model::hook_fault::Ending;
use crate::model::job::JobId;
use crate::model::tls_fault::TlsFault;
use crate::model::transport_fault::TransportFault;
use crate::model::units::as_seconds;

use super::answer::detail;
use super::{ExitStatus, SystemError};

/// Why a bucket could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BucketError {
    /// There is no such bucket.
    #[error("there is no bucket for `{to}`")]
    NoBucket {
        /// The destination.
        to: String,
    },
    /// No credentials for the store could be had.
    #[error("no credentials for {store}, where `{to}` is: {why}")]
    NoCredentials {
        /// The destination.
        to: String,
        /// The store's name.
        store: &'static str,
        /// What was looked for.
        why: NoCredentials,
    },
    /// The store refused the credentials.
    #[error("{store} refused its credentials for {permission} on `{to}` (HTTP {status}){}", detail(message))]
    Denied {
        /// The destination.
        to: String,
        /// The store's name.
        store: &'static str,
        /// What would have to be allowed.
        permission: &'static str,
        /// 401 or 403.
        status: u16,
        /// What the store answered, sanitised; may be empty.
        message: String,
    },
    /// Another rcsync mirrors to this destination.
    #[error("`{to}` is held by another rcsync ({owner})")]
    Held {
        /// The destination.
        to: String,
        /// The holder, and since when.
        owner: String,
    },
    /// Another rcsync has taken this destination over, since this one did not write for longer than its lease.
    #[error("`{to}` was taken over by another rcsync ({owner})")]
    TakenOver {
        /// The destination.
        to: String,
        /// The other rcsync.
        owner: String,
    },
    /// The store ignores the conditions of writes.
    #[error(
        "the store of `{to}` ignores the conditions of writes ({which}): two rcsyncs could overwrite each other"
    )]
    IgnoresConditions {
        /// The destination.
        to: String,
        /// The condition.
        which: Condition,
    },
    /// The destination belongs to another job, or its private state cannot be used by this version.
    #[error("`{to}` cannot be used for this job: {why}")]
    Unfit {
        /// The destination.
        to: String,
        /// What does not fit.
        why: UnfitPrefix,
    },
    /// Nothing was mirrored there.
    #[error("`{to}` is no mirror of a job: there is no `.rcsync/head.json`")]
    NoMirror {
        /// The destination.
        to: String,
    },
    /// The bucket is in another region than the environment names.
    #[error("the bucket of `{to}` is in another region{}", region.as_deref().map(|region| format!(": `{region}`")).unwrap_or_default())]
    WrongRegion {
        /// The destination.
        to: String,
        /// The region, where the store reports it.
        region: Option<String>,
    },
    /// The store did not answer, after retries.
    #[error("the store of `{to}` cannot be reached: {cause}")]
    Away {
        /// The destination.
        to: String,
        /// What went wrong.
        cause: Unanswered,
    },
    /// The store refused a request for another reason.
    #[error("could not {verb} `{object}`: {cause}")]
    Refused {
        /// What was tried, as it fits after "could not".
        verb: &'static str,
        /// The object.
        object: String,
        /// What the store answered, or what its answer has that rcsync cannot use.
        cause: StoreRefusal,
    },
}

/// Why it is unknown what became of a request to a store, or why the store is asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unanswered {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(TransportFault),
    /// The request or its answer was lost on the way.
    #[error("{0}")]
    Transport(TransportFault),
    /// No answer came in time.
    #[error("no answer for {} s", after.as_secs())]
    TimedOut {
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// No answer came while there was time to follow the job.
    #[error("it did not answer while there was time to follow the job")]
    JobTimeOver,
    /// No answer came while there was time to follow the jobs of a fleet.
    #[error("it did not answer while there was time to follow the jobs")]
    FleetTimeOver,
    /// The store failed.
    #[error("HTTP {0}")]
    Status(u16),
    /// The store asks for fewer requests.
    #[error("the store asks to try later (HTTP {0})")]
    Busy(u16),
    /// An object of this name is there, and none may be replaced.
    #[error("its name is taken")]
    NameTaken,
    /// The head was not the one that was to be replaced.
    #[error("the swap was refused")]
    SwapRefused,
    /// The object was written by another request since it was read.
    #[error("it was written meanwhile")]
    WrittenMeanwhile,
    /// The answer cannot be read, in the words of the library that implements the store's protocol.
    #[error("{0}")]
    Unreadable(String),
}

/// Why there are no credentials for a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoCredentials {
    /// Neither the environment nor the machine has any.
    #[error("nothing is set in the environment, and no instance role answers")]
    NothingSet,
    /// The cloud's own service refused.
    #[error("the service that hands them out answered HTTP {0}")]
    Service(u16),
    /// The endpoint cannot be used.
    #[error("`AWS_ENDPOINT_URL` is no address")]
    BadEndpoint,
    /// The profile that the environment names does not exist.
    #[error(
        "`AWS_PROFILE` names the profile `{0}`, which is in neither ~/.aws/config nor ~/.aws/credentials"
    )]
    NoProfile(String),
    /// The profile has credentials of a kind that is not supported.
    #[error(
        "the profile `{profile}` has `{setting}`, which rcsync does not read; `aws configure export-credentials` has the variables to set"
    )]
    Unsupported {
        /// The profile.
        profile: String,
        /// The setting.
        setting: &'static str,
    },
    /// The profile had credentials once.
    #[error("the profile `{0}` has no credentials any more")]
    Gone(String),
    /// The setting `credential_process` is no command.
    #[error("`credential_process` cannot be read as a command")]
    NoCommand,
    /// The program did not start.
    #[error("`credential_process` `{program}` could not be run: {cause}")]
    NotStarted {
        /// The program, without its arguments.
        program: String,
        /// What the system reported.
        cause: SystemError,
    },
    /// The program ran for too long.
    #[error("`credential_process` `{program}` took longer than {} s", after.as_secs())]
    TimedOut {
        /// The program, without its arguments.
        program: String,
        /// The limit.
        #[serde(serialize_with = "as_seconds")]
        after: Duration,
    },
    /// The program failed.
    #[error("`credential_process` `{program}` ended with {ending}")]
    Failed {
        /// The program, without its arguments.
        program: String,
        /// Its code or signal.
        ending: Ending,
    },
    /// The program printed something else.
    #[error("`credential_process` `{program}` did not print credentials as JSON")]
    NoJson {
        /// The program, without its arguments.
        program: String,
    },
    /// Another fault, in the words of the library that implements the store's protocol.
    #[error("{0}")]
    Other(String),
}

/// Why a store did not do what it was asked, or why its answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoreRefusal {
    /// It refused the request.
    #[error("the store refused the request (HTTP {status}{})", detail(message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the store answered, sanitised; may be empty.
        message: String,
    },
    /// The upload was completed, aborted, or removed by a rule of the bucket.
    #[error("the store has no such upload any more")]
    NoUpload,
    /// No HTTP client can be made.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// The name cannot be that of an object.
    #[error("its name is no key of a bucket")]
    BadKey,
    /// Every name that the file could have belongs to other bytes.
    #[error("every name for it is taken")]
    NoFreeName,
    /// An object of rcsync's disappeared.
    #[error("it is gone")]
    Gone,
    /// An object that was just written does not exist.
    #[error("what was written is not there")]
    NotWritten,
    /// A write under the right condition was refused.
    #[error("a swap on the right tag is refused")]
    SwapRefused,
    /// A copy takes too long.
    #[error("the copy is not whole after ten minutes")]
    CopyUnfinished,
    /// It was changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// It is larger than any object of rcsync's.
    #[error("it has {size} bytes, and an object of rcsync's has at most {most} there")]
    TooLarge {
        /// Its length.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// What was to be written cannot be made into text: the serializer's words.
    #[error("{0}")]
    Unserializable(String),
}

/// A condition of a write that a store has to honour, since two rcsyncs could overwrite each other otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// Create an object only if there is none.
    #[error("`If-None-Match: *`")]
    New,
    /// Replace an object only if it has this tag.
    #[error("`If-Match`")]
    Unchanged,
    /// Create an object by completing an upload or by copying, only if there is none.
    #[error("on completing an upload and on copying")]
    Copy,
    /// The destination was begun by an rcsync that trusted to be the only writer.
    #[error("this destination was begun for one writer alone")]
    OneWriter,
}

/// What does not fit about a destination in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnfitPrefix {
    /// It is another job's.
    #[error("it holds the files of job `{0}`")]
    OtherJob(JobId),
    /// It is this job's, of another API.
    #[error("it holds files of the API at `{0}`")]
    OtherOrigin(String),
    /// A newer version wrote it.
    #[error("its private state has format {found}, and this rcsync knows {known}")]
    NewerFormat {
        /// The format that it has.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// Its head cannot be read.
    #[error("its head is damaged; the next run of its job adopts what is there")]
    DamagedHead,
    /// A part of its private state does not exist.
    #[error("its head names a snapshot that is not there")]
    NoSnapshot,
    /// A part of its private state is larger than rcsync makes one.
    #[error("its `{key}` has {size} bytes, and rcsync's has at most {most}")]
    TooLarge {
        /// The object.
        key: String,
        /// Its length.
        size: u64,
        /// The most that it may have.
        most: u64,
    },
}

impl BucketError {
    pub(super) const fn exit_status(&self) -> ExitStatus {
        match self {
            Self::NoBucket { .. } | Self::NoMirror { .. } => ExitStatus::NoInput,
            Self::NoCredentials { .. } | Self::Denied { .. } => ExitStatus::NoPermission,
            Self::Held { .. } | Self::TakenOver { .. } => ExitStatus::TryAgain,
            Self::IgnoresConditions { .. }
            | Self::Unfit { .. }
            | Self::WrongRegion { .. }
            | Self::Refused { .. } => ExitStatus::CannotCreate,
            Self::Away { .. } => ExitStatus::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_and_names_the_bucket_and_the_store_of_the_credentials() {
        let to = || "s3://b/p".to_owned();
        let message = "AccessDenied".to_owned();
        let owner = || "process 7 on host".to_owned();
        let kinds = [
            (BucketError::NoBucket { to: to() }, 66),
            (BucketError::NoMirror { to: to() }, 66),
            (BucketError::NoCredentials { to: to(), store: "S3", why: NoCredentials::NothingSet }, 77),
            (
                BucketError::Denied {
                    to: to(),
                    store: "S3",
                    permission: "s3:PutObject",
                    status: 403,
                    message,
                },
                77,
            ),
            (BucketError::Held { to: to(), owner: owner() }, 75),
            (BucketError::TakenOver { to: to(), owner: owner() }, 75),
            (BucketError::IgnoresConditions { to: to(), which: Condition::New }, 73),
            (BucketError::Unfit { to: to(), why: UnfitPrefix::DamagedHead }, 73),
            (BucketError::WrongRegion { to: to(), region: Some("eu-west-1".to_owned()) }, 73),
            (BucketError::Refused { verb: "write", object: to(), cause: StoreRefusal::NoUpload }, 73),
            (BucketError::Away { to: to(), cause: Unanswered::JobTimeOver }, 69),
        ];
        for (error, code) in kinds {
            assert_eq!(error.exit_status().code(), code, "{error}");
            assert!(error.to_string().contains("s3://b/p"), "{error}");
            assert!(!error.to_string().ends_with('.'), "{error}");
            if code == 77 {
                assert!(error.to_string().contains("S3"), "{error}");
            }
        }
    }
}
