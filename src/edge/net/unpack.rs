//! Texts that a host serves packed with gzip whatever is asked for.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

/// More than any configuration, packed or not: a few bytes can unpack to gigabytes.
pub const MOST: usize = 4 << 20;

/// Said of a text that is longer.
pub(crate) const TOO_LONG: &str = "is longer than any configuration";

/// Unpacks a whole text. The format's own checksum proves that nothing is missing.
///
/// # Errors
/// When it is not whole, or longer than [`MOST`].
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut text = Vec::new();
    let bound = MOST as u64 + 1;
    MultiGzDecoder::new(packed).take(bound).read_to_end(&mut text).map_err(|_| "cannot be unpacked")?;
    if text.len() > MOST { Err(TOO_LONG) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
    }
}
