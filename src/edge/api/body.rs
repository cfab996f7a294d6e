//! A response's body, unpacked while it arrives.

use std::io::Write as _;

use reqwest::header::{self, HeaderMap};

use crate::edge::net::unpack::{Bounded, UnpackFault, Unpacking};

/// Why a body cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The text is longer than the bound.
    TooLong,
    /// It is in an encoding that was not asked for.
    Packed { coding: String },
    /// The packed text is damaged.
    Unpackable,
}

/// The text of a body as far as it has arrived.
pub(super) struct Text(Form);

enum Form {
    Plain(Bounded),
    Gzip(Box<Unpacking>),
}

impl Text {
    /// Begins with nothing, for a body whose text has no more than `bound` bytes.
    pub(super) fn new(headers: &HeaderMap, bound: u64) -> Result<Self, BodyFault> {
        let form = match coding(headers).as_deref() {
            None => Form::Plain(Bounded::new(bound)),
            Some("gzip" | "x-gzip") => Form::Gzip(Box::new(Unpacking::new(bound))),
            Some(other) => return Err(BodyFault::Packed { coding: other.to_owned() }),
        };
        Ok(Self(form))
    }

    /// Takes the next bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), BodyFault> {
        match &mut self.0 {
            Form::Plain(bounded) => bounded.write_all(bytes).map_err(|_| BodyFault::TooLong),
            Form::Gzip(unpacking) => unpacking.add(bytes).map_err(fault),
        }
    }

    /// How many bytes of text there are.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(bounded) => bounded.text.len(),
            Form::Gzip(unpacking) => unpacking.len(),
        }
    }

    /// Returns the whole text.
    pub(super) fn whole(self) -> Result<Vec<u8>, BodyFault> {
        match self.0 {
            Form::Plain(bounded) => Ok(bounded.text),
            Form::Gzip(mut unpacking) => unpacking.whole().map_err(fault),
        }
    }

    /// Returns what is here of the text, whole or not.
    pub(super) fn so_far(self) -> Vec<u8> {
        match self.0 {
            Form::Plain(bounded) => bounded.text,
            Form::Gzip(mut unpacking) => unpacking.so_far(),
        }
    }
}

fn fault(fault: UnpackFault) -> BodyFault {
    match fault {
        UnpackFault::TooLong => BodyFault::TooLong,
        UnpackFault::Broken => BodyFault::Unpackable,
    }
}

/// Returns how a body is packed; `identity` is not at all.
fn coding(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let words: Vec<String> = values
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !matches!(&**word, "" | "identity"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pack(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(coding: &str, bound: u64, body: &[u8], portion: usize) -> Result<Vec<u8>, BodyFault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        let mut text = Text::new(&headers, bound)?;
        for bytes in body.chunks(portion) {
            text.add(bytes)?;
            assert!(text.len() as u64 <= bound, "no more is held than is allowed");
        }
        text.whole()
    }

    #[test]
    fn plain_and_packed_texts_in_any_portions() {
        let text = br#"{"id":"job-1"}"#.repeat(100);
        for portion in [1, 7, 1 << 16] {
            for coding in ["identity", " ", "Identity, identity"] {
                assert_eq!(read(coding, 1400, &text, portion).unwrap(), text);
            }
            for coding in ["gzip", "X-GZIP", "identity, gzip"] {
                assert_eq!(read(coding, 1400, &pack(&text), portion).unwrap(), text, "{coding}");
            }
            let two = [pack(&text[..700]), pack(&text[700..])].concat();
            assert_eq!(read("gzip", 1400, &two, portion).unwrap(), text, "two members are one text");
        }
    }

    #[test]
    fn the_text_is_bounded_and_not_its_packed_form() {
        let bomb = pack(&vec![b' '; 4 << 20]);
        assert!(bomb.len() < 8 << 10, "{} bytes", bomb.len());
        for portion in [1, 100, 1 << 20] {
            assert_eq!(read("gzip", 1 << 20, &bomb, portion), Err(BodyFault::TooLong));
        }
        assert_eq!(read("gzip", 4 << 20, &bomb, 100).unwrap().len(), 4 << 20, "exactly the bound");
        assert_eq!(read("identity", 10, b"eleven bytes", 5), Err(BodyFault::TooLong));
    }

    #[test]
    fn what_is_no_whole_gzip_is_a_fault() {
        let packed = pack(br#"{"id":"job-1"}"#);
        let mut damaged = packed.clone();
        damaged[12] ^= 0xff;
        let bad = Err(BodyFault::Unpackable);
        for body in [&packed[..packed.len() - 1], &damaged, b"{}", b""] {
            assert_eq!(read("gzip", 100, body, 1 << 16), bad, "{body:?}");
        }
        for coding in ["br", "gzip, br", "deflate", "gzip, gzip"] {
            assert!(matches!(read(coding, 100, b"x", 1), Err(BodyFault::Packed { .. })), "{coding}");
        }
    }
}
