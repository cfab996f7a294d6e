//! Group K, and C15 to C18: private state and parts that were damaged between two runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Rig, World};
use super::world::{File, Hosted, JOB, MIB, picture, weights};

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

fn mirrored() -> Rig {
    let pictures =
        (0..3).map(|n| Hosted::sample(&format!("1724085406830__000000250_{n}.png"), &picture(n), honest));
    let mut files: Vec<Hosted> = pictures.collect();
    files.push(Hosted::checkpoint(&weights(1, 100_000), honest));
    let rig = Rig::new(World::of(files));
    let run = rig.once(&[]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    rig
}

/// Copies a folder, so that each way of damaging it begins with the same.
fn copy(from: &Path, to: &Path) {
    for path in crate::support::snapshot(from).into_keys() {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, &target).unwrap();
    }
}

/// K1 to K4, K11: however the manifest is damaged, nothing wrong is said, nothing is lost, nothing is fetched twice.
#[test]
fn k1_k4_a_damaged_manifest() {
    let rig = mirrored();
    let good = rig.root().join("good");
    copy(&rig.dir(), &good);
    let manifest = std::fs::read(good.join(".rcsync/manifest.json")).unwrap();
    let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![
        ("K3 empty".into(), Some(Vec::new())),
        ("K3 zeros".into(), Some(vec![0; manifest.len()])),
        ("K3 a tail of zeros".into(), Some([&manifest[..], &[0; 4096]].concat())),
        ("K4 gone".into(), None),
        ("K11 a byte order mark".into(), Some([b"\xef\xbb\xbf", &manifest[..]].concat())),
        ("K11 line ends of another system".into(), Some([&manifest[..], b"\r\n"].concat())),
    ];
    for at in (0..manifest.len()).step_by(manifest.len() / 6 + 1) {
        damages.push((format!("K1 cut at {at}"), Some(manifest[..at].to_vec())));
        let mut flipped = manifest.clone();
        flipped[at] ^= 1 << (at % 8);
        damages.push((format!("K2 a bit flipped at {at}"), Some(flipped)));
    }
    let asked = rig.host.asks().len();
    for (about, bytes) in damages {
        std::fs::remove_dir_all(rig.dir()).unwrap();
        copy(&good, &rig.dir());
        let path = rig.dir().join(".rcsync/manifest.json");
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_dir_all(rig.dir().join(".rcsync")).unwrap(),
        }
        let before = rig.published();
        let run = rig.once(&[]);
        rig.promises(&run).unwrap();
        assert_eq!(run.code, Some(0), "{about}: {}", run.output());
        assert_eq!(rig.published(), before, "{about}: the files changed");
        assert_eq!(rig.host.asks().len(), asked, "{about}: something was fetched again: {}", run.output());
        let verify = rig.run(rig.command(&["verify", rig.dir().to_str().unwrap()]));
        assert_eq!(verify.code, Some(0), "{about}: {}", verify.output());
    }
}

/// Wraps a changed body in a right checksum: what an attacker, or a newer version, would write.
fn reseal(path: &Path, change: impl Fn(String) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    let body = text.trim_end().split_once("\"body\":").unwrap().1;
    let body = change(body[..body.len() - 1].to_owned());
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body.as_bytes());
    std::fs::write(path, format!("{{\"crc32\":\"{sum:08x}\",\"body\":{body}}}\n")).unwrap();
}

/// K6, K7, K8, J8: a manifest that is whole, and not for us.
#[test]
fn k5_k8_a_manifest_that_is_not_for_us() {
    type Change = fn(String) -> String;
    let rows: [(&str, Change, i32); 4] = [
        ("K6 a newer format", |body| body.replacen("\"format\":1", "\"format\":99", 1), 73),
        ("K7 another job's", |body| body.replace(JOB, "job-0002"), 73),
        ("K7 another API's", |body| body.replace("http://127.0.0.1", "https://elsewhere"), 73),
        (
            "K8 a path outside",
            |body| body.replace("lora_000000250.safetensors", "../../lora_000000250.safetensors"),
            0,
        ),
    ];
    for (about, change, code) in rows {
        let rig = mirrored();
        let path = rig.dir().join(".rcsync/manifest.json");
        reseal(&path, change);
        let before = std::fs::read(&path).unwrap();
        let outside = crate::support::snapshot(rig.root()).len() - crate::support::snapshot(&rig.dir()).len();
        let run = rig.once(&[]);
        assert_eq!(run.code, Some(code), "{about}: {}", run.output());
        if code != 0 {
            assert_eq!(std::fs::read(&path).unwrap(), before, "{about}: it was written to");
        }
        let after = crate::support::snapshot(rig.root()).len() - crate::support::snapshot(&rig.dir()).len();
        assert_eq!(outside, after, "{about}: something outside was written");
    }
}

/// Everything in a folder but the file of its lock.
fn unlocked(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut files = crate::support::snapshot(dir);
    files.retain(|path, _| !path.ends_with(".rcsync/lock"));
    files
}

