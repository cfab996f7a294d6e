//! Which artifacts the user wants: by kind, by patterns of paths, by steps, and which unproven ones are accepted.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::model::artifact::{Artifact, ArtifactKind};
use crate::model::names::rel_path::RelPath;

use super::steps::Steps;

/// A choice among artifacts. The default wants everything and accepts nothing unproven.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    kinds: Option<Vec<ArtifactKind>>,
    include: Option<GlobSet>,
    /// The patterns of `include`, as they were typed and in its order.
    included: Vec<String>,
    exclude: GlobSet,
    unproven: GlobSet,
    steps: Option<Steps>,
    last: Option<NonZeroU32>,
}

/// A pattern is not a valid glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a valid pattern: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

impl Selection {
    /// Compiles the user's patterns. Empty `kinds` or `include` mean "all".
    ///
    /// Patterns are matched against the local relative path; `*` also matches `/`, and a pattern without `/`
    /// is tried on the last part too, so that `*.png` finds `samples/a.png`.
    ///
    /// # Errors
    /// The first pattern that is not a valid glob.
    pub fn new(
        kinds: &[ArtifactKind],
        include: &[String],
        exclude: &[String],
        unproven: &[String],
    ) -> Result<Self, PatternError> {
        Ok(Self {
            kinds: (!kinds.is_empty()).then(|| kinds.to_vec()),
            include: if include.is_empty() { None } else { Some(compile(include)?) },
            included: include.to_vec(),
            exclude: compile(exclude)?,
            unproven: compile(unproven)?,
            steps: None,
            last: None,
        })
    }

    /// The same choice among these steps, and among the newest `last` checkpoints.
    #[must_use]
    pub fn among(self, steps: Option<Steps>, last: Option<NonZeroU32>) -> Self {
        Self { steps, last, ..self }
    }

    /// Returns which of these are wanted.
    ///
    /// The last steps are counted among those that have a wanted checkpoint, the final one as the newest; so both halves of a pair
    /// count as one. Samples and the configuration do not count.
    #[must_use]
    pub fn of(&self, artifacts: &[Arc<Artifact>]) -> Wanted<'_> {
        let all = Wanted { selection: self, oldest: 0 };
        let Some(last) = self.last else { return all };
        let is_wanted =
            |artifact: &&Artifact| artifact.key.kind == ArtifactKind::Checkpoint && all.has(artifact);
        let wanted = artifacts.iter().map(Arc::as_ref).filter(is_wanted);
        let steps: BTreeSet<u64> =
            wanted.filter_map(|artifact| place(artifact.key.kind, &artifact.path, artifact.step)).collect();
        let newer = usize::try_from(last.get() - 1).unwrap_or(usize::MAX);
        let oldest = steps.into_iter().rev().nth(newer);
        Wanted { oldest: oldest.unwrap_or(0), ..all }
    }

    /// Whether this artifact is wanted.
    #[must_use]
    pub fn wants(&self, kind: ArtifactKind, path: &RelPath) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && self.include.as_ref().is_none_or(|globs| matches(globs, path))
            && !matches(&self.exclude, path)
    }

    /// Returns the patterns of what is wanted that none of these paths matches, whatever else leaves a file out.
    #[must_use]
    pub fn unmatched<'p>(&self, paths: impl IntoIterator<Item = &'p RelPath>) -> Vec<String> {
        let Some(globs) = &self.include else { return Vec::new() };
        let mut matched = BTreeSet::new();
        for path in paths {
            matched.extend(globs.matches(path.as_str()));
            matched.extend(globs.matches(path.file_name()));
        }
        let all = self.included.iter().enumerate();
        all.filter(|(at, _)| !matched.contains(at)).map(|(_, pattern)| pattern.clone()).collect()
    }

    /// Whether a file of this kind of which neither name nor step is known may be one that is wanted.
    #[must_use]
    pub fn may_want(&self, kind: ArtifactKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind)) && self.include.is_none()
    }

    /// Whether a checkpoint whose body contradicts its own header hash may be published all the same.
    #[must_use]
    pub fn accepts_unproven(&self, path: &RelPath) -> bool {
        matches(&self.unproven, path)
    }
}

/// A choice, with what only a whole listing shows.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'s> {
    selection: &'s Selection,
    /// Older checkpoints are not wanted.
    oldest: u64,
}

