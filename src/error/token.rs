//! Why a token cannot be sent.

use std::fmt;
use std::io;

use serde::Serialize;

use super::system::SystemError;

/// Why a token that was found cannot be sent. Never contains the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenFault {
    /// It is empty.
    Empty,
    /// There is more than one line.
    LineBreak,
    /// There is a space in it, as in `Bearer …`.
    Space,
    /// It has other characters than a header may have.
    Characters,
    /// The file begins like JSON, and is none.
    NotJson,
    /// The JSON has no token.
    NoAccessToken,
    /// The file cannot be read.
    Unreadable(SystemError),
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::LineBreak => "it has a line break in it",
            Self::Space => "it has a space in it; it must be the token alone, without `Bearer`",
            Self::Characters => "it has control characters or characters outside ASCII in it",
            Self::NotJson => "it is not valid JSON",
            Self::NoAccessToken => "it has no `access_token`",
            Self::Unreadable(error) => match error.kind() {
                io::ErrorKind::NotFound => "there is no such file",
                io::ErrorKind::PermissionDenied => "it cannot be read (permission denied)",
                io::ErrorKind::IsADirectory => "it is a folder",
                io::ErrorKind::InvalidData => "it is not text",
                _ => return write!(f, "it cannot be read ({error})"),
            },
        })
    }
}
