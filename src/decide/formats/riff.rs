//! RIFF, for WebP and WAV: the first twelve bytes say how long the file is, and chunks fill it exactly.

use super::cursor::{Field, pass};
use super::verdict::{Fault, Verdict};

/// The eight bytes before what the length counts.
const HEAD: u64 = 8;

/// The bit of `VP8X` that says that frames follow instead of one image.
const ANIMATION: u8 = 0b10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    WebP,
    Wav,
}

#[derive(Debug)]
pub(super) struct Walk {
    form: Form,
    state: State,
    head: Field<12>,
    chunk: Field<8>,
    /// The length after the first eight bytes, and how much of it is left.
    declared: u64,
    left: u64,
    format_seen: bool,
    data_seen: bool,
    animated: bool,
    first_chunk_passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Chunk,
    /// The first byte of `VP8X`: its flags.
    Flags {
        left: u64,
    },
    Body {
        left: u64,
    },
    End,
    /// A variant whose length does not fit in the head.
    Large,
}

impl Walk {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            state: State::Head,
            head: Field::default(),
            chunk: Field::default(),
            declared: 0,
            left: 0,
            format_seen: false,
            data_seen: false,
            animated: false,
            first_chunk_passed: false,
        }
    }

    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while let [first, rest @ ..] = input {
            self.state = match &mut self.state {
                State::Head => {
                    let Some(head) = self.head.take(&mut input) else { return Ok(()) };
                    self.begin(&head)?
                }
                State::Chunk => {
                    // Less than a chunk's head is filling.
                    if self.left < HEAD && self.chunk.is_untouched() {
                        State::Body { left: self.left }
                    } else {
                        let Some(head) = self.chunk.take(&mut input) else { return Ok(()) };
                        self.enter(head)?
                    }
                }
                State::Flags { left } => {
                    let left = *left;
                    self.animated = first & ANIMATION != 0;
                    input = rest;
                    self.left -= 1;
                    State::Body { left: left - 1 }
                }
                State::Body { left } => {
                    self.left -= pass(left, &mut input).len() as u64;
                    if *left > 0 {
                        return Ok(());
                    }
                    self.next()
                }
                // The filling byte of an odd length is checked at the end; it may be there or not.
                State::End | State::Large => return Ok(()),
            };
        }
        Ok(())
    }

    fn begin(&mut self, head: &[u8; 12]) -> Result<State, Fault> {
        let [r, i, f, g, a, b, c, d, form @ ..] = *head;
        let (expected, words) = match self.form {
            Form::WebP => (*b"WEBP", "the head of a WebP file"),
            Form::Wav => (*b"WAVE", "the head of a WAV file"),
        };
        if form != expected {
            return Err(Fault::NotA(words));
        }
        match &[r, i, f, g] {
            b"RIFF" => {}
            b"RF64" | b"BW64" if self.form == Form::Wav => return Ok(State::Large),
            _ => return Err(Fault::NotA(words)),
        }
        let length = u32::from_le_bytes([a, b, c, d]);
        // Writers that cannot know the length yet put one of these, and come back when they are done.
        if length == 0 || length == u32::MAX {
            return Err(Fault::cut("its head: the length is not filled in"));
        }
        if length < 4 {
            return Err(Fault::bad("its head declares less than itself"));
        }
        self.declared = u64::from(length);
        self.left = self.declared - 4;
        Ok(self.next())
    }

    const fn next(&self) -> State {
        if self.left == 0 { State::End } else { State::Chunk }
    }

    /// Begins a chunk, if it may be here and fits.
    fn enter(&mut self, [a, b, c, d, length @ ..]: [u8; 8]) -> Result<State, Fault> {
        let name = [a, b, c, d];
        let length = u64::from(u32::from_le_bytes(length));
        self.left -= HEAD;
        if length > self.left {
            return Err(Fault::bad("a chunk of it is longer than the file declares to be"));
        }
        let first = !std::mem::replace(&mut self.first_chunk_passed, true);
        match (self.form, &name) {
            (Form::WebP, b"VP8X") if first && length >= 10 => self.format_seen = true,
            (Form::WebP, b"VP8 " | b"VP8L") => {
                self.format_seen |= first;
                self.data_seen |= length > 0 && !self.animated;
            }
            (Form::WebP, b"ANMF") => self.data_seen |= length > 0 && self.animated,
            (Form::Wav, b"fmt ") => self.format_seen |= length >= 14,
            (Form::Wav, b"data") => self.data_seen = true,
            _ => {}
        }
        if self.form == Form::WebP && !self.format_seen {
            return Err(Fault::bad("its first chunk is none of `VP8 `, `VP8L` and `VP8X`"));
        }
        // Chunks are filled up to an even length; at the very end the filling is often forgotten.
        let padded = (length + (length & 1)).min(self.left);
        Ok(match (&name, padded) {
            (_, 0) => self.next(),
            (b"VP8X", _) if self.form == Form::WebP => State::Flags { left: padded },
            _ => State::Body { left: padded },
        })
    }

    /// Returns the file's whole length; `None` also for an odd one, which a filling byte may follow.
    pub(super) const fn declared_length(&self) -> Option<u64> {
        if self.declared == 0 || self.declared % 2 == 1 { None } else { Some(HEAD + self.declared) }
    }

    pub(super) fn finish(self, total: u64) -> Result<Verdict, Fault> {
        match self.state {
            State::Head => return Err(Fault::cut("its head")),
            State::Large => return Ok(Verdict::Plausible),
            State::Chunk | State::Flags { .. } | State::Body { .. } | State::End => {}
        }
        let declared = HEAD + self.declared;
        if total < declared {
            return Ok(Verdict::Short { declared, have: total });
        }
        if total > declared + self.declared % 2 {
            return Err(Fault::bad(&format!("it is {} bytes longer than it declares", total - declared)));
        }
        match (self.form, self.format_seen && self.data_seen) {
            (_, true) => Ok(Verdict::Whole),
            (Form::WebP, false) => Err(Fault::bad("there is no image in it")),
            (Form::Wav, false) => Err(Fault::bad("there is no sound in it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{check, whole};
    use super::super::{Checker, Format};
    use super::*;

    fn riff(kind: &[u8; 4], form: &[u8; 4], length: usize, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut file = [&kind[..], &u32::try_from(length).unwrap().to_le_bytes(), form].concat();
        for (name, body) in chunks {
            file.extend_from_slice(
                &[&name[..], &u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat(),
            );
        }
        file
    }

    #[test]
    fn the_length_is_known_from_the_head() {
        let file = whole("lossy.webp");
        let mut checker = Checker::new(Format::WebP);
        checker.feed(&file[..12]);
        let length = file.len() as u64;
        assert_eq!(checker.declared_length(), Some(length));
        assert_eq!(checker.finish(12), Verdict::Short { declared: length, have: 12 });
    }

    #[test]
    fn sound_of_an_odd_length_may_or_may_not_be_filled_up() {
        let format: (&[u8; 4], &[u8]) = (b"fmt ", &[1; 16]);
        let file = |length| riff(b"RIFF", b"WAVE", length, &[format, (b"data", b"abc")]);
        let padded = |length| [&file(length)[..], b"\0"].concat();
        assert_eq!(check(Format::Wav, &file(39)), Verdict::Whole);
        assert_eq!(check(Format::Wav, &padded(39)), Verdict::Whole);
        assert_eq!(check(Format::Wav, &padded(40)), Verdict::Whole);
        assert_eq!(check(Format::Wav, &file(40)), Verdict::Short { declared: 48, have: 47 });
        for unfilled in [0, u32::MAX as usize] {
            assert!(check(Format::Wav, &file(unfilled)).is_unfinished());
        }
        assert_eq!(check(Format::Wav, &riff(b"RF64", b"WAVE", u32::MAX as usize, &[])), Verdict::Plausible);
    }

    #[test]
    fn chunks_fill_the_file_and_hold_an_image() {
        let still: &[u8] = &[0; 10];
        let moving: &[u8] = &[ANIMATION, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let webp = |length, chunks: &[(&[u8; 4], &[u8])]| {
            check(Format::WebP, &riff(b"RIFF", b"WEBP", length, chunks))
        };
        assert_eq!(webp(14, &[(b"VP8 ", b"ab")]), Verdict::Whole);
        assert_eq!(webp(32, &[(b"VP8X", still), (b"VP8L", b"ab")]), Verdict::Whole);
        assert_eq!(webp(32, &[(b"VP8X", moving), (b"ANMF", b"ab")]), Verdict::Whole);
        for (length, chunks) in [
            (32, &[(b"VP8X", moving), (b"VP8 ", b"ab")]),
            (32, &[(b"VP8X", still), (b"ANMF", b"ab")]),
            (32, &[(b"EXIF", still), (b"VP8 ", b"ab")]),
            (30, &[(b"VP8X", still), (b"VP8 ", b"ab")]),
        ] {
            assert!(matches!(webp(length, chunks), Verdict::Broken(_)), "{chunks:?}");
        }
        let mut file = riff(b"RIFF", b"WEBP", 14, &[(b"VP8 ", b"ab")]);
        file[16] = 4;
        assert!(
            matches!(check(Format::WebP, &file), Verdict::Broken(_)),
            "the chunk is longer than the file"
        );
        assert_eq!(check(Format::WebP, whole("sine.wav")), Verdict::Whole, "the bytes say what it is");
        assert!(matches!(check(Format::WebP, b"RIFF\x0e\0\0\0AVI LIST\0\0"), Verdict::Broken(_)));
    }
}
