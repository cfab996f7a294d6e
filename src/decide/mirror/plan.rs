//! Listing + manifest + local folder -> what to do with every file, and why. Pure: a dry run prints it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::model::artifact::{Artifact, ArtifactKey, ArtifactKind};
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::job::{JobStatus, JobTimes};
use crate::model::listing::Listing;
use crate::model::local::{Local, LocalFile};
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::select::{Selection, Wanted};

/// What an older `job.json` has of a file whose manifest is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Recollection {
    /// Its path under DIR.
    pub path: RelPath,
    /// The training step, where known.
    pub step: Option<u64>,
    /// Its length in bytes.
    pub size: u64,
    pub sha256: Sha256Digest,
    /// How it was proven.
    pub evidence: Evidence,
    /// What the host reported of its revision.
    pub revision: Revision,
    /// The run it was last asked about in.
    pub run: String,
}

impl Recollection {
    /// The entry of the file, once it was read and is what was remembered.
    #[must_use]
    pub fn adopted(&self, step: Option<u64>) -> Entry {
        Entry {
            path: self.path.clone(),
            step,
            size: self.size,
            sha256: self.sha256,
            evidence: self.evidence,
            revision: self.revision.clone(),
            run: self.run.as_str().into(),
            modified: None,
            state: EntryState::Present,
            older: Vec::new(),
        }
    }
}

/// Everything a plan depends on.
#[derive(Debug)]
pub struct Situation<'a> {
    /// What the job offers now.
    pub listing: &'a Listing,
    /// What is known of DIR.
    pub manifest: &'a Manifest,
    /// What an older `job.json` remembers, by key; consulted where the manifest has no entry.
    pub recollections: &'a HashMap<ArtifactKey, Recollection>,
    /// What is in DIR at the listed and known paths.
    pub local: &'a Local,
    /// What the user wants.
    pub selection: &'a Selection,
    /// The run of the job, from [`run_stamp`].
    pub run: &'a str,
    /// The step the run has reached; everything, once it is over.
    pub reached: Option<u64>,
}

/// What to do with one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// The file, with the path it will get.
    pub artifact: Arc<Artifact>,
    pub step: Step,
}

/// What to do with one file, and why.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing: it is here and proven.
    Keep,
    /// Get its bytes.
    Fetch(FetchReason),
    /// Read the local file and compare: it may be the one an older run left.
    Adopt {
        /// What that run remembered of it.
        memory: Box<Recollection>,
        /// The job ran since: when it is that file, the host is asked whether it changed.
        due: bool,
    },
    /// Read the local file and compare: its time stamp changed, its length did not.
    Inspect {
        /// The job ran since: when it is that file, the host is asked whether it changed.
        due: bool,
    },
    /// Nothing: the user does not want it.
    Skip(SkipReason),
}

/// Why a file is fetched.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchReason {
    /// It was not known before.
    New,
    /// It was not known before, and a file is here under its name: unless that is proven to be the listed one.
    Unproven,
    /// It was here and is gone.
    Missing,
    /// It is here, but is not what was published.
    Damaged,
    /// A new run may have written new bytes under this name: the host is asked once, and unchanged bytes are not sent.
    Recheck(Revision),
}

/// Why a file is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The user's selection leaves it out.
    Unwanted,
    Pruned,
}

/// What the user's choice finds nothing of: a slip in a pattern, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NothingFound {
    /// It leaves out all that is offered.
    AtAll,
    /// Nothing that is offered matches these patterns.
    For(Vec<String>),
}

/// When a job is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It is over, and was not when its destination was last mirrored to.
    JustOver,
    /// It is over, and was so at an earlier look.
    LongOver,
    /// It is not over, and this is the only look.
    Once,
    /// It is not over, and is looked at again.
    Followed,
}

impl Sight {
    /// Judges a look by the job's state and by how it is followed.
    #[must_use]
    pub(crate) const fn of(is_over: bool, is_first_seen: bool, once: bool) -> Self {
        match (is_over, is_first_seen, once) {
            (true, true, _) => Self::JustOver,
            (true, false, _) => Self::LongOver,
            (false, _, true) => Self::Once,
            (false, _, false) => Self::Followed,
        }
    }
}

/// Returns what the user's choice finds nothing of, where that is worth a word.
///
/// A file that a pattern means may be still to come. So a single look counts once there are checkpoints, since by then there is a
/// file of each kind as a rule; what was reported of a job's end is not repeated by each run of a crontab.
#[must_use]
pub(crate) fn nothing_found(actions: &[Action], selection: &Selection, sight: Sight) -> Option<NothingFound> {
    let is_checkpoint = |action: &Action| action.artifact.key.kind == ArtifactKind::Checkpoint;
    let is_worth_a_word = match sight {
        Sight::JustOver => !actions.is_empty(),
        Sight::Once => actions.iter().any(is_checkpoint),
        Sight::LongOver | Sight::Followed => false,
    };
    if !is_worth_a_word {
        return None;
    }
    if sight == Sight::JustOver
        && actions.iter().all(|action| action.step == Step::Skip(SkipReason::Unwanted))
    {
        return Some(NothingFound::AtAll);
    }
    let patterns = selection.unmatched(actions.iter().map(|action| &action.artifact.path));
    (!patterns.is_empty()).then_some(NothingFound::For(patterns))
}

