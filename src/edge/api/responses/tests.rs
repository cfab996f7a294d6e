use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::error_code::ErrorCode;

use super::*;

fn job() -> JobId {
    "job-1".parse().unwrap()
}

fn status_of(json: &str) -> StatusAnswer {
    read_status(json.as_bytes(), &job()).unwrap()
}

fn result_of(json: &str) -> ResultAnswer {
    read_result(json.as_bytes(), &job()).unwrap()
}

fn why(fault: ApiError) -> String {
    match fault {
        ApiError::Unintelligible { why } => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_documented_status() {
    let answer = status_of(
        r#"{"id":"job-1","name":"dog","status":"RUNNING","progress":{"current_step":320,"total_steps":2000,"percent":16},
            "result_url":"https://elsewhere.example/","created_at":"2026-01-31T12:00:00.143086","started_at":null}"#,
    );
    assert_eq!(
        answer,
        StatusAnswer {
            name: Some("dog".into()),
            status: JobStatus::Running,
            progress: Progress { current_step: Some(320), total_steps: Some(2000), percent: Some(16.0) },
            error: None,
            times: JobTimes { created_at: Some("2026-01-31T12:00:00.143086".into()), ..JobTimes::default() },
        }
    );
}

#[test]
fn the_documented_result() {
    let answer = result_of(
        r#"{"id":"job-1","name":"dog","status":"STOPPED","artifacts":{
            "checkpoints":[{"path":"https://h/dog_000000100.safetensors"},{"path":"https://h/dog_000000200.safetensors"}],
            "config":{"path":"https://h/resolved_config.yaml"},
            "samples":[{"sample_index":1,"type":"image","step":2000,"seed":42,"prompt":"a dog","control_image":[],
                        "path":"https://h/samples/step_2000.png?sig=1"}]},
            "finished_at":"2026-01-31T16:12:34.143086"}"#,
    );
    let listed: Vec<_> = answer.artifacts.iter().map(|item| (item.kind, item.url.expose())).collect();
    assert_eq!(
        listed,
        [
            (ArtifactKind::Checkpoint, "https://h/dog_000000100.safetensors"),
            (ArtifactKind::Checkpoint, "https://h/dog_000000200.safetensors"),
            (ArtifactKind::Config, "https://h/resolved_config.yaml"),
            (ArtifactKind::Sample, "https://h/samples/step_2000.png?sig=1"),
        ]
    );
    let sample = Sample {
        index: Some(1),
        media: Some("image".into()),
        step: Some(2000),
        seed: Some(42.into()),
        prompt: Some("a dog".into()),
        control_images: vec![],
    };
    assert_eq!(answer.artifacts[3].sample.as_deref(), Some(&sample));
    assert_eq!(answer.status, Some(JobStatus::Stopped));
    assert_eq!(answer.times.finished_at.as_deref(), Some("2026-01-31T16:12:34.143086"));
    assert!(answer.unusable.is_empty() && answer.error.is_none());
}

