//! Time and surroundings: clocks that jump, machines that sleep, networks that go away, and the little that cron gives.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcsync::simulator::{HostOptions, JobPlan, Simulator, SimulatorConfig};

use crate::rig::{have, wrapped};
use crate::support::{Bench, Lines, code, skip, stderr};

fn plan() -> JobPlan {
    JobPlan { steps: 1000, keep: 0, checkpoint_bytes: 1_000_000, picture_side: 32, ..JobPlan::default() }
}

async fn running(host: HostOptions) -> Bench {
    let simulator = Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await.unwrap();
    let job = simulator.add_job(plan());
    simulator.advance_steps(&job, 300);
    Bench::new(simulator, job)
}

fn follow(bench: &Bench, more: &[&str]) -> Command {
    let dir = bench.dir();
    let mut arguments =
        vec![bench.job.as_str(), dir.to_str().unwrap(), "--interval", "1s", "--timeout", "60s"];
    arguments.extend(more);
    bench.command(&arguments)
}

async fn ended(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

/// Nothing listens at the store's address.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_reads_a_bucket_reports_that_the_store_does_not_answer_and_gives_up_soon() {
    let bench = running(HostOptions::default()).await;
    let cases: [(&[&str], bool, bool); 7] = [
        (&["ls", "s3://b/p"], true, false),
        (&["verify", "s3://b/p", "--output", "json"], true, false),
        (&["gallery", "s3://b/p"], true, false),
        (&["prune", "s3://b/p", "--keep-last", "1"], true, false),
        (&["fleet", "ls", "s3://b/{id}", "-vv"], true, true),
        (&["fleet", "s3://b/{id}", "--once", "--timeout", "8s"], true, false),
        (&["ls", "s3://b/p", "-q"], false, false),
    ];
    let runs = cases.map(|(typed, reports, logs)| {
        let mut command = bench.command(typed);
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name, "ssssssss"));
        command.envs(keys).env("AWS_REGION", "us-east-1").env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        let began = Instant::now();
        tokio::task::spawn_blocking(move || {
            let run = command.output().unwrap();
            let (text, out) = (stderr(&run), String::from_utf8_lossy(&run.stdout).into_owned());
            assert_eq!(code(&run), 69, "{typed:?}: {text}");
            // A single pass of a mirror has patience for two minutes, of which the first six tries take eight seconds at least.
            assert!(began.elapsed() < Duration::from_secs(30), "{typed:?}: {:?}", began.elapsed());
            let away = "the store of `s3://b";
            let lines = text.lines().filter(|line| line.starts_with("retrying ") && line.contains(away));
            assert_eq!(lines.count(), usize::from(reports), "{typed:?}: {text}");
            let logged = text.lines().filter(|line| line.contains("DEBUG") && line.contains(away));
            assert_eq!(logged.count(), if logs { 3 } else { 0 }, "{typed:?}: {text}");
            assert!(text.contains(&format!("error: {away}")), "{typed:?}: {text}");
            assert_eq!(out.lines().count(), usize::from(typed.contains(&"json")), "{typed:?}: {out}");
        })
    });
    for run in runs {
        run.await.unwrap();
    }
}

fn assert_all_here(bench: &Bench) {
    assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
    bench.assert_sums_pass();
}

/// Builds a library that moves the wall clock by as many seconds as a file holds.
fn clock(folder: &Path) -> Option<PathBuf> {
    const CLOCK: &str = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <time.h>
        int clock_gettime(clockid_t id, struct timespec *now) {
            int (*next)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
            int result = next(id, now);
            long offset = 0;
            FILE *file = id == CLOCK_REALTIME ? fopen(getenv("CLOCK_OFFSET"), "r") : 0;
            if (file && fscanf(file, "%ld", &offset) == 1) now->tv_sec += offset;
            if (file) fclose(file);
            return result;
        }
    "#;
    if !have(&["cc"]) {
        return None;
    }
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if built.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    skip("`cc` builds no shared library here");
    None
}

const YEAR: i64 = 365 * 24 * 3600;

