//! The map in `ARCHITECTURE.md` is made from the first lines of the modules.

use std::fmt::Write as _;
use std::path::Path;

use super::source::sources;

const BEGIN: &str = "<!-- map: made by `RCSYNC_BLESS=1 cargo test --test it map` -->\n";
const END: &str = "<!-- end of the map -->";

fn map() -> String {
    let mut map = String::from("```text\n");
    for source in sources() {
        if source.module == "lib" || source.module == "main" {
            continue;
        }
        let depth = source.module.matches("::").count();
        let name = source.module.rsplit("::").next().unwrap_or_default();
        let name = format!("{}{name}", "  ".repeat(depth));
        let summary = source.summary.trim_end_matches('.');
        assert!(!summary.is_empty(), "{} has no first line", source.module);
        writeln!(map, "{name:30} {summary}").unwrap();
    }
    map.push_str("```\n");
    map
}

#[test]
fn the_map_has_the_first_lines_of_the_modules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a place for the map");
    let (written, after) = rest.split_once(END).expect("an end of the map");
    let map = map();
    if std::env::var_os("RCSYNC_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{map}{END}{after}")).unwrap();
        return;
    }
    let differing = map.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(
        map == written,
        "the map is old; `RCSYNC_BLESS=1 cargo test --test it map` makes it: {differing:?}"
    );
}
