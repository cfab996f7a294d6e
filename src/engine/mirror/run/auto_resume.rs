//! The job's life while it is followed: counted resumptions, resuming it, and the alarm for a job without progress.

use std::time::Duration;

use crate::decide::mirror::auto_resume::{AutoResume, Next, Seen, Stopped, WillResume};
use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::mirror::stall_alert::{Alarm, Sign};
use crate::engine::event::{Event, Notice, ResumeReason};
use crate::engine::mirror::poll::outage;
use crate::engine::options::SyncOptions;
use crate::error::ApiError;
use crate::model::job::JobStatus;

use super::{Pass, Run};

/// The longest wait between two polls where the user did not set one.
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

    /// Resumes the job where the options ask for it. Returns how long to wait for the next poll where the job's end may not be
    /// final.
    pub(super) async fn keep_going(&mut self, looked: &JobSnapshot, pass: &Pass) -> Option<Duration> {
        let run = looked.run();
        let state = pass.state.unwrap_or(RunState::Queued);
        let seen = Seen { state, run: &run, progress: &looked.status.progress };
        match self.life.auto_resume.next(self.began.elapsed(), &seen) {
            Next::Leave => None,
            Next::GiveUp { stopped, times } => {
                self.tell_notice(Notice::LeftAlone { job: self.mirror.job.clone(), stopped, times });
                None
            }
            Next::Wait { after, news } => {
                if let Some(WillResume { stopped, attempt, most }) = news {
                    self.tell_notice(Notice::WillResume { stopped, after, attempt, most });
                }
                self.reporter.report(&Event::Waiting { wait: after });
                Some(after)
            }
            Next::Resume { attempt, most, stopped } => {
                self.resume(looked, &run, (attempt, most), stopped).await
            }
        }
    }

    async fn resume(
        &mut self,
        looked: &JobSnapshot,
        run: &str,
        attempt: (u32, u32),
        stopped: Stopped,
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
                let reason = ResumeReason::Stopped(stopped);
                self.reporter.report(&Event::Resumed { attempt: Some(attempt), step, reason });
                self.life.auto_resume.sent(now, run);
            }
            // Never sent again before polls have shown for a while that it had no effect: an answer without a meaning may
            // come from a server that took the request.
            Err(ApiError::Unknown { cause } | ApiError::Unintelligible { why: cause }) => {
                self.tell_notice(Notice::ResumeUnknown { cause });
                self.life.auto_resume.sent(now, run);
            }
            Err(fault) if fault.is_transient() => {
                let wait = self.life.auto_resume.not_sent(now, fault.retry_after());
                self.reporter.report(&outage(&fault, wait));
            }
            Err(fault) => {
                self.tell_notice(Notice::NotResumed(fault));
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

    fn tell_notice(&self, notice: Notice) {
        self.reporter.report(&Event::Notice { notice });
    }
}
