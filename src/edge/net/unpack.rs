//! Texts packed with gzip. What is bounded is the text, not its packed form, which can be a thousand times shorter.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

/// More than any configuration, packed or not.
pub const MOST: usize = 4 << 20;

/// What is wrong with a text that is longer.
pub(crate) const TOO_LONG: &str = "is longer than any configuration";

/// Unpacks a whole text that a host serves packed whatever is asked for.
///
/// # Errors
/// When it is not whole, or longer than [`MOST`].
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut unpacking = Unpacking::new(MOST as u64);
    unpacking.add(packed).and_then(|()| unpacking.whole()).map_err(|fault| match fault {
        UnpackFault::TooLong => TOO_LONG,
        UnpackFault::Broken => "cannot be unpacked",
    })
}

/// Why there is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnpackFault {
    /// It is longer than the bound.
    TooLong,
    /// It is no gzip, or damaged, or cut.
    Broken,
}

/// A packed text as far as it has arrived.
pub(crate) struct Unpacking(MultiGzDecoder<Bounded>);

impl Unpacking {
    /// Begins a text of no more than `bound` bytes.
    pub(crate) fn new(bound: u64) -> Self {
        Self(MultiGzDecoder::new(Bounded::new(bound)))
    }

    /// Takes the next packed bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), UnpackFault> {
        self.0.write_all(bytes).map_err(|_| self.fault())
    }

    /// How many bytes of text there are.
    pub(crate) fn len(&self) -> usize {
        self.0.get_ref().text.len()
    }

    /// Returns the whole text; the format's own checksum proves that nothing is missing.
    pub(crate) fn whole(&mut self) -> Result<Vec<u8>, UnpackFault> {
        self.0.try_finish().map_err(|_| self.fault())?;
        Ok(std::mem::take(&mut self.0.get_mut().text))
    }

    /// Returns what is here of the text, whole or not.
    pub(crate) fn so_far(&mut self) -> Vec<u8> {
        // What the decoder holds back goes to the text; whether that is all of it is of no interest here.
        let _ = self.0.try_finish();
        std::mem::take(&mut self.0.get_mut().text)
    }

    fn fault(&self) -> UnpackFault {
        if self.0.get_ref().is_full { UnpackFault::TooLong } else { UnpackFault::Broken }
    }
}

/// A text that takes bytes up to a bound.
pub(crate) struct Bounded {
    pub(crate) text: Vec<u8>,
    bound: u64,
    is_full: bool,
}

impl Bounded {
    pub(crate) const fn new(bound: u64) -> Self {
        Self { text: Vec::new(), bound, is_full: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() as u64 + bytes.len() as u64 > self.bound {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pack(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn whole_texts_alone_and_within_bounds() {
        let packed = pack(b"job: extension\n");
        assert_eq!(unpack(&packed).unwrap(), b"job: extension\n");
        assert!(unpack(&packed[..packed.len() - 1]).is_err(), "it is cut");
        assert!(unpack(b"job: extension\n").is_err(), "it is not packed");
        assert_eq!(unpack(&pack(&vec![b'a'; MOST])).unwrap().len(), MOST);
        assert_eq!(unpack(&pack(&vec![b'a'; 40 * MOST])), Err(TOO_LONG));
        let two = [pack(b"job: "), pack(b"extension\n")].concat();
        assert_eq!(unpack(&two).unwrap(), b"job: extension\n", "two members are one text");
        assert!(unpack(&[&packed[..], b"more"].concat()).is_err(), "something else follows");
        assert!(unpack(b"").is_err());
    }
}
