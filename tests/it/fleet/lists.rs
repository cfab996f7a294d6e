//! The list of jobs: from a file that changes, from standard input, from `fleet add`.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::yard::{Yard, plan};
use crate::support::{code, stderr, until};

const DEST: &str = "loras/{name}";

fn hold(yard: &Yard) {
    for job in &yard.jobs {
        yard.simulator().advance_steps(job, 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_read_again_when_it_changes() {
    let yard = Yard::new(4).await;
    hold(&yard);
    let ids: Vec<&str> = yard.jobs.iter().map(|job| job.as_str()).collect();
    let list = yard.list(&ids[..2]);
    let fleet = yard.start(&[list.to_str().unwrap(), DEST, "--interval", "200ms"]);
    fleet.wait_for(&yard.jobs[0], "published", |_| true);
    fleet.wait_for(&yard.jobs[1], "published", |_| true);
    // One is added, one is taken off.
    yard.list(&[ids[1], ids[2]]);
    let done = fleet.wait_for(&yard.jobs[0], "done", |_| true);
    assert_eq!(done["exit_code"], 130, "{done}");
    fleet.wait_for(&yard.jobs[2], "published", |_| true);
    until("its folder is free", || !yard.dir(0).join(".rcsync/lock").exists()).await;
    // A list that is wrong changes nothing, and each fault has its line.
    yard.list(&[ids[1], ids[2], "../x", "id=", ids[3]]);
    let reported = fleet.messages.wait_for("trouble", |line| line.contains("cannot be used"));
    let named = format!("`{}`: line 3: ", list.display());
    assert!(reported.contains(&named) && reported.contains("line 4: "), "{reported}");
    // Other settings for one that is followed.
    let keep = format!("{} keep-last=1", ids[1]);
    yard.list(&[&keep, ids[2], ids[3]]);
    fleet.wait_for(&yard.jobs[1], "done", |reported| reported["exit_code"] == 130);
    fleet.wait_for(&yard.jobs[3], "published", |_| true);
    yard.finish_all();
    assert_eq!(fleet.end().await, 0);
    yard.assert_complete([2, 3]);
    let here = fs::read_dir(yard.dir(1)).unwrap().filter_map(Result::ok);
    let checkpoints = here.filter(|entry| entry.file_name().to_string_lossy().ends_with(".safetensors"));
    assert_eq!(checkpoints.count(), 2, "the newest numbered one and the final");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_faults_is_refused_whole() {
    let yard = Yard::new(1).await;
    let list = yard.list(&[yard.jobs[0].as_str(), "a b", "x keep-last=none", "x comfyui=/no/such"]);
    let run = yard.run(&[list.to_str().unwrap(), DEST]).await;
    let reported = stderr(&run);
    assert_eq!(code(&run), 65, "{reported}");
    let named = format!("error: `{}`: line 2: ", list.display());
    for part in [&*named, "line 3: `keep-last`", "line 4: "] {
        assert!(reported.contains(part), "{reported}");
    }
    let mut command = yard.command(&["-", DEST]);
    let piped = fs::File::open(&list).unwrap();
    let run = tokio::task::spawn_blocking(move || command.stdin(piped).output().unwrap()).await.unwrap();
    let reported = stderr(&run);
    assert!(code(&run) == 65 && reported.contains("error: standard input: line 2: "), "{reported}");
    let registry = yard.root().join("loras/.rcsync-fleet");
    fs::create_dir_all(&registry).unwrap();
    fs::write(registry.join("a.job"), "a b\n").unwrap();
    let named = "what `fleet add` put into `loras/.rcsync-fleet`";
    let run = yard.run(&[DEST]).await;
    assert!(code(&run) == 65 && stderr(&run).contains(&format!("{named}: line 1: ")), "{}", stderr(&run));
    let mut command = yard.bench.command(&["fleet", "ls", DEST]);
    command.current_dir(yard.root());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(stderr(&run).contains(&format!("{named} cannot be read: line 1: ")), "{}", stderr(&run));
    assert_eq!(yard.simulator().api_requests(), 0);
    let run = yard.run(&["no-such-list.txt", DEST]).await;
    assert_eq!(code(&run), 66, "{}", stderr(&run));
    let run = yard.run(&[list.to_str().unwrap(), "loras"]).await;
    assert!(code(&run) == 64 && stderr(&run).contains("loras/{id}"), "{}", stderr(&run));
    let run = yard.run(&[list.to_str().unwrap(), "ftp://host/{id}"]).await;
    assert_eq!(code(&run), 64, "{}", stderr(&run));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_may_come_from_standard_input() {
    let yard = Yard::new(2).await;
    yard.finish_all();
    let mut command = yard.command(&["-", DEST]);
    let status = format!("{}/trainers/ai-toolkit/jobs/{}/status", yard.simulator().api_base(), yard.jobs[1]);
    let text = format!("{}\n{status}\n", yard.jobs[0]);
    let run = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let run = run.await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    yard.assert_complete(0..2);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_added_while_a_fleet_runs() {
    let yard = Yard::of(vec![plan("dog-0"), plan("dog-1")]).await;
    hold(&yard);
    let add = |job: &str, more: &[&str]| {
        let mut command = yard.bench.command(&[&["fleet", "add", job, DEST], more].concat());
        command.current_dir(yard.root());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let added = add(yard.jobs[0].as_str(), &["--set", "keep-last=1"]).await.unwrap();
    assert_eq!(code(&added), 0, "{}", stderr(&added));
    let again = add(yard.jobs[0].as_str(), &[]).await.unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).starts_with("there already"), "{again:?}");
    let bad = add(yard.jobs[1].as_str(), &["--set", "exec=rm"]).await.unwrap();
    assert_eq!(code(&bad), 64, "{}", stderr(&bad));
    let fleet = yard.start(&[DEST, "--interval", "200ms"]);
    fleet.wait_for(&yard.jobs[0], "published", |_| true);
    let added = add(yard.jobs[1].as_str(), &[]).await.unwrap();
    assert_eq!(code(&added), 0, "{}", stderr(&added));
    fleet.wait_for(&yard.jobs[1], "published", |_| true);
    yard.finish_all();
    assert_eq!(fleet.end().await, 0);
    yard.assert_complete([1]);
    let mut command = yard.bench.command(&["fleet", "ls", DEST, "--output", "json"]);
    command.current_dir(yard.root());
    let listed = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let document: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let rows = document["jobs"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{document}");
    for (row, job) in rows.iter().zip(&yard.jobs) {
        assert_eq!(
            (&row["job_id"], &row["status"], &row["added"]),
            (&job.as_str().into(), &"STOPPED".into(), &true.into())
        );
    }
    assert!(rows[1]["files"].as_u64().unwrap() > rows[0]["files"].as_u64().unwrap(), "{document}");
    // A mirror that cannot be read is named, and the other one is listed, without `job.json` too.
    fs::write(yard.dir(0).join("job.json"), "{").unwrap();
    let unreadable = yard.dir(1);
    fs::remove_dir_all(unreadable.join(".rcsync")).unwrap();
    let mut command = yard.bench.command(&["fleet", "ls", DEST]);
    command.current_dir(yard.root());
    let listed = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let named = format!("not in the list: `{}`", unreadable.strip_prefix(yard.root()).unwrap().display());
    assert!(code(&listed) == 0 && stderr(&listed).contains(&named), "{}", stderr(&listed));
    assert!(String::from_utf8_lossy(&listed.stdout).contains(yard.jobs[0].as_str()), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn a_job_with_other_settings_begins_when_its_last_run_has_left_the_folder() {
    let yard = Yard::new(1).await;
    hold(&yard);
    let id = yard.jobs[0].as_str();
    let list = yard.list(&[id]);
    // Each file keeps the run for a second.
    let arguments = [list.to_str().unwrap(), DEST, "--interval", "200ms", "--exec", "sleep 1"];
    let fleet = yard.start(&arguments);
    fleet.wait_for(&yard.jobs[0], "published", |reported| reported["kind"] == "checkpoint");
    yard.list(&[&format!("{id} keep-last=1")]);
    fleet.wait_for(&yard.jobs[0], "done", |reported| reported["exit_code"] == 130);
    yard.finish_all();
    let done = fleet.wait_for(&yard.jobs[0], "done", |_| true);
    assert_eq!(done["exit_code"], 0, "{done}");
    assert_eq!(fleet.end().await, 0);
}