/// How many files are handled in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Files to fetch.
    pub fetch: u64,
    /// Files that are here and that the host is asked about: bytes come only where it has new ones.
    pub ask: u64,
    /// Files that are here and proven, with those that are asked about.
    pub present: u64,
}

impl Counts {
    /// Counts steps.
    #[must_use]
    pub(crate) fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        steps.into_iter().fold(Self::default(), |mut counts, step| {
            match step {
                Step::Fetch(FetchReason::Recheck(_)) => {
                    (counts.ask, counts.present) = (counts.ask + 1, counts.present + 1)
                }
                Step::Fetch(_) => counts.fetch += 1,
                Step::Keep => counts.present += 1,
                Step::Adopt { .. } | Step::Inspect { .. } | Step::Skip(_) => {}
            }
            counts
        })
    }

    /// Adds what was counted elsewhere.
    #[must_use]
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            fetch: self.fetch + other.fetch,
            ask: self.ask + other.ask,
            present: self.present + other.present,
        }
    }
}

/// A `Step` without what is needed to carry it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlannedStep {
    /// It is here and proven.
    Keep,
    /// It is new.
    Fetch,
    /// It is new, unless the local file of its name is proven to be it.
    FetchUnlessProven,
    /// It was here and is gone.
    FetchMissing,
    /// The local file is not what was published.
    FetchDamaged,
    /// The job ran again: the host is asked whether the file changed.
    AskAgain,
    /// An earlier run left it here.
    Adopt,
    /// Its time stamp changed: it is read again.
    Inspect,
    /// The user did not select it.
    SkipUnselected,
    /// It was pruned.
    SkipPruned,
}

impl Step {
    /// Returns what is planned, for reports.
    #[must_use]
    pub const fn planned(&self) -> PlannedStep {
        match self {
            Self::Keep => PlannedStep::Keep,
            Self::Fetch(FetchReason::New) => PlannedStep::Fetch,
            Self::Fetch(FetchReason::Unproven) => PlannedStep::FetchUnlessProven,
            Self::Fetch(FetchReason::Missing) => PlannedStep::FetchMissing,
            Self::Fetch(FetchReason::Damaged) => PlannedStep::FetchDamaged,
            Self::Fetch(FetchReason::Recheck(_)) => PlannedStep::AskAgain,
            Self::Adopt { .. } => PlannedStep::Adopt,
            Self::Inspect { .. } => PlannedStep::Inspect,
            Self::Skip(SkipReason::Unwanted) => PlannedStep::SkipUnselected,
            Self::Skip(SkipReason::Pruned) => PlannedStep::SkipPruned,
        }
    }
}

impl fmt::Display for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keep => "keep (here and proven)",
            Self::Fetch => "fetch (new)",
            Self::FetchUnlessProven => "fetch (new, unless the file here is proven to be it)",
            Self::FetchMissing => "fetch (missing here)",
            Self::FetchDamaged => "fetch (differs from what was published)",
            Self::AskAgain => "ask again (the job ran again)",
            Self::Adopt => "adopt (an earlier run left it)",
            Self::Inspect => "read again (its time stamp changed)",
            Self::SkipUnselected => "skip (not selected)",
            Self::SkipPruned => "skip (pruned)",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.planned().fmt(f)
    }
}

/// Decides what to do with every listed file. Config first, then checkpoints oldest first, since retention deletes
/// them in that order, then samples by step.
#[must_use]
pub fn plan(situation: &Situation<'_>) -> Vec<Action> {
    let wanted = situation.selection.of(&situation.listing.artifacts);
    let mut actions: Vec<Action> =
        situation.listing.artifacts.iter().map(|artifact| decide(situation, wanted, artifact)).collect();
    actions.sort_by(|a, b| order(&a.artifact).cmp(&order(&b.artifact)));
    actions
}

fn order(artifact: &Artifact) -> (u8, u64, &RelPath) {
    let rank = match artifact.key.kind {
        ArtifactKind::Config => 0,
        ArtifactKind::Checkpoint => 1,
        ArtifactKind::Sample => 2,
    };
    (rank, artifact.step.unwrap_or(u64::MAX), &artifact.path)
}

