//! The three ways on real file systems: ext4, btrfs, xfs and two of them at once, in images mounted for the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Stage, plan};
use crate::support::{code, skip, stderr};

/// A file system in a file, mounted for one test.
struct Mounted {
    folder: PathBuf,
    _root: tempfile::TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).output();
    }
}

/// Makes and mounts one; says why not, where that cannot be done.
fn mounted(kind: &str, options: &[&str], megabytes: u64) -> Result<Mounted, String> {
    let root = tempfile::tempdir().unwrap();
    let (image, folder) = (root.path().join("image"), root.path().join("disk"));
    std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output =
            Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", stderr(&output).trim())) }
    };
    let (image, disk) = (image.to_str().unwrap(), folder.to_str().unwrap());
    run(&format!("mkfs.{kind}"), &[options, &[image]].concat())?;
    run("mount", &["-o", "loop", image, disk])?;
    Ok(Mounted { folder, _root: root })
}

/// Places a job's LoRAs from `from` to `to` and returns the ways that were reported.
async fn ways(from: &Path, to: &Path, more: &[&str]) -> (i32, Vec<String>, String) {
    let stage = Stage::new(plan()).await;
    let bench = &stage.bench;
    bench.simulator.finish(&bench.job);
    let (dir, ui) = (from.join("out"), to.join("ui"));
    std::fs::create_dir_all(ui.join("models/loras")).unwrap();
    let (dir, ui) = (dir.to_str().unwrap(), ui.to_str().unwrap());
    let mut arguments =
        vec![bench.job.as_str(), dir, "--once", "--comfyui", ui, "--output", "json", "--min-free", "0"];
    arguments.extend(more);
    let mut command = bench.command(&arguments);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let events = String::from_utf8(run.stdout.clone()).unwrap();
    let how = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        (event["event"] == "mirrored").then(|| event["how"].as_str().unwrap().to_owned())
    };
    (code(&run), events.lines().filter_map(how).collect(), format!("{}{events}", stderr(&run)))
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_on_ext4() {
    match mounted("ext4", &["-q"], 64) {
        Err(why) => skip(&why),
        Ok(disk) => {
            let (code, ways, said) = ways(&disk.folder, &disk.folder, &[]).await;
            assert_eq!((code, ways), (0, vec!["hardlink".to_owned(); 4]), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflinks_on_btrfs_and_xfs() {
    // The least that their tools make a file system in.
    for (kind, options, megabytes) in
        [("btrfs", &["-q"][..], 128), ("xfs", &["-q", "-m", "reflink=1"][..], 320)]
    {
        match mounted(kind, options, megabytes) {
            Err(why) => skip(&why),
            Ok(disk) => {
                let (code, ways, said) = ways(&disk.folder, &disk.folder, &[]).await;
                assert_eq!((code, ways), (0, vec!["reflink".to_owned(); 4]), "{kind}: {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_across_two_disks() {
    let (from, to) = match (mounted("ext4", &["-q"], 64), mounted("ext4", &["-q"], 64)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(why), _) | (_, Err(why)) => return skip(&why),
    };
    let (code, reported, said) = ways(&from.folder, &to.folder, &[]).await;
    assert_eq!((code, reported), (0, vec!["copy".to_owned(); 4]), "{said}");
    std::fs::remove_dir_all(from.folder.join("out")).unwrap();
    std::fs::remove_dir_all(to.folder.join("ui")).unwrap();
    // What cannot be is said, and nothing else is done instead.
    let (_, reported, said) = ways(&from.folder, &to.folder, &["--comfyui-link", "hardlink"]).await;
    assert!(reported.is_empty() && said.contains("hard link"), "{said}");
    assert_eq!(super::below(&to.folder.join("ui")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_gets_no_half_file() {
    let disk = match mounted("ext4", &["-q"], 8) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let stage = Stage::new(rcsync::simulator::JobPlan { checkpoint_bytes: 3_000_000, ..plan() }).await;
    let bench = &stage.bench;
    bench.simulator.finish(&bench.job);
    let ui = disk.folder.join("ui");
    std::fs::create_dir_all(ui.join("models/loras")).unwrap();
    let run = bench.once(&["--comfyui", ui.to_str().unwrap()]).await;
    assert_eq!(code(&run), 0, "the mirror itself has its own disk: {}", stderr(&run));
    assert!(stderr(&run).contains("No space left"), "{}", stderr(&run));
    assert!(!stderr(&run).contains("tried again"), "one pass does not try again: {}", stderr(&run));
    for path in super::below(&ui).iter().filter(|path| path.ends_with(".safetensors")) {
        let name = path.rsplit('/').next().unwrap();
        super::assert_same(&ui.join(path), &bench.dir().join(name));
    }
    assert!(!super::below(&ui).iter().any(|path| path.ends_with("rcsync-part")));
}
