//! What `docs/reliability.md` claims: each case of the catalogue has one line, each test that a line names is there, and
//! each test that misbehaves on cue says which case it plays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The catalogue's groups, and how many cases each of them has.
const CASES: [(char, u32); 21] = [
    ('A', 20),
    ('B', 20),
    ('C', 31),
    ('D', 12),
    ('E', 13),
    ('F', 18),
    ('G', 20),
    ('H', 21),
    ('I', 9),
    ('J', 8),
    ('K', 14),
    ('L', 11),
    ('M', 10),
    ('N', 14),
    ('O', 6),
    ('P', 13),
    ('Q', 9),
    ('R', 11),
    ('S', 12),
    ('T', 23),
    ('U', 10),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, by its path in modules (`faults::api`), with its text.
fn modules(folder: &str) -> BTreeMap<String, String> {
    let top = root().join(folder);
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![top.clone()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&top).unwrap().with_extension("");
                let parts = below.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod");
                let module = parts.collect::<Vec<_>>().join("::");
                found.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

struct Row {
    id: String,
    tests: Vec<String>,
    cell: String,
}

/// The lines of the catalogue.
fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let catalogue = text.split("\n## ").find(|chapter| chapter.starts_with("The catalogue")).unwrap();
    let mut rows = Vec::new();
    for line in catalogue.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let is_id = |cell: &str| {
            let mut letters = cell.chars();
            letters.next().is_some_and(|group| CASES.iter().any(|(known, _)| *known == group))
                && letters.clone().count() > 0
                && letters.all(|digit| digit.is_ascii_digit())
        };
        if !line.starts_with('|') || !is_id(cells[0]) {
            continue;
        }
        // A line of a sub-table repeats its id; a case itself has a test and an outcome behind it.
        assert!(cells.len() == 4, "{} has {} cells, not id, case, test and outcome", cells[0], cells.len());
        let tests = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        rows.push(Row { id: cells[0].to_owned(), tests, cell: cells[2].to_owned() });
    }
    rows
}

#[test]
fn each_case_has_one_line() {
    let mut wanted: Vec<String> = CASES
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}{number}")))
        .collect();
    let mut found: Vec<String> = rows().into_iter().map(|row| row.id).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

#[test]
fn each_case_has_a_test_or_a_reason() {
    for row in rows() {
        let said = row.cell.strip_prefix("not covered");
        match said {
            None => assert!(!row.tests.is_empty() || row.cell == "every case", "{} names no test", row.id),
            Some(_) => {
                let why = said.and_then(|rest| rest.strip_prefix(": ")).unwrap_or_default();
                assert!(!why.is_empty(), "{} says nothing of why it is not covered", row.id);
            }
        }
    }
}

#[test]
fn each_test_that_is_named_is_there() {
    let (whole, units) = (modules("tests/it"), modules("src"));
    let mut missing = Vec::new();
    for row in rows() {
        let mut last = String::new();
        for named in &row.tests {
            if named.contains(['/', ' ']) {
                let file =
                    named.strip_prefix("cargo bench --bench ").map(|bench| format!("benches/{bench}.rs"));
                let file = file.unwrap_or_else(|| named.clone());
                assert!(root().join(&file).exists(), "{}: there is no `{file}`", row.id);
                continue;
            }
            // `…` is the module named before, and within a name for the beginning of that name.
            let full = match named.strip_prefix('…') {
                Some(rest) if rest.starts_with("::") => {
                    format!("{}{rest}", last.rsplit_once("::").map_or("", |(module, _)| module))
                }
                Some(rest) => format!("{}{rest}", last.rsplit_once("_on_").map_or("", |(begin, _)| begin)),
                None => named.clone(),
            };
            let there = is_there(&whole, &full) || is_there(&units, &full);
            if !there {
                missing.push(format!("{}: `{full}`", row.id));
            }
            last = full;
        }
    }
    assert!(missing.is_empty(), "these tests are not there: {missing:#?}");
}

/// Whether a test, or a module of tests, of this name is there.
fn is_there(modules: &BTreeMap<String, String>, name: &str) -> bool {
    if modules.contains_key(name) {
        return true;
    }
    let (module, function) = name.rsplit_once("::").unwrap_or(("", name));
    let inside = module.strip_suffix("::tests").unwrap_or(module);
    let texts = modules.iter().filter(|(path, _)| {
        module.is_empty() || *path == module || *path == inside || path.starts_with(&format!("{inside}::"))
    });
    let defined = format!("fn {function}(");
    texts.into_iter().any(|(_, text)| match function {
        "*" => text.contains("#[test]"),
        _ => text.find(&defined).is_some_and(|at| is_test(&text[..at])),
    })
}

/// Whether what is before a function makes it a test.
fn is_test(before: &str) -> bool {
    let block = before.rsplit("\n\n").next().unwrap_or_default();
    block.contains("#[test]")
        || block.contains("#[tokio::test")
        || block.contains("proptest")
        || before.contains("proptest!")
}

#[test]
fn each_scripted_test_plays_the_case_that_names_it() {
    let whole = modules("tests/it");
    let mut silent = Vec::new();
    for row in rows() {
        for named in row.tests.iter().filter(|named| named.starts_with("faults::")) {
            let Some((module, _)) = named.rsplit_once("::") else { continue };
            let text = &whole[module];
            if !played(text).contains(&row.id) {
                silent.push(format!("{}: `{named}`", row.id));
            }
        }
    }
    assert!(silent.is_empty(), "these tests do not play these cases: {silent:#?}");
}

/// The cases that a file of tests says it plays: in the names of its tests and cases, and in what is above a test.
/// `F1 to F6`, `F1-F13` and `c15_c18` are all of them in between.
fn played(text: &str) -> BTreeSet<String> {
    let named = text.lines().filter(|line| line.contains('"') || line.contains("//") || line.contains("fn "));
    let mut played = BTreeSet::new();
    for line in named {
        let upper = line.to_uppercase();
        // The case before, while nothing but what makes a range of two cases follows it.
        let mut from: Option<(&str, u32)> = None;
        for word in upper.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
            let (word, end) =
                word.split_at(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
            let case =
                word.split_at_checked(1).and_then(|(group, number)| Some((group, number.parse().ok()?)));
            if let (Some((group, first)), Some((same, last))) = (from, case)
                && group == same
            {
                played.extend((first..last).map(|number| format!("{group}{number}")));
            }
            if case.is_some() {
                played.insert(word.to_owned());
            }
            from = match (case, word, end) {
                (Some(case), _, " " | "-" | "_") => Some(case),
                (None, "TO", _) => from,
                _ => None,
            };
        }
    }
    played
}
