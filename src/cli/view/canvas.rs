//! Lines that stand at the end of a terminal and are drawn over themselves.
//!
//! Each draw is one write that goes up to the first line, writes every line over what was there and clears what is
//! left of it, so that nothing is ever blank in between: nothing flickers.

use super::super::words::columns as columns_of;
use super::super::world::Stream;

/// The place where the view stands.
pub(super) struct Canvas {
    stream: Stream,
    /// The columns of each line as drawn last.
    drawn: Vec<usize>,
    /// The columns of the terminal then.
    columns: usize,
    /// What was drawn last: the same again need not be written.
    text: String,
}

impl Canvas {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, drawn: Vec::new(), columns: 0, text: String::new() }
    }

    /// Returns the columns and rows to draw for.
    pub(super) fn size(&self) -> (usize, usize) {
        (usize::from(self.stream.columns()), usize::from(self.stream.rows()))
    }

    /// Whether the terminal has other columns than at the last draw.
    pub(super) fn is_resized(&self) -> bool {
        self.size().0 != self.columns
    }

    /// Draws `lines` where the last ones were, and `above` for good above them.
    pub(super) fn put(&mut self, above: Option<&str>, lines: &[String]) {
        let columns = self.size().0;
        let text: String = lines.iter().map(|line| format!("{line}\u{1b}[K\r\n")).collect();
        if above.is_none() && text == self.text && columns == self.columns {
            return;
        }
        let mut out = self.back(columns);
        if let Some(above) = above {
            out.push_str(&format!("{above}\u{1b}[K\n"));
        }
        out.push_str(&text);
        // Lines of the last draw that this one has no more.
        if !self.drawn.is_empty() || above.is_some() {
            out.push_str("\u{1b}[J");
        }
        self.stream.write(&out);
        self.drawn = lines.iter().map(|line| columns_of(&unpainted(line))).collect();
        self.columns = columns;
        self.text = text;
    }

    /// Goes to where the first line stands. A terminal that became narrower has broken long lines in two.
    fn back(&self, columns: usize) -> String {
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        match rows {
            0 => String::new(),
            // Broken lines are cleared at once: what stands over them is shorter.
            rows if columns < self.columns => format!("\u{1b}[{rows}A\r\u{1b}[J"),
            rows => format!("\u{1b}[{rows}A\r"),
        }
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
