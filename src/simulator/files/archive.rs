//! Zip archives with one stored entry of noise: the shape of PyTorch's `.pt` files (APPNOTE.TXT, sections 4.3.7 to 4.3.16).

use bytes::Bytes;

use super::made::Made;

const NAME: &[u8] = b"optimizer/data.pkl";

/// Lengths of the local header, the directory's record and the end record, without names.
const LOCAL: usize = 30;
const RECORD: usize = 46;
const END: usize = 22;

/// What surrounds the entry.
const AROUND: u64 = (LOCAL + RECORD + END + 2 * NAME.len()) as u64;

/// Makes the first `shown` bytes of an archive of `length` bytes; one shorter than its own frame is noise.
pub(super) fn make(seed: u64, length: u64, shown: u64) -> Made {
    let Some(data) = length.checked_sub(AROUND).filter(|data| *data <= u64::from(u32::MAX)) else {
        return Made { tail: (seed, shown), ..Made::default() };
    };
    let (head, foot) = (local(data), directory(data));
    let kept = |bytes: Vec<u8>, before: u64| {
        let kept = usize::try_from(shown.saturating_sub(before)).unwrap_or(usize::MAX).min(bytes.len());
        Bytes::from(bytes).slice(..kept)
    };
    let before_foot = head.len() as u64 + data;
    let tail = shown.saturating_sub(head.len() as u64).min(data);
    Made { tail: (seed, tail), foot: kept(foot, before_foot), head: kept(head, 0), ..Made::default() }
}

/// Version, flags, method, time, date, sum (not computed: readers of the frame do not look at it), both lengths.
fn common(data: u64) -> Vec<u8> {
    let length = u32::try_from(data).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0];
    bytes.extend(length);
    bytes.extend(length);
    bytes.extend((NAME.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn local(data: u64) -> Vec<u8> {
    [b"PK\x03\x04", &common(data)[..], NAME].concat()
}

fn directory(data: u64) -> Vec<u8> {
    let offset = u32::try_from((LOCAL + NAME.len()) as u64 + data).unwrap_or(u32::MAX);
    let size = (RECORD + NAME.len()) as u32;
    let mut bytes = [b"PK\x01\x02", &[20, 0][..], &common(data), &[0; 14], NAME].concat();
    bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend(size.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::content::{Content, Recipe};

    #[test]
    fn an_archive_has_its_length_and_begins_and_ends_as_one() {
        let whole = Content::new(Recipe::Archive { seed: 1, length: 5000, shown: 5000 });
        let mut bytes = Vec::new();
        loop {
            let chunk = whole.read(bytes.len() as u64, 777);
            if chunk.is_empty() {
                break;
            }
            bytes.extend(chunk);
        }
        assert_eq!((bytes.len() as u64, whole.length()), (5000, 5000));
        assert!(bytes.starts_with(b"PK\x03\x04") && bytes[5000 - 22..].starts_with(b"PK\x05\x06"));
        for length in [0, 10, 48, 1000, 4950, 4999] {
            let cut = whole.cut(length).unwrap();
            assert_eq!(cut.length(), length);
            let read: Vec<u8> = (0..length).flat_map(|at| cut.read(at, 1)).collect();
            assert_eq!(read, bytes[..length as usize], "{length}");
        }
    }
}
