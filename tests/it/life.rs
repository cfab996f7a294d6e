//! A job's whole life, with the real binary: submitted, preempted, resumed, edited, finished; and what a resumption
//! does to files that are here.

use std::process::Child;

use rcsync::simulator::{
    Fault, JobPlan, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob, TrainerHash, What,
};
use rcsync::{ArtifactKind, DatasetStatus, JobId, JobStatus};
use serde_json::Value;

use crate::support::{Bench, Lines, code, small, snapshot, stderr};

const CONFIG: &str = "\
job: extension
config:
  name: dog
  process:
    - type: sd_trainer
      training_folder: /app/ai-toolkit/output
      train: {steps: 40}
";

async fn bench() -> Bench {
    let config = SimulatorConfig { submitted: small("dog"), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    simulator.add_dataset("dog", DatasetStatus::Ready, &[("1.jpg", b"x")]);
    let job = simulator.add_job(small("dog"));
    Bench::new(simulator, job)
}

/// A run beside the test; killed when the test ends before it.
struct Followed {
    child: Child,
    events: Lines,
}

impl Followed {
    fn start(bench: &Bench, arguments: &str) -> Self {
        let arguments = format!("{arguments} --output json");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut child = bench.command(&arguments).spawn().unwrap();
        let events = Lines::of(child.stdout.take().unwrap());
        Self { child, events }
    }

    /// Waits for an event of this name that fits, and returns it.
    fn wait_for(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let line = self.events.wait_for(event, |line| {
            let reported = read(line);
            reported["event"] == event && fits(&reported)
        });
        read(&line)
    }

    fn step(&self, step: u64) {
        self.wait_for("job", |reported| reported["step"] == step);
    }

    /// Waits for the end, and returns its code.
    fn end(mut self) -> u64 {
        let done = self.wait_for("done", |_| true);
        let code = self.child.wait().unwrap().code().unwrap();
        assert_eq!(done["exit_code"], code);
        u64::try_from(code).unwrap()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn posts(bench: &Bench) -> Vec<String> {
    let requests = bench.simulator.requests().into_iter().filter(|request| request.method == "POST");
    requests.map(|request| request.path.rsplit('/').next().unwrap().to_owned()).collect()
}

fn names(bench: &Bench) -> Vec<String> {
    let root = bench.dir();
    let files = snapshot(&root).into_keys().filter_map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (!name.starts_with(".rcsync")).then_some(name)
    });
    files.collect()
}

/// Requests to the artifact host for names that contain `part`, and the bytes that they delivered.
fn asked(bench: &Bench, part: &str) -> (usize, u64) {
    let requests = bench.simulator.requests().into_iter();
    let about = requests.filter(|request| {
        request.origin == rcsync::simulator::Origin::Artifacts && request.path.contains(part)
    });
    let bytes: Vec<u64> = about.map(|request| request.body_bytes).collect();
    (bytes.len(), bytes.iter().sum())
}

async fn run(bench: &Bench, arguments: &[&str]) -> std::process::Output {
    let mut command = bench.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn submitted_preempted_resumed_edited_and_finished() {
    let bench = bench().await;
    let root = bench.dir().parent().unwrap().to_path_buf();
    std::fs::write(root.join("c.yaml"), CONFIG).unwrap();
    let options = "--follow out --interval 200ms";
    let submit = format!("submit c.yaml --gpu-type H100 --auto-resume 1 {options}");
    let first = Followed::start(&bench, &submit);
    let job: JobId = first.wait_for("submitted", |_| true)["job_id"].as_str().unwrap().parse().unwrap();
    let simulator = &bench.simulator;
    simulator.advance_steps(&job, 25);
    first.step(25);
    simulator.preempt(&job);
    let resumed = first.wait_for("resumed", |_| true);
    assert_eq!((&resumed["attempt"], &resumed["of"], &resumed["step"]), (&1.into(), &1.into(), &25.into()));
    assert!(resumed["reason"].as_str().unwrap().contains("step 25 of 40"), "{resumed}");
    // It resumes from its latest checkpoint: the steps go back, and the same step is sampled again.
    simulator.advance_steps(&job, 2);
    first.step(22);
    simulator.preempt(&job);
    let notice =
        first.wait_for("notice", |reported| reported["message"].as_str().unwrap().contains("left alone"));
    assert!(notice["message"].as_str().unwrap().contains(&format!("rcsync resume {job}")), "{notice}");
    assert_eq!(first.end(), 75);
    assert_eq!(posts(&bench), ["jobs", "resume"]);

    let longer = CONFIG.replace("steps: 40", "steps: 60");
    std::fs::write(root.join("longer.yaml"), &longer).unwrap();
    let edited = run(&bench, &["edit", job.as_str(), "longer.yaml"]).await;
    assert_eq!(code(&edited), 0, "{}", stderr(&edited));
    let second = Followed::start(&bench, &format!("resume {job} {options}"));
    second.wait_for("resumed", |reported| reported["attempt"].is_null());
    simulator.finish(&job);
    assert_eq!(second.end(), 0);
    assert_eq!(posts(&bench), ["jobs", "resume", "edit", "resume"]);
    let names = names(&bench);
    for name in ["dog.safetensors", "dog_000000020.safetensors", "dog_000000050.safetensors", "config.yaml"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert_eq!(std::fs::read_to_string(bench.dir().join("config.yaml")).unwrap(), longer);
    assert!(names.iter().any(|name| name.starts_with("config~")), "the old one is kept: {names:?}");
    bench.assert_sums_pass();
    let after = run(&bench, &[job.as_str(), "out", "--once"]).await;
    assert_eq!((code(&after), after.stderr.len()), (0, 0), "{}", stderr(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_end_but_an_early_stop_is_resumed() {
    let bench = bench().await;
    for (end, expected) in [("failed", 1), ("canceled", 1), ("error in the result", 75), ("finished", 0)] {
        let job = bench.simulator.add_job(small("dog"));
        bench.simulator.advance_steps(&job, 15);
        match end {
            "failed" => bench.simulator.fail(&job, "CUDA out of memory"),
            "canceled" => assert!(bench.simulator.cancel(&job)),
            "finished" => bench.simulator.finish(&job),
            _ => {
                bench.simulator.preempt(&job);
                bench.simulator.set_result_error(&job, Some("the server was reclaimed"));
            }
        }
        let arguments = [job.as_str(), "--auto-resume", "--interval", "100ms", "-q"];
        let run = run(&bench, &arguments).await;
        assert_eq!(code(&run), expected, "{end}: {}", stderr(&run));
        assert_eq!(posts(&bench), [""; 0], "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumption_whose_answer_gets_lost_is_not_sent_again() {
    let bench = bench().await;
    let job = bench.job.clone();
    bench.simulator.advance_steps(&job, 15);
    bench.simulator.preempt(&job);
    bench.simulator.fault(Fault::once("/resume", What::status(503)));
    bench.simulator.fault(Fault::once("/resume", What::Cut(3)));
    let followed = Followed::start(&bench, &format!("{job} out --auto-resume=1 --interval 100ms"));
    followed.wait_for("notice", |reported| reported["message"].as_str().unwrap().contains("unknown whether"));
    // A 503 after a request that changes something proves nothing, too: so the test resumes it by hand.
    assert!(bench.simulator.resume(&job));
    bench.simulator.finish(&job);
    assert_eq!(followed.end(), 0);
    assert_eq!(posts(&bench), ["resume"]);
}

/// A server whose response makes no sense may have taken the request: it counts, or a job would be resumed for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumption_that_is_answered_with_nonsense_counts() {
    let bench = bench().await;
    let job = bench.job.clone();
    bench.simulator.advance_steps(&job, 15);
    bench.simulator.preempt(&job);
    bench.simulator.fault(Fault::always("/resume", What::json(200, "[]")));
    let followed = Followed::start(&bench, &format!("{job} out --auto-resume=1 --interval 100ms"));
    followed.wait_for("notice", |reported| reported["message"].as_str().unwrap().contains("unknown whether"));
    assert!(bench.simulator.resume(&job));
    bench.simulator.finish(&job);
    assert_eq!(followed.end(), 0);
    assert_eq!(posts(&bench), ["resume"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_resumption_what_may_be_rewritten_is_asked_about_once() {
    let bench = bench().await;
    let (simulator, job) = (&bench.simulator, &bench.job);
    let pass = async || {
        bench.simulator.clear_requests();
        let run = bench.once(&[]).await;
        assert_eq!(code(&run), 0, "{}", stderr(&run));
    };
    simulator.finish(job);
    pass().await;
    let before = names(&bench);
    assert!(simulator.resume(job));
    pass().await;
    assert_eq!(simulator.artifact_requests(), 0, "a job in the queue writes nothing");
    simulator.advance_steps(job, 0);
    pass().await;
    // Three numbered checkpoints and the final one, each once; the samples are names of their own.
    assert_eq!(asked(&bench, ".safetensors"), (4, 0), "{:?}", simulator.requests());
    assert_eq!(asked(&bench, "config.yaml").0, 1);
    assert_eq!(asked(&bench, "samples").0, 0);
    pass().await;
    assert_eq!(simulator.artifact_requests(), 0, "once");
    assert_eq!(names(&bench), before);
    simulator.finish(job);
    pass().await;
    assert_eq!(
        asked(&bench, "dog_0000000"),
        (0, 0),
        "numbered ones belong to steps that were not passed again"
    );
    assert!(asked(&bench, "dog.safetensors").1 > 20_000, "the final one is another");
    let after = names(&bench);
    let new: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
    // The old final checkpoint, and the sample of the last step once more, beside the first one.
    assert!(
        matches!(new[..], [old, sample] if old.starts_with("dog~") && sample.ends_with("__000000040_0.jpg")),
        "{new:?}"
    );
    pass().await;
    assert_eq!(simulator.artifact_requests(), 0);
    bench.assert_sums_pass();
}

/// Between an answer and what follows from it, another connection must not ask the same.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_that_may_be_rewritten_is_asked_about_once() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let plan = JobPlan { steps: 500, save_every: 1, sample_every: 500, keep: 0, ..small("dog") };
    let job = simulator.add_job(plan);
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert!(bench.simulator.resume(&bench.job));
    bench.simulator.advance_steps(&bench.job, 0);
    bench.simulator.clear_requests();
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert_eq!(asked(&bench, ".safetensors"), (500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continued_job_is_noticed_without_a_new_time_stamp() {
    let bench = bench().await;
    let file = |name: &str, bytes| StaticFile::new(ArtifactKind::Checkpoint, name, bytes);
    let weights = |bytes, step| StaticBytes::Weights { bytes, step, hash: TrainerHash::Right };
    let job = |status, last| StaticJob {
        name: "dog".to_owned(),
        files: vec![
            file("dog_000000010.safetensors", weights(20_000, 10)),
            file("dog.safetensors", weights(last, 40)),
        ],
        status,
        ..StaticJob::default()
    };
    let id = bench.simulator.add_static_job(job(JobStatus::Stopped, 20_000));
    let pass = async || {
        bench.simulator.clear_requests();
        let run = run(&bench, &[id.as_str(), "out", "--once"]).await;
        assert_eq!(code(&run), 0, "{}", stderr(&run));
        asked(&bench, "")
    };
    assert_eq!(pass().await.0, 2);
    assert_eq!(pass().await, (0, 0));
    bench.simulator.replace_static_job(&id, job(JobStatus::Running, 20_000));
    assert_eq!(pass().await, (2, 0), "it runs: each is asked about once, and none is new");
    assert_eq!(pass().await, (0, 0));
    bench.simulator.replace_static_job(&id, job(JobStatus::Stopped, 30_000));
    assert!(pass().await.1 > 30_000, "a new end: the final checkpoint is another");
    assert_eq!(pass().await, (0, 0));
    assert!(names(&bench).iter().any(|name| name.starts_with("dog~")), "{:?}", names(&bench));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_goes_silent_is_reported_once() {
    let bench = bench().await;
    let job = bench.job.clone();
    let followed = Followed::start(&bench, &format!("{job} out --interval 50ms"));
    for step in 1..=15 {
        bench.simulator.advance_steps(&job, 1);
        followed.step(step);
    }
    let stalled = followed.wait_for("stalled", |_| true);
    assert_eq!(stalled["step"], 15);
    assert!(stalled["quiet_seconds"].as_f64() >= stalled["usual_seconds"].as_f64(), "{stalled}");
    bench.simulator.finish(&job);
    assert_eq!(followed.end(), 0);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_event_of_a_silent_job() {
    let (address, reported) = crate::hooks::receiver(Vec::new());
    let bench = bench().await;
    let job = bench.job.clone();
    let followed = Followed::start(&bench, &format!("{job} out --interval 50ms --webhook {address}"));
    for step in 1..=15 {
        bench.simulator.advance_steps(&job, 1);
        followed.step(step);
    }
    let hears = || reported.recv_timeout(std::time::Duration::from_secs(20)).expect("it is reported").1;
    let stalled = std::iter::repeat_with(hears).find(|reported| reported["event"] == "stalled").unwrap();
    assert_eq!(stalled["step"], 15);
    assert_eq!(stalled["job_id"], job.as_str());
    bench.simulator.finish(&job);
    assert_eq!(followed.end(), 0);
}
