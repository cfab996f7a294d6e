use proptest::prelude::*;

use super::*;

/// What each word is to PyYAML 6.0.3 with AI Toolkit's pattern for floats; `tests/real/ai_toolkit_config.py` compares.
const WORDS: &[(Meaning, &[&str])] = &[
    (Meaning::Null, &["", "~", "null", "Null", "NULL"]),
    (Meaning::Truth, &["yes", "No", "TRUE", "false", "on", "Off", "OFF"]),
    (
        Meaning::Integer,
        &[
            "0",
            "-0",
            "+7",
            "2024",
            "2024_01",
            "1_",
            "0b101",
            "-0b_1",
            "017",
            "0_7",
            "00",
            "0_",
            "0x1F",
            "+0xdead_beef",
            "12:30",
            "1:0:59",
            "-190:20:30",
            "1_0:5",
        ],
    ),
    (
        Meaning::Float,
        &[
            "1.", "1.5", "-1_0.5_", "1e5", "1E-4", "1.5e+3", "2_0e1", ".5", ".5_", ".5e-3", "12:30.5",
            "1:2:3.", "0:5.", ".inf", "-.INF", "+.Inf", ".nan", ".NaN", "08.5", "09e1",
        ],
    ),
    (
        Meaning::Date,
        &[
            "2024-01-31",
            "2024-99-99",
            "2024-1-3 1:00:00",
            "2024-01-31T12:30:00",
            "2024-01-31t12:30:00.25Z",
            "2024-01-31 \t 12:30:00 -1",
            "2024-01-31 12:30:00+01:30",
            "2024-01-31 12:30:00. Z",
        ],
    ),
    (Meaning::Equals, &["="]),
    (Meaning::Merge, &["<<"]),
    (Meaning::NoNumber, &["0b_", "0x__", "._", ".__e+1"]),
    (
        Meaning::Text,
        &[
            "dog",
            "y",
            "n",
            "Y",
            "nULL",
            "tRue",
            "nil",
            "2024-01",
            "08",
            "09",
            "0o17",
            "0x",
            "0b",
            "0b2",
            "1:60",
            "0:30",
            "1:2:",
            "1e",
            "e5",
            ".e5",
            ".5e3",
            "-.5",
            "-.nan",
            ".infinity",
            "1.5.2",
            "v1.0",
            "1-2",
            "--1",
            "+-1",
            "_1",
            "-",
            "+",
            ".",
            "..",
            "1__a",
            "2024-1-3",
            "2024-01-31T1:0:00",
            "2024-01-31T12:30",
            "2024-01-31 12:30:00 Zz",
            "2024-01-31x",
            "٣",
            "1٣",
            "½",
            "==",
            "<",
            "<<<",
            "größe",
        ],
    ),
];

/// Of these words those that PyYAML 6.0.3 without that pattern takes for text.
const TEXT_TO_PYYAML: &[&str] = &["1e5", "1E-4", "2_0e1", "09e1", "._", ".__e+1"];

#[test]
fn words_mean_what_they_mean_to_each_loader() {
    for (meaning, words) in WORDS {
        for word in *words {
            assert_eq!(Meaning::of_plain(word, Loader::AiToolkit), *meaning, "{word:?}");
            let is_text = TEXT_TO_PYYAML.contains(word);
            let meaning = if is_text { Meaning::Text } else { *meaning };
            assert_eq!(Meaning::of_plain(word, Loader::PyYaml), meaning, "{word:?}");
        }
    }
}

fn refused(text: &str) -> Vec<(u64, RefusalKind)> {
    Reading::of(text).refusals.into_iter().map(|refusal| (refusal.line, refusal.kind)).collect()
}

