//! What `dataset push`, `status`, `ls` and `rm` do where nothing goes wrong.

use std::time::{Duration, SystemTime};

use rcsync::DatasetStatus;
use rcsync::simulator::{Origin, RequestRecord, picture};

use super::rig::{Rig, events, names, out};
use crate::support::{code, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_sent_once_and_only_what_changed_again() {
    let rig = Rig::new().await;
    rig.photos("dog", 6);
    rig.write("dog/.DS_Store", "x");
    let first = rig.run_to("dataset push dog --output json", 0).await;
    std::fs::remove_file(rig.path("dog/.DS_Store")).unwrap();
    rig.assert_equal("dog", "dog");
    assert_eq!(rig.simulator.dataset("dog").unwrap().status, DatasetStatus::Ready);
    let events = events(&first);
    let kinds = names(&events);
    assert_eq!((kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]), ("checked", "ready", "done"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "sending").count(), 12);
    assert_eq!(kinds.iter().filter(|kind| **kind == "sent").count(), 12);
    assert!(kinds.contains(&"waiting"));
    for event in &events {
        assert!(
            event["time"].is_string() && event["job_id"].is_null() && event["dataset"] == "dog",
            "{event}"
        );
    }
    let sent = events.iter().find(|event| event["path"] == "000.jpg" && event["event"] == "sent").unwrap();
    assert_eq!(sent["sha256"], super::rig::sha256(&rig.path("dog/000.jpg")));
    let done = events.last().unwrap();
    assert_eq!((&done["exit_code"], &done["sent"], &done["failed"]), (&0.into(), &12.into(), &0.into()));

    rig.simulator.clear_requests();
    let again = rig.run_to("dataset push dog", 0).await;
    assert!(out(&again).contains("folder_path: /app/ai-toolkit/datasets/dog"), "{}", out(&again));
    assert_eq!(rig.requests("POST", "").len(), 0, "nothing is sent twice");
    assert!(rig.simulator.requests().len() <= 4);

    // The same length and other bytes; another change time and the same bytes.
    rig.write("dog/001.txt", "picture 0!1");
    let touched = std::fs::File::options().append(true).open(rig.path("dog/002.jpg")).unwrap();
    touched.set_modified(SystemTime::now() - Duration::from_secs(900)).unwrap();
    drop(touched);
    rig.run_to("dataset push dog", 0).await;
    assert_eq!(rig.requests("POST", "/upload").len(), 1);
    rig.assert_equal("dog", "dog");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_refused_reports_why_as_an_event_and_nothing_else() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.run_to("dataset push dog", 0).await;
    std::fs::remove_file(rig.path("dog/001.jpg")).unwrap();
    std::fs::remove_file(rig.path("dog/001.txt")).unwrap();
    let foreign = rig.run_to("dataset push dog --output json", 65).await;
    let events = events(&foreign);
    assert_eq!(names(&events), ["checked", "error", "done"]);
    assert!(events[1]["message"].as_str().unwrap().contains("`001.jpg`"), "{}", events[1]);
    assert_eq!((&events[1]["exit_code"], &events[2]["exit_code"]), (&65.into(), &65.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_memory_names_and_lengths_decide() {
    let rig = Rig::new().await;
    rig.photos("dog", 3);
    rig.run_to("dataset push dog", 0).await;
    std::fs::remove_dir_all(rig.path(".local")).unwrap();
    rig.simulator.clear_requests();
    let again = rig.run_to("dataset push dog", 0).await;
    assert!(stderr(&again).contains("6 of them known only by name and length"), "{}", stderr(&again));
    assert_eq!(rig.requests("POST", "/upload").len(), 0);
    rig.write("dog/000.txt", "longer than before");
    rig.run_to("dataset push dog", 0).await;
    assert_eq!(rig.requests("POST", "/upload").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_spaces_and_emoji_arrive_as_they_are() {
    let rig = Rig::new().await;
    for name in ["my dog \u{1f415}", "it's 100%? a \"dog\""] {
        rig.write(&format!("dog/{name}.jpg"), picture(1, 64));
        rig.write(&format!("dog/{name}.txt"), name);
    }
    rig.run_to("dataset push dog", 0).await;
    rig.assert_equal("dog", "dog");
    // The storage behind signed links gets them in its own way.
    rig.simulator.set_datasets(|options| options.form_limit = 0);
    rig.run_to("dataset push dog --name signed", 0).await;
    rig.assert_equal("dog", "signed");
    assert!(rig.simulator.dataset("signed").unwrap().files.values().all(|file| file.signed));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_go_by_signed_links_without_the_token() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.write("dog/002.jpg", picture(7, 512));
    // As near the border as it gets: what is around the file counts too.
    let border = std::fs::metadata(rig.path("dog/002.jpg")).unwrap().len();
    rig.simulator.set_datasets(|options| options.form_limit = border);
    let done = rig.run_to("dataset push dog --output json -v", 0).await;
    rig.assert_equal("dog", "dog");
    let is_signed = |name: &str| rig.simulator.dataset("dog").unwrap().files[name].signed;
    assert!(is_signed("002.jpg") && !is_signed("000.jpg"));
    let puts = rig.requests("PUT", "/uploads/");
    assert_eq!(puts.len(), 1);
    let header =
        |name: &str| puts[0].headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(header("content-length"), Some(border.to_string()), "the exact length");
    assert_eq!(header("transfer-encoding"), None);
    assert_eq!(header("x-upload-meta").as_deref(), Some("simulated"), "the headers that were given");
    for RequestRecord { origin, had_authorization, .. } in rig.simulator.requests() {
        assert_eq!(had_authorization, origin == Origin::Api, "the token goes to the API alone");
    }
    let said = out(&done) + &stderr(&done);
    assert!(!said.contains("sig=") && !said.contains(rig.simulator.token()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_what_would_be_sent_and_sends_nothing() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    let dry = rig.run_to("dataset push dog --dry-run", 0).await;
    assert!(
        out(&dry).contains("send  000.jpg") && out(&dry).contains("the dataset does not have it"),
        "{}",
        out(&dry)
    );
    assert_eq!(rig.simulator.datasets(), []);
    rig.run_to("dataset push dog", 0).await;
    rig.write("dog/000.txt", "a longer caption");
    rig.simulator.clear_requests();
    let dry = rig.run_to("dataset push dog --dry-run", 0).await;
    assert_eq!(out(&dry).lines().count(), 1, "{}", out(&dry));
    assert!(rig.simulator.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_listed_compared_and_cleared() {
    let rig = Rig::new().await;
    rig.photos("dog", 2);
    rig.run_to("dataset push dog --name dog_photos -q", 0).await;
    let listed = rig.run_to("dataset ls", 0).await;
    assert!(out(&listed).contains("dog_photos") && out(&listed).contains("READY"), "{}", out(&listed));
    let id = rig.simulator.dataset("dog_photos").unwrap().id;
    for name in ["dog_photos", id.as_str()] {
        let status = rig.run_to(&format!("dataset status {name} --output json"), 0).await;
        let document: serde_json::Value = serde_json::from_str(&out(&status)).unwrap();
        assert_eq!((&document["status"], &document["name"]), (&"READY".into(), &"dog_photos".into()));
        assert_eq!(document["files"].as_array().unwrap().len(), 4);
    }
    let same = rig.run_to("dataset status dog_photos --against dog", 0).await;
    assert!(out(&same).contains("same files"), "{}", out(&same));
    rig.write("dog/000.txt", "longer than it was");
    rig.write("dog/9.txt", "new");
    std::fs::remove_file(rig.path("dog/001.txt")).unwrap();
    let other = rig.run_to("dataset status dog_photos --against dog", 1).await;
    for line in ["missing  9.txt", "differs  000.txt", "foreign  001.txt"] {
        assert!(out(&other).contains(line), "{line}: {}", out(&other));
    }
    let unknown = rig.run_to("dataset status dog_photo", 65).await;
    assert!(stderr(&unknown).contains("did you mean `dog_photos`?"), "{}", stderr(&unknown));
    let asked = rig.run_to("dataset rm dog_photos", 64).await;
    let said = stderr(&asked);
    assert!(said.starts_with("error: `dataset rm` asks") && said.contains("--yes"), "{said}");
    assert!(!said.contains("[y/N]"), "no question without a terminal: {said}");
    assert_eq!(rig.simulator.datasets().len(), 1, "nothing is deleted unasked");
    rig.run_to("dataset rm dog_photos --yes", 0).await;
    assert_eq!(rig.simulator.datasets(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_show_files_and_bytes() {
    let rig = Rig::new().await;
    rig.photos("dog", 4);
    let done = rig.run("dataset push dog --progress always").await;
    assert_eq!(code(&done), 0);
    let said = stderr(&done);
    assert!(said.contains("files  ") && said.contains("bytes  ") && said.contains(" of 8"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_for_all_files_together() {
    let rig = Rig::new().await;
    rig.photos("dog", 4);
    let bytes: u64 = rig.run_to("dataset push dog --dry-run --output json", 0).await.stdout.len() as u64;
    assert!(bytes > 0);
    let total: u64 = std::fs::read_dir(rig.path("dog"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let began = std::time::Instant::now();
    rig.run_to(&format!("dataset push dog --no-wait --limit-rate {}", total / 2), 0).await;
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
}
