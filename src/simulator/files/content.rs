//! One version of one file: its length, its digests, and any range of its bytes.
//!
//! The one idea: a file is a short head in memory and a tail of noise that is computed while it is sent, so
//! what is held does not grow with the file.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::model::digest::Sha256Digest;

use super::archive;
use super::made::Made;
use super::noise;
use super::pictures::Picture;
use super::weights::Weights;

/// How many bytes are generated at a time while a file is hashed.
const HASH_CHUNK: usize = 256 * 1024;

/// How a file's bytes come about.
#[derive(Debug, Clone)]
pub(crate) enum Recipe {
    Bytes(Bytes),
    /// Noise of this length.
    Noise {
        seed: u64,
        /// The length in bytes.
        length: u64,
    },
    /// A zip archive with one entry of noise, as PyTorch saves the state of an optimizer.
    Archive {
        /// The stream of the entry.
        seed: u64,
        /// The length of the whole archive in bytes.
        length: u64,
        /// How much of it is there.
        shown: u64,
    },
    /// A safetensors file.
    Weights(Weights),
    /// A sample picture.
    Picture(Picture),
}

/// One version of one file.
#[derive(Debug)]
pub(crate) struct Content {
    recipe: Recipe,
    made: OnceLock<Made>,
    digests: OnceLock<Digests>,
    other: OnceLock<Arc<Self>>,
}

/// Digests of a whole file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digests {
    /// SHA-256.
    pub(crate) sha256: Sha256Digest,
    /// MD5.
    pub(crate) md5: [u8; 16],
    /// CRC-32C (Castagnoli).
    pub(crate) crc32c: u32,
}

impl Content {
    /// Makes a content from its recipe; nothing is computed yet.
    pub(crate) fn new(recipe: Recipe) -> Arc<Self> {
        Arc::new(Self { recipe, made: OnceLock::new(), digests: OnceLock::new(), other: OnceLock::new() })
    }

    /// Makes a content of these bytes.
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Arc<Self> {
        Self::new(Recipe::Bytes(bytes.into()))
    }

    /// Whether [`Self::made`] would answer at once. Hashing a large body for its header takes seconds, and
    /// must not be done on a thread that serves connections.
    pub(crate) fn is_made(&self) -> bool {
        self.made.get().is_some() || matches!(self.recipe, Recipe::Bytes(_) | Recipe::Noise { .. })
    }

    /// Returns what the recipe came to, computing it once.
    pub(crate) fn made(&self) -> &Made {
        self.made.get_or_init(|| match &self.recipe {
            Recipe::Bytes(bytes) => Made { head: bytes.clone(), ..Made::default() },
            Recipe::Noise { seed, length } => Made { tail: (*seed, *length), ..Made::default() },
            Recipe::Archive { seed, length, shown } => archive::make(*seed, *length, *shown),
            Recipe::Weights(weights) => weights.make(),
            Recipe::Picture(picture) => Made { head: picture.draw().into(), ..Made::default() },
        })
    }

    /// Returns the length in bytes.
    pub(crate) fn length(&self) -> u64 {
        let made = self.made();
        made.head.len() as u64 + made.tail.1 + made.foot.len() as u64
    }

    /// Returns at most `most` bytes from `offset` on; none at the end.
    pub(crate) fn read(&self, offset: u64, most: usize) -> Bytes {
        let made = self.made();
        let head = made.head.len() as u64;
        if offset < head {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(most).min(made.head.len());
            return made.head.slice(start..end);
        }
        let (seed, length) = made.tail;
        let within = (offset - head).min(length);
        if within == length {
            let start = usize::try_from(offset - head - length).unwrap_or(usize::MAX).min(made.foot.len());
            return made.foot.slice(start..start.saturating_add(most).min(made.foot.len()));
        }
        let count = usize::try_from(length - within).unwrap_or(usize::MAX).min(most);
        let mut out = vec![0; count];
        noise::fill(seed, within, &mut out);
        out.into()
    }

    /// Returns the digests of the whole file, computing them once.
    pub(crate) fn digests(&self) -> Digests {
        *self.digests.get_or_init(|| {
            let (mut sha256, mut md5, mut crc) =
                (Sha256::new(), Md5::new(), Crc::new(CrcAlgorithm::Crc32Iscsi));
            let mut offset = 0;
            loop {
                let chunk = self.read(offset, HASH_CHUNK);
                if chunk.is_empty() {
                    break;
                }
                offset += chunk.len() as u64;
                sha256.update(&chunk);
                md5.update(&chunk);
                crc.update(&chunk);
            }
            Digests {
                sha256: Sha256Digest::new(sha256.finalize().into()),
                md5: md5.finalize().into(),
                // A CRC of 32 bits fills the lower half of what the library returns.
                crc32c: u32::try_from(crc.finalize() & u64::from(u32::MAX)).unwrap_or(0),
            }
        })
    }

    /// Returns the first bytes as a file of their own, where nothing in them says that there should be more.
    pub(crate) fn cut(&self, length: u64) -> Option<Arc<Self>> {
        match self.recipe {
            Recipe::Noise { seed, length: whole } if length < whole => {
                Some(Self::new(Recipe::Noise { seed, length }))
            }
            Recipe::Archive { seed, length: whole, .. } if length < whole => {
                Some(Self::new(Recipe::Archive { seed, length: whole, shown: length }))
            }
            _ => None,
        }
    }

    /// Returns another version of the same file: other bytes, same length, as valid as this one.
    pub(crate) fn other(&self) -> Arc<Self> {
        Arc::clone(self.other.get_or_init(|| {
            Self::new(match &self.recipe {
                Recipe::Bytes(_) | Recipe::Picture(_) => {
                    let mut bytes = self.made().head.to_vec();
                    let middle = bytes.len() / 2;
                    if let Some(byte) = bytes.get_mut(middle) {
                        *byte ^= 1;
                    }
                    Recipe::Bytes(bytes.into())
                }
                Recipe::Noise { seed, length } => {
                    Recipe::Noise { seed: noise::derive(*seed, "other"), length: *length }
                }
                Recipe::Archive { seed, length, shown } => {
                    Recipe::Archive { seed: noise::derive(*seed, "other"), length: *length, shown: *shown }
                }
                Recipe::Weights(weights) => Recipe::Weights(weights.other()),
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::hex;

    #[test]
    fn digests_are_those_of_the_bytes() {
        let digests = Content::bytes(&b"123456789"[..]).digests();
        assert_eq!(
            digests.sha256.to_string(),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
        assert_eq!(hex(&digests.md5), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(digests.crc32c, 0xe306_9283);
    }

    #[test]
    fn reading_piece_by_piece_gives_the_whole() {
        let content = Content::new(Recipe::Noise { seed: 3, length: 1000 });
        let whole = content.read(0, usize::MAX);
        assert_eq!(whole.len(), 1000);
        let mut joined = Vec::new();
        while joined.len() < 1000 {
            joined.extend_from_slice(&content.read(joined.len() as u64, 77));
        }
        assert_eq!(joined, whole);
        assert!(content.read(1000, 10).is_empty() && content.read(5000, 10).is_empty());
    }

    #[test]
    fn another_version_has_the_same_length_and_other_bytes() {
        for content in
            [Content::bytes(&b"some text"[..]), Content::new(Recipe::Noise { seed: 1, length: 64 })]
        {
            let other = content.other();
            assert_eq!(other.length(), content.length());
            assert_ne!(other.digests().sha256, content.digests().sha256);
        }
    }
}
