//! "Did you mean": the known word that is a slip of the finger away.

/// Returns the nearest of `known` within two slips (one for words of up to three letters).
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = |known: &str| if known.len().min(word.len()) <= 3 { 1 } else { 2 };
    let distances = known.into_iter().map(|known| (slips(word, known), known));
    distances
        .filter(|(distance, known)| *distance <= far(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Counts letters added, dropped, changed, and neighbours swapped.
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Nothing known is longer than 32 letters; this bounds the table whatever was typed.
    if from.len() > 64 || to.len() > 64 {
        return usize::MAX;
    }
    let mut table = vec![vec![0_usize; to.len() + 1]; from.len() + 1];
    for (row, cells) in table.iter_mut().enumerate() {
        cells[0] = row;
    }
    for (column, cell) in table[0].iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=from.len() {
        for column in 1..=to.len() {
            let same = from[row - 1] == to[column - 1];
            let mut best = table[row - 1][column - 1] + usize::from(!same);
            best = best.min(table[row - 1][column] + 1).min(table[row][column - 1] + 1);
            let swapped =
                row > 1 && column > 1 && from[row - 1] == to[column - 2] && from[row - 2] == to[column - 1];
            if swapped {
                best = best.min(table[row - 2][column - 2] + 1);
            }
            table[row][column] = best;
        }
    }
    table[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (from, to, count) in [
            ("", "", 0),
            ("status", "status", 0),
            ("statsu", "status", 1),
            ("stats", "status", 1),
            ("abc", "", 3),
            ("onse", "once", 1),
        ] {
            assert_eq!(slips(from, to), count, "{from} {to}");
        }
    }

    #[test]
    fn short_words_are_not_taken_for_each_other() {
        assert_eq!(nearest("ab", ["ls", "man"]), None);
        assert_eq!(nearest("las", ["ls"]), Some("ls"));
        assert_eq!(nearest("stauts", ["ls", "sync", "status"]), Some("status"));
        assert_eq!(nearest("training", ["status", "sync"]), None);
    }
}
