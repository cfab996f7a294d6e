//! Every command of every page is run, in the order of the page, against the simulator; or is listed here with the reason
//! why it is not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig, picture};
use rcsync::{DatasetStatus, JobId};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::page::{Command as Typed, Page, first_word, root};
use crate::support::{skip, small};

/// Commands that are not run: the page (`*` is any), how the command begins, and why. An empty beginning is the whole page.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("*", "export RUNCOMFY_TOKEN=", "the sandbox has a token"),
    ("*", "pip install", "`packaging/try-wheel` installs a wheel, in `.ci/run`"),
    (
        "*",
        "cargo install --path",
        "compiles for minutes; the Dockerfile's steps, which have it, are followed by `.ci/run`",
    ),
    (
        "README.md",
        "cargo run --release -- demo",
        "`.ci/run` runs the demo, with the program that is built already",
    ),
    ("README.md", "cargo test", "is what runs this"),
    ("docs/cron.md", "systemctl", "needs a user's systemd; `systemd-analyze` reads the units, in `.ci/run`"),
    ("docs/cron.md", "journalctl", "needs a user's systemd"),
    ("docs/cron.md", "loginctl", "needs a user's systemd"),
    ("docs/fleet.md", "", "`tests/it/fleet/page.rs` runs its blocks"),
    (
        "docs/buckets.md",
        "",
        "needs clouds or a store; `tests/buckets/run` runs rcsync on SeaweedFS and Azurite",
    ),
    ("docs/reliability.md", "", "runs tests, which `cargo test` runs too"),
];

/// Commands that run until they are stopped: what is printed before that.
const ENDLESS: &[(&str, &str, &str)] =
    &[("docs/comfyui.md", "rcsync mirror ./out --comfyui ~/ComfyUI --watch", "mirrored")];

/// Files of this repository, and programs that a sandbox has instead of real ones. They note their arguments in `called`.
const PRETENDED: &[&str] = &["curl", "notify-send", "rclone", "xdg-open"];

/// What a page finds when its first command is typed.
#[derive(Clone, Copy, Default)]
struct Before {
    /// The finished job is mirrored in `./out`.
    mirrored: bool,
    /// There is a `dog.yaml`, and the account has the pictures of `./dog`.
    configured: bool,
}

const ALL: Before = Before { mirrored: true, configured: true };

/// The pages that are run, and a test for each.
macro_rules! pages {
    ($($test:ident: $page:literal, $before:expr;)*) => {
        const RUN: &[&str] = &[$($page),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                run($page, $before).await;
            }
        )*
    };
}

pages! {
    readme: "README.md", Before::default();
    choosing: "docs/choosing-and-pruning.md", ALL;
    comfyui: "docs/comfyui.md", ALL;
    configuration: "docs/configuration.md", ALL;
    cron: "docs/cron.md", Before::default();
    datasets: "docs/datasets.md", Before::default();
    first_mirror: "docs/first-mirror.md", Before::default();
    hooks: "docs/hooks.md", Before::default();
    install: "docs/install.md", Before::default();
    job_life: "docs/job-life.md", Before { mirrored: false, configured: true };
    json: "docs/json-and-exit-codes.md", ALL;
    troubleshooting: "docs/troubleshooting.md", ALL;
    verify: "docs/verify-and-repair.md", ALL;
}

fn fits(rule: (&str, &str), page: &str, command: &Typed) -> bool {
    (rule.0 == "*" || rule.0 == page) && command.text.starts_with(rule.1)
}

fn not_run(page: &str, command: &Typed) -> bool {
    NOT_RUN.iter().any(|(on, begins, _)| fits((on, begins), page, command))
}

