//! What AI Toolkit's reader (PyYAML, which reads YAML 1.1) makes of a text that YAML 1.2 takes: numbers, truths and dates
//! where people mean words, and what it refuses.
//!
//! It reads a configuration, turns it into JSON and that into a configuration again. So everything ends it that has no
//! place in JSON: dates, bytes, sets, tags of other programs.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};

/// What a scalar means to YAML 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meaning {
    /// Text.
    #[default]
    Text,
    /// Nothing: `~`, `null`, or no value.
    Null,
    /// `yes`, `off`, `True` and others.
    Truth,
    /// `2024`, `1_000`, `0x1F`, `017`, `12:30` and others.
    Integer,
    /// `1.5`, `1e5`, `.inf`, `12:30.5` and others.
    Float,
    /// A date or a time stamp, which JSON has not.
    Date,
    /// A bare `=`, which the reader can make nothing of.
    Equals,
    /// A bare `<<`, which the reader takes for a key.
    Merge,
    /// It looks like a number and is none, as `0x_` is.
    NoNumber,
}

impl Meaning {
    /// Says what an unquoted scalar means.
    #[must_use]
    pub fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false" | "False"
            | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => Self::Truth,
            "=" => Self::Equals,
            "<<" => Self::Merge,
            _ if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
                Self::Text
            }
            _ => integer(text).or_else(|| float(text)).or_else(|| date(text)).unwrap_or_default(),
        }
    }

    /// Returns what it is called, where it is not text.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Null => "nothing",
            Self::Truth => "a truth (true or false)",
            Self::Integer | Self::Float => "a number",
            Self::Date => "a date",
            Self::Equals | Self::Merge => "a sign of YAML's own",
            Self::NoNumber => "a number that is none",
        }
    }
}

/// Takes the bytes that `is_of` a run off the front, and says whether there was one.
fn run(text: &mut &[u8], is_of: impl Fn(u8) -> bool) -> bool {
    let length = text.iter().take_while(|byte| is_of(**byte)).count();
    *text = &text[length..];
    length > 0
}

fn without_sign(text: &str) -> &[u8] {
    text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes()
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

const fn is_digit_or_blank(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

/// `0b1`, `017`, `0x1F`, `1_000` and sexagesimal `12:30`.
fn integer(text: &str) -> Option<Meaning> {
    let digits = without_sign(text);
    let has_a_digit = |digits: &[u8]| digits.iter().any(|byte| *byte != b'_');
    let kind = |is_number: bool| Some(if is_number { Meaning::Integer } else { Meaning::NoNumber });
    let is_all = |digits: &[u8], is_of: &dyn Fn(u8) -> bool| {
        !digits.is_empty() && digits.iter().all(|byte| is_of(*byte))
    };
    match digits {
        b"0" => kind(true),
        [b'0', b'b', rest @ ..] => {
            is_all(rest, &|it| matches!(it, b'0' | b'1' | b'_')).then(|| kind(has_a_digit(rest)))?
        }
        [b'0', b'x', rest @ ..] => {
            is_all(rest, &|it| it.is_ascii_hexdigit() || it == b'_').then(|| kind(has_a_digit(rest)))?
        }
        [b'0', rest @ ..] => is_all(rest, &|it| matches!(it, b'0'..=b'7' | b'_')).then(|| kind(true))?,
        [b'1'..=b'9', ..] => {
            let mut rest = digits;
            run(&mut rest, is_digit_or_blank);
            (rest.is_empty() || sixties(rest) == Some(&[][..])).then(|| kind(true))?
        }
        _ => None,
    }
}

/// Takes `:30:05` off the front: at least one, each of up to two digits below 60.
fn sixties(mut text: &[u8]) -> Option<&[u8]> {
    let mut any = false;
    while let [b':', rest @ ..] = text {
        text = match rest {
            [b'0'..=b'5', b'0'..=b'9', rest @ ..] => rest,
            [b'0'..=b'9', rest @ ..] => rest,
            _ => return None,
        };
        any = true;
    }
    any.then_some(text)
}

/// Whether this is an exponent: `e5`, `E-5`; with a sign where `signed`.
fn is_exponent(text: &[u8], signed: bool) -> bool {
    let [b'e' | b'E', rest @ ..] = text else { return false };
    let digits = match rest {
        [b'+' | b'-', digits @ ..] => digits,
        _ if signed => return false,
        digits => digits,
    };
    !digits.is_empty() && digits.iter().all(|byte| is_digit(*byte))
}

/// As AI Toolkit's own pattern has it, which takes `1e5` too.
fn float(text: &str) -> Option<Meaning> {
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Meaning::Float);
    }
    if let [b'.', rest @ ..] = text.as_bytes() {
        let mut rest = rest;
        let digits = rest;
        if run(&mut rest, is_digit_or_blank) && (rest.is_empty() || is_exponent(rest, true)) {
            let digits = &digits[..digits.len() - rest.len()];
            let is_number = digits.iter().any(|byte| is_digit(*byte));
            return Some(if is_number { Meaning::Float } else { Meaning::NoNumber });
        }
    }
    let mut rest = without_sign(text);
    if matches!(rest, b".inf" | b".Inf" | b".INF") {
        return Some(Meaning::Float);
    }
    if !rest.first().is_some_and(|byte| is_digit(*byte)) {
        return None;
    }
    run(&mut rest, is_digit_or_blank);
    let is_float = match rest {
        [b'.', fraction @ ..] => {
            let mut fraction = fraction;
            run(&mut fraction, is_digit_or_blank);
            fraction.is_empty() || is_exponent(fraction, false)
        }
        [b':', ..] => match sixties(rest) {
            Some([b'.', fraction @ ..]) => fraction.iter().all(|byte| is_digit_or_blank(*byte)),
            _ => false,
        },
        exponent => is_exponent(exponent, false),
    };
    is_float.then_some(Meaning::Float)
}

