//! What the view knows: the job, its pace, and the transfers under way. Events and time come in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cli::reporters::throughput::Meter;
use crate::engine::event::Event;
use crate::model::artifact::ArtifactKind;
use crate::model::job::{JobStatus, Progress};
use crate::model::names::rel_path::RelPath;

/// Everything known from events so far.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The job's name and state, once it was looked at.
    pub(super) job: Option<(Option<String>, JobStatus)>,
    pub(super) progress: Progress,
    /// When the progress was seen.
    seen: Option<Instant>,
    seconds_a_step: Option<f64>,
    next_save: Option<u64>,
    /// Files and bytes of DIR that were read to compare them, of how many, while they are read.
    pub(super) checking: Option<[u64; 4]>,
    /// Files that are here and verified.
    pub(super) present: u64,
    /// Bytes a second over all transfers.
    pub(super) meter: Meter,
    transfers: HashMap<RelPath, Transfer>,
}

/// One file on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) kind: ArtifactKind,
    pub(super) step: Option<u64>,
    pub(super) have: u64,
    pub(super) size: Option<u64>,
    pub(super) meter: Meter,
    /// Until when it waits for another try.
    waits: Option<Instant>,
}

impl Facts {
    pub(super) fn apply(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Job { name, status, progress, .. } => {
                if progress.current_step != self.progress.current_step {
                    self.seen = Some(now);
                }
                if *status != JobStatus::Running {
                    (self.seconds_a_step, self.next_save) = (None, None);
                }
                self.job = Some((name.clone(), status.clone()));
                self.progress = *progress;
            }
            Event::Pace { seconds_a_step, next_save } => {
                (self.seconds_a_step, self.next_save) = (*seconds_a_step, *next_save);
            }
            Event::Checking { files, of, bytes, of_bytes } => {
                self.checking = (files < of).then_some([*files, *of, *bytes, *of_bytes]);
            }
            Event::Plan { present, .. } => self.present = *present,
            Event::Started { path, kind, step, size, resumed_from } => {
                let transfer = self.transfer(path);
                (transfer.kind, transfer.step) = (*kind, *step);
                (transfer.have, transfer.size) = (*resumed_from, size.or(transfer.size));
            }
            Event::Received { path, have, size } => {
                let transfer = self.transfer(path);
                let more = have.saturating_sub(transfer.have);
                (transfer.have, transfer.size) = (*have, size.or(transfer.size));
                transfer.waits = None;
                transfer.meter.observe(now, more);
                self.meter.observe(now, more);
            }
            Event::Retrying { path: Some(path), wait, .. } => {
                if let Some(transfer) = self.transfers.get_mut(path) {
                    transfer.waits = Some(now + *wait);
                }
            }
            Event::Published { path, .. } => {
                self.transfers.remove(path);
                self.present += 1;
            }
            Event::Settling { path, .. } | Event::Vanished { path } | Event::Failed { path, .. } => {
                self.transfers.remove(path);
            }
            _ => {}
        }
    }

    fn transfer(&mut self, path: &RelPath) -> &mut Transfer {
        self.transfers.entry(path.clone()).or_insert_with(|| Transfer {
            kind: ArtifactKind::Sample,
            step: None,
            have: 0,
            size: None,
            meter: Meter::default(),
            waits: None,
        })
    }

    /// Returns what a step takes, while the job trains.
    pub(super) fn seconds_a_step(&self) -> Option<f64> {
        self.seconds_a_step.filter(|_| !self.progress.is_complete())
    }

    /// Returns how long it is until the last step.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.until(self.progress.total_steps.filter(|total| *total > 0)?, now)
    }

    /// Returns the next save and how long it is until then.
    pub(super) fn next_save(&self, now: Instant) -> Option<(u64, Option<Duration>)> {
        let step = self.next_save.filter(|_| !self.progress.is_complete())?;
        Some((step, self.until(step, now)))
    }

    fn until(&self, step: u64, now: Instant) -> Option<Duration> {
        let (seen, reached) = (self.seen?, self.progress.current_step?);
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let seconds = self.seconds_a_step()? * step.saturating_sub(reached) as f64;
        let whole = Duration::try_from_secs_f64(seconds).ok()?;
        Some(whole.saturating_sub(now.duration_since(seen)))
    }

    /// A run of the job has ended: nothing is under way any more.
    pub(super) fn leave(&mut self) {
        self.transfers.clear();
    }

    /// Returns how many transfers are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.transfers.len()
    }

    /// Returns the transfers in the order in which they matter: checkpoints first, the oldest on top, because the
    /// trainer deletes it next.
    pub(super) fn transfers(&mut self) -> Vec<(&RelPath, &mut Transfer)> {
        let mut sorted: Vec<_> = self.transfers.iter_mut().collect();
        sorted.sort_by_key(|(path, transfer)| {
            (transfer.kind != ArtifactKind::Checkpoint, transfer.step.unwrap_or(u64::MAX), *path)
        });
        sorted
    }

    /// Whether the trainer may delete files to make room for new ones.
    pub(super) fn may_delete(&self) -> bool {
        self.job.as_ref().is_some_and(|(_, status)| status.may_write())
    }
}

/// What a transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Bytes come, and the last of them is so far away.
    Coming(Duration),
    /// Nothing arrives at the moment, or how much is left is unknown.
    Unknown,
    /// It waits for another try.
    Waiting(Duration),
    /// All bytes are here; they are verified and the file gets its name.
    Proving,
}

impl Transfer {
    pub(super) fn doing(&mut self, now: Instant) -> Doing {
        let rate = self.meter.rate(now);
        let waits = self.waits.and_then(|until| until.checked_duration_since(now));
        match (self.size, waits) {
            (Some(size), _) if self.have >= size => Doing::Proving,
            (_, Some(wait)) if !wait.is_zero() => Doing::Waiting(wait),
            (Some(size), _) if rate > 0 => {
                Doing::Coming(Duration::from_secs((size - self.have).div_ceil(rate)))
            }
            _ => Doing::Unknown,
        }
    }
}
