//! Settles what a crash left between "about to be renamed" and "renamed": every such file ends up published or as a
//! part again, by what its bytes hash to. Being cut off itself changes nothing: it is done again.

use std::fs;
use std::path::Path;

use crate::edge::folder::manifest_store::Store;
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::folder::tree::{Over, Tree};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, Manifest, Prepared, Record};

use super::read_ahead::{Digests, Unread};

/// Returns the files that [`recover`] needs the digests of.
pub(crate) fn unread(dir: &Path, manifest: &Manifest, parts: &PartFolder) -> Vec<Unread> {
    manifest.prepared.values().filter_map(|prepared| to_read(dir, parts, prepared)).collect()
}

/// The file that decides about a prepared one, where its length allows that it is the one.
fn to_read(dir: &Path, parts: &PartFolder, prepared: &Prepared) -> Option<Unread> {
    let (entry, part) = (&prepared.entry, parts.path(&prepared.part));
    let (path, size) = match disk::look(dir, entry.path.as_str()) {
        Some(LocalFile::File { size, .. }) => (dir.join(entry.path.as_str()), size),
        Some(LocalFile::Other) => return None,
        None => {
            let size = fs::symlink_metadata(&part).ok().filter(fs::Metadata::is_file)?.len();
            (part, size)
        }
    };
    (size == entry.size).then_some(Unread { path, size })
}

/// Which prepared files are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Those that were read: the rest is read by the next run.
    Read,
}

/// Settles prepared files; returns how many turned out to be published.
pub(crate) fn recover(
    dir: &Path,
    store: &mut Store,
    parts: &PartFolder,
    digests: &Digests,
    which: Which,
) -> Result<u64, Error> {
    let prepared: Vec<(ArtifactKey, Prepared)> =
        store.manifest().prepared.iter().map(|(key, prepared)| (key.clone(), prepared.clone())).collect();
    let mut records = Vec::new();
    let mut published = 0;
    for (key, prepared) in prepared {
        let is_read = || to_read(dir, parts, &prepared).is_none_or(|file| digests.has(&file.path));
        if which == Which::Read && !is_read() {
            continue;
        }
        match settle(dir, parts, &prepared, digests)? {
            Some(modified) => {
                published += 1;
                records.push(Record::Know { key, entry: Entry { modified, ..prepared.entry } });
            }
            None => records.push(Record::Abandon { key }),
        }
    }
    store.append(records)?;
    Ok(published)
}

/// Returns the file's time stamp where it is whole under its final name, having moved it there if need be.
fn settle(
    dir: &Path,
    parts: &PartFolder,
    prepared: &Prepared,
    digests: &Digests,
) -> Result<Option<Option<i64>>, Error> {
    let entry = &prepared.entry;
    let path = dir.join(entry.path.as_str());
    let part = parts.path(&prepared.part);
    let here = match in_place(dir, entry, digests)? {
        Some(modified) => Some(modified),
        None => match move_into_place(dir, &part, prepared, digests) {
            Ok(true) => {
                let metadata = fs::symlink_metadata(&path).map_err(fault("read", &path))?;
                Some(disk::modified(&metadata))
            }
            Ok(false) => None,
            // Another rcsync, which was granted the lock on this disk too, was quicker.
            Err(_) if fs::symlink_metadata(&part).is_err() => in_place(dir, entry, digests)?,
            Err(error) => return Err(error),
        },
    };
    if here.is_some() {
        disk::flush_folder(disk::parent(&path))?;
        disk::remove(&part.with_extension("json"))?;
    }
    Ok(here)
}

/// Returns the time stamp of the file where its final name has the bytes that were proven.
fn in_place(dir: &Path, entry: &Entry, digests: &Digests) -> Result<Option<Option<i64>>, Error> {
    match disk::look(dir, entry.path.as_str()) {
        Some(LocalFile::File { size, modified })
            if size == entry.size && digests.sha256_of(&dir.join(entry.path.as_str()))? == entry.sha256 =>
        {
            Ok(Some(modified))
        }
        _ => Ok(None),
    }
}

/// Gives a part that is whole its final name; `false` where it is not, or where something else has the name: that is
/// left alone, and the file is fetched again and finds its place then.
fn move_into_place(dir: &Path, part: &Path, prepared: &Prepared, digests: &Digests) -> Result<bool, Error> {
    let entry = &prepared.entry;
    let whole =
        fs::symlink_metadata(part).is_ok_and(|metadata| metadata.is_file() && metadata.len() == entry.size);
    if !whole || disk::look(dir, entry.path.as_str()).is_some() || digests.sha256_of(part)? != entry.sha256 {
        return Ok(false);
    }
    let file = disk::open_regular(part).map_err(fault("open", part))?;
    // An older rcsync created parts for its user alone.
    disk::make_readable(&file).map_err(fault("make readable", part))?;
    let (mut tree, name) = (Tree::open(dir)?, entry.path.as_str());
    tree.publish(&prepared.part, name, Over::Nothing)?;
    for folder in tree.take_unflushed() {
        tree.flush(&folder)?;
    }
    Ok(true)
}
