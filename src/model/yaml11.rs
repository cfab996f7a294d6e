//! What PyYAML, which reads YAML 1.1, makes of a text that a parser of YAML 1.2 takes: numbers, truths and dates where people
//! mean words, and what it refuses.

mod meaning;
mod value;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

pub use meaning::Meaning;
pub use value::Unreadable;
pub(crate) use value::{Text, Value, read};

/// Who reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// PyYAML's safe loader, which is what ComfyUI has.
    PyYaml,
    /// AI Toolkit's: PyYAML's with one more pattern for fractions, after `${NAME}` has been replaced. It turns what it reads
    /// into JSON, so everything that has no place in JSON ends it: dates, bytes, sets, tags of other programs.
    AiToolkit,
}

/// Something that the loader refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Its line, counted from 1.
    pub line: u64,
    /// What it is.
    pub kind: RefusalKind,
}

/// What the loader refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// `${NAME}`, which AI Toolkit replaces by an environment variable that the trainer does not have.
    Variable(String),
    /// A tab outside of quotes.
    Tab,
    /// One of the line breaks that only YAML 1.1 has, outside of quotes.
    LineBreak(char),
    /// A scalar that means a date (where that is refused), or a number that is none, or a sign of YAML's own.
    Scalar(String, Meaning),
    /// A tag that is unknown, that has no place in JSON or does not fit its value.
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

/// A text as the loader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    /// In the order in which they are written.
    pub(super) refusals: Vec<Refusal>,
    /// Every scalar by its place (line and column, counted from 1): as it is written, and what it means.
    scalars: HashMap<(u64, u64), (String, Meaning)>,
}

impl Reading {
    /// Reads a text that is known to be YAML, within bounds, as AI Toolkit does.
    pub(super) fn of(text: &str) -> Self {
        let mut walk = Walk::new(Loader::AiToolkit);
        for (event, span) in events(text).map_while(Result::ok) {
            walk.take(&event, &span);
        }
        walk.finish(text)
    }

    /// Returns the scalar at a place.
    pub(super) fn at(&self, line: u64, column: u64) -> Option<(&str, Meaning)> {
        self.scalars.get(&(line, column)).map(|(text, meaning)| (text.as_str(), *meaning))
    }
}

fn events(text: &str) -> impl Iterator<Item = Result<(Event<'_>, Span), ScanError>> {
    let mut options = Options::default();
    options.emit_anchor_events = true;
    Parser::new_from_str_with_options(text, options)
}

/// A list or mapping that is being read.
enum Within {
    List,
    Map { next_is_key: bool, merges: bool },
}

/// Collects what is refused, event by event.
struct Walk {
    loader: Loader,
    reading: Reading,
    within: Vec<Within>,
    anchors: HashSet<String>,
    /// Where tabs and odd line breaks are text: quoted scalars and blocks.
    quoted: Vec<Range<usize>>,
}

impl Walk {
    fn new(loader: Loader) -> Self {
        Self {
            loader,
            reading: Reading::default(),
            within: Vec::new(),
            anchors: HashSet::new(),
            quoted: Vec::new(),
        }
    }

    fn finish(self, text: &str) -> Reading {
        let mut reading = self.reading;
        raw(text, self.loader, &self.quoted, &mut reading.refusals);
        reading.refusals.sort_by_key(|refusal| refusal.line);
        reading
    }

    fn refuse(&mut self, span: &Span, kind: RefusalKind) {
        self.reading.refusals.push(Refusal { line: span.start.line() as u64, kind });
    }

    fn take(&mut self, event: &Event<'_>, span: &Span) {
        match event {
            Event::Scalar(value, style, _, tag) => self.scalar(value, *style, tag.as_deref(), span),
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
                    self.refuse(span, RefusalKind::Anchor(name.to_string()));
                }
            }
            Event::Alias(_) => drop(self.node()),
            _ => {}
        }
    }

    /// Notes that a node begins. Returns whether it is a key, and whether it is the value of `<<`.
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
            && !core(tag).is_some_and(|core| fitting.contains(&&*core))
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
        let meaning = resolve(value, style, tag, self.loader).unwrap_or_else(|refused| {
            self.refuse(span, RefusalKind::Tag(refused));
            Meaning::Text
        });
        match meaning {
            Meaning::Merge if is_key => {
                if let Some(Within::Map { merges, .. }) = self.within.last_mut() {
                    *merges = true;
                }
            }
            Meaning::Equals if is_key => {}
            _ if is_merged => self.refuse(span, RefusalKind::Merge),
            Meaning::Date if self.loader == Loader::PyYaml => {}
            Meaning::Date | Meaning::NoNumber | Meaning::Equals | Meaning::Merge => {
                self.refuse(span, RefusalKind::Scalar(value.to_owned(), meaning));
            }
            Meaning::Text | Meaning::Null | Meaning::Truth | Meaning::Integer | Meaning::Float => {}
        }
        // A missing value has the place of what follows it.
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

fn core(tag: &Tag) -> Option<Cow<'_, str>> {
    tag.suffix_in_namespace(CORE)
}

fn written(tag: &Tag) -> String {
    core(tag).map_or_else(|| tag.to_string(), |core| format!("!!{core}"))
}

/// What a scalar means.
///
/// # Errors
/// Its tag, where that is unknown or does not fit.
fn resolve(value: &str, style: ScalarStyle, tag: Option<&Tag>, loader: Loader) -> Result<Meaning, String> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(Meaning::of_plain(value, loader)),
        None => Ok(Meaning::Text),
        // `! x` is resolved as if it were not quoted.
        Some(tag) if is_bare(tag) => Ok(Meaning::of_plain(value, loader)),
        Some(tag) => {
            core(tag).and_then(|core| meaning::tagged(&core, value, loader)).ok_or_else(|| written(tag))
        }
    }
}

/// What is refused before the text is understood at all.
fn raw(text: &str, loader: Loader, quoted: &[Range<usize>], refusals: &mut Vec<Refusal>) {
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
            '$' if loader == Loader::AiToolkit && at >= variables_end && at < last_brace => {
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
