//! What is known of a folder, for commands that change nothing.

use std::fs;
use std::path::Path;

use crate::edge::system::disk::fault;
use crate::error::{Error, NoMirror};
use crate::model::manifest::Manifest;

use super::manifest_store::Store;
use super::reports::read_any_job;

/// Reads what is known of a folder, beside a running rcsync too. Changes nothing.
///
/// # Errors
/// When nothing was ever mirrored into it, or its private state cannot be read.
pub(crate) fn known(dir: &Path) -> Result<Manifest, Error> {
    let no_mirror = |why, job| Err(Error::NoMirror { path: dir.to_path_buf(), why, job });
    match fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => no_mirror(NoMirror::Missing, None),
        Err(error) => Err(fault("read", dir)(error)),
        Ok(metadata) if !metadata.is_dir() => no_mirror(NoMirror::File, None),
        Ok(_) => match Store::peek(dir) {
            Err(Error::NoInput(_)) => match read_any_job(dir) {
                None => no_mirror(NoMirror::Empty, None),
                Some(read) if read.artifacts.iter().any(|row| row.proven().is_some()) => {
                    no_mirror(NoMirror::NoManifest, Some(read.job.job_id))
                }
                // The job was polled, and had nothing yet.
                Some(read) => Ok(Manifest::new(read.job.job_id, String::new())),
            },
            Err(Error::NoMirror { why, .. }) => no_mirror(why, read_any_job(dir).map(|read| read.job.job_id)),
            manifest => manifest,
        },
    }
}