/// `2024-01-31`, and with a time `2024-1-31 12:30:00.5 +1`.
fn date(text: &str) -> Option<Meaning> {
    let mut rest = text.as_bytes();
    let digits = |rest: &mut &[u8], least: usize, most: usize| {
        let length = rest.iter().take(most).take_while(|byte| is_digit(**byte)).count();
        *rest = &rest[length..];
        (length >= least).then_some(length)
    };
    let sign = |rest: &mut &[u8], sign: u8| match rest {
        [first, after @ ..] if *first == sign => {
            *rest = after;
            Some(())
        }
        _ => None,
    };
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
    digits(&mut rest, 4, 4)?;
    sign(&mut rest, b'-')?;
    let month = digits(&mut rest, 1, 2)?;
    sign(&mut rest, b'-')?;
    let day = digits(&mut rest, 1, 2)?;
    if rest.is_empty() {
        return (month == 2 && day == 2).then_some(Meaning::Date);
    }
    if sign(&mut rest, b'T').or_else(|| sign(&mut rest, b't')).is_none() && !run(&mut rest, is_blank) {
        return None;
    }
    digits(&mut rest, 1, 2)?;
    for _ in 0..2 {
        sign(&mut rest, b':')?;
        digits(&mut rest, 2, 2)?;
    }
    if sign(&mut rest, b'.').is_some() {
        run(&mut rest, is_digit);
    }
    if rest.is_empty() {
        return Some(Meaning::Date);
    }
    run(&mut rest, is_blank);
    if sign(&mut rest, b'Z').is_none() {
        sign(&mut rest, b'+').or_else(|| sign(&mut rest, b'-'))?;
        digits(&mut rest, 1, 2)?;
        if sign(&mut rest, b':').is_some() {
            digits(&mut rest, 2, 2)?;
        }
    }
    rest.is_empty().then_some(Meaning::Date)
}

/// Something at which the reader ends with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its line, counted from 1.
    pub line: u64,
    /// What it is.
    pub kind: RefusalKind,
}

