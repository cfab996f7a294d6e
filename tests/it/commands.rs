//! The commands that change a job, with the real binary: what is sent, what is refused, and with which words and codes.

use std::path::{Path, PathBuf};
use std::process::Output;

use rcsync::simulator::{Fault, JobPlan, RequestRecord, Simulator, SimulatorConfig, What};
use rcsync::{DatasetStatus, JobId};

use crate::support::{self, Bench, Lines, code, snapshot, stderr, until};

const CONFIG: &str = "\
job: extension
config:
  name: \"dog\"  # größe \\ \"quoted\"\ttab
  process:
    - type: sd_trainer
      training_folder: \"/app/ai-toolkit/output\"
      save: {save_every: 10}
      train: {steps: 40}
      sample: {sample_every: 0}
      datasets:
        - folder_path: \"/app/ai-toolkit/datasets/dog\"
";

const STATES: [&str; 5] = ["IN_QUEUE", "RUNNING", "STOPPED", "FAILED", "CANCELED"];

fn small() -> JobPlan {
    JobPlan { sample_every: 0, ..support::small("dog") }
}

async fn bench() -> Bench {
    let config = SimulatorConfig { submitted: small(), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    simulator.add_dataset("dog", DatasetStatus::Ready, &[("1.jpg", b"x")]);
    let job = simulator.add_job(small());
    Bench::new(simulator, job)
}

fn write(bench: &Bench, name: &str, text: &str) -> PathBuf {
    let path = bench.dir().with_file_name(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn run(bench: &Bench, arguments: &str) -> Output {
    run_with(bench, arguments, |_| {}).await
}

async fn run_with(bench: &Bench, arguments: &str, change: impl FnOnce(&mut std::process::Command)) -> Output {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut command = bench.command(&arguments);
    change(&mut command);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn posts(bench: &Bench) -> Vec<RequestRecord> {
    bench.simulator.requests().into_iter().filter(|request| request.method == "POST").collect()
}

/// A job in this state.
fn job_in(simulator: &Simulator, state: &str) -> JobId {
    let job = simulator.add_job(JobPlan { queue_steps: 1, ..small() });
    if state != "IN_QUEUE" {
        simulator.advance_steps(&job, 15);
    }
    match state {
        "STOPPED" => simulator.preempt(&job),
        "FAILED" => simulator.fail(&job, "CUDA out of memory"),
        "CANCELED" => assert!(simulator.cancel(&job)),
        _ => {}
    }
    assert_eq!(simulator.status(&job).as_str(), state);
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_byte_for_byte_as_documented() {
    let bench = bench().await;
    write(&bench, "c.yaml", CONFIG);
    let yaml = serde_json::to_string(CONFIG).unwrap();
    for (arguments, more) in [
        ("submit c.yaml --gpu-type ADA_80_PLUS", r#""gpu_type":"ADA_80_PLUS""#),
        ("submit c.yaml --gpu-type h200 --gpu-id #1", r##""gpu_type":"HOPPER_141","gpu_id":"#1""##),
        ("submit c.yaml --gpu-type h100 --gpu-count 8", r#""gpu_type":"ADA_80_PLUS","gpu_count":8"#),
        ("submit c.yaml --gpu-type H200 --gpu-count 8 --force", r#""gpu_type":"HOPPER_141","gpu_count":8"#),
    ] {
        bench.simulator.clear_requests();
        let submitted = run(&bench, arguments).await;
        // The simulator knows that there are no eight H200.
        assert_eq!(
            code(&submitted),
            if arguments.ends_with("--force") { 65 } else { 0 },
            "{}",
            stderr(&submitted)
        );
        let [post] = posts(&bench).try_into().unwrap();
        assert_eq!(post.path, "/prod/v1/trainers/ai-toolkit/jobs");
        assert_eq!(post.body, format!(r#"{{"config_file_format":"yaml","config_file":{yaml},{more}}}"#));
        assert!(post.headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    }
    let edited = format!(r#"{{"config_file_format":"yaml","config_file":{yaml}}}"#);
    for (state, command, path, body) in [
        ("RUNNING", "cancel JOB", "cancel", ""),
        ("STOPPED", "resume JOB", "resume", "{}"),
        ("STOPPED", "edit JOB c.yaml", "edit", edited.as_str()),
    ] {
        let job = job_in(&bench.simulator, state);
        bench.simulator.clear_requests();
        let done = run(&bench, &command.replace("JOB", job.as_str())).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let [post] = posts(&bench).try_into().unwrap();
        assert_eq!(post.path, format!("/prod/v1/trainers/ai-toolkit/jobs/{job}/{path}"));
        assert_eq!(post.body, body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_every_state() {
    let bench = bench().await;
    write(&bench, "c.yaml", CONFIG);
    write(&bench, "numbered.yaml", &CONFIG.replace("\"dog\"  #", "2024  #"));
    write(&bench, "variable.yaml", &CONFIG.replace("dog\"  #", "dog\"  # ${style}"));
    write(&bench, "spaced.yaml", &CONFIG.replace("datasets/dog", "datasets/my dog"));
    write(&bench, "renamed.yaml", &CONFIG.replace("dog\"  #", "cat\"  #"));
    // What each command ends with, in the order of the states.
    for (command, codes) in [
        ("status", [0; 5]),
        ("result", [0; 5]),
        ("cancel", [0, 0, 65, 65, 65]),
        ("resume", [65, 65, 0, 0, 0]),
        ("edit", [65, 65, 0, 0, 0]),
    ] {
        for (state, expected) in STATES.iter().zip(codes) {
            let job = job_in(&bench.simulator, state);
            bench.simulator.clear_requests();
            let config = if command == "edit" { "c.yaml" } else { "" };
            let done = run(&bench, &format!("{command} {job} {config} --output json")).await;
            assert_eq!(code(&done), expected, "{command} {state}: {}", stderr(&done));
            if command == "edit" {
                // Problems that waiting does not fix come first, before a job is cancelled for them.
                let renamed = run(&bench, &format!("edit {job} renamed.yaml")).await;
                assert!(
                    stderr(&renamed).contains("an edit cannot rename it"),
                    "{state}: {}",
                    stderr(&renamed)
                );
            }
            if expected == 0 {
                let document: serde_json::Value = serde_json::from_str(&out(&done)).unwrap();
                assert_eq!(document["job_id"], job.as_str());
                assert_eq!(document["name"], "dog");
                assert_eq!(out(&done).lines().count(), 1);
                continue;
            }
            let said = stderr(&done);
            assert!(said.starts_with(&format!("error: job `{job}` is {state}")), "{command}: {said}");
            assert!(said.contains("\nhint: ") && said.contains("`rcsync "), "{said}");
            assert!(posts(&bench).is_empty(), "nothing was sent");
            let document: serde_json::Value = serde_json::from_str(&out(&done)).unwrap();
            assert!(document["error"].as_str().unwrap().contains(state), "{document}");
            assert_eq!((&document["exit_code"], document.get("event")), (&65.into(), None), "{document}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_changed_after_the_look_is_reported_in_the_same_words() {
    let bench = bench().await;
    let job = job_in(&bench.simulator, "RUNNING");
    // The look says STOPPED, the API knows better.
    let stale = format!(r#"{{"id":"{job}","name":"dog","status":"STOPPED"}}"#);
    bench.simulator.fault(Fault::once("/status", What::json(200, stale)));
    let resumed = run(&bench, &format!("resume {job}")).await;
    assert_eq!(code(&resumed), 65);
    assert!(stderr(&resumed).contains("is RUNNING already"), "{}", stderr(&resumed));
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_checked_before_anything_is_sent() {
    let bench = bench().await;
    bench.simulator.add_dataset("my dog", DatasetStatus::Ready, &[("1.jpg", b"x")]);
    write(&bench, "tabs.yaml", "job: extension\nconfig:\n\tname: dog\n");
    write(&bench, "folders.yaml", &CONFIG.replace("/app/ai-toolkit/", "/home/me/"));
    write(&bench, "numbered.yaml", &CONFIG.replace("\"dog\"  #", "2024  #"));
    write(&bench, "variable.yaml", &CONFIG.replace("dog\"  #", "dog\"  # ${style}"));
    write(&bench, "spaced.yaml", &CONFIG.replace("datasets/dog", "datasets/my dog"));
    write(&bench, "renamed.yaml", &CONFIG.replace("dog\"  #", "cat\"  #"));
    let path = bench.dir().with_file_name("binary.yaml");
    std::fs::write(path, b"job: \xff\n").unwrap();
    let stopped = job_in(&bench.simulator, "STOPPED");
    for (arguments, expected, parts) in [
        (
            "submit none.yaml --gpu-type H100",
            66,
            ["there is no file or folder `none.yaml`", "nothing was sent"],
        ),
        ("submit binary.yaml --gpu-type H100", 65, ["is not UTF-8", "nothing was changed"]),
        ("submit tabs.yaml --gpu-type H100", 65, ["`tabs.yaml`: line 3, column 2", "--force"]),
        (
            "submit folders.yaml --gpu-type H100",
            65,
            [
                "line 6: `training_folder` is `/home/me/output`",
                "line 11: `folder_path` is `/home/me/datasets/dog`",
            ],
        ),
        (
            "submit numbered.yaml --gpu-type H100",
            65,
            [
                "line 3: `config.name` is `2024`, which the trainer reads as a number",
                "put it into quotes: `name: \"2024\"`",
            ],
        ),
        ("submit variable.yaml --gpu-type H100", 65, ["line 3: `${style}`", "write the value"]),
        ("edit JOB numbered.yaml", 65, ["line 3: `config.name` is `2024`", "--force"]),
        (
            "submit spaced.yaml --gpu-type H100 --dry-run",
            0,
            ["warning: `spaced.yaml`: line 11: a dataset's name", "`my dog`"],
        ),
        ("edit JOB folders.yaml", 65, ["line 6: `training_folder`", "--force"]),
        ("edit JOB renamed.yaml", 65, ["`config.name` is `cat`", "is called `dog`"]),
        ("edit JOB none.yaml", 66, ["there is no file or folder `none.yaml`", ""]),
        ("resume no-such-job", 65, ["no-such-job", ""]),
    ] {
        let done = run(&bench, &arguments.replace("JOB", stopped.as_str())).await;
        assert_eq!(code(&done), expected, "{arguments}: {}", stderr(&done));
        for part in parts {
            assert!(stderr(&done).contains(part), "{arguments}: {}", stderr(&done));
        }
    }
    assert!(posts(&bench).is_empty(), "nothing was sent");
    let forced = run(&bench, "submit folders.yaml --gpu-type H100 --force --output json").await;
    assert_eq!(code(&forced), 0, "{}", stderr(&forced));
    assert!(stderr(&forced).starts_with("warning: `folders.yaml`: line 6"), "{}", stderr(&forced));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out(&forced)).unwrap()["name"], "dog");
    let dry = run(&bench, "submit folders.yaml --gpu-type H100 --dry-run").await;
    assert_eq!((code(&dry), posts(&bench).len()), (65, 1), "a dry run checks and sends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_a_configuration_too() {
    let bench = bench().await;
    let path = write(&bench, "c.yaml", CONFIG);
    let input = std::fs::File::open(Path::new(&path)).unwrap();
    let done = run_with(&bench, "submit - --gpu-type H100 -q", |command| {
        command.stdin(input);
    })
    .await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(out(&done).starts_with("dog  submitted as "), "{}", out(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_accepted_is_never_sent_twice() {
    let bench = bench().await;
    write(&bench, "c.yaml", CONFIG);
    // Nothing comes back, the API breaks down, or what comes back is no answer.
    for (what, expected) in [
        (What::Cut(3), 69),
        (What::Drop, 69),
        (What::status(500), 69),
        (What::status(503), 69),
        (What::retry_after(504, "1"), 69),
        (What::html(), 76),
    ] {
        bench.simulator.clear_faults();
        bench.simulator.clear_requests();
        bench.simulator.fault(Fault::once("/jobs", what.clone()));
        let done = run(&bench, "submit c.yaml --gpu-type H100").await;
        assert_eq!(code(&done), expected, "{what:?}: {}", stderr(&done));
        assert_eq!(posts(&bench).len(), 1, "{what:?}");
        assert!(stderr(&done).contains("before you send it again"), "{what:?}: {}", stderr(&done));
    }
    // A command whose answer got lost is not sent again: the job is looked at.
    for (command, state) in [("cancel", "RUNNING"), ("resume", "STOPPED")] {
        let job = job_in(&bench.simulator, state);
        bench.simulator.clear_requests();
        bench.simulator.fault(Fault::once(format!("/{command}"), What::Cut(3)));
        let done = run(&bench, &format!("{command} {job}")).await;
        assert_eq!(code(&done), 0, "{command}: {}", stderr(&done));
        assert_eq!(posts(&bench).len(), 1, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_from_a_configuration_to_a_mirror() {
    let config = SimulatorConfig {
        submitted: small(),
        step_time: Some(std::time::Duration::from_millis(20)),
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    simulator.add_dataset("dog", DatasetStatus::Ready, &[("1.jpg", b"x")]);
    let job = simulator.add_job(small());
    let bench = Bench::new(simulator, job);
    write(&bench, "c.yaml", CONFIG);
    let done = run(&bench, "submit c.yaml --gpu-type H100 --interval 200ms --output json --follow out").await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let events: Vec<serde_json::Value> =
        out(&done).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = &events[0];
    assert_eq!((&first["event"], &first["name"]), (&"submitted".into(), &"dog".into()));
    assert!(events.iter().all(|event| event["job_id"] == first["job_id"] && event["time"].is_string()));
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&"done".into(), &0.into()));
    for name in ["dog.safetensors", "dog_000000010.safetensors", "config.yaml", "SHA256SUMS"] {
        assert!(bench.dir().join(name).exists(), "{name}");
    }
    // That folder is taken: a second job does not get into it, and nothing is paid for finding out.
    bench.simulator.clear_requests();
    let again = run(&bench, "submit c.yaml --gpu-type H100 --follow out").await;
    assert_eq!((code(&again), posts(&bench).len()), (73, 0), "{}", stderr(&again));
    assert!(stderr(&again).contains(first["job_id"].as_str().unwrap()), "{}", stderr(&again));
}

/// The signal comes while the API keeps its answer to itself.
#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn a_signal_between_a_command_and_its_answer_is_reported() {
    use rustix::process::{Pid, Signal, kill_process};
    let bench = bench().await;
    write(&bench, "c.yaml", CONFIG);
    for (command, state, path, said) in [
        ("submit c.yaml --gpu-type H100", "RUNNING", "/jobs", ""),
        ("submit c.yaml --gpu-type H100 --follow out", "RUNNING", "/jobs", ""),
        ("cancel JOB", "RUNNING", "/cancel", ""),
        ("resume JOB", "STOPPED", "/resume", ""),
        ("edit JOB c.yaml", "STOPPED", "/edit", ""),
        ("edit JOB c.yaml --resume", "STOPPED", "/resume", "the new configuration was accepted"),
    ] {
        bench.simulator.clear_faults();
        bench.simulator.clear_requests();
        let job = job_in(&bench.simulator, state);
        bench.simulator.fault(Fault::always(path, What::Stall(0)));
        let arguments = command.replace("JOB", job.as_str());
        let running = bench.command(&arguments.split_whitespace().collect::<Vec<_>>()).spawn().unwrap();
        until("it was sent", || posts(&bench).iter().any(|post| post.path.ends_with(path))).await;
        kill_process(Pid::from_child(&running), Signal::INT).unwrap();
        let ended = tokio::task::spawn_blocking(|| running.wait_with_output().unwrap()).await.unwrap();
        assert_eq!(code(&ended), 130, "{command}: {}", stderr(&ended));
        assert!(
            stderr(&ended).contains("interrupted before the answer came"),
            "{command}: {}",
            stderr(&ended)
        );
        assert!(stderr(&ended).contains("before you send it again"), "{command}: {}", stderr(&ended));
        assert!(stderr(&ended).contains(said), "{command}: {}", stderr(&ended));
    }
}

/// The message names a job that was paid for, and does not suggest to pay again.
#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn a_followed_submission_names_its_job_at_once() {
    use rustix::process::{Pid, Signal, kill_process};
    let bench = bench().await;
    write(&bench, "c.yaml", CONFIG);
    bench.simulator.fault(Fault::always("/status", What::status(404)));
    let mut running =
        bench.command(&["submit", "c.yaml", "--gpu-type", "H100", "--follow", "out"]).spawn().unwrap();
    let said = Lines::of(running.stderr.take().unwrap());
    let submitted = said.wait_for("submission", |line| line.starts_with("submitted  dog as "));
    let job = submitted.rsplit(' ').next().unwrap();
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    let stopped = said.wait_for("end", |line| line.starts_with("stopped"));
    assert!(stopped.ends_with(&format!("`rcsync {job} out` continues from them")), "{stopped}");
    assert_eq!(running.wait().unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_that_a_variable_asks_for_sends_and_changes_nothing() {
    let bench = bench().await;
    write(&bench, "c.yaml", CONFIG);
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    // A problem that a dry run only reports.
    std::fs::write(bench.dir().join("config.yaml"), "job: damaged\n").unwrap();
    let before = snapshot(&bench.dir());
    let running = job_in(&bench.simulator, "RUNNING");
    let stopped = job_in(&bench.simulator, "STOPPED");
    for (command, job) in [
        ("submit c.yaml --gpu-type H100 --follow new", None),
        ("cancel RUNNING", Some(&running)),
        ("resume STOPPED --follow new", Some(&stopped)),
        ("edit STOPPED c.yaml --resume", Some(&stopped)),
        ("prune out --keep-last 1", None),
        ("verify out --repair", Some(&bench.job)),
    ] {
        bench.simulator.clear_requests();
        let typed = command.replace("RUNNING", running.as_str()).replace("STOPPED", stopped.as_str());
        let dry = async |more: &str| {
            let typed = format!("{typed} {more}");
            let set = |command: &mut std::process::Command| {
                command.env("RCSYNC_DRY_RUN", "1");
            };
            run_with(&bench, &typed, set).await
        };
        let json = dry("--output json").await;
        let expected = i32::from(command.starts_with("verify"));
        assert_eq!(code(&json), expected, "{command}: {}", stderr(&json));
        let document: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
        if let Some(job) = job {
            assert_eq!(document["job_id"], job.as_str(), "{command}: {document}");
        }
        assert_eq!(document["dry_run"] == true, !command.starts_with("verify"), "{command}: {document}");
        let quiet = dry("-q").await;
        assert!(quiet.stderr.is_empty(), "{command}: {}", stderr(&quiet));
        assert!(posts(&bench).is_empty(), "{command}");
        assert!(!bench.dir().with_file_name("new").exists(), "{command}");
        assert_eq!(snapshot(&bench.dir()), before, "{command}");
    }
    let mirror = run_with(&bench, "mirror out --comfyui .", |command| {
        command.env("RCSYNC_DRY_RUN", "1");
    })
    .await;
    assert_eq!(code(&mirror), 64, "{}", stderr(&mirror));
}

/// What variables and the configuration file say is meant for real jobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_runs_no_hooks() {
    let bench = bench().await;
    let mut command = bench.command(&["demo", "show"]);
    // Taken for a demo's own, it would end the command.
    let mut running = command.env("RCSYNC_EXEC", "'no end").spawn().unwrap();
    let said = Lines::of(running.stderr.take().unwrap());
    said.wait_for("beginning", |line| line.starts_with("a simulated job on "));
    running.kill().unwrap();
    running.wait().unwrap();
}

/// A slip in a variable's name has no effect and would have no other sign; a fleet without a job would look like one that is idle.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_do_nothing_is_reported() {
    let bench = bench().await;
    let dest = bench.dir().join("{name}");
    let fleet = format!("fleet {} --once", dest.display());
    for (name, expected) in [
        ("RCSYNC_KEEPLAST", "`RCSYNC_KEEPLAST` is for no option; did you mean `RCSYNC_KEEP_LAST`?"),
        ("RCSYNC_STRANGER", ""),
        ("RCSYNC_JOB", ""),
    ] {
        let run = run_with(&bench, &fleet, |command| {
            command.env(name, "3");
        });
        let run = run.await;
        let said = stderr(&run);
        assert_eq!(code(&run), 0, "{said}");
        assert!(said.contains("there is no job to follow: `rcsync fleet add <JOB_ID> '"), "{said}");
        assert!(
            said.contains(expected) && expected.is_empty() != said.contains("is for no option"),
            "{said}"
        );
    }
    // As a hook has them.
    let quiet = format!("{fleet} -q");
    let quiet = run_with(&bench, &quiet, |command| {
        command.envs([("RCSYNC_EVENT_ID", "1"), ("RCSYNC_STEP", "500")]);
    });
    let quiet = quiet.await;
    assert_eq!((code(&quiet), stderr(&quiet)), (0, String::new()));
}
