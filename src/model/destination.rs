//! Where a job is mirrored to: a folder of this machine, or a prefix of a bucket. Parsed once; holds no secret.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::names::rel_path::RelPath;
use crate::model::names::sanitize::{for_terminal, is_invisible};

use super::job::JobId;

/// Where a job is mirrored to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A folder.
    Folder(PathBuf),
    /// A prefix of a bucket.
    Bucket(BucketUrl),
}

/// Which protocol a bucket's store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// S3 and everything that has its API: `s3://`.
    S3,
    /// Google Cloud Storage: `gs://`.
    Gcs,
    /// Azure Blob Storage: `az://`.
    Azure,
}

/// A bucket and a prefix in it, such as `s3://artifacts/loras/dog`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketUrl {
    store: StoreKind,
    bucket: Box<str>,
    prefix: Box<str>,
}

/// The text is a URL that is no bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("`{text}` is no bucket: {why}")]
pub struct DestinationError {
    text: String,
    why: Cow<'static, str>,
}

/// S3 and GCS take keys of 1,024 bytes; what is left is for file names and private objects.
const LONGEST_PREFIX: usize = 500;

const OTHER_SCHEME: &str = "a destination is a folder, or begins with \
    `s3://`, `gs://` or `az://`; a folder of this name is typed with `./` before it";

const NAME: &str = "{name}";
const ID: &str = "{id}";

impl StoreKind {
    /// Returns the scheme without `://`.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    /// Returns the store's name for people.
    #[cfg(feature = "buckets")]
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Gcs => "Google Cloud Storage",
            Self::Azure => "Azure Blob Storage",
        }
    }

    fn of(text: &str) -> Option<(Self, &str)> {
        [Self::S3, Self::Gcs, Self::Azure].into_iter().find_map(|kind| {
            let (scheme, rest) = text.split_once("://")?;
            scheme.eq_ignore_ascii_case(kind.scheme()).then_some((kind, rest))
        })
    }
}

impl Destination {
    /// Reads what was typed. A text without a scheme is a folder; `s3:/BUCKET` has one, with a slash that is missing.
    ///
    /// # Errors
    /// When the text has the scheme of a bucket and names none, or another scheme.
    pub fn parse(text: PathBuf) -> Result<Self, DestinationError> {
        let Some(typed) = text.to_str() else { return Ok(Self::Folder(text)) };
        if let Some(bucket) = BucketUrl::parse(typed) {
            return Ok(Self::Bucket(bucket?));
        }
        Self::ensure_slashes(typed)?;
        match other_scheme(typed) {
            // The rest of a URL may hold a secret: it is not repeated.
            Some(scheme) => {
                Err(DestinationError { text: format!("{scheme}://…"), why: OTHER_SCHEME.into() })
            }
            None => Ok(Self::Folder(text)),
        }
    }

    /// Refuses the scheme of a bucket without its two slashes: no folder called `s3:` is meant. Also for a text in which `{id}`
    /// and `{name}` are not filled in yet.
    ///
    /// # Errors
    /// The text, with the meant one.
    pub fn ensure_slashes(text: &str) -> Result<(), DestinationError> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(_, rest)| !rest.starts_with("//")) else {
            return Ok(());
        };
        let kinds = [StoreKind::S3, StoreKind::Gcs, StoreKind::Azure];
        let scheme =
            kinds.map(StoreKind::scheme).into_iter().find(|known| scheme.eq_ignore_ascii_case(known));
        let Some(scheme) = scheme else { return Ok(()) };
        let rest = rest.trim_start_matches(['/', '\\']);
        // What has a user name or a query may hold a secret: it is not repeated.
        let (text, meant) = if rest.is_empty() || rest.contains(['@', '?', '#']) {
            (format!("{scheme}:…"), format!("{scheme}://BUCKET/PREFIX"))
        } else {
            (for_terminal(text, 200), for_terminal(&format!("{scheme}://{rest}"), 200))
        };
        Err(DestinationError { text, why: format!("two slashes follow the colon, as in `{meant}`").into() })
    }

    /// Fills `{id}` and `{name}` in. A name is free text: it becomes part of one folder's name, never a path of its own.
    #[must_use]
    pub fn fill(template: &str, job: &JobId, name: Option<&str>) -> String {
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(job.as_str());
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        // Filled in one walk, so that a job called `{id}` keeps its name.
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix(NAME) {
                filled.push_str(&component(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix(ID) {
                filled.push_str(&component(job.as_str()));
                rest = after;
            } else {
                filled.push('{');
                rest = &rest[1..];
            }
        }
        filled.push_str(rest);
        filled
    }

    /// Returns the first word in braces that [`Self::fill`] does not know: a slip, as a rule. A brace alone is a part of a name.
    #[must_use]
    pub fn unknown_placeholder(template: &str) -> Option<&str> {
        let mut rest = template;
        while let Some((_, after)) = rest.split_once('{') {
            // Of two braces that open, the second one begins the word.
            let (inside, _) = after.split_once('}')?;
            let word = inside.rsplit('{').next().unwrap_or(inside);
            let is_word = !word.is_empty()
                && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.'));
            if is_word && word != "id" && word != "name" {
                return Some(word);
            }
            rest = after;
        }
        None
    }

    /// Whether the text has something that [`Self::fill`] replaces by what only the API knows.
    #[must_use]
    pub fn needs_name(template: &str) -> bool {
        template.contains(NAME)
    }
}

/// Returns the scheme of a URL: `gcs://bucket` and `gcs:/bucket` are mistyped buckets, and no folder called `gcs:`. A drive
/// has one letter.
fn other_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(":/")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.len() > 1
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some(scheme)
}