/// I1, D11: the wall clock is years off, and jumps during a run. Links that expire at a moment are asked for all
/// the same, waits are as long as ever, and what is recorded is in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_and_jumps_changes_nothing() {
    let host = HostOptions { link_lifetime: Some(Duration::from_secs(600)), ..HostOptions::default() };
    let bench = running(host).await;
    let folder = bench.dir().with_file_name("clock");
    fs::create_dir(&folder).unwrap();
    let Some(library) = clock(&folder) else { return };
    let offset = folder.join("offset");
    fs::write(&offset, (20 * YEAR).to_string()).unwrap();
    let mut command = follow(&bench, &["--output", "json"]);
    command.env("LD_PRELOAD", library).env("CLOCK_OFFSET", &offset);
    let mut child = command.spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    let published = |step: u64| {
        lines.wait_for("checkpoint", |line| {
            line.contains("\"published\"") && line.contains(&format!("lora_{step:09}.safetensors"))
        })
    };
    let first = published(250);
    assert!(first.contains("\"time\":\"204"), "the clock is off: {first}");
    for (step, jump) in [(500, -YEAR), (750, YEAR)] {
        fs::write(&offset, jump.to_string()).unwrap();
        let began = Instant::now();
        bench.simulator.advance_steps(&bench.job, 250);
        published(step);
        assert!(began.elapsed() < Duration::from_secs(15), "{:?} after the clock jumped", began.elapsed());
    }
    fs::write(&offset, (-30 * YEAR).to_string()).unwrap();
    bench.simulator.finish(&bench.job);
    let output = ended(child).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_all_here(&bench);
    bench.simulator.clear_requests();
    assert_eq!(code(&bench.once(&[]).await), 0);
    assert_eq!(bench.simulator.artifact_requests(), 0, "what was published under a wrong clock is known");
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// I2: the machine sleeps in the middle of a file, for longer than anything waits, and its connections are gone when it
/// wakes up. It resumes from what it has, with no burst of requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_continues_after_the_machine_slept() {
    let bench = running(HostOptions { throttle: Some(400_000), ..HostOptions::default() }).await;
    let child = follow(&bench, &["--stall-timeout", "1s"]).spawn().unwrap();
    while bench.simulator.artifact_bytes() < 300_000 {
        tokio::task::yield_now().await;
    }
    signal(&child, "STOP");
    tokio::time::sleep(Duration::from_secs(3)).await;
    bench.simulator.finish(&bench.job);
    bench.simulator.set_host(|host| host.throttle = None);
    bench.simulator.clear_requests();
    signal(&child, "CONT");
    let output = ended(child).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_all_here(&bench);
    let files = bench.simulator.hosted(&bench.job).len() as u64;
    let asked = bench.simulator.artifact_requests();
    assert!(asked <= 2 * files + 8, "{asked} requests for {files} files");
    assert!(bench.simulator.api_requests() < 40, "{} looks", bench.simulator.api_requests());
}

