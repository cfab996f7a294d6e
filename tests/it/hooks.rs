//! Hooks of whole runs: each published file is reported, once when nothing goes wrong and at least once when all does.
#![cfg(unix)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use rcsync::simulator::{HostOptions, JobPlan, Simulator, SimulatorConfig};

use crate::support::{Bench, code, snapshot, stderr};

async fn bench(host: HostOptions) -> Bench {
    let plan = JobPlan {
        steps: 1000,
        keep: 0,
        checkpoint_bytes: 300_000,
        picture_side: 48,
        prompts: vec!["$(touch hacked) '\" \n; `id`".to_owned(), "a dog".to_owned()],
        ..JobPlan::default()
    };
    let simulator = Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await.unwrap();
    let job = simulator.add_job(plan);
    Bench::new(simulator, job)
}

/// Writes one line a call into `reported`, outside of DIR: the id, the path, and whether a secret was in sight.
const TELL: &str = r#"sh -c 'cat > /dev/null; printf "%s %s %s\n" "$RCSYNC_EVENT_ID" "$RCSYNC_PATH" "$(env | grep -c simulated-token)" >> ../reported'"#;

fn reported(bench: &Bench) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(bench.dir().with_file_name("reported")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    text.lines().map(|text| line(text).unwrap()).collect()
}