fn decide(situation: &Situation<'_>, wanted: Wanted<'_>, artifact: &Arc<Artifact>) -> Action {
    let mut artifact = artifact.clone();
    let step = match situation.manifest.entries.get(&artifact.key) {
        _ if !wanted.has(&artifact) => Step::Skip(SkipReason::Unwanted),
        Some(entry) if entry.state == EntryState::Pruned => Step::Skip(SkipReason::Pruned),
        Some(entry) => known(situation, &artifact, entry),
        None => unknown(situation, &artifact),
    };
    // Nothing that is no file of ours is ever in the way of one: the new file goes beside it.
    if matches!(step, Step::Fetch(_)) && situation.local.get(&artifact.path) == Some(&LocalFile::Other) {
        let path = beside(&artifact);
        Arc::make_mut(&mut artifact).path = path;
    }
    Action { artifact, step }
}

/// The name a file gets where a foreign file has its own.
#[must_use]
pub(crate) fn beside(artifact: &Artifact) -> RelPath {
    artifact.path.with_suffix(&artifact.key.fingerprint()[..8])
}

fn known(situation: &Situation<'_>, artifact: &Artifact, entry: &Entry) -> Step {
    match situation.local.get(&entry.path) {
        None | Some(LocalFile::Other) => Step::Fetch(FetchReason::Missing),
        Some(LocalFile::File { size, .. }) if *size != entry.size => Step::Fetch(FetchReason::Damaged),
        Some(LocalFile::File { modified, .. }) if *modified != entry.modified => {
            Step::Inspect { due: is_due(situation, artifact, entry.evidence, &entry.run) }
        }
        Some(LocalFile::File { .. }) if is_due(situation, artifact, entry.evidence, &entry.run) => {
            Step::Fetch(FetchReason::Recheck(entry.revision.clone()))
        }
        Some(LocalFile::File { .. }) => Step::Keep,
    }
}

fn unknown(situation: &Situation<'_>, artifact: &Artifact) -> Step {
    match (situation.local.get(&artifact.path), situation.recollections.get(&artifact.key)) {
        (Some(LocalFile::File { size, .. }), Some(memory)) if *size == memory.size => Step::Adopt {
            memory: Box::new(memory.clone()),
            due: is_due(situation, artifact, memory.evidence, &memory.run),
        },
        (Some(LocalFile::File { .. }), _) => Step::Fetch(FetchReason::Unproven),
        _ => Step::Fetch(FetchReason::New),
    }
}

/// Whether a known file must be asked about again: only when the job ran since, and only files a run can rewrite, or
/// that it may have been in the middle of writing.
fn is_due(situation: &Situation<'_>, artifact: &Artifact, evidence: Evidence, asked_in: &str) -> bool {
    if asked_in == situation.run || situation.run.is_empty() {
        return false;
    }
    if artifact.key.is_optimizer() {
        return *asked_in != *asked_stamp(&situation.run.into(), artifact, situation.listing);
    }
    let is_over = situation.reached.is_none();
    if evidence == Evidence::Length && is_over {
        return true;
    }
    match (artifact.key.kind, artifact.step) {
        (ArtifactKind::Sample, _) => false,
        // A resumed run writes a numbered save again only when it passes that step again.
        (ArtifactKind::Checkpoint, Some(step)) => {
            started(asked_in) != started(situation.run)
                && situation.reached.is_none_or(|reached| reached >= step)
        }
        (ArtifactKind::Checkpoint, None) | (ArtifactKind::Config, _) => true,
    }
}

/// Returns what is noted of a file that is asked about now: the run, and for the state of the optimizer also the newest
/// checkpoint that is listed, since it is due again with each new one.
#[must_use]
pub(crate) fn asked_stamp(run: &Arc<str>, artifact: &Artifact, listing: &Listing) -> Arc<str> {
    let place = |artifact: &Arc<Artifact>| {
        let is_save = artifact.key.kind == ArtifactKind::Checkpoint;
        let is_final = artifact.key.kind.may_be_final(artifact.step, &artifact.path);
        artifact
            .step
            .filter(|_| is_save)
            .map(|step| step.to_string())
            .or_else(|| is_final.then(|| "final".to_owned()))
    };
    let order = |place: &String| place.parse().unwrap_or(u64::MAX);
    let newest = || listing.artifacts.iter().filter_map(place).max_by_key(order);
    match artifact.key.is_optimizer().then(newest).flatten() {
        Some(newest) => format!("{run}@{newest}").into(),
        None => run.clone(),
    }
}

/// Names a run of the job: when it started, how often it was seen to continue after an end (`resumes`), and, once it is
/// over, when it ended. A resumed job has another one. A job in the queue has none: nothing is written.
#[must_use]
pub(crate) fn run_stamp(status: &JobStatus, times: &JobTimes, resumes: u32) -> String {
    if *status == JobStatus::InQueue {
        return String::new();
    }
    let mut started = times.started_at.as_deref().unwrap_or("?").to_owned();
    if resumes > 0 {
        started += &format!("#{resumes}");
    }
    if status.may_write() {
        started
    } else {
        format!("{started}/{}", times.finished_at.as_deref().unwrap_or("?"))
    }
}

fn started(run: &str) -> &str {
    run.split_once('/').map_or(run, |(started, _)| started)
}

#[cfg(test)]
mod tests;
