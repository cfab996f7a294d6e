//! A push as lines: files and bytes, how fast, how long it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cli::format::countdown;
use crate::cli::reporters::throughput::Meter;
use crate::engine::datasets::event::PushEvent;
use crate::model::units::ByteCount;

use super::Picture;
use super::frame::{Look, Paint, flow};

/// Columns of the bars: five percent each, where there is room.
const BAR: usize = 20;

/// From here on a line has a bar.
const WITH_BARS: usize = 60;

/// What is known of a push.
#[derive(Debug, Default)]
pub(crate) struct UploadFacts {
    /// The dataset's name.
    pub(crate) name: String,
    files: u64,
    sent_files: u64,
    bytes: u64,
    sent_bytes: u64,
    /// Bytes of files on their way.
    moving: BTreeMap<String, u64>,
    meter: Meter,
    waiting: Option<String>,
}

impl UploadFacts {
    /// Takes in an event.
    pub(crate) fn apply(&mut self, event: &PushEvent, now: Instant) {
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
}

impl Picture for UploadFacts {
    fn lines(&mut self, now: Instant, columns: usize, _: usize, look: Look) -> Vec<String> {
        if self.files == 0 && self.waiting.is_none() {
            return Vec::new();
        }
        let plain = |text: String| (text, Paint::Plain);
        if let Some(status) = &self.waiting {
            let dots = if look.unicode { "…" } else { "..." };
            let name = look.begin_of(&look.name(&self.name), columns / 2);
            let text = format!("{}, waiting for READY {dots}", look.name(status));
            return flow(vec![(name, Paint::Strong), plain(text)], columns, look);
        }
        let done = self.sent_bytes + self.moving.values().sum::<u64>();
        let rate = self.meter.rate(now);
        let bar = |done, of| (columns >= WITH_BARS).then(|| (look.bar(done, of, BAR), Paint::Good));
        let mut files = vec![plain("files".to_owned())];
        files.extend(bar(self.sent_files, self.files));
        files.push(plain(format!("{} of {}", self.sent_files, self.files)));
        let mut bytes = vec![plain("bytes".to_owned())];
        bytes.extend(bar(done, self.bytes));
        bytes.push(plain(format!("{} of {}", ByteCount(done), ByteCount(self.bytes))));
        bytes.push(plain(format!("{}/s", ByteCount(rate))));
        if let Some(left) = self.bytes.saturating_sub(done).checked_div(rate) {
            bytes.push(plain(format!("{} left", countdown(Duration::from_secs(left)))));
        }
        let mut lines = flow(files, columns, look);
        lines.extend(flow(bytes, columns, look));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::datasets::push::sending::Route;
    use crate::engine::datasets::event::RetriedPush;
    use crate::model::fault::LocalFault;

    #[test]
    fn files_bytes_and_the_time_left() {
        let mut facts = UploadFacts { name: "dog".to_owned(), ..UploadFacts::default() };
        let began = Instant::now();
        let path = |name: &str| name.to_owned();
        assert_eq!(facts.lines(began, 80, 24, Look::default()), [""; 0]);
        facts.apply(&PushEvent::Planned { send: 4, bytes: 4000, present: 0, same_length: 0 }, began);
        facts.apply(&PushEvent::Sending { path: path("a"), size: 1000, route: Route::Multipart }, began);
        facts.apply(&PushEvent::Progress { path: path("a"), bytes: 1000 }, began);
        let sha256 = crate::model::digest::Sha256Digest::new([0; 32]);
        facts.apply(&PushEvent::Sent { path: path("a"), size: 1000, sha256, elapsed: Duration::ZERO }, began);
        facts.apply(&PushEvent::Sending { path: path("b"), size: 1000, route: Route::Multipart }, began);
        facts.apply(&PushEvent::Progress { path: path("b"), bytes: 500 }, began);
        let later = began + Duration::from_secs(1);
        assert_eq!(
            facts.lines(later, 80, 24, Look::default()),
            [
                "files  =====---------------  1 of 4",
                "bytes  =======-------------  1.5 KiB of 3.9 KiB  1.5 KiB/s  1 s left",
            ]
        );
        facts.apply(
            &PushEvent::Retrying {
                path: Some(path("b")),
                cause: RetriedPush::after(LocalFault::Changed),
                wait: Duration::ZERO,
            },
            later,
        );
        assert!(
            facts.lines(later, 80, 24, Look::default())[1].contains("1000 B of"),
            "a broken try counts for nothing"
        );
    }
}
