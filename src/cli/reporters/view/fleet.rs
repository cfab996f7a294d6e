//! Many jobs as lines: one a job, the busiest first, and a summary below.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cli::format::{columns as columns_of, countdown, end_of, files};
use crate::engine::event::Event;
use crate::error::ExitStatus;
use crate::model::job::{JobId, JobStatus};
use crate::model::units::ByteCount;

use super::Picture;
use super::facts::Facts;
use super::frame::{Look, Paint, Piece, flow};

/// From here on a line has a bar of the training.
const WITH_BARS: usize = 72;

/// From here on it has the time that is left.
const WITH_TIME: usize = 56;

/// Columns of the longest name that is shown whole.
const LONGEST_NAME: usize = 40;

/// Columns of the longest state: `unknown`, `finished`, `canceled`.
const STATE: usize = 8;

/// Columns of the training's bar at most.
const BAR: usize = 20;

/// What is known of all jobs.
#[derive(Debug, Default)]
pub(crate) struct FleetFacts {
    jobs: BTreeMap<JobId, Job>,
}

#[derive(Debug, Default)]
struct Job {
    facts: Facts,
    /// How it ended for this fleet.
    over: Option<ExitStatus>,
    /// How its last run ended, and until when the next one waits.
    waits: Option<Instant>,
}

/// What a job does, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Fetching,
    Training,
    Waiting,
    Ended,
    Over,
}

impl FleetFacts {
    /// Takes a job onto the list.
    pub(crate) fn list(&mut self, job: &JobId) {
        self.jobs.entry(job.clone()).or_default();
    }

    /// Takes a job off the list.
    pub(crate) fn remove(&mut self, job: &JobId) {
        self.jobs.remove(job);
    }

    /// Takes in an event of a job.
    pub(crate) fn apply(&mut self, job: &JobId, event: &Event, now: Instant) {
        // One that was taken off the list ends a little later.
        let Some(job) = self.jobs.get_mut(job) else { return };
        job.waits = None;
        match event {
            Event::Done { next_look, .. } => {
                job.facts.leave();
                job.waits = next_look.map(|wait| now + wait);
            }
            _ => job.facts.apply(event, now),
        }
    }