/// One part of a path that is valid on every system.
fn component(text: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    RelPath::from_remote(&[&encoded]).map_or_else(|| "_".to_owned(), |path| path.as_str().to_owned())
}

impl BucketUrl {
    /// Reads `s3://BUCKET/PREFIX`; `None` for a text of another kind.
    ///
    /// # Errors
    /// Inside of the `Some`: when the text has the scheme of a bucket and names none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, DestinationError>> {
        let (store, rest) = StoreKind::of(text)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        Some(match fault(bucket, prefix) {
            // An address with a user name may hold a secret: it is not repeated.
            Some(why) if rest.contains('@') || rest.contains('?') => {
                Err(DestinationError { text: format!("{}://…", store.scheme()), why: why.into() })
            }
            Some(why) => Err(DestinationError { text: for_terminal(text, 200), why: why.into() }),
            None => Ok(Self { store, bucket: bucket.into(), prefix: prefix.into() }),
        })
    }

    /// Returns which protocol the store has.
    #[cfg(feature = "buckets")]
    #[must_use]
    pub const fn store(&self) -> StoreKind {
        self.store
    }

    /// Returns the bucket's (Azure: the container's) name.
    #[cfg(any(test, feature = "buckets"))]
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the prefix, without a slash at either end; it may be empty.
    #[cfg(any(test, feature = "buckets"))]
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns this prefix as it is seen from `root`; `None` where it is not below it.
    #[cfg(any(test, feature = "buckets"))]
    #[must_use]
    pub fn below(&self, root: &Self) -> Option<&str> {
        if self.store != root.store || self.bucket != root.bucket {
            return None;
        }
        let rest = match root.prefix() {
            "" => self.prefix(),
            prefix => self.prefix.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        (!rest.is_empty()).then_some(rest)
    }

    /// Returns the URL of an object below the prefix.
    #[must_use]
    pub fn object(&self, key: &str) -> String {
        format!("{self}/{key}")
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}://{}{slash}{}", self.store.scheme(), self.bucket, self.prefix)
    }
}

