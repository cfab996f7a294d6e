//! Jobs side by side.

use rcsync::simulator::{Fault, Origin, What};
use serde_json::Value;

use super::yard::{Yard, events, plan};
use crate::support::{code, snapshot, stderr};

const DEST: &str = "loras/{name}";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_never_stops_another_and_the_summary_names_it() {
    let yard = Yard::new(5).await;
    yard.finish_all();
    let simulator = yard.simulator();
    // One that trains no more, and one that the API does not know.
    let failed = simulator.add_job(plan("broken"));
    simulator.advance_steps(&failed, 15);
    simulator.fail(&failed, "out of memory");
    let ids: Vec<String> = yard.jobs.iter().map(ToString::to_string).collect();
    let mut lines: Vec<&str> = ids.iter().map(String::as_str).collect();
    lines.extend(["# these two end badly", "no-such-job", failed.as_str()]);
    let list = yard.list(&lines);
    let run = yard.run(&[list.to_str().unwrap(), DEST]).await;
    let reported = stderr(&run);
    assert_eq!(code(&run), 65, "{reported}");
    yard.assert_complete(0..5);
    assert!(yard.root().join("loras/broken/broken_000000010.safetensors").is_file());
    assert!(reported.contains("not done   no-such-job  exit code 65"), "{reported}");
    assert!(reported.contains(&format!("not done   broken  {failed}  exit code 1")), "{reported}");
    assert!(reported.ends_with("fleet      7 jobs: 5 complete, 2 not done\n"), "{reported}");
    // Each line names its job.
    assert!(reported.contains("published  dog-3  dog-3_000000010.safetensors"), "{reported}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_names_its_job_and_each_job_has_an_end() {
    let yard = Yard::new(3).await;
    yard.finish_all();
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--output", "json", "--once"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let reported = events(&run);
    for job in &yard.jobs {
        let own: Vec<&Value> = reported.iter().filter(|event| event["job_id"] == job.as_str()).collect();
        assert_eq!(own.last().unwrap()["event"], "done", "{own:?}");
        assert_eq!(own.iter().filter(|event| event["event"] == "published").count(), yard.published(0));
    }
    assert!(reported.iter().all(|event| yard.jobs.iter().any(|job| event["job_id"] == job.as_str())));
    assert_eq!(stderr(&run), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pass_asks_twice_a_job_changes_nothing_and_is_silent() {
    let yard = Yard::new(3).await;
    yard.finish_all();
    let list = yard.list_of(&yard.jobs);
    let arguments = [list.to_str().unwrap(), DEST, "--once"];
    let first = yard.run(&arguments).await;
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    let before = snapshot(&yard.root().join("loras"));
    yard.simulator().clear_requests();
    let second = yard.run(&arguments).await;
    assert_eq!((code(&second), stderr(&second)), (0, String::new()));
    assert_eq!(snapshot(&yard.root().join("loras")), before);
    assert_eq!((yard.simulator().api_requests(), yard.simulator().artifact_requests()), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_429_slows_all_and_loses_nothing() {
    let yard = Yard::new(6).await;
    yard.finish_all();
    let storm = || Fault::once("", What::retry_after(429, "1")).times(9);
    for end in ["/status", "/result"] {
        yard.simulator().fault(Fault { matches: end.to_owned(), ..storm() });
    }
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    yard.assert_complete(0..6);
    let requests = yard.simulator().requests();
    let refused = requests.iter().filter(|request| request.status == 429).count();
    assert_eq!(refused, 18, "the storm passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_asked_no_more_than_the_budget_allows() {
    let yard = Yard::new(5).await;
    yard.finish_all();
    let list = yard.list_of(&yard.jobs);
    let began = std::time::Instant::now();
    let mut command =
        yard.bench.command(&["fleet", list.to_str().unwrap(), DEST, "--once", "--api-rate", "8/s"]);
    command.current_dir(yard.root());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    // Ten requests, an eighth of a second apart.
    assert_eq!(yard.simulator().api_requests(), 10);
    assert!(began.elapsed() >= std::time::Duration::from_millis(9 * 125), "{:?}", began.elapsed());
}

/// When an event came, in milliseconds.
fn moment(event: &Value) -> i64 {
    event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_asks_of_one_job_holds_for_all() {
    let yard = Yard::new(3).await;
    yard.finish_all();
    yard.simulator().fault(Fault::once("/status", What::retry_after(429, "2")));
    let list = yard.list_of(&yard.jobs);
    let arguments =
        ["fleet", list.to_str().unwrap(), DEST, "--once", "--output", "json", "--api-rate", "10/s"];
    let mut command = yard.bench.command(&arguments);
    command.current_dir(yard.root());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let reported = events(&run);
    let refused = moment(reported.iter().find(|event| event["event"] == "retrying").unwrap());
    let first = reported.iter().filter(|event| event["event"] == "job").map(moment).min().unwrap();
    // The other jobs had asked nothing yet, a tenth of a second after the first.
    assert!(first - refused >= 1900, "{} ms", first - refused);
    assert_eq!(yard.simulator().api_requests(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_next_comes_before_files_of_a_job_that_is_over() {
    // Both have forty checkpoints; those of the one that trains are deleted one after the other.
    let many = |name| rcsync::simulator::JobPlan { save_every: 1, sample_every: 0, ..plan(name) };
    let yard = Yard::of(vec![many("dog-0"), many("dog-1")]).await;
    yard.simulator().finish(&yard.jobs[0]);
    yard.simulator().advance_steps(&yard.jobs[1], 38);
    yard.simulator().set_host(|host| host.latency = std::time::Duration::from_millis(20));
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--once", "--connections", "4"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    yard.assert_complete(0..2);
    let requests = yard.simulator().requests().into_iter();
    let asked: Vec<String> =
        requests.filter(|request| request.origin == Origin::Artifacts).map(|request| request.path).collect();
    // When the last one of the job that trains was asked for, how many of the other had been?
    let last = asked.iter().rposition(|path| path.contains("dog-1_0000")).unwrap();
    let others = asked[..last].iter().filter(|path| path.contains("dog-0_0000")).count();
    // One of four goes to either in turn.
    assert!(others <= 20, "{others} of {} before {last}", asked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shared_by_all_jobs() {
    let yard = Yard::new(4).await;
    yard.finish_all();
    yard.simulator().set_host(|host| host.throttle = Some(100_000));
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--once", "--connections", "3"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    yard.assert_complete(0..4);
    let peak = yard.simulator().peak_transfers();
    assert!((2..=3).contains(&peak), "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_of_one_name_do_not_share_a_folder() {
    let yard = Yard::of(vec![plan("dog-0"), plan("dog-0"), plan("dog-2")]).await;
    yard.finish_all();
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--once"]).await;
    let reported = stderr(&run);
    assert_eq!(code(&run), 73, "{reported}");
    yard.assert_complete([2]);
    assert!(reported.contains("has the same name") && reported.contains("`{id}` in DEST"), "{reported}");
    let run = yard.run(&[list.to_str().unwrap(), "by-id/{id}", "--once"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    for job in &yard.jobs {
        assert!(yard.root().join("by-id").join(job.as_str()).join("SHA256SUMS").is_file());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn each_job_has_its_hooks_and_its_own_settings() {
    let yard = Yard::new(2).await;
    yard.finish_all();
    let comfy = yard.root().join("my ui/models/loras");
    std::fs::create_dir_all(&comfy).unwrap();
    let lines = [
        format!("id={} keep-last=1 comfyui='{}'", yard.jobs[0], yard.root().join("my ui").display()),
        yard.jobs[1].to_string(),
    ];
    let list = yard.list(&[&lines[0], &lines[1]]);
    let hook = "sh -c 'echo {job_id} {path} >> reported.txt'";
    let reported = yard.root().join("reported.txt");
    let hook = hook.replace("reported.txt", reported.to_str().unwrap());
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--exec", &hook]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let checkpoints = |number: usize| {
        let names = std::fs::read_dir(yard.dir(number)).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".safetensors")).count()
    };
    assert_eq!((checkpoints(0), checkpoints(1)), (2, 4), "one numbered and the final; all");
    assert!(comfy.join("dog-0/dog-0.safetensors").is_file() && !comfy.join("dog-1").exists());
    let reported = std::fs::read_to_string(reported).unwrap();
    for job in &yard.jobs {
        assert!(reported.lines().filter(|line| line.starts_with(job.as_str())).count() >= 5, "{reported}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_file_has_all_jobs() {
    let yard = Yard::new(3).await;
    yard.finish_all();
    let list = yard.list_of(&yard.jobs);
    let run = yard.run(&[list.to_str().unwrap(), DEST, "--once", "--metrics-file", "fleet.prom"]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let text = std::fs::read_to_string(yard.root().join("fleet.prom")).unwrap();
    for job in &yard.jobs {
        assert!(text.contains(&format!("rcsync_exit_code{{job_id=\"{job}\"}} 0\n")), "{text}");
    }
    assert_eq!(text.matches("# TYPE rcsync_exit_code ").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_turn_at_a_time_still_follows_all() {
    let yard = Yard::new(3).await;
    for job in &yard.jobs {
        yard.simulator().advance_steps(job, 12);
    }
    let list = yard.list_of(&yard.jobs);
    let fleet = yard.start(&[list.to_str().unwrap(), DEST, "--jobs", "1", "--interval", "200ms"]);
    for job in &yard.jobs {
        fleet.wait_for(job, "published", |_| true);
    }
    yard.finish_all();
    assert_eq!(fleet.end().await, 0);
    yard.assert_complete(0..3);
    let hosts = yard.simulator().requests().into_iter().filter(|request| request.origin == Origin::Artifacts);
    assert!(hosts.count() >= 12);
}
