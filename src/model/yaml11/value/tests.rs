use proptest::prelude::*;

use super::*;

fn value(text: &str) -> Value {
    let Value::Map(pairs) = read(&format!("x: {text}\n")).unwrap() else { panic!("{text}") };
    pairs.into_iter().next().unwrap().1
}

#[test]
fn words_and_numbers_as_python_reads_them() {
    for text in ["yes", "Yes", "ON", "true", "1", "0x1", "1.5", "2024-01-01", "\"false\"", "'no'", "y", "[0]"]
    {
        assert!(value(text).is_true(), "{text}");
    }
    for text in ["no", "OFF", "False", "0", "0x0", "0.0", "-0", "~", "", "null", "\"\"", "[]", "{}"] {
        assert!(!value(text).is_true(), "{text}");
    }
    for text in ["2024", "1_000", "0755", "1:30", "1.", ".5", "1.0e+3", "2024-1-1 1:02:03", ".inf"] {
        assert!(matches!(value(text), Value::Number(_)), "{text}");
    }
    for text in ["y", "tRue", "08", "1e3", "1.2.3", "1:90", "models/loras", "2024-1-1", "a:1"] {
        assert!(value(text).as_text().is_some(), "{text}");
    }
    assert!(matches!(value("!!str 1"), Value::Text(_)));
    assert!(!value("!!int 0").is_true());
    assert!(value("0x0e1").is_true(), "`e` is a digit there");
}

#[test]
fn what_python_refuses_is_refused() {
    let tag = |tag: &str| RefusalKind::Tag(tag.to_owned());
    let scalar = |text: &str, meaning| RefusalKind::Scalar(text.to_owned(), meaning);
    for (text, kind) in [
        ("a:\tb\n", RefusalKind::Tab),
        ("a: b\t\n", RefusalKind::Tab),
        ("a: !!python/object/apply:os.system [\"true\"]\n", tag("!!python/object/apply:os.system")),
        ("a: !own x\n", tag("!own")),
        ("a: !!bool x\n", tag("!!bool")),
        ("[a]: b\n", RefusalKind::Key),
        ("a: [&x [1]]\n*x : 2\n", RefusalKind::Key),
        ("a: =\n", scalar("=", Meaning::Equals)),
        ("a: <<\n", scalar("<<", Meaning::Merge)),
        ("a: 0x_\n", scalar("0x_", Meaning::NoNumber)),
        ("a: &x 1\nb: {<<: *x}\n", RefusalKind::Merge),
        ("a: {<<: [1]}\n", RefusalKind::Merge),
        ("a: [&x 1, &x 2]\n", RefusalKind::Anchor("x".to_owned())),
        ("a: b\u{2028}c\n", RefusalKind::LineBreak('\u{2028}')),
    ] {
        let Err(Unreadable::Refused(refusal)) = read(text) else { panic!("{text}") };
        assert_eq!(refusal.kind, kind, "{text}");
    }
    assert_eq!(read("a: 1\n---\nb: 2\n"), Err(Unreadable::SecondDocument { line: 2 }));
    assert_eq!(read("a: &a [*a]\n"), Err(Unreadable::Cycle { line: 1 }));
    assert!(matches!(read("a: [1\n"), Err(Unreadable::Syntax(_))));
    for text in
        ["# a\tcomment\na: b\n", "a: \"\t\"\n", "a: |\n  b\tc\n", "a: b #\tc\n", "a: ${HOME}\n", "=: 1\n"]
    {
        assert!(read(text).is_ok(), "{text}");
    }
    let bomb =
        format!("a: &a [{}]\nb: &b [{}]\nc: [{}]\n", "1,".repeat(300), "*a,".repeat(60), "*b,".repeat(60));
    assert_eq!(read(&bomb), Err(Unreadable::TooLarge));
    let deep = format!("a: {}{}\n", "[".repeat(500), "]".repeat(500));
    assert!(read(&deep).is_err(), "the parser has a bound of its own");
    let deep = format!("a: {}{}\n", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(read(&deep), Err(Unreadable::TooLarge));
}

#[test]
fn of_equal_keys_the_last_one_counts_and_merges_come_first() {
    let text = "one: &one {a: x, b: x}\ntwo:\n  c: y\n  <<: *one\n  a: y\n  c: z\n";
    let Value::Map(pairs) = read(text).unwrap() else { panic!() };
    let Value::Map(two) = &pairs[1].1 else { panic!() };
    let texts: Vec<_> = two
        .iter()
        .map(|(key, value)| (key.as_text().unwrap().text.as_str(), value.as_text().unwrap().text.as_str()))
        .collect();
    assert_eq!(texts, [("a", "y"), ("b", "x"), ("c", "z")]);
}

#[test]
fn each_text_has_its_line() {
    let Value::Map(pairs) = read("a: x\nb:\n  y\nc: |\n  one\n  two\nd: 'z'\n").unwrap() else { panic!() };
    let lines: Vec<_> = pairs.iter().map(|(_, value)| value.as_text().unwrap().line).collect();
    assert_eq!(lines, [1, 3, 5, 7]);
}

#[test]
fn numbers_are_keys_of_their_own() {
    let Value::Map(pairs) = read("1: a\n2: b\n1: c\n").unwrap() else { panic!() };
    assert_eq!(pairs.len(), 2);
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "(\\PC|[ \t\n:#&*!|>'\"%@`,{}$\\[\\]<-]){0,60}") {
        let _ = read(&text).map(|value| value.is_true());
    }
}
