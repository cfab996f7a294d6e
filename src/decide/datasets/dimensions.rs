//! A picture's width and height, from the first bytes of its file.

use super::scan::Dimensions;

/// Returns the size of a PNG, JPEG or WebP, where these bytes of its beginning have it.
pub(crate) fn dimensions(beginning: &[u8]) -> Option<Dimensions> {
    png(beginning)
        .or_else(|| webp(beginning))
        .or_else(|| jpeg(beginning))
        .filter(|it| it.width > 0 && it.height > 0)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn png(bytes: &[u8]) -> Option<Dimensions> {
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") || array(bytes, 12)? != *b"IHDR" {
        return None;
    }
    let number = |at| array(bytes, at).map(u32::from_be_bytes);
    Some(Dimensions { width: number(16)?, height: number(20)? })
}

fn webp(bytes: &[u8]) -> Option<Dimensions> {
    if !bytes.starts_with(b"RIFF") || array(bytes, 8)? != *b"WEBP" {
        return None;
    }
    match &array::<4>(bytes, 12)? {
        // Three bytes each, one less than the size.
        b"VP8X" => {
            let number = |at| array(bytes, at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]) + 1);
            Some(Dimensions { width: number(24)?, height: number(27)? })
        }
        // After its first byte two numbers of 14 bits, one less than the size.
        b"VP8L" => {
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some(Dimensions { width: (bits & 0x3fff) + 1, height: (bits >> 14 & 0x3fff) + 1 })
        }
        // After a frame tag and a start code two numbers of 14 bits, each with two bits of scaling.
        b"VP8 " => {
            let number = |at| array(bytes, at).map(|two| u32::from(u16::from_le_bytes(two) & 0x3fff));
            Some(Dimensions { width: number(26)?, height: number(28)? })
        }
        _ => None,
    }
}

fn jpeg(bytes: &[u8]) -> Option<Dimensions> {
    if !bytes.starts_with(b"\xff\xd8") {
        return None;
    }
    let mut at = 2;
    loop {
        let [mark, code] = array(bytes, at)?;
        match (mark, code) {
            (0xff, 0xff) => at += 1,
            // A frame header; C4, C8 and CC are something else.
            (0xff, 0xc0..=0xcf) if !matches!(code, 0xc4 | 0xc8 | 0xcc) => {
                let number = |at| array(bytes, at).map(|two| u32::from(u16::from_be_bytes(two)));
                return Some(Dimensions { width: number(at + 7)?, height: number(at + 5)? });
            }
            // The picture's data: no frame header follows.
            (0xff, 0xda | 0xd9) => return None,
            (0xff, _) => at += 2 + usize::from(u16::from_be_bytes(array(bytes, at + 2)?)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PICTURES: [(&str, &[u8]); 6] = [
        ("baseline.jpg", include_bytes!("../structure/fixtures/baseline.jpg")),
        ("progressive.jpg", include_bytes!("../structure/fixtures/progressive.jpg")),
        ("image.png", include_bytes!("../structure/fixtures/image.png")),
        ("alpha.webp", include_bytes!("../structure/fixtures/alpha.webp")),
        ("lossless.webp", include_bytes!("../structure/fixtures/lossless.webp")),
        ("lossy.webp", include_bytes!("../structure/fixtures/lossy.webp")),
    ];

    #[test]
    fn each_picture_has_its_size() {
        for (name, bytes) in PICTURES {
            assert_eq!(dimensions(bytes), Some(Dimensions { width: 24, height: 16 }), "{name}");
            assert_eq!(dimensions(&bytes[..12]), None, "{name}");
        }
        assert_eq!(dimensions(b"\xff\xd8\xff\xda\0\x02"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..64), which in 0..6_usize, cut in 0..400_usize) {
            dimensions(&bytes);
            let picture = PICTURES[which].1;
            let mut spoilt = picture[..cut.min(picture.len())].to_vec();
            spoilt.extend(&bytes);
            dimensions(&spoilt);
        }
    }
}
