use std::path::Component;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::prelude::*;

use super::*;

fn remote(path: &str) -> String {
    RelPath::from_remote(&path.split('/').collect::<Vec<_>>()).unwrap().as_str().to_owned()
}

#[test]
fn plain_names_keep_every_byte() {
    for name in [
        "x_000000250.safetensors",
        "samples/1724085406830__000000500_0.jpg",
        "my lora (v2) [final] {a} #1 & 50% off!.safetensors",
        "日本語/🐈.png",
        "cafe\u{301}.png",
        "a~b~1.png",
        "samples/job.json",
        "❤\u{fe0f}.png",
        "_.-~x",
    ] {
        assert_eq!(RelPath::parse(name).map(|path| path.to_string()), Ok(name.to_owned()));
        assert_eq!(remote(&name.replace('%', "%25")), name);
    }
}

#[test]
fn strict_about_untrusted_text() {
    let deep = ["a"; RelPath::MAX_PARTS + 1].join("/");
    let long = [&*"a".repeat(199); 6].join("/");
    for bad in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "C:",
        "C:a",
        "a:b",
        "a\\b",
        "\\\\?\\a",
        "a\0",
        "a\u{1b}",
        "a\nb",
        "a\u{85}",
        "CON",
        "con.png",
        "a/NUL.tar.gz",
        "COM¹.x",
        "CONIN$",
        "a.",
        "a ",
        " a",
        "a/ b",
        "a./b",
        "a\u{3000}",
        ".git/config",
        "-rf",
        "~",
        "a/~b",
        "a/-b",
        "a/.b",
        "a\u{202e}b",
        "a\u{200b}",
        "a\u{feff}b",
        "a\u{ad}b",
        "a<b",
        "a>b",
        "a\"b",
        "a|b",
        "a?b",
        "a*b",
        "job.json",
        "JOB.json",
        "SHA256SUMS",
        "sha256sums/a",
        "Index.html",
        "ｊob.json",
        ".rcsync",
        "a.rcsync-part",
        "b/a.RCSYNC-Part",
        &"a".repeat(201),
        &deep,
        &long,
    ] {
        assert!(RelPath::parse(bad).is_err(), "{bad:?}");
    }
    assert!(serde_json::from_str::<RelPath>("\"../a\"").is_err());
    let path: RelPath = serde_json::from_str("\"a/b\"").unwrap();
    assert_eq!(serde_json::to_string(&path).unwrap(), "\"a/b\"");
}

#[test]
fn pieces_of_a_path() {
    let path = RelPath::parse("a.b/c.tar.gz").unwrap();
    assert_eq!(path.file_name(), "c.tar.gz");
    assert_eq!(path.stem_and_extension(), ("c.tar", ".gz"));
    assert_eq!(path.parent(), RelPath::parse("a.b").ok());
    assert_eq!(path.parent().unwrap().parent(), None);
    assert_eq!(path.with_suffix("0123abcd").as_str(), "a.b/c.tar~0123abcd.gz");
    assert_eq!(path.with_suffix_at(0, "0123abcd").as_str(), "a~0123abcd.b/c.tar.gz");
    assert_eq!(path.to_path(Path::new("/root")), Path::new("/root").join("a.b").join("c.tar.gz"));
    assert_eq!(RelPath::from_remote(&[]), None);
    assert_eq!(RelPath::from_remote(&["", ""]), None);
}

#[test]
fn suffixes_stay_distinct_where_there_is_no_room() {
    let path = |end: &str| RelPath::parse(&format!("{}{end}", "a".repeat(199))).unwrap();
    assert_ne!(path("x").with_suffix("0123abcd"), path("y").with_suffix("0123abcd"));
    let full = RelPath::parse(&[&*"a".repeat(199); 5].join("/")).unwrap();
    let suffixed = full.with_suffix("0123abcd");
    assert_eq!(RelPath::parse(suffixed.as_str()), Ok(suffixed.clone()));
    assert!(RelPath::parse(full.with_suffix("../\0").as_str()).is_ok());
}

