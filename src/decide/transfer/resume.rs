//! All of HTTP's range and validator rules in one pure function (RFC 9110 sections 13.1.5, 14 and 15.3.7).
//!
//! The one idea: bytes are taken only from an answer that declares which bytes of which revision it has, and what
//! it declares must fit what was asked and what is known. Everything else restarts, waits or fails; nothing is guessed.

use crate::model::fault::RangeFault;
use crate::model::response_head::{ContentRange, Head};
use crate::model::revision::{Agreement, Revision};

/// What was asked of the host.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Asked {
    /// The first byte.
    pub start: u64,
    /// One past the last byte; `None`: to the end.
    pub end: Option<u64>,
    /// What is known of the file's revision, from earlier answers or runs.
    pub known: Option<Revision>,
    /// `If-Range` was sent with the known validator.
    pub if_range: bool,
    /// `If-None-Match` or `If-Modified-Since` was sent.
    pub if_changed: bool,
    /// Tags that differ while date and length agree are taken for another replica of the same bytes: set after
    /// restarts did not help, with the whole file fetched in one stream and proven at the end.
    pub tolerate_suspect: bool,
    /// The first bytes that are asked for are here already, and will be compared with those that come: that shows what
    /// no validator does.
    pub compared: bool,
    /// The file is a text of moderate length: one that comes packed is unpacked.
    pub unpacks: bool,
}

/// So many bytes before a break are asked for again where no validator shows whether the file is still the same. Weights
/// of two versions differ within far fewer.
pub(crate) const OVERLAP: u64 = 16 << 10;

/// Returns how many bytes before a range are to be asked for again and compared; `before` is how many are here.
#[must_use]
pub(crate) fn overlap(known: &Revision, before: u64) -> u64 {
    if known.is_comparable() { 0 } else { before.min(OVERLAP) }
}

/// What to do with an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// The body's bytes, after skipping `skip` of them, belong at `asked.start`; `take` of them are wanted.
    Take {
        /// Bytes before the asked one, sent by a cache that aligns ranges to blocks.
        skip: u64,
        /// Bytes of this body that are wanted after that; `None` while the length is unknown.
        take: Option<u64>,
        /// The whole length, where known.
        total: Option<u64>,
        /// This answer proved that the host serves ranges.
        ranges_proven: bool,
    },
    /// The body is the whole file, packed with gzip.
    Unpack,
    /// Known bytes are of this revision no more: drop them and start again from zero.
    Changed,
    /// Nothing has changed since the known revision (304).
    Unchanged,
    /// The whole file came although a later part of the same revision was asked for: this host does not do that.
    RangesIgnored,
    /// The file ends where the request began: there is nothing more to have (416 with the known length).
    Complete { total: u64 },
    /// The host has no byte yet.
    Empty,
    /// A status without bytes: 4xx, 5xx, an unfollowed redirect.
    Refused,
    /// An answer that contradicts itself or the question. No byte of it is taken.
    Reject(RangeFault),
}

/// Reads an answer's head in the light of what was asked and known.
#[must_use]
pub(crate) fn resume(asked: &Asked, head: &Head) -> Answer {
    match head.status {
        206 => partial(asked, head),
        200 => whole(asked, head),
        304 if asked.if_changed => Answer::Unchanged,
        416 => unsatisfied(asked, head),
        204 | 205 | 304 | 100..=199 | 201..=299 => Answer::Reject(RangeFault::Nonsense(head.status)),
        _ => Answer::Refused,
    }
}

fn partial(asked: &Asked, head: &Head) -> Answer {
    if head.multipart {
        return Answer::Reject(RangeFault::Multipart);
    }
    if head.encoded {
        let is_all = matches!(head.content_range,
            Some(ContentRange::Part { start: 0, end, total: Some(total) }) if end == total);
        return encoded(asked, head, is_all);
    }
    let Some(ContentRange::Part { start, end, total }) = head.content_range else {
        return Answer::Reject(RangeFault::Unlabelled);
    };
    let length = end - start;
    if let Some(body) = head.content_length
        && body != length
    {
        return Answer::Reject(RangeFault::LengthMismatch { range: length, body });
    }
    if start > asked.start || end <= asked.start {
        return Answer::Reject(RangeFault::Misplaced { asked: asked.start, start, end });
    }
    match agreement(asked, head) {
        Agreement::Different => return Answer::Changed,
        Agreement::Suspect if !asked.tolerate_suspect => return Answer::Changed,
        Agreement::Unknown if may_differ(asked) => return Answer::Changed,
        Agreement::Same | Agreement::Suspect | Agreement::Unknown => {}
    }
    let skip = asked.start - start;
    let wanted_end = asked.end.map_or(end, |asked_end| asked_end.min(end));
    let total = total.or_else(|| asked.known.as_ref().and_then(|known| known.length));
    Answer::Take { skip, take: Some(wanted_end - asked.start), total, ranges_proven: true }
}

