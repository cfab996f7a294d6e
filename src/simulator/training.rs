//! A training run: what happens at which step, and what it leaves on the host.
//!
//! The one idea: no clock inside. A run is a function of its plan, its seed and the ticks it was given; a tick
//! is one step of training, or as much time in the queue or at the end.

mod output;

use crate::model::artifact::ArtifactKind;
use crate::model::job::JobStatus;
use crate::simulator::hosted_files::{Hosted, Shelf, Written};

use super::files::content::Content;
use super::plan::JobPlan;

/// Simulated time of one tick: what a step takes on a usual machine. More than a second, so that time stamps
/// in whole seconds tell ticks apart.
const TICK_MS: i64 = 1400;

/// Simulated time between the end of a run and its resumption.
const RESUME_MS: i64 = 600_000;

#[derive(Debug)]
pub(crate) struct Training {
    plan: JobPlan,
    config: String,
    folder: String,
    seed: u64,
    shelf: Shelf,
    status: JobStatus,
    queue_left: u64,
    step: u64,
    runs: u64,
    saves: u64,
    pending: Vec<Pending>,
    ending: Ending,
    error: Option<String>,
    result_error: Option<String>,
    times: Times,
}

/// The job's times, in simulated milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) now: i64,
    /// When it was submitted.
    pub(crate) created: i64,
    /// When the present run began.
    pub(crate) started: Option<i64>,
    /// When the present run ended.
    pub(crate) finished: Option<i64>,
}

/// A file that comes later than the one before it.
#[derive(Debug)]
struct Pending {
    wait: u64,
    what: Coming,
}

#[derive(Debug)]
enum Coming {
    /// The second half of a pair: it is begun when the first is whole.
    LowNoise {
        step: u64,
        stem: String,
    },
    Sample {
        step: u64,
        index: usize,
    },
}

/// What happens after the last step, while the status is still `RUNNING`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Save,
    Samples,
    Stop,
}

impl Training {
    /// A job that was just submitted. `folder` is the URL path of its output folder, `now` in milliseconds.
    pub(crate) fn new(plan: JobPlan, config: String, folder: String, seed: u64, now: i64) -> Self {
        Self {
            queue_left: plan.queue_steps,
            plan,
            config,
            folder,
            seed,
            shelf: Shelf::default(),
            status: JobStatus::InQueue,
            step: 0,
            runs: 0,
            saves: 0,
            pending: Vec::new(),
            ending: Ending::Save,
            error: None,
            result_error: None,
            times: Times { now, created: now, started: None, finished: None },
        }
    }

    pub(crate) fn plan(&self) -> &JobPlan {
        &self.plan
    }

    pub(crate) fn status(&self) -> &JobStatus {
        &self.status
    }

    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What the result says went wrong: also with a status that is no failure.
    pub(crate) fn result_error(&self) -> Option<&str> {
        self.result_error.as_deref().or(self.error.as_deref())
    }

    pub(crate) fn set_result_error(&mut self, error: Option<String>) {
        self.result_error = error;
    }

