//! How a process ends.

use serde::{Serialize, Serializer};

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

/// As its number.
impl Serialize for ExitStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
