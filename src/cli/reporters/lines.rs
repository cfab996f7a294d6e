//! Events as lines: which ones are written, and when silence is better.

use std::sync::{Mutex, PoisonError};

use crate::cli::config::Talk;
use crate::cli::format::{checking, shown, span, state, steps};
use crate::decide::mirror::plan::Counts;
use crate::engine::event::{Event, Notice, Reporter, RetryCause};
use crate::error::ExitStatus;
use crate::model::names::rel_path::RelPath;
use crate::model::units::ByteCount;

use super::words;

/// How important an event is; in order, so that a level asks for everything from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// With `-v` alone.
    Detail,
    /// While following, or beside news.
    Background,
    /// Something is new.
    News,
    /// Something is wrong; also with `-q`.
    Trouble,
}

/// Where and how lines are written.
pub(crate) struct Lines {
    /// Writes one line, or, where there are no bars, several.
    pub(crate) print: Box<dyn Fn(&str) + Send + Sync>,
    /// Writes one line of a plan: data, so to standard output.
    pub(crate) data: Box<dyn Fn(&str) + Send + Sync>,
    /// How much is written.
    pub(crate) talk: Talk,
    /// Keeps the background to itself until there is news: one pass without a terminal, as cron does it.
    pub(crate) hold: bool,
    /// Whether bars show the steps, so that lines need not.
    pub(crate) bars: bool,
    /// A dry run: nothing is done, so there is no end to report.
    pub(crate) plan_only: bool,
    /// Whether to paint.
    pub(crate) colours: bool,
    /// What names the job, where there are several: it precedes each line's text.
    pub(crate) label: Option<Label>,
    /// The command that continues after an early end.
    pub(crate) again: String,
    /// What was held back.
    pub(crate) held: Mutex<Held>,
}

/// Names a job, by what is known of it now.
pub(crate) type Label = Box<dyn Fn() -> String + Send + Sync>;

/// What was held back until there is news, and what the summary needs.
#[derive(Debug, Default)]
pub(crate) struct Held {
    lines: Vec<String>,
    ending: String,
    /// The error that ends the run was written: its end is no more news.
    has_failed: bool,
    /// What was last written about the job, and at which tenth of its way.
    job: Option<(String, u64)>,
    /// At which tenth a check of local files was last reported.
    checked: Option<u64>,
}

/// More than one pass has to report before its first news; what is beyond is repetition.
const MOST_HELD: usize = 50;

impl Reporter for Lines {
    fn report(&self, event: &Event) {
        self.report_all(std::slice::from_ref(event));
    }

    fn report_all(&self, events: &[Event]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::with_capacity(events.len());
        events.iter().for_each(|event| self.apply(event, &mut held, &mut lines));
        self.print_all(&lines);
    }
}

impl Lines {
    /// Adds what is printed of an event to `lines`, or holds it back.
    fn apply(&self, event: &Event, held: &mut Held, lines: &mut Vec<String>) {
        let is_news = held.apply(event, self.bars);
        if self.plan_only && matches!(event, Event::Done { .. }) {
            return;
        }
        if let Event::Planned { path, kind, action } = event {
            let label = self.label.as_ref().map_or_else(String::new, |label| format!("{}  ", label()));
            (self.data)(&format!("{label}{:<10}  {}  {}", kind, shown(path.as_str()), action));
            return;
        }
        let Some((mut weight, mark, text)) = sentence(event, &held.ending, &self.again) else { return };
        match event {
            Event::Trouble { notice: Notice::JobFailed(_) } => held.has_failed = true,
            Event::Done { .. } if std::mem::take(&mut held.has_failed) => {
                weight = weight.min(Weight::Background)
            }
            _ => {}
        }
        // The view shows what a plan counts, and how far a check is.
        let is_shown = self.bars && matches!(event, Event::Plan { .. } | Event::Checking { .. });
        let weight = if is_news && !is_shown { weight } else { Weight::Detail };
        if weight < self.least() {
            return;
        }
        self.write(held, lines, weight, mark, &text);
    }
}

impl Held {
    /// Takes in what the job does, and returns whether that is news. A log of a long training has every tenth of it, and so
    /// has one of a check of local files; bars show the steps anyway, and `-v` shows every poll.
    fn apply(&mut self, event: &Event, bars: bool) -> bool {
        if let Event::Checking { bytes, of_bytes, .. } = event {
            let tenth = bytes.saturating_mul(10) / (*of_bytes).max(1);
            return self.checked.replace(tenth) != Some(tenth);
        }
        let Event::Job { name, status, progress, error } = event else { return true };
        let error = error.as_deref().map_or_else(String::new, |error| format!(": {}", shown(error)));
        self.ending = format!("the job is {} ({}){error}", shown(status.as_str()), state(status, progress));
        let said = format!("{} {}", name.as_deref().unwrap_or_default(), self.ending);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
        let tenth = progress.percent_done().map_or(0, |percent| (percent.clamp(0.0, 100.0) / 10.0) as u64);
        let is_news = self.job.as_ref().is_none_or(|(before, at)| *before != said || (*at != tenth && !bars));
        if is_news {
            self.job = Some((said, tenth));
        }
        is_news
    }
}

