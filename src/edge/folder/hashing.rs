//! Reading a local file again, to compare it with what is known of it. Blocks.

use std::path::Path;

use sha2::Sha256;
use sha2::digest::Digest as _;

use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::digest::Sha256Digest;
use crate::model::local::LocalFile;
use crate::model::manifest::Entry;

/// Bytes read at once.
const BUFFER: usize = 1 << 20;

/// Returns the SHA-256 of a regular file.
pub(crate) fn sha256_of(path: &Path) -> Result<Sha256Digest, Error> {
    let mut hash = Sha256::new();
    feed_file(path, |bytes| hash.update(bytes))?;
    Ok(Sha256Digest::new(hash.finalize().into()))
}

/// Feeds a regular file's bytes, in order, and returns how many there were.
pub(crate) fn feed_file(path: &Path, mut feed: impl FnMut(&[u8])) -> Result<u64, Error> {
    let file = disk::open_regular(path).map_err(fault("read", path))?;
    let mut buffer = vec![0; BUFFER];
    let mut position = 0;
    loop {
        let read = disk::read_at(&file, &mut buffer, position).map_err(fault("read", path))?;
        if read == 0 {
            return Ok(position);
        }
        feed(&buffer[..read]);
        position += read as u64;
    }
}

/// Whether the file in DIR is still the one that was proven: by its length and time stamp, or else by its bytes.
pub(crate) fn is_as_published(dir: &Path, entry: &Entry) -> bool {
    is_as_published_by(dir, entry, sha256_of)
}

/// The same, with digests that may be known.
pub(crate) fn is_as_published_by(
    dir: &Path,
    entry: &Entry,
    sha256_of: impl FnOnce(&Path) -> Result<Sha256Digest, Error>,
) -> bool {
    match disk::look(dir, entry.path.as_str()) {
        Some(LocalFile::File { size, modified }) if size == entry.size => {
            modified == entry.modified
                || sha256_of(&entry.path.to_path(dir)).is_ok_and(|sha256| sha256 == entry.sha256)
        }
        _ => false,
    }
}
