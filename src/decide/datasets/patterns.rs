//! Which files of a dataset the user wants, by patterns of their names.

use globset::GlobSet;

use crate::decide::mirror::select::{PatternError, compile};

/// Which files of a folder belong to the dataset. The default takes all.
#[derive(Debug, Clone, Default)]
pub struct FilePatterns {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl FilePatterns {
    /// Compiles the user's patterns. Empty `include` means "all".
    ///
    /// Patterns are matched against the path relative to the folder; `*` also matches `/`, and a pattern without `/` is
    /// tried on the file's name too.
    ///
    /// # Errors
    /// The first pattern that is not a valid glob.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self {
            include: if include.is_empty() { None } else { Some(compile(include)?) },
            exclude: compile(exclude)?,
        })
    }

    /// Whether a file of this relative path belongs to the dataset.
    #[must_use]
    pub fn take(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let matches = |globs: &GlobSet| globs.is_match(path) || globs.is_match(name);
        self.include.as_ref().is_none_or(matches) && !matches(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excluded_is_not_taken_and_all_is_by_default() {
        let patterns = |include: &[&str], exclude: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            FilePatterns::new(&owned(include), &owned(exclude))
        };
        let taken = |patterns: FilePatterns| -> Vec<&str> {
            let paths = ["a.jpg", "a.txt", "raw/a.jpg", "b.JPG"];
            paths.into_iter().filter(|path| patterns.take(path)).collect()
        };
        assert_eq!(taken(FilePatterns::default()).len(), 4);
        assert_eq!(taken(patterns(&["a.*"], &["raw/*"]).unwrap()), ["a.jpg", "a.txt"]);
        assert_eq!(taken(patterns(&[], &["*.jpg"]).unwrap()), ["a.txt", "b.JPG"]);
        assert!(patterns(&["["], &[]).is_err());
    }
}