impl Lines {
    /// Writes a notice of the program's own.
    pub(crate) fn note(&self, text: &str) {
        if Weight::News >= self.least() {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let mut lines = Vec::new();
            self.write(&mut held, &mut lines, Weight::News, "notice", &shown(text));
            self.print_all(&lines);
        }
    }

    fn print_all(&self, lines: &[String]) {
        if self.bars {
            // Bars are drawn below each line.
            lines.iter().for_each(|line| (self.print)(line));
        } else if !lines.is_empty() {
            (self.print)(&lines.join("\n"));
        }
    }

    /// Adds a line to `lines`, behind those that were held back, or holds it back.
    fn write(&self, held: &mut Held, lines: &mut Vec<String>, weight: Weight, mark: &str, text: &str) {
        let label = self.label.as_ref().map_or_else(String::new, |label| format!("{}  ", label()));
        let line = format!("{}  {label}{text}", self.painted(mark, weight));
        if self.hold && weight <= Weight::Background {
            if held.lines.len() < MOST_HELD {
                held.lines.push(line);
            }
            return;
        }
        lines.append(&mut held.lines);
        lines.push(line);
    }

    fn least(&self) -> Weight {
        match self.talk {
            Talk::Quiet => Weight::Trouble,
            Talk::Normal => Weight::Background,
            Talk::Verbose => Weight::Detail,
        }
    }

    fn painted(&self, mark: &str, weight: Weight) -> String {
        let padded = format!("{mark:<9}");
        let colour = match (weight, mark) {
            _ if !self.colours => return padded,
            (_, "failed") | (Weight::Trouble, _) => 31,
            (_, "published" | "mirrored") => 32,
            (_, "retrying" | "vanished" | "settling") => 33,
            (_, "done") => 1,
            _ => return padded,
        };
        format!("\u{1b}[{colour}m{padded}\u{1b}[0m")
    }
}

fn sentence(event: &Event, ending: &str, again: &str) -> Option<(Weight, &'static str, String)> {
    let at = |step: &Option<u64>| step.map_or_else(String::new, |step| format!("  step {step}"));
    let name = |path: &RelPath| shown(path.as_str());
    Some(match event {
        Event::Submitted { job, name } => {
            let name = name.as_deref().map_or_else(|| "the job".to_owned(), shown);
            (Weight::News, "submitted", format!("{name} as {job}"))
        }
        Event::Resumed { attempt, reason, .. } => {
            let count = attempt.map_or_else(String::new, |(number, most)| format!("{number} of {most}: "));
            (Weight::News, "resumed", format!("{count}{}", words::resumed(reason)))
        }
        Event::Job { name, status, progress, error } => {
            let mut text = name.as_deref().map_or_else(String::new, |name| format!("{}  ", shown(name)));
            text += &shown(status.as_str());
            for part in [steps(progress), error.as_deref().map(shown)].into_iter().flatten() {
                text += &format!("  {part}");
            }
            (Weight::Background, "job", text)
        }
        Event::Checking { files: read, of, bytes, of_bytes } => {
            let text = checking(*read, *of, *bytes, *of_bytes);
            (Weight::Background, "checking", text)
        }
        Event::Plan { fetch, ask, present, .. } => {
            let counts = Counts { fetch: *fetch, ask: *ask, present: *present };
            (Weight::Background, "plan", words::plan(counts))
        }
        Event::Started { path, step, size, resumed_from, .. } => {
            let size = size.map_or_else(String::new, |size| format!("  {}", ByteCount(size)));
            let from = match resumed_from {
                0 => String::new(),
                bytes => format!("  {} are here already", ByteCount(*bytes)),
            };
            (Weight::Detail, "started", format!("{}{size}{}{from}", name(path), at(step)))
        }
        Event::Published { path, step, size, evidence, .. } => (
            Weight::News,
            "published",
            format!("{}  {}  {evidence}{}", name(path), ByteCount(*size), at(step)),
        ),
        Event::Settling { path, declared, have } => {
            let of = declared.map_or_else(String::new, |declared| format!(" of {}", ByteCount(declared)));
            let text = format!("{}  {}{of} written", name(path), ByteCount(*have));
            (Weight::Background, "settling", text)
        }
        Event::Retrying { path, cause, wait, .. } => {
            let what = match (path, cause) {
                (Some(path), _) => name(path),
                (None, RetryCause::Store(_)) => "the bucket".to_owned(),
                (None, _) => "the API".to_owned(),
            };
            (
                Weight::Background,
                "retrying",
                format!("{what}  in {}: {}", span(*wait), shown(&words::retry(cause))),
            )
        }
        Event::Vanished { path } => {
            (Weight::News, "vanished", format!("{}  gone from the host before it was fetched", name(path)))
        }
        Event::Failed { path, cause } => {
            (Weight::Trouble, "failed", format!("{}  {}", name(path), shown(&words::failure(cause))))
        }
        Event::Mirrored { path, to, how } => {
            (Weight::News, "mirrored", format!("{}  to {} ({how})", name(path), shown(&to.to_string_lossy())))
        }
        Event::Trouble { notice } => (Weight::Trouble, "trouble", shown(&words::notice(notice))),
        Event::Notice { notice } => (Weight::News, "notice", shown(&words::notice(notice))),
        Event::Stalled { job, step, quiet, usual } => {
            let at = step.map_or_else(String::new, |step| format!(" at step {step}"));
            let text = format!(
                "nothing new{at} for {}, usually a save in {}; the GPU is still billing: `rcsync cancel {job}` ends it",
                span(*quiet),
                span(*usual)
            );
            (Weight::Trouble, "stalled", text)
        }
        Event::Waiting { wait } => {
            (Weight::Detail, "waiting", format!("{} until the next look", span(*wait)))
        }
        Event::Done { .. } => return summary(event, ending, again),
        Event::Received { .. } | Event::Pace { .. } | Event::Planned { .. } => return None,
    })
}

