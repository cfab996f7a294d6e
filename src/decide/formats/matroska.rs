//! Matroska and WebM: an EBML header, and a segment that declares its length once its writer is done.

use super::cursor::pass;
use super::verdict::{Fault, Verdict};

/// Identifiers of the outermost elements, with their marker bits.
const HEADER: u64 = 0x1a45_dfa3;
const SEGMENT: u64 = 0x1853_8067;
const VOID: u64 = 0xec;

/// An identifier of four bytes and a length of eight.
const LONGEST_HEAD: usize = 12;

#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    head: Vec<u8>,
    position: u64,
    /// The whole file's length, where the segment declares its own.
    declared: Option<u64>,
    /// What of the segment its elements have not filled yet; `None` before it.
    segment: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body {
        left: u64,
    },
    Behind,
    /// A segment of unknown length, or something that cannot be accounted for.
    Odd,
}

impl Default for Walk {
    fn default() -> Self {
        let head = Vec::with_capacity(LONGEST_HEAD);
        Self { state: State::Head, head, position: 0, declared: None, segment: None }
    }
}

impl Walk {
    pub(super) fn feed(&mut self, mut input: &[u8]) {
        while let [first, rest @ ..] = input {
            self.state = match self.state {
                State::Head => {
                    self.head.push(*first);
                    self.position += 1;
                    input = rest;
                    self.enter()
                }
                State::Body { mut left } => {
                    self.position += pass(&mut left, &mut input).len() as u64;
                    if left > 0 { State::Body { left } } else { self.next() }
                }
                State::Behind => State::Odd,
                State::Odd => return,
            };
        }
    }

    /// Begins an element once its head is complete.
    fn enter(&mut self) -> State {
        let (id, length) = match element(&self.head) {
            Ok(element) => element,
            Err(Incomplete) if self.head.len() < LONGEST_HEAD => return State::Head,
            Err(Incomplete) => return State::Odd,
        };
        let head = self.head.len() as u64;
        self.head.clear();
        match (self.segment, id, length) {
            (None, SEGMENT, Some(length)) if length > 0 => {
                self.declared = self.position.checked_add(length);
                self.segment = Some(length);
                State::Head
            }
            (None, HEADER | VOID, Some(length)) => self.body(length),
            (Some(segment), _, Some(length)) => {
                let Some(left) = segment.checked_sub(head).and_then(|left| left.checked_sub(length)) else {
                    return State::Odd;
                };
                self.segment = Some(left);
                self.body(length)
            }
            _ => State::Odd,
        }
    }

    const fn body(&self, length: u64) -> State {
        if length > 0 { State::Body { left: length } } else { self.next() }
    }

    const fn next(&self) -> State {
        if matches!(self.segment, Some(0)) { State::Behind } else { State::Head }
    }

    /// Returns the file's whole length, where the segment declares it.
    pub(super) fn declared_length(&self) -> Option<u64> {
        self.declared.filter(|_| self.state != State::Odd)
    }

    /// `unwritten`: the file ends in many zeros, as no finished one does.
    pub(super) fn finish(self, total: u64, unwritten: bool) -> Result<Verdict, Fault> {
        match (self.state, self.declared) {
            (_, Some(declared)) if total < declared => Ok(Verdict::Short { declared, have: total }),
            (State::Behind, _) if !unwritten => Ok(Verdict::Whole),
            (State::Head | State::Body { .. }, None) => Err(Fault::cut("its head")),
            _ => Ok(Verdict::Plausible),
        }
    }
}

/// More bytes are needed, or none would help.
struct Incomplete;

/// Reads an element's identifier and length. A length of all ones is unknown.
fn element(head: &[u8]) -> Result<(u64, Option<u64>), Incomplete> {
    let (id, rest) = number(head, 4)?;
    let (length, behind) = number(rest, 8)?;
    let mask = (1_u64 << (7 * (rest.len() - behind.len()))) - 1;
    Ok((id, Some(length & mask).filter(|length| *length != mask)))
}

/// Reads a number whose length in bytes follows from the leading zeros of its first byte; its marker bit stays.
fn number(bytes: &[u8], most: usize) -> Result<(u64, &[u8]), Incomplete> {
    let count = bytes.first().ok_or(Incomplete)?.leading_zeros() as usize + 1;
    let whole = if count <= most { bytes.split_at_checked(count) } else { None };
    let (number, rest) = whole.ok_or(Incomplete)?;
    Ok((number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{check, whole};
    use super::super::{Checker, Format};
    use super::*;

    #[test]
    fn the_segment_declares_the_length() {
        for name in ["video.webm", "video.mkv"] {
            let file = whole(name);
            let length = file.len() as u64;
            let mut checker = Checker::new(Format::Unknown);
            checker.feed(&file[..64]);
            assert_eq!(checker.declared_length(), Some(length), "{name}");
            assert_eq!(checker.finish(64), Verdict::Short { declared: length, have: 64 }, "{name}");
        }
    }

    #[test]
    fn a_live_recording_does_not_declare_its_end() {
        let live = include_bytes!("fixtures/live.webm");
        assert_eq!(check(Format::Unknown, live), Verdict::Plausible);
        assert_eq!(check(Format::Unknown, &live[..live.len() / 2]), Verdict::Plausible);
    }

    #[test]
    fn odd_heads_are_accounted_for_as_little_as_what_follows() {
        for head in [
            &[0x1a, 0x45, 0xdf, 0xa3, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x1a, 0x45, 0xdf, 0xa3, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(check(Format::Unknown, head), Verdict::Plausible);
        }
        let mut huge = [0x1a, 0x45, 0xdf, 0xa3, 0x80, 0x18, 0x53, 0x80, 0x67, 0x01].to_vec();
        huge.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0]);
        assert!(check(Format::Unknown, &huge).is_unfinished());
    }
}
