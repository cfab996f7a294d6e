//! FLAC: frames that count up, each with a checksum at its end, up to as many samples as the file declares.
//!
//! Where a frame ends is only known by decoding it, or by what holds there and hardly ever anywhere else: the checksum
//! of all its bytes is zero, and the head of the frame with the next number follows.

use super::verdict::{Fault, Verdict};

/// The longest head of a frame.
const HEAD: usize = 16;

/// The first block of metadata, with its head: it must be the one with the number of samples.
const INFO: usize = 4 + 34;

/// Frames longer than this are none, where the file does not say how long its longest one is: 65,535 samples of 8
/// channels take less, stored as they are.
const LONGEST_FRAME: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Walk {
    state: State,
    /// Bytes that were not looked at yet, since what they are shows only with those that follow.
    waiting: Vec<u8>,
    /// Samples that the file declares; 0 where it does not.
    declared: u64,
    samples: u64,
    /// The length of the longest frame.
    longest: u64,
    /// The number that the next frame must have, once the first has passed.
    next: Option<u64>,
    /// Frames are counted by their samples.
    by_samples: bool,
    /// The checksum of the present frame so far, and its length.
    sum: u16,
    length: u64,
    /// The checksum was zero somewhere in the present frame: it may have ended there.
    may_have_ended: bool,
    /// After so many bytes in a row it is zero: one, where a frame ends; more, where zeros follow.
    zeros: u64,
    /// Bytes follow that are less than the head of a frame.
    has_rest: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Info,
    Metadata,
    /// Within a block of metadata.
    Block {
        left: u64,
        last: bool,
    },
    Frames,
    /// Something that cannot be accounted for.
    Odd,
}

/// The head of a frame.
struct Frame {
    by_samples: bool,
    number: u64,
    samples: u64,
}

impl Walk {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Odd) {
            return;
        }
        self.waiting.extend_from_slice(bytes);
        self.walk(HEAD);
    }

    /// Looks at what waits, as long as so many bytes follow.
    fn walk(&mut self, follow: usize) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = &*waiting;
        loop {
            self.state = match self.state {
                State::Info => {
                    let Some((info, behind)) = rest.split_at_checked(4 + INFO) else { break };
                    rest = behind;
                    self.info(&info[4..])
                }
                State::Metadata => {
                    let Some((head, behind)) = rest.split_at_checked(4) else { break };
                    rest = behind;
                    let left = u64::from(u32::from_be_bytes([0, head[1], head[2], head[3]]));
                    State::Block { left, last: head[0] & 0x80 != 0 }
                }
                State::Block { left, last } => {
                    let passed = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    rest = &rest[passed..];
                    match left - passed as u64 {
                        0 if last => State::Frames,
                        0 => State::Metadata,
                        left => State::Block { left, last },
                    }
                }
                State::Frames if follow == 0 && self.is_between(rest) => {
                    self.has_rest = true;
                    break;
                }
                State::Frames if rest.len() >= follow.max(1) => {
                    self.step(rest);
                    rest = &rest[1..];
                    if self.length > self.longest { State::Odd } else { self.state }
                }
                State::Frames | State::Odd => break,
            };
            if rest.is_empty() {
                break;
            }
        }
        self.waiting = if matches!(self.state, State::Odd) { Vec::new() } else { rest.to_vec() };
    }

    fn info(&mut self, block: &[u8]) -> State {
        let is_info = block[0] & 0x7f == 0 && block[1..4] == [0, 0, 34];
        if !is_info {
            return State::Odd;
        }
        let low = u32::from_be_bytes([block[18], block[19], block[20], block[21]]);
        self.declared = u64::from(block[17] & 0x0f) << 32 | u64::from(low);
        let longest = u32::from_be_bytes([0, block[11], block[12], block[13]]);
        self.longest = if longest == 0 { LONGEST_FRAME } else { u64::from(longest) };
        if block[0] & 0x80 == 0 { State::Metadata } else { State::Frames }
    }

    /// Whether a frame has ended, and too little follows for the head of another one.
    fn is_between(&self, rest: &[u8]) -> bool {
        self.sum == 0
            && self.length > 0
            && !rest.is_empty()
            && rest.len() < HEAD
            && Frame::read(rest).is_none()
    }

    /// Looks at one byte of the frames, the first of `rest`: the next frame may begin with it.
    fn step(&mut self, rest: &[u8]) {
        if self.sum == 0 && (self.length > 0 || self.next.is_none()) {
            self.may_have_ended |= self.length > 0;
            let fits = |frame: &Frame| {
                self.next.is_none_or(|next| frame.number == next && frame.by_samples == self.by_samples)
            };
            match Frame::read(rest).filter(fits) {
                Some(frame) => {
                    self.samples = self.samples.saturating_add(frame.samples);
                    self.by_samples = frame.by_samples;
                    let one = if frame.by_samples { frame.samples } else { 1 };
                    self.next = Some(frame.number.saturating_add(one));
                    (self.length, self.may_have_ended) = (0, false);
                }
                None if self.next.is_none() && rest.len() >= HEAD => self.state = State::Odd,
                None => {}
            }
        }
        self.sum = crc16(self.sum, rest[0]);
        self.zeros = if self.sum == 0 { self.zeros + 1 } else { 0 };
        self.length += 1;
    }

    pub(super) fn finish(mut self) -> Result<Verdict, Fault> {
        self.walk(0);
        match self.state {
            State::Odd => Ok(Verdict::Plausible),
            State::Info | State::Metadata | State::Block { .. } => Err(Fault::cut("what precedes the sound")),
            State::Frames if self.declared == 0 => Ok(Verdict::Plausible),
            State::Frames if self.samples < self.declared => Err(Fault::cut("the sound")),
            State::Frames if self.samples > self.declared || self.has_rest => Ok(Verdict::Plausible),
            State::Frames if self.zeros == 1 => Ok(Verdict::Whole),
            State::Frames if self.zeros == 0 && !self.may_have_ended => Err(Fault::cut("its last frame")),
            State::Frames => Ok(Verdict::Plausible),
        }
    }
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [0xff, second, third, fourth, ..] = *bytes else { return None };
        if second & 0xfe != 0xf8 || fourth & 1 != 0 {
            return None;
        }
        let count = match *bytes.get(4)? {
            first @ 0..0x80 => (u64::from(first), 5),
            first => {
                let more = usize::try_from(first.leading_ones()).ok()?.checked_sub(1)?;
                if more == 0 || more > 6 {
                    return None;
                }
                let head = u64::from(first) & ((1 << (6 - more)) - 1);
                let tail = bytes.get(5..5 + more)?;
                if tail.iter().any(|byte| byte & 0xc0 != 0x80) {
                    return None;
                }
                (tail.iter().fold(head, |number, byte| number << 6 | u64::from(byte & 0x3f)), 5 + more)
            }
        };
        let (number, mut at) = count;
        let samples = match third >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..=5 => 576 << (code - 2),
            6 => {
                at += 1;
                u64::from(*bytes.get(at - 1)?) + 1
            }
            7 => {
                at += 2;
                u64::from(u16::from_be_bytes([*bytes.get(at - 2)?, *bytes.get(at - 1)?])) + 1
            }
            code => 256 << (code - 8),
        };
        at += match third & 0x0f {
            12 => 1,
            13 | 14 => 2,
            15 => return None,
            _ => 0,
        };
        let sum = bytes.get(..at)?.iter().fold(0, |sum, byte| crc8(sum, *byte));
        (*bytes.get(at)? == sum).then_some(Self { by_samples: second & 1 == 1, number, samples })
    }
}

