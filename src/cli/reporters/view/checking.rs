//! How far the check of a large folder is: bars on a terminal, and where bars are not wanted there a line now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::config::{Settings, Talk};
use crate::cli::format::shown;
use crate::cli::process::{Process, Stream};
use crate::cli::reporters::throughput::Meter;
use crate::cli::values::Format;
use crate::engine::datasets::scan::ScanProgress;
use crate::model::units::ByteCount;

use super::frame::Look;
use super::screen::Screen;

/// A check that takes no longer needs no progress.
const QUIET_FOR: Duration = Duration::from_millis(700);

/// Between two draws.
const SHORTEST: Duration = Duration::from_millis(100);

/// Between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

const BAR: usize = 20;

/// The progress of one check. It may be used from several threads.
pub(crate) struct CheckView {
    way: Way,
    began: Instant,
    name: String,
    state: Mutex<State>,
}

enum Way {
    Bars(Look),
    Lines(Stream),
    Nothing,
}

struct State {
    screen: Screen,
    last: Option<Instant>,
    meter: Meter,
    bytes: u64,
}

impl CheckView {
    /// Chooses by the settings and by where the streams lead: nothing is written into a pipe or a file.
    pub(crate) fn new(world: &Process, settings: &Settings, name: &str) -> Self {
        let way = if settings.bars(world) {
            Way::Bars(Look { colours: world.colours(&world.err), unicode: world.speaks_unicode() })
        } else if world.err.is_terminal()
            && settings.talk > Talk::Quiet
            && (settings.format == Format::Pretty || !world.out.is_terminal())
        {
            Way::Lines(world.err.clone())
        } else {
            Way::Nothing
        };
        let state =
            State { screen: Screen::new(world.err.clone()), last: None, meter: Meter::default(), bytes: 0 };
        Self { way, began: Instant::now(), name: shown(name), state: Mutex::new(state) }
    }

    /// Takes in how far the check is, and shows it where it is time.
    pub(crate) fn show(&self, progress: ScanProgress) {
        self.show_at(progress, Instant::now());
    }

    fn show_at(&self, progress: ScanProgress, now: Instant) {
        let elapsed = now.duration_since(self.began);
        let (first, between) = match self.way {
            Way::Bars(_) => (QUIET_FOR, SHORTEST),
            Way::Lines(_) => (BETWEEN_LINES, BETWEEN_LINES),
            Way::Nothing => return,
        };
        // A thread that finds another one at it has nothing to add.
        let Ok(mut state) = self.state.try_lock() else { return };
        let new = progress.bytes.saturating_sub(state.bytes);
        state.bytes = state.bytes.max(progress.bytes);
        state.meter.observe(now, new);
        let is_time = state.last.map_or(elapsed >= first, |last| now.duration_since(last) >= between);
        if !is_time {
            return;
        }
        state.last = Some(now);
        match &self.way {
            Way::Bars(look) => {
                let (columns, _) = state.screen.size();
                let rate = state.meter.rate(now);
                let lines = frame(&self.name, progress, rate, columns, *look);
                state.screen.draw(lines);
            }
            Way::Lines(err) => err.line(&line(&self.name, progress)),
            Way::Nothing => {}
        }
    }

    /// Removes the bars.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.way, Way::Bars(_)) && state.last.is_some() {
            state.screen.clear();
        }
    }
}

/// An interrupted check leaves no bars either.
impl Drop for CheckView {
    fn drop(&mut self) {
        self.end();
    }
}

fn line(name: &str, progress: ScanProgress) -> String {
    let ScanProgress { files, of_files, bytes, of_bytes } = progress;
    format!(
        "{name}: checked {files} of {of_files} files, {} of {}",
        ByteCount(bytes.min(of_bytes)),
        ByteCount(of_bytes)
    )
}

fn frame(name: &str, progress: ScanProgress, rate: u64, columns: usize, look: Look) -> Vec<String> {
    let ScanProgress { bytes, of_bytes, .. } = progress;
    let bar = if columns >= 60 {
        format!("{}  ", look.bar(bytes.min(of_bytes), of_bytes, BAR))
    } else {
        String::new()
    };
    let text = format!("{bar}{}  {}/s", line(name, progress), ByteCount(rate));
    vec![text.chars().take(columns).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::process::fake;
    use crate::cli::values::ProgressWhen;

    const HALF: ScanProgress =
        ScanProgress { files: 500, of_files: 1000, bytes: 150 << 20, of_bytes: 300 << 20 };

    fn written(err: &fake::Written, stream: Stream, progress: ProgressWhen, after: Duration) -> String {
        let (mut world, ..) = fake::world(&[("TERM", "xterm")]);
        world.err = stream;
        let settings = Settings { progress, ..Settings::default() };
        let view = CheckView::new(&world, &settings, "dog");
        view.show_at(HALF, view.began + after);
        view.end();
        err.text()
    }

    #[test]
    fn bars_on_a_terminal_lines_where_they_are_not_wanted_and_nothing_in_a_pipe() {
        let of = |progress, after| {
            let err = fake::Written::default();
            written(&err, err.terminal(), progress, Duration::from_millis(after))
        };
        assert_eq!(of(ProgressWhen::Auto, 500), "", "a short check shows nothing");
        let bars = of(ProgressWhen::Auto, 800);
        assert!(bars.contains("dog: checked 500 of 1000 files, 150 MiB of 300 MiB"), "{bars}");
        assert_eq!(of(ProgressWhen::Never, 4900), "");
        assert_eq!(of(ProgressWhen::Never, 5100), "dog: checked 500 of 1000 files, 150 MiB of 300 MiB\n");
        let err = fake::Written::default();
        let in_a_pipe = written(&err, err.stream(), ProgressWhen::Auto, Duration::from_secs(60));
        assert_eq!(in_a_pipe, "");
    }

    #[test]
    fn a_line_fits_the_terminal() {
        for columns in [20, 40, 60, 80, 120] {
            let lines = frame("a name of some length", HALF, 1 << 20, columns, Look::default());
            assert!(lines[0].chars().count() <= columns, "{lines:?}");
        }
    }
}
