//! Reads what a server claims about a file's bytes from its headers: RFC 9530 `Repr-Digest`, the older `Digest` and
//! `Content-MD5`, and the object stores' own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ETAG, HeaderMap};

use crate::model::claim::{Algorithm, Claim, merge};
use crate::model::digest::unhex;

/// Returns every claim about the whole file. `covers_all`: this answer's body is the whole file, so claims about the
/// message or about a range are claims about the file. `length`: the whole file's, where the answer declares it.
pub(crate) fn read(headers: &HeaderMap, covers_all: bool, length: Option<u64>) -> Vec<Claim> {
    let mut claims = Vec::new();
    if speaks_of_other_bytes(headers, length) {
        return claims;
    }
    for text in values(headers, "repr-digest") {
        merge(&mut claims, &dictionary(text));
    }
    for text in values(headers, "digest") {
        merge(&mut claims, &pairs(text));
    }
    for text in values(headers, "x-goog-hash") {
        merge(&mut claims, &pairs(text));
    }
    let is_kind = |word: &str| {
        values(headers, "x-amz-checksum-type").any(|kind| kind.trim().eq_ignore_ascii_case(word))
    };
    let whole_object = (covers_all && !is_kind("COMPOSITE")) || is_kind("FULL_OBJECT");
    if whole_object {
        for (header, algorithm) in [
            ("x-amz-checksum-sha256", Algorithm::Sha256),
            ("x-amz-checksum-crc32", Algorithm::Crc32),
            ("x-amz-checksum-crc32c", Algorithm::Crc32c),
            ("x-amz-checksum-crc64nvme", Algorithm::Crc64Nvme),
        ] {
            // A composite value, `base64-N`, is a checksum of checksums: not base64, so it drops out here.
            merge(
                &mut claims,
                &values(headers, header).filter_map(|text| from_base64(algorithm, text)).collect::<Vec<_>>(),
            );
        }
    }
    if covers_all {
        for text in values(headers, "content-digest") {
            merge(&mut claims, &dictionary(text));
        }
        let md5 = values(headers, "content-md5").filter_map(|text| from_base64(Algorithm::Md5, text));
        merge(&mut claims, &md5.collect::<Vec<_>>());
    }
    // Said of the file that a redirect led to, with its length.
    let other_length =
        length.is_some_and(|length| number(headers, "x-linked-size").is_some_and(|it| it != length));
    let linked = values(headers, "x-linked-etag")
        .filter(|_| !other_length)
        .filter_map(|text| from_hex(Algorithm::Sha256, text));
    merge(&mut claims, &linked.collect::<Vec<_>>());
    let tag = headers.get(ETAG).and_then(|value| value.to_str().ok()).filter(|text| !text.starts_with("W/"));
    merge(
        &mut claims,
        &tag.and_then(|text| from_hex(Algorithm::Md5Tag, text)).into_iter().collect::<Vec<_>>(),
    );
    claims
}

/// Whether the answer itself declares that its body is not what is stored: then digests may be of either. Stores unpack on
/// the way, and proxies change what passes, without changing the headers that the store wrote before.
fn speaks_of_other_bytes(headers: &HeaderMap, length: Option<u64>) -> bool {
    let is_identity = |word: &str| matches!(&*word.trim().to_ascii_lowercase(), "" | "identity");
    let stored_packed = values(headers, "x-goog-stored-content-encoding").any(|word| !is_identity(word));
    let stored_length = number(headers, "x-goog-stored-content-length");
    let other_length = stored_length.zip(length).is_some_and(|(stored, served)| stored != served);
    let transformed = headers.contains_key("x-guploader-response-body-transformations")
        // RFC 9111, section 5.5 of its predecessor: a transformation was applied.
        || values(headers, "warning").any(|text| text.trim_start().starts_with("214"));
    stored_packed || other_length || transformed
}

fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    values(headers, name).find_map(|text| text.trim().parse().ok())
}

fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// Reads `sha-256=:base64:, sha-512=:base64:` (RFC 9530). Unknown algorithms are passed over.
fn dictionary(text: &str) -> Vec<Claim> {
    let items = text.split(',').filter_map(|item| {
        let (name, value) = item.trim().split_once('=')?;
        let value = value.split(';').next()?.trim().strip_prefix(':')?.strip_suffix(':')?;
        from_base64(algorithm(name)?, value)
    });
    items.collect()
}

