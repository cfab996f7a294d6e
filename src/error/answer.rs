//! What is wrong with an answer of the API, and why the outcome of a request is unknown.

use serde::Serialize;

use crate::model::job::{JobIdError, JobStatus};
use crate::model::source_url::SourceUrlError;
use crate::model::transport_fault::TransportFault;
use crate::model::units::ByteCount;

/// What is odd about an answer of the API. Excerpts are sanitised and bounded; of answers with signed addresses there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OddAnswer {
    /// It has no text.
    #[error("an empty answer instead of JSON")]
    Empty,
    /// It is a page for a browser.
    #[error("an HTML page instead of JSON: `{text}`")]
    Page {
        /// What a reader of the page sees, bounded.
        text: String,
    },
    /// It is the beginning of a JSON text.
    #[error("the JSON ends too early, after {bytes} bytes: `{excerpt}`")]
    CutOff {
        /// Its length.
        bytes: usize,
        /// How it begins.
        excerpt: String,
    },
    /// It is another text.
    #[error("it is not JSON (line {line} column {column}): `{excerpt}`")]
    NotJson {
        /// The line where it stops being JSON.
        line: usize,
        /// The column in that line.
        column: usize,
        /// How it begins.
        excerpt: String,
    },
    /// It is JSON, and no object.
    #[error("it is not an object: `{excerpt}`")]
    NoObject {
        /// How it begins.
        excerpt: String,
    },
    /// It has none of the members that such an answer has.
    #[error("it has {}{}", none_of(fields), quoted(excerpt.as_deref()))]
    Lacks {
        /// One or two of these members.
        fields: &'static [&'static str],
        /// How it begins.
        excerpt: Option<String>,
    },
    /// It names the new job in a way that no request can have.
    #[error("its `id` is {fault}: `{excerpt}`")]
    BadJobId {
        /// What is wrong with the id.
        fault: JobIdError,
        /// How the answer begins.
        excerpt: String,
    },
    /// It names no dataset, or one in a way that no request can have.
    #[error("it has no usable `id`: `{excerpt}`")]
    NoDatasetId {
        /// How it begins.
        excerpt: String,
    },
    /// It is about another dataset than the one that was asked for.
    #[error("it is about dataset `{answered}`, not `{asked}`")]
    OtherDataset {
        /// The dataset that was asked for.
        asked: String,
        /// The one in the answer.
        answered: String,
    },
    /// A dataset was created, and its name is unknown.
    #[error("it names no dataset")]
    NoDataset,
    /// It has no link for the file.
    #[error("it has no link for the file")]
    NoLink,
    /// Its link has no address.
    #[error("its link has no `upload_url`")]
    NoUploadUrl,
    /// The address of its link cannot be used.
    #[error("its `upload_url`: {0}")]
    BadUploadUrl(SourceUrlError),
    /// Its link is for another method than PUT and POST.
    #[error("its `method` is `{0}`")]
    UnknownMethod(String),
    /// It is beyond the bound of such answers.
    #[error("it is longer than {}", ByteCount(*most))]
    TooLong {
        /// The bound in bytes.
        most: u64,
    },
    /// It is in an encoding that was not asked for.
    #[error("it is packed with `{coding}`, which was not asked for")]
    Packed {
        /// The encoding.
        coding: String,
    },
    /// Its packed text is damaged.
    #[error("it cannot be unpacked")]
    Unpackable,
    /// It is no HTTP.
    #[error("{0}")]
    Transport(TransportFault),
    /// It is the answer to the submission of a job, which may have been accepted.
    #[error(
        "{0}; the job may be accepted all the same: look at your jobs on the RunComfy site before you send it again"
    )]
    ToSubmission(Box<Self>),
}

/// Why it is unknown whether the API carried out a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownOutcome {
    /// The answer was lost on the way.
    #[error("{0}")]
    Transport(TransportFault),
    /// The API failed, or a gateway answered for one that does not answer.
    #[error("HTTP {status}{}", detail(message))]
    Server {
        /// The HTTP status.
        status: u16,
        /// What the API answered, sanitised and bounded; may be empty.
        message: String,
    },
    /// The answer came before the file was sent whole.
    #[error("the answer came before the file was sent whole")]
    AnsweredEarly,
    /// The program was interrupted before the answer came.
    #[error("interrupted before the answer came")]
    Interrupted,
    /// The job's state does not show it either.
    #[error("{cause}; the job is {status} now")]
    NotSeen {
        /// Why it was unknown before.
        cause: Box<Self>,
        /// What the job is doing now.
        status: JobStatus,
    },
}

/// Appends what a server reported, where it did.
pub(super) fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn none_of(fields: &[&str]) -> String {
    match fields {
        [one] => format!("no `{one}`"),
        several => format!("neither `{}`", several.join("` nor `")),
    }
}

fn quoted(excerpt: Option<&str>) -> String {
    excerpt.map_or_else(String::new, |excerpt| format!(": `{excerpt}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn causes_are_structured() {
        let lacks = OddAnswer::Lacks { fields: &["status", "id"], excerpt: Some("{}".to_owned()) };
        assert_eq!(json(&lacks), r#"{"lacks":{"fields":["status","id"],"excerpt":"{}"}}"#);
        assert_eq!(lacks.to_string(), "it has neither `status` nor `id`: `{}`");
        let lacks = OddAnswer::Lacks { fields: &["uploads"], excerpt: None };
        assert_eq!(lacks.to_string(), "it has no `uploads`");
        assert_eq!(json(&OddAnswer::TooLong { most: 40 }), r#"{"too_long":{"most":40}}"#);
        let lost = UnknownOutcome::Transport(TransportFault::ClosedEarly);
        assert_eq!(json(&lost), r#"{"transport":"closed_early"}"#);
        let seen = UnknownOutcome::NotSeen { cause: Box::new(lost), status: JobStatus::Running };
        assert_eq!(
            seen.to_string(),
            "the connection was closed before the answer was complete; the job is RUNNING now"
        );
    }
}
