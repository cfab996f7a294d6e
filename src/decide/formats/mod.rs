//! Is this file whole? Streaming structure checks for every format a trainer writes.
//!
//! A [`Checker`] is fed a file's bytes in order while they pass and keeps only its place in the format's outer
//! structure: nothing is decoded, and apart from a safetensors header, a YAML text and the end of an archive nothing is
//! kept. Its verdict does not depend on how the bytes were cut into chunks.
//!
//! A format is recognised by the first bytes; the name counts where these say nothing, and for what loaders choose by
//! name. A kind whose end is not certain is [`Verdict::Plausible`], never broken.

mod cursor;
mod flac;
mod gif;
mod jpeg;
mod json;
mod matroska;
mod mp3;
mod mp4;
mod ogg;
mod png;
mod riff;
mod safetensors;
pub(crate) mod safetensors_header;
#[cfg(test)]
mod samples;
mod sniff;
mod verdict;
mod yaml;
mod zip;

use crate::decide::formats::safetensors_header::SafetensorsHeader;

use self::verdict::Fault;
use self::verdict::opening::Opening;

pub(crate) use self::verdict::Defect;
pub use self::verdict::Verdict;

/// So many zeros at the end of a file speak for one of full length that is still being written: no format's own padding
/// is as long as a block of a disk.
pub(super) const UNWRITTEN: u64 = 512;

/// What a name's extension says the file should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `.safetensors`, `.sft`
    Safetensors,
    /// `.png`, `.apng`
    Png,
    /// `.jpg`, `.jpeg`
    Jpeg,
    /// `.webp`
    WebP,
    /// `.wav`
    Wav,
    /// `.gif`
    Gif,
    /// `.mp4`, `.m4v`, `.m4a`, `.mov`
    Mp4,
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
    /// `.mp3`
    Mp3,
    /// `.html`, `.xml` and the like: the only names under which an HTML page is no surprise.
    Markup,
    /// Anything else: what it is, its bytes say.
    Unknown,
}

impl Format {
    /// Goes by the extension of a file name, in either case.
    #[must_use]
    pub fn of(file_name: &str) -> Self {
        let Some((_, extension)) = file_name.rsplit_once('.') else { return Self::Unknown };
        match extension.to_ascii_lowercase().as_str() {
            "safetensors" | "sft" => Self::Safetensors,
            "png" | "apng" => Self::Png,
            "jpg" | "jpeg" => Self::Jpeg,
            "webp" => Self::WebP,
            "wav" => Self::Wav,
            "gif" => Self::Gif,
            "mp4" | "m4v" | "m4a" | "mov" => Self::Mp4,
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            "mp3" => Self::Mp3,
            "html" | "htm" | "xhtml" | "xml" | "svg" => Self::Markup,
            _ => Self::Unknown,
        }
    }
}

/// Follows one file from its first byte to its last.
#[derive(Debug)]
pub struct Checker {
    walk: Walk,
    opening: Opening,
    fed: u64,
    trailing_zeros: u64,
    /// The first fault that the walk met; the walk is over then.
    fault: Option<Fault>,
    /// Whether an HTML page is an error here.
    refuses_pages: bool,
}

#[derive(Debug)]
enum Walk {
    /// Too few bytes have come to tell.
    Undecided(Format),
    Safetensors(safetensors::Walk),
    Png(Box<png::Walk>),
    Jpeg(jpeg::Walk),
    Riff(riff::Walk),
    Gif(gif::Walk),
    Mp4(mp4::Walk),
    Zip(zip::Walk),
    Ogg(Box<ogg::Walk>),
    Flac(flac::Walk),
    Mp3(mp3::Walk),
    Matroska(matroska::Walk),
    Yaml(yaml::Walk),
    Json(json::Walk),
    Nothing,
}

