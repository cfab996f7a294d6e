//! Groups F and L: names that mean harm, and a folder in which another program works too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::host::Ask;
use super::reply::{End, Reply};
use super::rig::{Case, Rig, World, hold_all};
use super::world::{File, Hosted, picture, weights};

const NAME: &str = "lora_000000250.safetensors";

fn honest(file: &File, ask: &Ask) -> Reply {
    file.honest(ask)
}

fn checkpoint() -> World {
    World::of(vec![Hosted::checkpoint(&weights(1, 100_000), honest).at(&format!("/output/{NAME}"), "*")])
}

/// F1 to F6, F10 to F13: whatever a path in the list says, there is one whole file, below the folder, not hidden, with
/// a name that every system takes.
#[test]
fn group_f_hostile_names() {
    let paths: &[&str] = &[
        "/a/..%2f..%2f..%2fescape.safetensors",
        "/a/%2e%2e%2f%2e%2e%2fescape.safetensors",
        "/a/..%5c..%5cescape.safetensors",
        "/a/%252e%252e%252fescape.safetensors",
        "/a/%2fetc%2fpasswd",
        "/a/C%3a%5cwindows%5cx.safetensors",
        "/a/C:x.safetensors",
        "/a/x.safetensors:stream",
        "/a/%5c%5chost%5cshare%5cx",
        "/a/%5c%5c%3f%5cC%3a%5cx",
        "/a/nul%00byte.safetensors",
        "/a/esc%1b%5b2Jape.safetensors",
        "/a/line%0d%0abreak.safetensors",
        "/a/CON",
        "/a/nul.safetensors",
        "/a/COM1.safetensors",
        "/a/com%c2%b9.txt",
        "/a/CONIN$.safetensors",
        "/a/trailing.",
        "/a/trailing%20",
        "/a/%20leading",
        "/a/",
        "//",
        "/a/.bashrc",
        "/a/-rf",
        "/a/~root",
        "/a/.rcsync",
        "/a/.rcsync%2fmanifest.json",
        "/a/job.json",
        "/a/SHA256SUMS",
        "/a/index.html",
        "/a/x.part",
        "/a/bidi%e2%80%aegpj.safetensors",
        "/a/zero%e2%80%8bwidth.safetensors",
        "/a/%ff%fe%80.safetensors",
        "/a/aux%20.safetensors",
        "/output/lora/..%2f..%2fx/.git/config",
    ];
    let long = format!("/a/{}.safetensors", "%e2%9c%93".repeat(200));
    let deep = format!("/output/lora/{}x.safetensors", "d/".repeat(400));
    let each = |path: &str| {
        let world = World::of(vec![Hosted::checkpoint(&weights(1, 1000), honest).at(path, "*")]);
        Case::survives("F1-F13", Box::leak(path.to_owned().into_boxed_str()), world).and(|rig, _| tame(rig))
    };
    let mut cases: Vec<Case> = paths.iter().map(|path| each(path)).collect();
    cases.push(each(&long));
    cases.push(each(&deep));
    cases.push(
        Case::survives("F13", "the host's own idea of a name", {
            World::of(vec![Hosted::checkpoint(&weights(1, 1000), |file, ask| {
                file.honest(ask).header("Content-Disposition", "attachment; filename=\"../../evil.sh\"")
            })])
        })
        .and(|rig, _| tame(rig)),
    );
    cases.push(
        Case::survives("F8, F9", "names that are one on some disks", {
            let names = [
                "Lora.safetensors",
                "lora.safetensors",
                "LORA.safetensors",
                "e%cc%81.safetensors",
                "%c3%a9.safetensors",
            ];
            let each = names.iter().enumerate().map(|(n, name)| {
                Hosted::checkpoint(&weights(n as u64, 1000), honest).at(&format!("/a/{name}"), "*")
            });
            World::of(each.collect())
        })
        .and(|rig, _| {
            let lower: std::collections::BTreeSet<String> =
                rig.published().keys().map(|name| name.to_lowercase()).collect();
            if lower.len() == 5 { Ok(()) } else { Err(format!("{lower:?} would be fewer files elsewhere")) }
        }),
    );
    hold_all(cases);
}

