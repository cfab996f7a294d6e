//! When are two names one file? On some disks case does not count, on some normalisation does not.
//!
//! The key errs towards "the same": a needless suffix costs nothing, a missed collision costs a file.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;

use super::rel_path::RelPath;

/// What is left of a path when a disk ignores case and Unicode normalisation: equal keys may be one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollisionKey(Box<str>);

impl CollisionKey {
    /// Returns the key of a path, or of a part of one.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path.is_ascii() {
            return Self(path.to_ascii_lowercase().into());
        }
        // Unicode's compatibility caseless match (chapter 3, D146): one round is not enough, because folding
        // can bring forth what decomposes and decomposing what folds.
        let once: String = path.nfd().flat_map(fold_case).nfkd().collect();
        let twice: String = once.chars().flat_map(fold_case).nfkd().collect();
        Self(twice.into())
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Yields the keys of all folders on the way to this path, outermost first.
    fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

/// Yields what upper and lower case, `ß` and `ss`, `σ` and `ς` have in common; nothing for the selectors that
/// tell emoji from text, which nobody sees.
fn fold_case(c: char) -> impl Iterator<Item = char> {
    let is_selector = matches!(c, '\u{fe0e}' | '\u{fe0f}');
    (!is_selector).then(|| c.to_uppercase().flat_map(char::to_lowercase)).into_iter().flatten()
}

/// The names that are spoken for, so that no two files, and no file and folder, get one name.
#[derive(Debug, Default)]
pub struct TakenNames {
    files: HashSet<Box<str>>,
    folders: HashSet<Box<str>>,
}

impl TakenNames {
    /// Takes `path` if nothing on any disk would be in its way, and says whether it did.
    pub fn claim(&mut self, path: &RelPath) -> bool {
        let key = path.collision_key();
        let is_free = !self.files.contains(key.as_str())
            && !self.folders.contains(key.as_str())
            && !key.folders().any(|folder| self.files.contains(folder));
        if is_free {
            self.insert(key);
        }
        is_free
    }

    /// Takes `path`, whoever else has it.
    pub fn reserve(&mut self, path: &RelPath) {
        self.insert(path.collision_key());
    }

    /// Takes a name directly in DIR for a folder.
    pub fn reserve_folder(&mut self, name: &str) {
        self.folders.insert(CollisionKey::of(name).0);
    }

    fn insert(&mut self, key: CollisionKey) {
        for folder in key.folders() {
            if !self.folders.contains(folder) {
                self.folders.insert(folder.into());
            }
        }
        self.files.insert(key.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn twins_and_strangers() {
        for (left, right) in [
            ("Dog.PNG", "dog.png"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("STRASSE", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("\u{212a}elvin", "kelvin"),
            ("ﬁle", "file"),
            ("❤\u{fe0f}", "❤"),
            ("a\u{a0}b", "a b"),
            ("A/É", "a/e\u{301}"),
        ] {
            assert_eq!(CollisionKey::of(left), CollisionKey::of(right), "{left} {right}");
        }
        for (left, right) in [("a", "b"), ("e", "é"), ("a/b", "ab"), ("日", "本")] {
            assert_ne!(CollisionKey::of(left), CollisionKey::of(right), "{left} {right}");
        }
    }

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

    /// Maps as disks do, one character to one; `ῌ` in capitals is two, and no disk takes those for it.
    fn simply(c: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
        if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
    }

    /// Every character that has case, since chance rarely meets one.
    #[test]
    fn blind_to_the_case_of_every_character() {
        for c in '\0'..=char::MAX {
            for other in [simply(c, c.to_uppercase()), simply(c, c.to_lowercase())] {
                if other != c {
                    let key = |c: char| CollisionKey::of(c.encode_utf8(&mut [0; 4]));
                    assert_eq!(key(c), key(other), "{c:?} {other:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn blind_to_case_and_form(text in "\\PC{0,12}") {
            let key = CollisionKey::of(&text);
            prop_assert_eq!(&key, &CollisionKey::of(&text.nfc().collect::<String>()));
            prop_assert_eq!(&key, &CollisionKey::of(&text.nfd().collect::<String>()));
            prop_assert_eq!(&key, &CollisionKey::of(&text.chars().map(|c| simply(c, c.to_uppercase())).collect::<String>()));
            prop_assert_eq!(&key, &CollisionKey::of(&text.chars().map(|c| simply(c, c.to_lowercase())).collect::<String>()));
            prop_assert_eq!(&key, &CollisionKey::of(key.as_str()));
        }
    }
}
