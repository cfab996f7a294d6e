//! A folder whose manifest is gone: what the job offers no more becomes known again where rcsync's own records vouch for it,
//! and everything else stays as it is.

use std::fs;
use std::path::Path;
use std::process::Output;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
use serde_json::Value;

use crate::support::{Bench, code, copy_folder, snapshot, stderr};

const FIRST: &str = "my_first_lora_000000100.safetensors";
const SECOND: &str = "my_first_lora_000000200.safetensors";

/// A mirror of a training that hosts its two newest checkpoints alone.
async fn mirrored() -> Bench {
    let plan = JobPlan {
        steps: 500,
        save_every: 100,
        keep: 2,
        sample_every: 100,
        checkpoint_bytes: 40_000,
        picture_side: 32,
        ..JobPlan::default()
    };
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(plan);
    let bench = Bench::new(simulator, job);
    for _ in 0..4 {
        bench.simulator.advance_steps(&bench.job, 100);
        pass(&bench).await;
    }
    let hosted = bench.simulator.hosted(&bench.job);
    assert!(!hosted.iter().any(|path| path == FIRST || path == SECOND), "{hosted:?}");
    assert!(bench.dir().join(FIRST).exists() && bench.dir().join(SECOND).exists());
    bench.simulator.clear_requests();
    bench
}

