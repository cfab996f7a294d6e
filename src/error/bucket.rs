//! Why a bucket could not be used. Each message names the bucket, and whose credentials were refused.

use super::ExitStatus;

/// Why a bucket could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
        /// What the store said, sanitised; may be empty.
        message: String,
    },
    /// Another rcsync mirrors to this destination.
    #[error("`{to}` is held by another rcsync ({owner})")]
    Held {
        /// The destination.
        to: String,
        /// Who, and since when.
        owner: String,
    },
    /// Another rcsync has taken this destination over, since this one did not write for longer than its lease.
    #[error("`{to}` was taken over by another rcsync ({owner})")]
    TakenOver {
        /// The destination.
        to: String,
        /// Who.
        owner: String,
    },
    /// The store ignores the conditions of writes.
    #[error(
        "the store of `{to}` ignores the conditions of writes ({which}): two rcsyncs could overwrite each other"
    )]
    IgnoresConditions {
        /// The destination.
        to: String,
        /// Which condition.
        which: &'static str,
    },
    /// The destination belongs to another job, or its private state cannot be used by this version.
    #[error("`{to}` cannot be used for this job: {why}")]
    Unfit {
        /// The destination.
        to: String,
        /// What does not fit.
        why: String,
    },
    /// Nothing was mirrored there.
    #[error("`{to}` is no mirror of a job: there is no `.rcsync/head.json`")]
    NoMirror {
        /// The destination.
        to: String,
    },
    /// The bucket is in another region than the environment says.
    #[error("the bucket of `{to}` is in another region{}", region.as_deref().map(|region| format!(": `{region}`")).unwrap_or_default())]
    WrongRegion {
        /// The destination.
        to: String,
        /// Which, where the store says so.
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
        /// What the store said.
        cause: String,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
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

    pub(super) fn hint(&self) -> String {
        const SETTINGS: &str = "`AWS_ACCESS_KEY_ID`/`AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE` or an instance role for s3://, `GOOGLE_APPLICATION_CREDENTIALS` for gs://, `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY` for az://";
        match self {
            Self::NoBucket { .. } => {
                "create it with the cloud's own tool, or check the name, the region and `AWS_ENDPOINT_URL`; rcsync creates no buckets".to_owned()
            }
            Self::NoCredentials { .. } => format!("set {SETTINGS}; the RunComfy token is not involved"),
            Self::Denied { permission, .. } => format!(
                "allow {permission} for these credentials (docs/buckets.md has the least policy), or set others: {SETTINGS}; the RunComfy token is not involved"
            ),
            Self::Held { .. } => {
                "wait for the other one to end; one that was killed holds it until its lease is over (`--lease`)".to_owned()
            }
            Self::TakenOver { .. } => {
                "everything published stays, and the other one continues; a longer `--lease` survives longer pauses".to_owned()
            }
            Self::IgnoresConditions { .. } => {
                "use another store, or `--sole-writer` if there is only ever one rcsync for this destination; nothing was mirrored".to_owned()
            }
            Self::Unfit { .. } => {
                "nothing in it was changed; name another prefix: `rcsync <JOB_ID> s3://BUCKET/PREFIX`".to_owned()
            }
            Self::NoMirror { .. } => {
                "name the prefix that a job was mirrored to; `rcsync <JOB_ID> s3://BUCKET/PREFIX` mirrors one".to_owned()
            }
            Self::WrongRegion { region: Some(region), .. } => format!("set `AWS_REGION={region}`"),
            Self::WrongRegion { region: None, .. } => "set `AWS_REGION` to the bucket's region".to_owned(),
            Self::Away { .. } => {
                "check the network and `AWS_ENDPOINT_URL`; everything published stays; type the same command again later".to_owned()
            }
            Self::Refused { .. } => "everything published stays as it was; `rcsync doctor --dir` asks the store step by step".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_and_a_way_out_and_names_whose_credentials_they_are() {
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
            (BucketError::IgnoresConditions { to: to(), which: "create-only" }, 73),
            (BucketError::Unfit { to: to(), why: "it holds another job".to_owned() }, 73),
            (BucketError::WrongRegion { to: to(), region: Some("eu-west-1".to_owned()) }, 73),
            (BucketError::Refused { verb: "write", object: to(), cause: "HTTP 400".to_owned() }, 73),
            (BucketError::Away { to: to(), cause: "no answer".to_owned() }, 69),
        ];
        for (error, code) in kinds {
            assert_eq!(error.exit_status().code(), code, "{error}");
            assert!(error.to_string().contains("s3://b/p"), "{error}");
            assert!(!error.to_string().ends_with('.') && !error.hint().ends_with('.'), "{error}");
            if code == 77 {
                assert!(error.to_string().contains("S3"), "{error}");
                assert!(error.hint().contains("RunComfy token is not involved"), "{error}");
            }
        }
    }
}
