//! How files are sent: by which way, how many at a time, and what follows from a fault.

use std::time::Duration;

use serde::Serialize;

use crate::error::ApiError;
use crate::model::fault::{Fault, LocalFault};

/// The largest file that goes to the API itself, as the vendor's clients have it.
pub(crate) const MULTIPART_LIMIT: u64 = 150_000_000;

/// A connection that breaks under a file of this length may be the API's way to refuse its length: some servers answer
/// and hang up while the client still writes, and the answer is lost.
const SUSPECT_LENGTH: u64 = 32 << 20;

/// The way of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Route {
    /// A part of a form, sent to the API.
    Multipart,
    /// The raw bytes, sent to a signed address of a storage.
    Signed,
}

impl Route {
    /// Returns the way for a file that was not tried yet.
    #[must_use]
    pub(crate) const fn of(size: u64) -> Self {
        if size > MULTIPART_LIMIT { Self::Signed } else { Self::Multipart }
    }

    /// Returns its name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Multipart => "multipart",
            Self::Signed => "signed",
        }
    }
}

/// Why one try to send a file failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SendFault {
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The storage behind a signed address.
    #[error(transparent)]
    Host(#[from] Fault),
    /// The file itself.
    #[error(transparent)]
    Local(#[from] LocalFault),
}

/// What follows from a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// All wait, fewer files are sent at a time, and this one is tried again. Costs no try.
    SlowDown {
        /// How long the server asked to wait.
        wait: Option<Duration>,
    },
    /// It is tried again.
    Again {
        /// By this way.
        route: Route,
        /// Whether something has to become better first.
        wait: bool,
        /// Whether it costs one of the tries.
        counts: bool,
    },
    /// This file is not sent. The others are.
    GiveUp,
    /// No file can be sent.
    Stop,
}

/// Says what follows from a fault of a file of `size` bytes that was sent by `route`, after `tries` tries that counted,
/// this one among them.
#[must_use]
pub(crate) fn after(fault: &SendFault, route: Route, size: u64, tries: u32, retries: u32) -> Next {
    let again = |route| match tries < retries.max(1) {
        true => Next::Again { route, wait: true, counts: true },
        false => Next::GiveUp,
    };
    match fault {
        SendFault::Local(_) => Next::GiveUp,
        SendFault::Api(fault) => match fault {
            ApiError::Busy { .. } => Next::SlowDown { wait: fault.retry_after() },
            ApiError::Refused { status: 413, .. } if route == Route::Multipart => {
                Next::Again { route: Route::Signed, wait: false, counts: false }
            }
            // Payment and space are the account's: the next file would fare no better.
            ApiError::Refused { status: 402 | 507, .. } | ApiError::Server { status: 507, .. } => Next::Stop,
            ApiError::Refused { .. } => Next::GiveUp,
            ApiError::Unreachable { .. } | ApiError::Unknown { .. } | ApiError::Unintelligible { .. } => {
                let suspect = route == Route::Multipart && size >= SUSPECT_LENGTH;
                again(if suspect { Route::Signed } else { route })
            }
            ApiError::Server { .. } => again(route),
            _ => Next::Stop,
        },
        SendFault::Host(fault) => match fault {
            Fault::Status { status: 408 | 429, retry_after, .. } => Next::SlowDown { wait: *retry_after },
            // An expired or foreign signature: another one is asked for, right before its use.
            Fault::Status { status: 400 | 401 | 403 | 404 | 410, .. } if tries < retries.max(1) => {
                Next::Again { route, wait: tries > 1, counts: true }
            }
            Fault::Status { status: 500.., .. }
            | Fault::Connect { .. }
            | Fault::Stalled { .. }
            | Fault::Dripped { .. }
            | Fault::Interrupted { .. } => again(route),
            Fault::Forbidden { .. } | Fault::Untrusted { .. } => Next::Stop,
            _ => Next::GiveUp,
        },
    }
}

/// How many files are sent at a time: all that are allowed, half of them after each request of the server to slow down,
/// and one more whenever a while went well.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    most: usize,
    allowed: usize,
    good: usize,
    held_until: Duration,
}

/// Files in flight are refused together: what follows so soon is the same request to slow down.
const ONE_REQUEST: Duration = Duration::from_millis(500);

