//! `verify` names what differs; `verify --repair` fetches it again, and no more of it than it must.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use rcsync::simulator::{Fault, JobPlan, Simulator, SimulatorConfig, TrainerHash, What};

use crate::rig::{have, with_fault};
use crate::support::{Bench, code, snapshot, stderr};

const MIB: usize = 1 << 20;

/// Changes bytes so that no CRC-32 notices: adding a multiple of its polynomial leaves every remainder as it was.
fn forge(path: &PathBuf, at: usize) {
    const POLYNOMIAL: u64 = 0x1_04c1_1db7;
    let mut bytes = fs::read(path).unwrap();
    for bit in (0..33).filter(|bit| POLYNOMIAL >> (32 - bit) & 1 == 1) {
        bytes[at + bit / 8] ^= 1 << (bit % 8);
    }
    fs::write(path, bytes).unwrap();
}

/// A mirrored job with one large checkpoint of a little over six blocks among its files.
async fn mirrored() -> Bench {
    mirrored_as(JobPlan::default()).await
}

async fn mirrored_as(plan: JobPlan) -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let plan = JobPlan { steps: 500, save_every: 250, checkpoint_bytes: 6_500_000, picture_side: 48, ..plan };
    let job = simulator.add_job(plan);
    let bench = Bench::new(simulator, job);
    bench.simulator.finish(&bench.job);
    let run = bench.once(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    bench.simulator.clear_requests();
    bench
}

async fn verify(bench: &Bench, more: &[&str]) -> Output {
    let dir = bench.dir();
    let mut arguments = vec!["verify", dir.to_str().unwrap()];
    arguments.extend(more);
    let mut command = bench.command(&arguments);
    // Where connections share a range, some of its bytes come twice; these tests count them.
    command.env("RCSYNC_CONNECTIONS", "1");
    if more.is_empty() {
        command.env_remove("RUNCOMFY_TOKEN").env("RUNCOMFY_TRAINER_API_BASE", "http://127.0.0.1:9");
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn document(bench: &Bench) -> (i32, serde_json::Value) {
    let output = verify(bench, &["--repair", "--output", "json"]).await;
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "one document: {text}\n{}", stderr(&output));
    (code(&output), serde_json::from_str(&text).unwrap())
}

fn checkpoint(bench: &Bench) -> PathBuf {
    bench.dir().join("my_first_lora.safetensors")
}

fn edited(bench: &Bench) -> Vec<PathBuf> {
    let edited = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "edited");
    snapshot(&bench.dir()).into_keys().filter(edited).collect()
}

