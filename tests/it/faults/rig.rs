//! Runs the real binary against a scripted world and holds what came of it to the promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::host::{Ask, Host, Script, Secure};
use super::reply::Reply;
use super::world::{Hosted, JOB, Kind, SIGNATURE, TOKEN};

/// Nothing here takes this long, even on a busy machine: a run that does hangs.
const HUNG: Duration = Duration::from_secs(90);

/// Files that rcsync writes of its own accord.
const OWN: &[&str] = &["job.json", "SHA256SUMS", "index.html"];

/// Answers the API's questions in place of the honest answer, where it returns something.
pub(crate) type ApiScript = Arc<dyn Fn(&Ask, &Listing) -> Option<Reply> + Send + Sync>;

/// What the API answers when it is honest.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) status: Value,
    pub(crate) result: Value,
}

/// A job, its files, and an API that may misbehave too.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) files: Vec<Hosted>,
    pub(crate) api: Option<ApiScript>,
    pub(crate) status: &'static str,
    /// Steps done and steps to do.
    pub(crate) progress: (u64, u64),
    /// Where the files are said to be; `{port}` is the files' host's. The default is their own address.
    pub(crate) origin: String,
    pub(crate) secure: Option<Secure>,
}

impl World {
    pub(crate) fn of(files: Vec<Hosted>) -> Self {
        Self {
            files,
            api: None,
            status: "STOPPED",
            progress: (1000, 1000),
            origin: "http://127.0.0.1:{port}".to_owned(),
            secure: None,
        }
    }

    pub(crate) fn api(
        mut self,
        script: impl Fn(&Ask, &Listing) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        self.api = Some(Arc::new(script));
        self
    }

    fn listing(&self, port: u16) -> Listing {
        let origin = self.origin.replace("{port}", &port.to_string());
        let url = |hosted: &Hosted| format!("{origin}{}?sig={SIGNATURE}", hosted.path);
        let of = |kind| self.files.iter().filter(move |hosted| hosted.kind == kind);
        let checkpoints: Vec<Value> =
            of(Kind::Checkpoint).map(|hosted| json!({ "path": url(hosted) })).collect();
        let samples: Vec<Value> = of(Kind::Sample)
            .enumerate()
            .map(|(index, hosted)| {
                json!({ "sample_index": index, "type": "image", "step": 250, "seed": 42, "prompt": "a dog",
                        "control_image": [], "path": url(hosted) })
            })
            .collect();
        let config = of(Kind::Config).next().map_or(Value::Null, |hosted| json!({ "path": url(hosted) }));
        let (step, total) = self.progress;
        let percent = (step * 100).checked_div(total).unwrap_or(0);
        Listing {
            status: json!({ "id": JOB, "name": "lora", "status": self.status,
                "progress": { "current_step": step, "total_steps": total, "percent": percent } }),
            result: json!({ "id": JOB, "name": "lora", "status": self.status,
                "artifacts": { "checkpoints": checkpoints, "config": config, "samples": samples },
                "created_at": "2026-01-31T12:00:00.143086", "started_at": "2026-01-31T12:03:10.143086",
                "finished_at": "2026-01-31T16:12:34.143086" }),
        }
    }
}

/// The servers of one world, and a folder.
pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) api: Host,
    pub(crate) host: Host,
    root: tempfile::TempDir,
}

/// What a run of rcsync left behind.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code; `None` when it hung and was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    /// Without the lines of the log.
    pub(crate) stderr: Vec<u8>,
    /// What it logged: every run of the catalogue logs all it can, and no secret may be in that either.
    pub(crate) log: String,
    /// The most memory that it held, in KiB, where the system tells.
    pub(crate) peak: u64,
}

impl Run {
    /// Everything it wrote.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }

    /// Returns its events of one kind.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.stdout);
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|event| event["event"] == name).collect()
    }
}

