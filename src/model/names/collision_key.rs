//! When are two names one file? On some disks case does not count, on some normalisation does not.
//!
//! The key errs towards "the same": a needless suffix costs nothing, a missed collision costs a file.

use unicode_normalization::UnicodeNormalization;

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
        // can produce what decomposes and decomposing what folds.
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
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

/// Yields what upper and lower case, `ß` and `ss`, `σ` and `ς` have in common; nothing for the selectors that
/// tell emoji from text and are invisible.
fn fold_case(c: char) -> impl Iterator<Item = char> {
    let is_selector = matches!(c, '\u{fe0e}' | '\u{fe0f}');
    (!is_selector).then(|| c.to_uppercase().flat_map(char::to_lowercase)).into_iter().flatten()
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