fn summary(event: &Event, ending: &str, again: &str) -> Option<(Weight, &'static str, String)> {
    let Event::Done { exit, published, bytes, present, failed, elapsed, .. } = event else { return None };
    let new = match published {
        0 => "nothing new".to_owned(),
        count => format!("{count} new ({} received)", ByteCount(*bytes)),
    };
    let missing = if *failed > 0 { format!(", {failed} not here yet") } else { String::new() };
    let counts = format!("{new}, {present} here{missing}, in {}", span(*elapsed));
    Some(match exit {
        ExitStatus::Complete if *published == 0 => (Weight::Background, "done", counts),
        ExitStatus::Complete => (Weight::News, "done", counts),
        ExitStatus::Interrupted | ExitStatus::Terminated => {
            let text = format!("{counts}; parts are kept, {again} continues from them");
            (Weight::News, "stopped", text)
        }
        ExitStatus::TryAgain if *failed > 0 => {
            (Weight::Trouble, "not done", format!("{counts}; {again} fetches the rest"))
        }
        ExitStatus::TryAgain | ExitStatus::Negative if !ending.is_empty() => {
            (Weight::Trouble, "not done", format!("{counts}; {ending}"))
        }
        _ => (Weight::Trouble, "not done", counts),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::process::fake::Written;
    use crate::cli::reporters::samples::{done, every_event, published, running};

    fn reported(talk: Talk, hold: bool, events: &[Event]) -> (String, String) {
        let (err, out) = (Written::default(), Written::default());
        let (print, data) = (err.stream(), out.stream());
        let lines = Lines {
            print: Box::new(move |line| print.line(line)),
            data: Box::new(move |line| data.line(line)),
            talk,
            hold,
            bars: false,
            plan_only: false,
            colours: false,
            label: None,
            again: "the same command".to_owned(),
            held: Mutex::default(),
        };
        let lines: Arc<dyn Reporter> = Arc::new(lines);
        events.iter().for_each(|event| lines.report(event));
        (out.text(), err.text())
    }

    /// A line of each of many small files is a system call too many; bars are drawn below each line.
    #[test]
    fn what_happened_together_is_written_at_once() {
        for (bars, expected) in [(false, 1), (true, 3)] {
            let written = Arc::new(Mutex::new(Vec::new()));
            let writing = written.clone();
            let lines = Lines {
                print: Box::new(move |text| writing.lock().unwrap().push(text.to_owned())),
                data: Box::new(|_| ()),
                talk: Talk::Normal,
                hold: true,
                bars,
                plan_only: false,
                colours: false,
                label: None,
                again: String::new(),
                held: Mutex::default(),
            };
            lines.report(&running(1));
            assert!(written.lock().unwrap().is_empty(), "it is held back");
            lines.report_all(&[published(), published()]);
            let written = written.lock().unwrap();
            assert_eq!(written.len(), expected, "{written:?}");
            let marks: Vec<_> = written.iter().flat_map(|text| text.lines()).map(|line| &line[..3]).collect();
            assert_eq!(marks, ["job", "pub", "pub"]);
        }
    }

    #[test]
    fn every_event_as_people_read_it() {
        let (out, err) = reported(Talk::Verbose, false, &every_event());
        assert_eq!(out, "checkpoint  dog_000000250.safetensors  fetch (new)\n");
        assert_eq!(
            err,
            "\
submitted  dog as abc-1
resumed    1 of 3: the job stopped at step 700 of 2000 without an error
resumed    as asked
job        dog  RUNNING  step 320 of 2000 (16 %)
checking   3 of 120 files, 42.0 MiB of 84.0 MiB
plan       2 files to fetch, 5 here
started    dog_000000250.safetensors  164 MiB  step 250  1.0 KiB are here already
published  dog_000000250.safetensors  164 MiB  trainer-hash  step 250
settling   dog_000000500.safetensors  1.0 KiB of 164 MiB written
retrying   dog_000000500.safetensors  in 1.5 s: the connection broke after 7 bytes: connection reset
retrying   the API  in 2.0 s: the API answered HTTP 503
retrying   the bucket  in 0.5 s: the store of `s3://loras/dog` cannot be reached: no answer for 30 s
vanished   samples/1__000000250_0.jpg  gone from the host before it was fetched
failed     samples/1__000000250_0.jpg  the host answered HTTP 403
mirrored   dog_000000250.safetensors  to /ui/dog_250.safetensors (hardlink)
notice     `\\u{1b}]0;title\\u{7} \\u{202e}` has no `path`
stalled    nothing new at step 700 for 18m 00s, usually a save in 5m 50s; the GPU is still billing: `rcsync cancel abc-1` ends it
waiting    20 s until the next look
not done   1 new (164 MiB received), 6 here, 1 not here yet, in 1m 20s; the same command fetches the rest
"
        );
    }

    #[test]
    fn a_log_has_every_tenth_of_the_training() {
        let looks: Vec<Event> = (0..=2000).step_by(10).map(running).collect();
        assert_eq!(reported(Talk::Normal, false, &looks).1.lines().count(), 11);
        assert_eq!(reported(Talk::Verbose, false, &looks).1.lines().count(), 201);
    }

    #[test]
    fn a_log_has_a_line_for_every_tenth_of_a_check() {
        let check = |at: u64| Event::Checking { files: at, of: 1000, bytes: at << 20, of_bytes: 1000 << 20 };
        let checks: Vec<Event> = (1..=1000).map(check).collect();
        assert_eq!(reported(Talk::Normal, false, &checks).1.lines().count(), 11);
        assert_eq!(reported(Talk::Normal, true, &checks).1, "", "without news cron reports nothing");
    }

    #[test]
    fn a_failed_job_of_a_fleet_is_one_line_with_quiet() {
        let failed = || Event::Trouble { notice: Notice::JobFailed(crate::error::ApiError::NoToken.into()) };
        let events = [failed(), done(ExitStatus::BadData, 0, 0)];
        let (_, err) = reported(Talk::Quiet, false, &events);
        assert!(err.starts_with("trouble    no RunComfy token found; set `RUNCOMFY_TOKEN`"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert_eq!(reported(Talk::Normal, false, &events).1.lines().count(), 2);
        // The next run of the job has its own end.
        let twice = [failed(), done(ExitStatus::BadData, 0, 0), done(ExitStatus::Disk, 0, 0)];
        assert_eq!(reported(Talk::Quiet, false, &twice).1.lines().count(), 2);
    }

    #[test]
    fn cron_gets_no_line_when_there_is_nothing() {
        let nothing = [
            running(320),
            Event::Plan { fetch: 0, ask: 0, bytes: None, present: 5 },
            done(ExitStatus::Complete, 0, 0),
        ];
        assert_eq!(reported(Talk::Normal, true, &nothing), (String::new(), String::new()));
        assert_eq!(reported(Talk::Normal, false, &nothing).1.lines().count(), 3, "people read it");
    }

    #[test]
    fn cron_gets_every_line_when_there_is_news() {
        let news = [running(320), published(), done(ExitStatus::Complete, 1, 0)];
        let (_, err) = reported(Talk::Normal, true, &news);
        let marks: Vec<&str> = err.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(marks, ["job", "published", "done"]);
    }

    #[test]
    fn quiet_reports_what_is_wrong_and_nothing_else() {
        assert_eq!(
            reported(Talk::Quiet, false, &[running(320), published(), done(ExitStatus::Complete, 1, 0)]).1,
            ""
        );
        let failed = Event::Job {
            name: None,
            status: crate::model::job::JobStatus::Failed,
            progress: crate::model::job::Progress::default(),
            error: Some("out of memory".to_owned()),
        };
        let (_, err) = reported(Talk::Quiet, true, &[failed, done(ExitStatus::Negative, 0, 0)]);
        assert_eq!(
            err,
            "not done   nothing new, 5 here, in 1m 20s; the job is FAILED (ended by an error): out of memory\n"
        );
    }
}
