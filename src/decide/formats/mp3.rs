//! MP3: frames of known length one behind the other. Only where the first one says how many follow can a file be proven
//! whole; without that, a file that was cut may end like a whole one.

use super::verdict::{Fault, Verdict};

/// Enough of the first frame to find the counts in it.
const INFO: usize = 4 + 32 + 16;

/// Tags of fixed length at the end.
const TAG: u64 = 128;

#[derive(Debug, Default)]
pub(super) struct Walk {
    state: State,
    waiting: Vec<u8>,
    /// Frames that are whole, without the one that has the counts.
    frames: u64,
    /// Bytes from the first frame on.
    bytes: u64,
    counted: Option<Counted>,
}

/// What the first frame says of those that follow.
#[derive(Debug, Clone, Copy)]
struct Counted {
    frames: u64,
    bytes: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// A tag may come first.
    #[default]
    Begin,
    /// What precedes the first frame.
    Skip {
        left: u64,
    },
    First,
    Frame,
    Body {
        left: u64,
        counts: bool,
    },
    Tag {
        left: u64,
    },
    /// Behind the tag.
    Tagged,
    /// Something that cannot be accounted for.
    Odd,
}

impl Walk {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Odd) {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let joined;
        let mut rest = if waiting.is_empty() {
            bytes
        } else {
            joined = [&*waiting, bytes].concat();
            &*joined
        };
        while !rest.is_empty() {
            let before = rest.len();
            let Some(next) = self.step(&mut rest) else { break };
            if matches!(self.state, State::Body { .. } | State::Frame | State::First) {
                self.bytes += (before - rest.len()) as u64;
            }
            self.state = next;
        }
        if !matches!(self.state, State::Odd) {
            self.waiting = rest.to_vec();
        }
    }

    /// Takes what is complete off the front; `None` where more bytes are needed.
    fn step(&mut self, rest: &mut &[u8]) -> Option<State> {
        Some(match self.state {
            State::Begin => {
                let head = rest.get(..10)?;
                if head.starts_with(b"ID3") {
                    let size = head[6..].iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
                    let footer = if head[5] & 0x10 == 0 { 0 } else { 10 };
                    *rest = &rest[10..];
                    State::Skip { left: size + footer }
                } else {
                    State::First
                }
            }
            State::Skip { left } => match left - skip(left, rest) {
                0 => State::First,
                left => State::Skip { left },
            },
            State::First => {
                let head = rest.get(..INFO)?;
                let Some(length) = frame_length([head[0], head[1], head[2], head[3]]) else {
                    return Some(State::Odd);
                };
                self.counted = counted(head);
                *rest = &rest[4..];
                self.body(length - 4, self.counted.is_none())
            }
            State::Frame => {
                let head = rest.get(..4)?;
                if head.starts_with(b"TAG") {
                    return Some(State::Tag { left: TAG });
                }
                let Some(length) = frame_length([head[0], head[1], head[2], head[3]]) else {
                    return Some(State::Odd);
                };
                *rest = &rest[4..];
                self.body(length - 4, true)
            }
            State::Body { left, counts } => self.body(left - skip(left, rest), counts),
            State::Tag { left } => match left - skip(left, rest) {
                0 => State::Tagged,
                left => State::Tag { left },
            },
            State::Tagged => State::Odd,
            State::Odd => return None,
        })
    }

    fn body(&mut self, left: u64, counts: bool) -> State {
        if left > 0 {
            return State::Body { left, counts };
        }
        self.frames += u64::from(counts);
        State::Frame
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        if matches!(self.state, State::Begin | State::Skip { .. } | State::First) {
            return Err(Fault::cut("what precedes the sound"));
        }
        let Some(counted) = self.counted else { return Ok(Verdict::Plausible) };
        let at_end = match self.state {
            State::Frame => self.waiting.is_empty(),
            State::Tagged => true,
            _ => false,
        };
        let is_short = counted.bytes.is_none_or(|bytes| self.bytes < bytes);
        // Some writers count the frame with the counts, too.
        let lacks = counted.frames.saturating_sub(self.frames);
        if (is_short && lacks > 1) || (counted.bytes.is_some() && is_short && lacks > 0) {
            return match self.state {
                State::Odd => Ok(Verdict::Plausible),
                _ => Err(Fault::cut("the sound")),
            };
        }
        let fits = counted.bytes.is_none_or(|bytes| bytes == self.bytes);
        Ok(if at_end && fits && lacks <= 1 && self.frames <= counted.frames {
            Verdict::Whole
        } else {
            Verdict::Plausible
        })
    }
}