    /// A job is over for this fleet.
    pub(crate) fn end(&mut self, job: &JobId, exit: ExitStatus) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.over = Some(exit);
        }
    }

    /// Describes how many jobs do what, for the service manager.
    #[cfg(unix)]
    pub(crate) fn summary(&self) -> String {
        let (jobs, parts) = self.counts();
        if parts.is_empty() { jobs } else { format!("{jobs}: {}", parts.join(", ")) }
    }

    fn counts(&self) -> (String, Vec<String>) {
        let count = |wanted: Doing| self.jobs.values().filter(|job| job.doing() == wanted).count();
        let training = self.jobs.values().filter(|job| job.is_training()).count();
        let failed = self.jobs.values().filter(|job| job.failed()).count();
        let over = count(Doing::Over) - failed;
        let jobs =
            if self.jobs.len() == 1 { "1 job".to_owned() } else { format!("{} jobs", self.jobs.len()) };
        let parts = [
            (training, "training"),
            (count(Doing::Fetching), "fetching"),
            (count(Doing::Waiting), "waiting"),
            (over, "over"),
            (failed, "not complete"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        (jobs, parts.map(|(count, words)| format!("{count} {words}")).collect())
    }

    /// Returns the files that are here, over all jobs.
    pub(crate) fn present(&self) -> u64 {
        self.jobs.values().map(|job| job.facts.present).sum()
    }
}

impl Job {
    fn doing(&self) -> Doing {
        match &self.facts.job {
            _ if self.over.is_some() => Doing::Over,
            _ if self.facts.in_flight() > 0 => Doing::Fetching,
            Some((_, JobStatus::Running | JobStatus::Other(_))) => Doing::Training,
            Some((_, JobStatus::InQueue)) | None => Doing::Waiting,
            Some(_) => Doing::Ended,
        }
    }

    fn is_training(&self) -> bool {
        let running = matches!(&self.facts.job, Some((_, JobStatus::Running | JobStatus::Other(_))));
        running && self.over.is_none()
    }

    fn failed(&self) -> bool {
        self.over.is_some_and(|exit| exit != ExitStatus::Complete)
    }

    fn state(&self, now: Instant) -> (String, Paint) {
        let waits = self.waits.and_then(|until| until.checked_duration_since(now));
        let (word, paint) = match (&self.over, &self.facts.job) {
            (Some(ExitStatus::Complete), Some((_, JobStatus::Stopped))) => ("finished", Paint::Plain),
            (Some(ExitStatus::Complete), _) => ("done", Paint::Plain),
            (Some(_), Some((_, JobStatus::Failed))) | (None, Some((_, JobStatus::Failed))) => {
                ("failed", Paint::Warning)
            }
            (_, Some((_, JobStatus::Canceled))) => ("canceled", Paint::Warning),
            (Some(exit), _) => return (format!("exit {}", exit.code()), Paint::Warning),
            (None, _) if waits.is_some() => ("waits", Paint::Warning),
            (None, None) => ("looking", Paint::Faint),
            (None, Some((_, JobStatus::InQueue))) => ("queued", Paint::Plain),
            (None, Some((_, JobStatus::Running))) => ("training", Paint::Good),
            (None, Some((_, JobStatus::Stopped))) => ("stopped", Paint::Plain),
            (None, Some((_, JobStatus::Other(_)))) => ("unknown", Paint::Warning),
        };
        (word.to_owned(), paint)
    }

    fn name<'j>(&'j self, id: &'j JobId) -> &'j str {
        self.facts.job.as_ref().and_then(|(name, _)| name.as_deref()).unwrap_or(id.as_str())
    }
}

impl Picture for FleetFacts {
    fn lines(&mut self, now: Instant, columns: usize, rows: usize, look: Look) -> Vec<String> {
        let mut rate = 0;
        let mut in_flight = 0;
        let mut order: Vec<(Doing, Reverse<u64>, Duration, JobId)> = Vec::new();
        for (id, job) in &mut self.jobs {
            let (doing, own) = (job.doing(), job.facts.meter.rate(now));
            rate += own;
            in_flight += job.facts.in_flight();
            order.push((doing, Reverse(own), job.facts.left(now).unwrap_or(Duration::MAX), id.clone()));
        }
        order.sort();
        let sum = self.sum(rate, in_flight, columns, look);
        // One line stays free for the cursor, one for those that are not shown.
        let room = rows.saturating_sub(sum.len() + 2);
        let hidden = order.len().saturating_sub(room);
        let named = order.iter().take(room);
        let name = |id: &JobId| self.jobs.get(id).map_or(0, |job| columns_of(&look.name(job.name(id))));
        let widest = named.clone().map(|(.., id)| name(id)).max().unwrap_or(0).min(LONGEST_NAME);
        let shown: Vec<JobId> = named.map(|(.., id)| id.clone()).collect();
        let space = Space { columns, name: widest.min(columns * 3 / 10), now };
        let mut lines: Vec<String> = shown
            .iter()
            .filter_map(|id| self.jobs.get_mut(id).map(|job| row(id, job, &space, look)))
            .collect();
        if hidden > 0 {
            let dots = if look.unicode { "…" } else { "..." };
            lines.push(look.paint(&format!("{dots} and {hidden} more"), Paint::Faint));
        }
        lines.extend(sum);
        lines.truncate(rows.saturating_sub(1));
        lines
    }
}

impl FleetFacts {
    fn sum(&self, rate: u64, in_flight: usize, columns: usize, look: Look) -> Vec<String> {
        let (jobs, parts) = self.counts();
        let mut pieces: Vec<Piece> = vec![(jobs, Paint::Strong)];
        pieces.extend(parts.into_iter().map(|part| (part, Paint::Plain)));
        pieces.push((format!("{} here", files(self.present())), Paint::Plain));
        if in_flight > 0 {
            pieces.push((format!("{in_flight} in flight"), Paint::Plain));
            pieces.push((format!("{}/s", ByteCount(rate)), Paint::Plain));
        }
        flow(pieces, columns, look)
    }
}

struct Space {
    columns: usize,
    name: usize,
    now: Instant,
}

fn row(id: &JobId, job: &mut Job, space: &Space, look: Look) -> String {
    let Space { columns, now, .. } = *space;
    let name = look.begin_of(&look.name(job.name(id)), space.name);
    let name = padded(name, space.name);
    let (state, paint) = job.state(now);
    let state = look.paint(&padded(state, STATE), paint);
    let mut line = format!("{}  {state}", look.paint(&name, Paint::Strong));
    let mut used = space.name + 2 + STATE;
    let done = job.facts.progress.percent_done();
    let bar = if columns >= WITH_BARS { (columns / 8).min(BAR) } else { 0 };
    if bar > 0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let drawn = done.map_or_else(
            || " ".repeat(bar),
            |percent| look.paint(&look.bar(percent.clamp(0.0, 100.0) as u64, 100, bar), Paint::Good),
        );
        line += &format!(" {drawn}");
        used += bar + 1;
    }
    let share =
        done.map_or_else(String::new, |percent| format!("{:.0} %", percent.clamp(0.0, 100.0).floor()));
    line += &format!(" {share:>5}");
    used += 6;
    if columns >= WITH_TIME {
        let left = job.facts.left(now).filter(|_| job.is_training()).map_or_else(String::new, countdown);
        line += &format!(" {left:>7}");
        used += 8;
    }
    let fetched = fetched(job, columns.saturating_sub(used + 2), now, look);
    format!("{line}  {fetched}").trim_end().to_owned()
}

/// What is on its way, in so many columns: the rate, the most urgent file and how many more.
fn fetched(job: &mut Job, room: usize, now: Instant, look: Look) -> String {
    let rate = job.facts.meter.rate(now);
    let mut transfers = job.facts.transfers();
    let count = transfers.len();
    let Some((path, transfer)) = transfers.first_mut() else { return String::new() };
    let share = transfer.size.filter(|size| *size > 0).map_or_else(String::new, |size| {
        format!(" {} %", u128::from(transfer.have.min(size)) * 100 / u128::from(size))
    });
    let more = if count > 1 { format!(" +{}", count - 1) } else { String::new() };
    let rate = format!("{}/s", ByteCount(rate));
    let tail = format!("{share}{more}");
    let name_room = room.saturating_sub(columns_of(&rate) + 2 + columns_of(&tail));
    let file = || {
        let name = look.name(path.as_str());
        format!("{rate:>10}  {}{tail}", end_of(&name, name_room.saturating_sub(2), look.dots()))
    };
    let texts = [
        if name_room < 12 { format!("{rate:>10}{tail}") } else { file() },
        format!("{rate}{more}"),
        rate.clone(),
        if count == 1 { "1 file".to_owned() } else { format!("{count} files") },
    ];
    texts.into_iter().find(|text| columns_of(text) <= room).unwrap_or_default()
}

fn padded(text: String, columns: usize) -> String {
    let missing = columns.saturating_sub(columns_of(&text));
    text + &" ".repeat(missing)
}

#[cfg(test)]
mod tests;
