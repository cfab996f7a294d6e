//! What the gallery shows, put in order: a pure view of the manifest, `job.json` and the history.

use std::collections::{BTreeMap, HashMap};

use crate::engine::destination::reports::{JobFile, JobHead};
use crate::engine::outputs::gallery::history::History;
use crate::engine::outputs::gallery::timeline::Course;
use crate::model::artifact::{ArtifactKey, ArtifactKind, Sample};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::manifest::{EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::seed::Seed;

/// Everything on the page.
#[derive(Debug)]
pub(super) struct Album<'a> {
    /// What is in DIR.
    pub(super) manifest: &'a Manifest,
    /// What the job last said of itself, where that is known.
    pub(super) job: Option<&'a JobHead>,
    /// Samples by prompt, in the trainer's order.
    pub(super) prompts: Vec<Prompt<'a>>,
    /// Every step that has samples, in order; those of an unknown step last.
    pub(super) steps: Vec<Option<u64>>,
    /// Weights, by step; those without a step, such as the final ones, last.
    pub(super) checkpoints: Vec<Checkpoint<'a>>,
    /// Configurations.
    pub(super) configs: Vec<&'a RelPath>,
    /// How training went.
    pub(super) course: Course,
    /// Bytes of everything that is here.
    pub(super) bytes: u64,
}

/// One prompt and what was drawn for it.
#[derive(Debug)]
pub(super) struct Prompt<'a> {
    /// The prompt, where the API gave it.
    pub(super) text: Option<&'a str>,
    /// Samples of each step, oldest first: a step that is trained again is drawn again.
    pub(super) shots: BTreeMap<u64, Vec<Shot<'a>>>,
    /// Samples of an unknown step.
    pub(super) stepless: Vec<Shot<'a>>,
}

impl<'a> Prompt<'a> {
    /// Returns the samples of a step.
    pub(super) fn at(&self, step: Option<u64>) -> &[Shot<'a>] {
        match step {
            Some(step) => self.shots.get(&step).map_or(&[], Vec::as_slice),
            None => &self.stepless,
        }
    }
}

/// One sample.
#[derive(Debug)]
pub(super) struct Shot<'a> {
    pub(super) path: &'a RelPath,
    pub(super) media: Media,
    pub(super) seed: Option<&'a str>,
    pub(super) size: u64,
    pub(super) sha256: Sha256Digest,
    pub(super) evidence: Evidence,
    drawn_at: Option<i64>,
}

/// How a sample is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// A picture, moving or not.
    Image,
    /// A film.
    Video,
    /// A sound.
    Audio,
    /// Something that is named and not shown: what a browser would make of it is not known here.
    Other,
}

impl Media {
    fn of(path: &RelPath) -> Self {
        let extension = path.as_str().rsplit_once('.').map_or("", |(_, extension)| extension);
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "png" | "webp" | "gif" | "avif" => Self::Image,
            "mp4" | "webm" | "mov" | "m4v" => Self::Video,
            "mp3" | "wav" | "flac" | "ogg" | "m4a" => Self::Audio,
            _ => Self::Other,
        }
    }
}

/// One file of weights.
#[derive(Debug)]
pub(super) struct Checkpoint<'a> {
    pub(super) path: &'a RelPath,
    pub(super) step: Option<u64>,
    pub(super) place: Place<'a>,
}

