//! One file that a training job offers.

pub(crate) mod kind;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::names::local_name::{
    decoded, last_segment, local_path, sample_step, sample_time, segments,
};
use crate::model::names::rel_path::RelPath;

use super::seed::Seed;
use super::shared_text;
use super::source_url::SourceUrl;

pub use kind::ArtifactKind;

/// Which hosted file this is, across polls, new signatures and moved hosts: its kind and its URL's path
/// (percent-encoded as the API wrote it, without host and query).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactKey {
    /// Which list it is in.
    pub kind: ArtifactKind,
    /// The URL's path; with the host before it where one listing has two hosts for one path.
    #[serde(with = "shared_text")]
    pub path: Arc<str>,
}

impl ArtifactKey {
    /// Returns 16 hex digits that identify the key in names of private files.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use sha2::Digest as _;
        super::digest::hex(&sha2::Sha256::digest(self.to_string())[..8])
    }

    /// Returns the prompt's number as the trainer wrote it into a sample's name, counted from 0.
    #[must_use]
    pub fn prompt_number(&self) -> Option<u64> {
        sample_step(&self.path).map(|(_, number)| number)
    }

    /// Returns when a sample was done by the trainer's clock, in milliseconds since 1970, where its name says so.
    #[must_use]
    pub fn drawn_at(&self) -> Option<i64> {
        sample_time(&self.path)
    }

    /// Returns the trainer's own name for this file, whatever it is called here. For comparing, not for a disk.
    #[must_use]
    pub fn trainer_name(&self) -> String {
        decoded(last_segment(&self.path))
    }

    /// Whether it is the state of the optimizer, which every save overwrites: it belongs to the newest checkpoint alone.
    #[must_use]
    pub fn is_optimizer(&self) -> bool {
        self.kind == ArtifactKind::Checkpoint && self.trainer_name() == "optimizer.pt"
    }

    /// Splits the trainer's name of one half of a Wan 2.2 pair into what both halves share and which half it is.
    ///
    /// A job may itself be called `…_high_noise`; its own final save is no half of anything.
    #[must_use]
    pub fn pair_half(&self, job_name: Option<&str>) -> Option<(String, PairHalf)> {
        let name = self.trainer_name();
        let stem = name.strip_suffix(".safetensors")?;
        if self.kind != ArtifactKind::Checkpoint || job_name == Some(stem) {
            return None;
        }
        half_of_pair(stem).map(|(whole, half)| (whole.to_owned(), half))
    }
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
    /// The random seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
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
    pub sample: Option<Arc<Sample>>,
}

impl ArtifactKind {
    /// Whether a file of this kind and name without a step may be a run's final save: an `optimizer.pt` has no step either.
    #[must_use]
    pub fn may_be_final(self, step: Option<u64>, path: &RelPath) -> bool {
        self == Self::Checkpoint
            && step.is_none()
            && path.stem_and_extension().1.eq_ignore_ascii_case(".safetensors")
    }
}

impl Artifact {
    /// Returns the trainer's own name for this file; see [`ArtifactKey::trainer_name`].
    #[must_use]
    pub fn trainer_name(&self) -> String {
        self.key.trainer_name()
    }

    /// Whether this file proves that the training loop ended: a safetensors file with the job's name, no step,
    /// and no more than one of the trainer's own endings (`_LoRA`, `_high_noise`, …).
    ///
    /// A job whose name is unknown must have its folder in the URL. Embeddings are named after their trigger
    /// and folders of a full model fill up slowly, so neither proves anything.
    #[must_use]
    pub fn is_final_checkpoint(&self, job_name: Option<&str>) -> bool {
        if self.key.kind != ArtifactKind::Checkpoint || self.step.is_some() {
            return false;
        }
        let name = self.trainer_name();
        let Some(stem) = name.strip_suffix(".safetensors") else { return false };
        let is_final_of = |job: &str| !job.is_empty() && is_job_name_with_ending(stem, job);
        let folder = || segments(&self.key.path).iter().rev().nth(1).map(|folder| decoded(folder));
        match job_name {
            Some(job) => is_final_of(job) && !self.is_in_saved_folder(job),
            None => folder().is_some_and(|folder| is_final_of(&folder)),
        }
    }

    /// Splits the name of one half of a Wan 2.2 pair; see [`ArtifactKey::pair_half`].
    #[must_use]
    pub fn pair_half(&self, job_name: Option<&str>) -> Option<(String, PairHalf)> {
        self.key.pair_half(job_name)
    }

    /// Whether the file is in a folder inside the job's own, as the parts of a full model do.
    fn is_in_saved_folder(&self, job_name: &str) -> bool {
        let path = local_path(self.key.kind, &self.key.path, Some(job_name));
        path.is_some_and(|path| path.parent().is_some())
    }
}

