//! Where a file is hosted: a URL whose query is a secret.
//!
//! Signed URLs break when a byte of them changes, so the text is kept as it came. What is asked *about* it
//! (host, path) comes from the same parser that the HTTP client uses, and texts on which the two readings
//! could differ are refused.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Serialize, Serializer};
use url::Url;

use crate::model::names::sanitize::{for_terminal, is_invisible, secrets_removed};

/// The address of a hosted file, sent byte for byte, shown without its query.
///
/// - absolute, `http` or `https`, with a host and without user name or password
/// - no white space at its ends, no control characters or `\`, and at most [`SourceUrl::MAX_BYTES`] bytes
/// - no `.` or `..` among the segments of its path, encoded or not
///
/// The HTTP client reads the text again with the `url` crate. That removes dot segments, tabs and line breaks,
/// turns `\` into `/`, and moves the host where slashes are too many or too few: none of which can be in
/// here. What it still does is percent-encode spaces, characters outside ASCII and ``"<>^`{}``, so the path
/// that is requested always decodes to the same segments as [`SourceUrl::url_path`].
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl {
    raw: Arc<str>,
    /// `scheme://host[:port]`, as the parser normalised it.
    origin: Arc<str>,
    /// The host's range in `origin`.
    host: Range<usize>,
    /// The path's range in `raw`; may be empty.
    path: Range<usize>,
    has_query: bool,
}

/// The text cannot be the address of a hosted file. Never quotes more of it than the scheme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SourceUrlError {
    /// It is longer than [`SourceUrl::MAX_BYTES`].
    #[error("the URL is longer than 16 KiB")]
    TooLong,
    /// It has no scheme and host.
    #[error("the URL is not absolute")]
    NotAbsolute,
    /// It is neither http nor https.
    #[error("the URL's scheme `{0}` is neither http nor https")]
    Scheme(String),
    /// There is white space at its ends, or a control character or a backslash in it.
    #[error("the URL has control characters or backslashes in it, or white space around it")]
    BadCharacter,
    /// There is a user name or a password in it.
    #[error("the URL has a user name or password in it")]
    UserInfo,
    /// There is no host in it, or none that can exist.
    #[error("the URL has no valid host")]
    NoHost,
    /// A segment of its path is `.` or `..`.
    #[error("the URL's path has `.` or `..` segments")]
    DotSegments,
}

impl SourceUrl {
    /// The longest address that is taken: twice what common servers accept as a request line.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Reads an absolute http or https URL.
    ///
    /// # Errors
    ///
    /// When the text breaks one of the promises of this type.
    pub fn parse(text: &str) -> Result<Self, SourceUrlError> {
        if text.len() > Self::MAX_BYTES {
            return Err(SourceUrlError::TooLong);
        }
        // The client would take white space off the ends; within, it encodes it as browsers do.
        let padded = text.trim() != text;
        if padded || text.contains(|c: char| c.is_control() || c == '\\') {
            return Err(SourceUrlError::BadCharacter);
        }
        let after_scheme = after_scheme(text)?;
        let authority_start = text.len() - after_scheme.len();
        let find = |from: usize, stops: &[char]| text[from..].find(stops).map_or(text.len(), |at| from + at);
        let path_start = find(authority_start, &['/', '?', '#']);
        let path_end = find(path_start, &['?', '#']);
        let authority = &text[authority_start..path_start];
        if authority.contains('@') {
            return Err(SourceUrlError::UserInfo);
        }
        if authority.is_empty() {
            return Err(SourceUrlError::NoHost);
        }
        if text[path_start..path_end].split('/').any(is_dot_segment) {
            return Err(SourceUrlError::DotSegments);
        }
        let url = Url::parse(text).map_err(|_| SourceUrlError::NoHost)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(SourceUrlError::NoHost)?;
        let origin = url.origin().ascii_serialization();
        let host_start = url.scheme().len() + "://".len();
        let host = host_start..host_start + host.len();
        Ok(Self {
            raw: text.into(),
            origin: origin.into(),
            host,
            path: path_start..path_end,
            has_query: text[path_end..].starts_with('?'),
        })
    }

    /// Takes the text of an equal origin from another address, so that the files of one host have one copy of it.
    #[must_use]
    pub fn sharing_origin(self, other: &Self) -> Self {
        if self.origin == other.origin { Self { origin: other.origin.clone(), ..self } } else { self }
    }

