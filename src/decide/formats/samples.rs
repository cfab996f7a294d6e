//! Whole files for the tests: tiny ones made by the encoders that trainers use, and a builder for safetensors.

use super::{Checker, Format, Verdict};

/// Files that every checker must call whole.
pub(super) const WHOLE: [(&str, &[u8]); 23] = [
    ("alpha.webp", include_bytes!("fixtures/alpha.webp")),
    ("animated.gif", include_bytes!("fixtures/animated.gif")),
    ("animated.webp", include_bytes!("fixtures/animated.webp")),
    ("baseline.jpg", include_bytes!("fixtures/baseline.jpg")),
    ("frames.avif", include_bytes!("fixtures/frames.avif")),
    ("image.avif", include_bytes!("fixtures/image.avif")),
    ("image.heic", include_bytes!("fixtures/image.heic")),
    ("opus.ogg", include_bytes!("fixtures/opus.ogg")),
    ("sine.flac", include_bytes!("fixtures/sine.flac")),
    ("state.pt", include_bytes!("fixtures/state.pt")),
    ("video.mkv", include_bytes!("fixtures/video.mkv")),
    ("video.webm", include_bytes!("fixtures/video.webm")),
    ("vorbis.ogg", include_bytes!("fixtures/vorbis.ogg")),
    ("xing.mp3", include_bytes!("fixtures/xing.mp3")),
    ("faststart.mp4", include_bytes!("fixtures/faststart.mp4")),
    ("fragmented.mp4", include_bytes!("fixtures/fragmented.mp4")),
    ("image.png", include_bytes!("fixtures/image.png")),
    ("lossless.webp", include_bytes!("fixtures/lossless.webp")),
    ("lossy.webp", include_bytes!("fixtures/lossy.webp")),
    ("plain.mp4", include_bytes!("fixtures/plain.mp4")),
    ("progressive.jpg", include_bytes!("fixtures/progressive.jpg")),
    ("sine.wav", include_bytes!("fixtures/sine.wav")),
    ("tiny.safetensors", TINY_SAFETENSORS),
];

pub(super) const TINY_SAFETENSORS: &[u8] =
    b"\x40\0\0\0\0\0\0\0{\"t\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}}      abcdefghijkl";

/// Returns one of [`WHOLE`].
pub(super) fn whole(name: &str) -> &'static [u8] {
    WHOLE.iter().find(|(of, _)| *of == name).expect("a name of the table").1
}

/// Puts the length before a header and a body behind it.
pub(super) fn safetensors(json: &str, body: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.resize(file.len() + body, 7);
    file
}

/// Checks a file that comes in chunks of these sizes, over and over.
pub(super) fn check_in_chunks(format: Format, mut bytes: &[u8], sizes: &[usize]) -> Verdict {
    let total = bytes.len() as u64;
    let mut checker = Checker::new(format);
    for size in sizes.iter().cycle() {
        let (chunk, rest) = bytes.split_at((*size).min(bytes.len()));
        checker.feed(chunk);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    checker.finish(total)
}

/// Checks a file that comes in one piece.
pub(super) fn check(format: Format, bytes: &[u8]) -> Verdict {
    check_in_chunks(format, bytes, &[usize::MAX])
}
