//! YAML as PyYAML's safe loader reads it, which is what ComfyUI has: YAML 1.1 words and numbers, tabs that are refused,
//! the last of two equal keys in the place of the first.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// More nodes than any configuration of paths has, aliases counted as what they refer to.
const MAX_NODES: usize = 20_000;

/// Deeper than any configuration of paths.
const MAX_DEPTH: usize = 32;

/// A value, as far as a configuration of paths tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Truth(bool),
    /// A number or a date; only whether it is zero is of interest.
    Number {
        is_zero: bool,
    },
    Text(Text),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// Text, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// The line of its first character, counted from 1.
    pub(super) line: usize,
    /// Whether each line of the text is a line of the file.
    pub(super) is_literal: bool,
}

impl Value {
    /// Python's truth.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Truth(is_true) => *is_true,
            Self::Number { is_zero } => !is_zero,
            Self::Text(text) => !text.text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(pairs) => !pairs.is_empty(),
        }
    }

    pub(super) fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of nodes in it.
    fn size(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Self::Map(pairs) => 1 + pairs.iter().map(|(key, value)| key.size() + value.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// Whether two keys are one. Texts are, wherever they are written.
    fn is_same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.text == other.text,
            _ => self == other,
        }
    }
}

/// Reads the one document of a file; a file without any is null.
///
/// # Errors
/// What PyYAML refuses, in words, with the line where it is known.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events: Vec<(Event<'_>, Span)> = Parser::new_from_str(text)
        .take(4 * MAX_NODES)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    refuse_tabs(text, &events)?;
    let mut reading =
        Reading { events: events.into_iter().peekable(), anchors: HashMap::new(), nodes: 0, depth: 0 };
    reading.document()
}

struct Reading<'a> {
    events: std::iter::Peekable<std::vec::IntoIter<(Event<'a>, Span)>>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
    depth: usize,
}

impl Reading<'_> {
    fn document(&mut self) -> Result<Value, String> {
        let mut document = None;
        while let Some((event, span)) = self.events.next() {
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(document.unwrap_or(Value::Null)),
                Event::DocumentStart(..) if document.is_none() => document = Some(self.node()?),
                _ => return Err(at(&span, "a second document begins")),
            }
        }
        Err("it does not end".to_owned())
    }

    fn node(&mut self) -> Result<Value, String> {
        let Some((event, span)) = self.events.next() else { return Err("it does not end".to_owned()) };
        self.nodes += 1;
        self.depth += 1;
        if self.nodes > MAX_NODES || self.depth > MAX_DEPTH {
            return Err("it is larger, deeper or more tangled than any configuration of paths".to_owned());
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), &span)?, anchor),
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), &["seq"], &span)?;
                (self.list()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), &["map"], &span)?;
                (self.map(&span)?, anchor)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| at(&span, "an alias refers to what contains it"))?;
                self.nodes += value.size();
                (value, 0)
            }
            _ => return Err(at(&span, "a value is missing")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            if matches!(self.events.peek(), Some((Event::SequenceEnd, _))) {
                self.events.next();
                return Ok(Value::List(items));
            }
            items.push(self.node()?);
        }
    }

    fn map(&mut self, span: &Span) -> Result<Value, String> {
        let (mut own, mut merged) = (Vec::new(), Vec::new());
        loop {
            if matches!(self.events.peek(), Some((Event::MappingEnd, _))) {
                self.events.next();
                break;
            }
            let is_plain =
                matches!(self.events.peek(), Some((Event::Scalar(_, ScalarStyle::Plain, _, None), _)));
            let (key, value) = (self.node()?, self.node()?);
            match (&key, value) {
                (Value::Text(text), value) if is_plain && text.text == "<<" => match value {
                    Value::Map(pairs) => merged.extend(pairs),
                    // Of several the first has the last word.
                    Value::List(maps) => {
                        for map in maps.into_iter().rev() {
                            let Value::Map(pairs) = map else {
                                return Err(at(span, "`<<` merges what is no mapping"));
                            };
                            merged.extend(pairs);
                        }
                    }
                    _ => return Err(at(span, "`<<` merges what is no mapping")),
                },
                (Value::Map(_) | Value::List(_), _) => {
                    return Err(at(span, "a key is a list or a mapping"));
                }
                (_, value) => own.push((key, value)),
            }
        }
        let mut pairs: Vec<(Value, Value)> = Vec::new();
        for (key, value) in merged.into_iter().chain(own) {
            match pairs.iter_mut().find(|(other, _)| other.is_same_key(&key)) {
                Some((_, old)) => *old = value,
                None => pairs.push((key, value)),
            }
        }
        Ok(Value::Map(pairs))
    }
}