/// Whether `stem` is what the trainer calls a save of the job that has no step.
fn is_job_name_with_ending(stem: &str, job_name: &str) -> bool {
    // A job's name may end like a half of a pair, so the whole stem counts first.
    let whole = half_of_pair(stem).map(|(whole, _)| whole);
    [Some(stem), whole]
        .into_iter()
        .flatten()
        .any(|stem| stem.strip_prefix(job_name).is_some_and(|ending| FINAL_ENDINGS.contains(&ending)))
}

/// What the trainer puts behind the job's name, besides nothing: a LoRA trained along with something else, and
/// the kinds of adapters.
const FINAL_ENDINGS: [&str; 6] = ["", "_LoRA", "_t2i", "_clip", "_ip", "_adapter"];

/// One half of a Wan 2.2 pair, which carries the hash of both halves together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PairHalf {
    /// `…_high_noise`
    HighNoise,
    /// `…_low_noise`
    LowNoise,
}

/// Splits `name_high_noise` into `name` and the half; `None` when the stem is no half of a pair.
#[must_use]
pub(crate) fn half_of_pair(stem: &str) -> Option<(&str, PairHalf)> {
    let high = stem.strip_suffix("_high_noise").map(|whole| (whole, PairHalf::HighNoise));
    let half = high.or_else(|| stem.strip_suffix("_low_noise").map(|whole| (whole, PairHalf::LowNoise)));
    half.filter(|(whole, _)| !whole.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::ListedArtifact;
    use crate::model::listing::Listing;

    fn artifact(kind: ArtifactKind, url: &str, job_name: Option<&str>) -> Artifact {
        let listed = ListedArtifact { kind, url: SourceUrl::parse(url).unwrap(), sample: None };
        Listing::build(job_name, &[listed], &|_| None, &[]).artifacts[0].as_ref().clone()
    }

    #[test]
    fn finals() {
        let is_final = |job: &str, path: &str| {
            let job = Some(job).filter(|job| !job.is_empty());
            artifact(ArtifactKind::Checkpoint, &format!("https://h{path}?sig=1"), job)
                .is_final_checkpoint(job)
        };
        for (job, path) in [
            ("x", "/output/x/x.safetensors"),
            ("x", "/trainers/r4nd0m/x.safetensors"),
            ("x", "/output/x/x_high_noise.safetensors"),
            ("x", "/output/x/x_low_noise.safetensors"),
            ("x", "/output/x/x_LoRA.safetensors"),
            ("x", "/output/x/x_ip.safetensors"),
            ("my_lora_20260101", "/o/my_lora_20260101.safetensors"),
            ("x_high_noise", "/output/x_high_noise/x_high_noise.safetensors"),
            ("a b: c", "/output/a%20b%3A%20c/a%20b%3A%20c.safetensors"),
            ("", "/output/x/x.safetensors"),
            ("", "/output/x/x_high_noise.safetensors"),
        ] {
            assert!(is_final(job, path), "{job} {path}");
        }
        for (job, path) in [
            ("x", "/output/x/x_000000250.safetensors"),
            ("x", "/output/x/x_000000250_high_noise.safetensors"),
            ("x", "/output/x/trigger.safetensors"),
            ("x", "/output/x/xy.safetensors"),
            ("x", "/output/x/x_other.safetensors"),
            ("x", "/output/x/optimizer.pt"),
            ("x", "/output/x/x.pt"),
            ("x", "/output/x/x/transformer/x.safetensors"),
            ("high", "/output/high/_high_noise.safetensors"),
            ("", "/output/dog.safetensors"),
            ("", "/dog.safetensors"),
            ("", "//.safetensors"),
        ] {
            assert!(!is_final(job, path), "{job} {path}");
        }
        let sample = artifact(ArtifactKind::Sample, "https://h/output/x/x.safetensors", Some("x"));
        assert!(!sample.is_final_checkpoint(Some("x")));
    }

    #[test]
    fn halves() {
        let half = |job: Option<&str>, name: &str| {
            artifact(ArtifactKind::Checkpoint, &format!("https://h/output/x/{name}"), job).pair_half(job)
        };
        assert_eq!(
            half(Some("x"), "x_000000250_low_noise.safetensors"),
            Some(("x_000000250".into(), PairHalf::LowNoise))
        );
        assert_eq!(half(None, "x_high_noise.safetensors"), Some(("x".into(), PairHalf::HighNoise)));
        assert_eq!(half(Some("x"), "x_high_noise.safetensors"), Some(("x".into(), PairHalf::HighNoise)));
        assert_eq!(half(Some("x_high_noise"), "x_high_noise.safetensors"), None);
        assert_eq!(half(Some("x"), "x_high_noise.pt"), None);
        assert_eq!(half(Some("x"), "x.safetensors"), None);
        assert_eq!(half_of_pair("_high_noise"), None);
    }
}
