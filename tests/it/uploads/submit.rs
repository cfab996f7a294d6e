//! `submit` with folders, and what every `submit` looks at first.

use std::time::{Duration, Instant};

use rcsync::DatasetStatus;
use rcsync::simulator::{Fault, What};

use super::rig::{Rig, config, events, names, out};
use crate::support::stderr;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_checked_sent_and_trained_on() {
    let rig = Rig::new().await;
    rig.photos("photos", 4);
    let yaml = config(&["dog"]);
    rig.write("dog.yaml", &yaml);
    let done = rig.run_to("submit dog.yaml --dataset photos", 0).await;
    rig.assert_equal("photos", "dog");
    assert!(out(&done).starts_with("dog  submitted as "), "{}", out(&done));
    let said = stderr(&done);
    assert!(said.contains("starting dog on 1 x ADA_80_PLUS (H100") && said.contains("pays"), "{said}");
    assert!(said.find("ready ").unwrap() < said.find("starting dog").unwrap(), "{said}");
    let posted = rig.requests("POST", "/ai-toolkit/jobs");
    assert_eq!(posted.len(), 1, "exactly one");
    let body: serde_json::Value = serde_json::from_str(&posted[0].body).unwrap();
    assert_eq!(body["config_file"], yaml, "byte for byte");
    assert_eq!(body["gpu_type"], "ADA_80_PLUS", "the default");
    // The POST came after the last upload and after READY.
    let requests = rig.simulator.requests();
    let last_upload = requests.iter().rposition(|request| request.path.ends_with("/upload")).unwrap();
    let submitted = requests.iter().position(|request| request.path.ends_with("/jobs")).unwrap();
    assert!(last_upload < submitted);
    // With JSON and without --follow there is one document.
    let again = rig.run_to("submit dog.yaml --dataset photos --output json", 0).await;
    assert!(serde_json::from_str::<serde_json::Value>(&out(&again)).unwrap()["job_id"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_with_events_from_the_check_to_the_last_file() {
    let rig = Rig::with(rcsync::simulator::SimulatorConfig {
        step_time: Some(Duration::from_millis(5)),
        ..rcsync::simulator::SimulatorConfig::default()
    })
    .await;
    rig.photos("dog", 2);
    rig.write("dog.yaml", config(&["dog"]));
    let done =
        rig.run_to("submit dog.yaml --dataset dog --follow out --interval 200ms --output json", 0).await;
    let events = events(&done);
    let kinds = names(&events);
    let place = |kind| {
        kinds.iter().position(|known| *known == kind).unwrap_or_else(|| panic!("no {kind}: {kinds:?}"))
    };
    let order = ["checked", "sending", "sent", "ready", "submitted", "job", "published", "done"].map(place);
    assert!(order.is_sorted(), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "done").count(), 1, "one end");
    assert!(rig.path("out/dog.safetensors").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_folders_for_control_images() {
    let rig = Rig::new().await;
    rig.photos("a", 2);
    rig.photos("b", 2);
    rig.write("dog.yaml", config(&["dog", "dog_control"]));
    let unclear = rig.run_to("submit dog.yaml --dataset a --dataset b", 65).await;
    assert!(stderr(&unclear).contains("--dataset NAME=a"), "{}", stderr(&unclear));
    let unknown = rig.run_to("submit dog.yaml --dataset cat=a", 65).await;
    assert!(stderr(&unknown).contains("names no dataset `cat`"), "{}", stderr(&unknown));
    // The second folder is broken: nothing of the first one is sent.
    rig.write("b/001.jpg", "no picture");
    rig.run_to("submit dog.yaml --dataset dog=a --dataset dog_control=b", 65).await;
    assert_eq!(rig.requests("POST", "").len(), 0, "all checks come before anything is sent");
    rig.photos("b", 2);
    rig.run_to("submit dog.yaml --dataset dog=a --dataset dog_control=b", 0).await;
    rig.assert_equal("a", "dog");
    rig.assert_equal("b", "dog_control");
    assert_eq!(rig.posted_jobs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_whose_answer_was_lost_is_not_repeated_blindly() {
    let rig = Rig::new().await;
    rig.photos("dog", 1);
    rig.write("dog.yaml", config(&["dog"]));
    rig.simulator.fault(Fault::once("/ai-toolkit/jobs", What::DropAnswer));
    rig.run_to("submit dog.yaml --dataset dog", 69).await;
    assert_eq!(rig.posted_jobs(), 1);
    let again = rig.run_to("submit dog.yaml --dataset dog", 65).await;
    assert!(
        stderr(&again).contains("no answer came") && stderr(&again).contains("--force"),
        "{}",
        stderr(&again)
    );
    assert_eq!(rig.posted_jobs(), 1, "nothing is submitted unasked");
    rig.run_to("submit dog.yaml --dataset dog --force", 0).await;
    assert_eq!(rig.posted_jobs(), 2);
    // A refusal is an answer: nothing is in doubt.
    rig.simulator.fault(Fault::once("/ai-toolkit/jobs", What::json(402, r#"{"message":"no credit"}"#)));
    let refused = rig.run_to("submit dog.yaml --dataset dog", 65).await;
    assert!(stderr(&refused).contains("no credit"), "{}", stderr(&refused));
    rig.run_to("submit dog.yaml --dataset dog", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_checks_the_folder_and_asks_nothing() {
    let rig = Rig::new().await;
    rig.photos("dog", 1);
    rig.write("dog.yaml", config(&["dog"]));
    rig.run_to("submit dog.yaml --dataset dog --dry-run", 0).await;
    rig.write("dog/000.jpg", "");
    rig.run_to("submit dog.yaml --dataset dog --dry-run", 65).await;
    assert_eq!(rig.simulator.requests().len(), 0);
}

/// Without a folder, the datasets of the configuration have to be in the account: that is found out without a submission.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_looks_whether_the_datasets_can_be_trained_on() {
    let rig = Rig::new().await;
    rig.write("dog.yaml", config(&["dgo"]));
    rig.simulator.add_dataset("dog", DatasetStatus::Ready, &[("a.jpg", b"a")]);
    let wrong = rig.run_to("submit dog.yaml --dry-run", 65).await;
    assert!(stderr(&wrong).contains("no dataset `dgo`; did you mean `dog`?"), "{}", stderr(&wrong));
    rig.simulator.add_dataset("dgo", DatasetStatus::Uploading, &[]);
    let early = rig.run_to("submit dog.yaml --dry-run", 65).await;
    assert!(stderr(&early).contains("is UPLOADING"), "{}", stderr(&early));
    let forced = rig.run_to("submit dog.yaml --dry-run --force", 0).await;
    assert!(stderr(&forced).contains("warning: the dataset `dgo` is UPLOADING"), "{}", stderr(&forced));
    rig.write("dog.yaml", config(&["dog"]));
    let fine = rig.run_to("submit dog.yaml --dry-run", 0).await;
    assert!(stderr(&fine).contains("would be submitted"), "{}", stderr(&fine));
    // One folder is sent by the same command, the other dataset has to be there.
    rig.photos("photos", 1);
    rig.write("dog.yaml", config(&["new", "dgo"]));
    let control = rig.run_to("submit dog.yaml --dataset new=photos --dry-run", 65).await;
    assert!(stderr(&control).contains("`dgo` is UPLOADING"), "{}", stderr(&control));
    // A list that cannot be had stops nothing.
    rig.simulator.fault(Fault::always("/trainers/datasets", What::status(500)));
    rig.run_to("submit dog.yaml --dataset new=photos --dry-run", 0).await;
    assert!(rig.simulator.requests().iter().all(|request| request.method == "GET"), "nothing is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_submit_looks_whether_its_datasets_can_be_trained_on() {
    let rig = Rig::new().await;
    rig.write("dog.yaml", config(&["dgo"]));
    rig.simulator.add_dataset("dog", DatasetStatus::Ready, &[("a.jpg", b"a")]);
    let wrong = rig.run_to("submit dog.yaml", 65).await;
    assert!(stderr(&wrong).contains("no dataset `dgo`; did you mean `dog`?"), "{}", stderr(&wrong));
    rig.simulator.add_dataset("dgo", DatasetStatus::Uploading, &[]);
    let early = rig.run_to("submit dog.yaml", 65).await;
    assert!(stderr(&early).contains("is UPLOADING"), "{}", stderr(&early));
    assert_eq!(rig.posted_jobs(), 0);
    let forced = rig.run_to("submit dog.yaml --force", 0).await;
    assert!(stderr(&forced).contains("warning: the dataset `dgo` is UPLOADING"), "{}", stderr(&forced));
    rig.write("dog.yaml", config(&["dog"]));
    rig.run_to("submit dog.yaml", 0).await;
    assert_eq!(rig.posted_jobs(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_had_stops_nothing_and_is_not_asked_for_twice() {
    let rig = Rig::new().await;
    rig.write("dog.yaml", config(&["dog"]));
    for what in [
        What::status(404),
        What::status(500),
        What::retry_after(429, "60"),
        What::Drop,
        What::html(),
        What::json(200, "{}"),
        What::json(200, r#"{"datasets":[{"id":"a-1"}]}"#),
    ] {
        rig.simulator.clear_requests();
        rig.simulator.fault(Fault::always("/trainers/datasets", what));
        let began = Instant::now();
        rig.run_to("submit dog.yaml", 0).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!((rig.requests("GET", "/trainers/datasets").len(), rig.posted_jobs()), (1, 1));
        rig.simulator.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_shows_the_whole_way() {
    let rig = Rig::new().await;
    let done = rig.run_to("demo --dataset show", 0).await;
    let said = stderr(&done);
    let place = |what: &str| said.find(what).unwrap_or_else(|| panic!("no `{what}` in\n{said}"));
    let way =
        ["$ rcsync submit", "checked ", "ready ", "starting demo_dog", "submitted ", "published ", "done "];
    assert!(way.map(place).is_sorted(), "{said}");
    for path in ["photos/dog_01.jpg", "photos/dog_01.txt", "dog.yaml", "lora/demo_dog.safetensors"] {
        assert!(rig.path("show").join(path).exists(), "{path}");
    }
    assert_eq!(rig.simulator.requests().len(), 0, "the user's own account is not asked");
    assert!(!rig.path(".local").exists(), "nothing is remembered of a demo");
}
