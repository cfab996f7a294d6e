//! Facts into lines, for so many columns and rows.

use std::time::Instant;

use crate::cli::format::{checking, columns as columns_of, countdown, end_of, files, shown, steps};
use crate::model::artifact::ArtifactKind;
use crate::model::job::JobStatus;
use crate::model::names::rel_path::RelPath;
use crate::model::units::ByteCount;

use super::facts::{Doing, Facts, Transfer};

/// Transfers shown at once; more would push the published lines off a small window.
const MOST_TRANSFERS: usize = 8;

/// From here on a transfer has room for its figures: `120 MiB of 164 MiB`.
const WITH_FIGURES: usize = 64;

/// From here on there is room for bars, and for words beside the mark.
const WITH_BARS: usize = 100;

/// Columns of the bar of the whole training: five percent each.
const JOB_BAR: usize = 20;

/// The same on a smaller terminal, where the line has room for it.
const SHORT_JOB_BAR: usize = 10;

/// Columns of the longest name that is shown whole.
const LONGEST_NAME: usize = 60;

/// How the terminal likes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// Whether to paint.
    pub(crate) colours: bool,
    /// Whether characters outside ASCII are shown as themselves.
    pub(crate) unicode: bool,
}

/// The colours, by what they mean.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Plain,
    Strong,
    Good,
    Warning,
    Faint,
}