#[test]
fn every_command_is_run_or_listed() {
    let pages = Page::all();
    let mut missed = Vec::new();
    for page in pages.iter().filter(|page| !RUN.contains(&page.name.as_str())) {
        let commands = page.commands();
        missed.extend(
            commands
                .into_iter()
                .filter(|command| !not_run(&page.name, command))
                .map(|command| (page.name.clone(), command)),
        );
    }
    assert!(missed.is_empty(), "neither run nor listed: {missed:#?}");
    // A rule that fits nothing is of a command that is gone.
    let commands: Vec<(String, Typed)> = pages
        .iter()
        .flat_map(|page| page.commands().into_iter().map(|command| (page.name.clone(), command)))
        .collect();
    let rules = NOT_RUN.iter().map(|(page, begins, _)| (*page, *begins));
    for rule in rules.chain(ENDLESS.iter().map(|(page, begins, _)| (*page, *begins))) {
        assert!(commands.iter().any(|(page, command)| fits(rule, page, command)), "no command is {rule:?}");
    }
}

/// A home with what the pages name, an account, and an address that takes webhooks.
struct Sandbox {
    simulator: Simulator,
    job: JobId,
    home: tempfile::TempDir,
    receiver: String,
}

impl Sandbox {
    async fn new(page: &Page, before: Before) -> Self {
        let config = SimulatorConfig {
            submitted: small("dog"),
            step_time: Some(Duration::from_millis(10)),
            ..SimulatorConfig::default()
        };
        let simulator = Simulator::start(config).await.unwrap();
        let job = simulator.add_job(small("dog"));
        simulator.finish(&job);
        let home = tempfile::tempdir().unwrap();
        let sandbox = Self { simulator, job, home, receiver: receiver().await };
        for folder in ["bin", "ComfyUI/models/loras", ".config", "loras", ".cargo/bin"] {
            std::fs::create_dir_all(sandbox.path(folder)).unwrap();
        }
        for program in PRETENDED {
            let path = sandbox.path("bin").join(program);
            std::fs::write(
                &path,
                format!("#!/bin/sh\nprintf '%s\\n' {program} \"$@\" >> \"$HOME/called\"\n"),
            )
            .unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(root().join("examples"), sandbox.path("examples")).unwrap();
        let program = sandbox.path(".cargo/bin/rcsync");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rcsync"), program).unwrap();
        sandbox.pictures();
        if before.configured {
            sandbox.succeed("rcsync init dog --dataset ./dog -q").await;
            let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(sandbox.path("dog"))
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
                .collect();
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
            sandbox.simulator.add_dataset("dog", DatasetStatus::Ready, &files);
        }
        if before.mirrored {
            sandbox.succeed("rcsync <JOB_ID> ./out --once -q").await;
        }
        if page.text.contains("ROOT") {
            for name in ["dog", "cat"] {
                sandbox.succeed(&format!("rcsync <JOB_ID> ./ROOT/{name} --once -q")).await;
            }
        }
        sandbox
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join(relative)
    }

    fn pictures(&self) {
        let folder = self.path("dog");
        std::fs::create_dir_all(&folder).unwrap();
        for number in 1..=4 {
            std::fs::write(folder.join(format!("dog_{number:02}.jpg")), picture(number, 64)).unwrap();
            std::fs::write(folder.join(format!("dog_{number:02}.txt")), format!("a dog, number {number}"))
                .unwrap();
        }
    }

    /// The job that a command is about: one whose state fits it.
    fn job_of(&self, text: &str) -> JobId {
        let has = |word: &str| text.contains(&format!("rcsync {word} "));
        if !(has("cancel") || has("resume") || has("edit")) {
            return self.job.clone();
        }
        let steps = if has("cancel") { 1_000_000 } else { 40 };
        let job = self.simulator.add_job(JobPlan { steps, ..small("dog") });
        self.simulator.advance_steps(&job, 15);
        if !has("cancel") {
            self.simulator.preempt(&job);
        }
        job
    }

    /// The command with its placeholders filled in.
    fn filled(&self, text: &str) -> String {
        let job = self.job_of(text);
        let job = job.as_str();
        let text = text.replace("/usr/local/bin/rcsync", "rcsync");
        text.replace("<JOB_ID>", job)
            .replace("/home/me", self.home.path().to_str().unwrap())
            .replace("https://hooks.example", &self.receiver)
            .replace("--webhook https://ntfy.sh", &format!("--webhook {}", self.receiver))
            .split(' ')
            .map(|word| match word {
                "JOB" => job,
                "DIR" => "./out",
                word => word,
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn shell(&self, text: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_rcsync")).parent().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.filled(text)])
            .env_clear()
            .env("PATH", format!("{}:{}:/usr/bin:/bin", self.path("bin").display(), program.display()))
            .env("HOME", self.home.path())
            .env("RUNCOMFY_TRAINER_API_BASE", self.simulator.api_base())
            .env("RUNCOMFY_TOKEN", self.simulator.token())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn output(&self, text: &str) -> Output {
        let running = self.shell(text).output();
        let limit = Duration::from_secs(120);
        tokio::time::timeout(limit, running).await.unwrap_or_else(|_| panic!("does not end: {text}")).unwrap()
    }

    async fn succeed(&self, text: &str) {
        let done = self.output(text).await;
        assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs it until it has printed this, and stops it with Ctrl-C.
    async fn until(&self, text: &str, printed: &str) -> i32 {
        let mut running = self.shell(&format!("exec 2>&1; exec {text}")).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let wanted = async {
            let mut heard = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                heard.push(line);
                if heard.last().unwrap().contains(printed) {
                    return;
                }
            }
            panic!("{text} ended without `{printed}`: {heard:#?}");
        };
        tokio::time::timeout(Duration::from_secs(60), wanted)
            .await
            .unwrap_or_else(|_| panic!("{text}: no {printed}"));
        let pid = rustix::process::Pid::from_raw(i32::try_from(running.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        running.wait().await.unwrap().code().unwrap()
    }
}

/// Takes what is posted to it.
async fn receiver() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = [0; 65_536];
                // One read is enough for a small event, and an answer that comes early is one all the same.
                let _ = connection.read(&mut read).await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

async fn run(name: &str, before: Before) {
    let page = Page::read(name);
    let sandbox = Sandbox::new(&page, before).await;
    let mut count = 0;
    for command in page.commands() {
        if not_run(name, &command) {
            continue;
        }
        let place = format!("{name}:{}", command.line);
        let needed = command.text.split('|').map(str::trim).map(first_word).find(|program| *program == "jq");
        if needed.is_some() && !Path::new("/usr/bin/jq").exists() {
            skip(&format!("{place}: there is no jq"));
            continue;
        }
        // Each hook begins anew: what was reported once is not reported again.
        if name == "docs/hooks.md" {
            let _ = std::fs::remove_dir_all(sandbox.path("out"));
        }
        count += 1;
        if let Some((.., printed)) = ENDLESS.iter().find(|(on, begins, _)| fits((on, begins), name, &command))
        {
            std::fs::create_dir_all(sandbox.path("Another/models/loras")).unwrap();
            let code = sandbox.until(&command.text.replace("~/ComfyUI", "~/Another"), printed).await;
            assert!([0, 130].contains(&code), "{place}: {} ended with {code}", command.text);
            continue;
        }
        let done = sandbox.output(&command.text).await;
        let printed = [&done.stdout[..], b"\n", &done.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert_eq!(done.status.code(), Some(0), "{place}: {}\n{printed}", command.text);
        let is_scheduled = command.text.contains("/.cargo/bin/rcsync") && count > 1;
        assert!(!is_scheduled || !printed.contains("error"), "{place}: {printed}");
    }
    assert!(count > 0, "{name} has no command that is run");
    if name == "docs/hooks.md" {
        services_get_json_of_their_own(&sandbox);
    }
}

/// What `curl` was given for Slack and Discord is JSON with the field that they read.
fn services_get_json_of_their_own(sandbox: &Sandbox) {
    let called = std::fs::read_to_string(sandbox.path("called")).unwrap();
    let bodies: Vec<serde_json::Value> = called
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (field, words) in
        [("text", "dog.safetensors is here"), ("text", "ended with 0"), ("content", "ended with 0")]
    {
        let fits = |body: &&serde_json::Value| body[field].as_str().is_some_and(|text| text.contains(words));
        assert!(bodies.iter().any(|body| fits(&body)), "no {field} with `{words}`: {called}");
    }
    assert!(called.contains("notify-send\nended with 0\n"), "{called}");
}
