//! The job's life during a run: counted resumptions, resuming it, and the alarm for a job without progress.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::mirror::auto_resume::{AutoResume, Next, Seen, Stopped, WillResume};
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::mirror::stall_alert::{Alarm, Sign};
use crate::edge::api::ApiClient;
use crate::engine::event::{Event, Notice, Reporter, ResumeReason};
use crate::engine::mirror::poll::outage;
use crate::engine::options::SyncOptions;
use crate::error::ApiError;
use crate::model::job::{JobId, JobStatus};

use super::Run;

/// The longest wait between two polls where the user did not set one.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// What one run knows of the job's life.
#[derive(Debug)]
pub(crate) struct Life {
    auto_resume: AutoResume,
    alarm: Alarm,
    resumes: Resumes,
}

/// The run that a life belongs to.
pub(crate) struct Around<'a> {
    pub(crate) api: &'a ApiClient,
    pub(crate) job: &'a JobId,
    pub(crate) reporter: &'a dyn Reporter,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) began: Instant,
}

impl Around<'_> {
    fn notice(&self, notice: Notice) {
        self.reporter.report(&Event::Notice { notice });
    }
}

impl Life {
    pub(crate) fn new(options: &SyncOptions, resumes: Resumes) -> Self {
        let old = options.resumed_after.as_ref();
        let old = old.map(|times| run_stamp(&JobStatus::Stopped, times, resumes.count));
        let auto_resume = AutoResume::new(options.auto_resume, options.interval, old);
        Self { auto_resume, alarm: Alarm::default(), resumes }
    }

    /// Continues from what another process recorded meanwhile.
    pub(crate) fn recall(&mut self, resumes: Resumes) {
        self.resumes = resumes;
    }

    /// Whether a job in this state is resumed by this run.
    pub(crate) fn resumes(&self, state: RunState) -> bool {
        self.auto_resume.is_due_for(state)
    }

    pub(crate) fn count(&mut self, looked: &mut JobSnapshot) {
        self.resumes.count(looked);
    }

    /// Raises the alarm when the job has made nothing for far too long.
    pub(crate) fn watch(&mut self, around: &Around<'_>, sign: &Sign) {
        if let Some(stall) = self.alarm.next(around.began.elapsed(), sign) {
            around.reporter.report(&Event::Stalled {
                step: sign.step,
                quiet: stall.quiet,
                usual: stall.usual,
                job: around.job.clone(),
            });
        }
    }

    /// Resumes the job where the options ask for it. Returns how long to wait for the next poll where the job's end may not be
    /// final.
    pub(crate) async fn keep_going(
        &mut self,
        around: &Around<'_>,
        looked: &JobSnapshot,
        state: RunState,
    ) -> Option<Duration> {
        let run = looked.run();
        let seen = Seen { state, run: &run, progress: &looked.status.progress };
        match self.auto_resume.next(around.began.elapsed(), &seen) {
            Next::Leave => None,
            Next::GiveUp { stopped, times } => {
                around.notice(Notice::LeftAlone { job: around.job.clone(), stopped, times });
                None
            }
            Next::Wait { after, news } => {
                if let Some(WillResume { stopped, attempt, most }) = news {
                    around.notice(Notice::WillResume { stopped, after, attempt, most });
                }
                around.reporter.report(&Event::Waiting { wait: after });
                Some(after)
            }
            Next::Resume { attempt, most, stopped } => {
                self.resume(around, looked, &run, (attempt, most), stopped).await
            }
        }
    }

    async fn resume(
        &mut self,
        around: &Around<'_>,
        looked: &JobSnapshot,
        run: &str,
        attempt: (u32, u32),
        stopped: Stopped,
    ) -> Option<Duration> {
        let answer = tokio::select! {
            biased;
            // The loop ends by itself; whether the request arrived does not matter to what is here.
            () = around.cancel.cancelled() => return Some(Duration::ZERO),
            answer = around.api.resume(around.job) => answer,
        };
        let now = around.began.elapsed();
        match answer {
            Ok(_) => {
                let step = looked.status.progress.current_step;
                let reason = ResumeReason::Stopped(stopped);
                around.reporter.report(&Event::Resumed { attempt: Some(attempt), step, reason });
                self.auto_resume.sent(now, run);
            }
            // Never sent again before polls have shown for a while that it had no effect: an answer without a meaning may
            // come from a server that took the request.
            Err(fault @ (ApiError::Unknown { .. } | ApiError::Unintelligible { .. })) => {
                around.notice(Notice::ResumeUnknown(fault));
                self.auto_resume.sent(now, run);
            }
            Err(fault) if fault.is_transient() => {
                let wait = self.auto_resume.not_sent(now, fault.retry_after());
                around.reporter.report(&outage(&fault, wait));
            }
            Err(fault) => {
                around.notice(Notice::NotResumed(fault));
                self.auto_resume.refused(run);
                return None;
            }
        }
        let seen = Seen { state: RunState::StoppedEarly, run, progress: &looked.status.progress };
        match self.auto_resume.next(now, &seen) {
            Next::Wait { after, .. } => Some(after),
            _ => Some(Duration::ZERO),
        }
    }
}

impl Run {
    /// Raises the alarm when the job has made nothing for far too long.
    pub(super) fn watch(&mut self, pass: &Pass) {
        let between_looks = self.mirror.options.interval.unwrap_or(BETWEEN_LOOKS);
        let sign = pass.sign(self.cadence.seconds_a_step(), between_looks);
        let (life, around) = self.life();
        life.watch(&around, &sign);
    }

    /// Resumes the job where the options ask for it. Returns how long to wait for the next poll where the job's end may not be
    /// final.
    pub(super) async fn keep_going(&mut self, looked: &JobSnapshot, pass: &Pass) -> Option<Duration> {
        let (life, around) = self.life();
        life.keep_going(&around, looked, pass.state.unwrap_or(RunState::Queued)).await
    }

    fn life(&mut self) -> (&mut Life, Around<'_>) {
        let around = Around {
            api: &self.mirror.api,
            job: &self.mirror.job,
            reporter: self.reporter.as_ref(),
            cancel: self.stop.token(),
            began: self.began,
        };
        (&mut self.life, around)
    }
}
