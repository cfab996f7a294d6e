//! What a push does when the API or the storage misbehaves.

use std::time::Duration;

use rcsync::DatasetStatus;
use rcsync::simulator::{Fault, What, picture};

use super::rig::{Rig, events, names, out};
use crate::support::{Lines, stderr, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_costs_no_second_upload() {
    let rig = Rig::new().await;
    rig.photos("dog", 4);
    // The list is the first request, the creation the second one.
    rig.simulator.fault(Fault::once("/trainers/datasets", What::DropAnswer).after(1));
    rig.simulator.fault(Fault::once("/upload", What::DropAnswer).times(3));
    rig.run_to("dataset push dog", 0).await;
    rig.assert_equal("dog", "dog");
    assert_eq!(rig.simulator.datasets().len(), 1, "the dataset was created once");
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads == 1), "{:?}", rig.uploads("dog"));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_faults_are_ridden_out() {
    let rig = Rig::new().await;
    rig.photos("dog", 4);
    for what in [What::Drop, What::status(503), What::html(), What::retry_after(503, "0")] {
        rig.simulator.fault(Fault::once("/upload", what));
    }
    rig.simulator.fault(Fault::once("/status", What::status(500)));
    rig.simulator.fault(Fault::once("/trainers/datasets", What::Drop));
    let done = rig.run_to("dataset push dog --output json", 0).await;
    rig.assert_equal("dog", "dog");
    assert!(names(&events(&done)).contains(&"retrying"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_have_an_end_and_one_file_stops_no_other() {
    let rig = Rig::new().await;
    rig.photos("dog", 3);
    rig.simulator.set_datasets(|options| options.form_limit = 2000);
    rig.write("dog/000.txt", "x".repeat(3000));
    rig.simulator.fault(Fault::always("/uploads/", What::status(500)));
    rig.simulator.fault(Fault::once("000.txt", What::Drop));
    for number in 0..3 {
        rig.write(&format!("dog/{number:03}.jpg"), picture(number, 16));
    }
    let done = rig.run_to("dataset push dog --retries 2 --output json", 75).await;
    let events = events(&done);
    let failed: Vec<_> = events.iter().filter(|event| event["event"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["path"]), (1, &"000.txt".into()), "{events:?}");
    assert_eq!(rig.simulator.dataset("dog").unwrap().files.len(), 5);
    assert_eq!(rig.requests("PUT", "/uploads/").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_a_time_become_fewer() {
    let rig = Rig::new().await;
    rig.photos("dog", 12);
    rig.simulator.set_datasets(|options| {
        options.most_at_a_time = Some(2);
        options.latency = Duration::from_millis(20);
    });
    let done = rig.run_to("dataset push dog --connections 8 --retries 1 --output json", 0).await;
    rig.assert_equal("dog", "dog");
    let slowed = events(&done).iter().any(|event| {
        event["event"] == "retrying"
            && event["path"].is_null()
            && event["cause"].as_str().unwrap().contains("4 at a time")
    });
    assert!(slowed, "{}", out(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_link_is_replaced_right_before_its_use() {
    let rig = Rig::new().await;
    rig.photos("dog", 1);
    rig.simulator.set_datasets(|options| {
        options.form_limit = 0;
        options.link_lifetime = Some(Duration::from_secs(60));
    });
    let expired = r#"<Error><Code>ExpiredToken</Code></Error>"#;
    rig.simulator.fault(Fault::once("/uploads/", What::json(400, expired)));
    rig.run_to("dataset push dog --connections 1", 0).await;
    assert_eq!(rig.requests("POST", "/get-upload-endpoint").len(), 3, "one for each try");
    rig.assert_equal("dog", "dog");
    // Links that are dead when they are given out have an end too, and no query is shown.
    rig.simulator.set_datasets(|options| options.link_lifetime = Some(Duration::ZERO));
    rig.write("dog/000.txt", "another caption");
    let done = rig.run_to("dataset push dog --retries 2", 75).await;
    assert!(stderr(&done).contains("ExpiredToken") && !stderr(&done).contains("sig="), "{}", stderr(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_between_two_files_is_not_the_end() {
    let rig = Rig::new().await;
    rig.photos("dog", 6);
    rig.simulator.set_datasets(|options| {
        options.ready_between_files = true;
        options.lists_late = 3;
    });
    // A lost answer makes the push look at the status between two files.
    rig.simulator.fault(Fault::once("/upload", What::DropAnswer).after(2));
    let done = rig.run_to("dataset push dog --connections 1 --output json", 0).await;
    let events = events(&done);
    let ready = events.iter().position(|event| event["event"] == "ready").unwrap();
    assert_eq!(names(&events)[..ready].iter().filter(|kind| **kind == "sent").count(), 12);
    assert!(
        events[..ready].iter().any(|event| {
            event["event"] == "waiting" && event["status"] == "READY" && event["files"] == 11
        }),
        "READY without its last file is waited for: {events:?}"
    );
    rig.assert_equal("dog", "dog");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_length_is_no_success_and_sent_again_when_typed_again() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.simulator.set_datasets(|options| options.misstored = 1);
    let done = rig.run_to("dataset push dog", 75).await;
    assert!(stderr(&done).contains("bytes there and"), "{}", stderr(&done));
    rig.run_to("dataset push dog", 0).await;
    rig.assert_equal("dog", "dog");
    assert_eq!(rig.uploads("dog").iter().sum::<u32>(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_the_api_changes_are_followed() {
    let rig = Rig::new().await;
    rig.simulator.set_datasets(|options| options.rewrites_names = true);
    rig.write("dog/my dog.jpg", picture(1, 64));
    rig.write("dog/my dog.txt", "a dog");
    let done = rig.run_to("dataset push dog", 0).await;
    assert!(stderr(&done).contains("under other names"), "{}", stderr(&done));
    rig.simulator.clear_requests();
    rig.run_to("dataset push dog", 0).await;
    assert_eq!(rig.requests("POST", "").len(), 0);
    // Two names that become one: one picture would be lost in silence.
    rig.write("cat/a b.jpg", picture(2, 64));
    rig.write("cat/a+b.jpg", picture(3, 64));
    let done = rig.run_to("dataset push cat", 65).await;
    assert!(stderr(&done).contains("are both `a_b.jpg`"), "{}", stderr(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_validation_refuses_is_reported_in_the_api_s_words() {
    let rig = Rig::new().await;
    rig.photos("dog", 1);
    rig.simulator.set_datasets(|options| options.failure = Some("2 images are corrupt".to_owned()));
    let done = rig.run_to("dataset push dog", 1).await;
    assert!(stderr(&done).contains("2 images are corrupt"), "{}", stderr(&done));
    // A file that changed makes the API judge again; the old judgement is not believed at once.
    rig.simulator.set_datasets(|options| options.failure = None);
    rig.write("dog/000.txt", "another caption");
    rig.run_to("dataset push dog", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_takes_ready_back_and_is_waited_for() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.simulator.set_datasets(|options| options.looks_until_ready = 4);
    rig.run_to("dataset push dog", 0).await;
    rig.write("dog/000.txt", "a new caption");
    let done = rig.run_to("dataset push dog --output json", 0).await;
    let events = events(&done);
    assert!(
        events.iter().any(|event| event["event"] == "waiting" && event["status"] == "UPLOADING"),
        "{events:?}"
    );
    rig.write("dog/000.txt", "yet another caption");
    let late = rig.run_to("dataset push dog --timeout 100ms", 75).await;
    assert!(stderr(&late).contains("still UPLOADING"), "{}", stderr(&late));
    rig.run_to("dataset push dog --no-wait", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pushes_into_one_dataset_do_not_mix() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.run_to("dataset push dog", 0).await;
    rig.photos("dog", 8);
    rig.simulator.set_datasets(|options| options.latency = Duration::from_millis(400));
    let mut first = rig.spawn("dataset push dog --connections 1 --output json");
    let lines = Lines::of(first.stdout.take().unwrap());
    lines.wait_for("a file on its way", |line| line.contains("\"sending\""));
    let second = rig.run_to("dataset push dog", 75).await;
    assert!(
        stderr(&second).contains("another rcsync sends files into the dataset `dog`"),
        "{}",
        stderr(&second)
    );
    assert!(first.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_is_deleted_meanwhile_ends_the_push() {
    let rig = Rig::new().await;
    rig.photos("dog", 10);
    rig.simulator.set_datasets(|options| options.latency = Duration::from_millis(50));
    let child = rig.spawn("dataset push dog --connections 1");
    until("a file is there", || rig.simulator.dataset("dog").is_some_and(|dataset| dataset.files.len() > 2))
        .await;
    rig.simulator.remove_dataset("dog");
    let done = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(done.status.code(), Some(65), "{}", stderr(&done));
    assert!(stderr(&done).contains("the API knows no dataset"), "{}", stderr(&done));
    assert_ne!(
        rig.simulator.datasets().first().map(|dataset| dataset.status.clone()),
        Some(DatasetStatus::Ready)
    );
}