    /// Returns the whole address, byte for byte as it came. For the HTTP client alone: the query is a secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.raw
    }

    /// Returns the path as it came: percent-encoded, without query and fragment, and never empty.
    #[must_use]
    pub fn url_path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.raw[self.path.clone()] }
    }

    /// Returns the host: lower case, punycode, IP addresses in their one canonical form, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.origin[self.host.clone()]
    }

    /// Returns `host[:port]`, the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.origin[self.host.start..]
    }

    /// Returns `scheme://host[:port]`, the port only where it is not the scheme's own.
    #[must_use]
    pub fn origin(&self) -> String {
        self.origin.to_string()
    }

    /// Takes out of a text what it repeats of the query: hosts quote requests, object stores quote signatures.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        /// Shorter values are numbers and flags; blackening them would only make the rest unreadable.
        const SECRET_FROM: usize = 6;
        let mut text = secrets_removed(text);
        let query = self.raw[self.path.end..].strip_prefix('?').unwrap_or_default();
        let values =
            query.split(['&', '#']).map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
        let mut secrets: Vec<Cow<'_, str>> = values
            .flat_map(|value| [value.into(), percent_decode_str(value).decode_utf8_lossy()])
            .filter(|secret| secret.len() >= SECRET_FROM)
            .collect();
        // The end of a value that begins with another one would stay.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            text = text.replace(&*secret, "…");
        }
        text
    }
}

/// Returns what follows `http://` or `https://`.
fn after_scheme(text: &str) -> Result<&str, SourceUrlError> {
    let (scheme, rest) = text.split_once(':').ok_or(SourceUrlError::NotAbsolute)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme {
        return Err(SourceUrlError::NotAbsolute);
    }
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        // The longest registered scheme names are about this long; a longer one is of no use in a message.
        return Err(SourceUrlError::Scheme(for_terminal(scheme, 32)));
    }
    rest.strip_prefix("//").ok_or(SourceUrlError::NotAbsolute)
}

/// Whether a URL parser would take the segment out, and perhaps the one before it.
fn is_dot_segment(segment: &str) -> bool {
    // `%2e%2e` is the longest form, so nothing longer has to be looked at.
    segment.len() <= 6 && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        // What would not be seen is shown percent-encoded, which is how it is sent anyway.
        for c in self.url_path().chars() {
            if is_invisible(c) || c.is_whitespace() {
                write!(f, "{}", utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC))?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str(if self.has_query { "?…" } else { "" })
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({self})")
    }
}

