//! All jobs of a simulated world.
//!
//! The one idea: a job is either trained or only listed; both look the same to the API and to the host.

use crate::model::job::{JobId, JobStatus, Progress};
use crate::simulator::hosted_files::{Hosted, Shelf, View, encode_segment};

use super::files::content::{Content, Recipe};
use super::files::noise;
use super::files::pictures::Picture;
use super::files::weights::Weights;
use super::plan::{Family, JobPlan, StaticBytes, StaticFile, StaticJob};
use super::submitted;
use super::training::{Times, Training};

/// The first job is submitted at 2026-01-31T12:00:00.143Z; the wall clock plays no part.
const EPOCH_MS: i64 = 1_769_860_800_143;

/// Simulated time from one submission to the next.
const SUBMISSION_MS: i64 = 60_000;

/// All jobs.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    jobs: Vec<Job>,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) life: Life,
}

/// Trained, or only listed.
#[derive(Debug)]
pub(crate) enum Life {
    Trained(Box<Training>),
    /// Only listed.
    Listed(Box<Listed>),
}

/// A job that is only a list.
#[derive(Debug)]
pub(crate) struct Listed {
    job: StaticJob,
    shelf: Shelf,
    times: Times,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, jobs: Vec::new() }
    }

    /// Submits a job; `config` is its YAML where that came from outside.
    pub(crate) fn submit(&mut self, plan: JobPlan, config: Option<String>) -> JobId {
        let ordinal = self.jobs.len();
        let folder = self.folder(&plan.name);
        let config = config.unwrap_or_else(|| submitted::yaml(&plan));
        let seed = noise::derive(self.seed, &format!("job {ordinal} {}", plan.name));
        let training = Training::new(plan, config, folder, seed, submission_ms(ordinal));
        self.push(Life::Trained(Box::new(training)))
    }

    /// Adds a job that is only a list.
    pub(crate) fn list(&mut self, job: StaticJob) -> JobId {
        let now = submission_ms(self.jobs.len());
        let times = Times { now, created: now, started: Some(now), finished: Some(now) };
        let listed = self.listed(job, times);
        self.push(Life::Listed(Box::new(listed)))
    }

    /// Puts another list in the place of the one that the job has; false when it is not such a job.
    pub(crate) fn relist(&mut self, id: &JobId, job: StaticJob) -> bool {
        let Some(Life::Listed(old)) = self.job(id).map(|job| &job.life) else { return false };
        let fresh = self.listed(job, old.times);
        let Some(job) = self.job_mut(id) else { return false };
        job.life = Life::Listed(Box::new(fresh));
        true
    }

    pub(crate) fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == *id)
    }

    pub(crate) fn job_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == *id)
    }

    /// Lets one tick pass for every job.
    pub(crate) fn tick(&mut self) {
        for job in &mut self.jobs {
            if let Life::Trained(training) = &mut job.life {
                training.tick();
            }
        }
    }

    /// Returns the file behind a URL's path. Where two jobs of one name share it, the later job's.
    pub(crate) fn find(&self, path: &str) -> Option<View> {
        self.jobs.iter().rev().find_map(|job| job.shelf().find(path))
    }

    /// Takes down that a request for `path` was answered with the other version of the file.
    pub(crate) fn remember_other(&mut self, path: &str) {
        if let Some(job) = self.jobs.iter_mut().rev().find(|job| job.shelf().find(path).is_some()) {
            match &mut job.life {
                Life::Trained(training) => training.shelf_mut().remember_other(path),
                Life::Listed(listed) => listed.shelf.remember_other(path),
            }
        }
    }

    fn push(&mut self, life: Life) -> JobId {
        let id = job_id(self.seed, self.jobs.len());
        self.jobs.push(Job { id: id.clone(), life });
        id
    }

    /// The URL path of a job's output folder, as the vendor's hosts have it.
    fn folder(&self, name: &str) -> String {
        let user = uuid(noise::derive(self.seed, "user"));
        format!("/train/users/{user}/ai-toolkit/output/{}/", encode_segment(name))
    }

    fn listed(&self, job: StaticJob, times: Times) -> Listed {
        let folder = self.folder(&job.name);
        let mut shelf = Shelf::default();
        for file in &job.files {
            shelf.put(self.hosted(&job.name, file, &folder, times.now));
        }
        Listed { job, shelf, times }
    }

    fn hosted(&self, name: &str, file: &StaticFile, folder: &str, now: i64) -> Hosted {
        let seed = noise::derive(self.seed, &format!("static {name} {}", file.path));
        let step = file.sample.as_ref().and_then(|sample| sample.step);
        let content = match &file.bytes {
            StaticBytes::Exact(bytes) => Content::bytes(bytes.clone()),
            StaticBytes::Noise { length } => Content::new(Recipe::Noise { seed, length: *length }),
            StaticBytes::Weights { bytes, step, hash } => Content::new(Recipe::Weights(Weights {
                name: name.to_owned(),
                step: *step,
                family: Family::Flux,
                seed,
                partner: None,
                bytes: *bytes,
                hash: *hash,
            })),
            StaticBytes::Picture { format, side } => Content::new(Recipe::Picture(Picture {
                seed,
                subject: seed,
                step: step.unwrap_or(0),
                total: 1000,
                prompt: file.sample.as_ref().and_then(|sample| sample.prompt.clone()).unwrap_or_default(),
                format: *format,
                side: *side,
            })),
            StaticBytes::Gone => Content::bytes(&b""[..]),
        };
        let mut hosted = Hosted::whole(file.kind, file.path.clone(), folder, content, now);
        if matches!(file.bytes, StaticBytes::Gone) {
            hosted.content = None;
        }
        hosted.step = match file.bytes {
            StaticBytes::Weights { step, .. } => Some(step),
            _ => step,
        };
        hosted.sample.clone_from(&file.sample);
        if let Some(raw_url) = &file.raw_url {
            hosted.url.clone_from(raw_url);
        }
        hosted
    }
}

