//! The copy of everything that is known, in a head at rest: an idle look then needs no second object.

use std::io;

use crate::decide::bucket::head::{Head, Known, Line};

use super::sabotage::{Rule, holds};

/// Bytes of what is known that a head at rest takes: some 4,000 files.
const MOST_BYTES: usize = 2 << 20;

/// Bytes that a file takes there at least: its SHA-256 alone has 64.
const LEAST_BYTES_A_FILE: usize = 100;

/// Returns everything that is known with these new lines, where reading it would take a second request and it is small enough.
pub(super) fn at_rest(next: &Head, known: &Known, new: &[Line]) -> Option<Box<Known>> {
    within(next, known, new, MOST_BYTES)
}

fn within(next: &Head, known: &Known, new: &[Line], bound: usize) -> Option<Box<Known>> {
    next.snapshot.as_ref()?;
    // Of very many files no copy is made.
    if known.manifest.entries.len() > bound / LEAST_BYTES_A_FILE {
        return None;
    }
    let mut known = known.clone();
    if holds(Rule::RestHasNewLines) {
        new.iter().for_each(|line| known.apply(line.clone()));
    }
    serde_json::to_writer(Left(bound), &known).ok()?;
    Some(Box::new(known))
}

/// Counts what is written, and refuses what is too much.
struct Left(usize);

impl io::Write for Left {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::bucket::head::{Owner, Publish};
    use crate::model::artifact::ArtifactKind::Sample;
    use crate::model::hook_event::EventId;
    use crate::model::manifest::examples;

    #[test]
    fn a_copy_has_the_new_lines_and_is_no_larger_than_its_bound() {
        let owner = Owner { id: "o".to_owned(), host: "h".to_owned(), pid: 1 };
        let first = Head::first("job".parse().unwrap(), "o".to_owned(), owner, Publish::Complete);
        let with_snapshot = Head { snapshot: Some("s".to_owned()), ..first.clone() };
        let manifest = examples::manifest(&[(Sample, "a.jpg", None), (Sample, "b.jpg", None)]);
        let known = Known { manifest, ..Known::new("job".parse().unwrap(), "o".to_owned()) };
        let hook = EventId::of(&["hook"]);
        let new = [Line::Hook { hook: hook.clone(), done: vec![EventId::of(&["a"])], failed: None }];
        let mut whole = known.clone();
        new.iter().for_each(|line| whole.apply(line.clone()));
        let length = serde_json::to_string(&whole).unwrap().len();
        assert!(length > 2 * LEAST_BYTES_A_FILE, "{length} bytes");
        assert_eq!(within(&with_snapshot, &known, &new, length), Some(Box::new(whole)));
        assert_eq!(within(&with_snapshot, &known, &new, length - 1), None);
        assert_eq!(within(&first, &known, &new, length), None, "its lines are all that is known");
    }
}