/// Everything outside the folder is as it was, and what is inside has names without tricks.
fn tame(rig: &Rig) -> Result<(), String> {
    let outside: Vec<PathBuf> = crate::support::snapshot(rig.root())
        .into_keys()
        .filter(|path| !path.starts_with(rig.dir()))
        .collect();
    if !outside.is_empty() {
        return Err(format!("outside of the folder: {outside:?}"));
    }
    for name in rig.published().into_keys() {
        let odd = |c: char| c.is_control() || "\\:*?\"<>|\u{202e}\u{200b}".contains(c);
        let parts_are_plain = name.split('/').all(|part| {
            let stem = part.split('.').next().unwrap_or_default().to_ascii_uppercase();
            !part.starts_with(['.', '-', '~', ' '])
                && !part.ends_with(['.', ' '])
                && part.len() <= 255
                && !["CON", "NUL", "AUX", "COM1", "COM¹", "CONIN$"].contains(&stem.trim_end())
        });
        if name.contains(odd) || !parts_are_plain {
            return Err(format!("published as {name:?}"));
        }
    }
    Ok(())
}

/// Everything below a folder that is not rcsync's, by path: links as what they point to.
fn contents(dir: &Path) -> BTreeMap<PathBuf, String> {
    let read = |path: &Path| match std::fs::read_link(path) {
        Ok(target) => format!("link to {}", target.display()),
        Err(_) if path.is_file() => super::world::hex(&std::fs::read(path).unwrap()),
        Err(_) => "something else".to_owned(),
    };
    let all = crate::support::snapshot(dir).into_keys();
    all.map(|path| (path.clone(), read(&path))).collect()
}

/// F15, F16, L4, L5: what is where a file should go is not ours and is kept; no run hangs on it.
#[cfg(unix)]
#[test]
fn f15_f16_l4_what_is_in_the_way_is_left_alone() {
    type Obstacle = fn(&Path, &Path);
    let obstacles: [(&str, Obstacle); 6] = [
        ("F15 a link to a file outside", |at, outside| {
            std::fs::write(outside.join("precious"), "precious").unwrap();
            std::os::unix::fs::symlink(outside.join("precious"), at).unwrap();
        }),
        ("F15 a link to nowhere", |at, outside| {
            std::os::unix::fs::symlink(outside.join("not-there"), at).unwrap();
        }),
        ("F16 a folder", |at, _| std::fs::create_dir(at).unwrap()),
        ("F16 a pipe", |at, _| {
            let made = std::process::Command::new("mkfifo").arg(at).status();
            assert!(made.is_ok_and(|status| status.success()), "no pipe could be made");
        }),
        ("F16 a socket", |at, _| drop(std::os::unix::net::UnixListener::bind(at).unwrap())),
        ("L4 another file", |at, _| std::fs::write(at, "mine").unwrap()),
    ];
    for (about, obstruct) in obstacles {
        let rig = Rig::new(checkpoint());
        let outside = rig.root().join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(rig.dir()).unwrap();
        let place = rig.dir().join(NAME);
        obstruct(&place, &outside);
        let kind = std::fs::symlink_metadata(&place).unwrap().file_type();
        let before = contents(&outside);
        let run = rig.once(&[]);
        assert_eq!(run.code, Some(0), "{about}: {}", run.output());
        assert_eq!(contents(&outside), before, "{about}: something outside was changed");
        assert_eq!(std::fs::symlink_metadata(&place).unwrap().file_type(), kind, "{about}: it was replaced");
        let whole = &*rig.world.files[0].truth[0].bytes;
        let beside = std::fs::read_dir(rig.dir()).unwrap().filter_map(Result::ok).any(|entry| {
            entry.file_type().is_ok_and(|kind| kind.is_file())
                && std::fs::read(entry.path()).is_ok_and(|bytes| bytes == *whole)
        });
        assert!(beside, "{about}: the file is not beside it: {}", run.output());
        let asks = rig.host.asks().len();
        assert_eq!(rig.once(&[]).code, Some(0), "{about}, again");
        assert_eq!(rig.host.asks().len(), asks, "{about}: fetched twice");
    }
}