/// What the reader ends at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalKind {
    /// `${NAME}`, which is replaced by an environment variable that the trainer does not have.
    Variable(String),
    /// A tab outside of quotes.
    Tab,
    /// One of the line breaks that only YAML 1.1 knows, outside of quotes.
    LineBreak(char),
    /// A scalar that means a date, or a number that is none, or a sign of YAML's own.
    Scalar(String, Meaning),
    /// A tag that the reader does not know, that has no place in JSON or does not fit its value.
    Tag(String),
    /// A list or a mapping as a key.
    Key,
    /// `<<` with something else than a mapping.
    Merge,
    /// An anchor that is there twice.
    Anchor(String),
    /// An anchor whose name has other characters than `[A-Za-z0-9_-]`.
    AnchorName(String),
}

/// A text as the reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    /// What it ends at, in the order in which it is written.
    pub(super) refusals: Vec<Refusal>,
    /// Every scalar by its place (line and column, counted from 1): as it is written, and what it means.
    scalars: HashMap<(u64, u64), (String, Meaning)>,
}

impl Reading {
    /// Reads a text that is known to be YAML, within bounds.
    pub(super) fn of(text: &str) -> Self {
        let mut walk = Walk::default();
        let mut options = Options::default();
        options.emit_anchor_events = true;
        for next in Parser::new_from_str_with_options(text, options) {
            let Ok((event, span)) = next else { break };
            walk.take(event, &span);
        }
        let mut reading = walk.reading;
        raw(text, &walk.quoted, &mut reading.refusals);
        reading.refusals.sort_by_key(|refusal| refusal.line);
        reading
    }

    /// Returns the scalar at a place.
    pub(super) fn at(&self, line: u64, column: u64) -> Option<(&str, Meaning)> {
        self.scalars.get(&(line, column)).map(|(text, meaning)| (text.as_str(), *meaning))
    }
}

/// A list or mapping that is being read.
enum Within {
    List,
    Map { next_is_key: bool, merges: bool },
}

#[derive(Default)]
struct Walk {
    reading: Reading,
    within: Vec<Within>,
    anchors: HashSet<String>,
    /// Where tabs and odd line breaks are text: quoted scalars and blocks.
    quoted: Vec<std::ops::Range<usize>>,
}

impl Walk {
    fn refuse(&mut self, span: &Span, kind: RefusalKind) {
        self.reading.refusals.push(Refusal { line: span.start.line() as u64, kind });
    }

    fn take(&mut self, event: Event<'_>, span: &Span) {
        match event {
            Event::Scalar(value, style, _, tag) => self.scalar(&value, style, tag.as_deref(), span),
            Event::SequenceStart(_, _, tag) => {
                self.begin(tag.as_deref(), &["seq", "omap", "pairs"], span);
                self.within.push(Within::List);
            }
            Event::MappingStart(_, _, tag) => {
                self.begin(tag.as_deref(), &["map"], span);
                self.within.push(Within::Map { next_is_key: true, merges: false });
            }
            Event::SequenceEnd | Event::MappingEnd => drop(self.within.pop()),
            Event::Anchor(_, name) => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                if !name.chars().all(is_plain) {
                    self.refuse(span, RefusalKind::AnchorName(name.to_string()));
                }
                if !self.anchors.insert(name.to_string()) {
                    self.refuse(span, RefusalKind::Anchor(name.into_owned()));
                }
            }
            Event::Alias(_) => drop(self.node()),
            _ => {}
        }
    }

    /// Notes that a node begins, and says whether it is a key, and whether it is the value of `<<`.
    fn node(&mut self) -> (bool, bool) {
        match self.within.last_mut() {
            Some(Within::Map { next_is_key, merges, .. }) => {
                let is_key = *next_is_key;
                *next_is_key = !is_key;
                (is_key, std::mem::take(merges) && !is_key)
            }
            _ => (false, false),
        }
    }

    fn begin(&mut self, tag: Option<&Tag>, fitting: &[&str], span: &Span) {
        let (is_key, _) = self.node();
        if is_key {
            self.refuse(span, RefusalKind::Key);
        }
        if let Some(tag) = tag
            && !is_bare(tag)
            && !core(tag).is_some_and(|core| fitting.contains(&core))
        {
            self.refuse(span, RefusalKind::Tag(written(tag)));
        }
    }

    fn scalar(&mut self, value: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) {
        let (is_key, is_merged) = self.node();
        let is_plain = style == ScalarStyle::Plain;
        if !is_plain && let Some(range) = span.byte_range() {
            self.quoted.push(range);
        }
        let meaning = match tag {
            None if is_plain => Meaning::of_plain(value),
            // `! x` is resolved as if it were not quoted.
            Some(tag) if is_bare(tag) => Meaning::of_plain(value),
            None => Meaning::Text,
            Some(tag) => match tagged(core(tag), value) {
                Some(meaning) => meaning,
                None => {
                    self.refuse(span, RefusalKind::Tag(written(tag)));
                    Meaning::Text
                }
            },
        };
        match meaning {
            Meaning::Merge if is_key => {
                if let Some(Within::Map { merges, .. }) = self.within.last_mut() {
                    *merges = true;
                }
            }
            Meaning::Equals if is_key => {}
            _ if is_merged => self.refuse(span, RefusalKind::Merge),
            Meaning::Date | Meaning::NoNumber | Meaning::Equals | Meaning::Merge => {
                self.refuse(span, RefusalKind::Scalar(value.to_owned(), meaning));
            }
            Meaning::Text | Meaning::Null | Meaning::Truth | Meaning::Integer | Meaning::Float => {}
        }
        // A value that is not there has the place of what follows it.
        if span.start.index() < span.end.index() {
            let place = (span.start.line() as u64, span.start.col() as u64 + 1);
            self.reading.scalars.insert(place, (value.to_owned(), meaning));
        }
    }
}

