//! What is in one file of a dataset, read once from its first byte to its last.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use crc_fast::CrcAlgorithm;
use sha2::Sha256;
use sha2::digest::Digest as _;

use crate::decide::datasets::{
    Caption, Content, Media, MediaKind, MediaState, OPENING, dimensions, signature,
};
use crate::decide::formats::{Checker, Format, Verdict};
use crate::edge::system::disk;
use crate::model::digest::Sha256Digest;

/// Bytes read at once by each thread. Most pictures fit, and their dimensions are nearly always in the first buffer.
pub(super) const BUFFER: usize = 512 << 10;

/// The longest JSON caption that is parsed.
const MAX_JSON: usize = 1 << 20;

/// What AI Toolkit replaces by the trigger word.
const TRIGGER: &[u8] = b"[trigger]";

/// One file that is being read.
pub(super) struct Reading<'a> {
    pub(super) file: &'a File,
    pub(super) name: &'a str,
    pub(super) buffer: &'a mut [u8],
    /// Its length when it was opened. What grows is not read further: it could grow as fast as it is read.
    pub(super) length: u64,
    pub(super) hashing: Hashing,
    /// Takes how many bytes were read, and returns whether to continue.
    pub(super) on_read: &'a dyn Fn(u64) -> ControlFlow<()>,
}

/// What is computed over a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashing {
    Nothing,
    /// A CRC, at the speed of memory: files whose CRCs differ differ without a SHA-256.
    Checksum,
    Sha256,
}

/// The result of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Nothing,
    Checksum(u64),
    Sha256(Sha256Digest),
}

/// What was found in a file.
pub(super) struct Found {
    pub(super) content: Content,
    pub(super) read: u64,
    pub(super) hash: Hash,
}

/// Why a file was not read to its end.
pub(super) enum Cut {
    /// The disk did not deliver it.
    Disk(io::Error),
    /// The scan was asked to end.
    Ended,
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Reading<'_> {
    /// Reads the file as the kind that its name has.
    pub(super) fn read(mut self, caption_ext: &str) -> Result<Found, Cut> {
        if let Some(kind) = MediaKind::of(self.name) {
            self.media(kind)
        } else if self.name.len() > caption_ext.len() && self.name.ends_with(caption_ext) {
            self.caption(caption_ext == ".json")
        } else if self.hashing == Hashing::Nothing {
            Ok(Found { content: Content::Other, read: self.length, hash: Hash::Nothing })
        } else {
            let (read, hash) = self.feed(|_| {})?;
            Ok(Found { content: Content::Other, read, hash })
        }
    }

    /// Reads the file for its hash alone.
    pub(super) fn hash(mut self) -> Result<(u64, Hash), Cut> {
        self.feed(|_| {})
    }

    fn media(&mut self, kind: MediaKind) -> Result<Found, Cut> {
        let name = self.name;
        let mut began = None;
        let (read, hash) = self.feed(|bytes| {
            let (checker, ..) = began.get_or_insert_with(|| {
                let signature = signature(&bytes[..bytes.len().min(OPENING)]);
                let format =
                    signature.map_or_else(|| Format::of(name), |it| it.format.unwrap_or(Format::Unknown));
                (Checker::new(format), signature, dimensions(bytes))
            });
            checker.feed(bytes);
        })?;
        let Some((checker, signature, size)) = began else {
            let media = Media { kind, state: MediaState::Empty, dimensions: None, is_really: None };
            return Ok(Found { content: Content::Media(media), read, hash });
        };
        let is_readable = signature.is_none_or(|signature| signature.is_readable_as(kind, name));
        let other = signature.filter(|signature| !signature.has_the_extension_of(name)).map(|it| it.name);
        let state = match (checker.finish(read), signature) {
            (Verdict::Broken(defect), _) => MediaState::Broken(defect.to_string()),
            (Verdict::Short { declared, have }, _) => {
                MediaState::Broken(format!("it is cut off: {have} of {declared} bytes are there"))
            }
            (_, Some(signature)) if !is_readable => {
                MediaState::Broken(format!("its bytes are {}", signature.name))
            }
            (Verdict::Unchecked, None) => {
                MediaState::Broken(format!("its bytes are of no format of {}s", kind.word()))
            }
            (Verdict::Unchecked, Some(_)) => MediaState::Unchecked,
            (Verdict::Whole | Verdict::Plausible, _) => MediaState::Whole,
        };
        let is_really = other.filter(|_| is_readable);
        Ok(Found { content: Content::Media(Media { kind, state, dimensions: size, is_really }), read, hash })
    }

    fn caption(&mut self, is_json: bool) -> Result<Found, Cut> {
        let mut text = Text::default();
        let mut json = Vec::new();
        let (read, hash) = self.feed(|bytes| {
            text.feed(bytes);
            if is_json && json.len() <= MAX_JSON {
                json.extend_from_slice(bytes);
            }
        })?;
        let caption = match text.finish() {
            caption @ Caption::Text { is_blank: false, .. } if is_json => {
                json_fault(&json).map_or(caption, Caption::NotJson)
            }
            caption => caption,
        };
        Ok(Found { content: Content::Caption(caption), read, hash })
    }

