//! Tools for breaking things for real: a run that is killed at a chosen step, and small disks of every kind.
//!
//! They need Linux, root and a few programs; a request for one that is not here gets `None`, and the reason is printed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::support::skip;

/// System calls that change a folder, as far as rcsync uses them.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,pwrite64,\
                       ftruncate,fchmod,openat,write";

/// Those among them after which the caller is held for a moment, so that the kill comes before its next step. `openat`
/// and `write` are called for much that is no change, and are killed at once or a little later.
const HELD: &str = "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,pwrite64,\
                    ftruncate,fchmod:delay_exit=1500";

/// Whether the long sweeps were asked for, with `RCSYNC_LONG_SWEEPS=1`: every step instead of some.
pub(crate) fn long_sweeps() -> bool {
    std::env::var_os("RCSYNC_LONG_SWEEPS").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether all these programs are here; prints which one is not.
pub(crate) fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/sbin".into(), "/usr/sbin".into()]).collect();
    let missing = programs.iter().find(|name| !folders.iter().any(|folder| folder.join(name).exists()));
    if let Some(missing) = missing {
        skip(&format!("`{missing}` is not installed"));
    }
    missing.is_none()
}

/// Wraps a command so that every change it makes is reported, one line a change.
fn traced(command: &Command, arguments: &[&str]) -> Command {
    let mut traced = Command::new("strace");
    // -D: the tracer is a process of its own, so that the child is rcsync itself. -a: what a call returned comes right
    // after it, also in the second line of one that comes in two.
    traced.args(["-D", "-f", "-qq", "-y", "-a", "1"]).args(arguments);
    traced.arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        traced.envs(value.map(|value| (name, value)));
    }
    traced.env("TOKIO_WORKER_THREADS", "1").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if let Some(folder) = command.get_current_dir() {
        traced.current_dir(folder);
    }
    traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    traced
}

/// The same command on a disk that grants every lock to everybody, and locks nothing.
pub(crate) fn lockless(command: &Command) -> Command {
    let mut lockless =
        traced(command, &["--seccomp-bpf", "-e", "trace=flock", "-e", "inject=flock:retval=0"]);
    lockless.stdout(Stdio::piped());
    lockless
}

/// The same command without root's power to write everywhere, so that permissions mean what they say; `None`, with
/// the reason printed, where that cannot be had.
pub(crate) fn without_privilege(command: &Command) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return Some(wrapped(command, "env", &[]));
    }
    let kept = ["--bounding-set", "-dac_override,-dac_read_search"];
    have(&["setpriv"]).then(|| wrapped(command, "setpriv", &kept))
}

/// The same command, begun by another program.
pub(crate) fn wrapped(command: &Command, program: &str, arguments: &[&str]) -> Command {
    let mut wrapped = Command::new(program);
    wrapped.args(arguments).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        wrapped.envs(value.map(|value| (name, value)));
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wrapped
}

/// Starts a command whose calls of some kinds are reported or changed as `inject` says.
pub(crate) fn begin_with_fault(command: &Command, inject: &str) -> std::process::Child {
    let calls = inject.split(':').next().unwrap();
    let (trace, inject) = (format!("trace={calls}"), format!("inject={inject}"));
    traced(command, &["--seccomp-bpf", "-o", "/dev/null", "-e", &trace, "-e", &inject]).spawn().unwrap()
}

