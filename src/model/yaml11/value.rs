//! A whole document as a value: of equal keys the last counts in the place of the first, and `<<` merges.

use std::collections::HashMap;

use serde::Serialize;
use serde_saphyr::granit_parser::{Event, ScalarStyle, Span};

use super::meaning::{self, Meaning};
use super::{Loader, Refusal, RefusalKind, Walk, events, resolve};

/// More nodes than any configuration of paths has, aliases counted as what they refer to.
const MAX_NODES: usize = 20_000;

/// Deeper than any configuration of paths.
const MAX_DEPTH: usize = 32;

/// A value, as far as a configuration of paths distinguishes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Truth(bool),
    /// A number or a date, as it is written.
    Number(String),
    Text(Text),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// Text, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// The line of its first character, counted from 1.
    pub(crate) line: usize,
    /// Whether each line of the text is a line of the file.
    pub(crate) is_literal: bool,
}

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreadable {
    /// Not YAML; with the parser's words.
    Syntax(String),
    /// YAML that PyYAML refuses.
    Refused(Refusal),
    /// Another document begins.
    SecondDocument {
        /// The line that it begins in, counted from 1.
        line: u64,
    },
    /// An alias refers to what contains it.
    Cycle {
        /// The line of the alias, counted from 1.
        line: u64,
    },
    /// Larger or deeper than the bounds.
    TooLarge,
}

impl Value {
    /// As Python sees it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Truth(is_true) => *is_true,
            Self::Number(number) => !meaning::is_zero(number),
            Self::Text(text) => !text.text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(pairs) => !pairs.is_empty(),
        }
    }

    pub(crate) fn as_text(&self) -> Option<&Text> {
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

/// Reads the one document of a text as PyYAML's safe loader does; a text without any is null.
///
/// # Errors
/// [`Unreadable`], with the first fault.
pub(crate) fn read(text: &str) -> Result<Value, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events: Vec<_> = events(text)
        .take(4 * MAX_NODES)
        .collect::<Result<_, _>>()
        .map_err(|error| Unreadable::Syntax(error.to_string()))?;
    let mut walk = Walk::new(Loader::PyYaml);
    for (event, span) in &events {
        walk.take(event, span);
    }
    if let Some(refusal) = walk.finish(text).refusals.into_iter().next() {
        return Err(Unreadable::Refused(refusal));
    }
    let events = events.into_iter().filter(|(event, _)| !matches!(event, Event::Anchor(..)));
    let events = events.collect::<Vec<_>>().into_iter().peekable();
    Tree { events, anchors: HashMap::new(), nodes: 0, depth: 0 }.document()
}

/// Builds the value. What [`Walk`] refuses does not come here.
struct Tree<'a> {
    events: std::iter::Peekable<std::vec::IntoIter<(Event<'a>, Span)>>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
    depth: usize,
}

impl Tree<'_> {
    fn document(&mut self) -> Result<Value, Unreadable> {
        let mut document = None;
        while let Some((event, span)) = self.events.next() {
            match event {
                Event::StreamEnd => return Ok(document.unwrap_or(Value::Null)),
                Event::DocumentStart(..) if document.is_none() => document = Some(self.node()?),
                Event::DocumentStart(..) => return Err(Unreadable::SecondDocument { line: line(&span) }),
                _ => {}
            }
        }
        Err(Unreadable::TooLarge)
    }

    fn node(&mut self) -> Result<Value, Unreadable> {
        let Some((event, span)) = self.events.next() else { return Err(Unreadable::TooLarge) };
        self.nodes += 1;
        self.depth += 1;
        if self.nodes > MAX_NODES || self.depth > MAX_DEPTH {
            return Err(Unreadable::TooLarge);
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let means = resolve(&text, style, tag.as_deref(), Loader::PyYaml).unwrap_or_default();
                (scalar(text.into_owned(), means, style, &span), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list()?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(&span)?, anchor),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| Unreadable::Cycle { line: line(&span) })?;
                self.nodes += value.size();
                (value, 0)
            }
            _ => return Err(Unreadable::TooLarge),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        while self.events.next_if(|(event, _)| matches!(event, Event::SequenceEnd)).is_none() {
            items.push(self.node()?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, span: &Span) -> Result<Value, Unreadable> {
        let (mut own, mut merged) = (Vec::new(), Vec::new());
        while self.events.next_if(|(event, _)| matches!(event, Event::MappingEnd)).is_none() {
            let is_plain =
                matches!(self.events.peek(), Some((Event::Scalar(_, ScalarStyle::Plain, _, None), _)));
            let (key, value) = (self.node()?, self.node()?);
            match (&key, value) {
                (Value::Text(text), value) if is_plain && text.text == "<<" => {
                    let maps = match value {
                        Value::List(maps) => maps,
                        other => vec![other],
                    };
                    // Of several maps the first has precedence.
                    for map in maps.into_iter().rev() {
                        let Value::Map(pairs) = map else { return Err(refused(span, RefusalKind::Merge)) };
                        merged.extend(pairs);
                    }
                }
                // An alias of one; the walk finds all others.
                (Value::Map(_) | Value::List(_), _) => return Err(refused(span, RefusalKind::Key)),
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

fn line(span: &Span) -> u64 {
    span.start.line() as u64
}

fn refused(span: &Span, kind: RefusalKind) -> Unreadable {
    Unreadable::Refused(Refusal { line: line(span), kind })
}

fn scalar(text: String, means: Meaning, style: ScalarStyle, span: &Span) -> Value {
    match means {
        Meaning::Null => Value::Null,
        Meaning::Truth => Value::Truth(meaning::truth(&text.to_lowercase()) == Some(true)),
        Meaning::Integer | Meaning::Float | Meaning::Date => Value::Number(text),
        Meaning::Text | Meaning::Equals | Meaning::Merge | Meaning::NoNumber => {
            Value::Text(Text { text, line: span.start.line(), is_literal: style == ScalarStyle::Literal })
        }
    }
}

#[cfg(test)]
mod tests;