    /// Feeds the file's bytes, in order, and returns how many there were and their hash.
    fn feed(&mut self, mut feed: impl FnMut(&[u8])) -> Result<(u64, Hash), Cut> {
        let mut checksum = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut sha256 = Sha256::new();
        let mut position = 0;
        loop {
            let read = match disk::read_at(self.file, self.buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let bytes = &self.buffer[..read];
            if bytes.is_empty() || position > self.length {
                return Ok((
                    position,
                    match self.hashing {
                        Hashing::Nothing => Hash::Nothing,
                        Hashing::Checksum => Hash::Checksum(checksum.finalize()),
                        Hashing::Sha256 => Hash::Sha256(Sha256Digest::new(sha256.finalize().into())),
                    },
                ));
            }
            position += read as u64;
            match self.hashing {
                Hashing::Nothing => {}
                Hashing::Checksum => checksum.update(bytes),
                Hashing::Sha256 => sha256.update(bytes),
            }
            feed(bytes);
            if (self.on_read)(read as u64).is_break() {
                return Err(Cut::Ended);
            }
        }
    }
}

fn json_fault(bytes: &[u8]) -> Option<String> {
    if bytes.len() > MAX_JSON {
        return Some("it is longer than 1 MiB".to_owned());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).err().map(|error| error.to_string())
}

/// A caption that is read in pieces: is it strict UTF-8?
#[derive(Default)]
struct Text {
    /// Bytes before [`Self::rest`].
    passed: u64,
    /// The beginning of a character whose other bytes have not come yet.
    rest: Vec<u8>,
    /// The last bytes of the piece before, in which `[trigger]` may begin.
    tail: Vec<u8>,
    first: Vec<u8>,
    fault: Option<(u64, u8)>,
    has_letters: bool,
    has_trigger: bool,
}

impl Text {
    fn feed(&mut self, bytes: &[u8]) {
        self.first.extend(bytes.iter().take(3 - self.first.len().min(3)));
        if self.fault.is_some() {
            return;
        }
        let mut piece = std::mem::take(&mut self.rest);
        piece.extend_from_slice(bytes);
        let (valid, rest) = match std::str::from_utf8(&piece) {
            Ok(_) => (piece.len(), &[][..]),
            Err(error) => {
                let valid = error.valid_up_to();
                if error.error_len().is_some() {
                    self.fault = Some((self.passed + valid as u64, piece[valid]));
                }
                (valid, &piece[valid..])
            }
        };
        let text = &piece[..valid];
        self.has_letters |=
            String::from_utf8_lossy(text).chars().any(|c| !c.is_whitespace() && c != '\u{feff}');
        let mut joined = std::mem::take(&mut self.tail);
        joined.extend_from_slice(text);
        self.has_trigger |= joined.windows(TRIGGER.len()).any(|window| window == TRIGGER);
        self.tail = joined.split_off(joined.len().saturating_sub(TRIGGER.len() - 1));
        self.passed += valid as u64;
        self.rest = rest.to_vec();
    }

    fn finish(self) -> Caption {
        let cut = self.rest.first().map(|byte| (self.passed, *byte));
        if let Some((offset, byte)) = self.fault.or(cut) {
            let is_utf16 = self.first.starts_with(b"\xff\xfe") || self.first.starts_with(b"\xfe\xff");
            return Caption::NotUtf8 { offset, byte, is_utf16 };
        }
        Caption::Text {
            is_blank: !self.has_letters,
            has_trigger: self.has_trigger,
            has_mark: self.first.starts_with(b"\xef\xbb\xbf"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn caption(bytes: &[u8], chunk: usize) -> Caption {
        let mut text = Text::default();
        bytes.chunks(chunk.max(1)).for_each(|chunk| text.feed(chunk));
        text.finish()
    }

    fn text(is_blank: bool, has_trigger: bool, has_mark: bool) -> Caption {
        Caption::Text { is_blank, has_trigger, has_mark }
    }

    #[test]
    fn a_caption_is_judged_however_it_is_cut() {
        let fault = |offset, byte, is_utf16| Caption::NotUtf8 { offset, byte, is_utf16 };
        for (bytes, expected) in [
            (&b"a dog"[..], text(false, false, false)),
            (b"", text(true, false, false)),
            (b" \n\t", text(true, false, false)),
            (b"\xef\xbb\xbf", text(true, false, true)),
            (b"\xef\xbb\xbfa [trigger] dog", text(false, true, true)),
            ("größe [trigger]".as_bytes(), text(false, true, false)),
            (b"a dog\x92s tail", fault(5, 0x92, false)),
            (b"gr\xf6\xdfe", fault(2, 0xf6, false)),
            (b"cut \xc3", fault(4, 0xc3, false)),
            (b"\xff\xfea\0", fault(0, 0xff, true)),
            // Surrogates and overlong forms are no UTF-8 for Python either.
            (b"\xed\xa0\x80", fault(0, 0xed, false)),
            (b"\xc0\xaf", fault(0, 0xc0, false)),
        ] {
            for chunk in 1..=bytes.len().max(1) {
                assert_eq!(caption(bytes, chunk), expected, "{bytes:?} in chunks of {chunk}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_caption_is_text_where_the_standard_library_reads_it(bytes in proptest::collection::vec(any::<u8>(), 0..40), chunk in 1..9_usize) {
            let offset = std::str::from_utf8(&bytes).err().map(|error| error.valid_up_to() as u64);
            match caption(&bytes, chunk) {
                Caption::NotUtf8 { offset: found, .. } => prop_assert_eq!(Some(found), offset),
                _ => prop_assert_eq!(offset, None),
            }
        }
    }
}
