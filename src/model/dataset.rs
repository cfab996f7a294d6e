//! A dataset of the account as the Dataset API describes it, and what it takes to upload a file into one.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::model::job::JobId;
use crate::model::source_url::SourceUrl;

/// A dataset's id: one URL path segment, by the rules of [`JobId`]. The vendor's are UUIDs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetId(Box<str>);

/// A name that can be given to a new dataset: letters, digits, `_` and `-`, at most [`DatasetName::MAX_BYTES`].
///
/// Those are the characters that the API is known to accept, and the trainer makes a folder of the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct DatasetName(Box<str>);

/// The text cannot be the id or the name of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DatasetNameError(&'static str);

/// Where a dataset is in its life. Unknown words survive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DatasetStatus {
    /// It has no file yet.
    Draft,
    /// Uploads are not complete, or not validated.
    Uploading,
    /// All uploads are complete and validated: it can be trained on.
    Ready,
    /// Validation refused it.
    Failed,
    /// A word that this version does not know.
    Other(Box<str>),
}

impl Serialize for DatasetStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One file in a dataset's inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name.
    pub name: String,
    /// Its length, where the API gives one.
    pub size: Option<u64>,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its id.
    pub id: DatasetId,
    /// Its name, which configurations use; where the API gives one.
    pub name: Option<String>,
    /// Where it is in its life.
    pub status: DatasetStatus,
    /// Why it failed, as the API words it.
    pub error: Option<String>,
    /// The files whose upload is complete; `None` where the answer has no inventory, as those of the list.
    pub files: Option<Vec<RemoteFile>>,
    /// When it was created, as the API writes it.
    pub created_at: Option<String>,
    /// When it was changed last, as the API writes it.
    pub updated_at: Option<String>,
}

/// What the API answered to an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadAnswer {
    /// The name that the file has in the dataset, where the API gave one.
    pub stored_as: Option<String>,
}

/// Where and how the bytes of one file are to be sent. Its headers may hold secrets, so that [`fmt::Debug`] leaves
/// them out.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadLink {
    /// The address; its query is a signature.
    pub url: SourceUrl,
    pub method: UploadMethod,
    /// The headers to send, exactly as they were given.
    pub headers: Vec<(String, String)>,
}

/// The HTTP method of a signed upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadMethod {
    /// `PUT`, the documented one.
    Put,
    /// `POST` of the raw bytes.
    Post,
}

impl DatasetId {
    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatasetId {
    type Err = DatasetNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_segment = text.parse::<JobId>().is_ok();
        is_segment.then(|| Self(text.into())).ok_or(DatasetNameError("it is no id of a dataset"))
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Names a few of many files.
#[must_use]
pub(crate) fn some(names: &[String]) -> String {
    const NAMED: usize = 3;
    let mut text = String::new();
    for name in names.iter().take(NAMED) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing into a String cannot fail.
        let _ = write!(text, "{comma}`{name}`");
    }
    text + &and_more(names.len().saturating_sub(NAMED))
}

/// Counts what is not named.
#[must_use]
pub(crate) fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

impl DatasetName {
    /// The longest name. What the API takes is not documented; the trainer's disk takes 255 bytes.
    pub const MAX_BYTES: usize = 128;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatasetName {
    type Err = DatasetNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        match text {
            "" => Err(DatasetNameError("it is empty")),
            _ if text.len() > Self::MAX_BYTES => Err(DatasetNameError("it is longer than 128 characters")),
            _ if !text.chars().all(is_safe) => {
                Err(DatasetNameError("a dataset's name has letters, digits, `_` and `-` alone"))
            }
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl DatasetStatus {
    /// Returns the API's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Draft => "DRAFT",
            Self::Uploading => "UPLOADING",
            Self::Ready => "READY",
            Self::Failed => "FAILED",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for DatasetStatus {
    fn from(word: String) -> Self {
        let known = [Self::Draft, Self::Uploading, Self::Ready, Self::Failed];
        let found = known.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(word.trim()));
        found.unwrap_or_else(|| Self::Other(word.into()))
    }
}

impl fmt::Display for DatasetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for UploadLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("UploadLink")
            .field("host", &self.url.host())
            .field("method", &self.method)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_api_is_known_to_take() {
        for good in ["dog", "Dog_2-b", "ds_1"] {
            assert!(good.parse::<DatasetName>().is_ok(), "{good}");
        }
        let long = "x".repeat(129);
        for bad in ["", "my dog", "dög", "a/b", "a.b", "..", long.as_str()] {
            assert!(bad.parse::<DatasetName>().is_err(), "{bad}");
        }
        assert!("../x".parse::<DatasetId>().is_err());
        assert!("6f1c".parse::<DatasetId>().is_ok());
    }

    #[test]
    fn a_status_survives_whatever_it_is() {
        for (word, status) in [
            ("READY", DatasetStatus::Ready),
            ("ready ", DatasetStatus::Ready),
            ("FAILED", DatasetStatus::Failed),
            ("VALIDATING", DatasetStatus::Other("VALIDATING".into())),
        ] {
            assert_eq!(DatasetStatus::from(word.to_owned()), status);
        }
    }

    #[test]
    fn a_link_shows_no_secret() {
        let link = UploadLink {
            url: SourceUrl::parse("https://h.example/x?sig=s3cret").unwrap(),
            method: UploadMethod::Put,
            headers: vec![("x-key".to_owned(), "s3cret".to_owned())],
        };
        let shown = format!("{link:?}");
        assert!(
            shown.contains("h.example") && shown.contains("x-key") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