impl Rig {
    pub(crate) fn new(world: World) -> Self {
        let files = world.files.clone();
        let serve: Script = Arc::new(move |ask| {
            // A client may encode what an address may not have in it.
            let asked = percent_encoding::percent_decode_str(ask.path()).collect::<Vec<u8>>();
            let is_it = |hosted: &&Hosted| {
                percent_encoding::percent_decode_str(&hosted.path).collect::<Vec<u8>>() == asked
            };
            files.iter().find(is_it).map_or_else(|| Reply::new(404, b""), |hosted| (hosted.script)(ask))
        });
        let host = Host::start_with(serve, world.secure.clone());
        let (listing, script) = (world.listing(host.port()), world.api.clone());
        let api = Host::start(Arc::new(move |ask| {
            if let Some(reply) = script.as_ref().and_then(|script| script(ask, &listing)) {
                return reply;
            }
            if ask.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
                return Reply::json(r#"{"error":"unauthorized"}"#).status(401);
            }
            match ask.path().rsplit('/').next() {
                Some("status") => Reply::json(&listing.status.to_string()),
                Some("result") => Reply::json(&listing.result.to_string()),
                _ => Reply::json(r#"{"error":"not found"}"#).status(404),
            }
        }));
        Self { world, api, host, root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Everything that the run may not touch is beside it.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rcsync"));
        command
            .args(arguments)
            .env_clear()
            .env("RUNCOMFY_TRAINER_API_BASE", format!("http://127.0.0.1:{}", self.api.port()))
            .env("RUNCOMFY_TOKEN", TOKEN)
            .env("HOME", self.root.path())
            .env("RCSYNC_LOG", "trace")
            .current_dir(self.root.path());
        command
    }

    /// One pass with short patience; `change` may set the environment.
    pub(crate) fn once_with(&self, more: &[&str], change: impl FnOnce(&mut Command)) -> Run {
        let dir = self.dir();
        let mut arguments = vec![JOB, dir.to_str().unwrap(), "--once", "--output", "json"];
        let default = ["--retries", "2", "--stall-timeout", "2s"];
        for pair in default.chunks(2) {
            if !more.contains(&pair[0]) {
                arguments.extend(pair);
            }
        }
        arguments.extend(more);
        let mut command = self.command(&arguments);
        change(&mut command);
        self.run(command)
    }

    pub(crate) fn once(&self, more: &[&str]) -> Run {
        self.once_with(more, |_| {})
    }

    /// Follows the job to its end, with a look each second.
    pub(crate) fn follow_with(&self, more: &[&str], change: impl FnOnce(&mut Command)) -> Run {
        let dir = self.dir();
        let mut arguments = vec![JOB, dir.to_str().unwrap(), "--interval", "1s", "--output", "json"];
        arguments.extend(["--retries", "2", "--stall-timeout", "2s", "--timeout", "60s"]);
        arguments.extend(more);
        let mut command = self.command(&arguments);
        change(&mut command);
        self.run(command)
    }

    pub(crate) fn follow(&self, more: &[&str]) -> Run {
        self.follow_with(more, |_| {})
    }

    /// Runs a command to its end, or kills it when it hangs.
    pub(crate) fn run(&self, mut command: Command) -> Run {
        let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        command.stdin(Stdio::null()).stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        let mut peak = 0;
        let code = loop {
            peak = peak_of(child.id()).unwrap_or(peak);
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            if began.elapsed() > HUNG {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let read = |file: &tempfile::NamedTempFile| std::fs::read(file.path()).unwrap();
        let (log, stderr) = split_log(&read(&err));
        Run { code, stdout: read(&out), stderr, log, peak }
    }

    /// Returns what is published, by path below the folder.
    pub(crate) fn published(&self) -> BTreeMap<String, Vec<u8>> {
        let dir = self.dir();
        let mut found = BTreeMap::new();
        for path in crate::support::snapshot(&dir).into_keys() {
            let below = path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
            if !below.starts_with(".rcsync/") && !OWN.contains(&below.as_str()) {
                found.insert(below, std::fs::read(&path).unwrap_or_default());
            }
        }
        found
    }

    /// Holds the promises that no fault excuses: nothing wrong under a final name, no secret anywhere, no hang.
    pub(crate) fn promises(&self, run: &Run) -> Result<(), String> {
        if run.code.is_none() {
            let said = run.output();
            return Err(format!("it hung: {}", said.get(..1500).unwrap_or(&said)));
        }
        for (path, bytes) in self.published() {
            let known = self.world.files.iter().filter(|hosted| hosted.local == path || hosted.local == "*");
            let mut versions = known.flat_map(|hosted| &hosted.truth);
            if !versions.any(|file| *file.bytes == bytes) {
                return Err(format!("`{path}` ({} bytes) is no version that was ever whole", bytes.len()));
            }
        }
        for secret in [TOKEN, SIGNATURE] {
            self.keeps(run, secret)?;
        }
        for ask in self.host.asks() {
            let foreign =
                ["authorization", "cookie", "referer"].into_iter().find(|name| ask.header(name).is_some());
            if let Some(name) = foreign {
                return Err(format!("the files' host was sent `{name}`"));
            }
            if ask.method != "GET" {
                return Err(format!("the files' host was asked with {}", ask.method));
            }
            if format!("{ask:?}").contains(TOKEN) {
                return Err("the files' host was sent the token".to_owned());
            }
        }
        Ok(())
    }

    fn keeps(&self, run: &Run, secret: &str) -> Result<(), String> {
        let holds = |bytes: &[u8]| memchr::memmem::find(bytes, secret.as_bytes()).is_some();
        if holds(run.log.as_bytes()) {
            return Err(format!("it logged `{secret}`: {}", run.log));
        }
        if holds(&run.stdout) || holds(&run.stderr) {
            return Err(format!("it printed `{secret}`: {}", run.output()));
        }
        for path in crate::support::snapshot(self.root.path()).into_keys() {
            if std::fs::read(&path).is_ok_and(|bytes| holds(&bytes)) {
                return Err(format!("`{secret}` is in {}", path.display()));
            }
        }
        Ok(())
    }
}

/// Splits standard error into the lines of the log and the rest.
fn split_log(stderr: &[u8]) -> (String, Vec<u8>) {
    let is_log = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|time| time.ends_with('Z') && time.contains('T'))
            && words.next().is_some_and(|level| ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level))
    };
    let text = String::from_utf8_lossy(stderr);
    let (log, rest): (Vec<&str>, Vec<&str>) = text.split_inclusive('\n').partition(|line| is_log(line));
    (log.concat(), rest.concat().into_bytes())
}

/// Returns the most memory that a running process ever held, in KiB.
fn peak_of(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One row of the catalogue: a world, a run, and what must come of it.
pub(crate) struct Case {
    /// The catalogue's number, and what is special about this variant.
    pub(crate) id: &'static str,
    pub(crate) about: &'static str,
    world: World,
    arguments: Vec<&'static str>,
    code: i32,
    /// How many files are here in the end.
    published: usize,
    prints: Vec<&'static str>,
    /// How many requests the files' host may get.
    asks: Option<std::ops::RangeInclusive<usize>>,
    more: Option<Check>,
}

type Check = Box<dyn Fn(&Rig, &Run) -> Result<(), String> + Send + Sync>;

impl Case {
    /// A case in which everything must be here in the end.
    pub(crate) fn survives(id: &'static str, about: &'static str, world: World) -> Self {
        let published = world.files.len();
        Self::new(id, about, world, 0, published)
    }

    /// A case in which nothing may be published, and the run reports that something is missing.
    pub(crate) fn refuses(id: &'static str, about: &'static str, world: World) -> Self {
        Self::new(id, about, world, 75, 0)
    }

    pub(crate) fn new(
        id: &'static str,
        about: &'static str,
        world: World,
        code: i32,
        published: usize,
    ) -> Self {
        Self {
            id,
            about,
            world,
            arguments: Vec::new(),
            code,
            published,
            prints: Vec::new(),
            asks: None,
            more: None,
        }
    }

    /// Whether another download tool can be given the same: one checkpoint, at an address that needs no name server.
    pub(crate) fn is_for_peers(&self) -> bool {
        let plain = self.world.origin == "http://127.0.0.1:{port}" && self.world.secure.is_none();
        let one = self.world.files.len() == 1 && self.world.files[0].kind == Kind::Checkpoint;
        plain && one && self.arguments.is_empty()
    }

    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// Whether the right bytes can be had at all.
    pub(crate) const fn can_be_had(&self) -> bool {
        self.published > 0
    }

    pub(crate) fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments = arguments.to_vec();
        self
    }

    /// It writes this somewhere, on stdout or stderr.
    pub(crate) fn prints(mut self, text: &'static str) -> Self {
        self.prints.push(text);
        self
    }

    pub(crate) fn asks(mut self, count: std::ops::RangeInclusive<usize>) -> Self {
        self.asks = Some(count);
        self
    }

    pub(crate) fn published(mut self, count: usize) -> Self {
        self.published = count;
        self
    }

    pub(crate) fn and(
        mut self,
        check: impl Fn(&Rig, &Run) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.more = Some(Box::new(check));
        self
    }

    /// Some request after the first one began where the earlier ones had stopped.
    pub(crate) fn resumed(self) -> Self {
        self.and(|rig, _| {
            let asks = rig.host.asks();
            let resumed = asks.iter().skip(1).any(|ask| ask.starts_at() > 0);
            if resumed { Ok(()) } else { Err(format!("no request went on: {}", ranges(&asks))) }
        })
    }

    /// Everything was published with this evidence.
    pub(crate) fn evidence(self, evidence: &'static str) -> Self {
        self.and(move |_, run| {
            let found = run.events("published");
            if !found.is_empty() && found.iter().all(|event| event["evidence"] == evidence) {
                Ok(())
            } else {
                Err(format!("evidence is not {evidence}: {found:?}"))
            }
        })
    }

    /// It never held more memory than this, in MiB.
    pub(crate) fn peak(self, most: u64) -> Self {
        self.and(move |_, run| {
            let peak = run.peak >> 10;
            if peak <= most { Ok(()) } else { Err(format!("it held {peak} MiB")) }
        })
    }

    fn hold(&self) -> Result<(), String> {
        let rig = Rig::new(self.world.clone());
        let run = rig.once(&self.arguments);
        rig.promises(&run)?;
        let published = rig.published();
        let said = run.output();
        let said = said.get(..1500).unwrap_or(&said);
        if run.code != Some(self.code) {
            return Err(format!("exit code {:?}, not {}: {said}", run.code, self.code));
        }
        if published.len() != self.published {
            let names: Vec<&String> = published.keys().collect();
            return Err(format!("{} files are here, not {}: {names:?}: {said}", names.len(), self.published));
        }
        if let Some(silent) = self.prints.iter().find(|text| !said.contains(**text)) {
            return Err(format!("it does not write `{silent}`: {said}"));
        }
        let asks = rig.host.asks();
        if let Some(range) = &self.asks
            && !range.contains(&asks.len())
        {
            return Err(format!("{} requests, not {range:?}: {}", asks.len(), ranges(&asks)));
        }
        self.more.as_ref().map_or(Ok(()), |check| check(&rig, &run))
    }
}

pub(crate) fn ranges(asks: &[Ask]) -> String {
    let ranges: Vec<&str> = asks.iter().map(|ask| ask.header("range").unwrap_or("-")).collect();
    ranges.join(" ")
}

/// Runs all cases, many at a time, since most of them wait; reports which ones broke a promise.
pub(crate) fn hold_all(cases: Vec<Case>) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut broken = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = case.hold() {
                broken.push(format!("{} ({}): {why}", case.id, case.about));
            }
        }
        broken
    };
    let broken: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..10).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "{} of {} cases:\n{}", broken.len(), cases.len(), broken.join("\n"));
}