/// I4: the network interface goes away in the middle of everything, and comes back; the user has to do nothing. All of
/// it in a network of its own, with the simulated trainer in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_goes_away_is_waited_for() {
    if !have(&["unshare", "ip", "nsenter"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("a network of its own needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_rcsync");
    let script = "ip link set lo up && exec \"$0\" simulate --listen 127.0.0.1:47999";
    let mut trainer = Command::new("unshare");
    trainer.args(["--net", "sh", "-c", script, binary]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut trainer = Ends(trainer.spawn().unwrap());
    let said = Lines::of(trainer.0.stdout.take().unwrap());
    let token = said.wait_for("token", |line| line.contains("RUNCOMFY_TOKEN="));
    let job = said.wait_for("job", |line| line.starts_with("rcsync "));
    let network = format!("--net=/proc/{}/ns/net", trainer.0.id());
    let set = |to: &str| {
        let set = Command::new("nsenter").arg(&network).args(["ip", "link", "set", "lo", to]).status();
        assert!(set.unwrap().success(), "the interface is not set {to}");
    };
    let mut follow = Command::new("nsenter");
    follow.arg(&network).args([binary, job.split(' ').nth(1).unwrap(), "out", "--interval", "1s"]);
    follow.env("RUNCOMFY_TRAINER_API_BASE", "http://127.0.0.1:47999").current_dir(folder.path());
    follow.env("RUNCOMFY_TOKEN", token.split('=').nth(1).unwrap()).env("HOME", folder.path());
    let mut follow = Ends(follow.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let said = Lines::of(follow.0.stderr.take().unwrap());
    said.wait_for("look", |line| line.starts_with("job"));
    for _ in 0..2 {
        set("down");
        tokio::time::sleep(Duration::from_millis(2500)).await;
        set("up");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    said.wait_for("file", |line| line.starts_with("published"));
    signal(&follow.0, "TERM");
    assert_eq!(follow.0.wait().unwrap().code(), Some(143));
}

/// A process that ends with its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// I5: from cron, with next to nothing in the environment, no terminal, another folder and any umask: private files are
/// private, published ones are what the umask allows, and nothing is reported.
#[tokio::test(flavor = "multi_thread")]
async fn cron_s_surroundings_are_enough() {
    for (umask, published, folder) in [("077", 0o600, 0o700), ("000", 0o666, 0o777), ("022", 0o644, 0o755)] {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let job = simulator.add_job(plan());
        simulator.finish(&job);
        let bench = Bench::new(simulator, job);
        let dir = bench.dir();
        let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--once"]);
        command.env_remove("HOME").env("LANG", "C").env("TERM", "dumb").current_dir("/");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let mut command = wrapped(&command, "sh", &["-c", &script]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(code(&output), 0, "{umask}: {}", stderr(&output));
        assert_all_here(&bench);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        for name in ["my_first_lora.safetensors", "config.yaml", "SHA256SUMS", "job.json"] {
            assert_eq!(mode(&dir.join(name)), published, "{umask}: {name}");
        }
        assert_eq!(mode(&dir.join("samples")), folder, "{umask}: samples");
        assert_eq!(mode(&dir.join(".rcsync")), 0o700, "{umask}: the private folder");
        assert_eq!(mode(&dir.join(".rcsync/parts")), 0o700, "{umask}: parts");
    }
}

/// E5: a machine without any certificates: the message names the variable for some, before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_has_the_way_out() {
    if !have(&["unshare", "mount"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("hiding the system's certificates needs root");
    }
    let bench = running(HostOptions::default()).await;
    let dir = bench.dir();
    let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--once"]);
    command
        .env("RUNCOMFY_TRAINER_API_BASE", "https://127.0.0.1:1")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let hide = "for at in /etc/ssl /usr/share/ca-certificates /usr/local/share/ca-certificates /etc/pki /usr/lib/ssl; do \
                if [ -d $at ]; then mount -t tmpfs none $at || exit 99; fi; done; exec \"$0\" \"$@\"";
    let mut command = wrapped(&command, "unshare", &["--mount", "sh", "-c", hide]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = stderr(&output);
    assert!([69, 78].contains(&code(&output)), "{said}");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");
    assert!(!dir.exists(), "nothing is made");
}

/// A file system that reports 0 of 0 bytes (cloud drives, memory disks) is not full.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_figures_is_not_full() {
    if !have(&["unshare", "mount"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("mounting a disk needs root");
    }
    let bench = running(HostOptions::default()).await;
    bench.simulator.finish(&bench.job);
    let drive = bench.dir();
    fs::create_dir_all(&drive).unwrap();
    let out = drive.join("out");
    // What is mounted is gone with the namespace, so the files are counted inside of it.
    let inside = format!(
        "mount -t tmpfs -o size=0 none {0} || exit 99; \"$0\" \"$@\"; code=$?; cd {0}/out && sha256sum --quiet -c SHA256SUMS && wc -l < SHA256SUMS; exit $code",
        drive.display()
    );
    for more in [&[][..], &["--min-free", "0"], &["--min-free", "1T"]] {
        let mut arguments = vec![bench.job.as_str(), out.to_str().unwrap(), "--once"];
        arguments.extend(more);
        let mut command = bench.command(&arguments);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let mut command = wrapped(&command, "unshare", &["--mount", "sh", "-c", &inside]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(code(&output), 0, "{more:?}: {}", stderr(&output));
        let files = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(files, bench.simulator.hosted(&bench.job).len().to_string(), "{more:?}");
    }
}

/// A container or a user may have few threads: the mirror does with what there is, down to none beside its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_needs_no_more_threads_than_there_are() {
    if !have(&["timeout", "setpriv", "prlimit"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("another user id needs root");
    }
    let bench = running(HostOptions::default()).await;
    bench.simulator.finish(&bench.job);
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("rcsync");
    fs::copy(env!("CARGO_BIN_EXE_rcsync"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for threads in [1, 2, 3, 4, 8, 18, 19, 20, 24] {
        // A user of whom nothing else runs, and each time another one.
        let user = 54_000 + threads;
        let out = place.path().join(threads.to_string());
        let name = |option: &str| format!("--{option}={user}");
        let limit = format!("--nproc={threads}");
        // Outside of the limit: a mirror that waits for a thread for ever must not hold up the test.
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60", "setpriv"]);
        command.args([&name("reuid"), &name("regid"), "--clear-groups", "prlimit", &limit]);
        command.arg(&program).args([bench.job.as_str(), out.to_str().unwrap(), "--once"]);
        command
            .env_clear()
            .envs(bench.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", place.path()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = ended(command.spawn().unwrap()).await;
        assert_eq!(output.status.code(), Some(0), "{threads} threads: {}", stderr(&output));
        assert_eq!(bench.assert_true_in(&out), bench.simulator.hosted(&bench.job).len(), "{threads} threads");
    }
}
