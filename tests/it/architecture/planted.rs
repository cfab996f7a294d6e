//! A wall that nothing can breach is no wall: a breach of each kind is planted, and must be found.

use super::source::Source;
use super::{
    WALLS, WITHOUT_A_COMMAND_LINE, breaches, circles, imports_between_rooms, words_of_the_command_line,
};

fn found(module: &str, text: &str) -> Vec<String> {
    breaches(WALLS, &[Source::parse(module, text)])
}

#[test]
fn a_breach_of_each_wall_is_found() {
    for wall in WALLS {
        for room in wall.rooms {
            for path in wall.forbidden {
                let module = format!("{room}::somewhere");
                if let Some(method) = path.strip_prefix('.') {
                    assert!(!found(&module, &format!("fn f() {{ x.{method}(); }}")).is_empty(), "{method}");
                    continue;
                }
                let (parent, name) = path.rsplit_once("::").unwrap_or(("", path));
                let grouped = match parent {
                    "" => format!("use {{{name}}};"),
                    _ => format!("use {parent}::{{Innocent, {name}}};"),
                };
                for text in [
                    format!("use {path};"),
                    grouped,
                    format!("use {path} as other;"),
                    format!("fn f() {{ {path}::g(); }}"),
                    format!("fn f() {{ log!(\"{{}}\", {path}::g()); }}"),
                    format!("mod inner {{ use {path}::Thing; }}"),
                ] {
                    assert!(!found(&module, &text).is_empty(), "{module}: {text}");
                }
            }
        }
    }
}

#[test]
fn relative_and_aliased_paths_are_followed() {
    assert!(!found("engine::destination::folder", "use super::super::mirror::run;").is_empty());
    assert!(!found("edge::api", "use std::fs;\nfn f() { fs::rename(a, b); }").is_empty());
    assert!(!found("decide::mirror::plan", "use std::{sync as s};\nfn f() { s::Mutex::new(1); }").is_empty());
}

#[test]
fn unit_tests_may_use_what_they_like() {
    let text = "#[cfg(test)]\nmod tests { use std::fs; }\n#[cfg(test)]\nuse tokio::time;\nfn f() {}";
    assert!(found("decide::mirror::plan", text).is_empty());
    assert!(!found("decide::mirror::plan", "#[cfg(not(test))]\nuse std::fs;").is_empty());
}

#[test]
fn words_of_the_command_line_are_found_wherever_they_are_written() {
    let found = |module: &str, text: &str| words_of_the_command_line(&[Source::parse(module, text)]);
    for room in WITHOUT_A_COMMAND_LINE {
        for text in [
            r#"const HINT: &str = "see `--only`";"#,
            r#"const HINT: &str = "--only";"#,
            r#"fn f() -> String { format!("set {} --only", 1) }"#,
            r#"fn f() -> String { g(&["type `rcsync resume x`"]) }"#,
            r#"enum E { #[error("it passed (`--timeout`)")] A }"#,
            "/// What `--only` means.\nstruct S;",
            "struct S {\n    /// What `rcsync ls` shows.\n    field: u8,\n}",
            "//! What `--only` means.",
        ] {
            assert_eq!(found(&format!("{room}::somewhere"), text).len(), 1, "{room}: {text}");
        }
        for innocent in [
            r#"const PAGE: &str = "Written by rcsync 1, <!-- -->, a--b, -- and --- too";"#,
            r#"#[cfg(test)] mod tests { const HINT: &str = "see `--only`"; }"#,
        ] {
            assert!(found(&format!("{room}::somewhere"), innocent).is_empty(), "{innocent}");
        }
    }
    assert!(found("cli::somewhere", r#"const HINT: &str = "see `--only`";"#).is_empty());
}

#[test]
fn an_import_from_another_room_is_counted_once_a_file() {
    let a = Source::parse(
        "engine::a",
        "pub(crate) mod inner; use super::b::door; pub(super) use door::deep as own;",
    );
    let by_alias = [
        Source::parse("engine::a::private", "use super::door::thing;"),
        Source::parse("engine::a::renamed", "fn f() { crate::engine::a::own::g(); }"),
    ];
    let inner = Source::parse("engine::a::inner", "use crate::engine::b::{one, other};\nuse super::here;");
    let b =
        Source::parse("engine::b::inner", "fn f() { crate::engine::event::Event; super::super::a::g(); }");
    let event = Source::parse("engine::event", "use super::b::T;");
    let sources: Vec<Source> = [a, inner, b, event].into_iter().chain(by_alias).collect();
    let expected = [
        ("engine::a", "b"),
        ("engine::a::inner", "b"),
        ("engine::a::private", "b"),
        ("engine::a::renamed", "b"),
        ("engine::b::inner", "a"),
    ];
    assert!(imports_between_rooms(&sources).into_iter().eq(expected));
}

#[test]
fn a_circle_is_found() {
    let a = Source::parse("engine::a", "use super::b::B;");
    let b = Source::parse("engine::b", "use crate::engine::c::C;");
    let c = Source::parse("engine::c", "fn f() { crate::engine::a::g(); }");
    assert_eq!(circles(&[a, b, c]), [["engine::a", "engine::b", "engine::c"]]);
    // By what a parent has from a module below it.
    let state = Source::parse("edge::state", "use super::reports::head;");
    let reports = Source::parse("edge::reports", "mod list; pub use list::head;");
    let list = Source::parse("edge::reports::list", "use crate::edge::state::State;");
    assert_eq!(circles(&[state, reports, list]), [["edge::reports", "edge::state"]]);
    let parent = Source::parse("engine", "use a::A;");
    let child = Source::parse("engine::a", "use super::E;");
    assert!(circles(&[parent, child]).is_empty());
}
