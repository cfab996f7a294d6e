//! Folders to train on, with the real binary: `dataset check` and `init`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const JPEG: &[u8] = include_bytes!("../../src/decide/formats/fixtures/baseline.jpg");
const MP4: &[u8] = include_bytes!("../../src/decide/formats/fixtures/plain.mp4");

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    root
}

fn command(root: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rcsync"));
    command
        .args(arguments.split_whitespace())
        .env_clear()
        .env("HOME", root)
        // Nothing listens there: a check that asked the API would fail.
        .env("RUNCOMFY_TRAINER_API_BASE", "http://127.0.0.1:1")
        .env("RUNCOMFY_TOKEN", "a-token")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(root: &Path, arguments: &str) -> Output {
    command(root, arguments).output().unwrap()
}

fn code(done: &Output) -> i32 {
    done.status.code().unwrap()
}

fn out(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn err(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn json(done: &Output) -> serde_json::Value {
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn a_folder_is_checked_offline_and_everything_is_found_at_once() {
    let root = folder(&[
        ("dog/a.jpg", JPEG),
        ("dog/a.txt", b"a dog\x92s tail"),
        ("dog/b.jpg", b""),
        ("dog/c.jpg", &JPEG[..JPEG.len() - 2]),
        ("dog/C.jpg", JPEG),
        ("dog/my dog.HEIC", b"\0\0\0\x18ftypheic"),
        ("dog/raw/z.jpg", JPEG),
        ("dog/Thumbs.db", b"x"),
    ]);
    let done = run(root.path(), "dataset check dog --output json");
    assert_eq!(code(&done), 65, "{}", err(&done));
    let document = json(&done);
    assert_eq!(document["name"], "dog");
    assert_eq!(
        (&document["pictures"], &document["captions"], &document["skipped"]),
        (&4.into(), &1.into(), &1.into())
    );
    let findings = document["findings"].as_array().unwrap();
    for (severity, code, path, what) in [
        ("error", "caption-encoding", "a.txt", "byte 5 is 0x92"),
        ("error", "empty-media", "b.jpg", "no bytes"),
        ("error", "broken-media", "c.jpg", "ends"),
        ("error", "same-name", "c.jpg", "C.jpg"),
        ("error", "subfolder", "raw", "1 file"),
        ("warning", "unused-kind", "my dog.HEIC", "HEIC"),
        ("warning", "odd-name", "my dog.HEIC", "characters"),
        ("warning", "no-caption", "C.jpg", "C.txt"),
    ] {
        let is_it = |finding: &&serde_json::Value| {
            finding["severity"] == severity && finding["code"] == code && finding["path"] == path
        };
        let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("{code} {path}: {document:#}"));
        assert!(finding["what"].as_str().unwrap().contains(what), "{finding}");
        assert!(!finding["cure"].as_str().unwrap().is_empty(), "{finding}");
    }
    let pretty = run(root.path(), "dataset check dog");
    assert_eq!(code(&pretty), 65);
    for part in
        ["error: captions that are not UTF-8\n  a.txt", "fix: save it as UTF-8", "dog: 4 pictures, 1 caption"]
    {
        assert!(out(&pretty).contains(part), "{part}: {}", out(&pretty));
    }
    let quiet = run(root.path(), "dataset check dog -q");
    assert!(code(&quiet) == 65 && !out(&quiet).contains("warning"), "{}", out(&quiet));
}

#[test]
fn warnings_alone_end_with_0_and_a_missing_folder_with_66() {
    let root = folder(&[("dog/a.jpg", JPEG), ("dog/b.txt", b"a cat"), ("file", b"x")]);
    let done = run(root.path(), "dataset check dog");
    assert_eq!(code(&done), 0, "{}", out(&done));
    assert!(out(&done).contains("warning: no caption\n  a.jpg"), "{}", out(&done));
    let quiet = run(root.path(), "dataset check dog -q");
    assert_eq!((code(&quiet), out(&quiet).as_str()), (0, ""));
    for (arguments, expected) in [
        ("dataset check none", 66),
        ("dataset check file", 65),
        ("dataset check dog --config none.yaml", 66),
        ("dataset check dog --config file", 65),
        ("dataset check dog --include [", 64),
        ("dataset check dog --caption-ext a/b", 64),
        ("dataset check", 64),
    ] {
        let done = run(root.path(), arguments);
        assert_eq!(code(&done), expected, "{arguments}: {}", err(&done));
    }
}

#[test]
fn the_options_of_a_check_hold() {
    let root = folder(&[
        ("my dog/a.jpg", JPEG),
        ("my dog/a.caption", b"a dog"),
        ("my dog/raw/a.jpg", JPEG),
        ("my dog/b.gif", b"GIF89a"),
    ]);
    let link = root.path().join("my-dog");
    std::fs::rename(root.path().join("my dog"), &link).unwrap();
    let findings = |arguments: &str| -> Vec<String> {
        let document = json(&run(root.path(), arguments));
        let codes = document["findings"].as_array().unwrap().iter();
        codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    };
    let all = findings("dataset check my-dog --output json");
    assert_eq!(all, ["same-name", "subfolder", "caption-extension", "unused-kind", "small-picture"]);
    let some = findings(
        "dataset check my-dog --output json --caption-ext caption --exclude raw/* --exclude *.gif --name other_name",
    );
    assert_eq!(some, ["small-picture"]);
    assert!(
        findings("dataset check my-dog --output json --name other.name").contains(&"dataset-name".to_owned())
    );
}

#[test]
fn a_configuration_to_begin_with_is_accepted_by_submit_and_fits_its_folder() {
    let root =
        folder(&[("dog-photos/a.jpg", JPEG), ("dog-photos/a.caption", b"a dog"), ("clips/a.mp4", MP4)]);
    for model in [
        "flux",
        "flux-schnell",
        "flux-kontext",
        "flex",
        "chroma",
        "sdxl",
        "sd35",
        "qwen-image",
        "qwen-image-edit",
        "hidream",
        "z-image",
        "wan21",
        "wan22",
    ] {
        let written =
            run(root.path(), &format!("init {model} --dataset dog-photos --model {model} --trigger d0gx"));
        assert_eq!(code(&written), 0, "{model}: {}", err(&written));
        let submitted = run(root.path(), &format!("submit {model}.yaml --gpu-type H100 --dry-run"));
        assert_eq!(code(&submitted), 0, "{model}: {}", err(&submitted));
        assert_eq!(err(&submitted).lines().count(), 1, "no warning: {}", err(&submitted));
        let checked =
            run(root.path(), &format!("dataset check dog-photos --config {model}.yaml --output json"));
        assert_eq!(code(&checked), 0, "{model}: {}", out(&checked));
        assert_eq!(json(&checked)["captions"], 1, "the caption extension is the configuration's");
    }
    let written = run(root.path(), "init typed --dataset dog-photos --trigger d0gx");
    let text = out(&written);
    let next: Vec<&str> =
        text.split('\n').filter_map(|line| line.split_once("rcsync ")).map(|it| it.1).collect();
    assert_eq!(next.len(), 2, "{text}");
    for line in next {
        let (command, _) = line.split_once("  # ").unwrap();
        assert_eq!(code(&run(root.path(), command)), 0, "as it is printed: {command}");
    }
    let text = std::fs::read_to_string(root.path().join("wan22.yaml")).unwrap();
    for part in
        ["name: \"wan22\"", "datasets/dog-photos\"", "trigger_word: \"d0gx\"", "caption_ext: \"caption\""]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let clips = run(root.path(), "init clips --dataset clips --model wan22");
    assert_eq!(code(&clips), 0, "{}", err(&clips));
    assert!(std::fs::read_to_string(root.path().join("clips.yaml")).unwrap().contains("num_frames: 41"));
    let checked = run(root.path(), "dataset check clips --config clips.yaml");
    assert!(code(&checked) == 0 && out(&checked).contains("no caption"), "{}", out(&checked));
}

#[test]
fn init_overwrites_nothing_and_refuses_what_cannot_train() {
    let root =
        folder(&[("dog/a.jpg", JPEG), ("empty/notes.md", b"x"), ("clips/a.mp4", MP4), ("dog.yaml", b"mine")]);
    for (arguments, expected, part) in [
        ("init dog --dataset dog", 65, "there is a `dog.yaml` already"),
        ("init a/b --dataset dog", 64, "`config.name` is `a/b`"),
        ("init x --dataset none", 66, "there is no file or folder `none`"),
        ("init x --dataset empty", 65, "no picture or clip"),
        ("init x --dataset clips", 65, "cannot be trained on clips"),
        ("init x --dataset dog --model cat", 64, "it has to be one of flux"),
        ("init x", 64, "--dataset"),
        ("init x --dataset dog --to none/x.yaml", 73, "none/x.yaml"),
    ] {
        let done = run(root.path(), arguments);
        assert_eq!(code(&done), expected, "{arguments}: {}", err(&done));
        assert!(err(&done).contains(part), "{arguments}: {}", err(&done));
    }
    assert_eq!(std::fs::read(root.path().join("dog.yaml")).unwrap(), b"mine");
    assert!(!root.path().join("x.yaml").exists());
    let printed = run(root.path(), "init 2024 --dataset dog --to -");
    assert!(code(&printed) == 0 && out(&printed).contains("\n  name: \"2024\""), "{}", err(&printed));
    let written = run(root.path(), "init cat --dataset dog --output json");
    let document = json(&written);
    assert_eq!((&document["config"], &document["dataset"]), (&"cat.yaml".into(), &"dog".into()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_check_ends_at_once_when_it_is_interrupted() {
    let root = large_folder();
    let child = command(root.path(), "dataset check dog").spawn().unwrap();
    assert_interrupted(child);
}

/// Each handler of a signal takes a while to be installed, and the listener behind it as well.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_counts_as_soon_as_a_check_reads() {
    if !crate::rig::have(&["strace"]) {
        return;
    }
    let root = large_folder();
    let command = command(root.path(), "dataset check dog");
    let child = crate::rig::begin_with_fault(&command, "rt_sigaction:delay_exit=150000");
    assert_interrupted(child);
}

/// A folder that takes many seconds to be read, and no room: a file of it is sparse.
#[cfg(target_os = "linux")]
fn large_folder() -> tempfile::TempDir {
    let root = folder(&[("dog/a.jpg", JPEG)]);
    std::fs::File::create(root.path().join("dog/large.mkv")).unwrap().set_len(1 << 38).unwrap();
    root
}

/// Interrupts a check as soon as it reads the large file.
#[cfg(target_os = "linux")]
fn assert_interrupted(mut child: std::process::Child) {
    let descriptors = format!("/proc/{}/fd", child.id());
    let is_reading = || {
        let open = std::fs::read_dir(&descriptors).into_iter().flatten().flatten();
        open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|path| path.ends_with("dog/large.mkv"))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_reading() {
        assert!(std::time::Instant::now() < deadline, "it never began to read");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // A signal that was lost would cost hours.
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{}", err(&done));
}
