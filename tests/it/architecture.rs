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
                let code = code(&fs::read_to_string(&path).unwrap());
                found.push((path, code));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {room}");
    found
}

/// Leaves out comments, and modules of unit tests, which may use what they like.
fn code(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        let begins = |next: &&str| next.contains("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(begins) {
            // Formatted as the sources are, only the module's own brace stands at the margin.
            lines.by_ref().find(|line| *line == "}");
        } else if !line.trim_start().starts_with("//") {
            code += line;
            code.push('\n');
        }
    }
    code
}

#[test]
fn tests_and_comments_alone_are_left_out() {
    let text =
        "#[cfg(test)]\nuse a;\nfn b() {\n    // c\n}\n#[cfg(test)]\nmod tests {\n    d\n}\nfn e() {}\n";
    assert_eq!(code(text), "#[cfg(test)]\nuse a;\nfn b() {\n}\nfn e() {}\n");
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
        "fs::remove_dir",
        "fs::create_dir",
        "DirBuilder::new().create",
        "fs::copy(",
        "File::create",
        ".set_len(",
        ".sync_all(",
        ".sync_data(",
        ".persist(",
    ];
    for (path, code) in ["edge", "engine", "cli"].into_iter().flat_map(sources) {
        let exempt = ["disk.rs", "link.rs"].iter().any(|name| path.ends_with(name));
        for change in changes.iter().filter(|_| !exempt) {
            assert!(!code.contains(change), "{} changes files itself: `{change}`", path.display());
        }
    }
}
