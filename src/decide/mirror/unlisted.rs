//! Files in DIR that the plan does not handle, since the job offers them no more or they are not chosen, and that the manifest
//! does not know: it was lost, or another folder was copied into this one. `job.json` and `SHA256SUMS` vouch for those whose
//! bytes they record; nothing else becomes an entry.

use std::collections::{BTreeMap, HashMap, HashSet};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::digest::Sha256Digest;
use crate::model::manifest::Manifest;
use crate::model::names::collision_key::CollisionKey;
use crate::model::names::local_name::{SAMPLES, checkpoint_step, sample_step};
use crate::model::names::rel_path::RelPath;

use super::plan::{Action, Recollection, SkipReason, Step};

/// Everything that the choice depends on.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    /// The job's name, where the API gives one.
    pub job_name: Option<&'a str>,
    /// What is done with the files that the job offers.
    pub actions: &'a [Action],
    /// What is known of DIR.
    pub manifest: &'a Manifest,
    /// What `job.json` records of files that the manifest does not know.
    pub recollections: &'a HashMap<ArtifactKey, Recollection>,
    /// Lines of `SHA256SUMS` whose paths the manifest does not have.
    pub lines: &'a BTreeMap<RelPath, Sha256Digest>,
    /// Whether these lines are of this job: beside another job's `job.json` they may be that job's.
    pub lines_are_ours: bool,
    /// Which files these lines are, where `job.json` has a row of the path.
    pub rows: &'a HashMap<RelPath, (ArtifactKey, Option<u64>)>,
}

/// A file that the manifest will know, if what is in DIR under its name is what was recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    /// Where it is.
    pub path: RelPath,
    /// What it is.
    pub role: Role,
    /// What `job.json` records of it.
    pub memory: Option<Recollection>,
    /// What `SHA256SUMS` records of it.
    pub line: Option<Sha256Digest>,
}

/// What a candidate is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// A file of the job.
    Entry {
        /// Which one.
        key: ArtifactKey,
        /// The training step, where known.
        step: Option<u64>,
    },
    /// Bytes that a file of the job had before.
    Older {
        /// Which one.
        of: ArtifactKey,
    },
    /// No file of this job, by its name.
    Foreign,
}

/// Who vouches for the bytes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voucher {
    /// Its row in `job.json`, which also records how it was proven.
    Row,
    /// Its line in `SHA256SUMS`: how it was proven is found out again.
    Line,
}

impl Candidate {
    /// Whether a file of this size may have recorded bytes: another need not be read.
    #[must_use]
    pub(crate) fn may_be(&self, size: u64) -> bool {
        let by_row = self.memory.as_ref().is_some_and(|memory| memory.size == size);
        self.role != Role::Foreign && (by_row || self.line.is_some())
    }

    /// Returns the line that stays in `SHA256SUMS` while its file cannot be read: one that is all that is recorded of these
    /// bytes. What a row records as well stays in the row.
    #[must_use]
    pub(crate) fn line_while_unread(&self) -> Option<Sha256Digest> {
        let by_row = self.memory.as_ref().map(|memory| memory.sha256);
        self.line.filter(|line| by_row != Some(*line))
    }

    /// Returns who vouches for a file with this digest; `None` where nothing does.
    #[must_use]
    pub(crate) fn voucher(&self, sha256: Sha256Digest) -> Option<Voucher> {
        match self {
            Self { role: Role::Foreign, .. } => None,
            Self { memory: Some(memory), .. } if memory.sha256 == sha256 => Some(Voucher::Row),
            Self { line, .. } => (*line == Some(sha256)).then_some(Voucher::Line),
        }
    }
}

