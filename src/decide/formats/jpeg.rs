//! JPEG: segments with lengths, then entropy-coded data up to the next real marker, then a marker for the end.
//!
//! Cameras and phones put things behind the end of the image, and some writers break the rules in between. What can
//! be walked from marker to marker and ends with the end marker is whole; what merely begins and ends like a JPEG is
//! plausible; the rest is cut.

use memchr::memchr;

use super::cursor::{Field, pass};
use super::verdict::{Fault, Verdict};

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

#[derive(Debug, Default)]
pub(super) struct Walk {
    state: State,
    two: Field<2>,
    marker: u8,
    /// Whether a frame header (the image's size) and then a scan have been seen.
    frame_seen: bool,
    scan_seen: bool,
    first_segment_passed: bool,
    last_two: [u8; 2],
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The two bytes of the start marker.
    #[default]
    Start,
    /// A marker must begin here.
    Marker,
    /// After the `FF` of a marker, or one more `FF` as filling.
    MarkerCode,
    Length,
    Segment {
        left: u64,
    },
    Entropy,
    /// After an `FF` in entropy-coded data.
    EntropyCode,
    /// The end marker has passed.
    End,
    /// There are bytes behind the end marker.
    Beyond,
    /// The markers make no sense from some place on.
    Lost,
}

impl Walk {
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<(), Fault> {
        match input {
            [] => return Ok(()),
            [only] => self.last_two = [self.last_two[1], *only],
            [.., before, last] => self.last_two = [*before, *last],
        }
        self.walk(input)
    }

    fn walk(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while let [first, rest @ ..] = input {
            self.state = match &mut self.state {
                State::Start => match self.two.take(&mut input) {
                    None => return Ok(()),
                    Some([0xff, START]) => State::Marker,
                    Some(_) => return Err(Fault::NotA("a JPEG start marker")),
                },
                State::Marker => {
                    input = rest;
                    if *first == 0xff { State::MarkerCode } else { self.lose()? }
                }
                State::MarkerCode => {
                    input = rest;
                    self.enter(*first)?
                }
                State::Length => {
                    let Some(length) = self.two.take(&mut input) else { return Ok(()) };
                    match u16::from_be_bytes(length) {
                        0 | 1 => self.lose()?,
                        2 => self.leave(),
                        length => State::Segment { left: u64::from(length) - 2 },
                    }
                }
                State::Segment { left } => {
                    pass(left, &mut input);
                    if *left > 0 {
                        return Ok(());
                    }
                    self.leave()
                }
                State::Entropy => {
                    let Some(at) = memchr(0xff, input) else { return Ok(()) };
                    input = &input[at + 1..];
                    State::EntropyCode
                }
                State::EntropyCode => {
                    input = rest;
                    match first {
                        // A stuffed zero, and restart markers: the data continues.
                        0 | 0xd0..=0xd7 => State::Entropy,
                        0xff => State::EntropyCode,
                        code => self.enter(*code)?,
                    }
                }
                State::End | State::Beyond => {
                    self.state = State::Beyond;
                    return Ok(());
                }
                State::Lost => return Ok(()),
            };
        }
        Ok(())
    }

    /// Begins the segment of a marker, if it may be here.
    fn enter(&mut self, code: u8) -> Result<State, Fault> {
        self.marker = code;
        match code {
            0xff => Ok(State::MarkerCode),
            END if self.scan_seen => Ok(State::End),
            SCAN if !self.frame_seen => self.lose(),
            // Tables, frames, scans, restart intervals, applications' data, comments.
            0xc0..=0xcf | SCAN..=0xdf | 0xe0..=0xef | 0xfe => {
                self.frame_seen |= matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc);
                Ok(State::Length)
            }
            _ => self.lose(),
        }
    }

    /// Ends a segment.
    const fn leave(&mut self) -> State {
        self.first_segment_passed = true;
        if self.marker == SCAN {
            self.scan_seen = true;
            State::Entropy
        } else {
            State::Marker
        }
    }

    /// From here on only the last two bytes count; without even one good segment it is no JPEG at all.
    const fn lose(&self) -> Result<State, Fault> {
        if self.first_segment_passed {
            Ok(State::Lost)
        } else {
            Err(Fault::NotA("a JPEG start marker and a segment"))
        }
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        let ends_well = self.first_segment_passed && self.last_two == [0xff, END];
        match self.state {
            State::End => Ok(Verdict::Whole),
            State::Beyond => Ok(Verdict::Plausible),
            _ if ends_well => Ok(Verdict::Plausible),
            State::Start => Err(Fault::cut("its start marker")),
            State::Entropy | State::EntropyCode => Err(Fault::cut("the image: there is no end marker")),
            State::Lost => Err(Fault::cut("something: it has bad segments and no end marker")),
            State::Marker | State::MarkerCode | State::Length | State::Segment { .. } => {
                Err(Fault::cut("the segments before the image"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    const JFIF: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";

    #[test]
    fn what_begins_and_ends_like_a_jpeg_is_plausible() {
        let mut random = 12345_u32;
        for _ in 0..2000 {
            let noise = std::iter::repeat_with(|| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            });
            let file: Vec<u8> = JFIF.iter().copied().chain(noise.take(300)).chain([0xff, END]).collect();
            assert_eq!(check(Format::Jpeg, &file), Verdict::Plausible);
            assert!(check(Format::Jpeg, &file[..file.len() - 1]).is_unfinished());
        }
        assert!(matches!(check(Format::Jpeg, b"\xff\xd8\xff\xd9"), Verdict::Broken(_)));
        assert!(matches!(check(Format::Jpeg, b"\xff\xd8hello\xff\xd9"), Verdict::Broken(_)));
    }

    #[test]
    fn what_follows_the_end_is_not_accounted_for() {
        let photo = [whole("baseline.jpg"), b"MotionPhoto", whole("plain.mp4")].concat();
        assert_eq!(check(Format::Jpeg, &photo), Verdict::Plausible);
    }

    #[test]
    fn restarts_stuffing_and_filling_belong_to_the_data() {
        let head =
            [JFIF, b"\xff\xc0\x00\x0b\x08\0\x01\0\x01\x01\x01\x11\0", b"\xff\xda\x00\x08\x01\x01\0\0\x3f\0"]
                .concat();
        let file = |data: &[u8]| [&head, data, b"\xff\xd9"].concat();
        assert_eq!(
            check(Format::Jpeg, &file(b"ab\xff\0\xff\xd0cd\xff\xff\xff\xd7e\xff\xff")),
            Verdict::Whole
        );
        assert_eq!(
            check(Format::Jpeg, &file(b"ab\xff\xc4\0\x03xab")),
            Verdict::Plausible,
            "a marker must follow"
        );
        assert_eq!(
            check(Format::Jpeg, &[&head[..JFIF.len()], b"\xff\xda\0\x02\xff\xd9"].concat()),
            Verdict::Plausible
        );
        assert!(check(Format::Jpeg, &file(b"ab\xff\xd9cd")[..head.len() + 4]) == Verdict::Whole);
    }
}
