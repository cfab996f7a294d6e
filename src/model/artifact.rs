//! One file that a training job offers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rel_path::RelPath;
use super::source_url::SourceUrl;

/// Which of the API's lists a file stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// Weights: numbered saves, the final save, and whatever else the trainer lists beside them.
    Checkpoint,
    /// The resolved configuration.
    Config,
    /// A picture, video or sound made while training.
    Sample,
}

impl ArtifactKind {
    /// Returns the word used in events and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Config => "config",
            Self::Sample => "sample",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which hosted file this is, across polls, new signatures and moved hosts: its kind and its URL's path
/// (percent-encoded as the API wrote it, without host and query).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactKey {
    /// Which list it stands in.
    pub kind: ArtifactKind,
    /// The URL's path; with the host before it where one listing has two hosts for one path.
    pub path: Box<str>,
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path)
    }
}

/// What a sample shows, as the API describes it. Free text is kept as it came, bounded; show it sanitised.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt's number, where the API gave one (its base is not documented).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// `image`, `video`, …
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    /// The training step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The random seed (as text: it may exceed 64 bits or be no number at all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// The prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Control images, as paths without queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_images: Vec<String>,
}

/// One hosted file with its local name.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Which file it is.
    pub key: ArtifactKey,
    /// Where it goes under DIR. Unique in its listing, also on a case-blind disk.
    pub path: RelPath,
    /// The training step: from the name of a checkpoint, from the API or the name for a sample.
    pub step: Option<u64>,
    /// Where it is hosted now.
    pub url: SourceUrl,
    /// What the sample shows, for samples.
    pub sample: Option<Sample>,
}

impl Artifact {
    /// Whether this is the job's last save, `<name>.safetensors`: a checkpoint whose name has no step.
    ///
    /// `optimizer.pt` and other files that are no safetensors never count.
    #[must_use]
    pub fn is_final_checkpoint(&self, job_name: Option<&str>) -> bool {
        if self.key.kind != ArtifactKind::Checkpoint || self.step.is_some() {
            return false;
        }
        let Some(stem) = self.path.file_name().strip_suffix(".safetensors") else { return false };
        let stem = half_of_pair(stem).map_or(stem, |(whole, _)| whole);
        job_name.is_none_or(|name| stem == name || stem == format!("{name}_LoRA"))
    }
}

/// One half of a Wan 2.2 pair, which carries the hash of both halves together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairHalf {
    /// `…_high_noise`
    HighNoise,
    /// `…_low_noise`
    LowNoise,
}

/// Splits `name_high_noise` into `name` and the half; `None` when the stem is no half of a pair.
#[must_use]
pub fn half_of_pair(stem: &str) -> Option<(&str, PairHalf)> {
    let high = stem.strip_suffix("_high_noise").map(|whole| (whole, PairHalf::HighNoise));
    high.or_else(|| stem.strip_suffix("_low_noise").map(|whole| (whole, PairHalf::LowNoise)))
}
