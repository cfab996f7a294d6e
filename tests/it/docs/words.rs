//! Plain words: what a page is about is the subject of its sentences.

use super::page::{Page, root};

/// Words that hide the subject. `goes on` and others are looked for as they are written.
const BANNED: &[&str] =
    &["nobody", "somebody", "whoever", "told", "stands", "mend", "mends", "mended", "mending", "goes on"];

#[test]
fn pages_use_plain_words() {
    let more = ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md"].map(Page::read);
    let mut found = Vec::new();
    for page in Page::all().iter().chain(&more) {
        // The map is made of the first lines of the modules.
        let map = page.text.find("<!-- map").zip(page.text.find("<!-- end of the map"));
        for (number, line) in (1..).zip(page.text.lines()) {
            let at = line.as_ptr().addr() - page.text.as_ptr().addr();
            if map.is_some_and(|(from, to)| (from..to).contains(&at)) {
                continue;
            }
            found.extend(banned(line).map(|word| format!("{}:{number}: {word}", page.name)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn banned(line: &str) -> impl Iterator<Item = &'static str> {
    // A name in code is one word.
    let words = line.to_lowercase().replace(|letter: char| !(letter.is_alphanumeric() || letter == '_'), " ");
    let words = format!(" {} ", words.split_whitespace().collect::<Vec<_>>().join(" "));
    BANNED.iter().copied().filter(move |word| words.contains(&format!(" {word} ")))
}

/// What is in code is named by it; what is written beside it, and what is quoted for users, are sentences.
#[test]
fn sources_use_plain_words() {
    let mut found = Vec::new();
    let mut open = ["src", "tests", "benches", "examples"].map(|folder| root().join(folder)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if !is_source || path.ends_with("tests/it/docs/words.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let comment = line.find("//").map(|at| &line[at..]);
            let quoted = line.find('"').map_or("", |at| &line[at..]);
            let words: Vec<&str> = match comment {
                Some(comment) => banned(comment).collect(),
                // A file that a test writes may have any name.
                None => banned(quoted).filter(|word| *word != "told").collect(),
            };
            found.extend(words.into_iter().map(|word| format!("{}:{number}: {word}", path.display())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
