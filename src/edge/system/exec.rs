//! Runs the user's command for an event: no shell, no secrets of ours, not for ever, and not loud.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::{FusedFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::edge::api::token::SECRET_VARIABLES;
use crate::model::hook_event::{CommandLine, Occasion};
use crate::model::hook_fault::{Ending, HookFault};
use crate::model::names::sanitize::for_terminal;

/// Variables that are not the command's business: they may carry keys, or would let it speak to the service manager in
/// our name.
const PRIVATE_VARIABLES: &[&str] = &[
    "RCSYNC_EXEC",
    "RCSYNC_EXEC_DONE",
    "RCSYNC_WEBHOOK",
    "RCSYNC_TOKEN_FILE",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Secrets shorter than this would be found in innocent values.
const SHORTEST_SECRET: usize = 8;

/// The end of what a command writes is kept, for the message about its failure; the rest is read and dropped.
const OUTPUT_BOUND: usize = 4 << 10;

/// What a command wrote before it ended is here by then; a child of its own that keeps the pipe open is not waited for.
const DRAIN: Duration = Duration::from_millis(200);

/// The user's command.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    program: OsString,
    command: CommandLine,
    limit: Duration,
}

impl Exec {
    /// Takes a command that may run for `limit`. A program with a folder in its name is looked for from where the user
    /// typed it, not in the mirrored folder, whose files come from elsewhere.
    #[must_use]
    pub(crate) fn new(command: CommandLine, limit: Duration) -> Self {
        let program = Path::new(command.program());
        let has_folder = program.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
        let absolute = if has_folder { std::path::absolute(program).ok() } else { None };
        Self { program: absolute.unwrap_or_else(|| PathBuf::from(program)).into(), command, limit }
    }

    /// Runs it in `dir`; `grace` ends early when rcsync has to end.
    ///
    /// # Errors
    /// When it could not be started, failed or ran too long.
    pub(crate) async fn run(
        &self,
        dir: &Path,
        occasion: &Occasion,
        grace: impl Future<Output = ()>,
    ) -> Result<(), HookFault> {
        let not_started = |error: io::Error| HookFault::NotStarted {
            program: for_terminal(self.command.program(), 200),
            cause: error.into(),
        };
        let mut child = self.command(dir, occasion).spawn().map_err(not_started)?;
        let mut group = Group::of(&child);
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut tail = Tail::default();
        let mut err_tail = Tail::default();
        let input = async {
            if let Some(mut stdin) = stdin {
                // A command that does not want to know is free not to read.
                let _ = stdin.write_all(occasion.json.as_bytes()).await;
                let _ = stdin.write_all(b"\n").await; // As above.
            }
        };
        let heard = async { tokio::join!(input, tail.read(out), err_tail.read(err)) }.fuse();
        let ended = {
            tokio::pin!(heard);
            let ended = tokio::select! {
                ended = ended(&mut child, &mut heard) => Some(ended),
                () = tokio::time::sleep(self.limit) => None,
                () = grace => {
                    group.end(&mut child).await;
                    return Err(HookFault::Interrupted);
                }
            };
            match ended {
                Some(_) => group.leave(),
                None => group.end(&mut child).await,
            }
            if !heard.is_terminated() {
                // What was read by then is enough.
                let _ = tokio::time::timeout(DRAIN, heard).await;
            }
            ended
        };
        let output = err_tail.last_line().or_else(|| tail.last_line()).unwrap_or_default();
        match ended {
            None => Err(HookFault::TimedOut { after: self.limit, output }),
            Some(Ok(status)) if status.success() => Ok(()),
            Some(Ok(status)) => Err(HookFault::Failed { ending: ending(status), output }),
            Some(Err(error)) => Err(not_started(error)),
        }
    }

    fn command(&self, dir: &Path, occasion: &Occasion) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(self.command.arguments(&occasion.values))
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for name in secret_variables() {
            command.env_remove(name);
        }
        for (name, value) in &occasion.values {
            // No value from outside has a NUL in it but one that no system takes anyway.
            command.env(format!("RCSYNC_{}", name.to_ascii_uppercase()), value.replace('\0', ""));
        }
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

/// Waits for a command and reads its output meanwhile, so that a full pipe does not stop it.
async fn ended(child: &mut Child, heard: &mut (impl FusedFuture + Unpin)) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            _ = &mut *heard, if !heard.is_terminated() => {}
        }
    }
}

/// Returns the names of variables that hold a secret of ours, or the token under another name.
fn secret_variables() -> Vec<OsString> {
    let own = SECRET_VARIABLES.iter().chain(PRIVATE_VARIABLES).map(OsString::from);
    let secrets: Vec<String> = SECRET_VARIABLES
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .map(|secret| secret.trim().to_owned())
        .filter(|secret| secret.len() >= SHORTEST_SECRET)
        .collect();
    let holds = |value: &OsString| secrets.iter().any(|secret| value.to_string_lossy().contains(secret));
    own.chain(std::env::vars_os().filter(|(_, value)| holds(value)).map(|(name, _)| name)).collect()
}

/// Returns how a command ended.
pub(in crate::edge) fn ending(status: ExitStatus) -> Ending {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Ending::Signal(signal);
    }
    status.code().map_or(Ending::Unknown, Ending::Code)
}

