//! MP4 and its relatives (ISO base media, HEIF and AVIF among them): boxes that say their lengths, of which only the
//! outermost are walked.

use super::cursor::{Field, pass};
use super::verdict::{Fault, Verdict};

#[derive(Debug, Default)]
pub(super) struct Walk {
    state: State,
    head: Field<8>,
    large: Field<8>,
    kind: [u8; 4],
    boxes: u64,
    index_seen: bool,
    data_seen: bool,
    fragmented: bool,
    /// The first bytes of the `ftyp` box: the brand.
    brand: Field<4>,
    brand_read: bool,
    is_picture: bool,
    /// What a picture is made of, in place of a video's index.
    meta_seen: bool,
    /// The picture's bytes may be within its description.
    data_within: bool,
    /// The last four bytes of the description.
    last: u32,
}

/// Brands of still pictures and of sequences of them.
const PICTURES: [&[u8; 4]; 14] = [
    b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1",
    b"mif2", b"msf1", b"avio",
];

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    /// A length of 64 bits follows the head.
    Large,
    Body {
        left: u64,
    },
    /// A last box without a length.
    ToTheEnd,
}

impl Walk {
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while !input.is_empty() {
            self.state = match &mut self.state {
                State::Head => {
                    let Some(head) = self.head.take(&mut input) else { return Ok(()) };
                    self.enter(head)?
                }
                State::Large => {
                    let Some(length) = self.large.take(&mut input) else { return Ok(()) };
                    body(u64::from_be_bytes(length), 16)?
                }
                State::Body { left } => {
                    let passed = pass(left, &mut input);
                    let is_over = *left == 0;
                    match &self.kind {
                        b"ftyp" => self.read_brand(passed, is_over),
                        b"meta" if self.is_picture => self.look_for_data(passed),
                        _ => {}
                    }
                    let State::Body { left } = &self.state else { return Ok(()) };
                    if *left > 0 {
                        return Ok(());
                    }
                    State::Head
                }
                State::ToTheEnd => return Ok(()),
            };
        }
        Ok(())
    }

    /// Begins a box, if it may be here.
    fn enter(&mut self, [a, b, c, d, kind @ ..]: [u8; 8]) -> Result<State, Fault> {
        let first = self.boxes == 0;
        if first && !matches!(&kind, b"ftyp" | b"styp") {
            return Err(Fault::NotA("the `ftyp` box of an MP4 file"));
        }
        if !kind.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(Fault::bad("there is no box where one should begin"));
        }
        self.boxes += 1;
        self.kind = kind;
        match &kind {
            // Never twice: what follows is another file, or another version of this one.
            b"ftyp" if !first => return Err(Fault::bad("a second file begins in the middle of it")),
            b"moov" if self.index_seen => return Err(Fault::bad("it has two `moov` boxes")),
            b"moov" => self.index_seen = true,
            b"mdat" => self.data_seen = true,
            b"moof" => self.fragmented = true,
            b"meta" => self.meta_seen = true,
            _ => {}
        }
        match u32::from_be_bytes([a, b, c, d]) {
            // The index must be before it, since nothing can follow it. A writer that is not done yet
            // leaves the same zero in front of the data, without an index.
            0 if kind == *b"mdat" => Ok(State::ToTheEnd),
            0 => Err(Fault::bad("a box other than its last has no length")),
            1 => Ok(State::Large),
            length => body(u64::from(length), 8),
        }
    }

    /// Takes the brand from the front of the first box.
    fn read_brand(&mut self, mut body: &[u8], is_over: bool) {
        if !self.brand_read
            && let Some(brand) = self.brand.take(&mut body)
        {
            self.is_picture = PICTURES.contains(&&brand);
            self.brand_read = true;
        }
        self.brand_read |= is_over;
    }

    /// Pictures of a few bytes may be in an `idat` box of their description.
    fn look_for_data(&mut self, body: &[u8]) {
        for byte in body {
            self.last = self.last << 8 | u32::from(*byte);
            self.data_within |= self.last == u32::from_be_bytes(*b"idat");
        }
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        let has_picture = self.is_picture && self.meta_seen && (self.data_seen || self.data_within);
        let has_all = (self.index_seen && self.data_seen) || has_picture;
        match self.state {
            State::Head if !self.head.is_untouched() => Err(Fault::cut("a box's head")),
            State::Large => Err(Fault::cut("a box's head")),
            State::Body { .. } => {
                let kind: String = self.kind.map(char::from).iter().collect();
                Err(Fault::cut(&format!("its `{kind}` box")))
            }
            State::Head | State::ToTheEnd if !has_all => Err(Fault::cut(if self.is_picture {
                "the picture: `meta` and `mdat` are not both there"
            } else {
                "the video: `moov` and `mdat` are not both there"
            })),
            State::ToTheEnd => Ok(Verdict::Plausible),
            // Fragments can be missing at the end without a trace, unless the index of fragments is there, which is last.
            State::Head if self.fragmented && self.kind != *b"mfra" => Ok(Verdict::Plausible),
            State::Head => Ok(Verdict::Whole),
        }
    }
}