/// Whether a frame begins here. Two bytes that look so are in many a file: the name has to say the same.
pub(super) fn begins(first: &[u8]) -> bool {
    let head = first.get(..4).and_then(|head| head.try_into().ok());
    head.and_then(frame_length).is_some()
}

/// Moves at most so many bytes off the front; returns how many it were.
fn skip(left: u64, rest: &mut &[u8]) -> u64 {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    *rest = &rest[count..];
    count as u64
}

/// Returns the length of the frame with this head; `None` where it is none, or one of a free bit rate.
fn frame_length(head: [u8; 4]) -> Option<u64> {
    const RATES: [[u64; 15]; 5] = [
        [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let [0xff, second, third, _] = head else { return None };
    if second & 0xe0 != 0xe0 {
        return None;
    }
    let version = second >> 3 & 3;
    let layer = second >> 1 & 3;
    let is_first_version = version == 3;
    let table = match (is_first_version, layer) {
        (true, 3) => 0,
        (true, 2) => 1,
        (true, 1) => 2,
        (false, 3) => 3,
        (false, 1 | 2) => 4,
        _ => return None,
    };
    let rate = *RATES[table].get(usize::from(third >> 4)).filter(|rate| **rate > 0)? * 1000;
    let sampling = *[44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?
        / match version {
            3 => 1,
            2 => 2,
            0 => 4,
            _ => return None,
        };
    let padding = u64::from(third >> 1 & 1);
    Some(match layer {
        3 => (12 * rate / sampling + padding) * 4,
        1 if !is_first_version => 72 * rate / sampling + padding,
        _ => 144 * rate / sampling + padding,
    })
}

/// Reads the counts in a first frame, where it has any.
fn counted(frame: &[u8]) -> Option<Counted> {
    let is_first_version = frame[1] >> 3 & 3 == 3;
    let is_mono = frame[3] >> 6 == 3;
    let side = match (is_first_version, is_mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    let info = frame.get(4 + side..)?;
    if !info.starts_with(b"Xing") && !info.starts_with(b"Info") {
        return None;
    }
    let word = |at: usize| Some(u64::from(u32::from_be_bytes(info.get(at..at + 4)?.try_into().ok()?)));
    let flags = word(4)?;
    let frames = word(8).filter(|frames| flags & 1 != 0 && *frames > 0)?;
    Some(Counted { frames, bytes: word(12).filter(|bytes| flags & 2 != 0 && *bytes > 0) })
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    #[test]
    fn counts_in_the_first_frame_prove_a_file() {
        let file = whole("xing.mp3");
        assert_eq!(check(Format::Unknown, file), Verdict::Whole, "by its tag, whatever its name");
        let tag = [&b"TAG"[..], &[0; 125]].concat();
        assert_eq!(check(Format::Mp3, &[file, &tag].concat()), Verdict::Whole);
        assert_eq!(check(Format::Mp3, &[file, &tag[..100]].concat()), Verdict::Plausible);
        for more in [&b"x"[..], &[0; 300], file] {
            assert_eq!(check(Format::Mp3, &[file, more].concat()), Verdict::Plausible);
        }
    }

    #[test]
    fn without_counts_nothing_is_proven_and_nothing_refused() {
        let plain = include_bytes!("fixtures/plain.mp3");
        for end in [plain.len(), plain.len() - 1, plain.len() / 2, 100] {
            assert_eq!(check(Format::Mp3, &plain[..end]), Verdict::Plausible, "{end}");
        }
        assert_eq!(check(Format::Mp3, b"these are no frames at all, whatever it says"), Verdict::Unchecked);
    }
}
