//! Bars of a push: files and bytes, how fast, how long it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cli::format::countdown;
use crate::cli::process::Stream;
use crate::cli::reporters::throughput::Meter;
use crate::engine::datasets::event::PushEvent;
use crate::model::units::ByteCount;

use super::canvas::Canvas;
use super::frame::Look;
use crate::cli::reporters::shrinking::Shrinking;

/// Between two draws: ten a second is what an eye takes for steady.
const SHORTEST: Duration = Duration::from_millis(100);

/// Columns of the bars: five percent each, where there is room.
const BAR: usize = 20;

/// The bars of one push.
pub(crate) struct UploadView {
    canvas: Canvas,
    look: Look,
    facts: Facts,
    drawn: Option<Instant>,
    is_over: bool,
}

/// What the bars show.
struct Facts {
    name: String,
    files: u64,
    sent_files: u64,
    bytes: u64,
    sent_bytes: u64,
    /// Bytes of files on their way.
    moving: BTreeMap<String, u64>,
    meter: Meter,
    waiting: Option<String>,
}

impl UploadView {
    pub(crate) fn new(stream: Stream, look: Look, shrinking: Shrinking, name: String) -> Self {
        let facts = Facts {
            name,
            files: 0,
            sent_files: 0,
            bytes: 0,
            sent_bytes: 0,
            moving: BTreeMap::new(),
            meter: Meter::default(),
            waiting: None,
        };
        Self { canvas: Canvas::new(stream, shrinking), look, facts, drawn: None, is_over: false }
    }

    /// Takes an event in, and draws where it is time.
    pub(crate) fn hear(&mut self, event: &PushEvent, now: Instant) {
        if self.is_over {
            return;
        }
        if matches!(event, PushEvent::Done { .. } | PushEvent::Ready { .. }) {
            return self.end();
        }
        self.facts.hear(event, now);
        if self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= SHORTEST) || self.canvas.is_resized() {
            self.draw(None, now);
        }
    }

    /// Writes a line above the bars, or where they were.
    pub(crate) fn line(&mut self, text: &str) {
        if self.is_over {
            self.canvas.put(Some(text), &[]);
        } else {
            self.draw(Some(text), Instant::now());
        }
    }

    /// Takes the bars away. May be called again.
    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.canvas.put(None, &[]);
        }
    }

    fn draw(&mut self, above: Option<&str>, now: Instant) {
        let (columns, _) = self.canvas.size();
        let lines = self.facts.frame(now, columns, self.look);
        self.canvas.put(above, &lines);
        self.drawn = Some(now);
    }
}

impl Facts {
    fn hear(&mut self, event: &PushEvent, now: Instant) {
        match event {
            PushEvent::Planned { send, bytes, .. } => (self.files, self.bytes) = (*send, *bytes),
            PushEvent::Sending { path, .. } => {
                self.moving.insert(path.clone(), 0);
            }
            PushEvent::Progress { path, bytes } => {
                let before = self.moving.insert(path.clone(), *bytes).unwrap_or(0);
                self.meter.observe(now, bytes.saturating_sub(before));
            }
            PushEvent::Sent { path, size, .. } => {
                self.moving.remove(path);
                self.sent_files += 1;
                self.sent_bytes += size;
            }
            PushEvent::Retrying { path: Some(path), .. } | PushEvent::Failed { path: Some(path), .. } => {
                self.moving.remove(path);
            }
            PushEvent::Waiting { status, .. } => self.waiting = Some(status.as_str().to_owned()),
            _ => {}
        }
    }

    fn frame(&mut self, now: Instant, columns: usize, look: Look) -> Vec<String> {
        if self.files == 0 && self.waiting.is_none() {
            return Vec::new();
        }
        let dots = if look.unicode { "…" } else { "..." };
        if let Some(status) = &self.waiting {
            return vec![cut(format!("{}  {status}, waiting for READY {dots}", self.name), columns)];
        }
        let done = self.sent_bytes + self.moving.values().sum::<u64>();
        let rate = self.meter.rate(now);
        let left = (rate > 0).then(|| Duration::from_secs(self.bytes.saturating_sub(done) / rate));
        let left = left.map_or_else(String::new, |left| format!("  {} left", countdown(left)));
        let bar =
            |done, of| if columns >= 60 { format!("{}  ", look.bar(done, of, BAR)) } else { String::new() };
        vec![
            cut(
                format!("files  {}{} of {}", bar(self.sent_files, self.files), self.sent_files, self.files),
                columns,
            ),
            cut(
                format!(
                    "bytes  {}{} of {}  {}/s{left}",
                    bar(done, self.bytes),
                    ByteCount(done),
                    ByteCount(self.bytes),
                    ByteCount(rate)
                ),
                columns,
            ),
        ]
    }
}

fn cut(line: String, columns: usize) -> String {
    line.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::datasets::push::sending::Route;

    #[test]
    fn files_bytes_and_the_time_left() {
        let mut facts = UploadView::new(
            crate::cli::process::fake::Written::default().terminal(),
            Look::default(),
            Shrinking::Rewraps,
            "dog".to_owned(),
        )
        .facts;
        let began = Instant::now();
        let path = |name: &str| name.to_owned();
        assert_eq!(facts.frame(began, 80, Look::default()), [""; 0]);
        facts.hear(&PushEvent::Planned { send: 4, bytes: 4000, present: 0, same_length: 0 }, began);
        facts.hear(&PushEvent::Sending { path: path("a"), size: 1000, route: Route::Multipart }, began);
        facts.hear(&PushEvent::Progress { path: path("a"), bytes: 1000 }, began);
        let sha256 = crate::model::digest::Sha256Digest::new([0; 32]);
        facts.hear(&PushEvent::Sent { path: path("a"), size: 1000, sha256, elapsed: Duration::ZERO }, began);
        facts.hear(&PushEvent::Sending { path: path("b"), size: 1000, route: Route::Multipart }, began);
        facts.hear(&PushEvent::Progress { path: path("b"), bytes: 500 }, began);
        let later = began + Duration::from_secs(1);
        assert_eq!(
            facts.frame(later, 80, Look::default()),
            [
                "files  =====---------------  1 of 4",
                "bytes  =======-------------  1.5 KiB of 3.9 KiB  1.5 KiB/s  1 s left",
            ]
        );
        facts.hear(&PushEvent::Retrying { path: Some(path("b")), cause: path("x"), wait: SHORTEST }, later);
        assert!(
            facts.frame(later, 80, Look::default())[1].contains("1000 B of"),
            "a broken try counts for nothing"
        );
    }
}
