//! `rcsync result`: what a job offers now, and what of it is here.

use std::path::Path;

use serde::Serialize;

use super::super::backend;
use super::super::table::{Column, Room, natural, table};
use super::super::words::shown;
use super::{Context, look, wait_for};
use crate::edge::disk;
use crate::error::{Error, ExitStatus};
use crate::model::artifact::Artifact;
use crate::model::job::{JobId, ResultAnswer};
use crate::model::local::LocalFile;
use crate::model::manifest::{EntryState, Manifest};

pub(super) fn run(context: &Context<'_>, job: &str, dir: Option<&Path>) -> Result<ExitStatus, Error> {
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(job, &base)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let here = dir.map(|dir| here(dir, &job)).transpose()?;
    wait_for(context.world, |signals| async move {
        let Some(answer) = look(&signals, api.result(&job)).await? else {
            return Ok(signals.status());
        };
        let document = document(&job, &answer, here.as_ref());
        context.answer(&document, || words(&document, context.room()));
        Ok(ExitStatus::Complete)
    })
}

/// What is known of DIR; a folder in which nothing was mirrored yet has nothing.
struct Here<'a> {
    dir: &'a Path,
    manifest: Option<Manifest>,
}

fn here<'a>(dir: &'a Path, job: &JobId) -> Result<Here<'a>, Error> {
    let manifest = match backend::manifest(dir) {
        Ok(manifest) => Some(manifest),
        Err(Error::NoMirror { job: None, .. }) => None,
        Err(error) => return Err(error),
    };
    match manifest.as_ref().filter(|manifest| manifest.job != *job) {
        None => Ok(Here { dir, manifest }),
        Some(other) => Err(Error::FolderUnfit {
            path: dir.to_path_buf(),
            why: format!("it mirrors job `{}`", other.job),
        }),
    }
}

#[derive(Serialize)]
struct Document {
    job_id: String,
    name: Option<String>,
    status: Option<String>,
    error: Option<String>,
    artifacts: Vec<Row>,
    unusable: Vec<String>,
    #[serde(skip)]
    with_dir: bool,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    step: Option<u64>,
    path: String,
    /// `here`, `pruned` or `missing`; absent without `--dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'static str>,
}

fn document(job: &JobId, answer: &ResultAnswer, here: Option<&Here<'_>>) -> Document {
    let listing = backend::listing(answer, here.and_then(|here| here.manifest.as_ref()));
    let mut artifacts = listing.artifacts;
    artifacts.sort_by(|a, b| {
        let key = |artifact: &Artifact| (artifact.key.kind, artifact.step.unwrap_or(u64::MAX));
        key(a).cmp(&key(b)).then_with(|| natural(a.path.as_str(), b.path.as_str()))
    });
    Document {
        job_id: job.to_string(),
        name: answer.name.clone(),
        status: answer.status.as_ref().map(|status| status.as_str().to_owned()),
        error: answer.error.clone(),
        artifacts: artifacts.iter().map(|artifact| row(artifact, here)).collect(),
        unusable: answer.unusable.iter().chain(&listing.rejected).cloned().collect(),
        with_dir: here.is_some(),
    }
}

fn row(artifact: &Artifact, here: Option<&Here<'_>>) -> Row {
    let entry =
        here.and_then(|here| here.manifest.as_ref()).and_then(|known| known.entries.get(&artifact.key));
    let stands = |here: &Here<'_>| match disk::look(here.dir, artifact.path.as_str()) {
        Some(LocalFile::File { size, .. }) => entry.is_some_and(|entry| entry.size == size),
        _ => false,
    };
    let local = here.map(|here| match entry.map(|entry| entry.state) {
        Some(EntryState::Pruned) => "pruned",
        Some(EntryState::Present) if stands(here) => "here",
        _ => "missing",
    });
    let entry = entry.filter(|_| local == Some("here"));
    Row {
        kind: artifact.key.kind.name(),
        step: artifact.step,
        path: artifact.path.as_str().to_owned(),
        local,
        size: entry.map(|entry| entry.size),
        evidence: entry.map(|entry| entry.evidence.name()),
    }
}

fn words(document: &Document, room: Option<Room>) -> String {
    let mut columns = vec![Column::left("kind").goes(2), Column::right("step"), Column::left("name")];
    if document.with_dir {
        columns.splice(2..2, [Column::left("local"), Column::left("evidence").goes(1)]);
    }
    let cells = |row: &Row| {
        let mut cells = vec![row.kind.to_owned(), row.step.map_or_else(String::new, |step| step.to_string())];
        if document.with_dir {
            cells.push(row.local.unwrap_or_default().to_owned());
            cells.push(row.evidence.unwrap_or_default().to_owned());
        }
        cells.push(shown(&row.path));
        cells
    };
    let rows: Vec<Vec<String>> = document.artifacts.iter().map(cells).collect();
    let mut text = if rows.is_empty() { "nothing yet\n".to_owned() } else { table(&columns, rows, room) };
    for message in &document.unusable {
        text += &format!("not usable: {}\n", shown(message));
    }
    if let Some(error) = &document.error {
        text += &format!("error: {}\n", shown(error));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::job;
    use crate::model::artifact::ArtifactKind;
    use crate::model::job::{JobTimes, ListedArtifact};
    use crate::model::source_url::SourceUrl;

    fn answer() -> ResultAnswer {
        let listed =
            |kind, url: &str| ListedArtifact { kind, url: SourceUrl::parse(url).unwrap(), sample: None };
        ResultAnswer {
            name: Some("dog".to_owned()),
            status: None,
            artifacts: vec![
                listed(ArtifactKind::Sample, "https://h/o/samples/1__000000250_10.jpg"),
                listed(ArtifactKind::Sample, "https://h/o/samples/1__000000250_9.jpg"),
                listed(ArtifactKind::Checkpoint, "https://h/o/dog.safetensors?sig=s3cret"),
                listed(ArtifactKind::Checkpoint, "https://h/o/dog_000000250.safetensors"),
            ],
            unusable: vec!["no path".to_owned()],
            error: None,
            times: JobTimes::default(),
        }
    }

    #[test]
    fn one_row_an_artifact_in_natural_order() {
        assert_eq!(
            words(&document(&job(), &answer(), None), None),
            "\
kind        step  name
checkpoint   250  dog_000000250.safetensors
checkpoint        dog.safetensors
sample       250  samples/1__000000250_9.jpg
sample       250  samples/1__000000250_10.jpg
not usable: no path
"
        );
    }

    #[test]
    fn a_folder_without_anything_has_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let here = here(folder.path(), &job()).unwrap();
        let document = document(&job(), &answer(), Some(&here));
        assert!(document.artifacts.iter().all(|row| row.local == Some("missing")));
        assert!(words(&document, None).starts_with("kind        step  local    evidence  name\n"));
    }
}
