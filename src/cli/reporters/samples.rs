//! One of each event, for the tests of everything that shows events.

use std::time::Duration;

use crate::decide::mirror::auto_resume::Stopped;
use crate::decide::mirror::plan::PlannedStep;
use crate::decide::transfer::task::FailureCause;
use crate::engine::event::{Event, Notice, ResumeReason, RetryCause};
use crate::error::{ApiError, BucketError, ExitStatus, Unanswered};
use crate::model::artifact::ArtifactKind;
use crate::model::digest::Sha256Digest;
use crate::model::error_code::ErrorCode;
use crate::model::evidence::Evidence;
use crate::model::fault::Fault;
use crate::model::job::{JobId, JobStatus, Progress};
use crate::model::names::rel_path::RelPath;
use crate::model::transport_fault::TransportFault;
use crate::model::unusable::UnusableRow;

pub(crate) fn job() -> JobId {
    "abc-1".parse().unwrap()
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

pub(crate) fn running(step: u64) -> Event {
    Event::Job {
        name: Some("dog".to_owned()),
        status: JobStatus::Running,
        progress: Progress { current_step: Some(step), total_steps: Some(2000), percent: None },
        error: None,
    }
}

pub(crate) fn published() -> Event {
    Event::Published {
        path: path("dog_000000250.safetensors"),
        kind: ArtifactKind::Checkpoint,
        step: Some(250),
        size: 171_863_244,
        sha256: Sha256Digest::new([0xab; 32]),
        evidence: Evidence::TrainerHash,
        elapsed: Duration::from_micros(4_250_900),
    }
}

pub(crate) fn done(exit: ExitStatus, published: u64, failed: u64) -> Event {
    let elapsed = Duration::from_secs(80);
    Event::Done {
        exit,
        published,
        bytes: published * 171_863_244,
        present: 5 + published,
        failed,
        elapsed,
        job_status: Some(JobStatus::Running),
        next_look: Some(Duration::from_secs(15)),
    }
}

pub(crate) fn refused() -> FailureCause {
    FailureCause::Network(Fault::Status { status: 403, retry_after: None, excerpt: None })
}

pub(crate) fn every_event() -> Vec<Event> {
    let checkpoint = || path("dog_000000250.safetensors");
    let next = || path("dog_000000500.safetensors");
    let sample = || path("samples/1__000000250_0.jpg");
    let kind = ArtifactKind::Checkpoint;
    let size = Some(171_863_244);
    vec![
        Event::Submitted { job: "abc-1".parse().unwrap(), name: Some("dog".to_owned()) },
        Event::Resumed {
            attempt: Some((1, 3)),
            step: Some(700),
            reason: ResumeReason::Stopped(Stopped { step: Some(700), total_steps: Some(2000) }),
        },
        Event::Resumed { attempt: None, step: None, reason: ResumeReason::Asked },
        running(320),
        Event::Checking { files: 3, of: 120, bytes: 42 << 20, of_bytes: 84 << 20 },
        Event::Plan { fetch: 2, ask: 0, bytes: None, present: 5 },
        Event::Planned { path: checkpoint(), kind, action: PlannedStep::Fetch },
        Event::Started { path: checkpoint(), kind, step: Some(250), size, resumed_from: 1024 },
        Event::Received { path: checkpoint(), have: 2048, size },
        published(),
        Event::Settling { path: next(), declared: size, have: 1024 },
        Event::Retrying {
            path: Some(next()),
            cause: RetryCause::File(FailureCause::Network(Fault::Interrupted {
                received: 7,
                cause: TransportFault::Other("connection reset".to_owned()),
            })),
            wait: Duration::from_millis(1500),
        },
        Event::Retrying {
            path: None,
            cause: RetryCause::Api(ApiError::Server {
                status: 503,
                message: String::new(),
                code: ErrorCode::new("50301"),
                retry_after: None,
            }),
            wait: Duration::from_secs(2),
        },
        Event::Retrying {
            path: None,
            cause: RetryCause::Store(Box::new(BucketError::Away {
                to: "s3://loras/dog".to_owned(),
                cause: Unanswered::TimedOut { after: Duration::from_secs(30) },
            })),
            wait: Duration::from_millis(500),
        },
        Event::Vanished { path: sample() },
        Event::Failed { path: sample(), cause: refused() },
        Event::Mirrored { path: checkpoint(), to: "/ui/dog_250.safetensors".into(), how: "hardlink" },
        Event::Notice {
            notice: Notice::UnusableRow(UnusableRow::NoPath {
                place: "\u{1b}]0;title\u{7} \u{202e}".to_owned(),
            }),
        },
        Event::Pace { seconds_a_step: Some(1.5), next_save: Some(500) },
        Event::Stalled {
            job: job(),
            step: Some(700),
            quiet: Duration::from_secs(1080),
            usual: Duration::from_secs(350),
        },
        Event::Waiting { wait: Duration::from_secs(20) },
        done(ExitStatus::TryAgain, 1, 1),
    ]
}
