//! Zip archives, which PyTorch's `.pt` files are: what says that they are whole is at their very end.

use super::verdict::{Defect, Fault, Verdict};

/// The end of the central directory, without its comment.
const END: usize = 22;

/// The locator of the larger end record, which is right before the small one.
const LOCATOR: usize = 20;

/// The larger end record, without extensions.
const LARGE_END: usize = 56;

/// The longest comment.
const COMMENT: usize = 65_535;

/// Enough of the file's end to find all three in it.
const WINDOW: usize = END + COMMENT + LOCATOR + LARGE_END;

/// Keeps the end of the file.
#[derive(Debug, Default)]
pub(super) struct Walk {
    tail: Vec<u8>,
}

impl Walk {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(WINDOW)..];
        if self.tail.len() + new.len() > 2 * WINDOW {
            let kept = WINDOW.saturating_sub(new.len()).min(self.tail.len());
            self.tail.drain(..self.tail.len() - kept);
        }
        self.tail.extend_from_slice(new);
    }

    pub(super) fn finish(mut self, total: u64) -> Result<Verdict, Fault> {
        self.tail.drain(..self.tail.len().saturating_sub(WINDOW));
        let tail = &*self.tail;
        let before = total - tail.len() as u64;
        let mut has_end = false;
        for at in (0..tail.len().saturating_sub(END - 1)).rev() {
            if &tail[at..at + 4] != b"PK\x05\x06" {
                continue;
            }
            let comment = usize::from(u16::from_le_bytes([tail[at + 20], tail[at + 21]]));
            let end = at + END + comment;
            if end == tail.len() && is_consistent(tail, at, before) {
                return Ok(Verdict::Whole);
            }
            // Something is behind it, or before it: nothing that an archive must not have.
            has_end |= end <= tail.len();
        }
        if has_end {
            return Ok(Verdict::Plausible);
        }
        Err(Fault::Bad(Defect::truncation("the list of its entries, which ends an archive, is missing")))
    }
}

/// Whether the directory ends where its end record begins. `before` is how many bytes of the file are not in `tail`.
fn is_consistent(tail: &[u8], at: usize, before: u64) -> bool {
    let large = at.checked_sub(LOCATOR).filter(|locator| tail[*locator..].starts_with(b"PK\x06\x07"));
    let (size, offset, directory_end) = match large {
        None => {
            let field = |from| u32_at(tail, at + from).map(u64::from);
            (field(12), field(16), Some(before + at as u64))
        }
        Some(locator) => {
            let record = u64_at(tail, locator + 8);
            let place = record.and_then(|record| usize::try_from(record.checked_sub(before)?).ok());
            let place = place.filter(|place| {
                place.checked_add(LARGE_END).is_some_and(|end| end <= locator)
                    && tail[*place..].starts_with(b"PK\x06\x06")
            });
            let field = |from| u64_at(tail, place? + from);
            (field(40), field(48), record)
        }
    };
    let (Some(size), Some(offset), Some(directory_end)) = (size, offset, directory_end) else { return false };
    offset.checked_add(size) == Some(directory_end)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{check, whole};
    use super::*;

    #[test]
    fn a_comment_may_follow_and_an_end_in_between_is_none() {
        let file = whole("state.pt");
        let mut commented = file.to_vec();
        let at = commented.len() - 2;
        commented[at..].copy_from_slice(&5_u16.to_le_bytes());
        assert!(check(Format::Unknown, &commented).is_unfinished(), "the comment is cut");
        commented.extend_from_slice(b"hello");
        assert_eq!(check(Format::Unknown, &commented), Verdict::Whole);
        // A script before it makes an archive that unpacks itself: the offsets are off by its length.
        assert_eq!(check(Format::Unknown, &[&file[..30], file].concat()), Verdict::Plausible);
    }

    #[test]
    fn large_archives_have_a_larger_end() {
        let end = whole("state.pt");
        let (body, small) = end.split_at(end.len() - END);
        let field = |from| u64::from(u32_at(small, from).unwrap());
        let (size, offset) = (field(12), field(16));
        let large = |offset: u64| {
            let mut record = b"PK\x06\x06".to_vec();
            record.extend_from_slice(&44_u64.to_le_bytes());
            record.resize(40, 0);
            record.extend_from_slice(&size.to_le_bytes());
            record.extend_from_slice(&offset.to_le_bytes());
            let mut locator = b"PK\x06\x07\0\0\0\0".to_vec();
            locator.extend_from_slice(&(body.len() as u64).to_le_bytes());
            locator.extend_from_slice(&1_u32.to_le_bytes());
            let mut small = small.to_vec();
            small[12..20].fill(0xff);
            check(Format::Unknown, &[body, &record, &locator, &small].concat())
        };
        assert_eq!(large(offset), Verdict::Whole);
        assert_eq!(large(offset + 1), Verdict::Plausible);
    }

    #[test]
    fn only_the_end_of_a_long_archive_is_kept() {
        let mut walk = Walk::default();
        for _ in 0..100 {
            walk.feed(&[7; 10_000]);
            assert!(walk.tail.len() <= 2 * WINDOW);
        }
        walk.feed(&[7; 1_000_000]);
        assert!(walk.tail.len() <= 2 * WINDOW);
    }
}