impl Pace {
    /// Begins with all that are allowed.
    #[must_use]
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, allowed: most, good: 0, held_until: Duration::ZERO }
    }

    /// Returns how many files may be sent at a time.
    #[must_use]
    pub(crate) const fn allowed(&self) -> usize {
        self.allowed
    }

    /// Returns until when nothing is begun.
    #[must_use]
    pub(crate) const fn held_until(&self) -> Duration {
        self.held_until
    }

    /// A server asked at `now` to slow down, and to wait this long.
    pub(crate) fn slow_down(&mut self, now: Duration, wait: Duration) {
        if now >= self.held_until {
            self.allowed = (self.allowed / 2).max(1);
        }
        self.good = 0;
        self.held_until = self.held_until.max(now.saturating_add(wait.max(ONE_REQUEST)));
    }

    /// A file was accepted.
    pub(crate) fn accepted(&mut self) {
        self.good += 1;
        // Twice as many as are sent at a time: two rounds without a refusal.
        if self.allowed < self.most && self.good >= self.allowed * 2 {
            self.allowed += 1;
            self.good = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::UnknownOutcome;

    fn refused(status: u16) -> SendFault {
        ApiError::Refused { status, message: String::new(), code: None }.into()
    }

    fn host(status: u16) -> SendFault {
        Fault::Status { status, retry_after: None, excerpt: None }.into()
    }

    #[test]
    fn what_follows_from_a_fault() {
        use Next::*;
        use Route::*;
        let unknown: SendFault = ApiError::Unknown { cause: UnknownOutcome::AnsweredEarly }.into();
        let again = |route, wait, counts| Again { route, wait, counts };
        let busy: SendFault =
            ApiError::Busy { status: 429, message: String::new(), code: None, retry_after: Some(7) }.into();
        for (fault, route, size, tries, expected) in [
            (busy, Multipart, 1, 9, SlowDown { wait: Some(Duration::from_secs(7)) }),
            (host(429), Signed, 1, 9, SlowDown { wait: None }),
            (refused(413), Multipart, 1, 1, again(Signed, false, false)),
            (refused(413), Signed, 1, 1, GiveUp),
            (refused(415), Multipart, 1, 1, GiveUp),
            (refused(402), Multipart, 1, 1, Stop),
            (unknown.clone(), Multipart, 1, 1, again(Multipart, true, true)),
            (unknown.clone(), Multipart, 100 << 20, 1, again(Signed, true, true)),
            (unknown, Multipart, 1, 5, GiveUp),
            (
                ApiError::Unauthorized { status: 401, message: String::new(), code: None }.into(),
                Multipart,
                1,
                1,
                Stop,
            ),
            (host(403), Signed, 1, 1, again(Signed, false, true)),
            (host(403), Signed, 1, 2, again(Signed, true, true)),
            (host(403), Signed, 1, 5, GiveUp),
            (host(503), Signed, 1, 1, again(Signed, true, true)),
            (host(413), Signed, 1, 1, GiveUp),
            (
                Fault::Forbidden { host: String::new(), why: crate::model::fault::Forbidden::Scheme }.into(),
                Signed,
                1,
                1,
                Stop,
            ),
            (LocalFault::Changed.into(), Multipart, 1, 1, GiveUp),
        ] {
            assert_eq!(after(&fault, route, size, tries, 5), expected, "{fault:?} {tries}");
        }
    }

    #[test]
    fn a_route_by_length() {
        assert_eq!(Route::of(MULTIPART_LIMIT), Route::Multipart);
        assert_eq!(Route::of(MULTIPART_LIMIT + 1), Route::Signed);
    }

    #[test]
    fn requests_to_slow_down_halve_once_and_success_restores_it() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(8);
        pace.slow_down(second, Duration::from_secs(3));
        pace.slow_down(second, Duration::from_secs(2));
        assert_eq!((pace.allowed(), pace.held_until()), (4, second * 4), "one request that came twice");
        pace.slow_down(second * 5, Duration::ZERO);
        pace.slow_down(second * 6, Duration::ZERO);
        pace.slow_down(second * 7, Duration::ZERO);
        assert_eq!(pace.allowed(), 1);
        for _ in 0..500 {
            pace.accepted();
        }
        assert_eq!(pace.allowed(), 8);
    }
}