#[test]
fn odd_fields_cost_themselves_alone() {
    let odd = status_of(
        "\u{feff}{\"status\":\"PAUSED\",\"progress\":{\"current_step\":\"7\",\"total_steps\":9.0,\"percent\":1e400},
          \"name\":{},\"error\":{},\"created_at\":1769860800,\"new\":[{\"x\":\"\\ud800\"}]}",
    );
    assert_eq!(odd.status.as_str(), "PAUSED");
    assert_eq!(odd.progress, Progress { current_step: Some(7), total_steps: Some(9), percent: None });
    assert_eq!((odd.name, odd.error), (None, None));
    assert_eq!(odd.times.created_at.as_deref(), Some("1769860800"));
    for progress in ["null", "[]", "\"half\"", "{}"] {
        let answer = status_of(&format!(r#"{{"id":"JOB-1","progress":{progress}}}"#));
        assert_eq!(answer.progress, Progress::default());
        assert_eq!(answer.status, JobStatus::Other("UNKNOWN".into()));
    }
}

#[test]
fn errors_come_under_many_names() {
    for (fields, said) in [
        (r#""error":{"message":"reclaimed","code":"TRAINING_ERROR"}"#, Some("reclaimed (TRAINING_ERROR)")),
        (r#""error":null,"errors":["one","two"]"#, Some("one; two")),
        (r#""error":"","error_message":"out of balance""#, Some("out of balance")),
        (r#""error":[]"#, None),
    ] {
        assert_eq!(
            status_of(&format!(r#"{{"status":"FAILED",{fields}}}"#)).error.as_deref(),
            said,
            "{fields}"
        );
        assert_eq!(
            result_of(&format!(r#"{{"status":"STOPPED",{fields}}}"#)).error.as_deref(),
            said,
            "{fields}"
        );
    }
}

#[test]
fn lists_in_every_dress() {
    let none = || vec![];
    for (artifacts, count, unreachable, notes) in [
        ("null", 0, none(), vec![]),
        ("{}", 0, none(), vec![]),
        ("[ ]", 0, none(), vec![]),
        ("[1]", 0, none(), vec!["`artifacts` is no object: `[1]`"]),
        (r#"{"checkpoints":null,"samples":{},"config":[]}"#, 0, none(), vec![]),
        (r#"{"samples":"none yet"}"#, 0, none(), vec!["`samples`: the URL is not absolute"]),
        (
            r#"{"checkpoints":{"path":"https://h/a"},"samples":"https://h/b","config":["https://h/c"]}"#,
            3,
            none(),
            vec![],
        ),
        (
            r#"{"checkpoints":[{"path":null},{"path":"https://h/a"},7,null,{"path":"h/b"},{"path":"file:///x"}]}"#,
            1,
            vec![
                "`checkpoints[5]`: the URL is not absolute",
                "`checkpoints[6]`: the URL's scheme `file` is neither http nor https",
            ],
            vec![
                "`checkpoints[1]` has no `path`",
                "`checkpoints[3]` has no `path`",
                "`checkpoints[4]` has no `path`",
            ],
        ),
        (r#"{"videos":[{"path":"https://h/a.mp4","step":5}],"masks":null}"#, 1, none(), vec![]),
        (
            r#"{"l\u001bogs":[{"path":"https://h/a.txt"}]}"#,
            0,
            none(),
            vec!["`l\\u{1b}ogs[1]` is of a kind that this version does not know"],
        ),
    ] {
        let answer = result_of(&format!(r#"{{"id":"job-1","artifacts":{artifacts}}}"#));
        assert_eq!(answer.artifacts.len(), count, "{artifacts}");
        let rows: Vec<String> = answer.unusable.iter().map(ToString::to_string).collect();
        assert_eq!(rows, notes, "{artifacts}");
        let whys: Vec<String> = answer.unreachable.iter().map(|file| file.why.to_string()).collect();
        assert_eq!(whys, unreachable, "{artifacts}");
    }
}

#[test]
fn samples_keep_what_can_be_read() {
    let answer = result_of(
        &json!({"artifacts": {"samples": [{
            "path": "https://h/a.png", "step": "12", "seed": 18_446_744_073_709_551_615_u64, "prompt": "é".repeat(50_000),
            "control_image": [{"path": "https://h/c.png?sig=s3cret"}, "/app/d.png", 5, "https://u:p@h/x", {}],
        }, {"path": "https://h/b.png", "control_image": "https://h/e.png"}]}})
        .to_string(),
    );
    let sample = answer.artifacts[0].sample.as_ref().unwrap();
    assert_eq!(sample.step, Some(12));
    assert_eq!(sample.seed.as_ref().map(Seed::as_str), Some("18446744073709551615"));
    assert_eq!(sample.prompt.as_ref().unwrap().len(), PROMPT_BYTES);
    assert_eq!(sample.control_images, ["https://h/c.png", "/app/d.png"]);
    assert_eq!(answer.artifacts[1].sample.as_ref().unwrap().control_images, ["https://h/e.png"]);
    // A prompt with half a surrogate pair is lost; its picture is not.
    let half = result_of(r#"{"artifacts":{"samples":[{"path":"https://h/a.png","prompt":"\ud83d"}]}}"#);
    assert_eq!(half.artifacts[0].sample.as_ref().unwrap().prompt, None);
}

#[test]
fn complaints_are_bounded() {
    let bad = format!(r#"{{"artifacts":{{"checkpoints":[{}0]}}}}"#, "0,".repeat(4999));
    let answer = result_of(&bad);
    assert_eq!(answer.unusable.len(), UNUSABLE_BOUND + 1);
    assert_eq!(answer.unusable.last(), Some(&UnusableRow::More { count: 4900 }));
    let images = vec!["x"; 100_000];
    let answer = result_of(
        &json!({"artifacts": {"samples": {"path": "https://h/a", "control_image": images}}}).to_string(),
    );
    assert_eq!(answer.artifacts[0].sample.as_ref().unwrap().control_images.len(), CONTROL_IMAGES_BOUND);
}

#[test]
fn refusals_under_http_200() {
    let unknown = |message: &str, code: Option<&str>| ApiError::UnknownJob {
        job: job(),
        message: message.into(),
        code: code.and_then(ErrorCode::new),
    };
    let refused = |status, message: &str, code: Option<&str>| ApiError::Refused {
        status,
        message: message.into(),
        code: code.and_then(ErrorCode::new),
    };
    for (body, fault) in [
        (
            r#"{"error_code":40451,"error_message":"JOB_NOT_FOUND"}"#,
            unknown("JOB_NOT_FOUND (40451)", Some("40451")),
        ),
        (r#"{"error_code":"404001","message":"no"}"#, unknown("no (404001)", Some("404001"))),
        (r#"{"id":"job-1","error_code":40451,"error_message":"no"}"#, unknown("no (40451)", Some("40451"))),
        (
            r#"{"status":"error","error_code":40451,"error_message":"no"}"#,
            unknown("no (40451)", Some("40451")),
        ),
        (r#"{"status":404,"detail":"Not Found"}"#, unknown("Not Found", None)),
        (
            r#"{"error_code":40401,"message":"no such dataset"}"#,
            refused(404, "no such dataset (40401)", Some("40401")),
        ),
        (r#"{"error_code":10001,"message":"no credit"}"#, refused(200, "no credit (10001)", Some("10001"))),
        (
            r#"{"error_code":40101,"error_message":"bad token"}"#,
            ApiError::Unauthorized {
                status: 401,
                message: "bad token (40101)".into(),
                code: ErrorCode::new("40101"),
            },
        ),
        (
            r#"{"error_code":42901}"#,
            ApiError::Busy {
                status: 429,
                message: "42901".into(),
                code: ErrorCode::new("42901"),
                retry_after: None,
            },
        ),
        (
            r#"{"error_code":500001,"error":"later"}"#,
            ApiError::Server {
                status: 500,
                message: "later (500001)".into(),
                code: ErrorCode::new("500001"),
                retry_after: None,
            },
        ),
        (r#"{"detail":"hm"}"#, refused(200, "hm", None)),
        (r#"{"error_code":"E7"}"#, refused(200, "E7", Some("E7"))),
    ] {
        assert_eq!(read_status(body.as_bytes(), &job()), Err(fault.clone()), "{body}");
        assert_eq!(read_result(body.as_bytes(), &job()), Err(fault), "{body}");
    }
    // A failed job's own error is no refusal.
    let failed = status_of(r#"{"id":"job-1","status":"FAILED","error_code":50051,"error_message":"CUDA"}"#);
    assert_eq!((failed.status, failed.error.as_deref()), (JobStatus::Failed, Some("CUDA")));
}

#[test]
fn another_job_is_refused() {
    let fault = read_result(br#"{"id":"job-2\u001b","artifacts":{}}"#, &job()).unwrap_err();
    assert_eq!(fault, ApiError::WrongJob { asked: job(), answered: "job-2\\u{1b}".into() });
    assert!(read_status(br#"{"id":7,"status":"RUNNING"}"#, &job()).is_err());
    assert!(read_change(br#"{"id":"job-2"}"#, &job()).is_err());
    assert!(read_status(br#"{"id":"JOB-1","status":"RUNNING"}"#, &job()).is_ok());
}

#[test]
fn what_is_no_answer_is_named() {
    for (body, said) in [
        ("", "an empty answer instead of JSON"),
        (" \n", "an empty answer instead of JSON"),
        (" <!DOCTYPE html>\n<p>Sign in", "an HTML page instead of JSON: `Sign in`"),
        (r#"{"id":"job-1","#, r#"the JSON ends too early, after 14 bytes: `{"id":"job-1",`"#),
        (r#"{"id":"job-1"}}"#, r#"it is not JSON (line 1 column 15): `{"id":"job-1"}}`"#),
        ("gateway\u{7}", "it is not JSON (line 1 column 1): `gateway\\u{7}`"),
        ("[]", "it is not an object: `[]`"),
        ("null", "it is not an object: `null`"),
        ("{}", "it has neither `status` nor `id`: `{}`"),
    ] {
        assert_eq!(why(read_status(body.as_bytes(), &job()).unwrap_err()), said);
    }
    assert!(why(read_status(b"\"\xff\"", &job()).unwrap_err()).starts_with("it is not JSON"));
    assert!(why(read_result(b"{}", &job()).unwrap_err()).contains("neither"));
    let utf16: Vec<u8> = r#"{"status":"RUNNING"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(why(read_status(&utf16, &job()).unwrap_err()).starts_with("it is not JSON"));
}

#[test]
fn nests_and_huge_numbers_do_no_harm() {
    let deep = format!(r#"{{"id":"job-1","artifacts":{}{}}}"#, "[".repeat(300_000), "]".repeat(300_000));
    assert_eq!(result_of(&deep).unusable.len(), 1);
    let path = format!(
        r#"{{"artifacts":{{"checkpoints":[{{"path":{}1{}}}]}}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    assert_eq!(result_of(&path).unusable, [UnusableRow::NoPath { place: "checkpoints[1]".to_owned() }]);
    assert!(read_status("[".repeat(300_000).as_bytes(), &job()).is_err());
    assert_eq!(
        status_of(r#"{"status":"RUNNING","progress":{"current_step":1e400}}"#).progress.current_step,
        None
    );
    let odd = read_status(br#"{"status":"RUNNING","\ud800":1}"#, &job()).unwrap();
    assert_eq!(odd.status, JobStatus::Running);
}

#[test]
fn submissions_and_changes() {
    let answer = read_submit(br#"{"id":"job-9","name":"dog","status_url":"https://x/"}"#).unwrap();
    assert_eq!(answer, SubmitAnswer { id: "job-9".parse().unwrap(), name: Some("dog".into()) });
    assert!(why(read_submit(br#"{"name":"dog"}"#).unwrap_err()).starts_with("it has no `id`"));
    assert!(why(read_submit(br#"{"id":"../x"}"#).unwrap_err()).starts_with("its `id` is not a job id"));
    assert_eq!(
        read_submit(br#"{"error_code":40001,"error_message":"no"}"#),
        Err(ApiError::Refused { status: 400, message: "no (40001)".into(), code: ErrorCode::new("40001") })
    );
    let canceled = read_change(br#"{"id":"job-1","name":"dog","status":"CANCELED"}"#, &job()).unwrap();
    assert_eq!(canceled, ChangeAnswer { name: Some("dog".into()), status: Some(JobStatus::Canceled) });
    assert_eq!(read_change(b"", &job()), Ok(ChangeAnswer::default()));
    assert!(read_change(b"<html>", &job()).is_err());
}

#[test]
fn fifty_thousand_entries_in_a_blink() {
    let item = |n: usize| format!(r#"{{"path":"https://h/o/x_{n:09}.png?sig={n}","step":{n},"prompt":"p"}}"#);
    let items: Vec<String> = (0..50_000).map(item).collect();
    let answer = result_of(&format!(r#"{{"artifacts":{{"samples":[{}]}}}}"#, items.join(",")));
    assert_eq!(answer.artifacts.len(), 50_000);
}

/// JSON that begins to look like an answer, with any value in any place.
fn odd_answer() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}|[\\s\\S]{0,4}|https://h/[a-z?]{0,5}|job-1|RUNNING|[0-9]{3,6}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "id",
        "name",
        "status",
        "progress",
        "current_step",
        "percent",
        "artifacts",
        "checkpoints",
        "config",
        "samples",
        "videos",
        "path",
        "step",
        "prompt",
        "control_image",
        "error",
        "errors",
        "error_code",
        "error_message",
        "detail",
        "code",
        "created_at",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_hidden_is_shown(answer in odd_answer(), cut in 0_usize..400) {
        let text = answer.to_string();
        for body in [text.as_bytes(), &text.as_bytes()[..cut.min(text.len())]] {
            let status = read_status(body, &job());
            let result = read_result(body, &job());
            let submit = read_submit(body);
            let change = read_change(body, &job());
            let faults = [status.clone().err(), result.clone().err(), submit.err(), change.err()];
            let shown = faults.iter().flatten().map(ToString::to_string)
                .chain(status.ok().and_then(|answer| answer.error))
                .chain(result.iter().flat_map(|answer| answer.unusable.iter().map(ToString::to_string)))
                .chain(result.iter().flat_map(|answer| answer.unreachable.iter().map(|file| file.why.to_string())));
            for line in shown {
                prop_assert!(!line.chars().any(crate::model::names::sanitize::is_invisible), "{line:?}");
                prop_assert!(line.chars().count() < 700);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_status(&bytes, &job());
        let _ = read_result(&bytes, &job());
        let _ = crate::edge::api::error_body::read_refusal(&bytes);
    }
}