impl Job {
    pub(crate) fn name(&self) -> &str {
        match &self.life {
            Life::Trained(training) => &training.plan().name,
            Life::Listed(listed) => &listed.job.name,
        }
    }

    pub(crate) fn status(&self) -> &JobStatus {
        match &self.life {
            Life::Trained(training) => training.status(),
            Life::Listed(listed) => &listed.job.status,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        match &self.life {
            Life::Trained(training) => {
                let (step, total) = (training.step(), training.plan().steps);
                // Whole percents, as in the documentation's example.
                let percent = u32::try_from(step.saturating_mul(100) / total.max(1)).map_or(100.0, f64::from);
                Progress { current_step: Some(step), total_steps: Some(total), percent: Some(percent) }
            }
            Life::Listed(listed) => listed.job.progress,
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match &self.life {
            Life::Trained(training) => training.error(),
            Life::Listed(listed) => listed.job.error.as_deref(),
        }
    }

    pub(crate) fn result_error(&self) -> Option<&str> {
        match &self.life {
            Life::Trained(training) => training.result_error(),
            Life::Listed(_) => self.error(),
        }
    }

    pub(crate) fn times(&self) -> Times {
        match &self.life {
            Life::Trained(training) => training.times(),
            Life::Listed(listed) if listed.job.status.may_write() => Times { finished: None, ..listed.times },
            Life::Listed(listed) => listed.times,
        }
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        match &self.life {
            Life::Trained(training) => training.shelf(),
            Life::Listed(listed) => &listed.shelf,
        }
    }

    /// Lets a little time pass, and gives the files and the new time for a change by hand.
    pub(crate) fn shelf_mut(&mut self) -> (&mut Shelf, i64) {
        match &mut self.life {
            Life::Trained(training) => {
                let now = training.pass_time();
                (training.shelf_mut(), now)
            }
            Life::Listed(listed) => {
                // More than a second, so that time stamps in whole seconds differ.
                listed.times.now += 1400;
                (&mut listed.shelf, listed.times.now)
            }
        }
    }

    pub(crate) fn training_mut(&mut self) -> Option<&mut Training> {
        match &mut self.life {
            Life::Trained(training) => Some(training),
            Life::Listed(_) => None,
        }
    }
}

fn submission_ms(ordinal: usize) -> i64 {
    EPOCH_MS + i64::try_from(ordinal).unwrap_or(0) * SUBMISSION_MS
}

fn job_id(seed: u64, ordinal: usize) -> JobId {
    let text = uuid(noise::derive(seed, &format!("job id {ordinal}")));
    text.parse().expect("a UUID is hex digits and hyphens: one path segment")
}

/// A version 4 UUID out of a seed.
pub(crate) fn uuid(seed: u64) -> String {
    let (high, low) = (noise::word(seed, 0), noise::word(seed, 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}