impl Wanted<'_> {
    /// Whether this artifact is wanted.
    #[must_use]
    pub fn has(&self, artifact: &Artifact) -> bool {
        self.has_one(artifact.key.kind, &artifact.path, artifact.step)
    }

    /// Whether a file of this kind, path and step is wanted.
    pub(crate) fn has_one(&self, kind: ArtifactKind, path: &RelPath, step: Option<u64>) -> bool {
        self.selection.wants(kind, path)
            && self.selection.steps.as_ref().is_none_or(|steps| steps.chooses(kind, step))
            && (kind != ArtifactKind::Checkpoint
                || place(kind, path, step).is_none_or(|place| place >= self.oldest))
    }
}

/// The position of a checkpoint among the others, the final one after all of them; an optimizer's state has no place.
fn place(kind: ArtifactKind, path: &RelPath, step: Option<u64>) -> Option<u64> {
    step.or_else(|| kind.may_be_final(step, path).then_some(u64::MAX))
}

pub(crate) fn compile(patterns: &[String]) -> Result<GlobSet, PatternError> {
    let fault = |pattern: &str, error: &globset::Error| PatternError {
        pattern: pattern.to_owned(),
        why: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|error| fault(pattern, &error))?);
    }
    set.build().map_err(|error| fault(&patterns.join("`, `"), &error))
}

fn matches(globs: &GlobSet, path: &RelPath) -> bool {
    !globs.is_empty() && (globs.is_match(path.as_str()) || globs.is_match(path.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::ListedArtifact;
    use crate::model::listing::Listing;
    use crate::model::source_url::SourceUrl;

    const NAMES: [&str; 9] = [
        "config.yaml",
        "dog_000000250.safetensors",
        "dog_000000500_high_noise.safetensors",
        "dog_000000500_low_noise.safetensors",
        "dog_000000750.safetensors",
        "dog.safetensors",
        "samples/1__000000250_0.jpg",
        "samples/1__000000750_0.jpg",
        "optimizer.pt",
    ];

    fn wanted(steps: &str, last: u32) -> Vec<String> {
        let kind = |name: &str| match name.rsplit('.').next() {
            Some("yaml") => ArtifactKind::Config,
            Some("jpg") => ArtifactKind::Sample,
            _ => ArtifactKind::Checkpoint,
        };
        let url = |name: &str| SourceUrl::parse(&format!("https://h/output/dog/{name}")).unwrap();
        let listed = NAMES.map(|name| ListedArtifact { kind: kind(name), url: url(name), sample: None });
        let artifacts = Listing::build(Some("dog"), &listed, &|_| None, &[]).artifacts;
        let exclude = match steps {
            "excluded" => vec!["dog_000000750*".to_owned()],
            "no final" => vec!["dog.safetensors".to_owned()],
            _ => Vec::new(),
        };
        let selection = Selection::new(&[], &[], &exclude, &[]).unwrap();
        let selection = selection.among(steps.parse().ok(), NonZeroU32::new(last));
        let wanted = selection.of(&artifacts);
        let there = artifacts.iter().filter(|artifact| wanted.has(artifact));
        there.map(|artifact| artifact.path.as_str().to_owned()).collect()
    }

    fn without(missing: &[usize]) -> Vec<&'static str> {
        (0..NAMES.len()).filter(|at| !missing.contains(at)).map(|at| NAMES[at]).collect()
    }

    #[test]
    fn a_pattern_that_nothing_matches_is_found_beside_those_that_match() {
        let paths = NAMES.map(|name| RelPath::parse(name).unwrap());
        let unmatched = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            Selection::new(&[], &patterns, &["*.jpg".to_owned()], &[]).unwrap().unmatched(&paths)
        };
        assert_eq!(unmatched(&[]), [""; 0]);
        assert_eq!(
            unmatched(&["*.safetensors", "1__*", "samples/*"]),
            [""; 0],
            "what is left out is matched too"
        );
        assert_eq!(unmatched(&["samplse/*", "*.yaml", "*.png"]), ["samplse/*", "*.png"]);
    }

    #[test]
    fn steps_and_the_last_ones() {
        assert_eq!(wanted("", 0), NAMES);
        assert_eq!(wanted("250..500", 0), without(&[4, 5, 7, 8]));
        assert_eq!(wanted("500..", 0), without(&[1, 6]));
        assert_eq!(wanted("", 1), without(&[1, 2, 3, 4]), "the final one is the newest");
        assert_eq!(wanted("", 3), without(&[1]), "a pair is one, and samples stay");
        assert_eq!(wanted("", 99), NAMES);
        assert_eq!(wanted("..750", 1), without(&[1, 2, 3, 5, 8]), "the last one of those steps");
        assert_eq!(wanted("no final", 1), without(&[1, 2, 3, 5]), "an optimizer is no checkpoint to count");
        assert_eq!(wanted("excluded", 2), without(&[1, 4]), "what is not wanted does not count");
    }
}