fn fault(bucket: &str, prefix: &str) -> Option<&'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$');
    if bucket.contains('@') || bucket.contains(':') {
        Some(
            "a bucket's address has no user, password or port; endpoints and credentials come from the environment",
        )
    } else if prefix.contains(['?', '#']) || bucket.contains(['?', '#']) {
        Some("it has a query or a fragment")
    } else if bucket.is_empty() {
        Some("the bucket's name is missing, as in `s3://BUCKET/PREFIX`")
    } else if bucket.len() > 222 || !bucket.chars().all(is_name) {
        Some("a bucket's name has letters, digits, `.`, `-` and `_` alone")
    } else if prefix.len() > LONGEST_PREFIX {
        Some("its prefix is longer than 500 bytes")
    } else if prefix.split('/').any(|part| part.is_empty()) && !prefix.is_empty() {
        Some("its prefix has an empty part (`//`)")
    } else if prefix.split('/').any(|part| part == "." || part == ".." || part == ".rcsync") {
        Some("its prefix has a part `.`, `..` or `.rcsync`")
    } else if prefix.chars().any(is_invisible) || prefix.contains('\\') {
        Some("its prefix has a character that cannot be seen, or a backslash")
    } else if prefix.contains(['{', '}']) {
        Some("its prefix has braces with neither `id` nor `name` in them")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BucketUrl {
        BucketUrl::parse(text).unwrap().unwrap()
    }

    #[test]
    fn buckets_are_read_and_shown() {
        for (text, bucket, prefix, shown) in [
            ("s3://b", "b", "", "s3://b"),
            ("s3://b/", "b", "", "s3://b"),
            ("S3://my-bucket/loras/dog/", "my-bucket", "loras/dog", "s3://my-bucket/loras/dog"),
            ("gs://b.example.org/ü b", "b.example.org", "ü b", "gs://b.example.org/ü b"),
            ("az://$web/x", "$web", "x", "az://$web/x"),
        ] {
            let read = url(text);
            assert_eq!((read.bucket(), read.prefix(), &*read.to_string()), (bucket, prefix, shown), "{text}");
        }
        assert_eq!(url("s3://b/p").object("a/b.txt"), "s3://b/p/a/b.txt");
        assert_eq!(url("s3://b").object("a"), "s3://b/a");
    }

    #[test]
    fn a_word_in_braces_that_is_not_filled_in_is_found() {
        for (template, unknown) in [
            ("loras/{name}/{id}", None),
            ("loras/{nmae}", Some("nmae")),
            ("s3://b/{name}/{job_id}", Some("job_id")),
            ("{犬}", Some("犬")),
            ("{{nam}", Some("nam")),
            ("a{b/c", None),
            ("a}b{", None),
            ("{}", None),
            ("{a,b}", None),
        ] {
            assert_eq!(Destination::unknown_placeholder(template), unknown, "{template}");
        }
    }

    #[test]
    fn a_prefix_is_below_another_one() {
        for (text, root, below) in [
            ("s3://b/loras/dog", "s3://b/loras", Some("dog")),
            ("s3://b/loras/dog/x", "s3://b", Some("loras/dog/x")),
            ("s3://b/loras", "s3://b/loras", None),
            ("s3://b/lorasdog", "s3://b/loras", None),
            ("gs://b/loras/dog", "s3://b/loras", None),
            ("s3://c/loras/dog", "s3://b/loras", None),
        ] {
            assert_eq!(url(text).below(&url(root)), below, "{text} {root}");
        }
    }

    #[test]
    fn other_texts_are_folders() {
        for text in [
            "",
            "x",
            "./s3:",
            "C:\\x",
            "c://x",
            "/s3://b",
            "./http://h/x",
            "a/b://x",
            "./s3:/b",
            "a/s3:/b",
            "s3",
            "c:/x",
            "a:b",
        ] {
            assert_eq!(Destination::parse(text.into()).unwrap(), Destination::Folder(text.into()), "{text}");
        }
    }

    #[test]
    fn a_bucket_without_its_slashes_is_no_folder() {
        for (text, meant) in [
            ("s3:/b", "s3://b"),
            ("S3:/b/{name}", "s3://b/{name}"),
            ("gs:/b/loras/dog", "gs://b/loras/dog"),
            ("az:b/x", "az://b/x"),
            ("s3:\\b", "s3://b"),
            ("s3:", "s3://BUCKET/PREFIX"),
            ("s3:/key:secret@b/p", "s3://BUCKET/PREFIX"),
            ("az:/c/p?sig=secret", "az://BUCKET/PREFIX"),
        ] {
            let error = Destination::parse(text.into()).unwrap_err().to_string();
            let way_out = format!("is no bucket: two slashes follow the colon, as in `{meant}`");
            assert!(error.ends_with(&way_out) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn urls_of_other_kinds_are_no_folders() {
        for (text, scheme) in [
            ("http://h/x?key=secret", "http"),
            ("gcs://b/p", "gcs"),
            ("FTP://me:secret@h", "FTP"),
            ("https:/me:secret@h", "https"),
            ("gcs:/b", "gcs"),
        ] {
            let error = Destination::parse(text.into()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{scheme}://…` is no bucket: ")), "{error}");
            assert!(error.contains("`gs://`") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_bucket_is_refused_without_repeating_secrets() {
        for text in [
            "s3://",
            "s3:///p",
            "s3://b//p",
            "s3://b/../p",
            "s3://b/.rcsync",
            "s3://b/p\u{202e}",
            "s3://b/{job}",
            "s3://b c/p",
            "s3://b/p#x",
        ] {
            assert!(BucketUrl::parse(text).unwrap().is_err(), "{text}");
        }
        for text in ["s3://key:secret@b/p", "az://c/p?sig=secret", "s3://b:9000/secret?secret"] {
            let error = BucketUrl::parse(text).unwrap().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn templates_are_filled_in_one_walk() {
        let job: JobId = "j-1".parse().unwrap();
        for (template, name, expected) in [
            ("s3://b/{name}/{id}", Some("dog"), "s3://b/dog/j-1"),
            ("s3://b/{name}", Some("{id}"), "s3://b/{id}"),
            ("s3://b/{name}", None, "s3://b/j-1"),
            ("s3://b/{name}", Some("  "), "s3://b/j-1"),
            ("out/{other}", Some("dog"), "out/{other}"),
        ] {
            let filled = Destination::fill(template, &job, name);
            assert!(filled.starts_with(expected) || name == Some("{id}"), "{template}: {filled}");
        }
        let evil = Destination::fill("s3://b/{name}/x", &job, Some("../../etc"));
        assert_eq!(evil.matches('/').count(), 4, "{evil}");
        assert!(BucketUrl::parse(&evil).unwrap().is_ok(), "{evil}");
    }
}
