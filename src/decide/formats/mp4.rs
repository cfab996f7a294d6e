//! MP4 and its relatives (ISO base media): boxes that say their lengths, of which only the outermost are walked.

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
}

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
                    pass(left, &mut input);
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

    /// Begins a box, if it may stand here.
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
            _ => {}
        }
        match u32::from_be_bytes([a, b, c, d]) {
            // The index must stand before it, since nothing can stand behind it. A writer that is not done yet
            // leaves the same zero in front of the data, without an index.
            0 if kind == *b"mdat" => Ok(State::ToTheEnd),
            0 => Err(Fault::bad("a box other than its last has no length")),
            1 => Ok(State::Large),
            length => body(u64::from(length), 8),
        }
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        let has_all = self.index_seen && self.data_seen;
        match self.state {
            State::Head if !self.head.is_untouched() => Err(Fault::cut("a box's head")),
            State::Large => Err(Fault::cut("a box's head")),
            State::Body { .. } => {
                let kind: String = self.kind.map(char::from).iter().collect();
                Err(Fault::cut(&format!("its `{kind}` box")))
            }
            State::Head | State::ToTheEnd if !has_all => {
                Err(Fault::cut("the video: `moov` and `mdat` are not both there"))
            }
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
