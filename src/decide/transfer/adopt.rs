//! Whether a file that is in DIR already, whatever put it there, is the listed one, so that it need not be fetched.
//!
//! Its length and first bytes are compared with the host's; then its own bytes must be proven as if they had come from
//! there: by the trainer's hash, which is among the first bytes, or by what the host claims of the whole file.

use crate::decide::formats::safetensors_header::SafetensorsHeader;
use crate::decide::transfer::resume::{Answer, Asked, resume};
use crate::decide::transfer::verify::{Judgement, Verified};
use crate::model::evidence::Evidence;
use crate::model::response_head::Head;

/// Files up to this length are compared byte for byte: that costs no more than the request itself.
const LEAST: u64 = 8 << 10;

/// The most that is compared. Headers are some hundred KiB at most, and the hash is at their beginning.
pub(crate) const MOST: u64 = 1 << 20;

/// Returns how many of the host's bytes are compared: all of the header, where there is one.
#[must_use]
pub(crate) fn probe(size: u64, header: Option<&SafetensorsHeader>) -> u64 {
    header.map_or(LEAST, |header| header.body_start.clamp(LEAST, MOST)).min(size)
}

/// Whether the host's answer to a request for that many first bytes has them, of a file of this length.
#[must_use]
pub(crate) fn fits(size: u64, count: u64, head: &Head) -> bool {
    let asked = Asked { end: Some(count), ..Asked::default() };
    match resume(&asked, head) {
        Answer::Take { skip: 0, take, total: Some(total), .. } => {
            total == size && take.is_some_and(|take| take >= count)
        }
        _ => false,
    }
}

/// Takes a file over whose first `compared` bytes are the host's, if that and its own bytes are proof enough.
#[must_use]
pub(crate) fn adopted(judgement: Judgement, compared: u64, run_may_write: bool) -> Option<Verified> {
    let Judgement::Proven(verified) = judgement else { return None };
    let is_enough = match verified.evidence() {
        Evidence::TrainerHash | Evidence::Digest | Evidence::Checksum => true,
        Evidence::Structure => compared >= verified.size(),
        Evidence::Length => compared >= verified.size() && !run_may_write,
    };
    is_enough.then_some(verified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::formats::Format;
    use crate::decide::transfer::verify::{Expectation, Inspection, judge};
    use crate::model::response_head::ContentRange;
    use crate::model::revision::Revision;

    fn head(status: u16, range: Option<&str>, body: u64) -> Head {
        Head {
            status,
            content_range: range.map(ContentRange::parse),
            content_length: Some(body),
            revision: Revision::default(),
            ..Head::default()
        }
    }

    #[test]
    fn the_answer_must_be_of_a_file_as_long() {
        for (name, head, expected) in [
            ("the first bytes", head(206, Some("bytes 0-99/500"), 100), true),
            ("of a longer file", head(206, Some("bytes 0-99/501"), 100), false),
            ("of an unknown length", head(206, Some("bytes 0-99/*"), 100), false),
            ("fewer", head(206, Some("bytes 0-98/500"), 99), false),
            ("all of it", head(200, None, 500), true),
            ("all of another one", head(200, None, 400), false),
            ("encoded", Head { encoded: true, ..head(200, None, 500) }, false),
            ("refused", head(403, None, 9), false),
        ] {
            assert_eq!(fits(500, 100, &head), expected, "{name}");
        }
    }

    #[test]
    fn headers_are_compared_whole_within_bounds() {
        let header = |body_start| {
            let json = r#"{"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
            SafetensorsHeader { body_start, ..SafetensorsHeader::parse(json.as_bytes()).unwrap() }
        };
        for (size, body_start, expected) in
            [(1 << 30, 100, LEAST), (1 << 30, 20_000, 20_000), (1 << 30, 5 << 20, MOST), (900, 100, 900)]
        {
            assert_eq!(probe(size, Some(&header(body_start))), expected);
        }
        assert_eq!((probe(1 << 30, None), probe(100, None)), (LEAST, 100));
    }

    #[test]
    fn a_file_proven_by_its_length_alone_is_adopted_where_every_byte_was_compared_and_it_is_not_written() {
        let bytes = b"some text".as_slice();
        let judged = || {
            let mut inspection = Inspection::new(Format::Unknown, &[]);
            inspection.feed(bytes);
            judge(&inspection.finish(None), &Expectation { length: Some(9), ..Expectation::default() })
        };
        assert!(adopted(judged(), 9, false).is_some());
        assert!(adopted(judged(), 8, false).is_none());
        assert!(adopted(judged(), 9, true).is_none());
        assert!(adopted(Judgement::Unfinished { declared: None, have: 9 }, 9, false).is_none());
    }
}