fn at(span: &Span, what: &str) -> String {
    format!("{what} in line {}", span.start.line())
}

fn refuse_tag(tag: Option<&Tag>, known: &[&str], span: &Span) -> Result<(), String> {
    match tag {
        Some(tag) if !tag.core_suffix().is_some_and(|suffix| known.contains(&suffix)) => {
            Err(at(span, "there is a tag that is not understood"))
        }
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, String> {
    let is_literal = style == ScalarStyle::Literal;
    let as_text = || Value::Text(Text { text: text.to_owned(), line: span.start.line(), is_literal });
    match tag {
        None if style == ScalarStyle::Plain => plain(text).map_or_else(|| Ok(as_text()), Ok),
        None => Ok(as_text()),
        Some(tag) if tag.handle() == "!" && tag.suffix().is_empty() => Ok(as_text()),
        Some(tag) => match tag.core_suffix() {
            Some("str") => Ok(as_text()),
            Some("null") => Ok(Value::Null),
            Some("bool") => truth(text).ok_or_else(|| at(span, "there is a truth that is none")),
            Some("int" | "float") => Ok(Value::Number { is_zero: is_zero(text) }),
            _ => Err(at(span, "there is a tag that is not understood")),
        },
    }
}

/// What a plain scalar is that is no text.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::Null),
        _ => truth(text).or_else(|| is_number(text).then(|| Value::Number { is_zero: is_zero(text) })),
    }
}

fn truth(text: &str) -> Option<Value> {
    let words = |word: &str| {
        let mut first = word.to_owned();
        first[..1].make_ascii_uppercase();
        [word.to_owned(), first, word.to_ascii_uppercase()]
    };
    let is = |word: &str| words(word).iter().any(|form| form == text);
    match () {
        () if ["yes", "true", "on"].into_iter().any(is) => Some(Value::Truth(true)),
        () if ["no", "false", "off"].into_iter().any(is) => Some(Value::Truth(false)),
        () => None,
    }
}

/// Whether PyYAML takes it for an integer, a fraction or a date.
fn is_number(text: &str) -> bool {
    let all = |text: &str, allowed: &str| !text.is_empty() && text.chars().all(|c| allowed.contains(c));
    if is_date(text) {
        return true;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = "0123456789_";
    let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    if let Some(rest) = unsigned.strip_prefix("0b") {
        return all(rest, "01_");
    }
    if let Some(rest) = unsigned.strip_prefix("0x") {
        return all(rest, "0123456789abcdefABCDEF_");
    }
    if [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return true;
    }
    if begins(unsigned) && all(unsigned, digits) {
        // `08` is text: with a leading zero it would be octal.
        return !unsigned.starts_with('0') || unsigned.chars().skip(1).all(|c| "01234567_".contains(c));
    }
    if begins(unsigned) && unsigned.contains(':') {
        let mut parts = unsigned.split(':');
        let first = parts.next().unwrap_or_default();
        let of_sixty = |part: &str| {
            let part = part.split('.').next().unwrap_or_default();
            part.len() <= 2 && all(part, "0123456789") && part.parse().is_ok_and(|part: u32| part < 60)
        };
        return all(first, digits) && parts.all(of_sixty);
    }
    is_fraction(unsigned)
}

fn is_fraction(text: &str) -> bool {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        None => (text, None),
        Some((number, exponent)) => (number, Some(exponent)),
    };
    let Some((whole, part)) = number.split_once('.') else { return false };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '_');
    let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let signed = |exponent: &str| {
        exponent
            .strip_prefix(['-', '+'])
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
    };
    digits(whole)
        && digits(part)
        && (begins(whole) || whole.is_empty() && begins(part))
        && exponent.is_none_or(signed)
}

