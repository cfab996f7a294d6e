//! Where a file is hosted: a URL whose query is a secret.

use std::fmt;

/// The address of a hosted file, sent byte for byte, shown without its query.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl {
    raw: Box<str>,
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({} bytes)", self.raw.len())
    }
}
