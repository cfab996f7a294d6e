//! Which bytes a hosted file has now: its validators and its length (RFC 9110 sections 8.8 and 13.1.5).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// An entity tag. Only a strong one promises equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Etag {
    text: Box<str>,
}

/// The text is not an entity tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an entity tag")]
pub struct EtagError;

impl Etag {
    /// Reads an `ETag` header. Servers that forget the quotes are forgiven; control characters are not.
    ///
    /// # Errors
    /// An empty value, one over 512 bytes, or one with control characters or inner quotes.
    pub fn parse(header: &str) -> Result<Self, EtagError> {
        let text = header.trim();
        let opaque = text.strip_prefix("W/").unwrap_or(text);
        let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(opaque);
        let odd = |c: char| c.is_control() || c == '"';
        if inner.is_empty() || text.len() > 512 || inner.contains(odd) {
            return Err(EtagError);
        }
        Ok(Self { text: text.into() })
    }

    /// Whether equal tags promise equal bytes, so that the tag may go into `If-Range`.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        !self.text.starts_with("W/")
    }

    /// Returns the tag as the server wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the text between the quotes.
    #[must_use]
    pub fn opaque(&self) -> &str {
        let bare = self.text.strip_prefix("W/").unwrap_or(&self.text);
        bare.trim_matches('"')
    }
}

impl TryFrom<String> for Etag {
    type Error = EtagError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl Serialize for Etag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A `Last-Modified` date in whole seconds since 1970, and whether it identifies the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LastModified {
    /// Seconds since 1970.
    pub seconds: u64,
    /// The server's own `Date` was at least a minute later, so the file cannot have changed twice in that second
    /// (RFC 9110 section 8.8.2.2).
    pub strong: bool,
}

impl LastModified {
    /// How much older than the answer a date must be to count as strong.
    pub const STRONG_AFTER: Duration = Duration::from_secs(60);

    /// The last second of the year 9999: HTTP writes years with four digits. A damaged record can have a later one.
    pub const LATEST: u64 = 253_402_300_799;
}

/// What a server said about the bytes of one file: equal revisions have equal bytes as far as it can tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Revision {
    /// The entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// When the file was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<LastModified>,
    /// The whole length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// What comparing two revisions tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// The same bytes, as far as the server can promise.
    Same,
    /// Other bytes.
    Different,
    /// The tags differ, but date and length agree: another replica of the same bytes, or a change within one second.
    Suspect,
    /// Nothing comparable was said. Equal lengths alone are that.
    Unknown,
}

impl Revision {
    /// Compares what was known with what a later answer said.
    #[must_use]
    pub fn compare(&self, later: &Self) -> Agreement {
        if let (Some(a), Some(b)) = (self.length, later.length)
            && a != b
        {
            return Agreement::Different;
        }
        let dates = self.last_modified.zip(later.last_modified).map(|(a, b)| a.seconds == b.seconds);
        match (&self.etag, &later.etag) {
            (Some(a), Some(b)) if a.opaque() == b.opaque() => match dates {
                Some(false) => Agreement::Different,
                Some(true) | None => Agreement::Same,
            },
            (Some(_), Some(_)) if dates == Some(true) => Agreement::Suspect,
            (Some(_), Some(_)) => Agreement::Different,
            _ => match dates {
                Some(true) => Agreement::Same,
                Some(false) => Agreement::Different,
                None => Agreement::Unknown,
            },
        }
    }

    /// Whether later responses can be recognised as being of the same bytes. Without that a broken transfer starts again
    /// from zero, and a file is never fetched in several ranges.
    #[must_use]
    pub const fn is_comparable(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Returns what may go into `If-Range`: a strong tag, else a strong date, never a weak one.
    #[must_use]
    pub fn if_range(&self) -> Option<Condition> {
        match &self.etag {
            Some(tag) if tag.is_strong() => Some(Condition::Etag(tag.clone())),
            Some(_) => None,
            None => self.sendable_date().filter(|date| date.strong).map(Condition::from),
        }
    }

    /// Returns what asks "has it changed?": the tag, weak or strong, else the date.
    #[must_use]
    pub fn if_changed(&self) -> Option<Condition> {
        match &self.etag {
            Some(tag) => Some(Condition::Etag(tag.clone())),
            None => self.sendable_date().map(Condition::from),
        }
    }

    fn sendable_date(&self) -> Option<LastModified> {
        self.last_modified.filter(|date| date.seconds <= LastModified::LATEST)
    }
}

/// The value of a conditional header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// An entity tag.
    Etag(Etag),
    /// A date, in seconds since 1970.
    Date {
        /// Seconds since 1970.
        seconds: u64,
    },
}

impl From<LastModified> for Condition {
    fn from(date: LastModified) -> Self {
        Self::Date { seconds: date.seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(etag: Option<&str>, date: Option<u64>, length: Option<u64>) -> Revision {
        Revision {
            etag: etag.map(|text| Etag::parse(text).unwrap()),
            last_modified: date.map(|seconds| LastModified { seconds, strong: true }),
            length,
        }
    }

    #[test]
    fn comparison_is_a_table() {
        use Agreement::{Different, Same, Suspect, Unknown};
        let known = revision(Some("\"a\""), Some(5), Some(10));
        for (later, expected) in [
            (revision(Some("\"a\""), Some(5), Some(10)), Same),
            (revision(Some("W/\"a\""), None, None), Same),
            (revision(Some("\"a\""), Some(5), Some(11)), Different),
            (revision(Some("\"a\""), Some(6), Some(10)), Different),
            (revision(Some("\"b\""), Some(5), Some(10)), Suspect),
            (revision(Some("\"b\""), None, Some(10)), Different),
            (revision(Some("\"b\""), Some(6), Some(10)), Different),
            (revision(None, Some(5), Some(10)), Same),
            (revision(None, None, Some(10)), Unknown),
        ] {
            assert_eq!(known.compare(&later), expected, "{later:?}");
        }
        assert_eq!(revision(None, None, Some(1)).compare(&revision(None, None, Some(1))), Unknown);
    }

    #[test]
    fn weak_validators_never_reach_if_range() {
        assert_eq!(revision(Some("W/\"a\""), Some(5), None).if_range(), None);
        let weak_date = LastModified { seconds: 5, strong: false };
        assert_eq!(Revision { last_modified: Some(weak_date), ..Revision::default() }.if_range(), None);
        assert_eq!(revision(None, Some(5), None).if_range(), Some(Condition::Date { seconds: 5 }));
        let tag = Etag::parse("\"a\"").unwrap();
        assert_eq!(revision(Some("\"a\""), Some(5), None).if_range(), Some(Condition::Etag(tag)));
    }

    #[test]
    fn a_date_that_http_cannot_write_is_not_sent() {
        for (seconds, sent) in
            [(LastModified::LATEST, true), (LastModified::LATEST + 1, false), (u64::MAX, false)]
        {
            let dated = revision(None, Some(seconds), None);
            assert_eq!(dated.if_range().is_some(), sent, "{seconds}");
            assert_eq!(dated.if_changed().is_some(), sent, "{seconds}");
        }
    }

    #[test]
    fn odd_tags() {
        assert!(Etag::parse("").is_err());
        assert!(Etag::parse("\"\"").is_err());
        assert!(Etag::parse("\"a\nb\"").is_err());
        assert_eq!(Etag::parse("abc").unwrap().opaque(), "abc");
        assert_eq!(Etag::parse("W/\"abc\"").unwrap().opaque(), "abc");
    }
}
