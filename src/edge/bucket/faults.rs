//! What the answers of stores mean.

use crate::error::{NoCredentials, Unanswered};

use super::StoreFault;
use super::wire::Seen;

/// Whether credentials were refused since they have expired.
pub(super) fn has_expired(seen: &Seen) -> bool {
    matches!(&*seen.code, "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired")
}

/// Whether a store refused a request for the checksum that was sent with it: it does not know this kind. A checksum that it
/// knows and that does not fit is another matter.
pub(super) fn lacks_checksum(seen: &Seen) -> bool {
    let is_mismatch = matches!(
        &*seen.code,
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch"
    );
    let speaks_of_it = || {
        let message = seen.message.to_ascii_lowercase();
        message.contains("checksum") || message.contains("x-amz-sdk")
    };
    match seen.status {
        Some(501) => true,
        Some(400) => !is_mismatch && speaks_of_it(),
        _ => false,
    }
}

/// Why the crate gave no answer, beside what was seen of its requests.
#[derive(Debug)]
pub(super) enum CrateError {
    /// Our own source of credentials has none.
    Credentials(NoCredentials),
    /// The innermost error's words.
    Other(String),
}

impl CrateError {
    fn unreadable(self) -> Unanswered {
        Unanswered::Unreadable(match self {
            Self::Credentials(why) => why.to_string(),
            Self::Other(words) => words,
        })
    }
}

/// Makes a fault of what was seen of a request and of the crate's error.
pub(super) fn fault(permission: &'static str, seen: &Seen, error: CrateError) -> StoreFault {
    let Seen { code, message, .. } = seen;
    let Some(status) = seen.status else {
        if seen.is_sent && !seen.is_for_credentials {
            let cause = seen.cause.clone().unwrap_or_else(|| error.unreadable());
            return StoreFault::Unknown { cause };
        }
        return StoreFault::Credentials(match error {
            _ if seen.is_sent => NoCredentials::NothingSet,
            CrateError::Credentials(why) => why,
            CrateError::Other(words) => NoCredentials::Other(words),
        });
    };
    if seen.is_for_credentials {
        return StoreFault::Credentials(NoCredentials::Service(status));
    }
    let said = || match (code.is_empty(), message.is_empty()) {
        (true, _) => message.clone(),
        (false, true) => code.clone(),
        (false, false) => format!("{code}: {message}"),
    };
    let is_elsewhere = matches!(
        &**code,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
    );
    match status {
        301 | 307 | 308 => StoreFault::WrongRegion { region: seen.region.clone() },
        400 if is_elsewhere => StoreFault::WrongRegion { region: seen.region.clone() },
        400 | 401 | 403 if has_expired(seen) => {
            let message = format!(
                "{}; keys in the environment cannot be renewed while rcsync runs, those of a profile's `credential_process`, of a web identity and of a role are",
                said()
            );
            StoreFault::Denied { status, permission, message }
        }
        401 | 403 if code == "RequestTimeTooSkewed" => {
            let message = "this machine's clock is off by more than a quarter of an hour".to_owned();
            StoreFault::Denied { status, permission, message }
        }
        401 | 403 => StoreFault::Denied { status, permission, message: said() },
        404 if code == "NoSuchUpload" => StoreFault::NoUpload,
        404 if matches!(&**code, "NoSuchBucket" | "ContainerNotFound")
            || message.contains("bucket does not exist") =>
        {
            StoreFault::NoBucket
        }
        408 | 500 | 502 | 504 => StoreFault::Unknown { cause: Unanswered::Status(status) },
        409 | 429 | 503 => StoreFault::Busy { status, retry_after: seen.retry_after },
        // An answer that looks like success, and has an error in its body, or cannot be read.
        200..=299 => StoreFault::Unknown { cause: error.unreadable() },
        _ => StoreFault::Refused { status, message: said() },
    }
}
