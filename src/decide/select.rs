//! Which artifacts the user wants: `--only`, `--include`, `--exclude`, `--accept-unproven`.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::model::artifact::ArtifactKind;
use crate::model::rel_path::RelPath;

/// A choice among artifacts. The default wants everything and accepts nothing unproven.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    kinds: Option<Vec<ArtifactKind>>,
    include: Option<GlobSet>,
    exclude: GlobSet,
    unproven: GlobSet,
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
            exclude: compile(exclude)?,
            unproven: compile(unproven)?,
        })
    }

    /// Whether this artifact is wanted.
    #[must_use]
    pub fn wants(&self, kind: ArtifactKind, path: &RelPath) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && self.include.as_ref().is_none_or(|globs| matches(globs, path))
            && !matches(&self.exclude, path)
    }

    /// Whether a checkpoint whose body contradicts its own header hash may be published all the same.
    #[must_use]
    pub fn accepts_unproven(&self, path: &RelPath) -> bool {
        matches(&self.unproven, path)
    }
}

fn compile(patterns: &[String]) -> Result<GlobSet, PatternError> {
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
