//! "Did you mean": the known word that is a slip of the finger away.

use strsim::damerau_levenshtein;

/// A word longer than this is not compared: no known word is nearly as long.
const LONGEST: usize = 64;

/// Returns the nearest of `known` within two edits (one for words of up to three letters). Two neighbouring letters that
/// are swapped are one edit.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > LONGEST {
        return None;
    }
    let most = |known: &str| if known.len().min(word.len()) <= 3 { 1 } else { 2 };
    let distances = known.into_iter().map(|known| (damerau_levenshtein(word, known), known));
    distances
        .filter(|(distance, known)| *distance <= most(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_are_not_taken_for_each_other() {
        assert_eq!(nearest("ab", ["ls", "man"]), None);
        assert_eq!(nearest("las", ["ls"]), Some("ls"));
        assert_eq!(nearest("stauts", ["ls", "sync", "status"]), Some("status"));
        assert_eq!(nearest("training", ["status", "sync"]), None);
        assert_eq!(nearest("statsu", ["status"]), Some("status"), "a swap is one edit");
        assert_eq!(nearest(&"s".repeat(100_000), ["status"]), None);
    }
}