/// CRC-8 with the polynomial 0x07, one byte on.
const fn crc8(sum: u8, byte: u8) -> u8 {
    let mut sum = sum ^ byte;
    let mut bit = 0;
    while bit < 8 {
        sum = if sum & 0x80 == 0 { sum << 1 } else { (sum << 1) ^ 0x07 };
        bit += 1;
    }
    sum
}

/// What each byte adds to a CRC-16 with the polynomial 0x8005.
const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x8005 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

const fn crc16(sum: u16, byte: u8) -> u16 {
    (sum << 8) ^ CRC16[((sum >> 8) as u8 ^ byte) as usize]
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    #[test]
    fn frames_are_counted_up_to_the_declared_samples() {
        let file = whole("sine.flac");
        let mut unknown = file.to_vec();
        unknown[21] &= 0xf0;
        unknown[22..26].fill(0);
        assert_eq!(check(Format::Unknown, &unknown), Verdict::Plausible, "nothing tells where it ends");
        let mut more = file.to_vec();
        more[25] += 1;
        assert!(check(Format::Unknown, &more).is_unfinished());
        let mut less = file.to_vec();
        less[25] -= 1;
        assert_eq!(check(Format::Unknown, &less), Verdict::Plausible);
        assert_eq!(check(Format::Unknown, &[file, b"TAG"].concat()), Verdict::Plausible);
    }

    #[test]
    fn a_flipped_bit_in_a_frame_is_no_whole_file() {
        let file = whole("sine.flac");
        for at in (file.len() - 500..file.len()).step_by(7) {
            let mut flipped = file.to_vec();
            flipped[at] ^= 4;
            assert_ne!(check(Format::Unknown, &flipped), Verdict::Whole, "{at}");
        }
    }

    #[test]
    fn what_holds_no_frames_is_not_condemned() {
        let mut file = whole("sine.flac")[..INFO + 4].to_vec();
        file[4] |= 0x80;
        file.extend_from_slice(&[7; 5000]);
        assert_eq!(check(Format::Unknown, &file), Verdict::Plausible);
    }
}
