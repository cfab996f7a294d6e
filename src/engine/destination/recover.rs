//! Settles what a crash left between "about to be renamed" and "renamed": every such file ends up published or as a
//! part again, by what its bytes hash to. Being cut off itself changes nothing: it is done again.

use std::fs;
use std::path::Path;

use crate::edge::folder::manifest_store::Store;
use crate::edge::folder::part_file::PartFolder;
use crate::edge::folder::tree::{Over, Tree};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, Prepared, Record};

use super::hashing::sha256_of;

/// Settles every prepared file; returns how many turned out to be published.
pub(crate) fn recover(dir: &Path, store: &mut Store, parts: &PartFolder) -> Result<u64, Error> {
    let prepared: Vec<(ArtifactKey, Prepared)> =
        store.manifest().prepared.iter().map(|(key, prepared)| (key.clone(), prepared.clone())).collect();
    let mut records = Vec::new();
    let mut published = 0;
    for (key, prepared) in prepared {
        match settle(dir, parts, &prepared)? {
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
fn settle(dir: &Path, parts: &PartFolder, prepared: &Prepared) -> Result<Option<Option<i64>>, Error> {
    let entry = &prepared.entry;
    let path = dir.join(entry.path.as_str());
    let part = parts.path(&prepared.part);
    let here = match in_place(dir, entry)? {
        Some(modified) => Some(modified),
        None => match move_into_place(dir, &part, prepared) {
            Ok(true) => {
                let metadata = fs::symlink_metadata(&path).map_err(fault("read", &path))?;
                Some(disk::modified(&metadata))
            }
            Ok(false) => None,
            // Another rcsync, which was granted the lock on this disk too, was quicker.
            Err(_) if fs::symlink_metadata(&part).is_err() => in_place(dir, entry)?,
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
fn in_place(dir: &Path, entry: &Entry) -> Result<Option<Option<i64>>, Error> {
    match disk::look(dir, entry.path.as_str()) {
        Some(LocalFile::File { size, modified })
            if size == entry.size && sha256_of(&dir.join(entry.path.as_str()))? == entry.sha256 =>
        {
            Ok(Some(modified))
        }
        _ => Ok(None),
    }
}

/// Gives a part that is whole its final name; `false` where it is not, or where something else has the name: that is
/// left alone, and the file is fetched again and finds its place then.
fn move_into_place(dir: &Path, part: &Path, prepared: &Prepared) -> Result<bool, Error> {
    let entry = &prepared.entry;
    let whole =
        fs::symlink_metadata(part).is_ok_and(|metadata| metadata.is_file() && metadata.len() == entry.size);
    if !whole || disk::look(dir, entry.path.as_str()).is_some() || sha256_of(part)? != entry.sha256 {
        return Ok(false);
    }
    let file = disk::open_regular(part).map_err(fault("open", part))?;
    // An older rcsync created parts for its user alone.
    disk::make_readable(&file).map_err(fault("make readable", part))?;
    let (mut tree, name) = (Tree::open(dir)?, entry.path.as_str());
    tree.publish(&prepared.part, name, Over::Nothing)?;
    Ok(true)
}