/// Reads `SHA-256=base64,md5=base64` (RFC 3230, and Google's `x-goog-hash`).
fn pairs(text: &str) -> Vec<Claim> {
    let items = text.split(',').filter_map(|item| {
        let (name, value) = item.trim().split_once('=')?;
        from_base64(algorithm(name)?, value)
    });
    items.collect()
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name.trim().to_ascii_lowercase().as_str() {
        "sha-256" | "sha256" => Some(Algorithm::Sha256),
        "sha-512" | "sha512" => Some(Algorithm::Sha512),
        "md5" => Some(Algorithm::Md5),
        "crc32c" => Some(Algorithm::Crc32c),
        _ => None,
    }
}

fn from_base64(algorithm: Algorithm, text: &str) -> Option<Claim> {
    Claim::new(algorithm, &STANDARD.decode(text.trim()).ok()?)
}

fn from_hex(algorithm: Algorithm, text: &str) -> Option<Claim> {
    Claim::new(algorithm, &unhex(text.trim().trim_matches('"'))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn names(lines: &[(&'static str, &str)], covers_all: bool) -> Vec<Algorithm> {
        read(&headers(lines), covers_all, Some(10)).into_iter().map(|claim| claim.algorithm).collect()
    }

    #[test]
    fn every_source_of_claims() {
        let sha = STANDARD.encode([7; 32]);
        let md5 = STANDARD.encode([7; 16]);
        let repr = format!("sha-256=:{sha}:;q=1, unixsum=:AAAA:");
        assert_eq!(names(&[("repr-digest", &repr)], false), [Algorithm::Sha256]);
        assert_eq!(
            names(&[("digest", &format!("SHA-256={sha},md5={md5}"))], false),
            [Algorithm::Sha256, Algorithm::Md5]
        );
        let goog = [("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", &*format!("md5={md5}"))];
        assert_eq!(names(&goog, false), [Algorithm::Crc32c, Algorithm::Md5]);
        assert_eq!(
            names(&[("x-linked-etag", &format!("\"{}\"", "ab".repeat(32)))], false),
            [Algorithm::Sha256]
        );
        assert_eq!(names(&[("etag", &format!("\"{}\"", "ab".repeat(16)))], false), [Algorithm::Md5Tag]);
        assert_eq!(names(&[("etag", &format!("\"{}-3\"", "ab".repeat(16)))], false), []);
        assert_eq!(names(&[("etag", &format!("W/\"{}\"", "ab".repeat(16)))], false), []);
    }

    #[test]
    fn digests_of_other_bytes_than_the_body_are_ignored() {
        let (md5, sha) = (format!("md5={}", STANDARD.encode([7; 16])), "ab".repeat(32));
        let tag = format!("\"{}\"", "ab".repeat(16));
        let base = [("x-goog-hash", &*md5), ("etag", &*tag)];
        assert_eq!(names(&base, true), [Algorithm::Md5, Algorithm::Md5Tag]);
        for (name, value, counts) in [
            ("x-goog-stored-content-encoding", "gzip", false),
            ("x-goog-stored-content-encoding", "identity", true),
            ("x-goog-stored-content-length", "11", false),
            ("x-goog-stored-content-length", "10", true),
            ("x-guploader-response-body-transformations", "gunzipped", false),
            ("warning", "214 UploadServer gunzipped", false),
            ("warning", "110 - \"Response is Stale\"", true),
        ] {
            let found = names(&[base[0], base[1], (name, value)], true);
            assert_eq!(!found.is_empty(), counts, "{name}: {value}");
        }
        let linked = [("x-linked-etag", &*sha), ("x-linked-size", "11")];
        assert_eq!(names(&linked, true), [], "of a file of another length");
        assert_eq!(names(&[linked[0], ("x-linked-size", "10")], true), [Algorithm::Sha256]);
        let composite = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-type", "COMPOSITE")];
        assert_eq!(names(&composite, true), [], "a checksum of the parts' checksums");
    }

    #[test]
    fn claims_about_a_part_are_not_about_the_file() {
        let md5 = STANDARD.encode([7; 16]);
        assert_eq!(names(&[("content-md5", &md5)], false), []);
        assert_eq!(names(&[("content-md5", &md5)], true), [Algorithm::Md5]);
        assert_eq!(names(&[("x-amz-checksum-crc32", "AAAAAA==")], false), []);
        let full = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-type", "FULL_OBJECT")];
        assert_eq!(names(&full, false), [Algorithm::Crc32]);
        assert_eq!(names(&[("x-amz-checksum-crc32", "AAAAAA==-2")], true), []);
    }
}
