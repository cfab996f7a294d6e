//! `rcsync init`: a commented configuration to begin with.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::args::Init;
use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::cli::local_folder::ensure_folder;
use crate::decide::datasets::{BaseModel, Listing, Wishes, is_safe_name, safe_name, starting_config};
use crate::decide::jobs::preflight::objections;
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::engine::datasets::scan::{folder_name, names};
use crate::error::ExitStatus;
use crate::model::training_config::TrainingConfig;

use super::Context;

#[derive(Serialize)]
struct Document<'a> {
    config: String,
    name: &'a str,
    dataset: &'a str,
    trigger_word: Option<&'a str>,
    pictures: usize,
    clips: usize,
    captions: usize,
}

pub(super) fn run(context: &Context<'_>, typed: &Init) -> Result<ExitStatus, CommandError> {
    let file = typed.to.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", typed.name)));
    ensure_folder(&typed.dataset, "a dataset is made of")?;
    let listing = Listing::of(names(&typed.dataset)?.iter().map(String::as_str));
    let model = typed.model;
    ensure_trainable(&typed.dataset, listing, model)?;
    let dataset = dataset_name(&folder_name(&typed.dataset)?, &typed.name);
    let folder = typed_again(&typed.dataset);
    let text = starting_config(&Wishes {
        name: &typed.name,
        dataset: &dataset,
        folder: &folder,
        notes: &notes(&folder, &typed_again(&file)),
        model,
        trigger: typed.trigger.as_deref(),
        caption_ext: listing.caption_ext,
        pictures: listing.pictures,
        clips: listing.clips,
        captions: listing.captions,
    });
    ensure_accepted(&text)?;
    if file.as_os_str() == "-" {
        context.world.out.write(&text);
        return Ok(ExitStatus::Complete);
    }
    if context.settings.sync.dry_run {
        context.rehearsed(
            "init",
            None,
            Some(&typed.name),
            &format!("`{}` would be written", shown_path(&file)),
        );
        return Ok(ExitStatus::Complete);
    }
    write(&file, &text)?;
    let Listing { pictures, clips, captions, .. } = listing;
    let document = Document {
        config: file.to_string_lossy().into_owned(),
        name: &typed.name,
        dataset: &dataset,
        trigger_word: typed.trigger.as_deref(),
        pictures,
        clips,
        captions,
    };
    context.answer(&document, || words(typed, &file, &dataset, listing));
    Ok(ExitStatus::Complete)
}

/// Returns what a new configuration says about itself.
fn notes(folder: &str, file: &str) -> [String; 5] {
    [
        "Written by `rcsync init`. Every value may be changed; the comments say which ones people change, and why.".to_owned(),
        String::new(),
        format!("  rcsync dataset check {folder} --config {file}"),
        format!("  rcsync submit {file} --dry-run"),
        format!("  rcsync submit {file} --dataset {folder} --follow"),
    ]
}

/// Returns the folder's own name where a dataset can have it; else the job's, or one that resembles the folder's.
fn dataset_name(folder: &str, job: &str) -> String {
    [folder, job].into_iter().find(|name| is_safe_name(name)).map_or_else(|| safe_name(folder), str::to_owned)
}

fn ensure_trainable(folder: &Path, listing: Listing, model: BaseModel) -> Result<(), CommandError> {
    let folder = shown_path(folder);
    let next = format!("nothing was written; `rcsync dataset check {folder}` lists what is in the folder");
    if listing.pictures + listing.clips + listing.sounds == 0 {
        return Err(CommandError::Declined {
            why: format!("there is no picture or clip to train on in `{folder}`"),
            next,
        });
    }
    if listing.pictures == 0 && !model.takes_clips() {
        let why = format!(
            "there are no pictures in `{folder}`, and this model cannot be trained on clips or sounds"
        );
        let next = "nothing was written; video models are `--model wan22` and `--model wan21`".to_owned();
        return Err(CommandError::Declined { why, next });
    }
    Ok(())
}

/// What is written is held to what `submit` asks for: a name or a word that it refuses is refused here.
fn ensure_accepted(text: &str) -> Result<(), CommandError> {
    let config = TrainingConfig::parse(text).map_err(|fault| not_accepted(fault.to_string()))?;
    match objections(&config).first() {
        None => Ok(()),
        Some(objection) => Err(not_accepted(shown(&objection.what))),
    }
}

fn not_accepted(why: String) -> CommandError {
    CommandError::misused(why, "nothing was written; type the same command with another name or word")
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let file = disk::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CommandError::Declined {
            why: format!("there is a `{}` already", shown_path(path)),
            next: "nothing was written; move it away, or name another file with `--to`".to_owned(),
        },
        _ => fault("create", path)(error).into(),
    })?;
    let written = disk::append(&file, text.as_bytes())
        .and_then(|()| disk::flush(&file))
        .and_then(|()| disk::make_readable(&file));
    written.map_err(|error| {
        // Half a configuration would be in the way of the next try.
        let _ = disk::remove(path);
        fault("write", path)(error).into()
    })
}

fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Returns a path as a shell takes it.
fn typed_again(path: &Path) -> String {
    let text = path.to_string_lossy();
    shlex::try_quote(&text).map_or_else(|_| text.clone().into_owned(), std::borrow::Cow::into_owned)
}

fn words(typed: &Init, file: &Path, dataset: &str, listing: Listing) -> String {
    let (config, folder) = (shown(&typed_again(file)), shown(&typed_again(&typed.dataset)));
    let mut text = format!(
        "wrote {config}: job `{}`, dataset `{dataset}`\n\
         next:  rcsync dataset check {folder} --config {config}  # do they fit?\n       \
         rcsync submit {config} --dataset {folder} --dry-run  # is it accepted?\n",
        shown(&typed.name)
    );
    if listing.captions == 0 && typed.trigger.is_none() {
        text += "note:  there are no captions and there is no trigger word; `--trigger WORD` gives it one\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dataset_has_the_folders_name_where_it_can() {
        assert_eq!(dataset_name("dog-photos", "dog"), "dog-photos");
        assert_eq!(dataset_name("dog photos", "dog"), "dog");
        assert_eq!(dataset_name("größe 1", "a b"), "gr-e-1");
        assert_eq!(dataset_name("🐶", "🐶"), "my-dataset");
    }
}
