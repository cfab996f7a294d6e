//! What a file is by its first bytes.

use crate::decide::formats::Format;

use super::kinds::{MediaKind, extension};

/// A format that is recognised by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    /// How it is checked to its last byte, where it can be.
    pub(crate) format: Option<Format>,
    /// What AI Toolkit can read it as; `None` where it cannot, under any name.
    kind: Option<MediaKind>,
    /// The extensions that it has.
    extensions: &'static [&'static str],
}

impl Signature {
    /// Whether AI Toolkit can read it under a name that promises `kind`.
    pub(crate) fn is_readable_as(&self, kind: MediaKind, file_name: &str) -> bool {
        self.kind == Some(kind) || (self.kind.is_some() && self.has_the_extension_of(file_name))
    }

    /// Whether a file name has one of the format's extensions.
    pub(crate) fn has_the_extension_of(&self, file_name: &str) -> bool {
        extension(file_name)
            .is_some_and(|written| self.extensions.iter().any(|known| known.eq_ignore_ascii_case(written)))
    }
}

const fn checked(
    name: &'static str,
    format: Format,
    kind: MediaKind,
    extensions: &'static [&'static str],
) -> Signature {
    Signature { name, format: Some(format), kind: Some(kind), extensions }
}

const fn readable(name: &'static str, kind: MediaKind, extensions: &'static [&'static str]) -> Signature {
    Signature { name, format: None, kind: Some(kind), extensions }
}

const fn foreign(name: &'static str) -> Signature {
    Signature { name, format: None, kind: None, extensions: &[] }
}

const MP4: Signature =
    checked("MP4 or MOV", Format::Mp4, MediaKind::Clip, &["mp4", "mov", "m4v", "m4a", "aac"]);
const MP3: Signature = checked("MP3", Format::Mp3, MediaKind::Sound, &["mp3"]);
const AAC: Signature = readable("AAC", MediaKind::Sound, &["aac"]);

/// Openings that are recognised by their first bytes alone.
const OPENINGS: [(&[u8], Signature); 19] = [
    (b"\x89PNG\r\n\x1a\n", checked("PNG", Format::Png, MediaKind::Picture, &["png"])),
    (b"\xff\xd8\xff", checked("JPEG", Format::Jpeg, MediaKind::Picture, &["jpg", "jpeg"])),
    (b"\x1a\x45\xdf\xa3", checked("Matroska or WebM", Format::Unknown, MediaKind::Clip, &["mkv", "webm"])),
    (b"FLV\x01", readable("FLV", MediaKind::Clip, &["flv"])),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", readable("WMV", MediaKind::Clip, &["wmv"])),
    (b"OggS", checked("Ogg", Format::Unknown, MediaKind::Sound, &["ogg"])),
    (b"fLaC", checked("FLAC", Format::Unknown, MediaKind::Sound, &["flac"])),
    // Tags of MP3, which some put before FLAC and AAC too.
    (b"ID3", readable("MP3", MediaKind::Sound, &["mp3", "flac", "aac"])),
    (b"ADIF", AAC),
    (b"GIF8", foreign("GIF")),
    (b"BM", foreign("BMP")),
    (b"II*\0", foreign("TIFF")),
    (b"MM\0*", foreign("TIFF")),
    (b"%PDF", foreign("PDF")),
    (b"8BPS", foreign("Photoshop")),
    (b"PK\x03\x04", foreign("ZIP")),
    (b"\xff\x0a", foreign("JPEG XL")),
    (b"\0\0\0\x0cJXL ", foreign("JPEG XL")),
    (b"\0\0\0\x0cjP  ", foreign("JPEG 2000")),
];

/// How many bytes [`signature`] looks at.
pub(crate) const OPENING: usize = 32;

/// Says what a file is by its first bytes.
pub(crate) fn signature(opening: &[u8]) -> Option<Signature> {
    let at = |from: usize, what: &[u8]| opening.get(from..from + what.len()) == Some(what);
    if at(4, b"ftyp") {
        return Some(match opening.get(8..12).unwrap_or_default() {
            b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" => foreign("HEIC"),
            b"avif" | b"avis" => foreign("AVIF"),
            _ => MP4,
        });
    }
    if at(0, b"RIFF") {
        return match opening.get(8..12)? {
            b"WEBP" => Some(checked("WebP", Format::WebP, MediaKind::Picture, &["webp"])),
            b"WAVE" => Some(checked("WAV", Format::Wav, MediaKind::Sound, &["wav"])),
            b"AVI " => Some(readable("AVI", MediaKind::Clip, &["avi"])),
            _ => None,
        };
    }
    if let Some((_, known)) = OPENINGS.iter().find(|(opening, _)| at(0, opening)) {
        return Some(*known);
    }
    // QuickTime files from before `ftyp` begin with another box.
    if [b"moov", b"mdat", b"wide", b"free", b"skip"].iter().any(|kind| at(4, *kind)) {
        return Some(readable("QuickTime", MediaKind::Clip, &["mov", "mp4", "m4v"]));
    }
    match opening {
        // Frames of MPEG audio: eleven set bits, then version and layer, of which AAC has 0.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(AAC),
        [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0 => Some(MP3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_distinguished_by_their_first_bytes() {
        for (bytes, name) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Some("JPEG")),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Some("HEIC")),
            (b"\0\0\0\x18ftypisom\0\0\0\0", Some("MP4 or MOV")),
            (b"\0\0\0\x18ftypavif", Some("AVIF")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some("WebP")),
            (b"RIFF\x10\0\0\0AVI LIST", Some("AVI")),
            (b"RIFF\x10\0\0\0ACON", None),
            (b"\xff\xfb\x90\x64", Some("MP3")),
            (b"\xff\xf1\x50\x80", Some("AAC")),
            (b"\0\0\0\x08wide\0\0", Some("QuickTime")),
            (b"a text", None),
            (b"", None),
            (b"RIFF", None),
        ] {
            assert_eq!(signature(bytes).map(|signature| signature.name), name, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_and_a_format_may_differ_and_still_be_read() {
        let png = signature(b"\x89PNG\r\n\x1a\n").unwrap();
        assert!(png.is_readable_as(MediaKind::Picture, "a.jpg") && !png.has_the_extension_of("a.jpg"));
        assert!(!png.is_readable_as(MediaKind::Clip, "a.mp4"));
        let heic = signature(b"\0\0\0\x18ftypheic").unwrap();
        assert!(!heic.is_readable_as(MediaKind::Picture, "a.jpg"));
        assert!(signature(b"\0\0\0\x18ftypM4A ").unwrap().is_readable_as(MediaKind::Sound, "a.M4A"));
    }
}
