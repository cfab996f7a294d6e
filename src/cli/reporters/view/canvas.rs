//! Lines that stand at the end of a terminal and are drawn over themselves.
//!
//! Each draw is one write that goes up to the first line and writes anew what changed. Terminals that know how to hold
//! their picture until a write is over are asked to, so that nothing flickers.
//!
//! A terminal that becomes narrower breaks long lines in two, by what it believes to be a line's length. Some count
//! what stood there earlier, however often its end was cleared; so a line is cleared as a whole before it is written.

use crate::cli::format::columns as columns_of;
use crate::cli::process::Stream;
use crate::cli::reporters::shrinking::Shrinking;

/// The place where the view stands.
pub(super) struct Canvas {
    stream: Stream,
    shrinking: Shrinking,
    /// The lines as drawn last.
    drawn: Vec<String>,
    /// The columns of the terminal then.
    columns: usize,
}

/// Holds the picture, and shows it: DEC's private mode 2026. Terminals that do not know it pass it over.
const HOLD: &str = "\u{1b}[?2026h";
const SHOW: &str = "\u{1b}[?2026l";

/// Clears from here to the end of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Clears the line as a whole.
const CLEAR_LINE: &str = "\u{1b}[2K";

impl Canvas {
    pub(super) fn new(stream: Stream, shrinking: Shrinking) -> Self {
        Self { stream, shrinking, drawn: Vec::new(), columns: 0 }
    }

    /// Returns the columns and rows to draw for.
    pub(super) fn size(&self) -> (usize, usize) {
        (usize::from(self.stream.columns()), usize::from(self.stream.rows()))
    }

    /// Whether the terminal has other columns than at the last draw.
    pub(super) fn is_resized(&self) -> bool {
        self.width() != self.columns
    }

    /// Draws `lines` where the last ones were, and `above` for good above them.
    pub(super) fn put(&mut self, above: Option<&str>, lines: &[String]) {
        let columns = self.width();
        if above.is_none() && lines == self.drawn && columns == self.columns {
            return;
        }
        let mut out = HOLD.to_owned() + &self.back(columns);
        // Lines of another width, or that move down, have nothing of their rows that could stay.
        let is_anew = above.is_some() || columns != self.columns;
        if is_anew {
            out.push_str(CLEAR_BELOW);
        }
        if let Some(above) = above {
            out.push_str(above);
            out.push('\n');
        }
        for (row, line) in lines.iter().enumerate() {
            if is_anew || self.drawn.get(row) != Some(line) {
                out.push_str(CLEAR_LINE);
                out.push_str(line);
            }
            out.push_str("\r\n");
        }
        if lines.len() < self.drawn.len() {
            out.push_str(CLEAR_BELOW);
        }
        out.push_str(SHOW);
        self.stream.write(&out);
        self.drawn = lines.to_vec();
        self.columns = columns;
    }

    /// Goes to where the first line stands.
    fn back(&self, columns: usize) -> String {
        let width = match self.shrinking {
            Shrinking::Rewraps => columns,
            Shrinking::Cuts => self.columns,
        };
        let rows_of = |line: &String| columns_of(&unpainted(line)).div_ceil(width.max(1)).max(1);
        match self.drawn.iter().map(rows_of).sum::<usize>() {
            0 => String::new(),
            rows => format!("\u{1b}[{rows}A\r"),
        }
    }

    /// Returns the columns as they are, also where there are too few to draw for.
    fn width(&self) -> usize {
        usize::from(self.stream.width())
    }
}

fn unpainted(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, painted)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = painted.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}
