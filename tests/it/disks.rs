//! Disks that are full, broken, read-only, gone or peculiar: nothing half is published, messages are clear, the code
//! is right, and the next run continues.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rcsync::ArtifactKind;
use rcsync::simulator::{
    HostOptions, JobPlan, PictureFormat, Simulator, SimulatorConfig, StaticBytes, StaticFile, StaticJob,
};

use crate::rig::{Disk, begin_with_fault, have, long_sweeps, watch, with_fault, without_privilege, wrapped};
use crate::support::{Bench, Lines, code, skip, stderr};

fn plan() -> JobPlan {
    JobPlan {
        steps: 500,
        keep: 0,
        sample_every: 500,
        checkpoint_bytes: 3_000_000,
        picture_side: 32,
        prompts: vec!["a dog".to_owned()],
        ..JobPlan::default()
    }
}

/// Bytes of all files of that job, roughly.
const ALL: u64 = 6_000_000;

async fn finished() -> Bench {
    finished_from(HostOptions::default()).await
}

async fn finished_from(host: HostOptions) -> Bench {
    let simulator = Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await.unwrap();
    let job = simulator.add_job(plan());
    simulator.finish(&job);
    Bench::new(simulator, job)
}

fn command(bench: &Bench, dir: &Path, more: &[&str]) -> Command {
    let mut arguments = vec![bench.job.as_str(), dir.to_str().unwrap()];
    arguments.extend(more);
    bench.command(&arguments)
}

