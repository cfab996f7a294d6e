//! Logs of decisions: where they are asked for they are on standard error, with their reasons; otherwise nothing is logged.

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};

use crate::support::{Bench, code, stderr};

async fn finished() -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let plan = JobPlan { checkpoint_bytes: 100_000, picture_side: 32, ..JobPlan::default() };
    let job = simulator.add_job(plan);
    simulator.finish(&job);
    Bench::new(simulator, job)
}

async fn run(bench: &Bench, more: &[&str], filter: Option<&str>) -> (i32, String) {
    let dir = bench.dir();
    let mut arguments = vec![bench.job.as_str(), dir.to_str().unwrap(), "--once"];
    arguments.extend(more);
    let mut command = bench.command(&arguments);
    command.envs(filter.map(|filter| ("RCSYNC_LOG", filter)));
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (code(&run), stderr(&run))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_decision_is_logged_with_its_reason_where_it_is_asked_for() {
    let planned = "path=my_first_lora.safetensors step=fetch (new)";
    for (more, filter) in
        [(&["-vv"][..], None), (&[], Some("debug")), (&["-q"], Some("rcsync::engine=debug"))]
    {
        let bench = finished().await;
        let (code, text) = run(&bench, more, filter).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("DEBUG") && text.contains("polled"), "{more:?} {filter:?}: {text}");
        assert!(text.contains(planned), "{more:?} {filter:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_logged_where_nothing_asks_for_it() {
    let bench = finished().await;
    for (more, filter) in [(&[][..], None), (&["-v"], None), (&[], Some("")), (&[], Some("off"))] {
        let (_, text) = run(&bench, more, filter).await;
        assert!(!text.contains("DEBUG") && !text.contains("polled"), "{more:?} {filter:?}: {text}");
    }
}

/// The HTTP library logs addresses with their queries, and headers.
#[tokio::test(flavor = "multi_thread")]
async fn lines_of_libraries_are_never_logged() {
    let bench = finished().await;
    let (_, text) = run(&bench, &[], Some("trace,hyper=trace,reqwest=trace,hyper_util=trace")).await;
    let foreign = text.lines().filter(|line| line.contains("TRACE") || line.contains("DEBUG"));
    let foreign: Vec<&str> = foreign.filter(|line| !line.contains(" rcsync::")).collect();
    assert!(text.contains(" rcsync::") && foreign.is_empty(), "{foreign:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_not_valid_is_a_usage_error() {
    let bench = finished().await;
    let (code, text) = run(&bench, &[], Some("rcsync=loud")).await;
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("RCSYNC_LOG"), "{text}");
}
