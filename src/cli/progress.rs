//! Bars: the job on top, one bar a transfer below, published lines scrolling above.
//!
//! Bars are drawn through [`Screen`] onto our own stream, so that `--progress always` works without a terminal
//! and tests see what is drawn. Never call into the bars while holding [`Facts`]: drawing reads them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use super::pace::{Meter, Pace};
use super::words::{shown, span, steps};
use super::world::Stream;
use crate::engine::event::{Event, Reporter};
use crate::model::job::Progress;
use crate::model::rel_path::RelPath;
use crate::model::units::ByteCount;

/// Draws a second: what an eye takes for steady.
const DRAWS: u8 = 10;
/// Bars shown at once; more would push the published lines off a small window.
const MOST_BARS: usize = 8;

/// The bars of one run.
pub(crate) struct Bars {
    all: MultiProgress,
    header: ProgressBar,
    transfers: Mutex<BTreeMap<RelPath, Transfer>>,
    facts: Arc<Mutex<Facts>>,
    stream: Stream,
    ended: AtomicBool,
}

struct Transfer {
    have: u64,
    size: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Bars {
    /// Begins to draw.
    pub(crate) fn new(stream: Stream) -> Self {
        let screen = Screen { stream: stream.clone(), pending: Mutex::default() };
        let all =
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(screen), DRAWS));
        let facts = Arc::new(Mutex::new(Facts::default()));
        let header = all.add(ProgressBar::no_length().with_style(header_style(&facts)));
        header.enable_steady_tick(Duration::from_millis(500));
        Self { all, header, transfers: Mutex::default(), facts, stream, ended: AtomicBool::new(false) }
    }

    /// Writes a line above the bars, or where they were.
    pub(crate) fn line(&self, text: &str) {
        // Not `println`, which fills each line up with spaces: people copy these lines.
        if self.ended.load(Ordering::Acquire) {
            self.stream.line(text);
        } else {
            self.all.suspend(|| self.stream.line(text));
        }
    }

    /// Takes the bars away. May be called again.
    pub(crate) fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let transfers = std::mem::take(&mut *self.transfers());
        for bar in transfers.into_values().filter_map(|transfer| transfer.bar) {
            bar.finish_and_clear();
        }
        self.header.finish_and_clear();
        // A terminal that went away needs no clearing.
        let _ = self.all.clear();
    }

    fn transfers(&self) -> MutexGuard<'_, BTreeMap<RelPath, Transfer>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, path: &RelPath, have: u64, size: Option<u64>, is_news: bool) {
        let mut transfers = self.transfers();
        let before = transfers.get(path).map(|transfer| transfer.have);
        let transfer = transfers.entry(path.clone()).or_insert(Transfer { have, size, bar: None });
        transfer.have = have;
        transfer.size = size.or(transfer.size);
        if let Some(bar) = &transfer.bar {
            draw(bar, transfer);
        }
        self.show_some(&mut transfers);
        let count = transfers.len();
        drop(transfers);
        let mut facts = self.facts();
        facts.in_flight = count;
        if let (true, Some(before)) = (is_news, before) {
            facts.meter.observe(Instant::now(), have.saturating_sub(before));
        }
    }

    fn ended(&self, path: &RelPath) {
        let mut transfers = self.transfers();
        if let Some(bar) = transfers.remove(path).and_then(|transfer| transfer.bar) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.show_some(&mut transfers);
        let count = transfers.len();
        drop(transfers);
        self.facts().in_flight = count;
    }

    /// Gives transfers without a bar one, while there is room.
    fn show_some(&self, transfers: &mut BTreeMap<RelPath, Transfer>) {
        let mut room =
            MOST_BARS.saturating_sub(transfers.values().filter(|transfer| transfer.bar.is_some()).count());
        for (path, transfer) in transfers.iter_mut() {
            if room == 0 || self.ended.load(Ordering::Acquire) {
                return;
            }
            if transfer.bar.is_none() {
                let columns = usize::from(self.stream.columns());
                let bar = self.all.add(ProgressBar::no_length().with_style(bar_style(columns)));
                bar.set_prefix(shortened(path.as_str(), name_columns(columns)));
                draw(&bar, transfer);
                transfer.bar = Some(bar);
                room -= 1;
            }
        }
    }
}