/// F15: a folder on the way that is a link leads nowhere.
#[cfg(unix)]
#[test]
fn f15_a_linked_folder_is_not_followed() {
    for linked in ["samples", ".rcsync", ".rcsync/parts"] {
        let rig =
            Rig::new(World::of(vec![Hosted::sample("1724085406830__000000250_0.png", &picture(0), honest)]));
        let outside = rig.root().join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        let place = rig.dir().join(linked);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&outside, &place).unwrap();
        let run = rig.once(&[]);
        assert!(run.code.is_some_and(|code| [0, 73, 74, 75].contains(&code)), "{linked}: {}", run.output());
        let written: Vec<PathBuf> = crate::support::snapshot(&outside).into_keys().collect();
        assert!(written.is_empty(), "{linked}: written through the link: {written:?}");
    }
}

/// F17: another name of an old file keeps the old bytes.
#[cfg(unix)]
#[test]
fn f17_another_name_of_an_old_file_keeps_its_bytes() {
    let (old, new) = (weights(1, 100_000), weights(2, 100_000));
    let act = Arc::new(AtomicUsize::new(0));
    let (on_host, in_api) = (act.clone(), act.clone());
    let served = new.clone();
    let hosted = Hosted::checkpoint(&old, move |old, ask| {
        if on_host.load(Ordering::SeqCst) == 0 { old.honest(ask) } else { served.honest(ask) }
    })
    .at(&format!("/output/{NAME}"), "*")
    .or(&new);
    let rig = Rig::new(World::of(vec![hosted]).api(move |ask, listing| {
        (ask.path().ends_with("/result") && in_api.load(Ordering::SeqCst) > 0).then(|| {
            let mut result = listing.result.clone();
            result["started_at"] = "2026-02-01T08:00:00".into();
            Reply::json(&result.to_string())
        })
    }));
    assert_eq!(rig.once(&[]).code, Some(0));
    let other = rig.root().join("other-name");
    std::fs::hard_link(rig.dir().join(NAME), &other).unwrap();
    act.store(1, Ordering::SeqCst);
    let run = rig.once(&["--on-change", "replace"]);
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert_eq!(std::fs::read(&other).unwrap(), *old.bytes);
    assert_eq!(std::fs::read(rig.dir().join(NAME)).unwrap(), *new.bytes);
}

/// L1 to L5: published files that changed between two runs.
#[test]
fn group_l_other_programs_work_here_too() {
    type Change = fn(&Path);
    let rows: [(&str, Change, usize, i32); 4] = [
        ("L1 deleted: fetched again", |path| std::fs::remove_file(path).unwrap(), 1, 0),
        (
            "L3 touched alone: not fetched",
            |path| {
                let file = std::fs::File::options().append(true).open(path).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            },
            0,
            0,
        ),
        (
            "L4 a copy with another date: taken for what it is",
            |path| {
                let bytes = std::fs::read(path).unwrap();
                std::fs::remove_file(path).unwrap();
                std::fs::write(path, bytes).unwrap();
            },
            0,
            0,
        ),
        (
            "L2 truncated: fetched again, the stump is kept",
            |path| {
                std::fs::File::options().write(true).open(path).unwrap().set_len(500).unwrap();
            },
            1,
            0,
        ),
    ];
    for (about, change, asks, code) in rows {
        let rig = Rig::new(checkpoint());
        assert_eq!(rig.once(&[]).code, Some(0));
        change(&rig.dir().join(NAME));
        let before = rig.host.asks().len();
        let run = rig.once(&[]);
        assert_eq!(run.code, Some(code), "{about}: {}", run.output());
        assert_eq!(rig.host.asks().len() - before, asks, "{about}: {}", run.output());
        let whole = &rig.world.files[0].truth[0].bytes;
        assert!(rig.published().values().any(|bytes| *bytes == **whole), "{about}");
    }
}

