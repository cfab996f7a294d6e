//! Two at a time: the second one ends at once and names the first, and a stale lock blocks nothing.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rcsync::simulator::{HostOptions, JobPlan, Simulator, SimulatorConfig};

use crate::support::{Bench, code, stderr};

/// In a container whose first process reaps no child, a killed mirror stays in the list of processes for ever.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_that_is_not_reaped_holds_no_lock() {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let mut first = Following::start().await;
    first.child.kill().unwrap();
    let pid = Pid::from_child(&first.child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let second = first.bench.once(&[]).await;
    assert_eq!(code(&second), 0, "{}", stderr(&second));
    assert_eq!(first.child.wait().unwrap().code(), None, "it was there, unburied, all the time");
}

/// A mirror that follows a running job.
struct Following {
    bench: Bench,
    child: Child,
}

impl Following {
    async fn start() -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let job =
            simulator.add_job(JobPlan { checkpoint_bytes: 20_000, picture_side: 16, ..JobPlan::default() });
        simulator.advance_steps(&job, 300);
        let bench = Bench::new(simulator, job);
        let child = follow(&bench).spawn().unwrap();
        let following = Self { bench, child };
        following.wait_for_record().await;
        following
    }

    fn lock(&self) -> PathBuf {
        self.bench.dir().join(".rcsync/lock")
    }

    /// Waits until the first one has written its name.
    async fn wait_for_record(&self) -> String {
        let began = Instant::now();
        loop {
            let record = std::fs::read_to_string(self.lock()).unwrap_or_default();
            if record.ends_with('}') {
                return record;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it never took the lock");
            tokio::task::yield_now().await;
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(bench: &Bench) -> Command {
    bench.command(&[bench.job.as_str(), bench.dir().to_str().unwrap(), "-q"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_one_ends_with_75_and_names_the_first() {
    let mut first = Following::start().await;
    let second = first.bench.once(&[]).await;
    let said = stderr(&second);
    assert_eq!(code(&second), 75, "{said}");
    assert!(said.contains(&format!("process {}", first.child.id())), "{said}");
    assert!(said.contains("since "), "{said}");
    assert!(first.child.try_wait().unwrap().is_none(), "the first one continues");

    first.kill();
    assert!(first.lock().exists(), "a killed process leaves its lock");
    let third = first.bench.once(&[]).await;
    assert_eq!(code(&third), 0, "{}", stderr(&third));
    assert!(!first.lock().exists(), "an ended one does not");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn where_every_lock_is_granted_the_record_names_the_first() {
    let mut first = Following::start().await;
    // The same record in a file that is not locked: what a network disk looks like that grants every lock.
    let record = first.wait_for_record().await;
    let unlocked = first.lock().with_extension("new");
    std::fs::write(&unlocked, &record).unwrap();
    std::fs::rename(&unlocked, first.lock()).unwrap();
    let second = first.bench.once(&[]).await;
    assert_eq!(code(&second), 75, "{}", stderr(&second));
    assert!(stderr(&second).contains(&format!("process {}", first.child.id())), "{}", stderr(&second));
    assert_eq!(std::fs::read_to_string(first.lock()).unwrap(), record, "and its record is left alone");

    // Its number given to another process: this one, whose birth is another.
    let pid = first.child.id().to_string();
    first.kill();
    let reused = record.replace(&pid, &std::process::id().to_string());
    assert_ne!(reused, record);
    std::fs::write(first.lock(), reused).unwrap();
    let third = first.bench.once(&[]).await;
    assert_eq!(code(&third), 0, "{}", stderr(&third));

    // A torn record, and one of another machine, block nothing either: the lock decides.
    for record in ["{\"pid\":1,\"ho".to_owned(), record.replace("\"host\":\"", "\"host\":\"elsewhere-")] {
        std::fs::write(first.lock(), record).unwrap();
        let next = first.bench.once(&[]).await;
        assert_eq!(code(&next), 0, "{}", stderr(&next));
    }
}

/// J2, G14: two machines on a share that grants every lock, at the same time, on a first run and on a run that replaces
/// a file. Work is done twice, and nothing else goes wrong.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn two_that_both_got_the_lock_double_their_work_alone() {
    if !crate::rig::have(&["strace"]) {
        return;
    }
    for connections in ["1", "8"] {
        let host = HostOptions { throttle: Some(8_000_000), ..HostOptions::default() };
        let simulator =
            Simulator::start(SimulatorConfig { host, ..SimulatorConfig::default() }).await.unwrap();
        let job = simulator.add_job(JobPlan {
            steps: 1000,
            keep: 0,
            checkpoint_bytes: 3_000_000,
            picture_side: 32,
            ..JobPlan::default()
        });
        simulator.advance_steps(&job, 800);
        let bench = Bench::new(simulator, job);
        for finish in [false, true] {
            if finish {
                bench.simulator.finish(&bench.job);
            }
            let dir = bench.dir();
            let arguments =
                [bench.job.as_str(), dir.to_str().unwrap(), "--once", "--connections", connections];
            let begin = || crate::rig::lockless(&bench.command(&arguments)).spawn().unwrap();
            let first = begin();
            // The record of another machine: it is unknown whether it is alive.
            let lock = dir.join(".rcsync/lock");
            let began = Instant::now();
            while !std::fs::read_to_string(&lock).is_ok_and(|text| text.ends_with('}')) {
                assert!(began.elapsed() < Duration::from_secs(60), "it never took the lock");
                tokio::task::yield_now().await;
            }
            let record = std::fs::read_to_string(&lock).unwrap();
            std::fs::write(&lock, record.replace("\"host\":\"", "\"host\":\"elsewhere-")).unwrap();
            let second = begin();
            let ended = tokio::task::spawn_blocking(move || {
                [first, second].map(|child| child.wait_with_output().unwrap())
            })
            .await
            .unwrap();
            for output in &ended {
                assert_eq!(code(output), 0, "{connections} connections: {}", stderr(output));
            }
            assert!(!lock.exists(), "the last one takes the lock with it");
            bench.assert_published_is_true();
            bench.assert_sums_pass();
        }
        let rest = bench.once(&[]).await;
        assert_eq!(code(&rest), 0, "{}", stderr(&rest));
        assert_eq!(bench.assert_published_is_true(), bench.simulator.hosted(&bench.job).len());
        bench.assert_sums_pass();
        let names = crate::support::snapshot(&bench.dir()).into_keys();
        let twice: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().contains('~')).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
