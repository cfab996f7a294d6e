//! The page that compares the jobs of a fleet.

use super::yard::Yard;
use crate::support::{code, stderr};

const DEST: &str = "loras/{name}";

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_keeps_the_page_that_compares_its_jobs_current() {
    let yard = Yard::new(2).await;
    yard.simulator().finish(&yard.jobs[0]);
    yard.simulator().advance_steps(&yard.jobs[1], 12);
    let list = yard.list_of(&yard.jobs);
    let words = [list.to_str().unwrap(), DEST, "--once"];
    let page = yard.root().join("loras/index.html");
    let dry = yard.run(&[list.to_str().unwrap(), DEST, "--dry-run"]).await;
    assert!(code(&dry) == 0 && !page.exists(), "{}", stderr(&dry));
    let said = stderr(&dry);
    let sum = said.lines().last().unwrap();
    assert!(sum.contains("2 jobs: ") && sum.contains(" to fetch, 0 here"), "{said}");
    assert!(!said.contains("complete"), "nothing was fetched, and one job trains: {said}");
    assert_eq!(code(&yard.run(&words).await), 0);
    let read = || std::fs::read_to_string(&page).unwrap();
    let first = read();
    assert!(first.contains("dog-0") && first.contains("dog-1"));
    assert!(!first.contains("dog-1_000000030"), "it was not saved yet");
    // Nothing new: not a byte is written.
    let written = || page.metadata().unwrap().modified().unwrap();
    let before = written();
    assert_eq!(code(&yard.run(&words).await), 0);
    assert_eq!((read(), written()), (first.clone(), before));
    // A job went on: the page has it.
    yard.finish_all();
    assert_eq!(code(&yard.run(&words).await), 0);
    assert_ne!(read(), first);
    // A page that rcsync did not write stays, which is reported and is no error.
    std::fs::write(&page, "mine").unwrap();
    std::fs::remove_file(yard.dir(1).join("dog-1.safetensors")).unwrap();
    let run = yard.run(&[&words[..], &["-v"]].concat()).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_eq!(read(), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_as_dest_is_refused_with_what_it_has_not() {
    let yard = Yard::new(1).await;
    let list = yard.list_of(&yard.jobs);
    for (words, expected, reported) in [
        (&["s3://b/loras"][..], 64, "s3://b/loras/{id}"),
        (&["s3://{id}/x"], 64, "behind its name"),
        (&["s3://b/{name}", "--comfyui", "."], 64, "rcsync mirror s3://"),
        (&["s3://b/{name}", "--min-free", "1G"], 64, "no disk is used"),
        (&["s3://b/{name}", "--on-change", "replace"], 64, "for ever"),
    ] {
        let run = yard.run(&[&[list.to_str().unwrap()], words].concat()).await;
        assert_eq!(code(&run), expected, "{words:?}: {}", stderr(&run));
        assert!(stderr(&run).contains(reported), "{words:?}: {}", stderr(&run));
    }
    assert_eq!(yard.simulator().artifact_requests(), 0);
}