/// Returns what may become known, entries before older versions. Names of files that the plan handles are left out: what is
/// there is compared with the hosted file. So are names that the manifest has.
#[must_use]
pub(crate) fn candidates(situation: &Situation<'_>) -> Vec<Candidate> {
    let Situation { actions, manifest, recollections, lines, rows, .. } = situation;
    if recollections.is_empty() && lines.is_empty() {
        return Vec::new();
    }
    let (unwanted, handled): (Vec<&Action>, Vec<&Action>) =
        actions.iter().partition(|action| action.step == Step::Skip(SkipReason::Unwanted));
    let taken = taken(handled.iter().copied(), manifest);
    let is_free = |path: &RelPath| !taken.contains(&path.collision_key());
    let handled: HashSet<&ArtifactKey> = handled.into_iter().map(|action| &action.artifact.key).collect();
    let is_unknown = |key: &ArtifactKey| !handled.contains(key) && !manifest.entries.contains_key(key);
    let mut entries: Vec<Candidate> = Vec::new();
    for (key, memory) in *recollections {
        if is_unknown(key) && is_free(&memory.path) {
            let path = memory.path.clone();
            let role = Role::Entry { key: key.clone(), step: memory.step };
            let line = lines.get(&path).copied();
            entries.push(Candidate { path, role, memory: Some(memory.clone()), line });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    // Of two rows of one path, the first counts.
    entries.dedup_by(|a, b| a.path == b.path);
    let remembered: HashSet<RelPath> = entries.iter().map(|candidate| candidate.path.clone()).collect();
    let mut owners: HashMap<&RelPath, &ArtifactKey> = HashMap::new();
    owners.extend(recollections.iter().map(|(key, memory)| (&memory.path, key)));
    owners.extend(actions.iter().map(|action| (&action.artifact.path, &action.artifact.key)));
    owners.extend(manifest.entries.iter().map(|(key, entry)| (&entry.path, key)));
    let root = root(actions);
    let unchosen: HashMap<&RelPath, &Action> =
        unwanted.into_iter().map(|action| (&action.artifact.path, action)).collect();
    let mut older = Vec::new();
    for (path, sha256) in lines.iter().filter(|(path, _)| !remembered.contains(*path) && is_free(path)) {
        let candidate = |role| Candidate { path: path.clone(), role, memory: None, line: Some(*sha256) };
        let of = newer_name(path, *sha256).and_then(|newer| owners.get(&newer).copied());
        let offered = unchosen.get(path).map(|action| (action.artifact.key.clone(), action.artifact.step));
        let named = || {
            let by_row = || rows.get(path).cloned();
            offered.or_else(by_row).or_else(|| named(path, situation.job_name, &root))
        };
        match (of, named()) {
            _ if !situation.lines_are_ours => entries.push(candidate(Role::Foreign)),
            (Some(of), _) => older.push(candidate(Role::Older { of: of.clone() })),
            (None, Some((key, step))) if is_unknown(&key) => {
                entries.push(candidate(Role::Entry { key, step }));
            }
            (None, _) => entries.push(candidate(Role::Foreign)),
        }
    }
    entries.extend(older);
    entries
}

/// Which names of files in DIR look like the job's own and are recorded nowhere.
#[must_use]
pub(crate) fn unrecorded(
    situation: &Situation<'_>,
    names: impl IntoIterator<Item = RelPath>,
) -> Vec<RelPath> {
    let taken = taken(situation.actions, situation.manifest);
    let remembered: HashSet<&RelPath> =
        situation.recollections.values().map(|memory| &memory.path).chain(situation.lines.keys()).collect();
    let looks_like_it = |path: &RelPath| {
        !remembered.contains(path)
            && !taken.contains(&path.collision_key())
            && named(path, situation.job_name, "").is_some_and(|(key, step)| match key.kind {
                ArtifactKind::Checkpoint => true,
                // A picture whose name has no step in it may be another program's.
                ArtifactKind::Sample => step.is_some(),
                ArtifactKind::Config => false,
            })
    };
    let mut found: Vec<RelPath> = names.into_iter().filter(looks_like_it).collect();
    found.sort();
    found
}

fn taken<'a>(handled: impl IntoIterator<Item = &'a Action>, manifest: &Manifest) -> HashSet<CollisionKey> {
    let prepared = manifest.prepared.values().map(|prepared| &prepared.entry.path);
    let listed = handled.into_iter().map(|action| &action.artifact.path);
    listed.chain(manifest.paths()).chain(prepared).map(RelPath::collision_key).collect()
}

/// Returns the name that a file has whose earlier bytes are kept under this one.
fn newer_name(path: &RelPath, sha256: Sha256Digest) -> Option<RelPath> {
    let (stem, extension) = path.stem_and_extension();
    let at = stem.rfind(&format!("~{}", sha256.short()))?;
    let name = format!("{}{extension}", &stem[..at]);
    let parent = path.parent().map_or_else(String::new, |parent| format!("{parent}/"));
    RelPath::parse(&format!("{parent}{name}")).ok()
}

/// What a URL's path leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns what a listed file's URL has before its name in DIR: the folder of the job on its host.
fn root(actions: &[Action]) -> String {
    let before_name = |key: &ArtifactKey, path: &RelPath| {
        let encoded = utf8_percent_encode(path.as_str(), PLAIN).to_string();
        let before = key.path.strip_suffix(&encoded).filter(|before| before.ends_with('/'));
        before.map(str::to_owned)
    };
    let artifacts = actions.iter().map(|action| &action.artifact);
    let mut roots = artifacts.filter_map(|artifact| before_name(&artifact.key, &artifact.path));
    roots.next().unwrap_or_else(|| "/".to_owned())
}

/// Returns which file of the job a name in DIR is, with its step; `None` for a name that the trainer does not give.
fn named(path: &RelPath, job_name: Option<&str>, root: &str) -> Option<(ArtifactKey, Option<u64>)> {
    let text = path.as_str();
    let first = text.split('/').next().unwrap_or_default();
    let (_, extension) = path.stem_and_extension();
    let encoded = utf8_percent_encode(text, PLAIN).to_string();
    let (kind, step) = if first == SAMPLES && first != text {
        (ArtifactKind::Sample, sample_step(text).map(|(step, _)| step))
    } else if matches!(extension, ".yaml" | ".yml") && first == text {
        (ArtifactKind::Config, None)
    } else if text == "optimizer.pt" || is_save_of(first, job_name?) && WEIGHTS.contains(&extension) {
        (ArtifactKind::Checkpoint, step_of_save(&encoded, job_name))
    } else {
        return None;
    };
    Some((ArtifactKey { kind, path: format!("{root}{encoded}").into() }, step))
}

/// Returns the step in a save's name, or in that of a folder that it is in: all of them are in the job's folder here.
fn step_of_save(encoded: &str, job_name: Option<&str>) -> Option<u64> {
    let folder = job_name.map(|name| utf8_percent_encode(name, PLAIN).to_string());
    checkpoint_step(&format!("/{}/{encoded}", folder.unwrap_or_default()), job_name)
}

/// What weights are saved as.
const WEIGHTS: [&str; 2] = [".safetensors", ".pt"];

/// What the trainer puts between a job's name and the end of a save's name, besides a step.
const ENDINGS: [&str; 7] = ["LoRA", "t2i", "clip", "ip", "adapter", "high", "low"];

/// Whether the trainer gives a file or folder of this job that name: the job's name, and nothing behind it but a step and
/// the trainer's own endings. The name of another job may begin with this one's.
fn is_save_of(name: &str, job_name: &str) -> bool {
    let stem = WEIGHTS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name);
    let Some(rest) = stem.strip_prefix(job_name).filter(|_| !job_name.is_empty()) else { return false };
    let is_step =
        |piece: &str| (6..=12).contains(&piece.len()) && piece.bytes().all(|byte| byte.is_ascii_digit());
    let is_own = |piece: &str| is_step(piece) || ENDINGS.contains(&piece) || piece == "noise";
    rest.is_empty() || rest.strip_prefix('_').is_some_and(|rest| rest.split('_').all(is_own))
}

#[cfg(test)]
mod tests;
