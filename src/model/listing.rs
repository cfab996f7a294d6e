//! What the job offers now, with local names.
//!
//! Names are given once, here: those that the manifest knows stay, the others get the trainer's own name, and
//! where two would be one file somewhere, the one whose key sorts later gets a suffix. For names the order
//! of the API's list does not matter, so two polls agree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::model::names::local_name::{SAMPLES, checkpoint_step, last_segment, local_path, sample_step};
use crate::model::names::rel_path::RelPath;
use crate::model::names::sanitize::for_terminal;
use crate::model::names::taken_names::TakenNames;

use super::artifact::{Artifact, ArtifactKey, ArtifactKind, Sample};
use super::digest::short_hash;
use super::job::{ListedArtifact, Unreachable};
use super::source_url::SourceUrl;
use super::unusable::Unfetchable;

/// The job's files with local names, each once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listing {
    /// The files, in the API's order.
    pub artifacts: Vec<Arc<Artifact>>,
    /// What was listed and cannot be mirrored.
    pub rejected: Vec<Unreachable>,
}

impl Listing {
    /// Gives every listed file its key and its local path.
    ///
    /// `known` returns the path that a key had before, if it had one. `taken` are paths that new files must
    /// keep away from: all that the manifest has ever given away, those of known keys may be among them.
    pub fn build<'a>(
        job_name: Option<&str>,
        listed: &[ListedArtifact],
        known: &dyn Fn(&ArtifactKey) -> Option<RelPath>,
        taken: impl IntoIterator<Item = &'a RelPath>,
    ) -> Self {
        let (items, mut rejected) = identified(listed);
        let mut by_key: Vec<usize> = (0..items.len()).collect();
        by_key.sort_unstable_by(|left, right| items[*left].key.cmp(&items[*right].key));

        let mut names = TakenNames::default();
        names.reserve_folder(SAMPLES);
        let mut paths: Vec<Option<RelPath>> = vec![None; items.len()];
        for &at in &by_key {
            paths[at] = known(&items[at].key).filter(|path| names.claim(path));
        }
        taken.into_iter().for_each(|path| names.reserve(path));
        for &at in &by_key {
            if paths[at].is_none() {
                paths[at] = free_name(&items[at], job_name, &mut names);
            }
        }

        let mut artifacts = Vec::with_capacity(items.len());
        for (item, path) in items.into_iter().zip(paths) {
            match path {
                Some(path) => artifacts.push(Arc::new(Artifact {
                    path,
                    step: item.step(job_name),
                    url: item.url.clone(),
                    sample: item.sample.cloned(),
                    key: item.key,
                })),
                None => rejected.push(Unreachable {
                    kind: item.key.kind,
                    why: Unfetchable::NoFreeName { url: shown(item.url) },
                }),
            }
        }
        Self { artifacts, rejected }
    }
}

/// A listed file that is distinct from the others.
struct Item<'a> {
    key: ArtifactKey,
    url: &'a SourceUrl,
    sample: Option<&'a Arc<Sample>>,
}

impl Item<'_> {
    fn step(&self, job_name: Option<&str>) -> Option<u64> {
        let path = self.url.url_path();
        match self.key.kind {
            ArtifactKind::Checkpoint => checkpoint_step(path, job_name),
            ArtifactKind::Config => None,
            ArtifactKind::Sample => {
                self.sample.and_then(|sample| sample.step).or_else(|| sample_step(path).map(|(step, _)| step))
            }
        }
    }
}

/// Gives each file its key. A file that is listed again adds what the first mention lacks.
fn identified(listed: &[ListedArtifact]) -> (Vec<Item<'_>>, Vec<Unreachable>) {
    let mut items: Vec<Item<'_>> = Vec::with_capacity(listed.len());
    let mut rejected = Vec::new();
    // Each path's first host, and the index of each key in `items`.
    let mut hosts: HashMap<(ArtifactKind, &str), &str> = HashMap::with_capacity(listed.len());
    let mut places: HashMap<ArtifactKey, usize> = HashMap::with_capacity(listed.len());
    for ListedArtifact { kind, url, sample } in listed {
        let (path, authority) = (url.url_path(), url.authority());
        let first_host = *hosts.entry((*kind, path)).or_insert(authority);
        let path = if first_host == authority { path.into() } else { format!("{authority}{path}").into() };
        let key = ArtifactKey { kind: *kind, path };
        match places.entry(key) {
            Entry::Vacant(place) => {
                let key = place.key().clone();
                place.insert(items.len());
                items.push(Item { key, url, sample: sample.as_ref() });
            }
            Entry::Occupied(place) => {
                let item = &mut items[*place.get()];
                item.sample = item.sample.filter(|sample| ***sample != Sample::default()).or(sample.as_ref());
                // Here the query alone distinguishes files, and a query that changes with each signature cannot.
                if last_segment(url.url_path()).is_empty() && url.expose() != item.url.expose() {
                    let why = Unfetchable::NoFileName { url: shown(url) };
                    rejected.push(Unreachable { kind: *kind, why });
                }
            }
        }
    }
    (items, rejected)
}

/// Claims and returns the plainest name that nothing else has.
fn free_name(item: &Item<'_>, job_name: Option<&str>, names: &mut TakenNames) -> Option<RelPath> {
    let plain = local_path(item.key.kind, item.url.url_path(), job_name).or_else(|| fallback(item))?;
    if names.claim(&plain) {
        return Some(plain);
    }
    // Eight digits are for accidents. Only a hostile listing needs the sixteen, and it may lose its file then.
    // The folders' turn comes where a file has a folder's name, for then no name inside it is free.
    let outermost = usize::from(item.key.kind == ArtifactKind::Sample);
    [8, 16].into_iter().find_map(|digits| {
        let suffix = short_hash(item.key.path.as_bytes(), digits);
        let suffixed = (outermost..plain.count_parts()).rev().map(|part| plain.with_suffix_at(part, &suffix));
        suffixed.into_iter().find(|path| names.claim(path))
    })
}

/// Returns a name for a file whose URL has none: by step and prompt where they are known.
fn fallback(item: &Item<'_>) -> Option<RelPath> {
    let kind = item.key.kind;
    let mark = || short_hash(item.key.path.as_bytes(), 8);
    let name = match (kind, item.sample.map(|sample| (sample.step, sample.index))) {
        (ArtifactKind::Sample, Some((Some(step), Some(index)))) => {
            format!("{SAMPLES}/sample_{step:09}_{index}")
        }
        (ArtifactKind::Sample, Some((Some(step), None))) => format!("{SAMPLES}/sample_{step:09}"),
        (ArtifactKind::Sample, _) => format!("{SAMPLES}/sample_~{}", mark()),
        (ArtifactKind::Checkpoint | ArtifactKind::Config, _) => format!("{kind}_~{}", mark()),
    };
    RelPath::parse(&name).ok()
}

fn shown(url: &SourceUrl) -> String {
    // Long enough for every real address, short enough for a line of a log.
    for_terminal(&url.to_string(), 300)
}

#[cfg(test)]
mod tests;
