//! Ogg (Vorbis, Opus): pages with a checksum each; the last page of each stream is marked as the last.

use crc_fast::{CrcAlgorithm, Digest};

use super::cursor::{Field, pass};
use super::verdict::{Fault, Verdict};

/// A page's head, up to the number of its segments.
const HEAD: usize = 27;

/// Streams at a time that are kept apart. Real files have one or two.
const MOST_STREAMS: usize = 64;

const BEGINS: u8 = 2;
const ENDS: u8 = 4;

#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    head: Field<HEAD>,
    sum: Digest,
    /// The checksum that the page declares.
    declared: u32,
    /// Streams that have begun and not ended.
    open: Vec<u32>,
    /// The stream that ends with this page.
    ending: Option<u32>,
    /// Something is here that cannot be accounted for: another file behind this one, or too many streams.
    is_odd: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    /// The lengths of the segments; `body` is their sum so far.
    Table {
        left: u64,
        body: u64,
    },
    Body {
        left: u64,
    },
    /// Behind the last page.
    Behind,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            state: State::Head,
            head: Field::default(),
            sum: sum(),
            declared: 0,
            open: Vec::new(),
            ending: None,
            is_odd: false,
        }
    }
}

/// The checksum of a page, but for the inversion at its end.
fn sum() -> Digest {
    Digest::new(CrcAlgorithm::Crc32Cksum)
}

impl Walk {
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while !input.is_empty() {
            self.state = match self.state {
                State::Head => {
                    let Some(head) = self.head.take(&mut input) else { return Ok(()) };
                    self.enter(head)?
                }
                State::Table { mut left, mut body } => {
                    let lengths = pass(&mut left, &mut input);
                    self.sum.update(lengths);
                    body += lengths.iter().map(|length| u64::from(*length)).sum::<u64>();
                    if left > 0 { State::Table { left, body } } else { self.body(body)? }
                }
                State::Body { mut left } => {
                    self.sum.update(pass(&mut left, &mut input));
                    self.body(left)?
                }
                State::Behind => {
                    self.is_odd = true;
                    return Ok(());
                }
            };
        }
        Ok(())
    }

    /// Begins a page, if it may be here.
    fn enter(&mut self, mut head: [u8; HEAD]) -> Result<State, Fault> {
        let begun = !self.open.is_empty();
        if !head.starts_with(b"OggS\0") {
            if begun {
                return Err(Fault::bad("there is no page where one should begin"));
            }
            self.is_odd = true;
            return Ok(State::Behind);
        }
        let [kind, serial @ ..] = [head[5], head[14], head[15], head[16], head[17]];
        let serial = u32::from_le_bytes(serial);
        self.declared = u32::from_le_bytes([head[22], head[23], head[24], head[25]]);
        if kind & BEGINS != 0 && !self.open.contains(&serial) {
            if self.open.len() >= MOST_STREAMS {
                self.is_odd = true;
                return Ok(State::Behind);
            }
            self.open.push(serial);
        }
        self.ending = (kind & ENDS != 0).then_some(serial);
        head[22..26].fill(0);
        self.sum = sum();
        self.sum.update(&head);
        match head[HEAD - 1] {
            0 => self.body(0),
            count => Ok(State::Table { left: u64::from(count), body: 0 }),
        }
    }

    /// So much of the page's body is left; without any, the page ends here.
    fn body(&mut self, left: u64) -> Result<State, Fault> {
        if left > 0 {
            return Ok(State::Body { left });
        }
        let found = !u32::try_from(self.sum.finalize() & u64::from(u32::MAX)).unwrap_or_default();
        if found != self.declared {
            return Err(Fault::bad("a page of it does not fit its own checksum"));
        }
        if let Some(ending) = self.ending.take() {
            self.open.retain(|serial| *serial != ending);
            // What follows is another file that was put behind this one.
            if self.open.is_empty() {
                return Ok(State::Behind);
            }
        }
        Ok(State::Head)
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        match self.state {
            State::Behind if self.is_odd => Ok(Verdict::Plausible),
            State::Behind => Ok(Verdict::Whole),
            // Not every encoder marks the last page: it may be whole.
            State::Head if self.head.is_untouched() => Ok(Verdict::Plausible),
            State::Head | State::Table { .. } | State::Body { .. } => Err(Fault::cut("a page")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    #[test]
    fn pages_fit_their_checksums_and_the_last_one_is_marked() {
        for name in ["vorbis.ogg", "opus.ogg"] {
            let file = whole(name);
            for at in (0..file.len()).filter(|at| *at > 4) {
                let mut flipped = file.to_vec();
                flipped[at] ^= 1;
                assert_ne!(check(Format::Unknown, &flipped), Verdict::Whole, "{name} at {at}");
            }
            let last = file.windows(4).rposition(|it| it == b"OggS").unwrap();
            assert_eq!(check(Format::Unknown, &file[..last]), Verdict::Plausible, "{name}");
            assert!(check(Format::Unknown, &file[..last + 1]).is_unfinished(), "{name}");
            assert_eq!(check(Format::Unknown, &[file, file].concat()), Verdict::Plausible, "{name}");
        }
    }
}
