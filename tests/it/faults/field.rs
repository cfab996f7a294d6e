//! Group R: what users of other tools have reported: commands that only read, the API's own words, full disks behind standard
//! output, and addresses of odd kinds.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Listing, Rig, Run, World};
use super::world::{File, Hosted, JOB, picture, weights};

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

/// A finished job with its final checkpoint.
fn finished() -> World {
    let file = weights(1, 100_000);
    World::of(vec![Hosted::checkpoint(&file, honest).at("/output/lora/lora.safetensors", "lora.safetensors")])
}

/// An API that answers each question with `reply`, `times` times, and honestly then.
fn at_first(times: usize, reply: impl Fn() -> Reply + Send + Sync + 'static) -> World {
    finished().api(move |ask, _| (ask.nth < times).then(&reply))
}

fn command(rig: &Rig, arguments: &[&str]) -> Run {
    rig.run(rig.command(arguments))
}

fn document(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.output()))
}

/// R1: the commands that read ride out what a mirror rides out.
#[test]
fn p1_commands_that_read_ride_out_what_passes() {
    type Passing = (&'static str, fn() -> Reply);
    let passing: [Passing; 4] = [
        ("500", || Reply::new(500, b"oh")),
        ("a dropped connection", || Reply::raw(b"").end(End::Reset)),
        ("429", || Reply::new(429, b"").header("Retry-After", "1")),
        ("a sign-in page", || Reply::html(200)),
    ];
    std::thread::scope(|scope| {
        for (about, reply) in passing {
            scope.spawn(move || {
                let rig = || Rig::new(at_first(1, reply));
                for arguments in [&["status", JOB][..], &["result", JOB], &["cancel", JOB]] {
                    let run = command(&rig(), arguments);
                    // The job is over, so there is nothing to cancel: the refusal is about that, and not about the API.
                    let expected = if arguments[0] == "cancel" { 65 } else { 0 };
                    assert_eq!(run.code, Some(expected), "{arguments:?}, {about}: {}", run.output());
                }
                let run = command(&rig(), &["doctor", JOB, "--output", "json"]);
                let findings = document(&run)["findings"].clone();
                let bad = |finding: &&Value| {
                    ["api", "job", "host"].iter().any(|about| finding["about"] == *about)
                        && finding["ok"] == false
                };
                assert_eq!(findings.as_array().unwrap().iter().find(bad), None, "{about}");
                assert!(findings.to_string().contains("it answers, with ranges"), "{about}: {findings}");
            });
        }
    });
}

/// R1: `--peek` too, with the host of the files.
#[test]
fn p1_peek_rides_out_what_passes() {
    let passing: [fn() -> Reply; 3] = [
        || Reply::new(500, b"oh"),
        || Reply::raw(b"").end(End::Reset),
        || Reply::new(429, b"").header("Retry-After", "1"),
    ];
    for reply in passing {
        let world = World::of(vec![Hosted::checkpoint(&weights(1, 1000), move |file, ask| match ask.nth {
            0 => reply(),
            _ => file.honest(ask),
        })]);
        let rig = Rig::new(world);
        let run = command(&rig, &["result", JOB, "--peek", "--output", "json"]);
        assert_eq!(run.code, Some(0), "{}", run.output());
        assert!(document(&run)["artifacts"][0]["peek"]["size"].is_u64(), "{}", run.output());
    }
}

/// R1: what does not pass is an error after a few tries, and a wait of ten minutes is not made.
#[test]
fn p1_what_does_not_pass_is_an_error() {
    let rig = Rig::new(at_first(100, || Reply::new(500, b"oh")));
    let run = command(&rig, &["status", JOB]);
    assert_eq!((run.code, rig.api.asks().len()), (Some(69), 4), "{}", run.output());
    let rig = Rig::new(at_first(100, || Reply::new(429, b"").header("Retry-After", "600")));
    let run = command(&rig, &["status", JOB]);
    assert_eq!((run.code, rig.api.asks().len()), (Some(75), 1), "{}", run.output());
}

/// R2: a date in `Retry-After` is measured from the answer's own `Date`: the server's clock is a day ahead here.
#[test]
fn p2_a_date_to_retry_after_needs_no_common_clock() {
    let day = Duration::from_secs(24 * 60 * 60);
    for (about, now) in [("ahead", SystemTime::now() + day), ("behind", SystemTime::now() - day)] {
        let rig = Rig::new(at_first(1, move || {
            let wish = httpdate::fmt_http_date(now + Duration::from_secs(2));
            Reply::new(503, b"").header("Date", &httpdate::fmt_http_date(now)).header("Retry-After", &wish)
        }));
        let run = rig.once(&[]);
        rig.promises(&run).unwrap();
        assert_eq!(run.code, Some(0), "{about}: {}", run.output());
        let waits: Vec<f64> =
            run.events("retrying").iter().filter_map(|event| event["wait_seconds"].as_f64()).collect();
        assert!(
            !waits.is_empty() && waits.iter().all(|wait| (2.0..=4.0).contains(wait)),
            "{about}: {waits:?}"
        );
    }
}

/// R3: a job whose end this folder has seen, and of which nothing is missing, is asked about twice.
#[test]
fn p3_following_a_known_end_takes_two_requests() {
    let rig = Rig::new(finished());
    let first = rig.once(&[]);
    assert_eq!(first.code, Some(0), "{}", first.output());
    let before = crate::support::snapshot(&rig.dir());
    let (asked, fetched) = (rig.api.asks().len(), rig.host.asks().len());
    let began = Instant::now();
    let run = rig.follow(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert_eq!(rig.api.asks().len() - asked, 2, "{}", run.output());
    assert_eq!(rig.host.asks().len(), fetched);
    assert!(run.events("waiting").is_empty() && began.elapsed() < Duration::from_secs(30));
    assert_eq!(crate::support::snapshot(&rig.dir()), before, "no file is changed");
}

/// R3: an end that is new to the folder is still waited out, and so is one of which something is missing.
#[test]
fn p3_an_end_that_is_new_is_waited_out() {
    let rig = Rig::new(finished());
    let run = rig.follow(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert!(rig.api.asks().len() > 4, "the last save may be listed late");
    let asked = rig.api.asks().len();
    std::fs::remove_file(rig.dir().join("lora.safetensors")).unwrap();
    let run = rig.follow(&[]);
    assert_eq!((run.code, rig.published().len()), (Some(0), 1), "{}", run.output());
    assert!(rig.api.asks().len() - asked > 2);
}

/// R4: what the API gives as a number is one in `job.json`, to the last digit; a `job.json` with texts still counts.
#[test]
fn p4_fields_of_the_api_keep_their_types() {
    const SEED: &str = "18446744073709551615";
    let mut world = finished();
    world.files.push(Hosted::sample("1724085406830__000000250_0.png", &picture(1), honest));
    let world = world.api(|ask, listing| {
        ask.path().ends_with("/result").then(|| {
            let text = listing.result.to_string().replace("\"seed\":42", &format!("\"seed\":{SEED}"));
            Reply::json(&text)
        })
    });
    let rig = Rig::new(world);
    let run = rig.once(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    let path = rig.dir().join("job.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(&format!("\"seed\": {SEED}")), "{text}");
    // As versions before wrote it.
    std::fs::write(&path, text.replace(&format!("\"seed\": {SEED}"), "\"seed\": \"42\"")).unwrap();
    std::fs::remove_dir_all(rig.dir().join(".rcsync")).unwrap();
    let fetched = rig.host.asks().len();
    let run = rig.once(&[]);
    assert_eq!((run.code, rig.host.asks().len()), (Some(0), fetched), "adopted: {}", run.output());
    assert!(std::fs::read_to_string(&path).unwrap().contains(&format!("\"seed\": {SEED}")));
}

/// R5: a listed file whose address cannot be used is missing.
#[test]
fn p5_a_listed_file_without_a_usable_address_is_missing() {
    let world = || {
        finished().api(|ask, listing| {
            ask.path().ends_with("/result").then(|| {
                let mut result = listing.result.clone();
                let list = result["artifacts"]["checkpoints"].as_array_mut().unwrap();
                list.push(json!({ "path": "http://127.0.0.1/output/../../x.safetensors?sig=canary-signature-77aa" }));
                Reply::json(&result.to_string())
            })
        })
    };
    let rig = Rig::new(world());
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(75), 1), "{}", run.output());
    assert_eq!(run.events("done")[0]["failed"], 1);
    let named = |run: &Run| run.output().contains("a listed checkpoint cannot be fetched: `checkpoints[2]`");
    assert!(named(&run), "{}", run.output());
    let dir = rig.dir();
    let run = command(&rig, &[JOB, dir.to_str().unwrap(), "--once", "-q"]);
    assert!(run.code == Some(75) && named(&run), "also where errors alone are wanted: {}", run.output());
    // A selection without checkpoints misses none.
    let run = Rig::new(world()).once(&["--only", "samples"]);
    assert_eq!(run.code, Some(0), "{}", run.output());
}

