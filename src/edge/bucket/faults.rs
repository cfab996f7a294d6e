//! What the answers of stores mean.

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

/// Makes a fault of what was seen of a request; `cause` is the innermost error of the crate.
pub(super) fn fault(permission: &'static str, seen: &Seen, cause: &str) -> StoreFault {
    let Seen { code, message, .. } = seen;
    let Some(status) = seen.status else {
        if seen.is_sent && !seen.is_for_credentials {
            return StoreFault::Unknown { cause: seen.cause.clone() };
        }
        let why = if seen.is_sent {
            "nothing is set in the environment, and no instance role answers".to_owned()
        } else {
            cause.to_owned()
        };
        return StoreFault::Credentials(why);
    };
    if seen.is_for_credentials {
        let from = format!("the service that hands them out answered HTTP {status}");
        return StoreFault::Credentials(from);
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
        408 | 500 | 502 | 504 => StoreFault::Unknown { cause: format!("HTTP {status}") },
        409 | 429 | 503 => StoreFault::Busy { status, retry_after: seen.retry_after },
        // An answer that looks like success, and has an error in its body, or cannot be read.
        200..=299 => StoreFault::Unknown { cause: cause.to_owned() },
        _ => StoreFault::Refused { status, message: said() },
    }
}