const CORE: &str = "tag:yaml.org,2002:";

/// Whether it is `!` alone.
fn is_bare(tag: &Tag) -> bool {
    tag.to_string() == "!"
}

fn core(tag: &Tag) -> Option<&str> {
    (tag.handle() == CORE).then(|| tag.suffix())
}

fn written(tag: &Tag) -> String {
    core(tag).map_or_else(|| tag.to_string(), |core| format!("!!{core}"))
}

/// Returns what a scalar with one of YAML's own tags means; `None` where the reader cannot make that of it.
fn tagged(core: Option<&str>, value: &str) -> Option<Meaning> {
    match core? {
        "str" => Some(Meaning::Text),
        "null" => Some(Meaning::Null),
        "bool" => {
            let known = ["yes", "no", "true", "false", "on", "off"];
            known.contains(&value.to_lowercase().as_str()).then_some(Meaning::Truth)
        }
        "int" => (integer(value) == Some(Meaning::Integer)).then_some(Meaning::Integer),
        "float" => {
            let is_number = integer(value) == Some(Meaning::Integer) || float(value) == Some(Meaning::Float);
            is_number.then_some(Meaning::Float)
        }
        _ => None,
    }
}

/// What is refused before the text is understood at all.
fn raw(text: &str, quoted: &[std::ops::Range<usize>], refusals: &mut Vec<Refusal>) {
    let mut quoted = quoted.iter().peekable();
    let (mut line, mut in_comment, mut before) = (1, false, '\n');
    // Variables do not overlap, and none begins behind the last brace: so each character is searched once.
    let (last_brace, mut variables_end) = (text.rfind('}').unwrap_or(0), 0);
    for (at, c) in text.char_indices() {
        while quoted.next_if(|range| range.end <= at).is_some() {}
        let is_quoted = quoted.peek().is_some_and(|range| range.contains(&at));
        let mut refuse = |kind| refusals.push(Refusal { line, kind });
        match c {
            '\n' => in_comment = false,
            '#' if !is_quoted && before.is_whitespace() => in_comment = true,
            '\t' if !is_quoted && !in_comment => refuse(RefusalKind::Tab),
            '\u{85}' | '\u{2028}' | '\u{2029}' if !is_quoted => refuse(RefusalKind::LineBreak(c)),
            '$' if at >= variables_end && at < last_brace => {
                let name = text[at..].strip_prefix("${").and_then(|rest| rest.split_once('}'));
                if let Some((name, _)) = name.filter(|(name, _)| !name.is_empty()) {
                    variables_end = at + "${}".len() + name.len();
                    refuse(RefusalKind::Variable(name.to_owned()));
                }
            }
            _ => {}
        }
        line += u64::from(c == '\n');
        before = c;
    }
}

#[cfg(test)]
mod tests;
