use std::time::Duration;

use super::*;
use crate::cli::process::fake::Written;
use crate::decide::datasets::push::sending::Route;
use crate::engine::datasets::event::{FailedPush, Meanwhile, PushNotice, RetriedPush};
use crate::error::ApiError;
use crate::model::dataset::DatasetStatus;
use crate::model::digest::Sha256Digest;
use crate::model::fault::LocalFault;

fn every_event() -> Vec<PushEvent> {
    let path = || "dog 1.jpg".to_owned();
    let busy = ApiError::Server {
        status: 503,
        message: String::new(),
        code: ErrorCode::new("50301"),
        retry_after: None,
    };
    let sha256: Sha256Digest = "ab".repeat(32).parse().unwrap();
    let elapsed = Duration::from_micros(1_234_567);
    vec![
        PushEvent::Planned { send: 3, bytes: 4096, present: 2, same_length: 1 },
        PushEvent::Created { id: "ds-1".to_owned() },
        PushEvent::Sending { path: path(), size: 1024, route: Route::Multipart },
        PushEvent::Progress { path: path(), bytes: 512 },
        PushEvent::Retrying {
            path: Some(path()),
            cause: RetriedPush { fault: LocalFault::Changed.into(), at_a_time: Some(2) },
            wait: Duration::from_millis(1500),
        },
        PushEvent::Retrying { path: None, cause: RetriedPush::after(busy), wait: Duration::from_secs(2) },
        PushEvent::Sending { path: path(), size: 1024, route: Route::Signed },
        PushEvent::Sent { path: path(), size: 1024, sha256, elapsed },
        PushEvent::Waiting { status: DatasetStatus::Uploading, listed: None, of: 5 },
        PushEvent::Waiting { status: DatasetStatus::Uploading, listed: Some(4), of: 5 },
        PushEvent::Ready { files: 5, bytes: 8192 },
        PushEvent::Failed { path: Some(path()), cause: FailedPush::Meanwhile(Meanwhile::Changed) },
        PushEvent::Failed { path: None, cause: FailedPush::Refused(None) },
        PushEvent::Notice { notice: PushNotice::LeftOut("a\u{202e}b".to_owned()) },
        PushEvent::Done { exit: ExitStatus::TryAgain, sent: 3, bytes: 4096, present: 2, failed: 1, elapsed },
    ]
}

fn report(out: &Written, is_part: bool) -> PushReport {
    let now = || Timestamp::from_millisecond(1_769_860_800_120).unwrap();
    let json = Json { out: out.stream(), now, signals: Signals::default(), id: Mutex::default() };
    PushReport {
        name: "dogs".to_owned(),
        is_part,
        talk: Talk::Normal,
        err: out.stream(),
        colours: false,
        json: Some(json),
        view: None,
    }
}

#[test]
fn every_event_as_a_script_reads_it() {
    let out = Written::default();
    let report = report(&out, false);
    report.checked(&Report::default());
    every_event().iter().for_each(|event| report.report(event));
    report.error(&CommandError::Usage("bad, and \u{202e}".to_owned()));
    let head = |event, id| {
        format!(
            r#"{{"event":"{event}","time":"2026-01-31T12:00:00.120Z","job_id":null,"dataset":"dogs","dataset_id":{id}"#
        )
    };
    let (none, id) = ("null", r#""ds-1""#);
    let sha256 = "ab".repeat(32);
    let expected = [
        head("checked", none)
            + r#","errors":0,"warnings":0,"pictures":0,"clips":0,"sounds":0,"captions":0,"files":0,"bytes":0,"skipped":0,"findings":[]}"#,
        head("plan", none) + r#","send":3,"bytes":4096,"present":2,"same_length":1}"#,
        head("created", id) + "}",
        head("sending", id) + r#","path":"dog 1.jpg","size":1024,"route":"multipart"}"#,
        head("retrying", id)
            + r#","path":"dog 1.jpg","cause":"it changed while it was sent; 2 at a time now","wait_seconds":1.5}"#,
        head("retrying", id)
            + r#","path":null,"cause":"the API answered HTTP 503","error_code":50301,"wait_seconds":2.0}"#,
        head("sending", id) + r#","path":"dog 1.jpg","size":1024,"route":"signed"}"#,
        head("sent", id)
            + r#","path":"dog 1.jpg","size":1024,"sha256":""#
            + &sha256
            + r#"","seconds":1.235}"#,
        head("waiting", id) + r#","status":"UPLOADING","files":null,"of":5}"#,
        head("waiting", id) + r#","status":"UPLOADING","files":4,"of":5}"#,
        head("ready", id) + r#","files":5,"bytes":8192}"#,
        head("failed", id) + r#","path":"dog 1.jpg","cause":"it changed while others were sent"}"#,
        head("failed", id) + r#","path":null,"cause":"the API gives no reason"}"#,
        head("notice", id) + r#","message":"`a\u202eb` cannot be sent and is left out"}"#,
        head("done", id) + r#","exit_code":75,"sent":3,"bytes":4096,"present":2,"failed":1,"seconds":1.235}"#,
        head("error", id) + r#","message":"bad, and \u202e","exit_code":64}"#,
    ];
    assert_eq!(out.text(), expected.map(|line| line + "\n").concat());
}

#[test]
fn a_part_of_another_command_does_not_report_that_commands_end() {
    let out = Written::default();
    let report = report(&out, true);
    every_event().iter().for_each(|event| report.report(event));
    report.error(&CommandError::Usage("bad".to_owned()));
    let events: Vec<String> = out.text().lines().map(str::to_owned).collect();
    assert!(
        events.iter().all(|line| !line.contains(r#""event":"done""#) && !line.contains(r#""event":"error""#))
    );
    assert_eq!(events.len(), every_event().len() - 2, "neither the progress nor the end");
}
