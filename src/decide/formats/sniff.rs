//! Which format a file has, by its first bytes.

use super::{Format, Walk, flac, gif, jpeg, json, matroska, mp3, mp4, riff, safetensors, yaml, zip};

/// So many bytes tell.
pub(super) const ENOUGH: usize = 12;

impl Walk {
    /// Begins where the name alone decides; elsewhere the first bytes are waited for.
    pub(super) fn begin(format: Format) -> Self {
        match format {
            Format::Safetensors | Format::Yaml | Format::Json | Format::Markup => Self::of(format, &[]),
            _ => Self::Undecided(format),
        }
    }

    /// Chooses by the first bytes, and by the name where these say nothing.
    pub(super) fn of(format: Format, first: &[u8]) -> Self {
        match format {
            // Loaders choose these by name: other bytes under it are of no use to them.
            Format::Safetensors => Self::Safetensors(safetensors::Walk::default()),
            Format::Yaml => Self::Yaml(yaml::Walk::default()),
            Format::Json => Self::Json(json::Walk::default()),
            Format::Markup => Self::Nothing,
            _ => Self::by_bytes(first).unwrap_or_else(|| Self::by_name(format, first)),
        }
    }

    fn by_bytes(first: &[u8]) -> Option<Self> {
        Some(match *first {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png(Box::default()),
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg(jpeg::Walk::default()),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif(gif::Walk::default()),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Self::Riff(riff::Walk::new(riff::Form::WebP))
            }
            [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
                Self::Riff(riff::Walk::new(riff::Form::Wav))
            }
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::Mp4(mp4::Walk::default()),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip(zip::Walk::default()),
            [b'O', b'g', b'g', b'S', 0, ..] => Self::Ogg(Box::default()),
            [b'f', b'L', b'a', b'C', ..] => Self::Flac(flac::Walk::default()),
            [b'I', b'D', b'3', ..] => Self::Mp3(mp3::Walk::default()),
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Self::Matroska(matroska::Walk::default()),
            _ => return None,
        })
    }

    /// What is called so and does not begin so is refused, where the format leaves no choice of how to begin.
    fn by_name(format: Format, first: &[u8]) -> Self {
        match format {
            Format::Png => Self::Png(Box::default()),
            Format::Jpeg => Self::Jpeg(jpeg::Walk::default()),
            Format::WebP => Self::Riff(riff::Walk::new(riff::Form::WebP)),
            Format::Wav => Self::Riff(riff::Walk::new(riff::Form::Wav)),
            Format::Gif => Self::Gif(gif::Walk::default()),
            Format::Mp4 => Self::Mp4(mp4::Walk::default()),
            Format::Mp3 if mp3::begins(first) => Self::Mp3(mp3::Walk::default()),
            _ => Self::Nothing,
        }
    }
}
