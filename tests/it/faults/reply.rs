//! What the misbehaving server sends: an honest answer first, then bent, one way at a time.

use std::time::Duration;

/// One answer, byte for byte.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// Sent before the status line, as it is.
    before: Vec<u8>,
    /// The status line; empty when `body` is all there is.
    start: String,
    headers: Vec<(String, String)>,
    before_body: Vec<u8>,
    body: Vec<u8>,
    frame: Frame,
    /// Bytes that each `Duration` lets through; everything at once where there is none.
    drip: Option<(usize, Duration)>,
    pub(crate) end: End,
}

/// How the length of the body is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// `Content-Length`, counted before any cut.
    Length(usize),
    /// Chunks, and the last one only where it says so.
    Chunked { last: bool },
    /// Nothing is reported.
    Silent,
}

/// What happens once everything was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection serves the next request.
    Keep,
    /// An orderly end.
    Close,
    /// The connection is torn down.
    Reset,
    /// Nothing more comes, and nothing ends.
    Hold,
    /// This, for ever.
    Endless(Vec<u8>),
}

impl Reply {
    /// A complete answer.
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self {
            before: Vec::new(),
            start: format!("HTTP/1.1 {status} Whatever"),
            headers: Vec::new(),
            before_body: Vec::new(),
            body: body.to_vec(),
            frame: Frame::Length(body.len()),
            drip: None,
            end: End::Keep,
        }
    }

    /// These bytes, then the end.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self { start: String::new(), frame: Frame::Silent, end: End::Close, ..Self::new(0, bytes) }
    }

    pub(crate) fn json(text: &str) -> Self {
        Self::new(200, text.as_bytes()).header("Content-Type", "application/json")
    }

    pub(crate) fn html(status: u16) -> Self {
        let page =
            b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in</body></html>";
        Self::new(status, page).header("Content-Type", "text/html")
    }

    /// Sets a header, in place of one that is there.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.also(name, value)
    }

    /// Adds a header, beside one that is there.
    pub(crate) fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if name.eq_ignore_ascii_case("content-length") {
            self.frame = Frame::Silent;
        }
        self
    }

    /// The status line, as it is.
    pub(crate) fn start(mut self, line: &str) -> Self {
        line.clone_into(&mut self.start);
        self
    }

    /// Another status with the same headers and body.
    pub(crate) fn status(self, status: u16) -> Self {
        self.start(&format!("HTTP/1.1 {status} Whatever"))
    }

    /// Sent before everything else.
    pub(crate) fn before(mut self, bytes: &[u8]) -> Self {
        self.before = bytes.to_vec();
        self
    }

    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        self.body = bytes.to_vec();
        self
    }

    pub(crate) fn map_body(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.body);
        self
    }

    /// Sent between the head and the body, as it is: also where the body is framed.
    pub(crate) fn before_body(mut self, bytes: &[u8]) -> Self {
        self.before_body = bytes.to_vec();
        self
    }

    /// The body's first `length` bytes alone, then `end`. The announced length stays.
    pub(crate) fn cut(mut self, length: usize, end: End) -> Self {
        self.body.truncate(length);
        self.end = end;
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Chunks instead of a length.
    pub(crate) fn chunked(mut self, last: bool) -> Self {
        self.frame = Frame::Chunked { last };
        if !last {
            self.end = End::Close;
        }
        self
    }

    /// No length at all: the end of the connection is the end of the body.
    pub(crate) fn unsized_body(mut self) -> Self {
        self.frame = Frame::Silent;
        self.end = End::Close;
        self
    }

    /// `count` bytes of the body, then a pause, and so on.
    pub(crate) fn drip(mut self, count: usize, pause: Duration) -> Self {
        self.drip = Some((count, pause));
        self
    }

    /// Returns what is sent before the body.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut head = self.before.clone();
        if self.start.is_empty() {
            return head;
        }
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.frame {
            Frame::Length(length) => text.push_str(&format!("Content-Length: {length}\r\n")),
            Frame::Chunked { .. } => text.push_str("Transfer-Encoding: chunked\r\n"),
            Frame::Silent => {}
        }
        text.push_str("\r\n");
        head.extend_from_slice(text.as_bytes());
        head.extend_from_slice(&self.before_body);
        head
    }

    /// Returns the body as it is sent, in pieces with a pause behind each.
    pub(crate) fn body_pieces(&self) -> (Vec<Vec<u8>>, Duration) {
        let body = match self.frame {
            Frame::Chunked { last } => {
                let mut framed = Vec::new();
                for chunk in self.body.chunks(65_521) {
                    framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    framed.extend_from_slice(chunk);
                    framed.extend_from_slice(b"\r\n");
                }
                if last {
                    framed.extend_from_slice(b"0\r\n\r\n");
                }
                framed
            }
            Frame::Length(_) | Frame::Silent => self.body.clone(),
        };
        match self.drip {
            Some((count, pause)) => (body.chunks(count).map(<[u8]>::to_vec).collect(), pause),
            None => (vec![body], Duration::ZERO),
        }
    }
}
