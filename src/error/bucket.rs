//! Why a bucket could not be used. Each message names the bucket, and the store whose credentials were refused.

use serde::Serialize;

use crate::model::job::JobId;

use super::ExitStatus;
use super::api::detail;

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
        why: String,
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
        cause: String,
    },
    /// The store refused a request for another reason.
    #[error("could not {verb} `{object}`: {cause}")]
    Refused {
        /// What was tried, as it fits after "could not".
        verb: &'static str,
        /// The object.
        object: String,
        /// What the store answered.
        cause: String,
    },
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
            (BucketError::NoCredentials { to: to(), store: "S3", why: "nothing is set".to_owned() }, 77),
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
            (BucketError::Refused { verb: "write", object: to(), cause: "HTTP 400".to_owned() }, 73),
            (BucketError::Away { to: to(), cause: "no answer".to_owned() }, 69),
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
