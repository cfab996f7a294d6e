//! Plain words: what a page is about is the subject of its sentences.

use super::page::Page;

/// Words that hide the subject. `goes on` and others are looked for as they are written.
const BANNED: &[&str] =
    &["nobody", "somebody", "whoever", "told", "stands", "mend", "mends", "mended", "mending", "goes on"];

/// Pages that are rewritten elsewhere.
const LATER: &[&str] = &["docs/reliability.md", "docs/performance.md"];

#[test]
fn pages_use_plain_words() {
    let more = ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md"].map(Page::read);
    let mut found = Vec::new();
    for page in Page::all().iter().chain(&more).filter(|page| !LATER.contains(&page.name.as_str())) {
        // The map is made of the first lines of the modules.
        let map = page.text.find("<!-- map").zip(page.text.find("<!-- end of the map"));
        for (number, line) in (1..).zip(page.text.lines()) {
            let at = line.as_ptr().addr() - page.text.as_ptr().addr();
            if map.is_some_and(|(from, to)| (from..to).contains(&at)) {
                continue;
            }
            let words = line.to_lowercase().replace(|letter: char| !letter.is_alphanumeric(), " ");
            let words = format!(" {} ", words.split_whitespace().collect::<Vec<_>>().join(" "));
            let banned = BANNED.iter().filter(|word| words.contains(&format!(" {word} ")));
            found.extend(banned.map(|word| format!("{}:{number}: {word}", page.name)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