impl Serialize for SourceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kept_raw_and_shown_without_its_query() {
        let raw = "HTTPS://Files.Example.NET:443/Out%70ut/a%20b[1].safetensors?X-Sig=s%2Fecret&b=#frag?x";
        let url = SourceUrl::parse(raw).unwrap();
        assert_eq!(url.expose(), raw);
        assert_eq!(url.url_path(), "/Out%70ut/a%20b[1].safetensors");
        assert_eq!((url.host(), url.authority()), ("files.example.net", "files.example.net"));
        assert_eq!(url.origin(), "https://files.example.net");
        assert!(url.has_query);
        let shown = "https://files.example.net/Out%70ut/a%20b[1].safetensors?…";
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), format!("SourceUrl({shown})"));
        assert_eq!(serde_json::to_string(&url).unwrap(), format!("\"{shown}\""));
    }

    #[test]
    fn odd_but_usable() {
        for (raw, shown, path) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", "/"),
            ("http://h?q", "http://h/?…", "/"),
            ("http://h#f?q", "http://h/", "/"),
            ("http://h/a#f?q", "http://h/a", "/a"),
            ("http://0x7f.1/a", "http://127.0.0.1/a", "/a"),
            ("http://[::1]:99//a//", "http://[::1]:99//a//", "//a//"),
            ("https://bücher.example/é@x:y", "https://xn--bcher-kva.example/é@x:y", "/é@x:y"),
            ("https://h/x\u{202e}gpj.exe", "https://h/x%E2%80%AEgpj.exe", "/x\u{202e}gpj.exe"),
            ("https://h/..%2f..%2fetc", "https://h/..%2f..%2fetc", "/..%2f..%2fetc"),
            ("https://h/my lora.png?a b", "https://h/my%20lora.png?…", "/my lora.png"),
            ("https://h/a\u{3000}b", "https://h/a%E3%80%80b", "/a\u{3000}b"),
            ("https://h/a?next=/../b", "https://h/a?…", "/a"),
        ] {
            let url = SourceUrl::parse(raw).unwrap();
            assert_eq!((url.to_string().as_str(), url.url_path()), (shown, path), "{raw}");
        }
        assert_eq!(SourceUrl::parse("http://[::1]:99/").unwrap().host(), "[::1]");
        assert_eq!(SourceUrl::parse("http://h:99/").unwrap().authority(), "h:99");
    }

    #[test]
    fn refused() {
        use SourceUrlError as E;
        for (raw, why) in [
            ("", E::NotAbsolute),
            ("/output/a", E::NotAbsolute),
            ("//h/a", E::NotAbsolute),
            ("https:h/a", E::NotAbsolute),
            ("https:/h/a", E::NotAbsolute),
            ("out/a:b", E::NotAbsolute),
            ("https:///h/a", E::NoHost),
            ("https://?q", E::NoHost),
            ("https://h:99999/", E::NoHost),
            ("https://[::1/", E::NoHost),
            ("https://%00/", E::NoHost),
            ("file:///etc/passwd", E::Scheme("file".into())),
            ("s3://bucket/a?sig=1", E::Scheme("s3".into())),
            ("javascript:alert(1)", E::Scheme("javascript".into())),
            ("https://me@h/a", E::UserInfo),
            ("https://me:pw@h/a", E::UserInfo),
            ("https://@h/a", E::UserInfo),
            ("https://h/a ", E::BadCharacter),
            ("https://h b/a", E::NoHost),
            (" https://h/a", E::BadCharacter),
            ("https://h/a\n", E::BadCharacter),
            ("ht\ttps://h/a", E::BadCharacter),
            ("https://h\\@evil/a", E::BadCharacter),
            ("https://h/a\u{a0}", E::BadCharacter),
            ("https://h/a/../b", E::DotSegments),
            ("https://h/a/%2e%2E/b", E::DotSegments),
            ("https://h/a/.%2e", E::DotSegments),
            ("https://h/./a?q", E::DotSegments),
        ] {
            assert_eq!(SourceUrl::parse(raw), Err(why), "{raw}");
        }
        let long = format!("https://h/{}", "a".repeat(SourceUrl::MAX_BYTES));
        assert_eq!(SourceUrl::parse(&long), Err(E::TooLong));
        assert!(SourceUrl::parse(&long[..SourceUrl::MAX_BYTES]).is_ok());
    }

    #[test]
    fn what_repeats_its_query_is_blackened() {
        let url = SourceUrl::parse("https://h/a.png?X-Sig=s%2Fecret1&v=1&k=AKIAEXAMPLE#f").unwrap();
        for (text, shown) in [
            ("no /a.png?X-Sig=s%2Fecret1&v=1 here", "no /a.png?… here"),
            ("<Key>AKIAEXAMPLE</Key><Sig>s/ecret1</Sig>", "<Key>…</Key><Sig>…</Sig>"),
            ("<Sig>s%2Fecret1</Sig> v1", "<Sig>…</Sig> v1"),
        ] {
            assert_eq!(url.redact(text), shown);
        }
        let longer = SourceUrl::parse("https://h/a?id=secret&key=secret-and-more").unwrap();
        assert_eq!(longer.redact("secret-and-more secret"), "… …");
        assert_eq!(SourceUrl::parse("https://h/a").unwrap().redact("plain"), "plain");
    }

    proptest! {
        #[test]
        fn no_value_of_a_query_survives(value in "[a-zA-Z0-9%/+=_-]{6,40}", around in "\\PC{0,20}") {
            prop_assume!(!around.contains(&value));
            let url = SourceUrl::parse(&format!("https://h/a?sig={value}")).unwrap();
            let shown = url.redact(&format!("{around}{value}{around} /a?sig={value} {around}"));
            prop_assert!(!shown.contains(&value), "{shown}");
        }

        /// What the client will request is what this type promises: same host, same segments.
        #[test]
        fn read_as_the_client_reads_it(
            rest in "(h|[a-z.@:/]{0,6})[/?#]?([a-c./%2eE?#@:\\[\\]|^`{}<>\" \u{a0}é~;=&-]|\\PC){0,24}",
        ) {
            let raw = format!("https://{rest}");
            if let Ok(url) = SourceUrl::parse(&raw) {
                let client = Url::parse(url.expose()).unwrap();
                prop_assert_eq!(client.host_str(), Some(url.host()));
                prop_assert_eq!(client.origin().ascii_serialization(), url.origin());
                prop_assert!(client.username().is_empty() && client.password().is_none());
                prop_assert_eq!(client.query().is_some(), url.has_query);
                let segments = |path: &str| -> Vec<Vec<u8>> {
                    path.split('/').map(|part| percent_decode_str(part).collect()).collect()
                };
                prop_assert_eq!(segments(client.path()), segments(url.url_path()));
            }
        }
    }
}
