//! A bucket as a destination: what was typed, and what is not to be had there.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::model::destination::{BucketUrl, Destination};
use crate::model::job::JobId;

use super::config::Settings;
use super::values::OnChangeWord;

/// Reads what was typed where a folder or a bucket is named.
///
/// # Errors
/// When it has the scheme of a bucket and names none.
pub(crate) fn destination(typed: &Path) -> Result<Destination, Error> {
    let read = Destination::parse(typed.to_path_buf()).map_err(|error| Error::Usage(error.to_string()))?;
    match read {
        Destination::Bucket(_) if cfg!(not(feature = "buckets")) => {
            let why = "this rcsync was built without the feature `buckets`: name a folder";
            Err(Error::Usage(why.to_owned()))
        }
        read => Ok(read),
    }
}

/// Returns the bucket that was typed; `None` for a folder.
///
/// # Errors
/// As [`destination`].
pub(crate) fn bucket(typed: &Path) -> Result<Option<BucketUrl>, Error> {
    Ok(match destination(typed)? {
        Destination::Bucket(url) => Some(url),
        Destination::Folder(_) => None,
    })
}

/// Where a job is mirrored to, before `{id}` and `{name}` are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder; `None`: one of the job's name.
    Folder(Option<PathBuf>),
    /// A bucket.
    Bucket(String),
}

impl Place {
    /// Reads what was typed. What is wrong with a bucket is found before anything is sent.
    ///
    /// # Errors
    /// As [`destination`], and for settings that a bucket does not have.
    pub(crate) fn settle(typed: Option<PathBuf>, settings: &Settings) -> Result<Self, Error> {
        let Some(typed) = typed else { return Ok(Self::Folder(None)) };
        let Some(text) = typed.to_str() else { return Ok(Self::Folder(Some(typed))) };
        let example: JobId = "x".parse().unwrap_or_else(|_| unreachable!("a job id"));
        let filled = Destination::fill(text, &example, Some("x"));
        if bucket(Path::new(&filled))?.is_none() {
            return Ok(Self::Folder(Some(typed)));
        }
        refuse_local(settings)?;
        Ok(Self::Bucket(text.to_owned()))
    }
}

/// Refuses settings that only a folder has.
///
/// # Errors
/// Names the setting.
pub(crate) fn refuse_local(settings: &Settings) -> Result<(), Error> {
    let given = &settings.sync;
    let local = [
        ("min-free", given.min_free.is_some(), "no disk is used"),
        (
            "on-change replace",
            matches!(given.on_change, Some(OnChangeWord::Replace)),
            "there a name means one sequence of bytes for ever",
        ),
        (
            "comfyui",
            given.comfy.comfyui.is_some(),
            "`rcsync mirror s3://… --comfyui <PATH> --watch` places LoRAs from a bucket, on any machine",
        ),
    ];
    match local.into_iter().find(|(_, is_given, _)| *is_given) {
        None => Ok(()),
        Some((name, _, why)) => Err(Error::Usage(format!("`--{name}` has no meaning for a bucket: {why}"))),
    }
}

/// Returns how buckets are used.
#[cfg(feature = "buckets")]
pub(crate) fn options(settings: &Settings) -> crate::engine::bucket::options::BucketOptions {
    let default = crate::engine::bucket::options::BucketOptions::default();
    crate::engine::bucket::options::BucketOptions {
        lease: settings.sync.lease.unwrap_or(default.lease),
        sole_writer: settings.sync.sole_writer,
        part_size: settings.sync.part_size.or(default.part_size),
    }
}
