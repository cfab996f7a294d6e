//! Targets for what an artifact's host sends before and around the bytes: the head of a response, and packed texts.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rcsync::Revision;
use rcsync::internals::ContentRange;
use rcsync::internals::parsers::{Condition, HeaderMap, HeaderName, HeaderValue, MOST, read_head, unpack};

/// The head of a response: two bytes for its status, then lines of `name: value`.
pub(crate) fn response_head(bytes: &[u8]) {
    let Some((status, lines)) = bytes.split_first_chunk() else { return };
    let status = u16::from_le_bytes(*status) % 600;
    let headers: HeaderMap = lines.split(|byte| *byte == b'\n').take(100).filter_map(header).collect();
    let head = read_head(status, &headers);
    assert_eq!(head, read_head(status, &headers), "it depends on something else");
    assert_eq!(head.status, status);
    assert!(!head.gzip || head.encoded, "gzip, and not encoded");
    if let Some(ContentRange::Part { start, end, total }) = head.content_range {
        assert!(start < end && total.is_none_or(|total| end <= total), "{head:?}");
        assert_eq!(head.revision.length, total);
    }
    assert!(head.claims.is_empty() || !head.encoded, "claims about other bytes: {head:?}");
    assert!(head.claims.len() <= 32, "{} claims", head.claims.len());
    for (at, claim) in head.claims.iter().enumerate() {
        assert_eq!(claim.hex.len(), 2 * claim.algorithm.length(), "{claim:?}");
        assert!(claim.hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{claim:?}");
        assert!(!head.claims[..at].contains(claim), "{claim:?} is there twice");
    }
    // The revision is recorded, and what is recorded is sent in later requests.
    let recorded = serde_json::to_string(&head.revision).expect("it can be written");
    let read: Revision = serde_json::from_str(&recorded).expect("what was written is read");
    assert_eq!(read, head.revision, "{recorded}");
    for condition in [head.revision.if_range(), head.revision.if_changed()].into_iter().flatten() {
        if let Condition::Etag(tag) = condition {
            assert!(HeaderValue::from_str(tag.as_str()).is_ok(), "{tag} cannot be sent");
        }
    }
    if let Some(Condition::Etag(tag)) = head.revision.if_range() {
        assert!(tag.is_strong(), "{tag} is weak");
    }
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

/// A text packed with gzip. The first byte tells whether the rest is packed already, or where it is damaged after packing.
pub(crate) fn packed(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    if *kind == 0 {
        let Ok(text) = unpack(rest) else { return };
        assert!(text.len() <= MOST, "{} bytes", text.len());
        assert!(unpack(&rest[..rest.len() - 1]).is_err(), "whole without its last byte");
        assert_eq!(unpack(&pack(&text)), Ok(text));
        return;
    }
    let mut damaged = pack(rest);
    assert_eq!(unpack(&damaged).as_deref(), Ok(rest));
    let at = usize::from(*kind) % damaged.len();
    damaged[at] ^= 1 << (kind % 8);
    if let Ok(text) = unpack(&damaged) {
        assert_eq!(text, rest, "damaged at {at}, and another text");
    }
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("it is written to memory");
    encoder.finish().expect("it is written to memory")
}
