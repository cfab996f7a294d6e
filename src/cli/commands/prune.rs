//! `rcsync prune`: remove mirrored checkpoints by rule.

use std::path::Path;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::{files, shown};
use crate::cli::reporters::words;
use crate::decide::mirror::retention::Pruned;
use crate::decide::mirror::retention::Retention;
use crate::engine;
use crate::engine::event::Event;
use crate::error::ExitStatus;
use crate::model::manifest::Entry;
use crate::model::units::ByteCount;

use super::super::args::Prune;
use super::super::bucket;
use super::super::config::Talk;
use super::Context;

pub(super) fn run(context: &Context<'_>, typed: &Prune) -> Result<ExitStatus, CommandError> {
    let retention = match (typed.keep_last, typed.keep_every) {
        (Some(count), _) => Retention::KeepLast(count),
        (None, Some(steps)) => Retention::KeepEvery(steps),
        (None, None) => {
            let why = "`prune` needs to know what stays: `--keep-last <N>` or `--keep-every <STEPS>`";
            return Err(CommandError::misused(
                why,
                "nothing was removed; `--keep-last 3 --dry-run` shows what would be removed",
            ));
        }
    };
    let dry_run = context.settings.sync.dry_run;
    #[cfg(feature = "buckets")]
    if let Some(url) = bucket::bucket(&typed.dir)? {
        let options = bucket::options(&context.settings);
        let pruning = engine::bucket::read::prune(&url, &options, retention, dry_run, context.outages());
        let pruned = match super::until_signal(context.world, pruning)? {
            Ok(pruned) => pruned,
            Err(status) => return Ok(status),
        };
        let document = document(&pruned, dry_run);
        context.answer(&document, || words(&document, &typed.dir, context.settings.talk));
        return Ok(ExitStatus::Complete);
    }
    #[cfg(not(feature = "buckets"))]
    bucket::bucket(&typed.dir)?;
    let pruned = if dry_run {
        engine::destination::prune_at_rest::rehearse(&typed.dir, retention)?
    } else {
        let report = |event: &Event| {
            if let Event::Notice { notice } = event {
                context.world.err.line(&shown(&words::notice(notice)));
            }
        };
        engine::destination::prune_at_rest::prune(&typed.dir, retention, &report, |dir, manifest| {
            engine::outputs::gallery::refresh(dir, manifest).map(drop)
        })?
    };
    let document = document(&pruned, dry_run);
    context.answer(&document, || words(&document, &typed.dir, context.settings.talk));
    Ok(ExitStatus::Complete)
}

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    removed: Vec<Row>,
    edited: Vec<Row>,
    kept: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Row {
    path: String,
    step: Option<u64>,
    size: u64,
}

fn document(pruned: &Pruned, dry_run: bool) -> Document {
    let row = |entry: &Entry| Row { path: entry.path.to_string(), step: entry.step, size: entry.size };
    Document {
        dry_run,
        removed: pruned.removed.iter().map(row).collect(),
        edited: pruned.edited.iter().map(row).collect(),
        kept: pruned.kept,
        bytes: pruned.removed.iter().fold(0, |sum, entry| sum.saturating_add(entry.size)),
    }
}

fn words(document: &Document, dir: &Path, talk: Talk) -> String {
    let mut text = String::new();
    if talk == Talk::Quiet {
        return text;
    }
    let verb = if document.dry_run { "would remove" } else { "removed" };
    for Row { path, size, .. } in &document.removed {
        text += &format!("{verb}  {}  {}\n", shown(path), ByteCount(*size));
    }
    for Row { path, .. } in &document.edited {
        text += &format!("kept  {}  it was edited here\n", shown(path));
    }
    let kept =
        format!("{} with a step {}", files(document.kept), if document.kept == 1 { "stays" } else { "stay" });
    text += &match (document.removed.len() as u64, document.dry_run) {
        (0, _) => format!("nothing to remove, {kept}\n"),
        (count, true) => format!(
            "{} to remove ({}), {kept}; nothing was changed\n",
            files(count),
            ByteCount(document.bytes)
        ),
        (count, false) => format!(
            "{} removed from {} ({}), {kept}; they are not fetched again\n",
            files(count),
            shown(&dir.display().to_string()),
            ByteCount(document.bytes)
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_what_stays() {
        let row = |path: &str| Row { path: path.to_owned(), step: Some(250), size: 1024 };
        let document = Document {
            dry_run: true,
            removed: vec![row("a.safetensors")],
            edited: vec![row("b.safetensors")],
            kept: 2,
            bytes: 1024,
        };
        let said = |document: &Document| words(document, Path::new("out"), Talk::Normal);
        assert_eq!(
            said(&document),
            "\
would remove  a.safetensors  1.0 KiB
kept  b.safetensors  it was edited here
1 file to remove (1.0 KiB), 2 files with a step stay; nothing was changed
"
        );
        let document = Document { dry_run: false, edited: Vec::new(), ..document };
        assert_eq!(
            said(&document),
            "\
removed  a.safetensors  1.0 KiB
1 file removed from out (1.0 KiB), 2 files with a step stay; they are not fetched again
"
        );
        let document = Document { removed: Vec::new(), bytes: 0, ..document };
        assert_eq!(said(&document), "nothing to remove, 2 files with a step stay\n");
        assert_eq!(words(&document, Path::new("out"), Talk::Quiet), "");
    }
}
