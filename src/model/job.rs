//! A training job as the API describes it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::artifact::{ArtifactKind, Sample};
use super::source_url::SourceUrl;
use super::units::as_f64;
use super::unusable::{Unfetchable, UnusableRow};

/// A job's id: one URL path segment.
///
/// - not empty, at most [`JobId::MAX_BYTES`] bytes
/// - no `/` or `\`, no control characters or white space, no `?`, `#` or `%`, and not `.` or `..`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Box<str>);

/// The text cannot be a job id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("not a job id: {0}")]
pub struct JobIdError(&'static str);

impl JobId {
    /// The longest id that is taken, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = JobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = if text.is_empty() {
            Some("it is empty")
        } else if text.len() > Self::MAX_BYTES {
            Some("it is longer than 128 bytes")
        } else if text.contains("..") || text == "." {
            Some("it has `..` in it, or is `.`")
        } else if text.contains(['/', '\\', '?', '#', '%']) {
            Some("it has one of `/ \\ ? # %` in it")
        } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            Some("it has white space or control characters in it")
        } else {
            None
        };
        fault.map_or_else(|| Ok(Self(text.into())), |why| Err(JobIdError(why)))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for JobId {
    type Error = JobIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.into()
    }
}

/// What the job is doing, in the API's words. Unknown words survive and count as still running.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum JobStatus {
    /// Accepted and waiting.
    InQueue,
    /// Training.
    Running,
    /// Ended without an error: finished, or preempted.
    Stopped,
    /// Ended by an error.
    Failed,
    /// Ended by the user.
    Canceled,
    /// A word that is unknown to this version, as the API wrote it (control characters removed, bounded).
    Other(Box<str>),
}

impl JobStatus {
    /// Returns the API's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InQueue => "IN_QUEUE",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Other(word) => word,
        }
    }

    /// Whether the trainer may still be writing: anything but the three known ends.
    #[must_use]
    pub const fn may_write(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Failed | Self::Canceled)
    }
}

impl From<String> for JobStatus {
    fn from(word: String) -> Self {
        // Cut before it is compared: what is written from it is read as the same.
        let word: String = word.chars().filter(|c| !c.is_control()).take(64).collect();
        match word.trim().to_ascii_uppercase().as_str() {
            "IN_QUEUE" => Self::InQueue,
            "RUNNING" => Self::Running,
            "STOPPED" => Self::Stopped,
            "FAILED" => Self::Failed,
            "CANCELED" | "CANCELLED" => Self::Canceled,
            _ => Self::Other(word.into()),
        }
    }
}

impl From<JobStatus> for String {
    fn from(status: JobStatus) -> Self {
        status.as_str().into()
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far the training is. Every part may be missing; `current_step` may exceed `total_steps`, and may go back.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub current_step: Option<u64>,
    /// Steps planned; 0 before they are known.
    pub total_steps: Option<u64>,
    /// 0 to 100, as the API computed it.
    pub percent: Option<f64>,
}

impl Progress {
    /// Returns how much is done, 0 to 100: as the API computed it, else from the steps.
    #[must_use]
    pub fn percent_done(&self) -> Option<f64> {
        let reported = self.percent.filter(|percent| percent.is_finite());
        reported.or_else(|| match (self.current_step, self.total_steps) {
            (Some(current), Some(total)) if total > 0 => {
                Some((as_f64(current) * 10_000.0 / as_f64(total)).round() / 100.0)
            }
            _ => None,
        })
    }

    /// Whether the last step is done: `current_step >= total_steps > 0`. The final save comes after that.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!((self.current_step, self.total_steps), (Some(current), Some(total)) if total > 0 && current >= total)
    }
}

/// The answer of `GET …/status`.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusAnswer {
    /// The job's name (`config.name`), where the API gave one.
    pub name: Option<String>,
    /// What the job is doing.
    pub status: JobStatus,
    /// How far it is.
    pub progress: Progress,
    /// What went wrong, as one sanitised, bounded line.
    pub error: Option<String>,
    /// The time stamps, where the API gave them here too.
    pub times: JobTimes,
}

/// The answer of `GET …/result`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultAnswer {
    /// The job's name (`config.name`), where the API gave one.
    pub name: Option<String>,
    /// What the job is doing, where this answer has it.
    pub status: Option<JobStatus>,
    /// What is offered now, in the API's order.
    pub artifacts: Vec<ListedArtifact>,
    /// Listed files whose address cannot be used: they are offered, and cannot be had from there.
    pub unreachable: Vec<Unreachable>,
    /// Rows of the list that are no files.
    pub unusable: Vec<UnusableRow>,
    /// What went wrong, as one sanitised, bounded line; can come with `STOPPED`.
    pub error: Option<String>,
    /// The time stamps.
    pub times: JobTimes,
}

/// A file that a job lists and that cannot be fetched, whatever its host would answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// The list that it is in.
    pub kind: ArtifactKind,
    /// Why.
    pub why: Unfetchable,
}

/// The API's time stamps, as it wrote them (control characters removed, bounded): they are compared, not computed with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobTimes {
    /// When the job was submitted.
    pub created_at: Option<String>,
    /// When the present run began; changes when a job is resumed.
    pub started_at: Option<String>,
    /// When the present run ended.
    pub finished_at: Option<String>,
}

/// One hosted file as the API listed it, before it has a local name.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedArtifact {
    /// The list that it is in.
    pub kind: ArtifactKind,
    /// Where it is hosted.
    pub url: SourceUrl,
    /// What the sample shows, for samples.
    pub sample: Option<Arc<Sample>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_are_one_path_segment() {
        for good in ["a", "5b9b8e8e-1c1f-4c53-8d5e-0f4a3e6a1c11", "job_1.v2", &"x".repeat(128)] {
            assert!(good.parse::<JobId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a..b", "a\nb", "a b", "a?b", "a%2fb", &"x".repeat(129)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_words_survive_and_count_as_running() {
        assert_eq!(JobStatus::from("cancelled".to_owned()), JobStatus::Canceled);
        let odd = JobStatus::from("PAUSED\u{1b}[2J".to_owned());
        assert_eq!(odd.as_str(), "PAUSED[2J");
        assert!(odd.may_write());
    }

    #[test]
    fn complete_needs_a_positive_total() {
        let progress = |current, total| Progress { current_step: current, total_steps: total, percent: None };
        assert!(progress(Some(2000), Some(2000)).is_complete());
        assert!(progress(Some(2001), Some(2000)).is_complete());
        assert!(!progress(Some(0), Some(0)).is_complete());
        assert!(!progress(Some(5), None).is_complete());
    }
}
