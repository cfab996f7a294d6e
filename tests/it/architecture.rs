//! The wall between deciding and acting: imports point down, and the pure rooms stay pure.

use std::fs;
use std::path::{Path, PathBuf};

/// What may not appear in the rooms `model` and `decide`, tests apart.
const IMPURE: &[&str] = &[
    "reqwest",
    "tokio",
    "hyper",
    "notify",
    "tempfile",
    "std::fs",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::env",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "std::io::stdout",
    "std::io::stderr",
    "fastrand::u",
    "fastrand::Rng::new",
];

fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                // Unit tests stand last in their files and may use what they like.
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let code = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect::<Vec<_>>()
                    .join("\n");
                found.push((path, code));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {room}");
    found
}

fn assert_absent(room: &str, words: &[&str]) {
    for (path, code) in sources(room) {
        for word in words {
            assert!(!code.contains(word), "{} uses `{word}`", path.display());
        }
    }
}

#[test]
fn model_and_decide_touch_nothing() {
    assert_absent("model", IMPURE);
    assert_absent("decide", IMPURE);
}

#[test]
fn imports_point_down() {
    assert_absent(
        "model",
        &["crate::decide", "crate::edge", "crate::engine", "crate::cli", "crate::simulator"],
    );
    assert_absent("decide", &["crate::edge", "crate::engine", "crate::cli", "crate::simulator"]);
    assert_absent("edge", &["crate::decide", "crate::engine", "crate::cli", "crate::simulator"]);
    assert_absent("engine", &["crate::cli", "crate::simulator"]);
    assert_absent("simulator", &["crate::cli", "crate::engine", "crate::edge"]);
}

#[test]
fn only_the_edge_speaks_http() {
    for room in ["engine", "cli", "model", "decide"] {
        assert_absent(room, &["reqwest::"]);
    }
}

/// A change that goes past `edge::disk` is one that the simulation does not see, so nothing proves what a crash leaves
/// of it. Files outside of DIR (ComfyUI's) are `link`'s.
#[test]
fn only_the_disk_room_changes_files() {
    let changes = [
        "fs::rename(",
        "fs::remove_file(",
        "fs::write(",
        "fs::hard_link(",
        "fs::create_dir(",
        "File::create",
        ".set_len(",
        ".sync_all(",
        ".sync_data(",
        ".persist(",
    ];
    for (path, code) in sources("edge").into_iter().chain(sources("engine")) {
        let exempt = ["disk.rs", "link.rs"].iter().any(|name| path.ends_with(name));
        for change in changes.iter().filter(|_| !exempt) {
            assert!(!code.contains(change), "{} changes files itself: `{change}`", path.display());
        }
    }
}
