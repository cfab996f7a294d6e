//! Settles what a crash left between "about to be renamed" and "renamed": every such file ends up published or as a
//! part again, by what its bytes hash to. Being cut off itself changes nothing: it is done again.

use std::fs;
use std::path::Path;

use crate::edge::disk::{self, fault};
use crate::edge::part::PartFolder;
use crate::edge::store::Store;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, Prepared, Record};

use super::hashing::sha256_of;

/// Settles every prepared file; returns how many turned out to be published.
pub(super) fn recover(dir: &Path, store: &mut Store, parts: &PartFolder) -> Result<u64, Error> {
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

/// Returns the file's time stamp where it stands, whole, under its final name, having moved it there if need be.
fn settle(dir: &Path, parts: &PartFolder, prepared: &Prepared) -> Result<Option<Option<i64>>, Error> {
    let entry = &prepared.entry;
    let path = dir.join(entry.path.as_str());
    let part = parts.path(&prepared.part);
    if let Some(LocalFile::File { size, modified }) = disk::look(dir, entry.path.as_str())
        && size == entry.size
        && sha256_of(&path)? == entry.sha256
    {
        disk::flush_folder(disk::parent(&path))?;
        disk::remove(&part.with_extension("json"))?;
        return Ok(Some(modified));
    }
    let whole =
        fs::symlink_metadata(&part).is_ok_and(|metadata| metadata.is_file() && metadata.len() == entry.size);
    // A name that something else took meanwhile is left alone: the file is fetched again and finds its place then.
    if !whole || disk::look(dir, entry.path.as_str()).is_some() || sha256_of(&part)? != entry.sha256 {
        return Ok(None);
    }
    disk::create_folders(dir, disk::parent(&path))?;
    let file = disk::open_regular(&part).map_err(fault("open", &part))?;
    disk::make_readable(&file).map_err(fault("make readable", &part))?;
    disk::publish_to_free_name(&part, &path).map_err(fault("publish", &path))?;
    disk::flush_folder(disk::parent(&path))?;
    disk::remove(&part.with_extension("json"))?;
    let metadata = fs::symlink_metadata(&path).map_err(fault("read", &path))?;
    Ok(Some(disk::modified(&metadata)))
}
