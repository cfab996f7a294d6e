//! A bucket as a destination: what was typed, and what is not to be had there.

use std::path::{Path, PathBuf};

use crate::cli::command_error::CommandError;
use crate::engine::options::OnChange;
use crate::error::Error;
use crate::model::destination::{BucketUrl, Destination};
use crate::model::job::JobId;

use super::config::Settings;
use super::format::{shown, shown_value};
use super::options::SyncArgs;
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
            Kind::Folder.refuse_unfit(settings)?;
            return Ok(Self::Folder(None));
        };
        if let Some(text) = typed.to_str() {
            Destination::ensure_slashes(text).map_err(Error::from)?;
            refuse_unknown_placeholders(text)?;
        }
        let example: JobId = "x".parse().unwrap_or_else(|_| unreachable!("a job id"));
        let filled = typed.to_str().map(|text| Destination::fill(text, &example, Some("x")));
        let Some(text) = filled.filter(|filled| !matches!(bucket(Path::new(filled)), Ok(None))) else {
            Kind::Folder.refuse_unfit(settings)?;
            return Ok(Self::Folder(Some(typed)));
        };
        bucket(Path::new(&text))?;
        let text = typed.to_string_lossy();
        Kind::Bucket.refuse_unfit(settings)?;
        Ok(Self::Bucket(text.into_owned()))
    }

    /// Returns what it is.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Folder(_) => Kind::Folder,
            Self::Bucket(_) => Kind::Bucket,
        }
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

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    Bucket,
}

/// An option that only one kind of destination has.
struct OnlyFor {
    kind: Kind,
    /// As it is typed, without the dashes.
    name: &'static str,
    is_given: fn(&SyncArgs) -> bool,
    /// Makes it not given.
    clear: fn(&mut SyncArgs),
    /// Why the other kind has no such thing.
    why: &'static str,
}

fn is_set<T: Default + PartialEq>(value: &T) -> bool {
    *value != T::default()
}

fn reset<T: Default>(value: &mut T) {
    *value = T::default();
}

/// The row of an option that a field of its own has: it is given where that is not its default.
macro_rules! only_for {
    ($kind:ident, $name:literal, $($field:ident).+, $why:expr) => {
        OnlyFor {
            kind: Kind::$kind,
            name: $name,
            is_given: |given| is_set(&given.$($field).+),
            clear: |given| reset(&mut given.$($field).+),
            why: $why,
        }
    };
}

const A_BUCKET: &str = "it is for a bucket as DEST, such as `s3://BUCKET/PREFIX`";
const BESIDE: &str =
    "`rcsync mirror s3://… --comfyui <PATH> --watch` places LoRAs from a bucket, on any machine";

const ONLY_FOR: [OnlyFor; 12] = [
    only_for!(Bucket, "lease", lease, A_BUCKET),
    only_for!(Bucket, "sole-writer", sole_writer, A_BUCKET),
    only_for!(Bucket, "part-size", part_size, A_BUCKET),
    only_for!(Folder, "min-free", min_free, "no disk is used"),
    OnlyFor {
        kind: Kind::Folder,
        name: "on-change replace",
        is_given: |given| matches!(given.on_change, Some(OnChange::Replace)),
        clear: |given| reset(&mut given.on_change),
        why: "there a name means one sequence of bytes for ever",
    },
    only_for!(Folder, "comfyui", comfy.comfyui, BESIDE),
    only_for!(Folder, "comfyui-subdir", comfy.comfyui_subdir, BESIDE),
    only_for!(Folder, "comfyui-keep", comfy.comfyui_keep, BESIDE),
    only_for!(Folder, "comfyui-link", comfy.comfyui_link, BESIDE),
    only_for!(Folder, "comfyui-sidecars", comfy.comfyui_sidecars, BESIDE),
    only_for!(Folder, "comfyui-pickles", comfy.comfyui_pickles, BESIDE),
    only_for!(Folder, "comfyui-url", comfy.comfyui_url, BESIDE),
];

impl Kind {
    /// Refuses options that this kind of destination does not have. Only those that were typed: a variable or the configuration
    /// file may set them for other runs, and is not used in this one ([`Self::fit`]).
    ///
    /// # Errors
    /// The first such option.
    pub(crate) fn refuse_unfit(self, settings: &Settings) -> Result<(), CommandError> {
        let unfit = ONLY_FOR.iter().find(|only| only.kind != self && (only.is_given)(&settings.typed));
        let Some(OnlyFor { name, why, .. }) = unfit else { return Ok(()) };
        let (this, other) = match self {
            Self::Folder => ("folder", "bucket"),
            Self::Bucket => ("bucket", "folder"),
        };
        Err(CommandError::misused(
            format!("`--{name}` has no meaning for a {this}: {why}"),
            format!("leave it out, or name a {other} as DEST"),
        ))
    }

    /// Returns the settings without what this kind of destination does not have.
    pub(crate) fn fit(self, settings: &Settings) -> Settings {
        let mut fit = settings.clone();
        for only in ONLY_FOR.iter().filter(|only| only.kind != self) {
            (only.clear)(&mut fit.sync);
        }
        fit
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Cli;
    use crate::cli::options::ComfyArgs;
    use crate::edge::system::link::LinkMode;
    use crate::model::units::ByteCount;

    #[test]
    fn each_option_for_comfyui_is_for_folders_alone() {
        let program = Cli::command();
        let sync = program.get_subcommands().find(|command| command.get_name() == "sync").unwrap();
        let options = sync.get_arguments().filter(|option| !option.is_hide_set());
        let typed: BTreeSet<&str> = options.filter_map(clap::Arg::get_long).collect();
        let (comfy, others): (BTreeSet<&str>, _) =
            ONLY_FOR.iter().map(|only| only.name).partition(|name| name.starts_with("comfyui"));
        assert!(typed.iter().filter(|name| name.starts_with("comfyui")).eq(&comfy), "{comfy:?}");
        let others: BTreeSet<&str> = others;
        assert!(others.iter().all(|name| typed.contains(name.split(' ').next().unwrap())), "{others:?}");
    }

    #[test]
    fn each_option_is_reset_by_its_row() {
        let mut given = SyncArgs {
            lease: Some(Duration::from_secs(30)),
            sole_writer: true,
            part_size: Some(ByteCount(5 << 20)),
            min_free: Some(ByteCount(1)),
            on_change: Some(OnChange::Replace),
            comfy: ComfyArgs {
                comfyui: Some("x".into()),
                comfyui_subdir: Some("x".parse().unwrap()),
                comfyui_keep: Some(1),
                comfyui_link: Some(LinkMode::default()),
                comfyui_sidecars: true,
                comfyui_pickles: true,
                comfyui_url: Some("http://127.0.0.1:8188".parse().unwrap()),
                ..ComfyArgs::default()
            },
            ..SyncArgs::default()
        };
        for only in &ONLY_FOR {
            assert!((only.is_given)(&given), "{}", only.name);
            (only.clear)(&mut given);
            assert!(!(only.is_given)(&given), "{}", only.name);
        }
        assert_eq!(given, SyncArgs::default());
    }
}
