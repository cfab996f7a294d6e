//! GIF: blocks of at most 255 bytes, each with its length before it, up to a trailer.

use super::cursor::{Field, pass};
use super::verdict::{Fault, Verdict};

/// The bit that says that a colour table follows, and the bits of its size.
const TABLE: u8 = 0x80;
const TABLE_SIZE: u8 = 0x07;

#[derive(Debug, Default)]
pub(super) struct Walk {
    state: State,
    head: Field<13>,
    image: Field<9>,
    image_seen: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Signature, version, and the screen's size and colours.
    #[default]
    Head,
    /// The byte that says what comes next.
    Introducer,
    /// The kind of an extension.
    Label,
    /// Where an image goes and which colours it has.
    Image,
    ColourTable {
        left: u64,
        of_image: bool,
    },
    CodeSize,
    BlockLength,
    Block {
        left: u64,
    },
    End,
    Beyond,
}

impl Walk {
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while let [first, rest @ ..] = input {
            self.state = match &mut self.state {
                State::Head => {
                    let Some(head) = self.head.take(&mut input) else { return Ok(()) };
                    if !head.starts_with(b"GIF87a") && !head.starts_with(b"GIF89a") {
                        return Err(Fault::NotA("a GIF signature"));
                    }
                    colour_table(head[10], false)
                }
                State::Image => {
                    let Some(image) = self.image.take(&mut input) else { return Ok(()) };
                    colour_table(image[8], true)
                }
                State::ColourTable { left, of_image } => {
                    let after = if *of_image { State::CodeSize } else { State::Introducer };
                    pass(left, &mut input);
                    if *left > 0 {
                        return Ok(());
                    }
                    after
                }
                State::Block { left } => {
                    pass(left, &mut input);
                    if *left > 0 {
                        return Ok(());
                    }
                    State::BlockLength
                }
                State::Introducer => {
                    input = rest;
                    match first {
                        b'!' => State::Label,
                        b',' => State::Image,
                        b';' if self.image_seen => State::End,
                        b';' => return Err(Fault::bad("there is no image in it")),
                        _ => return Err(Fault::bad("there is no block where one should begin")),
                    }
                }
                State::Label => {
                    input = rest;
                    State::BlockLength
                }
                State::CodeSize => {
                    input = rest;
                    self.image_seen = true;
                    State::BlockLength
                }
                State::BlockLength => {
                    input = rest;
                    if *first == 0 { State::Introducer } else { State::Block { left: u64::from(*first) } }
                }
                State::End | State::Beyond => {
                    self.state = State::Beyond;
                    return Ok(());
                }
            };
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Verdict, Fault> {
        match self.state {
            State::End => Ok(Verdict::Whole),
            State::Beyond => Ok(Verdict::Plausible),
            State::Head => Err(Fault::cut("its head")),
            _ => Err(Fault::cut("the image: there is no trailer")),
        }
    }
}

fn colour_table(flags: u8, of_image: bool) -> State {
    if flags & TABLE != 0 {
        State::ColourTable { left: 3 << ((flags & TABLE_SIZE) + 1), of_image }
    } else if of_image {
        State::CodeSize
    } else {
        State::Introducer
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    #[test]
    fn blocks_lead_to_the_trailer() {
        let head = b"GIF89a\x01\0\x01\0\0\0\0";
        let image = b",\0\0\0\0\x01\0\x01\0\0\x02\x02ab\0";
        assert_eq!(check(Format::Gif, &[&head[..], image, b";"].concat()), Verdict::Whole);
        assert_eq!(
            check(Format::Gif, &[&head[..], b"!\xff\x01x\0", image, image, b";"].concat()),
            Verdict::Whole
        );
        assert!(matches!(check(Format::Gif, &[&head[..], b";"].concat()), Verdict::Broken(_)));
        assert!(matches!(check(Format::Gif, &[&head[..], image, b"?"].concat()), Verdict::Broken(_)));
        assert_eq!(check(Format::Gif, &[whole("animated.gif"), b"\0"].concat()), Verdict::Plausible);
    }
}
