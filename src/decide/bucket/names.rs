//! Under which name a file is created: in a bucket a name means one sequence of bytes for ever.

use crate::model::digest::Sha256Digest;
use crate::model::names::rel_path::RelPath;

use super::head::Known;

/// Returns the names to try, in order: the plain one, then `<stem>~<hash><ext>` with ever more digits. Names that were
/// ever given away are left out; one that is claimed for the same bytes is a name for them.
#[must_use]
pub fn candidates(plain: &RelPath, sha256: Sha256Digest, known: &Known) -> Vec<RelPath> {
    let digits = sha256.to_string();
    let hashed = [8, 16, 64].map(|count| plain.with_suffix(&digits[..count]));
    let (used, claimed) = (known.used(), known.claimed());
    std::iter::once(plain.clone())
        .chain(hashed)
        .filter(|path| !used.contains(path) || claimed.get(path) == Some(&sha256))
        .collect()
}

/// Whether the plain name may be tried for bytes that are not known yet.
#[must_use]
pub(crate) fn is_free(plain: &RelPath, known: &Known) -> bool {
    !known.used().contains(plain)
}

#[cfg(test)]
mod tests {
    use super::super::head::Line;
    use super::*;
    use crate::model::artifact::{ArtifactKey, ArtifactKind};
    use crate::model::evidence::Evidence;
    use crate::model::manifest::{Entry, EntryState};
    use crate::model::revision::Revision;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn known(name: &str, sha256: Sha256Digest, state: EntryState) -> Known {
        let mut known = Known::new("job".parse().unwrap(), "o".to_owned());
        let entry = Entry {
            path: path(name),
            step: None,
            size: 3,
            sha256,
            evidence: Evidence::Length,
            revision: Revision::default(),
            run: "".into(),
            modified: None,
            state,
            older: Vec::new(),
        };
        let key = ArtifactKey { kind: ArtifactKind::Sample, path: name.into() };
        known.apply(Line::Know { key, entry, tag: None });
        known
    }

    #[test]
    fn a_name_means_one_sequence_of_bytes() {
        let (one, two) = (Sha256Digest::new([1; 32]), Sha256Digest::new([2; 32]));
        let plain = path("a.jpg");
        let first = |known: &Known, sha256| candidates(&plain, sha256, known)[0].clone();
        let empty = Known::new("job".parse().unwrap(), "o".to_owned());
        assert_eq!(first(&empty, two), plain);
        let claimed = known("a.jpg", one, EntryState::Present);
        assert_eq!(first(&claimed, one), plain, "the same bytes");
        assert_eq!(first(&claimed, two), path("a~02020202.jpg"));
        assert!(!is_free(&plain, &claimed));
        let pruned = known("a.jpg", one, EntryState::Pruned);
        assert_eq!(first(&pruned, one), path("a~01010101.jpg"), "a name that was deleted is not used again");
        let mut retired = empty.clone();
        retired.apply(Line::Retire { path: plain.clone(), tag: None });
        assert_eq!(first(&retired, one), path("a~01010101.jpg"));
        assert!(!is_free(&plain, &retired));
        let both = known("a~02020202.jpg", one, EntryState::Present);
        let names = candidates(&plain, two, &both);
        assert_eq!(names[..2], [plain.clone(), path("a~0202020202020202.jpg")]);
    }
}