fn published(bench: &Bench) -> BTreeSet<String> {
    let sums = std::fs::read_to_string(bench.dir().join("SHA256SUMS")).unwrap();
    sums.lines().filter_map(|line| Some(line.split_once("  ")?.1.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_published_file_is_delivered_once_and_no_secret_with_it() {
    let bench = bench(HostOptions::default()).await;
    bench.simulator.advance_steps(&bench.job, 600);
    assert!([0, 75].contains(&code(&bench.once(&["--exclude", "samples/*"]).await)));
    let before = published(&bench);
    assert!(!before.is_empty());

    let first = bench.once(&["--exec", TELL]).await;
    assert!([0, 75].contains(&code(&first)), "{}", stderr(&first));
    let news: BTreeSet<String> = published(&bench).difference(&before).cloned().collect();
    let paths: Vec<String> = reported(&bench).into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths.len(), news.len(), "each once: {}", stderr(&first));
    assert_eq!(paths.into_iter().collect::<BTreeSet<_>>(), news, "what was here before is no news");
    assert!(reported(&bench).iter().all(|(.., secrets)| secrets == "0"), "the token");

    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&["--exec", TELL]).await), 0);
    let calls = reported(&bench).len();
    let state = snapshot(&bench.dir());
    let idle = bench.once(&["--exec", TELL]).await;
    assert_eq!((code(&idle), reported(&bench).len()), (0, calls));
    assert_eq!(snapshot(&bench.dir()), state, "an idle pass changes no file");
    assert!(idle.stdout.is_empty() && idle.stderr.is_empty(), "{}", stderr(&idle));

    // The private folder may be deleted: what is adopted is not published anew.
    std::fs::remove_dir_all(bench.dir().join(".rcsync")).unwrap();
    let adopting = bench.once(&["--exec", TELL]).await;
    assert_eq!((code(&adopting), reported(&bench).len()), (0, calls), "{}", stderr(&adopting));
    assert!(!bench.dir().join("hacked").exists() && !bench.dir().with_file_name("hacked").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_loses_no_event_and_repeats_it_under_its_id() {
    let bench = bench(HostOptions { throttle: Some(20_000_000), ..HostOptions::default() }).await;
    bench.simulator.finish(&bench.job);
    let dir = bench.dir();
    let arguments = [bench.job.as_str(), dir.to_str().unwrap(), "--once", "--exec", TELL];
    for _ in 0..8 {
        let (served, calls) = (bench.simulator.artifact_bytes(), reported(&bench).len());
        let mut run = bench.command(&arguments).spawn().unwrap();
        let (bytes, more) = (served + fastrand::u64(1..400_000), calls + fastrand::usize(1..4));
        while bench.simulator.artifact_bytes() < bytes
            && reported(&bench).len() < more
            && run.try_wait().unwrap().is_none()
        {
            tokio::task::yield_now().await;
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let last = bench.once(&["--exec", TELL]).await;
    assert_eq!(code(&last), 0, "{}", stderr(&last));
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, path, _) in reported(&bench) {
        ids.entry(path).or_default().insert(id);
    }
    assert_eq!(ids.keys().cloned().collect::<BTreeSet<_>>(), published(&bench));
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_hook_is_reported_and_stops_nothing() {
    let bench = bench(HostOptions::default()).await;
    bench.simulator.finish(&bench.job);
    // It is a problem, so it is reported with `-q` too.
    let failing = bench.once(&["-q", "--exec", "sh -c 'echo no room >&2; exit 3'"]).await;
    assert_eq!(code(&failing), 0);
    assert!(stderr(&failing).contains("ended with code 3: no room"), "{}", stderr(&failing));
    assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
    // Three tries over all runs; then there is silence.
    for _ in 0..2 {
        assert_eq!(code(&bench.once(&["--exec", "sh -c 'echo no room >&2; exit 3'"]).await), 0);
    }
    let silent = bench.once(&["--exec", "sh -c 'echo no room >&2; exit 3'"]).await;
    assert!(silent.stderr.is_empty(), "{}", stderr(&silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_missing_is_reported_once_and_what_it_missed_comes_later() {
    let bench = bench(HostOptions::default()).await;
    bench.simulator.finish(&bench.job);
    let script = bench.dir().with_file_name("hook");
    let exec = format!("{} {{path}}", script.display());
    let missing = bench.once(&["--exec", &exec]).await;
    assert_eq!(code(&missing), 0);
    assert_eq!(stderr(&missing).matches("could not start").count(), 1, "{}", stderr(&missing));
    std::fs::write(&script, "#!/bin/sh\nprintf 'x %s 0\\n' \"$1\" >> ../reported\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(code(&bench.once(&["--exec", &exec]).await), 0);
    let paths: BTreeSet<String> = reported(&bench).into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths, published(&bench));
}

/// A receiver that answers each POST with the next status, and gives out the bodies.
pub(crate) fn receiver(statuses: Vec<u16>) -> (String, Receiver<(String, serde_json::Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://user:s3cret@{}/T0/s3cret?key=s3cret", listener.local_addr().unwrap());
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut statuses = statuses.into_iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                });
                if body.len() >= length.unwrap() {
                    break (head.to_owned(), serde_json::from_str(body).unwrap());
                }
            };
            let status = statuses.next().unwrap_or(200);
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            if status == 200 && send.send(body).is_err() {
                return;
            }
        }
    });
    (address, receive)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_each_file_and_the_end_and_its_address_is_never_shown() {
    let bench = bench(HostOptions::default()).await;
    bench.simulator.finish(&bench.job);
    let (address, bodies) = receiver(vec![503, 200, 429]);
    let run = bench.once(&["--webhook", &address, "-v"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let calls: Vec<_> = bodies.try_iter().collect();
    let (end, files) = calls.split_last().unwrap();
    let paths: BTreeSet<String> = files
        .iter()
        .map(|(_, body)| {
            assert_eq!((&body["event"], &body["job_id"]), (&"published".into(), &bench.job.as_str().into()));
            body["path"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(paths, published(&bench));
    assert_eq!((&end.1["event"], &end.1["exit_code"]), (&"done".into(), &0.into()));
    for (head, body) in &calls {
        let head = head.to_ascii_lowercase();
        assert!(
            head.starts_with("post /t0/s3cret?key=s3cret") && head.contains("application/json"),
            "{head}"
        );
        assert!(head.contains(&format!("idempotency-key: {}", body["event_id"].as_str().unwrap())), "{head}");
        assert!(!head.contains("simulated-token"));
    }
    let gone = bench.once(&["--webhook", "http://127.0.0.1:1/s3cret?k=s3cret", "-v"]).await;
    assert_eq!(code(&gone), 0);
    assert!(stderr(&gone).contains("http://127.0.0.1:1/…: connection refused"), "{}", stderr(&gone));
    for output in [&run.stdout, &run.stderr, &gone.stdout, &gone.stderr] {
        assert!(!String::from_utf8_lossy(output).contains("s3cret"));
    }
    for path in snapshot(&bench.dir()).into_keys() {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"s3cret"), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_is_delivered_with_its_code() {
    let bench = bench(HostOptions::default()).await;
    bench.simulator.finish(&bench.job);
    let command = r#"sh -c 'printf "%s %s %s\n" "$1" "$RCSYNC_PUBLISHED" "$(cat)" > ../end' - {exit_code}"#;
    let run = bench.once(&["--exec-done", command]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let end = std::fs::read_to_string(bench.dir().with_file_name("end")).unwrap();
    let count = published(&bench).len();
    assert!(end.starts_with(&format!("0 {count} {{\"event\":\"done\"")), "{end}");
    let failing = bench.once(&["--exec-done", "false", "-q"]).await;
    assert_eq!(code(&failing), 0);
    assert!(stderr(&failing).contains("`--exec-done` failed at the end of the run: it ended with code 1"));
}
