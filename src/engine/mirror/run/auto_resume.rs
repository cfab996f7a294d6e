//! The job's life while it is followed: counted resumptions, `--auto-resume`, and the alarm for a job that went silent.

use std::time::Duration;

use crate::decide::mirror::auto_resume::{AutoResume, Next, Seen};
use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::mirror::stall_alert::{Alarm, Sign};
use crate::engine::event::Event;
use crate::engine::mirror::poll::outage;
use crate::engine::options::SyncOptions;
use crate::error::ApiError;
use crate::model::job::JobStatus;

use super::{Pass, Run};

/// The longest wait between two looks where the user did not say.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// What one follow knows of the job's life.
#[derive(Debug)]
pub(super) struct Life {
    auto_resume: AutoResume,
    alarm: Alarm,
    resumes: Resumes,
}

impl Life {
    pub(super) fn new(options: &SyncOptions, resumes: Resumes) -> Self {
        let old = options.resumed_after.as_ref();
        let old = old.map(|times| run_stamp(&JobStatus::Stopped, times, resumes.count));
        let auto_resume = AutoResume::new(options.auto_resume, options.interval, old);
        Self { auto_resume, alarm: Alarm::default(), resumes }
    }

    pub(super) fn count(&mut self, looked: &mut JobSnapshot) {
        self.resumes.count(looked);
    }
}

impl Run {
    /// Raises the alarm when the job has made nothing for far too long.
    pub(super) fn watch(&mut self, pass: &Pass) {
        let sign = Sign {
            state: pass.state.unwrap_or(RunState::Queued),
            step: pass.step,
            newest: pass.newest,
            save_every: pass.save_every,
            seconds_a_step: self.cadence.seconds_a_step(),
            between_looks: self.mirror.options.interval.unwrap_or(BETWEEN_LOOKS),
        };
        if let Some(stall) = self.life.alarm.next(self.began.elapsed(), &sign) {
            self.reporter.report(&Event::Stalled {
                step: pass.step,
                quiet: stall.quiet,
                usual: stall.usual,
                job: self.mirror.job.clone(),
            });
        }
    }

    /// Does what `--auto-resume` asks for. Returns how long to wait for the next look where the job's end is not the last
    /// word.
    pub(super) async fn keep_going(&mut self, looked: &JobSnapshot, pass: &Pass) -> Option<Duration> {
        let run = looked.run();
        let state = pass.state.unwrap_or(RunState::Queued);
        let seen = Seen { state, run: &run, progress: &looked.status.progress };
        match self.life.auto_resume.next(self.began.elapsed(), &seen) {
            Next::Leave => None,
            Next::GiveUp { message } => {
                let job = &self.mirror.job;
                self.tell_notice(format!("{message}; `rcsync resume {job} --follow` lets it go on"));
                None
            }
            Next::Wait { after, message } => {
                if let Some(message) = message {
                    self.tell_notice(message);
                }
                self.reporter.report(&Event::Waiting { wait: after });
                Some(after)
            }
            Next::Resume { attempt, most, reason } => {
                self.resume(looked, &run, (attempt, most), reason).await
            }
        }
    }

    async fn resume(
        &mut self,
        looked: &JobSnapshot,
        run: &str,
        attempt: (u32, u32),
        reason: String,
    ) -> Option<Duration> {
        let answer = tokio::select! {
            biased;
            // The loop ends by itself; whether the request arrived does not matter to what is here.
            () = self.stop.token().cancelled() => return Some(Duration::ZERO),
            answer = self.mirror.api.resume(&self.mirror.job) => answer,
        };
        let now = self.began.elapsed();
        match answer {
            Ok(_) => {
                let step = looked.status.progress.current_step;
                self.reporter.report(&Event::Resumed { attempt: Some(attempt), step, reason });
                self.life.auto_resume.sent(now, run);
            }
            // Never sent again before looks have shown for a while that nothing came of it. An answer that says nothing
            // came from somebody who may have taken the request.
            Err(ApiError::Unknown { cause } | ApiError::Unintelligible { why: cause }) => {
                self.tell_notice(format!("it is unknown whether the API resumed the job ({cause}): looking"));
                self.life.auto_resume.sent(now, run);
            }
            Err(fault) if fault.is_transient() => {
                let wait = self.life.auto_resume.not_sent(now, fault.retry_after());
                self.reporter.report(&outage(&fault, wait));
            }
            Err(fault) => {
                self.tell_notice(format!("the job could not be resumed: {fault}"));
                self.life.auto_resume.refused(run);
                return None;
            }
        }
        let seen = Seen { state: RunState::StoppedEarly, run, progress: &looked.status.progress };
        match self.life.auto_resume.next(now, &seen) {
            Next::Wait { after, .. } => Some(after),
            _ => Some(Duration::ZERO),
        }
    }

    fn tell_notice(&self, message: String) {
        self.reporter.report(&Event::Notice { message });
    }
}
