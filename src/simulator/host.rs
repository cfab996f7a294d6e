//! The artifact host: one file, one request, one answer.
//!
//! The one idea: a pure function of the file as it is now and the request's headers, after RFC 9110 and the way
//! nginx and S3 do it.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::digest::hex;
use crate::simulator::hosted_files::View;

use super::faults::What;
use super::links::BadLink;
use super::plan::{HostOptions, Validators};
use super::reply::{Manner, Reply, Slice};

/// What of a request decides the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) if_none_match: Option<String>,
}

/// A range that was asked for, put against the length that there is.
enum Ranged {
    Whole,
    Part { start: u64, end: u64 },
    Unsatisfiable,
}

/// Answers a request for `view`. `turn` is a number that differs from request to request. Reads the whole file
/// where the options ask for digests.
pub(crate) fn answer(
    asked: &Asked,
    mut view: View,
    options: &HostOptions,
    what: Option<&What>,
    turn: u64,
) -> Reply {
    if matches!(what, Some(What::OtherBytes)) {
        view.content = view.content.other();
        view.modified_ms += 1000;
    }
    if let Some(status) = options.refuses_ranges.filter(|_| asked.range.is_some()) {
        return Reply::storage_error(
            status,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        );
    }
    let length = view.length();
    let etag = etag(&view, length, options, turn);
    let modified = http_date(view.modified_ms);
    let mut headers = Vec::new();
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    add("content-type", media_type(&view.path).to_owned());
    if let Some(etag) = &etag {
        add("etag", etag.clone());
    }
    if options.validators != Validators::None {
        add("last-modified", modified.clone());
    }
    if options.ranges {
        add("accept-ranges", "bytes".to_owned());
    }
    if view.is_whole() {
        add_digests(&view, options, &mut add);
    }
    let zeros_from = view.zeros_from();
    let reply = |status, headers, start, length| Reply {
        status,
        headers,
        slice: Slice { content: view.content.clone(), start, length, zeros_from, flipped: None },
        manner: Manner { rate: options.throttle, ..Manner::default() },
    };
    if let (Some(etag), Some(known)) = (&etag, &asked.if_none_match)
        && matches_any(etag, known)
    {
        return reply(304, headers, 0, 0);
    }
    match ranged(asked, length, etag.as_deref(), &modified, options, what) {
        Ranged::Whole => reply(200, headers, 0, length),
        Ranged::Part { start, end } => {
            let start = match what {
                Some(What::EarlierStart(by)) => start.saturating_sub(*by),
                _ => start,
            };
            headers.push(("content-range".to_owned(), format!("bytes {start}-{}/{length}", end - 1)));
            reply(206, headers, start, end - start)
        }
        Ranged::Unsatisfiable => {
            headers.push(("content-range".to_owned(), format!("bytes */{length}")));
            reply(416, headers, 0, 0)
        }
    }
}

/// The answer to a link that is not good, in the words of S3.
pub(crate) fn refuse_link(bad: BadLink) -> Reply {
    match bad {
        BadLink::Unsigned => Reply::storage_error(403, "AccessDenied", "Access Denied"),
        BadLink::Expired => Reply::storage_error(403, "AccessDenied", "Request has expired"),
    }
}

/// The answer to a request with credentials: a signed link is one kind, a token another, and two are too many.
pub(crate) fn refuse_authorization() -> Reply {
    Reply::storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
}

/// The answer where there is no file.
pub(crate) fn not_found() -> Reply {
    Reply::storage_error(404, "NoSuchKey", "The specified key does not exist.")
}

/// The answer to a method other than GET and HEAD.
pub(crate) fn refuse_method() -> Reply {
    Reply::storage_error(405, "MethodNotAllowed", "The specified method is not allowed.")
        .with("allow", "GET, HEAD")
}

fn ranged(
    asked: &Asked,
    length: u64,
    etag: Option<&str>,
    modified: &str,
    options: &HostOptions,
    what: Option<&What>,
) -> Ranged {
    let Some(range) = asked.range.as_deref() else { return Ranged::Whole };
    if !options.ranges || matches!(what, Some(What::IgnoreRange)) {
        return Ranged::Whole;
    }
    if let Some(condition) = asked.if_range.as_deref().filter(|_| !options.if_range_ignored) {
        let dated = options.validators != Validators::None && condition == modified;
        // Weak validators never match here.
        let tagged = !condition.starts_with("W/") && etag == Some(condition);
        if options.if_range_never_matches || !(dated || tagged) {
            return Ranged::Whole;
        }
    }
    parse_range(range, length).unwrap_or(Ranged::Whole)
}

/// Reads a single range of bytes; what is no such thing is as good as not there.
fn parse_range(range: &str, length: u64) -> Option<Ranged> {
    let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        if count == 0 || length == 0 {
            return Some(Ranged::Unsatisfiable);
        }
        return Some(Ranged::Part { start: length.saturating_sub(count), end: length });
    }
    let start: u64 = first.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.saturating_add(1).min(length) };
    if start >= length {
        return Some(Ranged::Unsatisfiable);
    }
    (start < end).then_some(Ranged::Part { start, end })
}

fn etag(view: &View, length: u64, options: &HostOptions, turn: u64) -> Option<String> {
    let seconds = view.modified_ms / 1000;
    match options.validators {
        Validators::Md5 if view.is_whole() => Some(format!("\"{}\"", hex(&view.content.digests().md5))),
        Validators::Strong | Validators::Md5 => Some(format!("\"{seconds:x}-{length:x}\"")),
        Validators::Weak => Some(format!("W/\"{seconds:x}-{length:x}\"")),
        Validators::Changing => Some(format!("\"{turn:x}-{length:x}\"")),
        Validators::LastModified | Validators::None => None,
    }
}

fn add_digests(view: &View, options: &HostOptions, add: &mut impl FnMut(&str, String)) {
    if options.repr_digest {
        let digest = STANDARD.encode(view.content.digests().sha256.as_bytes());
        add("repr-digest", format!("sha-256=:{digest}:"));
    }
    if options.crc32c {
        add("x-amz-checksum-crc32c", STANDARD.encode(view.content.digests().crc32c.to_be_bytes()));
    }
    if options.linked_etag {
        add("x-linked-etag", format!("\"{}\"", view.content.digests().sha256));
    }
}

/// Whether one of the ETags in an `If-None-Match` header is this one, compared weakly.
fn matches_any(etag: &str, known: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|tag| bare(tag) == bare(etag))
}

fn http_date(modified_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "mp4" => "video/mp4",
        "yaml" => "application/yaml",
        _ => "application/octet-stream",
    }
}
