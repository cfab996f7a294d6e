//! Tables for people, and the order that people expect.

use std::cmp::Ordering;

use super::words::columns as columns_of;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Returns the rows as lines, each column as wide as its widest cell, two spaces between them. The last column
/// is not padded, so that no line ends in spaces.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| columns_of(cell));
        cells.chain([columns[at].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((cell, (_, align)), width) in row.iter().zip(columns).zip(&widths) {
            // Not the formatter's own padding: it counts characters, and some take two columns.
            let padding = " ".repeat(width.saturating_sub(columns_of(cell)));
            match align {
                Align::Left => line.push_str(&format!("{cell}{padding}  ")),
                Align::Right => line.push_str(&format!("{padding}{cell}  ")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with runs of digits as numbers: `a_9` before `a_10`.
pub(crate) fn natural(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        let ((run_a, rest_a), (run_b, rest_b)) = (first_run(a), first_run(b));
        if run_a.is_empty() || run_b.is_empty() {
            // Equal but for leading zeros: the plain order decides, so that sorting is stable for all inputs.
            return run_a.len().cmp(&run_b.len()).then_with(|| left.cmp(right));
        }
        let order = match (number(run_a), number(run_b)) {
            (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            _ => run_a.cmp(run_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// Splits after the first run of digits, or of anything else.
fn first_run(text: &str) -> (&str, &str) {
    let is_digit = |c: char| c.is_ascii_digit();
    let Some(kind) = text.chars().next().map(is_digit) else { return ("", "") };
    text.split_at(text.find(|c| is_digit(c) != kind).unwrap_or(text.len()))
}

/// Returns the digits without leading zeros.
fn number(run: &str) -> Option<&str> {
    run.starts_with(|c: char| c.is_ascii_digit()).then(|| run.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [
            vec!["a".to_owned(), "1.0 KiB".to_owned(), "x".to_owned()],
            vec!["bcd".to_owned(), "9 B".to_owned(), String::new()],
        ];
        let text = table(&[("kind", Align::Left), ("size", Align::Right), ("path", Align::Left)], &rows);
        assert_eq!(text, "kind     size  path\na     1.0 KiB  x\nbcd       9 B\n");
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let mut names = ["a_10", "a_9", "a", "b", "a_010", "a_9_2", "10", "9", "é", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "9", "10", "a", "a_9", "a_9_2", "a_010", "a_10", "b", "é"]);
    }
}
