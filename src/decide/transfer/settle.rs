//! When a file that only its length speaks for may be published while the run may still write it: after two equal looks.

use std::time::Duration;

use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::manifest::FirstLook;
use crate::model::revision::Revision;

/// Two looks closer than this prove little: a trainer writes in bursts, and an encoder flushes every second or two.
pub(crate) const APART: Duration = Duration::from_secs(5);

/// What one look read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read<'a> {
    /// The hash of its bytes, and so its length too.
    pub sha256: Sha256Digest,
    /// What the host reported of its revision.
    pub revision: &'a Revision,
    /// When, in milliseconds since 1970.
    pub now: u64,
}

/// What follows a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing speaks against publishing it.
    Publish,
    /// The first look, or the first with these bytes: look again after [`APART`].
    First(FirstLook),
    /// The same as at the first look, which was less than [`APART`] ago.
    TooSoon,
}

/// Judges a proven file by how it was proven, whether the run may still write, and what an earlier look read.
#[must_use]
pub(crate) fn settled(
    evidence: Evidence,
    run_may_write: bool,
    read: Read<'_>,
    before: Option<(Sha256Digest, FirstLook)>,
) -> Settled {
    if evidence != Evidence::Length || !run_may_write {
        return Settled::Publish;
    }
    let modified = read.revision.last_modified.map(|date| date.seconds);
    let first = Settled::First(FirstLook { at: read.now, modified });
    let Some((sha256, look)) = before else { return first };
    // Tags may differ from replica to replica; a later date shows that a writer is at work.
    let moved_on = look.modified.zip(modified).is_some_and(|(then, now)| then != now);
    if sha256 != read.sha256 || moved_on {
        return first;
    }
    match read.now.checked_sub(look.at).map(Duration::from_millis) {
        // The clock was set back.
        None => first,
        Some(apart) if apart < APART => Settled::TooSoon,
        Some(_) => Settled::Publish,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::revision::{Etag, LastModified};

    fn revision(tag: &str, seconds: Option<u64>) -> Revision {
        Revision {
            etag: Etag::parse(tag).ok(),
            last_modified: seconds.map(|seconds| LastModified { seconds, strong: false }),
            length: Some(10),
        }
    }

    #[test]
    fn two_equal_looks_some_seconds_apart() {
        let (one, other) = (Sha256Digest::new([1; 32]), Sha256Digest::new([2; 32]));
        let first = |at, modified| Settled::First(FirstLook { at, modified });
        let before = |sha256, at, modified| Some((sha256, FirstLook { at, modified }));
        let dated = revision("\"a\"", Some(7));
        let rows = [
            ("nothing before", 9000, &dated, None, first(9000, Some(7))),
            ("other bytes", 9000, &dated, before(other, 0, Some(7)), first(9000, Some(7))),
            ("another date", 9000, &dated, before(one, 0, Some(6)), first(9000, Some(7))),
            ("no date then", 9000, &dated, before(one, 0, None), Settled::Publish),
            ("a moment ago", 9000, &dated, before(one, 4001, Some(7)), Settled::TooSoon),
            ("long enough ago", 9000, &dated, before(one, 4000, Some(7)), Settled::Publish),
            ("a clock set back", 9000, &dated, before(one, 9001, Some(7)), first(9000, Some(7))),
        ];
        for (name, now, revision, before, expected) in rows {
            let read = Read { sha256: one, revision, now };
            assert_eq!(settled(Evidence::Length, true, read, before), expected, "{name}");
            assert_eq!(settled(Evidence::Length, false, read, before), Settled::Publish, "{name}, and over");
            assert_eq!(settled(Evidence::Structure, true, read, before), Settled::Publish, "{name}, whole");
        }
    }

    #[test]
    fn another_tag_alone_is_another_replica() {
        let one = Sha256Digest::new([1; 32]);
        let now = revision("\"b\"", None);
        let read = Read { sha256: one, revision: &now, now: 10_000 };
        let before = Some((one, FirstLook { at: 0, modified: None }));
        assert_eq!(settled(Evidence::Length, true, read, before), Settled::Publish);
    }
}
