//! A bucket as a destination: what was typed, and what is not to be had there.

use std::path::{Path, PathBuf};

use crate::cli::command_error::CommandError;
use crate::engine::options::OnChange;
use crate::model::destination::{BucketUrl, Destination};
use crate::model::job::JobId;

use super::config::Settings;
use super::format::{shown, shown_value};
use super::suggest;

/// Reads what was typed where a folder or a bucket is named.
///
/// # Errors
/// When it has the scheme of a bucket and names none.
pub(crate) fn destination(typed: &Path) -> Result<Destination, CommandError> {
    let read = Destination::parse(typed.to_path_buf()).map_err(Error::from)?;
    match read {
        Destination::Bucket(_) if cfg!(not(feature = "buckets")) => {
            let why = "this rcsync was built without the feature `buckets`";
            Err(CommandError::misused(
                why,
                "name a folder, or use another build: `cargo install --path .` has buckets",
            ))
        }
        read => Ok(read),
    }
}

/// Returns the bucket that was typed; `None` for a folder.
///
/// # Errors
/// As [`destination`].
pub(crate) fn bucket(typed: &Path) -> Result<Option<BucketUrl>, CommandError> {
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
    /// As [`destination`], and for settings that a bucket does not have, and words in braces that are not known.
    pub(crate) fn settle(typed: Option<PathBuf>, settings: &Settings) -> Result<Self, CommandError> {
        let Some(typed) = typed else {
            refuse_bucket_only(settings)?;
            return Ok(Self::Folder(None));
        };
        typed.to_str().map_or(Ok(()), refuse_unknown_placeholders)?;
        let example: JobId = "x".parse().unwrap_or_else(|_| unreachable!("a job id"));
        let filled = typed.to_str().map(|text| Destination::fill(text, &example, Some("x")));
        let Some(text) = filled.filter(|filled| !matches!(bucket(Path::new(filled)), Ok(None))) else {
            refuse_bucket_only(settings)?;
            return Ok(Self::Folder(Some(typed)));
        };
        bucket(Path::new(&text))?;
        let text = typed.to_string_lossy();
        refuse_local(settings)?;
        Ok(Self::Bucket(text.into_owned()))
    }
}

/// Refuses words in braces that are not filled in: a folder would silently have such a name.
///
/// # Errors
/// The word, with the one that may have been meant.
pub(crate) fn refuse_unknown_placeholders(dest: &str) -> Result<(), CommandError> {
    const KNOWN: [&str; 2] = ["id", "name"];
    let Some(word) = Destination::unknown_placeholder(dest) else { return Ok(()) };
    let lower = word.to_lowercase();
    let within = || KNOWN.into_iter().find(|known| lower.contains(known));
    let near = suggest::nearest(&lower, KNOWN).or_else(within);
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{{{near}}}`?"));
    let why = format!(
        "DEST `{}`: of what is in braces, only `{{id}}` and `{{name}}` are known, and not `{{{}}}`{near}",
        shown_value(dest),
        shown(word)
    );
    Err(CommandError::misused(why, "write one of them, or a name without braces"))
}

/// Refuses options that only a bucket has. Only those of the command line: a variable or the configuration file may set them
/// for the buckets of other runs.
///
/// # Errors
/// The first such option that was typed.
pub(crate) fn refuse_bucket_only(settings: &Settings) -> Result<(), CommandError> {
    let given = &settings.sync;
    let only = [
        ("lease", given.lease.is_some()),
        ("sole-writer", given.sole_writer),
        ("part-size", given.part_size.is_some()),
    ];
    let typed = |name: &str| !settings.found.iter().any(|found| found.name == name);
    match only.into_iter().find(|(name, is_given)| *is_given && typed(name)) {
        None => Ok(()),
        Some((name, _)) => Err(CommandError::Usage(format!(
            "`--{name}` has no meaning for a folder: it is for a bucket as DEST, such as `s3://BUCKET/PREFIX`"
        ))),
    }
}

/// Refuses settings that only a folder has.
///
/// # Errors
/// The setting.
pub(crate) fn refuse_local(settings: &Settings) -> Result<(), CommandError> {
    let given = &settings.sync;
    let local = [
        ("min-free", given.min_free.is_some(), "no disk is used"),
        (
            "on-change replace",
            matches!(given.on_change, Some(OnChange::Replace)),
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
        Some((name, _, why)) => {
            Err(CommandError::Usage(format!("`--{name}` has no meaning for a bucket: {why}")))
        }
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
