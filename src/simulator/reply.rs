//! An answer as a value: status, headers, and which bytes of which content, known before any byte is sent.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::faults::What;
use super::files::content::Content;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The headers, but for the length.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) slice: Slice,
    /// How the body is sent.
    pub(crate) manner: Manner,
}

/// Bytes of a content.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    /// Whose bytes.
    pub(crate) content: Arc<Content>,
    /// From where on.
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// From which offset in the content on there are zeros instead.
    pub(crate) zeros_from: u64,
    /// At which offset in the content one bit is flipped.
    pub(crate) flipped: Option<u64>,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// The connection is dropped after this many bytes.
    pub(crate) cut: Option<u64>,
    /// Nothing comes after this many bytes.
    pub(crate) stall: Option<u64>,
    /// The answer has no length and ends after this many bytes.
    pub(crate) end_early: Option<u64>,
    /// Bytes a second.
    pub(crate) rate: Option<u64>,
}

impl Slice {
    /// All of `content`.
    pub(crate) fn whole(content: Arc<Content>) -> Self {
        let length = content.length();
        Self { content, start: 0, length, zeros_from: u64::MAX, flipped: None }
    }

    /// Returns at most `most` bytes, `offset` bytes into the slice; none at its end.
    pub(crate) fn read(&self, offset: u64, most: usize) -> Bytes {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let at = self.start + offset;
        let bytes = self.content.read(at, most.min(left));
        let end = at + bytes.len() as u64;
        let flipped = self.flipped.filter(|flipped| (at..end).contains(flipped));
        if end <= self.zeros_from && flipped.is_none() {
            return bytes;
        }
        let mut bytes = bytes.to_vec();
        let written = usize::try_from(self.zeros_from.saturating_sub(at)).unwrap_or(usize::MAX);
        if let Some(tail) = bytes.get_mut(written..) {
            tail.fill(0);
        }
        if let Some(byte) = flipped.and_then(|flipped| bytes.get_mut(usize::try_from(flipped - at).ok()?)) {
            *byte ^= 1;
        }
        bytes.into()
    }
}

impl Reply {
    /// An answer with a text.
    pub(crate) fn text(status: u16, kind: &str, text: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            slice: Slice::whole(Content::bytes(text.into().into_bytes())),
            manner: Manner::default(),
        }
    }

    /// An answer in JSON.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    /// An error as object stores word it.
    pub(crate) fn storage_error(status: u16, code: &str, message: &str) -> Self {
        let text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Self::text(status, "application/xml", text)
    }

    /// The same answer with one more header.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Applies the part of a fault that concerns bodies and headers of any kind.
    pub(crate) fn spoil(&mut self, what: &What) {
        match what {
            What::Cut(bytes) => self.manner.cut = Some(*bytes),
            What::EndEarly(bytes) => self.manner.end_early = Some(*bytes),
            What::Stall(bytes) => self.manner.stall = Some(*bytes),
            What::Trickle(rate) => self.manner.rate = Some(*rate),
            What::FlipByte(offset) => self.slice.flipped = Some(*offset),
            What::Truncated => self.slice.length /= 2,
            What::GzipHeader => self.headers.push(("content-encoding".to_owned(), "gzip".to_owned())),
            What::WrongStart(_) | What::WrongTotal(_) | What::NoContentRange => self.misname_range(what),
            What::Answer { .. }
            | What::Drop
            | What::DropAnswer
            | What::Delay(_)
            | What::IgnoreRange
            | What::EarlierStart(_)
            | What::OtherBytes
            | What::WrongJob
            | What::LaggingResult
            | What::Gzip
            | What::GzipBomb(_) => {}
        }
    }

    fn misname_range(&mut self, what: &What) {
        let Some(at) = self.headers.iter().position(|(name, _)| name == "content-range") else { return };
        let (_, said) = self.headers.remove(at);
        let read = || {
            let (range, total) = said.strip_prefix("bytes ")?.split_once('/')?;
            let (start, end) = range.split_once('-')?;
            Some((start.parse::<u64>().ok()?, end.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
        };
        let Some((start, end, total)) = read() else { return };
        let lie = match what {
            What::WrongStart(by) => {
                let [start, end, total] = [start, end, total].map(|number| number.saturating_add(*by));
                format!("bytes {start}-{end}/{total}")
            }
            What::WrongTotal(by) => format!("bytes {start}-{end}/{}", total.saturating_add(*by)),
            _ => return,
        };
        self.headers.push(("content-range".to_owned(), lie));
    }
}
