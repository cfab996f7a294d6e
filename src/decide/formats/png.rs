//! PNG: every chunk has its length and its CRC, and the last one is known. Pixels stay packed.

use crc_fast::{CrcAlgorithm, Digest};

use super::cursor::{Field, pass};
use super::verdict::{Fault, Verdict};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The format's own limit on a chunk's length and on width and height.
const MAX_FIELD: u32 = (1 << 31) - 1;

/// `IHDR` has exactly this many bytes.
const IHDR_LENGTH: u32 = 13;

#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    eight: Field<8>,
    four: Field<4>,
    crc: Digest,
    chunk: [u8; 4],
    /// Whether chunks of pixels have begun, and whether they are over: they must be in one row.
    pixels: Pixels,
    header_seen: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Signature,
    Head,
    /// Width and height, the first eight bytes of `IHDR`.
    Size,
    Body {
        left: u64,
    },
    Crc,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pixels {
    None,
    Some,
    Over,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            state: State::Signature,
            eight: Field::default(),
            four: Field::default(),
            crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            chunk: [0; 4],
            pixels: Pixels::None,
            header_seen: false,
        }
    }
}

impl Walk {
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while !input.is_empty() {
            match &mut self.state {
                State::Signature => {
                    let Some(signature) = self.eight.take(&mut input) else { return Ok(()) };
                    if signature != SIGNATURE {
                        return Err(Fault::NotA("a PNG signature"));
                    }
                    self.state = State::Head;
                }
                State::Head => {
                    let Some(head) = self.eight.take(&mut input) else { return Ok(()) };
                    self.state = self.enter(head)?;
                }
                State::Size => {
                    let Some(size) = self.eight.take(&mut input) else { return Ok(()) };
                    self.crc.update(&size);
                    let (width, height) = halves(size);
                    if !(1..=MAX_FIELD).contains(&width) || !(1..=MAX_FIELD).contains(&height) {
                        return Err(Fault::bad(&format!("its size is {width} x {height}")));
                    }
                    self.state = State::Body { left: u64::from(IHDR_LENGTH) - 8 };
                }
                State::Body { left } => {
                    self.crc.update(pass(left, &mut input));
                    if *left == 0 {
                        self.state = State::Crc;
                    }
                }
                State::Crc => {
                    let Some(declared) = self.four.take(&mut input) else { return Ok(()) };
                    if self.crc.finalize() != u64::from(u32::from_be_bytes(declared)) {
                        return Err(Fault::bad(&format!(
                            "the CRC of its `{}` chunk is wrong",
                            self.chunk_name()
                        )));
                    }
                    self.state = if self.chunk == *b"IEND" { State::End } else { State::Head };
                }
                State::End => return Err(Fault::bad("there are bytes behind its `IEND` chunk")),
            }
        }
        Ok(())
    }

    /// Begins a chunk, if it may be here.
    fn enter(&mut self, head: [u8; 8]) -> Result<State, Fault> {
        let (length, _) = halves(head);
        self.chunk.copy_from_slice(&head[4..]);
        if length > MAX_FIELD || !self.chunk.iter().all(u8::is_ascii_alphabetic) {
            return Err(Fault::bad("there is no chunk where one should begin"));
        }
        let is_header = self.chunk == *b"IHDR";
        if is_header == self.header_seen || (is_header && length != IHDR_LENGTH) {
            return Err(Fault::bad("it does not have one `IHDR` chunk, at its beginning"));
        }
        self.header_seen = true;
        self.pixels = match (&self.chunk, self.pixels) {
            (b"IDAT", Pixels::Over) => return Err(Fault::bad("its `IDAT` chunks are not consecutive")),
            (b"IDAT", _) => Pixels::Some,
            (b"IEND", Pixels::None) => return Err(Fault::bad("it has no `IDAT` chunk")),
            (b"IEND", _) if length > 0 => return Err(Fault::bad("its `IEND` chunk is not empty")),
            (_, Pixels::Some) => Pixels::Over,
            (_, pixels) => pixels,
        };
        self.crc.reset();
        self.crc.update(&self.chunk);
        Ok(match length {
            _ if is_header => State::Size,
            0 => State::Crc,
            _ => State::Body { left: u64::from(length) },
        })
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        match self.state {
            State::End => Ok(Verdict::Whole),
            State::Signature => Err(Fault::cut("its signature")),
            State::Head if self.eight.is_untouched() => {
                Err(Fault::cut("the image: there is no `IEND` chunk"))
            }
            State::Head => Err(Fault::cut("the image, within a chunk's head")),
            State::Size | State::Body { .. } | State::Crc => {
                Err(Fault::cut(&format!("its `{}` chunk", self.chunk_name())))
            }
        }
    }

    fn chunk_name(&self) -> String {
        self.chunk.map(char::from).iter().collect()
    }
}

fn halves([a, b, c, d, e, f, g, h]: [u8; 8]) -> (u32, u32) {
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{check, whole};
    use super::super::{Format, Verdict};
    use super::*;

    fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        let crc = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, &[name, body].concat());
        [&length.to_be_bytes()[..], name, body, &u32::try_from(crc).unwrap().to_be_bytes()].concat()
    }

    fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
        [SIGNATURE.to_vec(), chunks.concat()].concat()
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = whole("image.png");
        for at in 0..whole.len() * 8 {
            let mut file = whole.to_vec();
            file[at / 8] ^= 1 << (at % 8);
            assert_ne!(check(Format::Png, &file), Verdict::Whole, "bit {at}");
        }
    }

    #[test]
    fn chunks_are_in_order() {
        let size = |width: u32, height: u32| {
            chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat())
        };
        let (head, data, text, end) =
            (size(1, 1), chunk(b"IDAT", b"x"), chunk(b"tEXt", b""), chunk(b"IEND", b""));
        let of = |chunks: &[&Vec<u8>]| {
            check(Format::Png, &png(&chunks.iter().copied().cloned().collect::<Vec<_>>()))
        };
        assert_eq!(of(&[&head, &text, &data, &data, &text, &end]), Verdict::Whole);
        // 100,000 pixels each way cost nothing: they are not looked at.
        assert_eq!(of(&[&size(100_000, 100_000), &data, &end]), Verdict::Whole);
        for wrong in [
            vec![&text, &head, &data, &end],
            vec![&head, &head, &data, &end],
            vec![&head, &end],
            vec![&head, &data, &text, &data, &end],
            vec![&head, &data, &chunk(b"IEND", b"x")],
            vec![&head, &data, &end, &text],
            vec![&size(0, 1), &data, &end],
            vec![&size(1, 1 << 31), &data, &end],
            vec![&chunk(b"IHDR", &[1; 12]), &data, &end],
            vec![&head, &chunk(b"ID T", b"x"), &data, &end],
        ] {
            assert!(matches!(of(&wrong), Verdict::Broken(defect) if !defect.is_truncation()), "{wrong:?}");
        }
    }
}
