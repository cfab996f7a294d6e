//! `rcsync ls`: what is mirrored in a folder, and how each file was verified.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::{files, shown};
use crate::edge::folder::known::known;
use crate::edge::folder::local_files::look_at_each;
#[cfg(feature = "buckets")]
use crate::engine;
use crate::error::ExitStatus;
use crate::model::local::LocalFile;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;
use crate::model::units::ByteCount;

use super::super::bucket;
use super::super::table::{Column, Room, natural, table};
use super::Context;

pub(super) fn run(context: &Context<'_>, dir: &Path) -> Result<ExitStatus, CommandError> {
    #[cfg(feature = "buckets")]
    if let Some(url) = bucket::bucket(dir)? {
        let options = bucket::options(&context.settings);
        let reading = engine::bucket::read::known(&url, &options, context.outages());
        let manifest = match super::until_signal(context.world, reading)? {
            Ok(manifest) => manifest,
            Err(status) => return Ok(status),
        };
        return Ok(answer(context, &document(&manifest).with_older(&manifest)));
    }
    #[cfg(not(feature = "buckets"))]
    bucket::bucket(dir)?;
    let manifest = known(dir)?;
    Ok(answer(context, &document(&manifest).found_in(dir, &manifest)))
}

fn answer(context: &Context<'_>, document: &Document) -> ExitStatus {
    context.answer(document, || words(document, digits(context), context.room()));
    ExitStatus::Complete
}

/// A person wants to see the path too; a script gets every digit.
pub(super) const fn digits(context: &Context<'_>) -> usize {
    if context.world.out.is_terminal() { 12 } else { 64 }
}

#[derive(Serialize)]
pub(super) struct Document {
    job_id: String,
    files: Vec<Row>,
    /// Known files that are not in the folder.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// Known files that have another length in the folder, or are no regular files there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    step: Option<u64>,
    size: u64,
    evidence: &'static str,
    sha256: String,
    path: String,
    /// In a bucket, where older bytes keep the plain name: whether these are the newest of their file.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<bool>,
}

impl Document {
    /// Sets apart the files that are not in the folder as they were published, as far as a look at their lengths shows it.
    pub(super) fn found_in(mut self, dir: &Path, manifest: &Manifest) -> Self {
        let present = manifest.present();
        let paths = present.iter().map(|(_, entry)| entry.path.clone());
        let found: HashMap<RelPath, LocalFile> = look_at_each(dir, paths).collect();
        let (mut missing, mut changed) = (HashSet::new(), HashSet::new());
        for (_, entry) in present {
            match found.get(&entry.path) {
                Some(LocalFile::File { size, .. }) if *size == entry.size => {}
                Some(_) => drop(changed.insert(entry.path.as_str())),
                None => drop(missing.insert(entry.path.as_str())),
            }
        }
        let mut set_apart = |paths: &HashSet<&str>| {
            let (gone, here) = std::mem::take(&mut self.files)
                .into_iter()
                .partition(|row| paths.contains(row.path.as_str()));
            self.files = here;
            let gone: Vec<Row> = gone;
            gone.into_iter().map(|row| row.path).collect()
        };
        (self.missing, self.changed) = (set_apart(&missing), set_apart(&changed));
        self
    }

    /// Adds the older versions of files, and marks the newest of each.
    #[cfg(feature = "buckets")]
    fn with_older(mut self, manifest: &Manifest) -> Self {
        for (kind, entry) in manifest.present() {
            for older in &entry.older {
                let row = |row: &&mut Row| row.path == entry.path.as_str();
                if let Some(row) = self.files.iter_mut().find(row) {
                    row.current = Some(true);
                }
                self.files.push(Row {
                    kind: kind.name(),
                    step: entry.step,
                    size: older.size,
                    evidence: "older",
                    sha256: older.sha256.to_string(),
                    path: older.path.as_str().to_owned(),
                    current: Some(false),
                });
            }
        }
        self
    }
}