/// An encoded body has other bytes than the file.
const fn encoded(asked: &Asked, head: &Head, is_all: bool) -> Answer {
    if asked.unpacks && head.gzip && is_all && asked.start == 0 {
        return Answer::Unpack;
    }
    Answer::Reject(RangeFault::Encoded)
}

fn whole(asked: &Asked, head: &Head) -> Answer {
    if head.encoded {
        return encoded(asked, head, true);
    }
    if asked.start == 0 {
        return match agreement(asked, head) {
            Agreement::Different => Answer::Changed,
            Agreement::Unknown if may_differ(asked) => Answer::Changed,
            _ if head.content_length == Some(0) => Answer::Empty,
            _ => Answer::Take {
                skip: 0,
                take: head.content_length,
                total: head.content_length,
                ranges_proven: false,
            },
        };
    }
    match agreement(asked, head) {
        Agreement::Same => Answer::RangesIgnored,
        Agreement::Suspect if asked.tolerate_suspect => Answer::RangesIgnored,
        Agreement::Unknown if asked.compared => Answer::RangesIgnored,
        Agreement::Different | Agreement::Suspect | Agreement::Unknown => Answer::Changed,
    }
}

fn unsatisfied(asked: &Asked, head: &Head) -> Answer {
    match head.content_range {
        Some(ContentRange::Unsatisfied { total: 0 }) => Answer::Empty,
        Some(ContentRange::Unsatisfied { total }) if asked.start == total => match agreement(asked, head) {
            Agreement::Same => Answer::Complete { total },
            // A 416 often carries no validator; an equal length is all that is known, and the proof comes later.
            Agreement::Unknown if asked.known.as_ref().is_some_and(|known| known.length == Some(total)) => {
                Answer::Complete { total }
            }
            Agreement::Unknown | Agreement::Suspect | Agreement::Different => Answer::Changed,
        },
        Some(ContentRange::Unsatisfied { .. }) if asked.start > 0 => Answer::Changed,
        _ => Answer::Reject(RangeFault::Nonsense(416)),
    }
}

/// Whether bytes that may be here cannot be shown to be of one revision with those of an answer without validators: the
/// ones before it, or, where a revision could be fetched in several ranges, those after it.
fn may_differ(asked: &Asked) -> bool {
    (asked.start > 0 && !asked.compared) || asked.known.as_ref().is_some_and(Revision::is_comparable)
}