/// Flips a bit and leaves the time stamp as it was: what a disk does.
fn rot(path: &PathBuf, at: usize) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_folder_is_verified_without_network_and_repair_asks_no_host() {
    let bench = mirrored().await;
    let before = snapshot(&bench.dir());
    let plain = verify(&bench, &[]).await;
    assert_eq!(code(&plain), 0, "{}", stderr(&plain));
    let repair = verify(&bench, &["--repair"]).await;
    assert_eq!(code(&repair), 0, "{}", stderr(&repair));
    assert_eq!((bench.simulator.api_requests(), bench.simulator.artifact_requests()), (0, 0));
    assert_eq!(snapshot(&bench.dir()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_one_block() {
    let bench = mirrored().await;
    let path = checkpoint(&bench);
    let good = fs::read(&path).unwrap();
    rot(&path, 3 * MIB + 5);
    let plain = verify(&bench, &[]).await;
    assert_eq!(code(&plain), 1);
    let said = String::from_utf8(plain.stdout).unwrap();
    assert!(said.contains("; bytes 3145728 to 4194303\n"), "{said}");
    assert!(said.contains("rcsync verify <DIR> --repair"), "{said}");

    let (ended, document) = document(&bench).await;
    assert_eq!(ended, 0, "{document}");
    assert_eq!(document["repaired"][0], "my_first_lora.safetensors");
    assert!(fs::read(&path).unwrap() == good);
    assert!(bench.simulator.artifact_bytes() < 2 * MIB as u64, "{}", bench.simulator.artifact_bytes());
    assert_eq!(edited(&bench), Vec::<PathBuf>::new(), "what a disk damaged is not kept");
    bench.assert_sums_pass();
    assert_eq!(code(&verify(&bench, &[]).await), 0);
    bench.simulator.clear_requests();
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert_eq!(bench.simulator.artifact_requests(), 0, "nothing is left to do");
}

/// A file that the disk gives back no more is fetched again, and the new one takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_replaced() {
    if !have(&["strace"]) {
        return;
    }
    let bench = mirrored().await;
    let path = checkpoint(&bench);
    let good = fs::read(&path).unwrap();
    let command = bench.command(&["verify", bench.dir().to_str().unwrap(), "--repair"]);
    let inode = |path: &PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let old = inode(&path);
    // A file of this name cannot be read in this run: also what the repair puts there.
    let (_, said, calls) = with_fault(&command, "read,pread64:error=EIO", Some(&path));
    assert!(calls.contains("EIO"), "{calls}");
    assert_ne!(inode(&path), old, "another file has its name: {said}");
    assert!(fs::read(&path).unwrap() == good);
    assert_eq!(code(&verify(&bench, &[]).await), 0);
    assert!(bench.simulator.artifact_bytes() >= good.len() as u64, "all of it came again");
    assert_eq!(edited(&bench), Vec::<PathBuf>::new());
    bench.assert_sums_pass();
}

/// Block checksums choose what is fetched; they prove nothing. Here they are fooled, and so is the file's structure.
#[tokio::test(flavor = "multi_thread")]
async fn what_block_sums_overlook_is_not_published() {
    let bench = mirrored_as(JobPlan { trainer_hash: TrainerHash::Missing, ..JobPlan::default() }).await;
    let path = checkpoint(&bench);
    let good = fs::read(&path).unwrap();
    forge(&path, 4 * MIB);
    assert!(fs::read(&path).unwrap() != good);
    let (ended, document) = document(&bench).await;
    assert_eq!(ended, 0, "{document}");
    assert!(fs::read(&path).unwrap() == good);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_and_missing_files_are_repaired_and_edits_are_kept() {
    let bench = mirrored().await;
    let path = checkpoint(&bench);
    let cut = fs::read(&path).unwrap()[..2 * MIB + 7].to_vec();
    fs::write(&path, &cut).unwrap();
    let sample = fs::read_dir(bench.dir().join("samples")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&sample).unwrap();
    fs::write(bench.dir().join("config.yaml"), "mine: true\n").unwrap();

    let (ended, document) = document(&bench).await;
    assert_eq!(ended, 0, "{document}");
    assert_eq!(document["repaired"].as_array().unwrap().len(), 3, "{document}");
    assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
    bench.assert_sums_pass();
    let kept: Vec<Vec<u8>> = edited(&bench).iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&cut) && kept.contains(&b"mine: true\n".to_vec()));
    assert!(document["fetched_bytes"].as_u64().unwrap() < 5 * MIB as u64, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_revision_is_fetched_whole() {
    let bench = mirrored().await;
    let path = checkpoint(&bench);
    rot(&path, 5);
    bench.simulator.rewrite(&bench.job, "my_first_lora.safetensors");
    let (ended, document) = document(&bench).await;
    assert_eq!(ended, 0, "{document}");
    assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
    assert!(bench.simulator.artifact_bytes() > 6_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hosted_no_more_is_reported_and_left_alone() {
    let bench = mirrored().await;
    let path = checkpoint(&bench);
    rot(&path, 5);
    let rotten = fs::read(&path).unwrap();
    for still_listed in [true, false] {
        bench.simulator.delete(&bench.job, "my_first_lora.safetensors", still_listed);
        let (ended, document) = document(&bench).await;
        assert_eq!(ended, 1, "{document}");
        let why = document["bad"][0]["why"].as_str().unwrap();
        assert!(why.contains("offers it no more"), "{why}");
        let parts = fs::read_dir(bench.dir().join(".rcsync/parts")).unwrap().count();
        assert!(parts <= 2, "one part and its record at the most: {parts}");
        assert!(fs::read(&path).unwrap() == rotten);
        if !still_listed {
            break;
        }
        bench.simulator.finish_writes(&bench.job);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_now_ends_with_try_again() {
    let bench = mirrored().await;
    rot(&checkpoint(&bench), 5);
    bench.simulator.fault(Fault::always(".safetensors", What::status(500)));
    let host = verify(&bench, &["--repair"]).await;
    assert_eq!(code(&host), 75, "{}", stderr(&host));
    let sync = bench.once(&[]).await;
    assert_eq!(code(&sync), 0, "a sync trusts the time stamp: {}", stderr(&sync));
    fs::remove_file(checkpoint(&bench)).unwrap();
    let sync = bench.once(&["--retries", "1"]).await;
    assert_eq!(code(&sync), 75, "a file that is known and not here is missing: {}", stderr(&sync));
    bench.simulator.fault(Fault::always("/status", What::status(500)));
    let api = verify(&bench, &["--repair"]).await;
    assert_eq!(code(&api), 69, "{}", stderr(&api));
    let said = String::from_utf8(api.stdout).unwrap();
    assert!(said.contains("my_first_lora.safetensors"), "what is bad is reported all the same: {said}");
    bench.simulator.clear_faults();
    let mut command = bench.command(&["verify", bench.dir().to_str().unwrap(), "--repair"]);
    let tokenless = command.env_remove("RUNCOMFY_TOKEN").output().unwrap();
    assert_eq!(code(&tokenless), 77, "{}", stderr(&tokenless));
    let last = verify(&bench, &["--repair"]).await;
    assert_eq!(code(&last), 0, "{}", stderr(&last));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_that_was_deleted_is_missed_until_the_next_look_at_the_folder() {
    let bench = mirrored().await;
    bench.simulator.rewrite(&bench.job, "my_first_lora.safetensors");
    bench.simulator.resume(&bench.job);
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let is_older = |path: &PathBuf| path.to_string_lossy().contains("my_first_lora~");
    let kept = snapshot(&bench.dir()).into_keys().find(is_older).expect("the bytes before");
    assert_eq!(code(&verify(&bench, &[]).await), 0);
    fs::remove_file(kept).unwrap();
    let missed = verify(&bench, &[]).await;
    assert_eq!(code(&missed), 1, "{}", stderr(&missed));
    // It cannot be fetched again, so it is reported once and forgotten by the next run.
    let repaired = verify(&bench, &["--repair"]).await;
    assert_eq!(code(&repaired), 0, "{}", stderr(&repaired));
    assert!(stderr(&repaired).contains("is gone: it was an older version"), "{}", stderr(&repaired));
    let again = verify(&bench, &["--repair"]).await;
    assert_eq!((code(&again), stderr(&again).as_str()), (0, ""));
    assert_eq!(code(&verify(&bench, &[]).await), 0);
    bench.assert_sums_pass();
}