async fn run(bench: &Bench, dir: &Path, more: &[&str]) -> Output {
    let mut command = command(bench, dir, more);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What must be true of a folder after any trouble: what has a final name is whole, and what is listed is there.
fn assert_sound(bench: &Bench, dir: &Path, what: &str) -> usize {
    let published = bench.assert_true_in(dir);
    bench.assert_sums_pass_in(dir);
    let verify = bench.command(&["verify", dir.to_str().unwrap()]).output().unwrap();
    assert!([0, 66].contains(&code(&verify)), "{what}: {}", stderr(&verify));
    published
}

async fn assert_continues(bench: &Bench, dir: &Path, what: &str) {
    let run = run(bench, dir, &["--once", "--min-free", "0"]).await;
    assert_eq!(code(&run), 0, "{what}: {}", stderr(&run));
    assert_eq!(assert_sound(bench, dir, what), bench.simulator.hosted(&bench.job).len(), "{what}");
    let parts = fs::read_dir(dir.join(".rcsync/parts")).unwrap().count();
    assert_eq!(parts, 0, "{what}: parts are left");
}

/// Fills a disk until so many bytes are free.
fn fill(disk: &Path, leave: u64) -> PathBuf {
    let ballast = disk.join("ballast");
    let free = rustix::fs::statvfs(disk).map(|space| space.f_bavail * space.f_frsize).unwrap();
    let mut rest = std::io::repeat(7).take(free.saturating_sub(leave));
    std::io::copy(&mut rest, &mut fs::File::create(&ballast).unwrap()).unwrap();
    rustix::fs::sync();
    ballast
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_a_pass_with_74_and_the_next_one_continues() {
    let Some(disk) = Disk::ext4() else { return };
    let (bench, dir) = (finished().await, disk.path().join("out"));
    let ballast = fill(&disk.path(), ALL * 2 / 3);
    for more in [&["--once", "--min-free", "0"][..], &["--once", "--min-free", "5M"]] {
        let run = run(&bench, &dir, more).await;
        assert_eq!(code(&run), 74, "{}", stderr(&run));
        assert!(stderr(&run).contains("my_first_lora"), "{}", stderr(&run));
        let published = assert_sound(&bench, &dir, "full");
        assert!(published < bench.simulator.hosted(&bench.job).len(), "it does not fit");
    }
    fs::remove_file(ballast).unwrap();
    assert_continues(&bench, &dir, "room again").await;
}

/// The disk reports room, and then there is none: in whatever call that shows, and from then on.
#[tokio::test(flavor = "multi_thread")]
async fn no_room_in_any_call_loses_nothing() {
    if !have(&["strace"]) {
        return;
    }
    let bench = finished().await;
    let dir = bench.dir().with_file_name("faulty");
    let journal = dir.join(".rcsync/journal.jsonl");
    let calls = ["pwrite64", "fdatasync", "renameat2", "rename", "mkdir", "write", "renameat", "mkdirat"];
    // ESTALE: the server of a network disk came back without what it knew of open files.
    let all = ["ENOSPC", "EIO", "EDQUOT", "EROFS", "ESTALE"];
    for (at, error) in all.into_iter().enumerate() {
        for call in calls.iter().take(if at < 2 || long_sweeps() { calls.len() } else { 1 }) {
            for from in if long_sweeps() { &["1+", "2+", "3+", "4+"][..] } else { &["2+"] } {
                let command = command(&bench, &dir, &["--once", "-q", "--min-free", "0"]);
                let inject = format!("{call}:error={error}:when={from}");
                let only = (*call == "write").then_some(journal.as_path());
                let (status, said, trace) = with_fault(&command, &inject, only);
                let what = format!("{inject}: {status}: {said}{trace}");
                assert!(matches!(status.code(), Some(0 | 73 | 74)), "{what}");
                if dir.exists() {
                    assert_sound(&bench, &dir, &what);
                }
                assert_continues(&bench, &dir, &what).await;
                fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
}

/// A disk without room for the lists, when old checkpoints go: the run still reports how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_the_lists_at_the_end_is_reported_with_the_last_event() {
    if !have(&["strace"]) {
        return;
    }
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(JobPlan { save_every: 100, checkpoint_bytes: 20_000, ..plan() });
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    let dir = bench.dir();
    assert_continues(&bench, &dir, "first").await;
    let mut refused = 0;
    // strace(1) counts the calls of each thread, and threads take turns as they like: what fails in the second call of one is
    // tried until it was the other list.
    for (at, from) in (1..5).chain([2, 3].into_iter().cycle().take(40)).enumerate() {
        if at >= 4 && refused > 1 {
            break;
        }
        let what = format!("rename:error=ENOSPC:when={from}+");
        let command = command(&bench, &dir, &["--once", "--keep-last", "1", "--output", "json"]);
        let (status, said, trace) = with_fault(&command, &what, None);
        let done = said.lines().last().unwrap_or_default();
        let ended = status.code().unwrap_or(-1);
        // A gallery that cannot be written is reported, and changes nothing else.
        assert!(ended == 74 || ended == 0 && from > 1, "{what}: {ended}: {said}{trace}");
        refused += usize::from(ended == 74);
        assert!(
            done.contains("\"event\":\"done\"") && done.contains(&format!("\"exit_code\":{ended},")),
            "{what}: {said}"
        );
        assert_sound(&bench, &dir, &what);
        let next = run(&bench, &dir, &["--once", "--keep-last", "1"]).await;
        assert_eq!(code(&next), 0, "{what}: {}", stderr(&next));
        assert_sound(&bench, &dir, &what);
        // Begun anew, with everything to be removed once more.
        fs::remove_dir_all(&dir).unwrap();
        assert_continues(&bench, &dir, "again").await;
    }
    assert!(refused > 1, "both lists are replaced by renames");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_flush_is_never_tried_again() {
    if !have(&["strace"]) {
        return;
    }
    let bench = finished().await;
    let dir = bench.dir();
    let command = command(&bench, &dir, &["--once", "-q"]);
    // A folder that is there already: the first flush of each thread is then one of a file.
    let begun = run(&bench, &dir, &["--once", "--only", "config"]).await;
    assert_eq!(code(&begun), 0, "{}", stderr(&begun));
    let mut failures = 0;
    // Each thread that flushes fails at its first flush.
    let (status, _, said) = with_fault(&command, "fdatasync:error=EIO:when=1", None);
    let mut failed: Vec<&str> = Vec::new();
    for line in said.lines().filter(|line| line.contains(".part>")) {
        let file = line.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap();
        assert!(!failed.contains(&file), "`{file}` was flushed again:\n{said}");
        if line.contains("EIO") {
            failed.push(file);
            failures += 1;
        }
    }
    assert!(failures > 0, "{said}");
    assert_eq!(status.code(), Some(74), "{said}");
    assert_sound(&bench, &dir, &said);
    assert_continues(&bench, &dir, "after a failed flush").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_cannot_do_is_done_without() {
    if !have(&["strace"]) {
        return;
    }
    let bench = finished().await;
    for inject in [
        "fdatasync:error=EINVAL",
        "flock:error=ENOSYS",
        "flock:error=EOPNOTSUPP",
        "renameat2:error=EINVAL",
        "pwrite64:error=EINTR:when=1+2",
        "linkat:error=EPERM",
        "fallocate:error=EOPNOTSUPP",
    ] {
        let dir = bench.dir().with_file_name("limited");
        let (status, _, said) = with_fault(&command(&bench, &dir, &["--once", "-q"]), inject, None);
        assert_eq!(status.code(), Some(0), "{inject}: {said}");
        assert_continues(&bench, &dir, inject).await;
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_inodes_are_no_room() {
    let Some(disk) = Disk::make(&["mkfs.ext4", "-q", "-F", "-N", "24"], 32, ("mount", "loop")) else {
        return;
    };
    let (bench, dir) = (finished().await, disk.path().join("out"));
    fs::create_dir(disk.path().join("ballast")).unwrap();
    let used =
        (0..).take_while(|at| fs::write(disk.path().join(format!("ballast/{at}")), "").is_ok()).count();
    for at in 0..used.min(4) {
        fs::remove_file(disk.path().join(format!("ballast/{at}"))).unwrap();
    }
    let run = run(&bench, &dir, &["--once"]).await;
    assert_eq!(code(&run), 74, "{}", stderr(&run));
    assert_sound(&bench, &dir, "no inodes");
    fs::remove_dir_all(disk.path().join("ballast")).unwrap();
    assert_continues(&bench, &dir, "inodes again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_a_full_disk() {
    if !have(&["btrfs"]) {
        return;
    }
    let Some(disk) = Disk::make(&["mkfs.btrfs", "-q", "-f"], 160, ("mount", "loop")) else { return };
    let limit = |size: &str| {
        let mut limit = Command::new("btrfs");
        limit
            .args(["qgroup", "limit", size])
            .arg(disk.path())
            .output()
            .is_ok_and(|done| done.status.success())
    };
    let enabled = Command::new("btrfs").args(["quota", "enable"]).arg(disk.path()).status();
    if !enabled.is_ok_and(|status| status.success()) || !limit("3M") {
        return skip("this btrfs has no quotas");
    }
    let (bench, dir) = (finished().await, disk.path().join("out"));
    let run = run(&bench, &dir, &["--once", "--min-free", "0"]).await;
    assert_eq!(code(&run), 74, "{}", stderr(&run));
    assert!(stderr(&run).to_lowercase().contains("quota"), "{}", stderr(&run));
    assert_sound(&bench, &dir, "over quota");
    // A quota that is used up may refuse even the change of itself; then it goes as a whole.
    let mut disable = Command::new("btrfs");
    disable.args(["quota", "disable"]).arg(disk.path());
    assert!(limit("none") || disable.status().is_ok_and(|status| status.success()), "the quota stays");
    assert_continues(&bench, &dir, "without a quota").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_reported_and_still_read() {
    let Some(disk) = Disk::ext4() else { return };
    let (bench, dir) = (finished().await, disk.path().join("out"));
    assert_continues(&bench, &dir, "writable").await;
    disk.remount("ro");
    for command in ["ls", "verify"] {
        let read = bench.command(&[command, dir.to_str().unwrap()]).output().unwrap();
        assert_eq!(code(&read), 0, "{command}: {}", stderr(&read));
    }
    let sync = run(&bench, &dir, &["--once"]).await;
    assert_eq!(code(&sync), 73, "{}", stderr(&sync));
    assert!(stderr(&sync).to_lowercase().contains("read-only"), "{}", stderr(&sync));
    let elsewhere = run(&bench, &disk.path().join("new"), &["--once"]).await;
    assert_eq!(code(&elsewhere), 73, "{}", stderr(&elsewhere));
}

/// Starts a slow run and returns it once bytes of its checkpoints arrive.
fn begun(bench: &Bench, dir: &Path, more: &[&str]) -> std::process::Child {
    let mut child = command(bench, dir, more).spawn().unwrap();
    while bench.simulator.artifact_bytes() < 1_000_000 && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child
}

fn slow() -> HostOptions {
    HostOptions { throttle: Some(1_000_000), ..HostOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_breaks_ends_with_74() {
    let Some(disk) = Disk::ext4() else { return };
    let (bench, dir) = (finished_from(slow()).await, disk.path().join("out"));
    let child = begun(&bench, &dir, &["--once"]);
    disk.cut_power(true);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(code(&ended), 74, "{}", stderr(&ended));
    disk.power_up();
    assert_sound(&bench, &dir, "broken disk");
    bench.simulator.set_host(|host| host.throttle = None);
    assert_continues(&bench, &dir, "a whole disk again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_goes_away_is_noticed_and_not_made_anew() {
    for how in ["deleted", "moved", "unmounted"] {
        let Some(disk) = Disk::ext4() else { return };
        let (bench, dir) = (finished_from(slow()).await, disk.path().join("out"));
        let following = how == "moved";
        let more: &[&str] = if following { &[] } else { &["--once"] };
        let child = begun(&bench, &dir, more);
        match how {
            "deleted" => fs::remove_dir_all(&dir).unwrap(),
            "moved" => fs::rename(&dir, disk.path().join("elsewhere")).unwrap(),
            _ => disk.unmount(true),
        }
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        assert_eq!(code(&ended), 74, "{how}: {}", stderr(&ended));
        assert!(stderr(&ended).contains("deleted, moved or unmounted"), "{how}: {}", stderr(&ended));
        assert!(!dir.exists(), "{how}: it was made anew");
        let under = fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let under: Vec<_> = under.filter(|name| name != "lost+found" && name != "elsewhere").collect();
        assert!(under.is_empty(), "{how}: {under:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_open_files_are_enough() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(JobPlan {
        steps: 1000,
        save_every: 100,
        sample_every: 100,
        checkpoint_bytes: 200_000,
        picture_side: 32,
        keep: 0,
        ..JobPlan::default()
    });
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    let dir = bench.dir();
    let plain = command(&bench, &dir, &["--once", "-q", "--connections", "64"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    limited.env_clear();
    for (name, value) in plain.get_envs() {
        limited.envs(value.map(|value| (name, value)));
    }
    limited.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || limited.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_continues(&bench, &dir, "few open files").await;
}

/// Following, a full disk is a pause: it is reported once, and the run continues by itself when there is space.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_pauses_a_follower() {
    let Some(disk) = Disk::ext4() else { return };
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(plan());
    simulator.advance_steps(&job, 300);
    let bench = Bench::new(simulator, job);
    let dir = disk.path().join("out");
    let ballast = fill(&disk.path(), 2_000_000);
    let mut following = command(&bench, &dir, &["--min-free", "0", "--interval", "1s", "--timeout", "60s"]);
    let mut child = following.process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let (bench, child) = tokio::task::spawn_blocking(move || {
        let mut said = Vec::new();
        let reported =
            lines.by_ref().inspect(|line| said.push(line.clone())).any(|line| line.contains("no room for"));
        assert!(reported, "{said:?}");
        assert_sound(&bench, &dir, "paused");
        fs::remove_file(ballast).unwrap();
        let more = lines.by_ref().inspect(|line| said.push(line.clone()));
        let came = { more }.any(|line| line.contains("published  my_first_lora_000000250.safetensors"));
        assert!(came, "{said:?}");
        // That the disk will be full is foretold too, before or after.
        let pauses = said.iter().filter(|line| line.contains("no room for `my_first_lora_000000250"));
        assert_eq!(pauses.count(), 1, "reported once: {said:?}");
        bench.simulator.finish(&bench.job);
        lines.for_each(drop);
        (bench, child)
    })
    .await
    .unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(code(&ended), 0);
    assert_sound(&bench, &disk.path().join("out"), "done");
}

/// The same when the disk fills up in the middle of a file, although there was room when it began.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_in_mid_file_pauses_and_continues() {
    let Some(disk) = Disk::ext4() else { return };
    // Slow enough that the file is not here before the disk is full.
    let host = HostOptions { throttle: Some(400_000), ..HostOptions::default() };
    let simulator = Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await.unwrap();
    let job = simulator.add_job(plan());
    simulator.advance_steps(&job, 300);
    let bench = Bench::new(simulator, job);
    let dir = disk.path().join("out");
    let mut child = begun(&bench, &dir, &["--min-free", "0", "--interval", "1s", "--timeout", "60s"]);
    let ballast = fill(&disk.path(), 0);
    let lines = Lines::of(child.stderr.take().unwrap());
    // That the disk will be full is foretold too, before or after.
    lines.wait_for("notice", |line| line.starts_with("notice") && line.contains("my_first_lora_000000250"));
    assert_sound(&bench, &dir, "full in mid-file");
    assert!(!dir.join("my_first_lora_000000250.safetensors").exists(), "it does not fit");
    bench.simulator.set_host(|host| host.throttle = None);
    fs::remove_file(ballast).unwrap();
    lines.wait_for("file", |line| line.contains("published  my_first_lora_000000250.safetensors"));
    bench.simulator.finish(&bench.job);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(code(&ended), 0);
    assert_eq!(assert_sound(&bench, &dir, "done"), bench.simulator.hosted(&bench.job).len());
}

fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// G7: a folder that may not be written is reported before anything is fetched; one below it costs its own files alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_is_reported_and_costs_itself_alone() {
    let bench = finished().await;
    let dir = bench.dir();
    let once = |dir: &Path| without_privilege(&command(&bench, dir, &["--once"]));
    fs::create_dir(&dir).unwrap();
    for (at, reported) in [(dir.clone(), "out/.rcsync"), (dir.join("new"), "out/new")] {
        allow(&dir, 0o555);
        let Some(mut run) = once(&at) else { return };
        let run = run.output().unwrap();
        assert_eq!(code(&run), 73, "{}", stderr(&run));
        let said = stderr(&run);
        assert!(said.contains(reported) && said.contains("ermission denied"), "{said}");
        assert_eq!(bench.simulator.artifact_requests(), 0, "nothing is fetched for nowhere");
        allow(&dir, 0o755);
    }
    fs::create_dir(dir.join("samples")).unwrap();
    allow(&dir.join("samples"), 0o555);
    let run = once(&dir).unwrap().output().unwrap();
    let said = stderr(&run);
    assert_eq!(code(&run), 74, "{said}");
    assert!(said.contains("samples/") && said.contains("ermission denied"), "{said}");
    let samples =
        bench.simulator.hosted(&bench.job).iter().filter(|path| path.starts_with("samples")).count();
    let published = assert_sound(&bench, &dir, "samples may not be written");
    assert_eq!(published + samples, bench.simulator.hosted(&bench.job).len(), "{said}");
    allow(&dir.join("samples"), 0o755);
    assert_continues(&bench, &dir, "may be written").await;
}

/// G8: files may grow no further than that (as on a disk that takes no large ones), and names no longer.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_may_not_grow_and_paths_that_are_too_long() {
    let bench = finished().await;
    let dir = bench.dir();
    // In units of 512 bytes or of a KiB, as the shell has it: in either a checkpoint of three million bytes is too large.
    let limit = ["-c", "ulimit -f 2500; exec \"$0\" \"$@\""];
    let run = wrapped(&command(&bench, &dir, &["--once"]), "sh", &limit).output().unwrap();
    let said = stderr(&run);
    assert_eq!(run.status.code(), Some(74), "{:?}: {said}", run.status);
    assert!(said.contains("my_first_lora_000000250") && said.contains("File too large"), "{said}");
    assert!(assert_sound(&bench, &dir, "small files") > 0, "what fits is here: {said}");
    assert_continues(&bench, &dir, "files may grow").await;

    let mut deep = bench.dir().with_file_name("deep");
    while deep.as_os_str().len() < 4068 {
        let room = 4075 - deep.as_os_str().len();
        deep.push("d".repeat(room.clamp(2, 201) - 1));
    }
    let run = command(&bench, &deep, &["--once"]).output().unwrap();
    assert!([73, 74].contains(&code(&run)), "{}", stderr(&run));
    assert!(stderr(&run).contains("File name too long"), "{}", stderr(&run));
}

/// G10: a folder below DIR may be another disk, over which no rename leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_on_another_disk_gets_whole_files_too() {
    let (Some(disk), Some(other)) = (Disk::ext4(), Disk::ext4()) else { return };
    let (bench, dir) = (finished().await, disk.path().join("out"));
    fs::create_dir_all(dir.join("samples")).unwrap();
    other.bind(&dir.join("samples"));
    let first = run(&bench, &dir, &["--once"]).await;
    let samples = || fs::read_dir(dir.join("samples")).unwrap().map(|entry| entry.unwrap().file_name());
    let staged = || samples().filter(|name| name.to_string_lossy().starts_with('.')).count();
    let outcome = (code(&first), staged());
    let found = assert_sound(&bench, &dir, "two disks");
    let name = samples().find(|name| name.to_string_lossy().ends_with(".jpg")).unwrap();
    fs::remove_file(dir.join("samples").join(name)).unwrap();
    let again = run(&bench, &dir, &["--once"]).await;
    let all = bench.simulator.hosted(&bench.job).len();
    let end = (code(&again), staged(), assert_sound(&bench, &dir, "again"));
    // The other disk takes nothing: reported, and nothing half is there.
    let name = samples().find(|name| name.to_string_lossy().ends_with(".jpg")).unwrap();
    fs::remove_file(dir.join("samples").join(name)).unwrap();
    other.remount("ro");
    let short = run(&bench, &dir, &["--once"]).await;
    let after = (code(&short), staged());
    let unmounted = Command::new("umount").arg("-l").arg(dir.join("samples")).status().unwrap();
    assert!(unmounted.success());
    assert_eq!((outcome, found), ((0, 0), all), "{}", stderr(&first));
    assert_eq!(end, (0, 0, all), "{}", stderr(&again));
    assert_eq!(after, (74, 0), "{}", stderr(&short));
}

/// G17: a slow disk slows the network down; it does not fill the memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_holds_the_network_back() {
    if !have(&["strace"]) {
        return;
    }
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(JobPlan { checkpoint_bytes: 48 << 20, keep: 0, steps: 1000, ..plan() });
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    let dir = bench.dir();
    let slow = "pwrite64,fdatasync:delay_exit=10000";
    let mut child = begin_with_fault(&command(&bench, &dir, &["--once", "-q"]), slow);
    let (held, child) = tokio::task::spawn_blocking(move || (watch(&mut child), child)).await.unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert_eq!(assert_sound(&bench, &dir, "slow"), bench.simulator.hosted(&bench.job).len());
    assert!(held.peak > 0 && held.peak < 96 << 10, "{held:?} for 200 MiB");
}

/// N13, N14: many files on many connections, within bounds of memory and of open files.
#[tokio::test(flavor = "multi_thread")]
async fn memory_and_open_files_stay_within_bounds() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let job = simulator.add_job(JobPlan {
        steps: 4000,
        save_every: 100,
        sample_every: 20,
        keep: 0,
        checkpoint_bytes: 2_000_000,
        picture_side: 32,
        ..JobPlan::default()
    });
    simulator.finish(&job);
    let bench = Bench::new(simulator, job);
    let dir = bench.dir();
    let mut child = command(&bench, &dir, &["--once", "-q", "--connections", "8"]).spawn().unwrap();
    let (held, child) = tokio::task::spawn_blocking(move || (watch(&mut child), child)).await.unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert!(held.peak > 0 && held.peak < 96 << 10, "{held:?}");
    // What is finished waits for its name with its file open: a batch of them at the most.
    assert!(held.files > 0 && held.files < 512 + 64 + 8, "{held:?}");
}

/// Names that differ in their case alone, and names that Windows keeps for itself, on a disk that minds both.
#[tokio::test(flavor = "multi_thread")]
async fn a_case_blind_disk_with_the_rules_of_windows() {
    if !have(&["lowntfs-3g"]) || !Path::new("/dev/fuse").exists() {
        return;
    }
    let rules = ("lowntfs-3g", "ignore_case,windows_names");
    let Some(disk) = Disk::make(&["mkfs.ntfs", "-q", "-F"], 64, rules) else { return };
    let dir = disk.path().join("out");
    let names = [
        "a.png", "A.png", "CON.png", "x:y.png", "end..png", "dot.png.", "nul.png", "q?.png", "b\\c.png",
        " z.png",
    ];
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let file = |name: &&str| {
        let picture = StaticBytes::Picture { format: PictureFormat::Png, side: 16 };
        StaticFile::new(ArtifactKind::Sample, format!("samples/{name}"), picture)
    };
    let job = simulator
        .add_static_job(StaticJob { files: names.iter().map(file).collect(), ..StaticJob::default() });
    let bench = Bench::new(simulator, job);
    let first = run(&bench, &dir, &["--once"]).await;
    let found = fs::read_dir(dir.join("samples")).unwrap().count();
    assert_eq!((code(&first), found), (0, names.len()), "{}", stderr(&first));
    bench.assert_sums_pass_in(&dir);
    bench.simulator.clear_requests();
    assert_eq!(code(&run(&bench, &dir, &["--once"]).await), 0);
    assert_eq!(bench.simulator.artifact_requests(), 0);
}