pub(super) fn document(manifest: &Manifest) -> Document {
    let mut files = manifest.present();
    files.sort_by(|(kind_a, a), (kind_b, b)| {
        let (step_a, step_b) = (a.step.unwrap_or(u64::MAX), b.step.unwrap_or(u64::MAX));
        (kind_a, step_a).cmp(&(kind_b, step_b)).then_with(|| natural(a.path.as_str(), b.path.as_str()))
    });
    let row = |(kind, entry): (crate::model::artifact::ArtifactKind, &crate::model::manifest::Entry)| Row {
        kind: kind.name(),
        step: entry.step,
        size: entry.size,
        evidence: entry.evidence.name(),
        sha256: entry.sha256.to_string(),
        path: entry.path.as_str().to_owned(),
        current: None,
    };
    Document {
        job_id: manifest.job.to_string(),
        files: files.into_iter().map(row).collect(),
        missing: Vec::new(),
        changed: Vec::new(),
    }
}

pub(super) fn words(document: &Document, digits: usize, room: Option<Room>) -> String {
    let columns = [
        Column::left("kind").goes(4),
        Column::right("step"),
        Column::right("size").goes(3),
        Column::left("evidence").goes(2),
        Column::left("sha256").goes(1),
        Column::left("path"),
    ];
    let cells = |row: &Row| {
        vec![
            row.kind.to_owned(),
            row.step.map_or_else(String::new, |step| step.to_string()),
            ByteCount(row.size).to_string(),
            row.evidence.to_owned(),
            row.sha256.chars().take(digits).collect(),
            match row.current {
                Some(true) => format!("{} (current)", shown(&row.path)),
                Some(false) | None => shown(&row.path),
            },
        ]
    };
    let rows: Vec<Vec<String>> = document.files.iter().map(cells).collect();
    let bytes = document.files.iter().fold(0_u64, |sum, row| sum.saturating_add(row.size));
    let mut sum =
        format!("{} of job {}, {}\n", files(rows.len() as u64), shown(&document.job_id), ByteCount(bytes));
    for path in &document.missing {
        sum += &format!("missing: {}\n", shown(path));
    }
    for path in &document.changed {
        sum += &format!("not as it was published: {}\n", shown(path));
    }
    if rows.is_empty() { sum } else { table(&columns, rows, room) + &sum }
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::folder;
    use super::*;

    #[test]
    fn rows_by_kind_and_step() {
        let (_, manifest) =
            folder(&[("dog.safetensors", None, "final"), ("dog_000000250.safetensors", Some(250), "first")]);
        let text = words(&document(&manifest), 12, None);
        assert_eq!(
            text,
            "\
kind        step  size  evidence      sha256        path
checkpoint   250   5 B  trainer-hash  a7937b64b8ca  dog_000000250.safetensors
checkpoint         5 B  trainer-hash  2443630b4620  dog.safetensors
2 files of job abc-1, 10 B
"
        );
    }

    #[test]
    fn files_that_were_deleted_or_cut_off_here_are_set_apart() {
        let names = ["a", "b", "c", "d"].map(|stem| (format!("{stem}.safetensors"), None, "final"));
        let (dir, manifest) =
            folder(&names.each_ref().map(|(name, step, text)| (name.as_str(), *step, *text)));
        std::fs::remove_file(dir.path().join("a.safetensors")).unwrap();
        std::fs::write(dir.path().join("c.safetensors"), "cut").unwrap();
        std::fs::remove_file(dir.path().join("d.safetensors")).unwrap();
        std::fs::create_dir(dir.path().join("d.safetensors")).unwrap();
        let found = document(&manifest).found_in(dir.path(), &manifest);
        let text = words(&found, 12, None);
        assert!(
            text.ends_with(
                "1 file of job abc-1, 5 B\n\
                 missing: a.safetensors\n\
                 not as it was published: c.safetensors\n\
                 not as it was published: d.safetensors\n"
            ),
            "{text}"
        );
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["files"].as_array().unwrap().len(), 1, "{json}");
        assert_eq!(json["missing"], serde_json::json!(["a.safetensors"]));
        assert_eq!(json["changed"], serde_json::json!(["c.safetensors", "d.safetensors"]));
        let whole = serde_json::to_value(document(&manifest)).unwrap();
        assert!(whole.get("missing").is_none() && whole.get("changed").is_none(), "{whole}");
    }
}
