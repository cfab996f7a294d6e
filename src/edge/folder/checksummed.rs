//! JSON that notices when it was damaged: one object with the body and a checksum of the body's text.
//!
//! Readable with `jq .body`. A flipped bit, a torn write or a NUL tail makes it unreadable, never wrong.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::edge::system::disk;

const BEFORE_SUM: &[u8] = br#"{"crc32":""#;
const BEFORE_BODY: &[u8] = br#"","body":"#;

#[derive(Deserialize)]
struct Sealed<'t> {
    crc32: &'t str,
    #[serde(borrow)]
    body: &'t RawValue,
}

/// Wraps a value; the result has no line break.
pub(crate) fn seal<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut text = Vec::new();
    seal_behind(&mut text, value)?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// Wraps a value behind what `text` has. In one buffer: a manifest of many files takes tens of megabytes. After an error what
/// was added is no use.
pub(crate) fn seal_behind<T: Serialize>(text: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    text.extend_from_slice(BEFORE_SUM);
    let sum = text.len();
    text.extend_from_slice(b"00000000");
    text.extend_from_slice(BEFORE_BODY);
    let body = text.len();
    serde_json::to_writer(&mut *text, value)?;
    let checked = checksum(&text[body..]);
    text[sum..sum + checked.len()].copy_from_slice(checked.as_bytes());
    text.push(b'}');
    Ok(())
}

/// Unwraps a value; `None` for anything that is not exactly what was sealed.
pub(crate) fn unseal<T: DeserializeOwned>(text: &str) -> Option<T> {
    let sealed: Sealed<'_> = serde_json::from_str(text).ok()?;
    (sealed.crc32 == checksum(sealed.body.get().as_bytes()))
        .then(|| serde_json::from_str(sealed.body.get()).ok())
        .flatten()
}

/// Reads what was sealed into a file of at most `bound` bytes; `None` where nothing of ours can be read.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, bound: u64) -> Option<T> {
    unseal(disk::read_text(path, bound).ok()?.trim_end())
}

fn checksum(text: &[u8]) -> String {
    format!("{:08x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let value = vec!["a".to_owned(), "b\n\u{1f600}".to_owned()];
        let text = seal(&value).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(unseal::<Vec<String>>(&text), Some(value.clone()));
        for length in 0..text.len() {
            let cut = String::from_utf8_lossy(&text.as_bytes()[..length]).into_owned();
            assert_eq!(unseal::<Vec<String>>(&cut), None, "{cut}");
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(flipped) = String::from_utf8(bytes) {
                let read = unseal::<Vec<String>>(&flipped);
                assert!(read.is_none() || read == Some(value.clone()), "{flipped}");
            }
        }
    }
}