/// A command and everything that it started, as far as the system keeps them together. Ended with this value, as the command is,
/// unless it ended before.
#[derive(Debug)]
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg_attr(not(unix), expect(unused_variables, reason = "there are no process groups here"))]
    fn of(child: &Child) -> Self {
        Self {
            #[cfg(unix)]
            leader: child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)),
        }
    }

    /// Ends them all.
    async fn end(&mut self, child: &mut Child) {
        self.kill();
        // It fails where the command has ended by itself.
        let _ = child.kill().await;
    }

    /// The command has ended by itself: what it started may continue.
    fn leave(&mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }

    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader.take() {
            // A group that is gone needs no end.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what was written.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.0.extend_from_slice(&buffer[..read]);
            let surplus = self.0.len().saturating_sub(OUTPUT_BOUND);
            self.0.drain(..surplus);
        }
    }

    fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        Some(for_terminal(line, 200))
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::model::hook_event::EventId;

    fn occasion() -> Occasion {
        Occasion {
            id: EventId::of(&["x"]),
            values: vec![
                ("path", "a b; $(touch hacked) '\".safetensors".to_owned()),
                ("step", "250".to_owned()),
            ],
            json: r#"{"event":"published","prompt":"$(touch hacked)\n"}"#.to_owned(),
        }
    }

    async fn run(command: &str, limit: Duration) -> (Result<(), HookFault>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let exec = Exec::new(CommandLine::parse(command).expect("a command"), limit);
        let ended = exec.run(dir.path(), &occasion(), std::future::pending()).await;
        (ended, dir)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn data_comes_as_arguments_environment_and_json_and_nothing_is_a_shell() {
        let script = r#"sh -c 'printf "%s|%s|%s|%s\n" "$1" "$RCSYNC_PATH" "$RCSYNC_STEP" "$(cat)" > told' hook {path}"#;
        let (ended, dir) = run(script, LONG).await;
        assert_eq!(ended, Ok(()));
        let path = &occasion().values[0].1;
        let told = std::fs::read_to_string(dir.path().join("told")).unwrap();
        assert_eq!(told, format!("{path}|{path}|250|{}\n", occasion().json));
        assert!(!dir.path().join("hacked").exists());
    }

    #[tokio::test]
    async fn failures_have_their_ending_and_cause() {
        let (ended, _) = run("sh -c 'echo out; echo no disk >&2; exit 3'", LONG).await;
        assert_eq!(ended.unwrap_err().to_string(), "it ended with code 3: no disk");
        let (ended, _) = run("sh -c 'kill -9 $$'", LONG).await;
        assert_eq!(ended.unwrap_err().to_string(), "it ended with signal 9");
        let (ended, _) = run("/no/such/program", LONG).await;
        assert!(matches!(ended, Err(HookFault::NotStarted { .. })), "{ended:?}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_its_children() {
        let limit = Duration::from_millis(300);
        let (ended, dir) = run("sh -c 'echo stuck; sleep 1000 & echo $! > child; wait'", limit).await;
        assert!(matches!(ended, Err(HookFault::TimedOut { .. })), "{ended:?}");
        assert_ends(&dir.path().join("child")).await;
    }

    /// Waits for the end of the process whose number is in a file. It is the kernel's to arrange; that it comes is all that counts.
    async fn assert_ends(file: &Path) {
        let child = std::fs::read_to_string(file).unwrap();
        let child = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
        let ends = async {
            while rustix::process::test_kill_process(child).is_ok() && !is_zombie(child) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ends).await.expect("it is ended");
    }

    #[tokio::test]
    async fn a_command_that_is_waited_for_no_longer_is_ended_with_all_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = "sh -c 'sleep 1000 & echo $! > child.new; mv child.new child; wait'";
        let exec = Exec::new(CommandLine::parse(script).unwrap(), LONG);
        let began = async {
            while !dir.path().join("child").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let occasion = occasion();
        tokio::select! {
            ended = exec.run(dir.path(), &occasion, std::future::pending()) => panic!("{ended:?}"),
            () = began => {}
        }
        assert_ends(&dir.path().join("child")).await;
    }

    /// In a container there may be no process that reaps it.
    fn is_zombie(child: rustix::process::Pid) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.as_raw_nonzero()));
        status.is_ok_and(|status| status.contains("State:\tZ"))
    }

    #[tokio::test]
    async fn a_flood_of_output_is_read_and_dropped() {
        let (ended, _) =
            run("sh -c 'head -c 3000000 /dev/zero | tr \"\\0\" x; echo; echo the end; exit 1'", LONG).await;
        assert_eq!(ended.unwrap_err().to_string(), "it ended with code 1: the end");
    }

    #[tokio::test]
    async fn a_child_that_keeps_the_pipe_open_is_not_waited_for() {
        let (ended, _) = run("sh -c 'sleep 5 & exit 0'", LONG).await;
        assert_eq!(ended, Ok(()));
    }

    #[tokio::test]
    async fn it_is_ended_when_rcsync_ends() {
        let dir = tempfile::tempdir().unwrap();
        let exec = Exec::new(CommandLine::parse("sleep 1000").unwrap(), LONG);
        let ended = exec.run(dir.path(), &occasion(), std::future::ready(())).await;
        assert_eq!(ended, Err(HookFault::Interrupted));
    }
}
