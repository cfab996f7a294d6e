//! A result that is thrown away with `let _ =` has a comment that gives the reason, on its line or right above.

use std::fs;
use std::path::Path;

use super::source::files;

/// Returns the lines that throw a value away without a reason. Unit tests at the end of a file are left out.
fn unexplained(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test = |at: usize| {
        lines[at] == "#[cfg(test)]"
            && lines.get(at + 1).is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let end = (0..lines.len()).find(|&at| is_test(at)).unwrap_or(lines.len());
    let throws_away = |line: &str| {
        let line = line.trim_start();
        line.starts_with("let _ =") || (line.starts_with("_ = ") && line.ends_with(';'))
    };
    let is_explained =
        |at: usize| lines[at].contains("// ") || (at > 0 && lines[at - 1].trim_start().starts_with("// "));
    (0..end).filter(|&at| throws_away(lines[at]) && !is_explained(at)).map(|at| at + 1).collect()
}

#[test]
fn what_is_thrown_away_has_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found: Vec<String> = files()
        .into_iter()
        .flat_map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            unexplained(&text).into_iter().map(move |line| format!("src/{name}:{line}"))
        })
        .collect();
    assert!(found.is_empty(), "`let _ =` without a reason: {found:#?}");
}

#[test]
fn a_planted_one_is_found() {
    assert_eq!(unexplained("fn f() {\n    let _ = g();\n}"), [2]);
    assert_eq!(unexplained("fn f() {\n    _ = g();\n}"), [2]);
    assert_eq!(unexplained("/// Documentation is no reason.\nlet _ = g();"), [2]);
    assert_eq!(unexplained("// It cannot fail.\nlet _ = g();\nlet _ = h(); // Nor can this."), [0; 0]);
    assert_eq!(unexplained("let a = 1;\n#[cfg(test)]\nmod tests {\n    let _ = g();\n}"), [0; 0]);
    assert_eq!(unexplained("#[cfg(test)]\nmod tests;\nlet _ = g();"), [3]);
}
