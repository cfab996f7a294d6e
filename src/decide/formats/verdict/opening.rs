//! The first bytes of a file: enough to know a web server's error page, and to quote.

use std::fmt;

use crate::model::bad_format::BadFormat;

use super::Defect;

/// Room for a byte-order mark, an XML declaration and a comment before the first element.
const KEPT: usize = 256;

/// How many bytes are quoted to people.
const QUOTED: usize = 16;

/// The first bytes of a file, at most [`KEPT`].
#[derive(Debug, Default)]
pub(in crate::decide::formats) struct Opening(Vec<u8>);

impl Opening {
    pub(in crate::decide::formats) fn feed(&mut self, bytes: &[u8]) {
        let room = KEPT - self.0.len();
        self.0.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    pub(in crate::decide::formats) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(in crate::decide::formats) fn is_zeros(&self) -> bool {
        self.0.iter().take(QUOTED).all(|byte| *byte == 0)
    }

    /// What web servers and object stores answer in place of a file, whatever the status is.
    pub(in crate::decide::formats) fn error_page(&self) -> Option<Defect> {
        let text = self.0.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.0).trim_ascii_start();
        let begins =
            |word: &str| text.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word.as_bytes()));
        if begins("<!doctype html") || begins("<html") {
            Some(Defect::of(BadFormat::HtmlPage))
        } else if begins("<error>") || (begins("<?xml") && text.windows(6).any(|it| it == b"<Error")) {
            Some(Defect::of(BadFormat::ErrorDocument))
        } else {
            None
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(QUOTED) {
            match byte {
                b' '..=b'~' if *byte != b'`' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}