/// An old version must lie beside the new one, so a remote path leaves room for suffixes as a whole too.
#[test]
fn suffixes_leave_the_folder_alone() {
    let part = "a".repeat(170);
    for length in 1..=170 {
        let path = RelPath::from_remote(&[&part, &part, &part, &part, &part, &part[..length]]).unwrap();
        let suffixed = path.with_suffix("0123abcd01234567").with_suffix("0123abcd");
        assert_eq!(suffixed.parent(), path.parent(), "{length}");
    }
}

/// Remote parts: arbitrary bytes, and those near the edges of the rules.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(vec![
        "",
        ".",
        "..",
        " ",
        "_",
        "~",
        "-",
        "a",
        "A",
        "%",
        "%41",
        "/",
        "\\",
        ":",
        "CON",
        "nul.tar.gz",
        "COM¹",
        "job.json",
        "JOB.JSON",
        "SHA256SUMS",
        "index.html",
        ".rcsync",
        "x.rcsync-part",
        "_~e3b0c442",
        "a.",
        "a ",
        "a~0123abcd",
        "a~0123abcd.png",
        "é",
        "e\u{301}",
        "\u{202e}",
        "samples",
        "a.abcdefghijklmnopq",
    ]);
    prop_oneof![
        3 => odd.prop_map(|text| text.as_bytes().to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => "[a-b.~é ]{170,230}".prop_map(String::into_bytes),
        1 => "\\PC{0,12}".prop_map(String::into_bytes),
    ]
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![4 => prop::collection::vec(part(), 1..4), 1 => prop::collection::vec(part(), 4..40)]
}

fn mapped(parts: &[Vec<u8>]) -> Option<RelPath> {
    let segments: Vec<String> =
        parts.iter().map(|part| percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
    RelPath::from_remote(&segments.iter().map(String::as_str).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_remote_name_becomes_a_valid_path(parts in parts(), suffix in "[0-9a-f]{8}") {
        let Some(path) = mapped(&parts) else {
            prop_assert!(parts.iter().all(Vec::is_empty));
            return Ok(());
        };
        prop_assert_eq!(RelPath::parse(path.as_str()), Ok(path.clone()));
        // A collision's suffix and an old version's always fit without a further mark.
        let twice = path.with_suffix(&suffix).with_suffix(&suffix);
        prop_assert!(twice.stem_and_extension().0.ends_with(&format!("~{suffix}~{suffix}")), "{}", twice);
        for path in [twice, path.with_suffix_at(0, &suffix)] {
            prop_assert_eq!(RelPath::parse(path.as_str()), Ok(path.clone()));
        }
    }

    #[test]
    fn no_two_remote_names_become_one(left in parts(), right in parts()) {
        if left != right && mapped(&left).is_some() {
            prop_assert_ne!(mapped(&left), mapped(&right));
        }
    }

    /// Neither does the output of the mapping, sent through it as if it were remote, meet another name.
    #[test]
    fn a_marked_name_is_not_left_as_it_is(name in part()) {
        let Some(path) = mapped(std::slice::from_ref(&name)) else { return Ok(()) };
        let again = mapped(&[path.as_str().as_bytes().to_vec()]);
        prop_assert_eq!(again == Some(path.clone()), path.as_str().as_bytes() == name);
    }

    #[test]
    fn paths_stay_below_their_root(parts in parts()) {
        let Some(path) = mapped(&parts) else { return Ok(()) };
        let root = Path::new("/some/root");
        let full = path.to_path(root);
        let below: Vec<_> = full.strip_prefix(root).unwrap().components().collect();
        prop_assert_eq!(below.len(), path.count_parts());
        prop_assert!(below.iter().all(|part| matches!(part, Component::Normal(_))));
    }

    #[test]
    fn parsing_never_mends(text in "[a-c./ ~\\\\:-]{0,10}|\\PC{0,10}") {
        if let Ok(path) = RelPath::parse(&text) {
            prop_assert_eq!(path.as_str(), &text);
        }
    }
}
