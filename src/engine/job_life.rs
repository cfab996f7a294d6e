//! The life of a job during a run: counted resumptions, resuming it, and the alarm for a job without progress.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::mirror::auto_resume::{AutoResume, Next, Seen, Stopped, WillResume};
use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::run_stamp;
use crate::decide::mirror::run_state::RunState;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::mirror::stall_alert::Alarm;
use crate::edge::api::ApiClient;
use crate::engine::event::{Event, Notice, Reporter, ResumeReason};
use crate::engine::options::SyncOptions;
use crate::engine::poll::outage;
use crate::engine::stop::Stop;
use crate::error::ApiError;
use crate::model::job::{JobId, JobStatus};

/// The longest wait between two polls where the user did not set one.
const BETWEEN_POLLS: Duration = Duration::from_secs(60);

/// What one run knows of the job's life.
pub(crate) struct Life {
    around: Around,
    /// The longest wait between two polls.
    between_polls: Duration,
    auto_resume: AutoResume,
    alarm: Alarm,
    resumes: Resumes,
}

/// The run that a life belongs to.
pub(crate) struct Around {
    pub(crate) api: ApiClient,
    pub(crate) job: JobId,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) stop: Stop,
    pub(crate) began: Instant,
}

impl Around {
    fn notice(&self, notice: Notice) {
        self.reporter.report(&Event::Notice { notice });
    }
}

impl Life {
    pub(crate) fn new(around: Around, options: &SyncOptions, resumes: Resumes) -> Self {
        Self {
            around,
            between_polls: options.interval.unwrap_or(BETWEEN_POLLS),
            auto_resume: auto_resume(options, &resumes),
            alarm: Alarm::default(),
            resumes,
        }
    }

    /// Begins from what an earlier run recorded, as if it had been known when this one began.
    #[cfg(any(test, feature = "buckets"))]
    pub(crate) fn begin_from(&mut self, options: &SyncOptions, resumes: Resumes) {
        self.auto_resume = auto_resume(options, &resumes);
        self.resumes = resumes;
    }

    /// Continues from what another process recorded meanwhile.
    #[cfg(feature = "buckets")]
    pub(crate) fn recall(&mut self, resumes: Resumes) {
        self.resumes = resumes;
    }

    /// Whether a job in this state is resumed by this run.
    #[cfg(feature = "buckets")]
    pub(crate) fn resumes(&self, state: RunState) -> bool {
        self.auto_resume.is_due_for(state)
    }

    pub(crate) fn count(&mut self, looked: &mut JobSnapshot) {
        self.resumes.count(looked);
    }

    /// Raises the alarm when the job has made nothing for far too long.
    pub(crate) fn watch(&mut self, pass: &Pass, seconds_a_step: Option<f64>) {
        let (around, sign) = (&self.around, pass.sign(seconds_a_step, self.between_polls));
        if let Some(stall) = self.alarm.next(around.began.elapsed(), &sign) {
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
    pub(crate) async fn keep_going(&mut self, looked: &JobSnapshot, pass: &Pass) -> Option<Duration> {
        let around = &self.around;
        let run = looked.run();
        let state = pass.state.unwrap_or(RunState::Queued);
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
        let around = &self.around;
        let answer = tokio::select! {
            biased;
            // The loop ends by itself; whether the request arrived does not matter to what is here.
            () = around.stop.token().cancelled() => return Some(Duration::ZERO),
            answer = around.api.resume(&around.job) => answer,
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

fn auto_resume(options: &SyncOptions, resumes: &Resumes) -> AutoResume {
    let old = options.resumed_after.as_ref();
    let old = old.map(|times| run_stamp(&JobStatus::Stopped, times, resumes.count));
    AutoResume::new(options.auto_resume, options.interval, old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::api::Limits;
    use crate::edge::api::token::TokenSource;
    use crate::model::job::{JobTimes, Progress, ResultAnswer, StatusAnswer};

    fn around() -> Around {
        let base = "https://api.example".parse().unwrap();
        Around {
            api: ApiClient::new(base, TokenSource::fixed("token"), Limits::default()).unwrap(),
            job: "job".parse().unwrap(),
            reporter: Arc::new(|_: &Event| {}),
            stop: Stop::new(),
            began: Instant::now(),
        }
    }

    fn stopped(times: &JobTimes) -> JobSnapshot {
        JobSnapshot {
            status: StatusAnswer {
                name: None,
                status: JobStatus::Stopped,
                progress: Progress::default(),
                error: None,
                times: times.clone(),
            },
            result: ResultAnswer {
                name: None,
                status: None,
                artifacts: Vec::new(),
                unreachable: Vec::new(),
                unusable: Vec::new(),
                error: None,
                times: times.clone(),
            },
            resumes: 0,
        }
    }

    /// How often a job was resumed is part of which end is the old one, known at the beginning or from a head read later.
    #[tokio::test]
    async fn the_end_before_a_resumption_is_waited_out() {
        let times = JobTimes {
            started_at: Some("2026-01-31T10:00:00".to_owned()),
            finished_at: Some("2026-01-31T12:00:00".to_owned()),
            ..JobTimes::default()
        };
        let options = SyncOptions { resumed_after: Some(times.clone()), ..SyncOptions::default() };
        let pass = Pass { state: Some(RunState::StoppedEarly), ..Pass::default() };
        let recorded = Resumes { last: Some(JobStatus::Stopped), count: 1 };
        let at_once = Life::new(around(), &options, recorded.clone());
        let mut later = Life::new(around(), &options, Resumes::default());
        later.begin_from(&options, recorded);
        let not_resumed = Life::new(around(), &SyncOptions::default(), Resumes::default());
        for (mut life, waits) in [(at_once, true), (later, true), (not_resumed, false)] {
            let mut looked = stopped(&times);
            life.count(&mut looked);
            assert_eq!(life.keep_going(&looked, &pass).await.is_some(), waits, "{:?}", life.resumes);
        }
    }
}
