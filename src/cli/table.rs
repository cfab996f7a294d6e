//! Tables for people, and the order that people expect.

use std::cmp::Ordering;

use crate::cli::format::{columns as columns_of, end_of};

/// On which side a column's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    name: &'static str,
    align: Align,
    /// When it goes where there is no room: 1 goes first, 0 stays.
    goes: u8,
}

impl Column {
    /// A column with its text on the left.
    pub(crate) const fn left(name: &'static str) -> Self {
        Self { name, align: Align::Left, goes: 0 }
    }

    /// A column with its text on the right.
    pub(crate) const fn right(name: &'static str) -> Self {
        Self { name, align: Align::Right, goes: 0 }
    }

    /// The same column, which goes where there is no room: 1 goes first.
    pub(crate) const fn goes(self, goes: u8) -> Self {
        Self { goes, ..self }
    }
}

/// The room that a terminal has; in a file or a pipe nothing is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) columns: usize,
    /// What replaces the beginning of a name that is too long.
    pub(crate) dots: &'static str,
}

/// Returns the rows as lines, each column as wide as its widest cell, two spaces between them. The last column
/// is not padded, so that no line ends in spaces.
///
/// Where `room` is too narrow, columns go in their order, and then the last column keeps the ends of its texts.
pub(crate) fn table(columns: &[Column], mut rows: Vec<Vec<String>>, room: Option<Room>) -> String {
    let mut columns = columns.to_vec();
    let Some(room) = room else { return lines(&columns, &rows) };
    while width(&columns, &rows) > room.columns {
        let next = columns.iter().enumerate().filter(|(_, column)| column.goes > 0);
        let Some((at, _)) = next.min_by_key(|(_, column)| column.goes) else { break };
        columns.remove(at);
        rows.iter_mut().filter(|row| at < row.len()).for_each(|row| drop(row.remove(at)));
    }
    let too_wide = width(&columns, &rows).saturating_sub(room.columns);
    let last = columns.len().saturating_sub(1);
    let wanted = widths(&columns, &rows).get(last).map_or(0, |width| width.saturating_sub(too_wide));
    for cell in rows.iter_mut().filter_map(|row| row.get_mut(last)) {
        *cell = end_of(cell, wanted, room.dots);
    }
    lines(&columns, &rows)
}

fn widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| columns_of(cell));
        cells.chain([columns[at].name.len()]).max().unwrap_or(0)
    };
    (0..columns.len()).map(width).collect()
}

fn width(columns: &[Column], rows: &[Vec<String>]) -> usize {
    widths(columns, rows).iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)
}

fn lines(columns: &[Column], rows: &[Vec<String>]) -> String {
    let widths = widths(columns, rows);
    let heading = columns.iter().map(|column| column.name.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(columns).zip(&widths) {
            // Not the formatter's own padding: it counts characters, and some take two columns.
            let padding = " ".repeat(width.saturating_sub(columns_of(cell)));
            match column.align {
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
    fn columns_are_aligned() {
        let rows = [
            vec!["a".to_owned(), "1.0 KiB".to_owned(), "x".to_owned()],
            vec!["bcd".to_owned(), "9 B".to_owned(), String::new()],
        ];
        let columns = [Column::left("kind"), Column::right("size"), Column::left("path")];
        let text = table(&columns, rows.to_vec(), None);
        assert_eq!(text, "kind     size  path\na     1.0 KiB  x\nbcd       9 B\n");
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let columns = [
            Column::left("kind").goes(2),
            Column::right("size").goes(1),
            Column::left("sum"),
            Column::left("path"),
        ];
        let row = ["checkpoint", "1.0 KiB", "ab", "dog_000000250.safetensors"].map(str::to_owned).to_vec();
        let fits = |columns_there: usize| {
            let room = Room { columns: columns_there, dots: "…" };
            table(&columns, vec![row.clone()], Some(room)).lines().last().unwrap().to_owned()
        };
        assert_eq!(fits(80), "checkpoint  1.0 KiB  ab   dog_000000250.safetensors");
        assert_eq!(fits(50), "checkpoint  ab   dog_000000250.safetensors");
        assert_eq!(fits(40), "ab   dog_000000250.safetensors");
        assert_eq!(fits(20), "ab   dog_000000250");
        assert_eq!(fits(15), "ab   …000000250");
        assert_eq!(fits(0), "ab   …");
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let mut names = ["a_10", "a_9", "a", "b", "a_010", "a_9_2", "10", "9", "é", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "9", "10", "a", "a_9", "a_9_2", "a_010", "a_10", "b", "é"]);
    }
}