/// A box's length counts its own head.
fn body(length: u64, head: u64) -> Result<State, Fault> {
    match length.checked_sub(head) {
        None => Err(Fault::bad("a box of it is shorter than its own head")),
        Some(0) => Ok(State::Head),
        Some(left) => Ok(State::Body { left }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    fn boxes(kinds: &[(&[u8; 4], u32)]) -> Vec<u8> {
        let mut file = Vec::new();
        for (kind, length) in kinds {
            file.extend_from_slice(&[&length.to_be_bytes()[..], *kind].concat());
            file.resize(file.len() + (*length).saturating_sub(8) as usize, 1);
        }
        file
    }

    fn verdict(kinds: &[(&[u8; 4], u32)]) -> Verdict {
        check(Format::Mp4, &boxes(kinds))
    }

    #[test]
    fn boxes_fill_the_file() {
        assert_eq!(verdict(&[(b"ftyp", 16), (b"moov", 8), (b"free", 9), (b"mdat", 20)]), Verdict::Whole);
        assert!(verdict(&[(b"ftyp", 16), (b"mdat", 20)]).is_unfinished());
        assert!(verdict(&[(b"ftyp", 16), (b"free", 8), (b"mdat", 0), (b"????", 100)]).is_unfinished());
        assert!(matches!(verdict(&[(b"mdat", 16), (b"moov", 20)]), Verdict::Broken(_)));
        assert!(matches!(
            verdict(&[(b"ftyp", 8), (b"moov", 8), (b"mdat", 8), (b"moov", 8)]),
            Verdict::Broken(_)
        ));
        assert!(matches!(verdict(&[(b"ftyp", 7), (b"moov", 8), (b"mdat", 8)]), Verdict::Broken(_)));
        assert!(matches!(verdict(&[(b"ftyp", 8), (b"moov", 0), (b"mdat", 8)]), Verdict::Broken(_)));
        assert!(matches!(verdict(&[(b"ftyp", 8), (b"\0oov", 8)]), Verdict::Broken(_)));
    }

    #[test]
    fn a_length_may_have_64_bits() {
        let file = |length: u64| {
            let mut file = boxes(&[(b"ftyp", 8), (b"moov", 8), (b"mdat", 1)]);
            file.extend_from_slice(&length.to_be_bytes());
            file.extend_from_slice(b"abc");
            check(Format::Mp4, &file)
        };
        assert_eq!(file(19), Verdict::Whole);
        assert!(file(20).is_unfinished());
        assert!(file(u64::MAX).is_unfinished());
        assert!(matches!(file(15), Verdict::Broken(defect) if !defect.is_truncation()));
    }

    #[test]
    fn an_end_that_nothing_marks_is_only_plausible() {
        assert_eq!(verdict(&[(b"ftyp", 8), (b"moov", 8), (b"mdat", 0), (b"????", 9)]), Verdict::Plausible);
        let file = whole("fragmented.mp4");
        let index = file.windows(4).position(|it| it == b"mfra").unwrap() - 4;
        assert!(check(Format::Mp4, &file[..index + 1]).is_unfinished());
    }
}