/// K7: a folder is another job's by its `job.json` too, where its manifest is gone or damaged: it stays as it is.
#[test]
fn k7_a_folder_of_another_job_whose_manifest_is_lost() {
    type Damage = fn(&Path);
    let rows: [(&str, Damage); 3] = [
        ("gone", |dir| std::fs::remove_dir_all(dir.join(".rcsync")).unwrap()),
        ("gone from its folder", |dir| std::fs::remove_file(dir.join(".rcsync/manifest.json")).unwrap()),
        ("damaged", |dir| std::fs::write(dir.join(".rcsync/manifest.json"), "{").unwrap()),
    ];
    for (about, damage) in rows {
        let rig = mirrored();
        let asked = rig.host.asks().len();
        damage(&rig.dir());
        let list = rig.dir().join("job.json");
        let text = std::fs::read_to_string(&list).unwrap();
        std::fs::write(&list, text.replace(JOB, "job-0002")).unwrap();
        let before = unlocked(&rig.dir());
        for more in [&[][..], &["--dry-run"]] {
            let run = rig.once(more);
            assert_eq!(run.code, Some(73), "{about}: {}", run.output());
            let folder = rig.dir().display().to_string();
            for part in
                [&folder, "it mirrors job `job-0002`", "nothing in it was changed", "name another folder"]
            {
                assert!(run.output().contains(part), "{about}, {part}: {}", run.output());
            }
            assert_eq!(unlocked(&rig.dir()), before, "{about}: the folder changed");
        }
        assert_eq!(rig.host.asks().len(), asked, "{about}: something was fetched");
        // With its own `job.json` the files are adopted.
        std::fs::write(&list, text).unwrap();
        let run = rig.once(&[]);
        assert_eq!(run.code, Some(0), "{about}: {}", run.output());
    }
}

/// Leaves a part of which about five of nine MiB are here, damages it, and resumes with honest responses. Returns how
/// many bytes the second run asked for.
fn interrupted(damage: impl Fn(&Path)) -> (Rig, usize) {
    let honest_now = Arc::new(AtomicBool::new(false));
    let now = honest_now.clone();
    let hosted = Hosted::checkpoint(&weights(1, 9 * MIB), move |file, ask| {
        let honest = file.honest(ask);
        match (now.load(Ordering::SeqCst), ask.starts_at()) {
            (true, _) => honest,
            (false, 0) => honest.cut(5 * MIB + 1000, End::Close),
            (false, _) => Reply::new(500, b""),
        }
    });
    let rig = Rig::new(World::of(vec![hosted]));
    let run = rig.once(&["--retries", "1", "--connections", "1"]);
    assert_eq!(run.code, Some(75), "{}", run.output());
    damage(&rig.dir().join(".rcsync/parts"));
    honest_now.store(true, Ordering::SeqCst);
    let before = rig.host.asks().len();
    let run = rig.once(&["--connections", "1"]);
    rig.promises(&run).unwrap();
    assert_eq!((run.code, rig.published().len()), (Some(0), 1), "{}", run.output());
    let end = rig.world.files[0].truth[0].len();
    let length = |ask: &Ask| {
        let (first, last) = ask.range().unwrap_or((0, None));
        last.map_or(end, |last| end.min(last + 1)).saturating_sub(first)
    };
    let asked = rig.host.asks()[before..].iter().map(length).sum();
    (rig, asked)
}

fn with_end(folder: &Path, end: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.extension().is_some_and(|found| found == end)).unwrap()
}

/// C15 to C18: neither a part's length nor what its record says is believed; only blocks that read back right are.
#[test]
fn c15_c18_damaged_parts() {
    type Damage = fn(&Path);
    let rows: [(&str, Damage, bool); 9] = [
        ("untouched: continues", |_| {}, true),
        ("C15 no record", |folder| std::fs::remove_file(with_end(folder, "json")).unwrap(), false),
        (
            "C15 a torn record",
            |folder| {
                let path = with_end(folder, "json");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            false,
        ),
        (
            "C15 another file's record",
            |folder| {
                reseal(&with_end(folder, "json"), |body| body.replace("lora_000000250", "lora_000000500"));
            },
            false,
        ),
        (
            "C16 a part longer than the whole",
            |folder| {
                let file = std::fs::File::options().write(true).open(with_end(folder, "part")).unwrap();
                file.set_len(20 << 20).unwrap();
            },
            false,
        ),
        (
            "C17 full length, and holes",
            |folder| {
                let file = std::fs::File::options().write(true).open(with_end(folder, "part")).unwrap();
                file.set_len(MIB as u64).unwrap();
                file.set_len(9 << 20).unwrap();
            },
            true,
        ),
        (
            "C18 one bit rotted",
            |folder| {
                let path = with_end(folder, "part");
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[2 * MIB + 5] ^= 1;
                std::fs::write(path, bytes).unwrap();
            },
            true,
        ),
        (
            "C18 everything rotted",
            |folder| {
                let path = with_end(folder, "part");
                let length = std::fs::metadata(&path).unwrap().len();
                std::fs::write(path, vec![3; usize::try_from(length).unwrap()]).unwrap();
            },
            false,
        ),
        (
            "F15 the part became a link",
            |folder| {
                let path = with_end(folder, "part");
                let elsewhere = folder.join("../../../elsewhere");
                std::fs::rename(&path, &elsewhere).unwrap();
                #[cfg(unix)]
                std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            },
            false,
        ),
    ];
    std::thread::scope(|scope| {
        for (about, damage, resumes) in rows {
            scope.spawn(move || {
                let (rig, asked) = interrupted(damage);
                if about.starts_with("F15") {
                    let elsewhere = std::fs::metadata(rig.root().join("elsewhere")).unwrap();
                    assert!(elsewhere.len() < 9 << 20, "{about}: written through the link");
                }
                // Whatever was trusted was not asked for again.
                assert_eq!(asked < 9 * MIB, resumes, "{about}: {asked} bytes were asked for again");
            });
        }
    });
}
