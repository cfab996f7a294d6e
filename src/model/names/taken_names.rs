//! Keeps two files, and a file and a folder, from getting one name.

use std::collections::HashSet;

use super::collision_key::CollisionKey;
use super::rel_path::RelPath;

/// Names that are taken, so that no two files, and no file and folder, get one name.
#[derive(Debug, Default)]
pub(crate) struct TakenNames {
    files: HashSet<Box<str>>,
    folders: HashSet<Box<str>>,
}

impl TakenNames {
    /// Takes `path` if no disk would confuse it with a taken name; returns whether it did.
    pub(crate) fn claim(&mut self, path: &RelPath) -> bool {
        let key = path.collision_key();
        let is_free = !self.files.contains(key.as_str())
            && !self.folders.contains(key.as_str())
            && !key.folders().any(|folder| self.files.contains(folder));
        if is_free {
            self.insert(key);
        }
        is_free
    }

    /// Takes `path` without a check.
    pub(crate) fn reserve(&mut self, path: &RelPath) {
        self.insert(path.collision_key());
    }

    /// Takes a name directly in DIR for a folder.
    pub(crate) fn reserve_folder(&mut self, name: &str) {
        self.folders.insert(CollisionKey::of(name).as_str().into());
    }

    fn insert(&mut self, key: CollisionKey) {
        for folder in key.folders() {
            if !self.folders.contains(folder) {
                self.folders.insert(folder.into());
            }
        }
        self.files.insert(key.as_str().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_do_not_share_a_name() {
        let path = |text: &str| RelPath::parse(text).unwrap();
        let mut taken = TakenNames::default();
        assert!(taken.claim(&path("a/b/c")));
        assert!(!taken.claim(&path("A/B/C")), "case");
        assert!(!taken.claim(&path("a/B")), "a folder");
        assert!(!taken.claim(&path("a/b/c/d")), "below a file");
        assert!(taken.claim(&path("a/b/d")), "a file beside it");
        assert!(taken.claim(&path("a/bc")));
        taken.reserve(&path("x"));
        assert!(!taken.claim(&path("X")) && !taken.claim(&path("x/y")));
    }
}