impl Reporter for Bars {
    fn report(&self, event: &Event) {
        match event {
            Event::Job { name, status, progress, .. } => {
                let mut facts = self.facts();
                facts.job = [name.as_deref().map(shown), Some(shown(status.as_str()))]
                    .into_iter()
                    .flatten()
                    .collect();
                facts.progress = *progress;
                if let Some(step) = progress.current_step {
                    facts.pace.observe(Instant::now(), step);
                }
            }
            Event::Plan { present, .. } => self.facts().present = *present,
            Event::Started { path, size, resumed_from, .. } => self.moved(path, *resumed_from, *size, false),
            Event::Received { path, have, size } => self.moved(path, *have, *size, true),
            Event::Published { path, .. } => {
                self.ended(path);
                self.facts().present += 1;
            }
            Event::Settling { path, .. } | Event::Vanished { path } | Event::Failed { path, .. } => {
                self.ended(path)
            }
            Event::Done { .. } => self.end(),
            _ => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the two lines on top are made of.
#[derive(Debug, Default)]
struct Facts {
    job: Vec<String>,
    progress: Progress,
    pace: Pace,
    meter: Meter,
    present: u64,
    in_flight: usize,
}

impl Facts {
    fn job_line(&self, now: Instant) -> String {
        if self.job.is_empty() {
            return "looking at the job …".to_owned();
        }
        let mut parts = self.job.clone();
        parts.extend(steps(&self.progress));
        if let (false, Some(seconds)) = (self.progress.is_complete(), self.pace.seconds_per_step()) {
            parts.push(format!("{seconds:.2} s/step"));
            let left = self.progress.total_steps.and_then(|total| self.pace.remaining(now, total));
            parts.extend(left.map(|left| format!("ETA {}", span(left))));
        }
        parts.join("  ")
    }

    fn sum_line(&mut self, now: Instant) -> String {
        let mut text = format!("{} here", self.present);
        if self.in_flight > 0 {
            let rate = ByteCount(self.meter.rate(now));
            text += &format!("  {} in flight  {rate}/s", self.in_flight);
        }
        text
    }
}

fn header_style(facts: &Arc<Mutex<Facts>>) -> ProgressStyle {
    let (for_job, for_sum) = (facts.clone(), facts.clone());
    let locked = |facts: &Mutex<Facts>, line: &dyn Fn(&mut Facts) -> String| {
        line(&mut facts.lock().unwrap_or_else(PoisonError::into_inner))
    };
    template("{job}\n{sum}")
        .with_key("job", move |_: &ProgressState, to: &mut dyn fmt::Write| {
            let _ = to.write_str(&locked(&for_job, &|facts| facts.job_line(Instant::now())));
        })
        .with_key("sum", move |_: &ProgressState, to: &mut dyn fmt::Write| {
            let _ = to.write_str(&locked(&for_sum, &|facts| facts.sum_line(Instant::now())));
        })
}

/// Columns of `999 MiB of 999 MiB`, with room for `16.0 MiB`.
const FIGURES: usize = 22;

fn bar_columns(columns: usize) -> usize {
    if columns < 64 { 0 } else { ((columns - FIGURES) / 3).min(24) }
}

fn name_columns(columns: usize) -> usize {
    columns.saturating_sub(FIGURES + bar_columns(columns) + 3).clamp(12, 60)
}

fn bar_style(columns: usize) -> ProgressStyle {
    let (name, bar) = (name_columns(columns), bar_columns(columns));
    let bar = if bar == 0 { String::new() } else { format!(" {{bar:{bar}}}") };
    template(&format!("{{prefix:{name}}}{bar} {{figures}}")).progress_chars("━━╌").with_key(
        "figures",
        |state: &ProgressState, to: &mut dyn fmt::Write| {
            let have = ByteCount(state.pos());
            let _ = match state.len() {
                Some(size) => write!(to, "{have:>8} of {:>8}", ByteCount(size)),
                None => write!(to, "{have:>8}"),
            };
        },
    )
}

/// A template that does not parse shows a plain bar: the templates above are constant, and a test draws them.
fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn draw(bar: &ProgressBar, transfer: &Transfer) {
    if let Some(size) = transfer.size.filter(|size| bar.length() != Some(*size)) {
        bar.set_length(size);
    }
    bar.set_position(transfer.have);
}

/// Keeps the end of a name that is too long: the step stands there.
fn shortened(name: &str, columns: usize) -> String {
    let count = name.chars().count();
    if count <= columns {
        return name.to_owned();
    }
    std::iter::once('…').chain(name.chars().skip(count + 1 - columns)).collect()
}

/// Our stream as a terminal. What a draw says is written at once, so nothing flickers.
struct Screen {
    stream: Stream,
    pending: Mutex<String>,
}

impl Screen {
    fn add(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.write_fmt(text).map_err(io::Error::other)
    }

    fn go(&self, count: usize, direction: char) -> io::Result<()> {
        // A terminal takes a count of 0 for 1.
        if count == 0 { Ok(()) } else { self.add(format_args!("\u{1b}[{count}{direction}")) }
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.stream.columns()
    }

    fn height(&self) -> u16 {
        self.stream.rows()
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.go(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.go(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.go(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.go(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\u{1b}[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if !drawn.is_empty() {
            self.stream.write(&drawn);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