/// Compares the known revision with the answer's, filling the answer's length in from its range.
fn agreement(asked: &Asked, head: &Head) -> Agreement {
    let Some(known) = &asked.known else { return Agreement::Unknown };
    let mut now = head.revision.clone();
    now.length = match head.content_range {
        Some(ContentRange::Part { total, .. }) => total,
        Some(ContentRange::Unsatisfied { total }) => Some(total),
        Some(ContentRange::Malformed) | None if head.status == 200 => head.content_length,
        Some(ContentRange::Malformed) | None => None,
    };
    known.compare(&now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::revision::{Etag, LastModified};

    fn revision(tag: &str, length: u64) -> Revision {
        Revision { etag: Some(Etag::parse(tag).unwrap()), last_modified: None, length: Some(length) }
    }

    fn asked(start: u64, end: Option<u64>, known: Option<Revision>) -> Asked {
        Asked { start, end, if_range: known.is_some(), known, ..Asked::default() }
    }

    fn head(status: u16, range: Option<&str>, body: Option<u64>, tag: &str) -> Head {
        Head {
            status,
            content_range: range.map(ContentRange::parse),
            content_length: body,
            revision: Revision { etag: Etag::parse(tag).ok(), ..Revision::default() },
            ..Head::default()
        }
    }

    fn take(skip: u64, take: u64, total: Option<u64>) -> Answer {
        Answer::Take { skip, take: Some(take), total, ranges_proven: true }
    }

    #[test]
    fn the_table() {
        let known = || Some(revision("\"a\"", 100));
        let rows: Vec<(&str, Asked, Head, Answer)> = vec![
            (
                "first piece",
                asked(0, Some(40), None),
                head(206, Some("bytes 0-39/100"), Some(40), "\"a\""),
                take(0, 40, Some(100)),
            ),
            (
                "small file in one",
                asked(0, Some(400), None),
                head(206, Some("bytes 0-99/100"), Some(100), "\"a\""),
                take(0, 100, Some(100)),
            ),
            (
                "later piece",
                asked(40, Some(80), known()),
                head(206, Some("bytes 40-79/100"), Some(40), "\"a\""),
                take(0, 40, Some(100)),
            ),
            (
                "block-aligned cache",
                asked(40, Some(80), known()),
                head(206, Some("bytes 32-95/100"), Some(64), "\"a\""),
                take(8, 40, Some(100)),
            ),
            (
                "shorter than asked",
                asked(40, Some(80), known()),
                head(206, Some("bytes 40-49/100"), Some(10), "\"a\""),
                take(0, 10, Some(100)),
            ),
            (
                "unknown total",
                asked(40, None, known()),
                head(206, Some("bytes 40-99/*"), Some(60), "\"a\""),
                take(0, 60, Some(100)),
            ),
            (
                "no length header",
                asked(40, None, known()),
                head(206, Some("bytes 40-99/100"), None, "\"a\""),
                take(0, 60, Some(100)),
            ),
            (
                "starts late",
                asked(40, None, known()),
                head(206, Some("bytes 41-99/100"), Some(59), "\"a\""),
                Answer::Reject(RangeFault::Misplaced { asked: 40, start: 41, end: 100 }),
            ),
            (
                "ends early",
                asked(40, None, known()),
                head(206, Some("bytes 0-39/100"), Some(40), "\"a\""),
                Answer::Reject(RangeFault::Misplaced { asked: 40, start: 0, end: 40 }),
            ),
            (
                "other total",
                asked(40, None, known()),
                head(206, Some("bytes 40-99/101"), Some(60), "\"a\""),
                Answer::Changed,
            ),
            (
                "other tag",
                asked(40, None, known()),
                head(206, Some("bytes 40-99/100"), Some(60), "\"b\""),
                Answer::Changed,
            ),
            (
                "no tag any more",
                asked(40, None, known()),
                head(206, Some("bytes 40-99/100"), Some(60), ""),
                Answer::Changed,
            ),
            (
                "nothing known",
                asked(40, None, None),
                head(206, Some("bytes 40-99/100"), Some(60), "\"a\""),
                Answer::Changed,
            ),
            (
                "no content-range",
                asked(40, None, known()),
                head(206, None, Some(60), "\"a\""),
                Answer::Reject(RangeFault::Unlabelled),
            ),
            (
                "malformed range",
                asked(40, None, known()),
                head(206, Some("bytes 99-40/100"), Some(60), "\"a\""),
                Answer::Reject(RangeFault::Unlabelled),
            ),
            (
                "length lies",
                asked(40, None, known()),
                head(206, Some("bytes 40-99/100"), Some(61), "\"a\""),
                Answer::Reject(RangeFault::LengthMismatch { range: 60, body: 61 }),
            ),
            (
                "200 at the start",
                asked(0, Some(40), None),
                head(200, None, Some(100), "\"a\""),
                Answer::Take { skip: 0, take: Some(100), total: Some(100), ranges_proven: false },
            ),
            (
                "first piece, no tag any more",
                asked(0, Some(40), known()),
                head(206, Some("bytes 0-39/100"), Some(40), ""),
                Answer::Changed,
            ),
            (
                "200 at the start, no tag any more",
                asked(0, None, known()),
                head(200, None, Some(100), ""),
                Answer::Changed,
            ),
            (
                "first piece, never a tag",
                asked(0, Some(40), Some(Revision { etag: None, ..revision("\"a\"", 100) })),
                head(206, Some("bytes 0-39/100"), Some(40), ""),
                take(0, 40, Some(100)),
            ),
            (
                "200 without length",
                asked(0, Some(40), None),
                head(200, None, None, ""),
                Answer::Take { skip: 0, take: None, total: None, ranges_proven: false },
            ),
            ("200 empty", asked(0, Some(40), None), head(200, None, Some(0), "\"a\""), Answer::Empty),
            (
                "200 mid-file, same",
                asked(40, None, known()),
                head(200, None, Some(100), "\"a\""),
                Answer::RangesIgnored,
            ),
            (
                "200 mid-file, new tag",
                asked(40, None, known()),
                head(200, None, Some(100), "\"b\""),
                Answer::Changed,
            ),
            (
                "200 mid-file, new length",
                asked(40, None, known()),
                head(200, None, Some(90), "\"a\""),
                Answer::Changed,
            ),
            (
                "416 at the end",
                asked(100, None, known()),
                head(416, Some("bytes */100"), Some(0), ""),
                Answer::Complete { total: 100 },
            ),
            (
                "416 at the end, new tag",
                asked(100, None, known()),
                head(416, Some("bytes */100"), Some(0), "\"b\""),
                Answer::Changed,
            ),
            (
                "416, shorter now",
                asked(40, None, known()),
                head(416, Some("bytes */30"), Some(0), ""),
                Answer::Changed,
            ),
            (
                "416, empty file",
                asked(0, Some(40), None),
                head(416, Some("bytes */0"), Some(0), ""),
                Answer::Empty,
            ),
            (
                "416 without a length",
                asked(40, None, known()),
                head(416, None, Some(0), ""),
                Answer::Reject(RangeFault::Nonsense(416)),
            ),
            (
                "304 unasked",
                asked(0, None, None),
                head(304, None, None, ""),
                Answer::Reject(RangeFault::Nonsense(304)),
            ),
            (
                "204",
                asked(0, None, None),
                head(204, None, None, ""),
                Answer::Reject(RangeFault::Nonsense(204)),
            ),
            ("403", asked(0, None, None), head(403, None, Some(9), ""), Answer::Refused),
            ("503", asked(40, None, known()), head(503, None, Some(9), ""), Answer::Refused),
        ];
        for (name, asked, head, expected) in rows {
            assert_eq!(resume(&asked, &head), expected, "{name}");
        }
    }

    #[test]
    fn without_validators_an_overlap_that_is_compared_lets_a_transfer_continue() {
        let bare = || Some(Revision { length: Some(100), ..Revision::default() });
        let question = Asked { compared: true, ..asked(40, None, bare()) };
        let rows = [
            ("the rest", head(206, Some("bytes 40-99/100"), Some(60), ""), take(0, 60, Some(100))),
            (
                "a tag all of a sudden",
                head(206, Some("bytes 40-99/100"), Some(60), "\"a\""),
                take(0, 60, Some(100)),
            ),
            ("another length", head(206, Some("bytes 40-89/90"), Some(50), ""), Answer::Changed),
            ("everything", head(200, None, Some(100), ""), Answer::RangesIgnored),
            ("everything, of another length", head(200, None, Some(90), ""), Answer::Changed),
        ];
        for (name, head, expected) in rows {
            assert_eq!(resume(&question, &head), expected, "{name}");
            let uncompared = Asked { compared: false, ..question.clone() };
            assert_eq!(resume(&uncompared, &head), Answer::Changed, "{name}, and nothing is compared");
        }
        assert_eq!(overlap(&bare().unwrap(), 100), 100);
        assert_eq!(overlap(&bare().unwrap(), 1 << 30), OVERLAP);
        assert_eq!(overlap(&revision("\"a\"", 100), 100), 0, "the tag tells");
    }

    #[test]
    fn a_packed_text_is_unpacked_and_nothing_else_is() {
        let packed = |head: Head| Head { encoded: true, gzip: true, ..head };
        let (whole, part) = (head(200, None, Some(9), ""), head(206, Some("bytes 0-8/9"), Some(9), ""));
        let begin = head(206, Some("bytes 0-3/9"), Some(4), "");
        let text = Asked { unpacks: true, ..asked(0, Some(40), None) };
        assert_eq!(resume(&text, &packed(whole.clone())), Answer::Unpack);
        assert_eq!(resume(&text, &packed(part)), Answer::Unpack);
        let encoded = Answer::Reject(RangeFault::Encoded);
        assert_eq!(resume(&text, &packed(begin)), encoded, "a part of a packed text cannot be unpacked");
        assert_eq!(resume(&Asked { unpacks: false, ..text.clone() }, &packed(whole.clone())), encoded);
        assert_eq!(resume(&text, &Head { encoded: true, ..whole }), encoded, "not gzip");
    }

    #[test]
    fn odd_bodies_are_rejected() {
        let whole = Head { encoded: true, ..head(200, None, Some(10), "\"a\"") };
        assert_eq!(resume(&asked(0, None, None), &whole), Answer::Reject(RangeFault::Encoded));
        let part = Head { multipart: true, ..head(206, Some("bytes 0-9/10"), Some(10), "\"a\"") };
        assert_eq!(resume(&asked(0, None, None), &part), Answer::Reject(RangeFault::Multipart));
    }

    #[test]
    fn a_question_about_change_may_be_answered_304() {
        let question = Asked { if_changed: true, ..asked(0, None, Some(revision("\"a\"", 100))) };
        assert_eq!(resume(&question, &head(304, None, None, "\"a\"")), Answer::Unchanged);
    }

    #[test]
    fn replicas_with_other_tags_are_taken_only_when_allowed() {
        let date = Some(LastModified { seconds: 7, strong: true });
        let known = Revision { last_modified: date, ..revision("\"a\"", 100) };
        let mut answer = head(206, Some("bytes 40-99/100"), Some(60), "\"b\"");
        answer.revision.last_modified = date;
        let question = asked(40, None, Some(known));
        assert_eq!(resume(&question, &answer), Answer::Changed);
        assert_eq!(resume(&Asked { tolerate_suspect: true, ..question }, &answer), take(0, 60, Some(100)));
    }
}