async fn pass(bench: &Bench) -> Output {
    let run = bench.once(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    run
}

fn document(bench: &Bench, arguments: &[&str]) -> Value {
    let run = bench.command(&[arguments, &["--output", "json"]].concat()).output().unwrap();
    serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", stderr(&run)))
}

/// Path, step and evidence of each file, by `ls`.
fn listed(bench: &Bench) -> Vec<(String, Value, Value)> {
    let document = document(bench, &["ls", bench.dir().to_str().unwrap()]);
    let files = document["files"].as_array().unwrap().iter();
    let mut files: Vec<_> = files
        .map(|file| {
            (file["path"].as_str().unwrap().to_owned(), file["step"].clone(), file["evidence"].clone())
        })
        .collect();
    files.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    files
}

fn sums(bench: &Bench) -> String {
    fs::read_to_string(bench.dir().join("SHA256SUMS")).unwrap()
}

/// The files that are no private state, with their lengths and times.
fn public(dir: &Path) -> Vec<(std::path::PathBuf, (u64, std::time::SystemTime))> {
    let private = dir.join(".rcsync");
    snapshot(dir).into_iter().filter(|(path, _)| !path.starts_with(&private)).collect()
}

/// Mirrors once, and asserts that nothing is fetched and that rcsync shows of the folder what it showed before the loss, how
/// files are proven included.
async fn assert_as_before(bench: &Bench, before: &[(String, Value, Value)], sums_before: &str, about: &str) {
    let run = pass(bench).await;
    assert_eq!(stderr(&run), "", "{about}: nothing to report");
    assert_eq!(bench.simulator.artifact_requests(), 0, "{about}: nothing is fetched");
    assert_eq!(listed(bench), before, "{about}");
    assert_eq!(sums(bench), sums_before, "{about}");
    bench.assert_sums_pass();
    let dir = bench.dir();
    let verified = document(bench, &["verify", dir.to_str().unwrap()]);
    assert_eq!(verified["verified"], before.len(), "{about}: {verified}");
    let job: Value = serde_json::from_slice(&fs::read(dir.join("job.json")).unwrap()).unwrap();
    let rows = job["artifacts"].as_array().unwrap().iter().filter(|row| row["state"] == "present").count();
    assert_eq!(rows, before.len(), "{about}: {job}");
    let idle = snapshot(&dir);
    pass(bench).await;
    assert_eq!(snapshot(&dir), idle, "{about}: the next pass changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_hosted_no_more_are_adopted_when_the_private_folder_was_deleted() {
    let bench = mirrored().await;
    let (before, sums_before) = (listed(&bench), sums(&bench));
    fs::remove_dir_all(bench.dir().join(".rcsync")).unwrap();
    assert_as_before(&bench, &before, &sums_before, "the folder is gone").await;
    // They are pruned like any other.
    let pruned = document(&bench, &["prune", bench.dir().to_str().unwrap(), "--keep-last", "1"]);
    let removed: Vec<&str> =
        pruned["removed"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(removed.first(), Some(&FIRST), "{pruned}");
    assert!(!bench.dir().join(FIRST).exists());
    bench.assert_sums_pass();
    // What was pruned is remembered, too.
    fs::remove_dir_all(bench.dir().join(".rcsync")).unwrap();
    bench.simulator.clear_requests();
    pass(&bench).await;
    assert_eq!(bench.simulator.artifact_requests(), 0, "nothing that was pruned is fetched again");
    assert!(!removed.iter().any(|path| bench.dir().join(path).exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_manifest_and_a_copy_without_hidden_files_are_adopted_too() {
    let bench = mirrored().await;
    let (before, sums_before) = (listed(&bench), sums(&bench));
    let good = bench.dir().with_file_name("good");
    copy_folder(&bench.dir(), &good);
    type Loss = fn(&Path);
    let losses: [(&str, Loss); 5] = [
        ("a copy without hidden files", |dir| fs::remove_dir_all(dir.join(".rcsync")).unwrap()),
        ("the manifest is gone", |dir| fs::remove_file(dir.join(".rcsync/manifest.json")).unwrap()),
        ("the manifest is empty", |dir| fs::write(dir.join(".rcsync/manifest.json"), "").unwrap()),
        ("job.json is gone too", |dir| {
            fs::remove_dir_all(dir.join(".rcsync")).unwrap();
            fs::remove_file(dir.join("job.json")).unwrap();
        }),
        ("SHA256SUMS is gone too", |dir| {
            fs::remove_dir_all(dir.join(".rcsync")).unwrap();
            fs::remove_file(dir.join("SHA256SUMS")).unwrap();
        }),
    ];
    for (about, lose) in losses {
        fs::remove_dir_all(bench.dir()).unwrap();
        copy_folder(&good, &bench.dir());
        lose(&bench.dir());
        bench.simulator.clear_requests();
        if about.starts_with("job.json") {
            // What is hosted is compared with the host; what is not is known by its line.
            let run = pass(&bench).await;
            assert_eq!(stderr(&run), "", "{about}");
            assert_eq!(listed(&bench), before, "{about}");
            assert_eq!(sums(&bench), sums_before, "{about}");
        } else if about.starts_with("the manifest is empty") {
            assert!(stderr(&pass(&bench).await).contains("the manifest was damaged"));
        }
        bench.simulator.clear_requests();
        assert_as_before(&bench, &before, &sums_before, about).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_vouches_for_is_reported_once_and_stays() {
    let bench = mirrored().await;
    let dir = bench.dir();
    fs::remove_dir_all(dir.join(".rcsync")).unwrap();
    // One bit flipped, half of a file, one that rcsync did not write, one that has nothing to do with the job.
    let mut bytes = fs::read(dir.join(FIRST)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(dir.join(FIRST), &bytes).unwrap();
    let half = fs::read(dir.join(SECOND)).unwrap();
    fs::write(dir.join(SECOND), &half[..half.len() / 2]).unwrap();
    let theirs = "my_first_lora_000000050.safetensors";
    fs::write(dir.join(theirs), "theirs").unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let kept = || [FIRST, SECOND, theirs, "notes.txt"].map(|name| fs::read(dir.join(name)).unwrap());
    let before = kept();

    let run = pass(&bench).await;
    let said = stderr(&run);
    let line = |what: &str| said.lines().find(|line| line.contains(what)).map(str::to_owned);
    let differing = line("other bytes than").unwrap_or_else(|| panic!("{said}"));
    assert!(differing.contains(FIRST) && differing.contains(SECOND), "{said}");
    let unrecorded = line("no record").unwrap_or_else(|| panic!("{said}"));
    assert!(unrecorded.contains(theirs) && !said.contains("notes.txt"), "{said}");
    let names: Vec<String> = listed(&bench).into_iter().map(|(path, ..)| path).collect();
    assert!(
        ![FIRST, SECOND, theirs].iter().any(|name| names.iter().any(|listed| listed == name)),
        "{names:?}"
    );
    bench.assert_sums_pass();
    assert_eq!(kept(), before);

    let idle = public(&dir);
    assert_eq!(stderr(&pass(&bench).await), "", "once");
    assert_eq!(public(&dir), idle);
    let pruned = bench.command(&["prune", dir.to_str().unwrap(), "--keep-last", "1"]).output().unwrap();
    assert_eq!(code(&pruned), 0, "{}", stderr(&pruned));
    assert_eq!(kept(), before, "what is not known is not pruned");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_folders_of_one_job_that_were_merged_by_hand_are_one_mirror() {
    let bench = mirrored().await;
    let early = bench.dir().with_file_name("early");
    fs::rename(bench.dir(), &early).unwrap();
    // Another folder began later: it has what is hosted now.
    pass(&bench).await;
    assert!(!bench.dir().join(FIRST).exists());
    fs::remove_dir_all(early.join(".rcsync")).unwrap();
    let theirs = listed(&bench);
    copy_folder(&early, &bench.dir());
    bench.simulator.clear_requests();
    let run = pass(&bench).await;
    assert_eq!(stderr(&run), "", "nothing to report");
    assert_eq!(bench.simulator.artifact_requests(), 0);
    let merged = listed(&bench);
    assert_eq!(merged.len(), theirs.len() + 2, "{merged:?}");
    assert!(
        merged
            .iter()
            .any(|(path, step, evidence)| { path == FIRST && *step == 100 && *evidence == "trainer-hash" })
    );
    assert!(sums(&bench).contains(FIRST) && sums(&bench).contains(SECOND));
    bench.assert_sums_pass();
}

/// With the manifest as without it: what the user puts under a pruned name is not the job's.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_under_a_pruned_name_stays_when_the_private_folder_was_deleted() {
    let bench = mirrored().await;
    let dir = bench.dir();
    let hosted = "my_first_lora_000000300.safetensors";
    assert!(bench.simulator.hosted(&bench.job).iter().any(|path| path == hosted));
    let original = fs::read(dir.join(FIRST)).unwrap();
    let pruned = document(&bench, &["prune", dir.to_str().unwrap(), "--keep-last", "1"]);
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 3, "{pruned}");
    fs::write(dir.join(FIRST), &original).unwrap();
    fs::write(dir.join(hosted), "theirs").unwrap();
    fs::remove_dir_all(dir.join(".rcsync")).unwrap();
    bench.simulator.clear_requests();
    let before = public(&dir);

    let dry = bench.once(&["--dry-run"]).await;
    assert_eq!(code(&dry), 0, "{}", stderr(&dry));
    let planned = String::from_utf8_lossy(&dry.stdout).into_owned();
    let of_hosted = planned.lines().find(|line| line.contains(hosted)).unwrap_or_default();
    assert!(of_hosted.contains("skip (pruned)"), "{planned}");
    assert_eq!(public(&dir), before);

    let run = bench.once(&["--keep-last", "1"]).await;
    assert_eq!((code(&run), stderr(&run).as_str()), (0, ""));
    assert_eq!(bench.simulator.artifact_requests(), 0, "nothing that was pruned is fetched again");
    assert_eq!(fs::read(dir.join(FIRST)).unwrap(), original);
    assert_eq!(fs::read(dir.join(hosted)).unwrap(), b"theirs");
    assert!(!listed(&bench).iter().any(|(path, ..)| path == FIRST || path == hosted));
    bench.assert_sums_pass();
}

/// A dry run plans what a run would do, and other commands name the way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_ends_no_dry_run_and_has_a_way_out() {
    let bench = mirrored().await;
    let dir = bench.dir();
    fs::write(dir.join(".rcsync/manifest.json"), "damaged").unwrap();
    let before = snapshot(&dir);
    let dry = bench.once(&["--dry-run"]).await;
    assert_eq!(code(&dry), 0, "{}", stderr(&dry));
    assert!(
        String::from_utf8_lossy(&dry.stdout).contains("adopt (an earlier run left it)"),
        "{}",
        stderr(&dry)
    );
    for command in ["ls", "verify"] {
        let refused = bench.command(&[command, dir.to_str().unwrap()]).output().unwrap();
        assert_eq!(code(&refused), 65, "{}", stderr(&refused));
        let way_out = format!("rcsync {} {} --once", bench.job, dir.display());
        assert!(stderr(&refused).contains(&way_out), "{}", stderr(&refused));
    }
    assert_eq!(snapshot(&dir), before);
}

/// Files that the selection leaves out were mirrored before: they stay known.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_chosen_are_adopted_all_the_same() {
    let bench = mirrored().await;
    let (before, sums_before) = (listed(&bench), sums(&bench));
    fs::remove_dir_all(bench.dir().join(".rcsync")).unwrap();
    let run = bench.once(&["--only", "samples"]).await;
    assert_eq!((code(&run), stderr(&run).as_str()), (0, ""));
    assert_eq!((listed(&bench), sums(&bench)), (before, sums_before));
}

/// `sha256sum -c` passes while a file cannot be read, and what is recorded of it is there when it can.
#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn what_cannot_be_read_is_in_no_list_until_it_can_and_is_not_forgotten() {
    if !crate::rig::have(&["strace"]) {
        return;
    }
    // The job offers one of them no more; the other one is offered, and not chosen.
    let offered = "my_first_lora_000000400.safetensors";
    for name in [FIRST, offered] {
        let bench = mirrored().await;
        let (before, sums_before) = (listed(&bench), sums(&bench));
        fs::remove_dir_all(bench.dir().join(".rcsync")).unwrap();
        let dir = bench.dir().display().to_string();
        let words = [bench.job.as_str(), &dir, "--once", "--only", "samples", "--output", "json"];
        let command = bench.command(&words);
        for fault in ["read,pread64:error=EIO", "read,pread64:error=EIO", "statx,newfstatat:error=EIO"] {
            let (exit, events, calls) =
                crate::rig::with_fault(&command, fault, Some(&bench.dir().join(name)));
            assert!(calls.contains("EIO"), "{calls}");
            assert!(exit.success() && events.contains(name), "{exit:?}: {events}");
            assert!(!sums(&bench).contains(name), "{}", sums(&bench));
            bench.assert_sums_pass();
            let job: Value =
                serde_json::from_slice(&fs::read(bench.dir().join("job.json")).unwrap()).unwrap();
            let row = job["artifacts"].as_array().unwrap().iter().find(|row| row["path"] == name).unwrap();
            assert!(row["state"] == "unread" && row["sha256"].is_string(), "{row}");
            assert_verify_names(&bench, name, fault);
        }
        let run = bench.once(&["--only", "samples"]).await;
        assert_eq!((code(&run), stderr(&run).as_str()), (0, ""), "{name}");
        assert_eq!((listed(&bench), sums(&bench)), (before, sums_before), "{name}");
    }
}

/// `verify` names a file that cannot be read, and whose row is all that is recorded of it; a file that can be read is verified.
#[cfg(target_os = "linux")]
fn assert_verify_names(bench: &Bench, name: &str, fault: &str) {
    let dir = bench.dir().display().to_string();
    let json = bench.command(&["verify", &dir, "--output", "json"]);
    let (exit, text, calls) = crate::rig::with_fault(&json, fault, Some(&bench.dir().join(name)));
    assert_eq!(exit.code(), Some(1), "{text} {calls}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let bad = document["bad"].as_array().unwrap();
    assert!(bad.len() == 1 && bad[0]["path"] == name && bad[0]["problem"] == "unreadable", "{document}");
    let (exit, text, _) = {
        let words = bench.command(&["verify", &dir]);
        crate::rig::with_fault(&words, fault, Some(&bench.dir().join(name)))
    };
    assert!(exit.code() == Some(1) && text.starts_with(&format!("unreadable  {name}  ")), "{text}");
    let run = bench.command(&["verify", &dir, "--output", "json"]).output().unwrap();
    let readable: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(code(&run), 0, "{readable}");
    let files = document["verified"].as_u64().unwrap() + 1;
    assert_eq!(readable["verified"], files, "what can be read again is verified by its row");
}

/// Another job's records vouch for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_job_that_were_copied_into_a_mirror_stay_as_they_are() {
    let bench = mirrored().await;
    let dir = bench.dir();
    let other = bench.simulator.add_job(JobPlan {
        name: "cat".to_owned(),
        steps: 100,
        save_every: 50,
        ..JobPlan::default()
    });
    bench.simulator.finish(&other);
    let cats = dir.with_file_name("cats");
    let mut command = bench.command(&[other.as_str(), cats.to_str().unwrap(), "--once"]);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let before = listed(&bench);
    fs::remove_dir_all(cats.join(".rcsync")).unwrap();
    fs::remove_dir_all(cats.join("samples")).unwrap();
    fs::remove_file(cats.join("config.yaml")).unwrap();
    copy_folder(&cats, &dir);
    let run = pass(&bench).await;
    assert!(
        stderr(&run).contains("`cat.safetensors`, `cat_000000050.safetensors` have no record"),
        "{}",
        stderr(&run)
    );
    assert_eq!(listed(&bench), before);
    assert!(dir.join("cat.safetensors").exists());
    bench.assert_sums_pass();
    assert_eq!(stderr(&pass(&bench).await), "");
}

/// Older versions have no row in `job.json`: `SHA256SUMS` vouches for them.
#[tokio::test(flavor = "multi_thread")]
async fn older_versions_stay_with_their_file() {
    let bench = mirrored().await;
    bench.simulator.finish(&bench.job);
    pass(&bench).await;
    assert!(bench.simulator.resume(&bench.job));
    bench.simulator.finish(&bench.job);
    bench.simulator.rewrite(&bench.job, "my_first_lora.safetensors");
    pass(&bench).await;
    let older = snapshot(&bench.dir()).into_keys().find(|path| path.to_string_lossy().contains("lora~"));
    let older = older.unwrap();
    let (before, sums_before) = (listed(&bench), sums(&bench));
    assert!(sums_before.contains(older.file_name().unwrap().to_str().unwrap()), "{sums_before}");
    let dir = bench.dir();
    let verified = || document(&bench, &["verify", dir.to_str().unwrap()])["verified"].clone();
    let good = verified();
    fs::remove_dir_all(dir.join(".rcsync")).unwrap();
    bench.simulator.clear_requests();
    let run = pass(&bench).await;
    assert_eq!(stderr(&run), "", "nothing to report");
    assert_eq!((listed(&bench), sums(&bench)), (before, sums_before));
    assert_eq!(verified(), good);
    // One that is deleted is forgotten, as ever.
    fs::remove_file(&older).unwrap();
    assert!(stderr(&pass(&bench).await).contains("it was an older version"));
}