/// R6: slashes of an address may be percent-encoded: the names are the same.
#[test]
fn p6_encoded_slashes_are_slashes() {
    let (file, shot) = (weights(1, 1000), picture(1));
    let rig = Rig::new(World::of(vec![
        Hosted::checkpoint(&file, honest).at(
            "/o/train%2Fusers%2Fx%2Foutput%2Flora%2Flora_000000250.safetensors",
            "lora_000000250.safetensors",
        ),
        Hosted::sample("", &shot, honest).at(
            "/o/train%2fusers%2Fx%2Foutput%2Flora%2Fsamples%2F1724085406830__000000250_0.png",
            "samples/1724085406830__000000250_0.png",
        ),
    ]));
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    let names: Vec<String> = rig.published().into_keys().collect();
    assert_eq!(names, ["lora_000000250.safetensors", "samples/1724085406830__000000250_0.png"]);
    let steps: Vec<Value> = run.events("published").iter().map(|event| event["step"].clone()).collect();
    assert_eq!(steps, [250, 250]);
}

/// R7: of an error page its text is shown, wherever it comes from.
#[test]
fn p7_no_markup_is_shown() {
    let page = || {
        Reply::new(
            502,
            b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
        )
    };
    let rig = Rig::new(at_first(100, page));
    let run = command(&rig, &["status", JOB]);
    assert_eq!(run.code, Some(69));
    assert!(
        run.output().contains("an HTML page: `502 Bad Gateway`") && !run.output().contains("<h"),
        "{}",
        run.output()
    );
    let refused = |_: &File, _: &Ask| {
        Reply::new(
            403,
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        )
    };
    let rig = Rig::new(World::of(vec![Hosted::checkpoint(&weights(1, 1000), refused)]));
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    let cause = run.events("failed")[0]["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("AccessDenied: Request has expired") && !cause.contains('<'), "{cause}");
}

fn refusing(status: u16, body: &'static str) -> World {
    finished().api(move |_, _: &Listing| Some(Reply::json(body).status(status)))
}

/// R8: the API's own codes and words, for people and for programs.
#[test]
fn p8_the_apis_own_words() {
    for (about, world, code, error_code, says) in [
        (
            "a dataset that is gone",
            refusing(404, r#"{"error_code":40401,"message":"DATASET_NOT_FOUND"}"#),
            65,
            json!(40401),
            &["hint: the dataset is unknown, deleted"][..],
        ),
        (
            "a job that is unknown",
            refusing(404, r#"{"error_code":40451,"message":"no such job"}"#),
            65,
            json!(40451),
            &["the API knows no job `job-0001`: no such job"],
        ),
        (
            "no money",
            refusing(402, r#"{"message":"no credit"}"#),
            65,
            Value::Null,
            &["no credit", "top up", "`rcsync resume"],
        ),
        (
            "no money, by code",
            refusing(200, r#"{"error_code":10001,"message":"insufficient"}"#),
            65,
            json!(10001),
            &["insufficient", "top up", "`rcsync resume"],
        ),
        (
            "not allowed",
            refusing(403, r#"{"message":"your plan has no trainer"}"#),
            77,
            Value::Null,
            &["your plan has no trainer", "another account", "plan"],
        ),
        (
            "a validation list",
            refusing(422, r#"{"detail":[{"loc":["body","gpu_type"],"msg":"field required"}]}"#),
            65,
            Value::Null,
            &["body.gpu_type: field required"],
        ),
    ] {
        let rig = Rig::new(world);
        let run = command(&rig, &["status", JOB, "--output", "json"]);
        assert_eq!(run.code, Some(code), "{about}: {}", run.output());
        let document = document(&run);
        assert_eq!((&document["error_code"], &document["exit_code"]), (&error_code, &json!(code)), "{about}");
        for text in says {
            assert!(run.output().contains(text), "{about}: {}", run.output());
        }
        // A mirror reports it as its last event.
        let run = rig.once(&[]);
        assert_eq!(run.code, Some(code), "{about}");
        let event = &run.events("error")[0];
        assert_eq!((&event["error_code"], &event["exit_code"]), (&error_code, &json!(code)), "{about}");
        assert!(!rig.dir().exists(), "{about}");
    }
}

/// R8: a refusal for now keeps its words and its code too.
#[test]
fn p8_a_429_keeps_its_text() {
    const BODY: &str = r#"{"error_code":42951,"message":"20 requests a minute"}"#;
    let world = || at_first(1, || Reply::json(BODY).status(429).header("Retry-After", "1"));
    let rig = Rig::new(world());
    let run = rig.once(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    let event = &run.events("retrying")[0];
    assert_eq!(event["error_code"], 42951);
    assert!(event["cause"].as_str().unwrap().contains("20 requests a minute"), "{event}");
    let rig = Rig::new(at_first(9, || Reply::json(BODY).status(429).header("Retry-After", "600")));
    let run = command(&rig, &["status", JOB]);
    assert_eq!(run.code, Some(75));
    assert!(run.output().contains("(HTTP 429): 20 requests a minute"), "{}", run.output());
}

/// R9: output on a full disk ends a command that is for its output, and no mirror.
#[test]
#[cfg(target_os = "linux")]
fn p9_output_that_cannot_be_written() {
    let full = |rig: &Rig, arguments: &[&str]| {
        let mut command = rig.command(arguments);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.stdin(std::process::Stdio::null()).stdout(full).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let rig = Rig::new(finished());
    let dir = rig.dir();
    let dir = dir.to_str().unwrap();
    let (code, said) = full(&rig, &[JOB, dir, "--once", "--output", "json"]);
    assert_eq!((code, rig.published().len()), (0, 1), "{said}");
    assert_eq!(said.matches("could not write standard output").count(), 1, "{said}");
    for arguments in [
        &["ls", dir][..],
        &["ls", dir, "--output", "json"],
        &["verify", dir, "--output", "json"],
        &["status", JOB],
        &["result", JOB],
        &["doctor"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
        &[JOB, dir, "--dry-run"],
        &[JOB, dir, "--dry-run", "--output", "json"],
    ] {
        let (code, said) = full(&rig, arguments);
        assert_eq!(code, 74, "{arguments:?}: {said}");
        assert!(said.contains("error: could not write standard output"), "{arguments:?}: {said}");
    }
}