/// Where a file of weights is.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// In DIR, whole and proven.
    Here { size: u64, sha256: &'a Sha256Digest, evidence: Evidence },
    /// In DIR: older bytes of a file that was written again.
    Older { size: u64, sha256: &'a Sha256Digest },
    /// Removed by `prune`.
    Pruned,
    /// Offered by the job, and not in DIR.
    NotHere,
}

impl<'a> Album<'a> {
    /// Puts everything in order.
    pub(super) fn new(manifest: &'a Manifest, job: Option<&'a JobFile>, history: &History) -> Self {
        let described: HashMap<ArtifactKey, &Sample> = job
            .into_iter()
            .flat_map(|job| &job.artifacts)
            .filter_map(|artifact| Some((artifact.key(), artifact.sample()?)))
            .collect();
        let (prompts, steps) = arranged(manifest, &described);
        let drawn = manifest.entries.iter().filter_map(|(key, entry)| {
            let step = described.get(key).and_then(|sample| sample.step).or(entry.step)?;
            Some((key.drawn_at()? / 1000, step))
        });
        let present = || manifest.entries.iter().filter(|(_, entry)| entry.state == EntryState::Present);
        let is_config = |key: &ArtifactKey| key.kind == ArtifactKind::Config;
        Self {
            manifest,
            job: job.map(|read| &read.job),
            prompts,
            steps,
            checkpoints: checkpoints(manifest, job),
            configs: present().filter(|(key, _)| is_config(key)).map(|(_, entry)| &entry.path).collect(),
            course: Course::new(history.moments(), drawn),
            bytes: present().fold(0, |sum, (_, entry)| sum.saturating_add(entry.size)),
        }
    }

    /// Returns the number of samples.
    pub(super) fn count_shots(&self) -> u64 {
        let of =
            |prompt: &Prompt<'_>| prompt.shots.values().map(Vec::len).sum::<usize>() + prompt.stepless.len();
        self.prompts.iter().map(|prompt| of(prompt) as u64).sum()
    }
}

/// Lays samples out by prompt and step.
fn arranged<'a>(
    manifest: &'a Manifest,
    described: &HashMap<ArtifactKey, &'a Sample>,
) -> (Vec<Prompt<'a>>, Vec<Option<u64>>) {
    // An edited job may give a number another prompt: that is another row.
    let mut rows: BTreeMap<(Option<u64>, Option<&str>), Prompt<'a>> = BTreeMap::new();
    let mut steps: BTreeMap<(bool, u64), Option<u64>> = BTreeMap::new();
    for (key, entry) in &manifest.entries {
        if key.kind != ArtifactKind::Sample || entry.state != EntryState::Present {
            continue;
        }
        let sample = described.get(key).copied();
        let number = key.prompt_number().or_else(|| sample.and_then(|sample| sample.index));
        let text = sample.and_then(|sample| sample.prompt.as_deref());
        let step = entry.step.or_else(|| sample.and_then(|sample| sample.step));
        let row = rows.entry((number, text)).or_insert_with(|| Prompt {
            text,
            shots: BTreeMap::new(),
            stepless: Vec::new(),
        });
        let shots = match step {
            Some(step) => row.shots.entry(step).or_default(),
            None => &mut row.stepless,
        };
        shots.push(Shot {
            path: &entry.path,
            media: Media::of(&entry.path),
            seed: sample.and_then(|sample| sample.seed.as_ref()).map(Seed::as_str),
            size: entry.size,
            sha256: entry.sha256,
            evidence: entry.evidence,
            drawn_at: key.drawn_at(),
        });
        steps.insert((step.is_none(), step.unwrap_or(0)), step);
    }
    let mut prompts: Vec<Prompt<'a>> = rows.into_values().collect();
    for prompt in &mut prompts {
        for shots in prompt.shots.values_mut().chain([&mut prompt.stepless]) {
            shots.sort_by_key(|shot| (shot.drawn_at, shot.path));
        }
    }
    (prompts, steps.into_values().collect())
}

fn checkpoints<'a>(manifest: &'a Manifest, job: Option<&'a JobFile>) -> Vec<Checkpoint<'a>> {
    let mut found = Vec::new();
    for (key, entry) in &manifest.entries {
        if key.kind != ArtifactKind::Checkpoint {
            continue;
        }
        let place = match entry.state {
            EntryState::Present => {
                Place::Here { size: entry.size, sha256: &entry.sha256, evidence: entry.evidence }
            }
            EntryState::Pruned => Place::Pruned,
        };
        found.push(Checkpoint { path: &entry.path, step: entry.step, place });
        found.extend(entry.older.iter().map(|older| Checkpoint {
            path: &older.path,
            step: entry.step,
            place: Place::Older { size: older.size, sha256: &older.sha256 },
        }));
    }
    let offered = job.into_iter().flat_map(|job| &job.artifacts).filter(|artifact| {
        let key = artifact.key();
        key.kind == ArtifactKind::Checkpoint && artifact.is_listed() && !manifest.entries.contains_key(&key)
    });
    found.extend(offered.map(|artifact| Checkpoint {
        path: artifact.path(),
        step: artifact.step(),
        place: Place::NotHere,
    }));
    found.sort_by_key(|checkpoint| (checkpoint.step.is_none(), checkpoint.step, checkpoint.path));
    found
}