fn is_date(text: &str) -> bool {
    let (date, rest) = match text.find(['T', 't', ' ', '\t']) {
        None => (text, ""),
        Some(at) => text.split_at(at),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_time = |rest: &str| rest.matches(':').count() >= 2;
    parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
        && match lengths[..] {
            [4, 2, 2] if rest.is_empty() => true,
            [4, 1..=2, 1..=2] => is_time(rest),
            _ => false,
        }
}

fn is_zero(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let unsigned = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0b")).unwrap_or(unsigned);
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    !mantissa.is_empty() && mantissa.chars().all(|c| "0_.:".contains(c))
}

/// PyYAML takes no tab where a token may begin: only inside of quotes, of blocks and of comments.
fn refuse_tabs(text: &str, events: &[(Event<'_>, Span)]) -> Result<(), String> {
    let allowed: Vec<_> = events
        .iter()
        .filter(|(event, _)| matches!(event, Event::Scalar(_, style, ..) if *style != ScalarStyle::Plain))
        .filter_map(|(_, span)| span.byte_range())
        .collect();
    for (at, _) in text.match_indices('\t') {
        if allowed.iter().any(|range| range.contains(&at)) {
            continue;
        }
        let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        let is_comment = line.trim_start_matches(' ').starts_with('#') || line.contains(" #");
        if !is_comment {
            let number = text[..at].matches('\n').count() + 1;
            return Err(format!("there is a tab where none may be in line {number}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let Value::Map(pairs) = read(&format!("x: {text}\n")).unwrap() else { panic!("{text}") };
        pairs.into_iter().next().unwrap().1
    }

    #[test]
    fn words_and_numbers_as_python_reads_them() {
        for text in
            ["yes", "Yes", "ON", "true", "1", "0x1", "1.5", "2024-01-01", "\"false\"", "'no'", "y", "[0]"]
        {
            assert!(value(text).is_true(), "{text}");
        }
        for text in ["no", "OFF", "False", "0", "0x0", "0.0", "-0", "~", "", "null", "\"\"", "[]", "{}"] {
            assert!(!value(text).is_true(), "{text}");
        }
        for text in ["2024", "1_000", "0755", "1:30", "1.", ".5", "1.0e+3", "2024-1-1 1:02:03", ".inf"] {
            assert!(matches!(value(text), Value::Number { .. }), "{text}");
        }
        for text in ["y", "tRue", "08", "1e3", "1.2.3", "1:90", "models/loras", "2024-1-1", "a:1"] {
            assert!(value(text).as_text().is_some(), "{text}");
        }
        assert!(matches!(value("!!str 1"), Value::Text(_)));
        assert_eq!(value("!!int 0"), Value::Number { is_zero: true });
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for (text, words) in [
            ("a:\tb\n", "a tab where none may be in line 1"),
            ("a: b\t\n", "a tab"),
            ("a: !!python/object/apply:os.system [\"true\"]\n", "a tag"),
            ("a: !own x\n", "a tag"),
            ("[a]: b\n", "a key"),
            ("a: 1\n---\nb: 2\n", "a second document"),
            ("a: [1\n", ""),
            ("a: &a [*a]\n", "an alias"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        for text in ["# a\tcomment\na: b\n", "a: \"\t\"\n", "a: |\n  b\tc\n", "a: b #\tc\n"] {
            assert!(read(text).is_ok(), "{text}");
        }
        let bomb = format!(
            "a: &a [{}]\nb: &b [{}]\nc: [{}]\n",
            "1,".repeat(300),
            "*a,".repeat(60),
            "*b,".repeat(60)
        );
        assert!(read(&bomb).is_err());
        assert!(read(&format!("a: {}{}\n", "[".repeat(500), "]".repeat(500))).is_err());
    }

    #[test]
    fn of_equal_keys_the_last_one_counts_and_merges_come_first() {
        let text = "one: &one {a: x, b: x}\ntwo:\n  c: y\n  <<: *one\n  a: y\n  c: z\n";
        let Value::Map(pairs) = read(text).unwrap() else { panic!() };
        let Value::Map(two) = &pairs[1].1 else { panic!() };
        let texts: Vec<_> = two
            .iter()
            .map(|(key, value)| {
                (key.as_text().unwrap().text.as_str(), value.as_text().unwrap().text.as_str())
            })
            .collect();
        assert_eq!(texts, [("a", "y"), ("b", "x"), ("c", "z")]);
    }

    #[test]
    fn each_text_knows_its_line() {
        let Value::Map(pairs) = read("a: x\nb:\n  y\nc: |\n  one\n  two\nd: 'z'\n").unwrap() else {
            panic!()
        };
        let lines: Vec<_> = pairs.iter().map(|(_, value)| value.as_text().unwrap().line).collect();
        assert_eq!(lines, [1, 3, 5, 7]);
    }
}
