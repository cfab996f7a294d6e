//! The only bridge from a remote name to the disk.
//!
//! Whatever a listing or a manifest says, a [`RelPath`] names something below DIR that every system takes as
//! the same plain file: not a device, not hidden, not one of rcsync's own files, nothing invisible in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::model::digest::short_hash;
use crate::model::names::component;

use super::collision_key::CollisionKey;

/// A path under DIR, its parts separated by `/` on every system.
///
/// - relative, at least one part, at most [`RelPath::MAX_PARTS`] parts and [`RelPath::MAX_BYTES`] bytes
/// - no part is empty, longer than 200 bytes, or the name of a Windows device, with whatever extension
/// - no part begins with `.`, `-`, `~` or white space, or ends in `.` or white space
/// - no `<>:"|?*\`, no controls, no bidi controls, nothing of zero width
/// - not one of rcsync's own names: `job.json`, `SHA256SUMS`, `index.html`, `.rcsync`, `….rcsync-part`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct RelPath(Arc<str>);

/// The text is not a path that rcsync would write to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable relative path: {0}")]
pub struct RelPathError(&'static str);

impl RelPath {
    /// The longest path: Windows tools of the old kind take 260 characters and Linux 4096 bytes with DIR, so
    /// this bounds what a hostile listing costs more than it promises a fit.
    pub const MAX_BYTES: usize = 1000;

    /// The deepest path. Trainers write three levels (`<save>/transformer/<file>`).
    pub const MAX_PARTS: usize = 16;

    /// Reads a path as rcsync wrote it (manifest entries); nothing in it is changed.
    ///
    /// # Errors
    ///
    /// When the text breaks one of the promises of this type.
    pub fn parse(text: &str) -> Result<Self, RelPathError> {
        if text.len() > Self::MAX_BYTES {
            return Err(RelPathError("it is longer than 1000 bytes"));
        }
        if text.split('/').count() > Self::MAX_PARTS {
            return Err(RelPathError("it has more than 16 parts"));
        }
        let mut parts = text.split('/').enumerate();
        match parts.find_map(|(at, part)| component::fault(part, at == 0)) {
            Some(why) => Err(RelPathError(why)),
            None => Ok(Self(text.into())),
        }
    }

    /// Returns the local name of percent-encoded segments of a URL's path, or `None` where all are empty.
    ///
    /// The name is the same on every system, and two lists of segments that differ once decoded never share
    /// one, short of a collision of 32-bit hashes. Names that need no change keep every byte.
    #[must_use]
    pub fn from_remote(segments: &[&str]) -> Option<Self> {
        if segments.iter().all(|segment| segment.is_empty()) {
            return None;
        }
        let part = |(at, segment): (usize, &&str)| component::from_segment(segment, at == 0);
        let parts = segments.iter().enumerate().map(part).collect();
        Some(Self::joined(parts, Self::MAX_BYTES - component::ROOM_FOR_SUFFIXES))
    }

    /// Returns the path as text, parts separated by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// Returns the last part in two: before the extension, and the extension with its dot (or nothing).
    #[must_use]
    pub fn stem_and_extension(&self) -> (&str, &str) {
        component::split_extension(self.file_name())
    }

    /// Returns the folder that this path is in, or `None` for one directly in DIR.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// Returns what is left of this path on a disk that ignores case and normalisation.
    #[must_use]
    pub fn collision_key(&self) -> CollisionKey {
        CollisionKey::of(&self.0)
    }

    /// Returns `<stem>~<suffix><extension>` in the same folder: another version, or another file of this name.
    ///
    /// Where that would not be a valid path (too long, a suffix with odd characters), it is altered and marked
    /// as a remote name would be.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        self.with_suffix_at(self.count_parts() - 1, suffix)
    }

    /// Returns how many parts there are, at least one.
    #[must_use]
    pub fn count_parts(&self) -> usize {
        self.0.split('/').count()
    }

    /// Returns this path with the suffix on its part number `suffixed`, for when a folder's name is a file's.
    pub(crate) fn with_suffix_at(&self, suffixed: usize, suffix: &str) -> Self {
        let part = |(at, part): (usize, &str)| {
            if at != suffixed {
                return part.to_owned();
            }
            let (stem, extension) = component::split_extension(part);
            component::fitted(format!("{stem}~{suffix}{extension}"), at == 0)
        };
        Self::joined(self.0.split('/').enumerate().map(part).collect(), Self::MAX_BYTES)
    }

    /// Returns where this is below `root`, in the system's own notation.
    #[must_use]
    pub fn to_path(&self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        path.extend(self.0.split('/'));
        path
    }

    /// Joins valid parts; where that is too deep or too long, one marked folder replaces all those between
    /// the first part and the last.
    fn joined(parts: Vec<String>, max_bytes: usize) -> Self {
        let path = parts.join("/");
        if path.len() <= max_bytes && parts.len() <= Self::MAX_PARTS {
            return Self(path.into());
        }
        // Two parts are never too long, so there is something between.
        let (Some(first), Some(last), Some(between)) =
            (parts.first(), parts.last(), parts.get(1..parts.len().saturating_sub(1)))
        else {
            return Self(path.into());
        };
        let mark = short_hash(between.join("/").as_bytes(), 8);
        Self(format!("{first}/_~{mark}/{last}").into())
    }
}

impl FromStr for RelPath {
    type Err = RelPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for RelPath {
    type Error = RelPathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
