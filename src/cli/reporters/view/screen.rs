//! The view's lines at the end of a terminal: `indicatif` decides what is drawn over, and here it becomes one write a frame.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::cli::format::columns as columns_of;
use crate::cli::process::Stream;

/// Lines that are replaced, below lines that stay.
pub(super) struct Screen {
    stream: Stream,
    bar: ProgressBar,
    /// The lines as drawn last.
    drawn: Vec<String>,
    /// The columns of the terminal then.
    columns: u16,
}

impl Screen {
    pub(super) fn new(stream: Stream) -> Self {
        let terminal = Terminal { stream: stream.clone(), frame: Mutex::default() };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(terminal)));
        // All lines are one message: a frame is one draw, however many lines it has.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { stream, bar, drawn: Vec::new(), columns: 0 }
    }

    /// Returns the columns and rows to draw for.
    pub(super) fn size(&self) -> (usize, usize) {
        (usize::from(self.stream.columns()), usize::from(self.stream.rows()))
    }

    /// Whether the terminal has other columns than at the last draw.
    pub(super) fn is_resized(&self) -> bool {
        self.stream.width() != self.columns
    }

    /// Draws `lines` in place of the last ones.
    pub(super) fn draw(&mut self, lines: Vec<String>) {
        if lines != self.drawn || self.is_resized() {
            self.columns = self.stream.width();
            self.bar.set_message(lines.join("\n"));
            self.drawn = lines;
        }
    }

    /// Writes a line that stays, above the others.
    pub(super) fn print(&self, line: &str) {
        if self.drawn.is_empty() { self.stream.line(line) } else { self.bar.println(line) }
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.drawn.clear();
    }
}

/// A terminal as `indicatif` wants one, on a stream of this process. The library pads each line up to the edge and stops
/// there; here each line ends in a line break instead. So a `^C` of the terminal's own lands below the view, and a terminal that
/// becomes narrower wraps each line by itself.
#[derive(Debug)]
struct Terminal {
    stream: Stream,
    frame: Mutex<Frame>,
}

#[derive(Debug, Default)]
struct Frame {
    /// How many rows of the last frame are replaced.
    replaced: usize,
    lines: Vec<String>,
    /// The widths of the last frame's lines.
    drawn: Vec<usize>,
    /// The columns of the terminal then.
    columns: usize,
}

/// Holds the picture, and shows it (DEC's private mode 2026): nothing flickers. Other terminals ignore both.
const HOLD: &str = "\u{1b}[?2026h";
const SHOW: &str = "\u{1b}[?2026l";

/// Clears from here to the end of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Clears the whole line.
const CLEAR_LINE: &str = "\u{1b}[2K";

impl Frame {
    /// Returns the rows from the first replaced one to the cursor, when the terminal has so many columns. A narrower terminal has
    /// wrapped the lines that no longer fit.
    fn rows_up(&self, columns: usize) -> usize {
        let (mut replaced, mut rows) = (0, 0);
        for width in self.drawn.iter().rev() {
            if replaced >= self.replaced {
                break;
            }
            replaced += rows_of(*width, self.columns);
            rows += rows_of(*width, columns);
        }
        rows
    }

    /// Returns what is written for the frame, and begins the next one.
    fn finish(&mut self, columns: usize) -> Option<String> {
        let up = self.rows_up(columns);
        if up == 0 && self.lines.is_empty() {
            return None;
        }
        let widths: Vec<usize> = self.lines.iter().map(|line| columns_of(&unpainted(line))).collect();
        // Lines that keep their rows are replaced one by one, so that nothing is blank in between.
        let keeps_rows = columns == self.columns
            && widths.len() == self.drawn.len()
            && widths.iter().chain(&self.drawn).all(|width| *width <= columns);
        let mut text = HOLD.to_owned();
        if up > 0 {
            text += &format!("\u{1b}[{up}A\r");
        }
        if !keeps_rows {
            text += CLEAR_BELOW;
        }
        for line in self.lines.drain(..) {
            if keeps_rows {
                text += CLEAR_LINE;
            }
            text += &line;
            text += "\r\n";
        }
        (self.replaced, self.drawn, self.columns) = (0, widths, columns);
        Some(text + SHOW)
    }
}

fn rows_of(width: usize, columns: usize) -> usize {
    width.div_ceil(columns.max(1)).max(1)
}

impl Terminal {
    fn frame(&self) -> MutexGuard<'_, Frame> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.stream.width()
    }

    fn height(&self) -> u16 {
        self.stream.rows()
    }

    // The library moves only to clear what it drew: the frame does that as a whole.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.write_str(line)
    }

    fn write_str(&self, line: &str) -> io::Result<()> {
        // Spaces alone are the padding.
        if !line.trim_matches(' ').is_empty() {
            self.frame().lines.push(line.to_owned());
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.frame().replaced += 1;
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut frame = self.frame();
        if let Some(text) = frame.finish(usize::from(self.width())) {
            self.stream.write(&text);
        }
        Ok(())
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