impl Look {
    pub(super) fn paint(self, text: &str, paint: Paint) -> String {
        let code = match paint {
            _ if !self.colours || text.is_empty() => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Strong => 1,
            Paint::Good => 32,
            Paint::Warning => 33,
            Paint::Faint => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Returns text from outside as this terminal can show it.
    pub(super) fn name(self, text: &str) -> String {
        let harmless = shown(text);
        if self.unicode { harmless } else { harmless.replace(|c: char| !c.is_ascii(), "?") }
    }

    pub(super) const fn dots(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Keeps the beginning of a name that is too long.
    pub(super) fn begin_of(self, name: &str, columns: usize) -> String {
        if columns_of(name) <= columns {
            return name.to_owned();
        }
        let mut short = String::new();
        for c in name.chars() {
            if columns_of(&short) + columns_of(c.encode_utf8(&mut [0; 4])) + 1 > columns {
                break;
            }
            short.push(c);
        }
        short + self.dots()
    }

    pub(super) fn bar(self, done: u64, of: u64, columns: usize) -> String {
        let share = u128::from(done.min(of)) * columns as u128 / u128::from(of.max(1));
        let full = usize::try_from(share).unwrap_or(columns);
        let (begin, end) = if self.unicode { ("━", "╌") } else { ("=", "-") };
        format!("{}{}", begin.repeat(full), end.repeat(columns.saturating_sub(full)))
    }
}

/// Returns the view's lines, none wider than `columns`, fewer than `rows`.
pub(super) fn frame(facts: &mut Facts, now: Instant, columns: usize, rows: usize, look: Look) -> Vec<String> {
    let mut lines = job(facts, now, columns, look);
    lines.extend(check(facts, columns, look));
    lines.extend(sum(facts, now, columns, look));
    let room = rows.saturating_sub(lines.len() + 2).min(MOST_TRANSFERS);
    let may_delete = facts.may_delete();
    let mut transfers = facts.transfers();
    let count = transfers.len();
    let widest = transfers.iter().take(room).map(|(path, _)| columns_of(&look.name(path.as_str()))).max();
    let space = Space { columns, name: widest.unwrap_or(0).min(LONGEST_NAME), now };
    for (at, (path, transfer)) in transfers.iter_mut().take(room).enumerate() {
        let oldest =
            at == 0 && may_delete && transfer.kind == ArtifactKind::Checkpoint && transfer.step.is_some();
        lines.push(row(path, transfer, &space, look, oldest));
    }
    if count > room {
        lines.push(look.paint(
            &format!("  {} and {} more", if look.unicode { "…" } else { "..." }, count - room),
            Paint::Faint,
        ));
    }
    lines.truncate(rows.saturating_sub(1));
    lines
}

/// A piece of text with its paint; pieces flow into as many lines as they need.
pub(super) type Piece = (String, Paint);

/// Puts pieces side by side, two spaces between them, and begins a line where one does not fit.
pub(super) fn flow(pieces: Vec<Piece>, columns: usize, look: Look) -> Vec<String> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (text, paint) in pieces {
        let text = look.begin_of(&text, columns);
        let width = columns_of(&text);
        match lines.last_mut() {
            Some((used, line)) if *used + 2 + width <= columns => {
                *used += 2 + width;
                line.push_str("  ");
                line.push_str(&look.paint(&text, paint));
            }
            _ => lines.push((width, look.paint(&text, paint))),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

fn job(facts: &Facts, now: Instant, columns: usize, look: Look) -> Vec<String> {
    let Some((name, status)) = &facts.job else {
        let dots = if look.unicode { "…" } else { "..." };
        return vec![format!("looking at the job {dots}")];
    };
    let mut pieces: Vec<Piece> = Vec::new();
    if let Some(name) = name {
        pieces.push((look.begin_of(&look.name(name), columns / 2), Paint::Strong));
    }
    let paint = match status {
        JobStatus::Running => Paint::Good,
        JobStatus::Stopped => Paint::Plain,
        _ => Paint::Warning,
    };
    pieces.push((look.name(status.as_str()), paint));
    let bar_at = pieces.len();
    pieces.extend(steps(&facts.progress).map(|steps| (steps, Paint::Plain)));
    if let Some(seconds) = facts.seconds_a_step() {
        pieces.push((format!("{seconds:.2} s/step"), Paint::Plain));
    }
    if let Some(left) = facts.left(now).filter(|_| !facts.progress.is_complete()) {
        pieces.push((format!("{} left", countdown(left)), Paint::Plain));
    }
    let Some(percent) = facts.progress.percent_done() else { return flow(pieces, columns, look) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let done = percent.clamp(0.0, 100.0) as u64;
    let with_bar = |width| {
        let mut pieces = pieces.clone();
        pieces.insert(bar_at, (look.bar(done, 100, width), Paint::Good));
        flow(pieces, columns, look)
    };
    if columns >= WITH_BARS {
        return with_bar(JOB_BAR);
    }
    let (bare, barred) = (flow(pieces.clone(), columns, look), with_bar(SHORT_JOB_BAR));
    if barred.len() == 1 { barred } else { bare }
}

fn check(facts: &Facts, columns: usize, look: Look) -> Vec<String> {
    let Some([read, of, bytes, of_bytes]) = facts.checking else { return Vec::new() };
    flow(vec![(format!("checking {}", checking(read, of, bytes, of_bytes)), Paint::Plain)], columns, look)
}

fn sum(facts: &mut Facts, now: Instant, columns: usize, look: Look) -> Vec<String> {
    let mut pieces: Vec<Piece> = Vec::new();
    if let Some((step, wait)) = facts.next_save(now) {
        let when = match wait {
            Some(wait) if wait.as_secs() == 0 => " any moment".to_owned(),
            Some(wait) => format!(" in {}", countdown(wait)),
            None => String::new(),
        };
        pieces.push((format!("next checkpoint: step {step}{when}"), Paint::Plain));
    }
    pieces.push((format!("{} here", files(facts.present)), Paint::Plain));
    let count = facts.transfers().len();
    if count > 0 {
        pieces.push((format!("{count} in flight"), Paint::Plain));
        pieces.push((format!("{}/s", ByteCount(facts.meter.rate(now))), Paint::Plain));
    }
    flow(pieces, columns, look)
}

/// What all rows have in common.
struct Space {
    columns: usize,
    /// Columns that the longest name would like.
    name: usize,
    now: Instant,
}

fn row(path: &RelPath, transfer: &mut Transfer, space: &Space, look: Look, oldest: bool) -> String {
    let Space { columns, now, .. } = *space;
    let (have, size) = (transfer.have, transfer.size);
    let figures = match size {
        _ if columns < WITH_FIGURES => size.map_or_else(String::new, |size| share(have, size)),
        Some(size) => format!("{:>8} of {:>8}", ByteCount(have), ByteCount(size)),
        None => format!("{:>8}            ", ByteCount(have)),
    };
    let figures = if columns < WITH_FIGURES { format!("{figures:>5}") } else { figures };
    let (rate, when) = match transfer.doing(now) {
        Doing::Proving => (String::new(), "proving".to_owned()),
        Doing::Waiting(wait) => ("again in".to_owned(), countdown(wait)),
        Doing::Coming(left) => (format!("{}/s", ByteCount(transfer.meter.rate(now))), countdown(left)),
        Doing::Unknown => (format!("{}/s", ByteCount(transfer.meter.rate(now))), String::new()),
    };
    let tail = format!("{figures} {rate:>10} {when:>7}");
    let words = if oldest && columns >= WITH_BARS { "  oldest: deleted next" } else { "" };
    let room = columns.saturating_sub(2 + 1 + columns_of(&tail) + words.len());
    let bar = if columns < WITH_BARS { 0 } else { (room / 3).min(30) };
    let name_room = room.saturating_sub(bar + usize::from(bar > 0)).min(space.name);
    let name = end_of(&look.name(path.as_str()), name_room, look.dots());
    let name = format!("{name}{}", " ".repeat(name_room.saturating_sub(columns_of(&name))));
    let mark = if oldest { look.paint("! ", Paint::Warning) } else { "  ".to_owned() };
    let bar = match size {
        _ if bar == 0 => String::new(),
        Some(size) => format!(" {}", look.paint(&look.bar(have, size, bar), Paint::Good)),
        None => " ".repeat(bar + 1),
    };
    let line = format!("{mark}{name}{bar} {tail}{}", look.paint(words, Paint::Warning));
    line.trim_end().to_owned()
}

fn share(have: u64, size: u64) -> String {
    format!("{} %", u128::from(have.min(size)) * 100 / u128::from(size.max(1)))
}