    pub(crate) fn times(&self) -> Times {
        self.times
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(crate) fn shelf_mut(&mut self) -> &mut Shelf {
        &mut self.shelf
    }

    /// Lets one tick pass. Nothing happens to a job that has ended.
    pub(crate) fn tick(&mut self) {
        match self.status {
            JobStatus::InQueue => {
                self.times.now += TICK_MS;
                if self.queue_left == 0 {
                    self.begin();
                } else {
                    self.queue_left -= 1;
                }
            }
            JobStatus::Running => self.run(),
            _ => {}
        }
    }

    /// Ends the waiting in the queue, then lets `ticks` ticks of training pass.
    pub(crate) fn advance(&mut self, ticks: u64) {
        if self.status == JobStatus::InQueue {
            self.begin();
        }
        for _ in 0..ticks {
            self.tick();
        }
    }

    /// Lets time pass until the job has ended, however long its files would be in writing.
    pub(crate) fn finish(&mut self) {
        while self.status.may_write() {
            self.finish_writes();
            self.advance(1);
        }
    }

    /// Completes all writes in progress.
    pub(crate) fn finish_writes(&mut self) {
        if !self.shelf.is_writing() {
            return;
        }
        self.times.now += TICK_MS;
        self.shelf.finish_writes(self.times.now);
        self.clean_up();
    }

    /// Lets time pass in which nothing is trained, for changes made by hand; returns the new time.
    pub(crate) fn pass_time(&mut self) -> i64 {
        self.times.now += TICK_MS;
        self.times.now
    }

    /// The machine is taken away: `STOPPED` before the last step, without an error.
    pub(crate) fn preempt(&mut self) {
        self.end(JobStatus::Stopped, None);
    }

    /// The run ends in an error.
    pub(crate) fn fail(&mut self, message: &str) {
        self.end(JobStatus::Failed, Some(message.to_owned()));
    }

    /// The user ends the run.
    pub(crate) fn cancel(&mut self) -> Result<(), String> {
        if !self.status.may_write() {
            return Err(format!("a job that is {} cannot be canceled", self.status));
        }
        self.end(JobStatus::Canceled, None);
        Ok(())
    }

    /// The user puts the job into the queue again, from its latest whole checkpoint.
    pub(crate) fn resume(&mut self) -> Result<(), String> {
        if self.status.may_write() {
            return Err(format!("a job that is {} cannot be resumed", self.status));
        }
        let whole = |file: &&&Hosted| {
            file.kind == ArtifactKind::Checkpoint && file.content.is_some() && file.written == Written::Whole
        };
        self.step = self.shelf.list().iter().filter(whole).filter_map(|file| file.step).max().unwrap_or(0);
        self.status = JobStatus::InQueue;
        self.queue_left = self.plan.queue_steps;
        self.times.now += RESUME_MS;
        self.times.finished = None;
        self.error = None;
        self.result_error = None;
        Ok(())
    }

    /// The user changes the configuration of a job that does not run.
    pub(crate) fn edit(&mut self, plan: JobPlan, config: String) -> Result<(), String> {
        if self.status.may_write() {
            return Err(format!("a job that is {} cannot be edited", self.status));
        }
        self.plan = plan;
        self.config = config;
        Ok(())
    }

    fn begin(&mut self) {
        self.status = JobStatus::Running;
        self.runs += 1;
        self.ending = Ending::Save;
        self.times.started = Some(self.times.now);
        let config = Content::bytes(self.config.clone().into_bytes());
        self.put(ArtifactKind::Config, "config.yaml".to_owned(), config, |_| {});
        if self.step == 0 && self.plan.first_sample {
            self.draw_samples(0);
        }
    }

    fn run(&mut self) {
        self.times.now += TICK_MS;
        if self.shelf.write_on(self.times.now) {
            self.clean_up();
        }
        self.release_pending();
        if self.step >= self.plan.steps {
            self.run_ending();
            return;
        }
        self.step += 1;
        let due = |every: u64| every > 0 && self.step.is_multiple_of(every) && self.step < self.plan.steps;
        let (save, sample) = (due(self.plan.save_every), due(self.plan.sample_every));
        if save {
            self.save(self.step, format!("{}_{:09}", self.plan.name, self.step));
        }
        if sample {
            self.draw_samples(self.step);
        }
        if self.plan.preempt_at == Some(self.step) && self.runs == 1 {
            self.preempt();
        }
    }

    fn run_ending(&mut self) {
        match self.ending {
            Ending::Save => {
                self.save(self.step, self.plan.name.clone());
                self.ending = Ending::Samples;
            }
            Ending::Samples if self.pending.is_empty() && !self.shelf.is_writing() => {
                if self.plan.sample_every > 0 {
                    self.draw_samples(self.step);
                }
                self.ending = Ending::Stop;
            }
            Ending::Stop if self.pending.is_empty() => self.end(JobStatus::Stopped, None),
            Ending::Samples | Ending::Stop => {}
        }
    }

    fn end(&mut self, status: JobStatus, error: Option<String>) {
        self.status = status;
        self.error = error;
        self.times.finished = Some(self.times.now);
        self.pending.clear();
        self.shelf.abandon_writes();
    }

    fn release_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for mut coming in pending {
            coming.wait = coming.wait.saturating_sub(1);
            let blocked = matches!(coming.what, Coming::LowNoise { .. }) && self.shelf.is_writing();
            if coming.wait > 0 || blocked {
                self.pending.push(coming);
                continue;
            }
            match coming.what {
                Coming::LowNoise { step, stem } => self.save_half(step, &stem, false),
                Coming::Sample { step, index } => self.draw_sample(step, index),
            }
        }
    }
}