/// L2: an edit that keeps length and date is found by `verify`, which reads every byte.
#[test]
fn l2_verify_reads_every_byte() {
    let rig = Rig::new(checkpoint());
    assert_eq!(rig.once(&[]).code, Some(0));
    let path = rig.dir().join(NAME);
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    let run = rig.run(rig.command(&["verify", rig.dir().to_str().unwrap()]));
    assert_eq!(run.code, Some(1), "{}", run.output());
    assert!(run.output().contains(NAME), "{}", run.output());
}

/// L9: while a file is on its way, nothing has its name, nor any that a model loader would list.
#[test]
fn l9_nothing_unfinished_has_a_model_s_name() {
    let seen: Arc<std::sync::Mutex<Vec<PathBuf>>> = Arc::default();
    let dir: Arc<std::sync::OnceLock<PathBuf>> = Arc::default();
    let (witness, place) = (seen.clone(), dir.clone());
    let hosted = Hosted::checkpoint(&weights(1, 3 << 20), move |file, ask| {
        let folder = place.get().unwrap();
        let models = crate::support::snapshot(folder).into_keys().filter(|path| {
            path.extension().is_some_and(|end| {
                ["safetensors", "sft", "pt", "ckpt", "bin"].iter().any(|model| end == *model)
            })
        });
        witness.lock().unwrap().extend(models);
        if ask.nth < 3 { file.honest(ask).cut(700_000, End::Close) } else { file.honest(ask) }
    });
    let rig = Rig::new(World::of(vec![hosted]));
    dir.set(rig.dir()).unwrap();
    let run = rig.once(&[]);
    rig.promises(&run).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.output());
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
}

/// J6: while a run publishes, another program opens a published file, moves it away, and takes a part from under it. Each costs
/// that file alone, and nothing of theirs is touched.
#[test]
fn j6_another_program_opens_moves_and_takes_files_meanwhile() {
    let place = Arc::new(std::sync::Mutex::new(None::<PathBuf>));
    let touched = place.clone();
    let meddle = move |ask: &Ask| {
        let Some(dir) = touched.lock().unwrap().clone() else { return };
        let published = dir.join("samples/1724085406830__000000250_0.png");
        let other = dir.join("samples/1724085406830__000000250_1.png");
        if ask.nth == 0 {
            // Until the pictures are here: one is held open, and moved away, and no part but the checkpoint's is left.
            let began = std::time::Instant::now();
            while !(published.exists() && other.exists())
                && began.elapsed() < std::time::Duration::from_secs(10)
            {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let open = std::fs::File::open(&published).unwrap();
            std::fs::rename(&published, dir.join("moved.png")).unwrap();
            drop(open);
        } else if ask.nth == 1 {
            // The part that this response continues is gone.
            for entry in std::fs::read_dir(dir.join(".rcsync/parts")).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    };
    let big = weights(1, 9 << 20);
    let checkpoint = Hosted::checkpoint(&big, move |file, ask| {
        meddle(ask);
        let honest = file.honest(ask);
        if ask.nth == 0 { honest.cut(5 << 20, End::Close) } else { honest }
    });
    let first = Hosted::sample("1724085406830__000000250_0.png", &picture(0), honest);
    let other = Hosted::sample("1724085406830__000000250_1.png", &picture(1), honest);
    let rig = Rig::new(World::of(vec![checkpoint, first, other]));
    *place.lock().unwrap() = Some(rig.dir());
    let run = rig.once(&["--connections", "4"]);
    let moved = std::fs::read(rig.dir().join("moved.png")).unwrap();
    assert!(moved == *rig.world.files[1].truth[0].bytes, "what was moved is whole");
    std::fs::rename(rig.dir().join("moved.png"), rig.root().join("moved.png")).unwrap();
    rig.promises(&run).unwrap();
    assert!(matches!(run.code, Some(0 | 74 | 75)), "{:?}: {}", run.code, run.output());
    assert!(rig.published().contains_key("samples/1724085406830__000000250_1.png"), "{}", run.output());
    let next = rig.once(&[]);
    rig.promises(&next).unwrap();
    assert_eq!((next.code, rig.published().len()), (Some(0), 3), "{}", next.output());
}
