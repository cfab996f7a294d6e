use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use super::{Stage, plan};
use crate::support::{code, stderr};

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    fn watch(&self) -> Running {
        let (dir, ui) = (self.bench.dir(), self.ui());
        let arguments = ["mirror", dir.to_str().unwrap(), "--comfyui", ui.to_str().unwrap(), "--watch", "-q"];
        Running(self.bench.command(&arguments).spawn().unwrap())
    }
}

/// Waits until `path` is there; returns how long that took.
async fn appears(path: &Path) -> Duration {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "{} does not come", path.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_rcsync_publishes_appears_soon() {
    let stage = Stage::new(plan()).await;
    let bench = &stage.bench;
    // A folder that has nothing yet is waited for.
    fs::create_dir(bench.dir()).unwrap();
    let mut watch = stage.watch();
    bench.simulator.advance_steps(&bench.job, 300);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let folder = stage.loras().join("my_first_lora");
    appears(&folder.join("my_first_lora_000000250.safetensors")).await;
    bench.simulator.advance_steps(&bench.job, 250);
    assert_eq!(code(&bench.once(&[]).await), 0);
    let took = appears(&folder.join("my_first_lora_000000500.safetensors")).await;
    assert!(took < Duration::from_secs(4), "{took:?}");

    // ComfyUI's disk goes away and comes back; what came meanwhile is placed then, and nothing is made in its stead.
    let away = stage.ui().with_file_name("away");
    fs::rename(stage.ui(), &away).unwrap();
    bench.simulator.advance_steps(&bench.job, 250);
    assert_eq!(code(&bench.once(&[]).await), 0);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!stage.ui().exists(), "nothing is made where a disk was");
    fs::rename(&away, stage.ui()).unwrap();
    appears(&folder.join("my_first_lora_000000750.safetensors")).await;

    // DIR goes away and comes back.
    let dir_away = bench.dir().with_file_name("dir-away");
    fs::rename(bench.dir(), &dir_away).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    fs::rename(&dir_away, bench.dir()).unwrap();
    bench.simulator.finish(&bench.job);
    assert_eq!(code(&bench.once(&[]).await), 0);
    appears(&folder.join("my_first_lora.safetensors")).await;
    assert!(watch.0.try_wait().unwrap().is_none(), "it still watches");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_works_beside_an_rcsync_that_holds_the_folder() {
    let stage = Stage::finished(plan()).await;
    let bench = &stage.bench;
    let lock = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(bench.dir().join(".rcsync/lock"))
        .unwrap();
    lock.lock().unwrap();
    assert_eq!(code(&bench.once(&[]).await), 75, "the folder is held");
    let run = stage.mirror(&[]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert_eq!(stage.assert_same_bytes(), 4);
}

/// L11: where no events are to be had (the user's watches are used up, or a disk sends none), it looks by itself, and
/// does not call that a full disk.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn without_events_it_looks_by_itself() {
    if !crate::rig::have(&["strace"]) {
        return;
    }
    for inject in ["inotify_add_watch:error=ENOSPC", "inotify_init1:error=EMFILE"] {
        let stage = Stage::new(plan()).await;
        let (bench, ui) = (&stage.bench, stage.ui());
        fs::create_dir(bench.dir()).unwrap();
        let dir = bench.dir();
        let arguments = ["mirror", dir.to_str().unwrap(), "--comfyui", ui.to_str().unwrap(), "--watch"];
        let mut watch = Running(crate::rig::begin_with_fault(&bench.command(&arguments), inject));
        bench.simulator.advance_steps(&bench.job, 300);
        assert_eq!(code(&bench.once(&[]).await), 0);
        let took = appears(&stage.loras().join("my_first_lora/my_first_lora_000000250.safetensors")).await;
        assert!(took < Duration::from_secs(6), "{inject}: {took:?}");
        watch.0.kill().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut watch.0.stderr.take().unwrap(), &mut said).unwrap();
        assert!(!said.to_lowercase().contains("space") && !said.contains("error"), "{inject}: {said}");
    }
}