/// Runs a command to its end and counts the system calls of all its threads, by name: all of them, or those of one kind,
/// which then are the only ones that take longer than they do by themselves.
pub(crate) fn count_calls(command: &Command, only: Option<&str>) -> BTreeMap<String, f64> {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let trace = only.map(|only| format!("trace={only}"));
    let mut arguments = vec!["-c", "-o", counts.to_str().unwrap()];
    arguments.extend(trace.iter().flat_map(|trace| ["--seccomp-bpf", "-e", trace]));
    let output = traced(command, &arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = || std::fs::read_to_string(&counts).unwrap_or_default();
    // The tracer is a process of its own, and may take another moment.
    for _ in 0..500 {
        if lines().contains("total") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // `% time  seconds  usecs/call  calls  [errors]  syscall`
    let count = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some(((*fields.last()?).to_owned(), fields.get(3)?.parse().ok()?))
    };
    let mut counts: BTreeMap<String, f64> = lines().lines().filter_map(count).collect();
    assert!(counts.remove("total").is_some(), "nothing was counted");
    counts
}

/// Runs a command to its end, with a fault of `pwrite64` if there is one, and returns the bytes that were written to parts: by threads
/// that receive, and by others.
pub(crate) fn bytes_by_threads(command: &Command, inject: Option<&str>) -> [u64; 2] {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let inject = inject.map(|inject| format!("inject=pwrite64:{inject}"));
    let mut arguments = vec!["-s", "0", "-o", calls.to_str().unwrap(), "-e", "trace=pwrite64,epoll_wait"];
    arguments.extend(inject.iter().flat_map(|inject| ["-e", inject]));
    let output = traced(command, &arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = std::fs::read_to_string(&calls).unwrap();
    // `1234 pwrite64(9</…/x.part>, ""..., 131072, 262144) = 131072`
    let thread = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let receiving: HashSet<String> =
        calls.lines().filter(|line| line.contains("epoll_wait(")).map(thread).collect();
    let mut bytes = [0; 2];
    for line in calls.lines() {
        let Some((_, rest)) = line.split_once(".part>, \"\"..., ") else { continue };
        let count: u64 = rest.split(',').next().and_then(|count| count.parse().ok()).unwrap();
        bytes[usize::from(!receiving.contains(&thread(line)))] += count;
    }
    bytes
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    /// The most memory that it ever held, in KiB.
    pub(crate) peak: u64,
    /// Files that it has open now.
    pub(crate) files: usize,
}

/// Looks at a process until it ends, and returns the most that it held.
pub(crate) fn watch(child: &mut std::process::Child) -> Held {
    let mut most = Held::default();
    while child.try_wait().unwrap().is_none() {
        let folder = PathBuf::from(format!("/proc/{}", child.id()));
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        let files = std::fs::read_dir(folder.join("fd")).map_or(0, Iterator::count);
        most = Held { peak: most.peak.max(peak), files: most.files.max(files) };
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    most
}

/// How a run that was to be killed ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Changes that were counted.
    pub(crate) steps: usize,
    /// The last of them.
    pub(crate) last: String,
}

impl Ended {
    pub(crate) fn was_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.status.signal() == Some(9)
    }
}

/// Runs a command and kills it right after the change below a folder of this name of which `is_last` says so, reported its
/// number and the call; `at_kill` runs right after that.
pub(crate) fn killed_after(
    command: &Command,
    below: &str,
    is_last: impl Fn(usize, &str) -> bool,
    at_kill: impl FnOnce(),
) -> Ended {
    let trace = format!("trace={CHANGES}");
    let inject = format!("inject={HELD}");
    let mut child = traced(command, &["-e", &trace, "-e", &inject]).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut steps, mut last) = (0, String::new());
    let mut at_kill = Some(at_kill);
    let mut interrupted = HashMap::new();
    for line in lines.map_while(Result::ok).filter_map(|line| whole_call(line, &mut interrupted)) {
        let is_change = line.contains(below)
            && line.contains(") = ")
            && (!line.contains("openat(") || line.contains("O_CREAT"));
        if is_change && at_kill.is_some() {
            steps += 1;
            last = line;
            if is_last(steps, &last) {
                let _ = child.kill();
                let _ = at_kill.take().map(|act| act());
            }
        }
    }
    Ended { status: child.wait().unwrap(), steps, last }
}

/// strace(1) splits the line of a call during which another thread made one; this puts it together when the call is
/// over. `begun` is what each thread has begun.
fn whole_call(line: String, begun: &mut HashMap<String, String>) -> Option<String> {
    let thread = |line: &str| match line.strip_prefix("[pid ").and_then(|rest| rest.split_once(']')) {
        Some((pid, _)) => pid.trim().to_owned(),
        None => String::new(),
    };
    if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
        begun.insert(thread(&line), beginning.to_owned());
        return None;
    }
    match line.split_once(" resumed>") {
        Some((head, end)) if head.contains("<... ") => Some(begun.remove(&thread(&line))? + end),
        _ => Some(line),
    }
}

/// Runs a command and lets the kernel kill it at the `nth` call of this kind in one of its threads.
pub(crate) fn killed_at(command: &Command, call: &str, nth: usize) -> Ended {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
    let mut child = traced(command, &["-e", &trace, "-e", &inject]).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let last = lines.map_while(Result::ok).filter(|line| line.contains(call)).last().unwrap_or_default();
    Ended { status: child.wait().unwrap(), steps: nth, last }
}

