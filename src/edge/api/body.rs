//! An answer's body, unpacked while it arrives. What is bounded is the text, not the packed bytes: a gzip body can be a
//! thousand times as long as what was sent.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use reqwest::header::{self, HeaderMap};

/// What comes of a body that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The text is longer than the bound.
    TooLong,
    /// The words fit after "the answer".
    Packed(String),
}

/// The text of a body as far as it has arrived.
pub(super) struct Text(Form);

enum Form {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// Takes bytes up to a bound.
struct Bounded {
    text: Vec<u8>,
    bound: u64,
    is_full: bool,
}

impl Text {
    /// Begins with nothing, for a body whose text has no more than `bound` bytes.
    pub(super) fn new(headers: &HeaderMap, bound: u64) -> Result<Self, BodyFault> {
        let bounded = Bounded { text: Vec::new(), bound, is_full: false };
        let form = match coding(headers).as_deref() {
            None => Form::Plain(bounded),
            Some("gzip" | "x-gzip") => Form::Gzip(Box::new(MultiGzDecoder::new(bounded))),
            Some(other) => {
                return Err(BodyFault::Packed(format!("is packed with `{other}`, which was not asked for")));
            }
        };
        Ok(Self(form))
    }

    /// Takes the next bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), BodyFault> {
        match &mut self.0 {
            Form::Plain(bounded) => bounded.write_all(bytes).map_err(|_| BodyFault::TooLong),
            Form::Gzip(decoder) => {
                let written = decoder.write_all(bytes);
                written.map_err(|_| fault(decoder.get_ref()))
            }
        }
    }

    /// Returns how many bytes of text there are.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(bounded) => bounded.text.len(),
            Form::Gzip(decoder) => decoder.get_ref().text.len(),
        }
    }

    /// Returns the whole text; the format's own checksum proves that nothing of a packed one is missing.
    pub(super) fn whole(self) -> Result<Vec<u8>, BodyFault> {
        match self.0 {
            Form::Plain(bounded) => Ok(bounded.text),
            Form::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => Ok(std::mem::take(&mut decoder.get_mut().text)),
                Err(_) => Err(fault(decoder.get_ref())),
            },
        }
    }

    /// Returns what is here of the text, whole or not.
    pub(super) fn so_far(self) -> Vec<u8> {
        match self.0 {
            Form::Plain(bounded) => bounded.text,
            Form::Gzip(mut decoder) => {
                // What it holds back goes to the text; whether that is all of it is of no interest here.
                let _ = decoder.try_finish();
                std::mem::take(&mut decoder.get_mut().text)
            }
        }
    }
}

fn fault(bounded: &Bounded) -> BodyFault {
    if bounded.is_full { BodyFault::TooLong } else { BodyFault::Packed("cannot be unpacked".to_owned()) }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() as u64 + bytes.len() as u64 > self.bound {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        let bad = Err(BodyFault::Packed("cannot be unpacked".to_owned()));
        for body in [&packed[..packed.len() - 1], &damaged, b"{}", b""] {
            assert_eq!(read("gzip", 100, body, 1 << 16), bad, "{body:?}");
        }
        for coding in ["br", "gzip, br", "deflate", "gzip, gzip"] {
            assert!(matches!(read(coding, 100, b"x", 1), Err(BodyFault::Packed(_))), "{coding}");
        }
    }
}