impl Checker {
    /// Begins at the first byte of a file.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            walk: Walk::begin(format),
            opening: Opening::default(),
            fed: 0,
            trailing_zeros: 0,
            fault: None,
            refuses_pages: format != Format::Markup,
        }
    }

    /// Takes the next bytes. A safetensors body costs nothing but a look at the chunk's end.
    pub fn feed(&mut self, bytes: &[u8]) {
        let seen = usize::try_from(self.fed).unwrap_or(usize::MAX);
        self.fed += bytes.len() as u64;
        self.opening.feed(bytes);
        let zeros = zeros_at_end(bytes);
        self.trailing_zeros = if zeros == bytes.len() { self.trailing_zeros } else { 0 } + zeros as u64;
        if let Walk::Undecided(format) = self.walk {
            if self.fed < sniff::ENOUGH as u64 {
                return;
            }
            self.decide(format, seen);
        }
        self.step(bytes);
    }

    /// Chooses the walk, and lets it see the first bytes, which came before it was chosen.
    fn decide(&mut self, format: Format, seen: usize) {
        let first = self.opening.bytes().to_vec();
        self.walk = Walk::of(format, &first);
        self.step(&first[..seen.min(first.len())]);
    }

    fn step(&mut self, bytes: &[u8]) {
        let step = match &mut self.walk {
            Walk::Safetensors(walk) => walk.feed(bytes),
            Walk::Png(walk) => walk.feed(bytes),
            Walk::Jpeg(walk) => walk.feed(bytes),
            Walk::Riff(walk) => walk.feed(bytes),
            Walk::Gif(walk) => walk.feed(bytes),
            Walk::Mp4(walk) => walk.feed(bytes),
            Walk::Ogg(walk) => walk.feed(bytes),
            Walk::Zip(walk) => {
                walk.feed(bytes);
                Ok(())
            }
            Walk::Flac(walk) => {
                walk.feed(bytes);
                Ok(())
            }
            Walk::Mp3(walk) => {
                walk.feed(bytes);
                Ok(())
            }
            Walk::Matroska(walk) => {
                walk.feed(bytes);
                Ok(())
            }
            Walk::Yaml(walk) => {
                walk.feed(bytes);
                Ok(())
            }
            Walk::Json(walk) => {
                walk.feed(bytes);
                Ok(())
            }
            Walk::Undecided(_) | Walk::Nothing => Ok(()),
        };
        if let Err(fault) = step {
            self.fault = Some(fault);
            self.walk = Walk::Nothing;
        }
    }

    /// Whether the bytes so far already rule out [`Verdict::Whole`], whatever follows: no need to fetch the rest.
    #[must_use]
    pub const fn is_hopeless(&self) -> bool {
        self.fault.is_some()
    }

    /// Returns the header of a safetensors file as soon as it has passed.
    #[must_use]
    pub const fn header(&self) -> Option<&SafetensorsHeader> {
        match &self.walk {
            Walk::Safetensors(walk) => walk.header(),
            _ => None,
        }
    }

    /// Returns the length that the file's own header declares for the whole file, as soon as it has passed.
    /// Safetensors, WebP and Matroska say it, and WAV mostly.
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        match &self.walk {
            Walk::Safetensors(walk) => walk.header().map(|header| header.declared_length),
            Walk::Riff(walk) => walk.declared_length(),
            Walk::Matroska(walk) => walk.declared_length(),
            _ => None,
        }
    }

    /// Returns how many zero bytes the file ends with so far. One library version gives a file its full length
    /// first; what was not written yet then reads as zeros, which no structure can tell from weights.
    #[must_use]
    pub const fn trailing_zeros(&self) -> u64 {
        self.trailing_zeros
    }

    /// Ends the file at `total` bytes. A safetensors file may have been fed up to its header only, since its body has
    /// no structure; every other file must have been fed whole.
    #[must_use]
    pub fn finish(mut self, total: u64) -> Verdict {
        if total == 0 {
            return Verdict::Broken(Defect::truncation("it is empty"));
        }
        if let Walk::Undecided(format) = self.walk {
            self.decide(format, sniff::ENOUGH);
        }
        if self.refuses_pages
            && let Some(defect) = self.opening.error_page()
        {
            return Verdict::Broken(defect);
        }
        let unwritten = self.trailing_zeros >= UNWRITTEN;
        if let Some(fault) = self.fault {
            return Verdict::Broken(fault.into_defect(&self.opening, unwritten));
        }
        if self.fed != total && !matches!(self.walk, Walk::Safetensors(_) | Walk::Nothing) {
            let text = format!("only {} of its {total} bytes were looked at", self.fed);
            return Verdict::Broken(Defect::truncation(&text));
        }
        let end = match self.walk {
            Walk::Safetensors(walk) => walk.finish(total),
            Walk::Png(walk) => walk.finish(),
            Walk::Jpeg(walk) => walk.finish(),
            Walk::Riff(walk) => walk.finish(total),
            Walk::Gif(walk) => walk.finish(),
            Walk::Mp4(walk) => walk.finish(),
            Walk::Zip(walk) => walk.finish(total),
            Walk::Ogg(walk) => walk.finish(),
            Walk::Flac(walk) => walk.finish(),
            Walk::Mp3(walk) => walk.finish(),
            Walk::Matroska(walk) => walk.finish(total, unwritten),
            Walk::Yaml(walk) => walk.finish(),
            Walk::Json(walk) => walk.finish(unwritten),
            Walk::Undecided(_) | Walk::Nothing => Ok(Verdict::Unchecked),
        };
        end.unwrap_or_else(|fault| Verdict::Broken(fault.into_defect(&self.opening, unwritten)))
    }
}

/// Counts the zero bytes at the end. Whole blocks are compared at a time, so that a long zero tail is cheap too.
fn zeros_at_end(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let mut zeros = 0;
    for block in bytes.rchunks(BLOCK) {
        if block.iter().fold(0, |all, byte| all | byte) == 0 {
            zeros += block.len();
        } else {
            return zeros + block.iter().rev().take_while(|byte| **byte == 0).count();
        }
    }
    zeros
}

#[cfg(test)]
mod tests;