/// Runs a command whose calls of one kind fail as `inject` says, and returns its status with what it said.
pub(crate) fn with_fault(
    command: &Command,
    inject: &str,
    only: Option<&Path>,
) -> (ExitStatus, String, String) {
    let call = inject.split(':').next().unwrap();
    let mut arguments =
        vec!["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), format!("inject={inject}")];
    if let Some(only) = only {
        arguments.extend(["-P".to_owned(), only.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = traced(command, &arguments).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut interrupted = HashMap::new();
    // What wakes a thread is no file.
    let calls = text(&output.stderr)
        .lines()
        .filter_map(|line| whole_call(line.to_owned(), &mut interrupted))
        .filter(|line| !line.contains("eventfd"))
        .fold(String::new(), |all, line| all + &line + "\n");
    (output.status, text(&output.stdout), calls)
}

/// A small disk on a loop device, mounted for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    /// The program that mounts it, and its options.
    mount: (&'static str, &'static str),
}

impl Disk {
    /// Makes a file system; `None`, with the reason printed, where that cannot be done.
    pub(crate) fn make(mkfs: &[&str], mebibytes: u64, mount: (&'static str, &'static str)) -> Option<Self> {
        if !have(&[mkfs[0], mount.0, "umount"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip("mounting a disk needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let image = std::fs::File::create(folder.path().join("image")).unwrap();
        image.set_len(mebibytes << 20).unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let disk = Self { folder, mount };
        let made = run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(disk.image()));
        if let Err(why) = made.and_then(|()| disk.mount()) {
            skip(&why);
            return None;
        }
        Some(disk)
    }

    pub(crate) fn ext4() -> Option<Self> {
        Self::make(&["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"], 96, ("mount", "loop"))
    }

    pub(crate) fn xfs() -> Option<Self> {
        Self::make(&["mkfs.xfs", "-q", "-f"], 320, ("mount", "loop"))
    }

    /// Shows it under another folder too.
    pub(crate) fn bind(&self, to: &Path) {
        run(Command::new("mount").arg("--bind").arg(self.path()).arg(to)).unwrap();
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        let (program, options) = self.mount;
        run(Command::new(program).args(["-o", options]).arg(self.image()).arg(self.path()))
    }

    pub(crate) fn remount(&self, options: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.path())).unwrap();
    }

    /// Unmounts it, even from under a process that works on it.
    pub(crate) fn unmount(&self, lazily: bool) {
        let mut command = Command::new("umount");
        if lazily {
            command.arg("-l");
        }
        run(command.arg(self.path())).unwrap();
    }

    /// Takes the power away: what was not flushed is lost, as far as the journal was not just written (`flush_log`).
    pub(crate) fn cut_power(&self, flush_log: bool) {
        const SHUTDOWN: &str = r#"open(my $disk, "<", $ARGV[0]) or die "open: $!";
            ioctl($disk, 0x8004587d, pack("L", $ARGV[1])) or die "shutdown: $!";"#;
        let how = if flush_log { "1" } else { "2" };
        run(Command::new("perl").args(["-e", SHUTDOWN]).arg(self.path()).arg(how)).unwrap();
    }

    /// Mounts it again after the power came back. The killed process may hold the disk for another moment, and so may a mount
    /// namespace of another test, which has each mount twice: what is mounted before they are gone is the disk without power.
    pub(crate) fn power_up(&self) {
        until(|| run(Command::new("umount").arg(self.path())));
        until(|| match self.is_held() {
            true => Err(format!("{} is held by another mount", self.image().display())),
            false => Ok(()),
        });
        self.mount().unwrap();
    }

    /// Whether a loop device still has the image: the last mount of it gives the device back.
    fn is_held(&self) -> bool {
        let image = self.image();
        let devices = std::fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
        let mut backing = devices.filter_map(|device| {
            // A device that has no file has no such entry.
            std::fs::read_to_string(device.path().join("loop/backing_file")).ok()
        });
        backing.any(|path| Path::new(path.trim_end()) == image)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// Tries again for a minute.
fn until(mut done: impl FnMut() -> Result<(), String>) {
    let began = std::time::Instant::now();
    while let Err(why) = done() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{why}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