#[test]
fn what_a_configuration_may_have_is_not_refused() {
    let text = "\
# a comment with a tab:\there, and a $ {sign}
job: extension # and\tone here
config: &base
  \"tab\\tand\ttab\": 'one\ttab'
  cost: $5 and $x and {y} and ${} # }
  block: |
    a\ttab
    \u{2028}$ {
  folded: >-
    te\txt
    more
  quoted: \"line\u{2028}break\"
  str: !!str 2024-01-31
  int: !!int 0x1F
  float: !!float 7
  bool: !!bool YES
  none: !!null x
  list: !!seq [1, .inf, yes]
  map: !!map {a: 1}
  pairs: !!omap [a: 1]
  =: ok
  date: \"2024-01-31\"
  '1': two
more:
  <<: *base
  again: [*base, *base]
  12: twelve
  null: nothing
";
    assert_eq!(refused(text), []);
}

#[test]
fn what_the_reader_ends_at_is_found_with_its_line() {
    let tag = |tag: &str| RefusalKind::Tag(tag.to_owned());
    let scalar = |text: &str, meaning| RefusalKind::Scalar(text.to_owned(), meaning);
    for (line, kind) in [
        ("b: ${HOME}", RefusalKind::Variable("HOME".to_owned())),
        ("# ${x}", RefusalKind::Variable("x".to_owned())),
        ("b: ${x\nc: }", RefusalKind::Variable("x\nc: ".to_owned())),
        ("b: '${a b}'", RefusalKind::Variable("a b".to_owned())),
        ("b:\tc", RefusalKind::Tab),
        ("b: c\t# d", RefusalKind::Tab),
        ("b: c\td", RefusalKind::Tab),
        ("b: [1,\t2]", RefusalKind::Tab),
        ("b: c\u{2028}d", RefusalKind::LineBreak('\u{2028}')),
        ("b: c # d\u{85}", RefusalKind::LineBreak('\u{85}')),
        ("b: 2024-01-31", scalar("2024-01-31", Meaning::Date)),
        ("b: [2024-01-31 12:00:00]", scalar("2024-01-31 12:00:00", Meaning::Date)),
        ("2024-01-31: b", scalar("2024-01-31", Meaning::Date)),
        ("b: 0x_", scalar("0x_", Meaning::NoNumber)),
        ("b: =", scalar("=", Meaning::Equals)),
        ("b: [<<]", scalar("<<", Meaning::Merge)),
        ("b: !dog c", tag("!dog")),
        ("b: !dog [c]", tag("!dog")),
        ("b: !!binary AP8=", tag("!!binary")),
        ("b: !!timestamp 2024-01-31", tag("!!timestamp")),
        ("b: !!set {c, d}", tag("!!set")),
        ("b: !!python/tuple [1]", tag("!!python/tuple")),
        ("b: !!python/name:os.system c", tag("!!python/name:os.system")),
        ("b: !!int c", tag("!!int")),
        ("b: !!bool 1", tag("!!bool")),
        ("b: !!float c", tag("!!float")),
        ("b: !!str [c]", tag("!!str")),
        ("b: !!map [c]", tag("!!map")),
        ("b: !!seq {c: d}", tag("!!seq")),
        ("? [b]", RefusalKind::Key),
        ("? {b: c}", RefusalKind::Key),
        ("b: {<<: 3}", RefusalKind::Merge),
        ("b: [&x 1, &x 2]", RefusalKind::Anchor("x".to_owned())),
        ("b: &größe 1", RefusalKind::AnchorName("größe".to_owned())),
    ] {
        let text = format!("a: 1\n{line}\nz: 1\n");
        assert_eq!(refused(&text), [(2, kind)], "{line:?}");
    }
}

#[test]
fn many_open_braces_take_no_longer_than_they_are() {
    let began = std::time::Instant::now();
    let text = format!("a: \"{}\"\n", "${".repeat(1 << 18));
    assert_eq!(refused(&text), []);
    assert_eq!(refused(&text.replace("\"\n", "}\"\n")).len(), 1);
    assert!(began.elapsed().as_secs() < 20);
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "(\\PC|[ \t\n:#&*!|>'\"%@`,{}$\\[\\]-]){0,60}") {
        prop_assert!(Reading::of(&text).refusals.len() <= 3 * text.len() + 1);
        let _ = Meaning::of_plain(&text, Loader::AiToolkit);
    }

    #[test]
    fn no_number_is_too_odd(text in "[-+.:_0-9eExXbTZnfiNa ]{0,24}") {
        let _ = Meaning::of_plain(&text, Loader::AiToolkit);
    }
}
