//! What a server claims about a file's bytes: digests and checksums of the whole representation.

use serde::{Deserialize, Serialize};

/// How a claim is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// SHA-256: a strong digest.
    Sha256,
    /// SHA-512: a strong digest.
    Sha512,
    /// MD5 that the server states as such: a checksum.
    Md5,
    /// An entity tag of MD5's shape. It proves when it agrees and says nothing when it does not: object stores write
    /// other things of that shape there.
    Md5Tag,
    /// CRC-32 (ISO-HDLC): a checksum.
    Crc32,
    /// CRC-32C (Castagnoli): a checksum.
    Crc32c,
    /// CRC-64/NVME: a checksum.
    Crc64Nvme,
}

impl Algorithm {
    /// Whether agreement is proof against more than accidents.
    #[must_use]
    pub const fn is_strong(self) -> bool {
        matches!(self, Self::Sha256 | Self::Sha512)
    }

    /// Returns the length of its values in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 | Self::Md5Tag => 16,
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
        }
    }

    /// Returns its usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::Md5 => "MD5",
            Self::Md5Tag => "MD5 tag",
            Self::Crc32 => "CRC-32",
            Self::Crc32c => "CRC-32C",
            Self::Crc64Nvme => "CRC-64/NVME",
        }
    }
}

/// One claim. The value has the algorithm's length, big-endian.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// What it should be, in lower-case hex.
    pub hex: Box<str>,
}

impl Claim {
    /// Wraps a value; `None` when its length is not the algorithm's.
    #[must_use]
    pub fn new(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        (value.len() == algorithm.length()).then(|| Self { algorithm, hex: super::digest::hex(value).into() })
    }
}

/// Adds what a later answer of the same revision claimed; nothing that was said before is forgotten, since many hosts
/// leave digests out of partial answers. A server that contradicts itself keeps both claims, and one must fail.
pub(crate) fn merge(claims: &mut Vec<Claim>, later: &[Claim]) {
    /// More claims than algorithms exist are noise; the bound keeps a babbling host from filling the part's record.
    const MOST: usize = 32;
    for claim in later {
        if claims.len() < MOST && !claims.contains(claim) {
            claims.push(claim.clone());
        }
    }
}
