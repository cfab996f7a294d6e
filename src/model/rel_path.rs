//! The only bridge from a remote name to the disk.
//!
//! Whatever a listing or a manifest says, a [`RelPath`] names something below DIR that every system takes as
//! the same plain file: not a device, not hidden, not one of rcsync's own files, nothing invisible in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::collision_key::CollisionKey;
use super::part_name;

/// A path under DIR, its parts separated by `/` on every system.
///
/// - relative, at least one part, at most [`RelPath::MAX_PARTS`] parts and [`RelPath::MAX_BYTES`] bytes
/// - no part is empty, longer than 200 bytes, or the name of a Windows device, with whatever extension
/// - no part begins with `.`, `-`, `~` or white space, or ends in `.` or white space
/// - no `<>:"|?*\`, no controls, no bidi controls, nothing of zero width
/// - not one of rcsync's own names: `job.json`, `SHA256SUMS`, `index.html`, `.rcsync`, `….rcsync-part`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(Box<str>);

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

    /// Reads a path as rcsync wrote it (manifest entries); nothing is mended.
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
        match parts.find_map(|(at, part)| part_name::fault(part, at == 0)) {
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
        let part = |(at, segment): (usize, &&str)| part_name::from_segment(segment, at == 0);
        let parts = segments.iter().enumerate().map(part).collect();
        Some(Self::joined(parts, Self::MAX_BYTES - part_name::ROOM_FOR_SUFFIXES))
    }

    /// Returns the path as text, parts separated by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Returns the last part in two: before the extension, and the extension with its dot (or nothing).
    #[must_use]
    pub fn stem_and_extension(&self) -> (&str, &str) {
        part_name::split_extension(self.file_name())
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
        self.with_part(self.0.split('/').count() - 1, suffix)
    }

    /// Returns this path with its outermost folder renamed to `<folder>~<suffix>`, for when a file has that
    /// folder's name; a path directly in DIR gets the suffix itself.
    #[must_use]
    pub fn with_folder_suffix(&self, suffix: &str) -> Self {
        self.with_part(0, suffix)
    }

    /// Returns where this is below `root`, in the system's own notation.
    #[must_use]
    pub fn to_path(&self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        path.extend(self.0.split('/'));
        path
    }

    fn with_part(&self, suffixed: usize, suffix: &str) -> Self {
        let part = |(at, part): (usize, &str)| {
            if at != suffixed {
                return part.to_owned();
            }
            let (stem, extension) = part_name::split_extension(part);
            part_name::fitted(format!("{stem}~{suffix}{extension}"), at == 0)
        };
        Self::joined(self.0.split('/').enumerate().map(part).collect(), Self::MAX_BYTES)
    }

    /// Joins valid parts; where that is too deep or too long, one marked folder stands for all those between
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
        let mark = part_name::short_hash(between.join("/").as_bytes(), 8);
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

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0.into()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn remote(path: &str) -> String {
        RelPath::from_remote(&path.split('/').collect::<Vec<_>>()).unwrap().as_str().to_owned()
    }

    #[test]
    fn plain_names_keep_every_byte() {
        for name in [
            "x_000000250.safetensors",
            "samples/1724085406830__000000500_0.jpg",
            "my lora (v2) [final] {a} #1 & 50% off!.safetensors",
            "日本語/🐈.png",
            "cafe\u{301}.png",
            "a~b~1.png",
            "samples/job.json",
            "❤\u{fe0f}.png",
            "_.-~x",
        ] {
            assert_eq!(RelPath::parse(name).map(String::from), Ok(name.to_owned()));
            assert_eq!(remote(&name.replace('%', "%25")), name);
        }
    }

    #[test]
    fn strict_about_untrusted_text() {
        let deep = ["a"; RelPath::MAX_PARTS + 1].join("/");
        let long = [&*"a".repeat(199); 6].join("/");
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "C:", "C:a", "a:b", "a\\b", "\\\\?\\a",
            "a\0", "a\u{1b}", "a\nb", "a\u{85}", "CON", "con.png", "a/NUL.tar.gz", "COM¹.x", "CONIN$", "a.", "a ",
            " a", "a/ b", "a./b", "a\u{3000}", ".git/config", "-rf", "~", "a/~b", "a/-b", "a/.b", "a\u{202e}b",
            "a\u{200b}", "a\u{feff}b", "a\u{ad}b", "a<b", "a>b", "a\"b", "a|b", "a?b", "a*b", "job.json", "JOB.json",
            "SHA256SUMS", "sha256sums/a", "Index.html", "ｊob.json", ".rcsync", "a.rcsync-part", "b/a.RCSYNC-Part",
            &"a".repeat(201), &deep, &long,
        ] {
            assert!(RelPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<RelPath>("\"../a\"").is_err());
        let path: RelPath = serde_json::from_str("\"a/b\"").unwrap();
        assert_eq!(serde_json::to_string(&path).unwrap(), "\"a/b\"");
    }

    #[test]
    fn pieces_of_a_path() {
        let path = RelPath::parse("a.b/c.tar.gz").unwrap();
        assert_eq!(path.file_name(), "c.tar.gz");
        assert_eq!(path.stem_and_extension(), ("c.tar", ".gz"));
        assert_eq!(path.parent(), RelPath::parse("a.b").ok());
        assert_eq!(path.parent().unwrap().parent(), None);
        assert_eq!(path.with_suffix("0123abcd").as_str(), "a.b/c.tar~0123abcd.gz");
        assert_eq!(path.with_folder_suffix("0123abcd").as_str(), "a~0123abcd.b/c.tar.gz");
        assert_eq!(path.to_path(Path::new("/root")), Path::new("/root").join("a.b").join("c.tar.gz"));
        assert_eq!(RelPath::from_remote(&[]), None);
        assert_eq!(RelPath::from_remote(&["", ""]), None);
    }

    #[test]
    fn suffixes_stay_distinct_where_there_is_no_room() {
        let path = |end: &str| RelPath::parse(&format!("{}{end}", "a".repeat(199))).unwrap();
        assert_ne!(path("x").with_suffix("0123abcd"), path("y").with_suffix("0123abcd"));
        let full = RelPath::parse(&[&*"a".repeat(199); 5].join("/")).unwrap();
        let suffixed = full.with_suffix("0123abcd");
        assert_eq!(RelPath::parse(suffixed.as_str()), Ok(suffixed.clone()));
        assert!(RelPath::parse(full.with_suffix("../\0").as_str()).is_ok());
    }

    /// Remote parts: arbitrary bytes, and those near the edges of the rules.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let odd = prop::sample::select(vec![
            "", ".", "..", " ", "_", "~", "-", "a", "A", "%", "%41", "/", "\\", ":", "CON", "nul.tar.gz", "COM¹",
            "job.json", "JOB.JSON", "SHA256SUMS", "index.html", ".rcsync", "x.rcsync-part", "_~e3b0c442", "a.", "a ",
            "a~0123abcd", "a~0123abcd.png", "é", "e\u{301}", "\u{202e}", "samples", "a.abcdefghijklmnopq",
        ]);
        prop_oneof![
            3 => odd.prop_map(|text| text.as_bytes().to_vec()),
            2 => prop::collection::vec(any::<u8>(), 0..12),
            1 => "[a-b.~é ]{170,230}".prop_map(String::into_bytes),
            1 => "\\PC{0,12}".prop_map(String::into_bytes),
        ]
    }

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop_oneof![4 => prop::collection::vec(part(), 1..4), 1 => prop::collection::vec(part(), 4..40)]
    }

    fn mapped(parts: &[Vec<u8>]) -> Option<RelPath> {
        let segments: Vec<String> =
            parts.iter().map(|part| percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
        RelPath::from_remote(&segments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_remote_name_becomes_a_valid_path(parts in parts(), suffix in "[0-9a-f]{8}") {
            let Some(path) = mapped(&parts) else {
                prop_assert!(parts.iter().all(Vec::is_empty));
                return Ok(());
            };
            prop_assert_eq!(RelPath::parse(path.as_str()), Ok(path.clone()));
            // A collision's suffix and an old version's always fit without a further mark.
            let twice = path.with_suffix(&suffix).with_suffix(&suffix);
            prop_assert!(twice.stem_and_extension().0.ends_with(&format!("~{suffix}~{suffix}"))
                || twice.as_str().ends_with(&format!("~{suffix}~{suffix}")), "{}", twice);
            for path in [twice, path.with_folder_suffix(&suffix)] {
                prop_assert_eq!(RelPath::parse(path.as_str()), Ok(path.clone()));
            }
        }

        #[test]
        fn no_two_remote_names_become_one(left in parts(), right in parts()) {
            if left != right && mapped(&left).is_some() {
                prop_assert_ne!(mapped(&left), mapped(&right));
            }
        }

        /// Neither does the output of the mapping, sent through it as if it were remote, meet another name.
        #[test]
        fn a_marked_name_is_not_left_as_it_is(name in part()) {
            let Some(path) = mapped(std::slice::from_ref(&name)) else { return Ok(()) };
            let again = mapped(&[path.as_str().as_bytes().to_vec()]);
            prop_assert_eq!(again == Some(path.clone()), path.as_str().as_bytes() == name);
        }

        #[test]
        fn paths_stay_below_their_root(parts in parts()) {
            let Some(path) = mapped(&parts) else { return Ok(()) };
            let root = Path::new("/some/root");
            let full = path.to_path(root);
            let below: Vec<_> = full.strip_prefix(root).unwrap().components().collect();
            prop_assert_eq!(below.len(), path.as_str().split('/').count());
            prop_assert!(below.iter().all(|part| matches!(part, Component::Normal(_))));
        }

        #[test]
        fn parsing_never_mends(text in "[a-c./ ~\\\\:-]{0,10}|\\PC{0,10}") {
            if let Ok(path) = RelPath::parse(&text) {
                prop_assert_eq!(path.as_str(), &text);
            }
        }
    }
}

impl RelPath {
    /// Returns the path as text, with `/` between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
