//! Folders and accounts that cannot be used: each one clear message, the right code, nothing lost, nothing charged.

use std::io::Write as _;
use std::time::Duration;

use rcsync::DatasetStatus;
use rcsync::simulator::{Fault, What, picture};

use super::rig::{Rig, config};
use crate::support::{Lines, stderr, until};

/// A folder that the check refuses: both commands end with 65 and ask for nothing that changes the account.
async fn refused(rig: &Rig, folder: &str, said: &[&str]) {
    rig.write("dog.yaml", config(&["dog"]));
    for command in
        [format!("dataset push {folder} --name dog"), format!("submit dog.yaml --dataset {folder}")]
    {
        let done = rig.run_to(&command, 65).await;
        for said in said {
            assert!(stderr(&done).contains(said), "{command}: `{said}` is not in\n{}", stderr(&done));
        }
        assert!(stderr(&done).contains("nothing was sent"), "{}", stderr(&done));
        assert_eq!(rig.requests("POST", "").len(), 0, "{command}");
    }
    assert_eq!(rig.simulator.datasets(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_no_trainer_could_use() {
    let rig = Rig::new().await;
    rig.write("empty/readme.md", "x");
    refused(&rig, "empty", &["no picture, clip or sound"]).await;
    rig.write("zero/a.jpg", "");
    rig.write("zero/b.jpg", picture(1, 64));
    refused(&rig, "zero", &["a.jpg", "empty"]).await;
    for name in ["IMG_0001.HEIC", "IMG_0002.heic"] {
        rig.write(&format!("phone/{name}"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    }
    refused(&rig, "phone", &["HEIC", "JPEG or PNG"]).await;
    rig.write("case/Dog.jpg", picture(1, 64));
    rig.write("case/dog.JPG", picture(2, 64));
    refused(&rig, "case", &["Dog.jpg", "dog.JPG"]).await;
    rig.write("windows/a.jpg", picture(1, 64));
    rig.write("windows/a.txt", b"a dog\x92s bone");
    refused(&rig, "windows", &["a.txt", "UTF-8", "5"]).await;
    rig.write("cut/a.jpg", &picture(1, 64)[..500]);
    refused(&rig, "cut", &["a.jpg"]).await;
    // All findings at once, and a way to send it all the same.
    let forced = rig.run_to("dataset push windows --force", 0).await;
    assert!(stderr(&forced).contains("a.txt"), "{}", stderr(&forced));
    rig.assert_equal("windows", "windows");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_are_not_there_or_have_no_name() {
    let rig = Rig::new().await;
    rig.run_to("dataset push nowhere", 66).await;
    rig.photos("my.dog", 1);
    let done = rig.run_to("dataset push my.dog", 65).await;
    assert!(stderr(&done).contains("--name"), "{}", stderr(&done));
    let forced = rig.run_to("dataset push my.dog --force", 65).await;
    assert!(stderr(&forced).contains("letters, digits"), "{}", stderr(&forced));
    assert_eq!(rig.simulator.requests().len(), 0);
    rig.run_to("dataset push my.dog --name my_dog", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_with_other_files_is_left_alone() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.write("dog.yaml", config(&["dog"]));
    rig.simulator.add_dataset("dog", DatasetStatus::Ready, &[("cat.jpg", b"cat"), ("000.jpg", b"other")]);
    for command in ["dataset push dog", "dataset push dog --force", "submit dog.yaml --dataset dog"] {
        let done = rig.run_to(command, 65).await;
        for said in ["`cat.jpg`", "rcsync dataset rm dog", "--name"] {
            assert!(stderr(&done).contains(said), "{said}: {}", stderr(&done));
        }
    }
    assert_eq!(rig.requests("POST", "").len(), 0);
    assert_eq!(rig.simulator.dataset("dog").unwrap().files.len(), 2, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_keeps_what_it_has_and_takes_the_rest_later() {
    let rig = Rig::new().await;
    rig.photos("dog", 8);
    rig.write("dog.yaml", config(&["dog"]));
    rig.simulator.set_datasets(|options| options.quota = Some(8000));
    let done = rig.run_to("submit dog.yaml --dataset dog", 65).await;
    assert!(stderr(&done).contains("storage is full"), "{}", stderr(&done));
    assert_eq!(rig.posted_jobs(), 0, "nothing is charged");
    let kept = rig.simulator.dataset("dog").unwrap().files.len();
    assert!(kept > 0 && kept < 16);
    rig.simulator.set_datasets(|options| options.quota = None);
    rig.run_to("submit dog.yaml --dataset dog", 0).await;
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads == 1), "{:?}", rig.uploads("dog"));
    assert_eq!(rig.posted_jobs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_the_middle_loses_nothing() {
    let rig = Rig::new().await;
    rig.photos("dog", 8);
    rig.write("dog.yaml", config(&["dog"]));
    let expired = r#"{"error_code":40151,"message":"token expired"}"#;
    rig.simulator.fault(Fault::always("/upload", What::json(401, expired)).after(5));
    let done = rig.run_to("submit dog.yaml --dataset dog", 77).await;
    assert!(
        stderr(&done).contains("token expired") && stderr(&done).contains("RUNCOMFY_TOKEN"),
        "{}",
        stderr(&done)
    );
    assert_eq!((rig.simulator.dataset("dog").unwrap().files.len(), rig.posted_jobs()), (5, 0));
    rig.simulator.clear_faults();
    rig.run_to("submit dog.yaml --dataset dog", 0).await;
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads == 1));
    assert_eq!(rig.posted_jobs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_grows_while_it_is_sent_is_not_taken_as_complete() {
    let rig = Rig::new().await;
    rig.photos("dog", 6);
    rig.write("dog.yaml", config(&["dog"]));
    rig.simulator.set_datasets(|options| options.latency = Duration::from_millis(100));
    let child = rig.spawn("submit dog.yaml --dataset dog");
    until("a file is there", || {
        rig.simulator.dataset("dog").is_some_and(|dataset| !dataset.files.is_empty())
    })
    .await;
    rig.write("dog/new.jpg", picture(99, 64));
    let done = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(done.status.code(), Some(75), "{}", stderr(&done));
    assert!(
        stderr(&done).contains("new.jpg") && stderr(&done).contains("nothing was charged"),
        "{}",
        stderr(&done)
    );
    assert_eq!(rig.posted_jobs(), 0);
    rig.run_to("submit dog.yaml --dataset dog", 0).await;
    rig.assert_equal("dog", "dog");
    assert!(rig.uploads("dog").iter().all(|uploads| *uploads == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_sent_never_arrives_half() {
    let rig = Rig::new().await;
    rig.photos("dog", 1);
    rig.write("dog/long.txt", vec![b'a'; 2 << 20]);
    rig.write("dog/long.jpg", picture(5, 64));
    let mut child = rig.spawn("dataset push dog --limit-rate 1M --retries 1 --output json");
    let lines = Lines::of(child.stdout.take().unwrap());
    lines.wait_for("the long file on its way", |line| {
        line.contains("\"sending\"") && line.contains("long.txt")
    });
    // It is open, and a part of it is at the API.
    until("a part has arrived", || rig.simulator.uploaded_bytes() > 300_000).await;
    // In place, with the same length: only its change time tells.
    let mut file = std::fs::File::options().write(true).open(rig.path("dog/long.txt")).unwrap();
    file.write_all(b"b").unwrap();
    drop(file);
    let failed = lines.wait_for("a failure", |line| line.contains("\"failed\"") && line.contains("long.txt"));
    assert!(failed.contains("it changed while it was sent"), "{failed}");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert!(!rig.simulator.dataset("dog").unwrap().files.contains_key("long.txt"));
    rig.run_to("dataset push dog", 0).await;
    rig.assert_equal("dog", "dog");
}
