//! `docs/fleet.md`: what is written there to be typed does what the page promises.
#![cfg(unix)]

use super::yard::{Yard, plan};

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_work_as_they_are_written() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fleet.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert_eq!(blocks.len(), 3);
    let yard = Yard::of((0..3).map(|number| plan(&format!("dog-{number}"))).collect()).await;
    yard.finish_all();
    let mut script = blocks.concat();
    for (number, job) in (1..).zip(&yard.jobs) {
        script = script.replace(&format!("5b9b8e8e-000{number}"), job.as_str());
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rcsync"));
    let mut command = std::process::Command::new("sh");
    command
        .args(["-exc", &script])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display()))
        .env("HOME", yard.root())
        .env("RUNCOMFY_TRAINER_API_BASE", yard.simulator().api_base())
        .env("RUNCOMFY_TOKEN", yard.simulator().token())
        .current_dir(yard.root());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let reported = crate::support::stderr(&run);
    assert!(run.status.success(), "{reported}");
    let printed = String::from_utf8_lossy(&run.stdout);
    assert!(printed.contains("3 jobs, ") && printed.contains("dog-2"), "{printed}");
    yard.assert_complete([1, 2]);
    let numbered = |number: usize| {
        let names = std::fs::read_dir(yard.dir(number)).unwrap().filter_map(Result::ok);
        names.filter(|name| name.file_name().to_string_lossy().contains("_0000000")).count()
    };
    assert_eq!((numbered(0), numbered(1)), (2, 3), "the first keeps two");
    assert!(!reported.contains("trouble"), "{reported}");
}
