//! README and `docs/`: pages are short, links lead somewhere, options and commands exist, and what can be typed was run.

mod page;
#[cfg(unix)]
mod run;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use page::{Page, root};
use toml::de::DeTable;

/// Pages that are tables of evidence rather than a task, and may be longer.
const LONG: &[&str] = &["docs/reliability.md"];

#[test]
fn no_page_has_more_than_200_lines_and_the_readme_150() {
    for page in Page::all() {
        let most = if page.name == "README.md" { 150 } else { 200 };
        let lines = page.text.lines().count();
        assert!(lines <= most || LONG.contains(&page.name.as_str()), "{} has {lines} lines", page.name);
    }
}

/// `rcsync help TOPIC` prints it.
#[test]
fn a_page_begins_with_a_summary_that_fits_a_terminal() {
    for page in Page::all() {
        let is_topic = !["README.md", "docs/README.md"].contains(&page.name.as_str());
        let lines = page.text.lines().skip(1).take_while(|line| !line.starts_with("## "));
        let summary: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
        let length = summary.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        assert!(!is_topic || (1..=15).contains(&length), "{}: the summary has {length} lines", page.name);
    }
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    let more = ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md"].map(Page::read);
    for page in Page::all().iter().chain(&more) {
        for link in page.links() {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            if path.contains("://") {
                continue;
            }
            let name = if path.is_empty() { root().join(&page.name) } else { page.folder().join(path) };
            let is_alive = std::fs::canonicalize(&name).is_ok_and(|file| {
                anchor.is_empty() || {
                    let target = file.strip_prefix(root().canonicalize().unwrap()).unwrap();
                    Page::read(target.to_str().unwrap()).anchors().iter().any(|known| known == anchor)
                }
            });
            if !is_alive {
                dead.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Files of this repository that a page names.
#[test]
fn paths_exist() {
    let mut gone = Vec::new();
    for page in
        Page::all().iter().chain(&["CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md"].map(Page::read))
    {
        for code in page.code() {
            let is_ours = [
                "src/",
                "tests/",
                "docs/",
                "examples/",
                "packaging/",
                "benches/",
                "fuzz/",
                ".github/",
                ".ci/",
            ]
            .iter()
            .any(|folder| code.text.starts_with(folder));
            let is_one = !code.text.contains([' ', '<', '*', '…', '{']);
            if is_ours && is_one && !root().join(&code.text).exists() {
                gone.push(format!("{}:{}: {}", page.name, code.line, code.text));
            }
        }
    }
    assert!(gone.is_empty(), "{gone:#?}");
}

/// A blank line ends a table: rows below it are no table any more.
#[test]
fn tables_are_whole() {
    for page in Page::all().iter().chain(&["CONTRIBUTING.md", "ARCHITECTURE.md"].map(Page::read)) {
        let lines: Vec<&str> = page.text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with('|')) {
            let begins = at == 0 || !lines[at - 1].starts_with('|');
            let has_head =
                lines.get(at + 1).is_some_and(|next| next.starts_with("|--") || next.starts_with("|:"));
            assert!(!begins || has_head, "{}:{}: a row without a head: {line}", page.name, at + 1);
        }
    }
}

#[test]
fn the_index_has_every_page() {
    let index: BTreeSet<String> = Page::read("docs/README.md").links().into_iter().collect();
    let pages = Page::all().into_iter().filter_map(|page| page.name.strip_prefix("docs/").map(str::to_owned));
    let missing: Vec<String> = pages.filter(|name| name != "README.md" && !index.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What each command of the program can be given, by its own help. The empty name is the program itself.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(command) = open.pop() {
        let words = command.split_whitespace().chain(["--help"]);
        let help = Command::new(env!("CARGO_BIN_EXE_rcsync")).args(words).output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in commands.take_while(|line| !line.is_empty()) {
            // Descriptions continue on lines that are indented further.
            if let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) {
                let name = name.split_whitespace().next().unwrap();
                if name != "help" {
                    open.push(format!("{command} {name}").trim().to_owned());
                }
            }
        }
        known.insert(command, options(&text));
    }
    known
}

/// Long options in a text, as `--keep-last`.
fn options(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_lowercase() || character == '-';
    let begins = text.match_indices("--").filter(|(at, _)| {
        !text[..*at].ends_with(|before: char| before.is_alphanumeric() || "-/{".contains(before))
    });
    begins
        .filter_map(|(at, _)| {
            let rest = &text[at + 2..];
            let name = &rest[..rest.find(|character| !is_part(character)).unwrap_or(rest.len())];
            name.starts_with(|first: char| first.is_ascii_lowercase()).then(|| format!("--{name}"))
        })
        .collect()
}

/// Options of other programs that the text names alone, and `--token`, of which it is said that there is none.
const FOREIGN: &[&str] = &[
    "--allow-overwrite",
    "--break-system-packages",
    "--lib",
    "--locked",
    "--native",
    "--runners",
    "--token",
];

#[test]
fn options_and_commands_of_the_pages_exist() {
    let known = known();
    let all: BTreeSet<&String> = known.values().flatten().collect();
    let exists = |option: &String| {
        let positive = option.replacen("--no-", "--", 1);
        all.contains(option) || all.contains(&positive) || FOREIGN.contains(&option.as_str())
    };
    let mut unknown = Vec::new();
    for page in Page::all().iter().chain(&["SECURITY.md", "CHANGELOG.md"].map(Page::read)) {
        for code in page.code() {
            let what = || format!("{}:{}: {}", page.name, code.line, code.text);
            // The commands of rcsync in it, up to what another program is given.
            let own = code.text.find("rcsync ").map(|at| code.text[at..].split(" -- ").next().unwrap());
            let own = own.map(|own| own.split(['|', ';', '\'']).next().unwrap());
            let options = match own {
                Some(own) => options(own),
                None if code.text.starts_with("--") => options(&code.text),
                None => continue,
            };
            unknown.extend(
                options.iter().filter(|option| !exists(option)).map(|option| (option.clone(), what())),
            );
            let own = own.filter(|_| code.text.starts_with("rcsync "));
            let word = own.and_then(|own| own.split_whitespace().nth(1)).unwrap_or_default();
            let is_name = word.len() > 1 && word.chars().all(|letter| letter.is_ascii_lowercase());
            if is_name && !known.contains_key(word) && !["help"].contains(&word) {
                unknown.push((word.to_owned(), what()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    entries.map(|path| if path.is_dir() { sources(&path) } else { text(&path) }).collect()
}

/// The table of `docs/troubleshooting.md` quotes what the program prints.
#[test]
fn messages_of_the_table_are_in_the_sources() {
    let page = Page::read("docs/troubleshooting.md");
    let sources = sources(&root().join("src"));
    let rows = page.text.lines().filter(|line| line.starts_with("| `"));
    let messages: Vec<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    assert!(messages.len() > 15);
    for part in messages.iter().flat_map(|message| message.split('…')) {
        assert!(sources.contains(part.trim()), "no message has `{part}`");
    }
}

/// Why each dependency is there: ARCHITECTURE.md has a row for every one of Cargo.toml, and no other.
#[test]
fn every_dependency_is_explained() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let cargo = DeTable::parse(&text).unwrap().into_inner();
    let targets = cargo.get("target").and_then(|targets| targets.get_ref().as_table()).unwrap();
    let targets = targets.values().filter_map(|target| target.get_ref().as_table());
    let mut expected = BTreeSet::new();
    for table in std::iter::once(&cargo).chain(targets) {
        for kind in ["dependencies", "dev-dependencies"] {
            let names = table.get(kind).and_then(|names| names.get_ref().as_table());
            expected.extend(names.into_iter().flatten().map(|(name, _)| name.get_ref().to_string()));
        }
    }
    let page = Page::read("ARCHITECTURE.md");
    let section = page.text.split("\n## Dependencies\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut explained = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let [_, names, why, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        assert!(why.trim().len() > 10, "{row}");
        for name in names.split('`').skip(1).step_by(2) {
            assert!(explained.insert(name.to_owned()), "{name} has two rows");
        }
    }
    assert_eq!(explained, expected);
}
