//! `rcsync result`: what a job offers now, and what of it is here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::{files, shown};
use crate::cli::reporters::words as sentences;
use crate::edge::folder::known::known;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::disk;
use crate::engine::mirror::peek::{PeekError, Peeked, can_peek, peek};
use crate::error::{Error, ExitStatus, NoMirror, Unfit};
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::job::{JobId, ResultAnswer};
use crate::model::listing::Listing;
use crate::model::local::LocalFile;
use crate::model::manifest::{EntryState, Manifest};
use crate::model::source_url::SourceUrl;
use crate::model::units::ByteCount;
use crate::model::weights_kind::WeightsKind;

use super::super::args::ResultOf;
use super::super::backend;
use super::super::local_folder::ensure_folder;
use super::super::table::{Column, Room, natural, table};
use super::{Context, wait_for};

pub(super) fn run(context: &Context<'_>, typed: &ResultOf) -> Result<ExitStatus, CommandError> {
    let base = backend::api_base(context.world)?;
    let job = backend::job_id(&typed.job, &base)?;
    let api = backend::client(context.world, &context.settings, &base)?;
    let here = typed.dir.as_deref().map(|dir| here(dir, &job)).transpose()?;
    let hosts = if typed.peek { Some(backend::hosts(&context.settings, &base)?) } else { None };
    wait_for(context.world, |signals| async move {
        let Some(answer) = context.ask(&signals, || api.result(&job)).await? else {
            return Ok(signals.status());
        };
        let listing =
            sorted(backend::listing(&answer, here.as_ref().and_then(|here| here.manifest.as_ref())));
        let peeked = match &hosts {
            None => None,
            Some(hosts) => match signals.unless_ended(peek_all(hosts, &listing.artifacts)).await {
                None => return Ok(signals.status()),
                peeked => peeked,
            },
        };
        let document = document(&job, &answer, &listing, here.as_ref(), peeked.as_ref());
        context.answer(&document, || words(&document, context.room()));
        Ok(ExitStatus::Complete)
    })
}

type AllPeeked = HashMap<ArtifactKey, Result<Peeked, PeekError>>;

/// Reads the headers of all checkpoints that have one.
async fn peek_all(hosts: &ArtifactClient, artifacts: &[Arc<Artifact>]) -> AllPeeked {
    let with_header: Vec<&Artifact> =
        artifacts.iter().map(Arc::as_ref).filter(|artifact| can_peek(artifact)).collect();
    let sources: Vec<&SourceUrl> = with_header.iter().map(|artifact| &artifact.url).collect();
    let keys = with_header.iter().map(|artifact| artifact.key.clone());
    keys.zip(peek(hosts, &sources).await).collect()
}

/// By kind and step, in natural order.
fn sorted(mut listing: Listing) -> Listing {
    listing.artifacts.sort_by(|a, b| {
        let key = |artifact: &Artifact| (artifact.key.kind, artifact.step.unwrap_or(u64::MAX));
        key(a).cmp(&key(b)).then_with(|| natural(a.path.as_str(), b.path.as_str()))
    });
    listing
}

/// What is known of DIR; a folder in which nothing was mirrored yet has nothing.
struct Here<'a> {
    dir: &'a Path,
    manifest: Option<Manifest>,
}

fn here<'a>(dir: &'a Path, job: &JobId) -> Result<Here<'a>, CommandError> {
    ensure_folder(dir, "`result --dir` compares with")?;
    let manifest = match known(dir) {
        Ok(manifest) => Some(manifest),
        Err(Error::NoMirror { job: None, why: NoMirror::Empty, .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match manifest.as_ref().filter(|manifest| manifest.job != *job) {
        None => Ok(Here { dir, manifest }),
        Some(other) => {
            let why = Unfit::OtherJob(other.job.clone());
            Err(Error::FolderUnfit { path: dir.to_path_buf(), why }.into())
        }
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
    #[serde(skip)]
    with_peek: bool,
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
    /// What the header holds; absent without `--peek`, and for files that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    peek: Option<Peek>,
}

/// What a checkpoint's header holds.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Peek {
    Read {
        /// What it holds: `LoRA`, `LoKr`, `embedding`, `full model` …
        kind: Option<&'static str>,
        /// The step of the weights, also of a final checkpoint.
        step: Option<u64>,
        /// Bytes that the file has when it is whole.
        size: u64,
        /// Bytes that the host has, where known.
        hosted: Option<u64>,
        rank: Option<u64>,
        dtype: Option<&'static str>,
        base_model: Option<String>,
        trigger_words: Vec<String>,
    },
    Unread {
        error: String,
    },
}

impl Peek {
    fn of(peeked: &Result<Peeked, PeekError>) -> Self {
        match peeked {
            Err(PeekError::Fault(fault)) => Self::Unread { error: sentences::fault(fault) },
            Err(error) => Self::Unread { error: error.to_string() },
            Ok(Peeked { header, hosted }) => Self::Read {
                kind: header.kind.map(WeightsKind::name),
                step: header.metadata.training_step,
                size: header.declared_length,
                hosted: *hosted,
                rank: header.rank,
                dtype: header.dtype,
                base_model: header.metadata.ss_base_model_version.clone(),
                trigger_words: header.words(),
            },
        }
    }
}

fn document(
    job: &JobId,
    answer: &ResultAnswer,
    listing: &Listing,
    here: Option<&Here<'_>>,
    peeked: Option<&AllPeeked>,
) -> Document {
    let peeked_row = |artifact: &Arc<Artifact>| {
        let peek = peeked.and_then(|peeked| peeked.get(&artifact.key)).map(Peek::of);
        Row { peek, ..row(artifact, here) }
    };
    let unreachable = answer.unreachable.iter().chain(&listing.rejected);
    Document {
        job_id: job.to_string(),
        name: answer.name.clone(),
        status: answer.status.as_ref().map(|status| status.as_str().to_owned()),
        error: answer.error.clone(),
        artifacts: listing.artifacts.iter().map(peeked_row).collect(),
        unusable: unreachable
            .map(|file| file.why.to_string())
            .chain(answer.unusable.iter().map(ToString::to_string))
            .collect(),
        with_dir: here.is_some(),
        with_peek: peeked.is_some(),
    }
}

fn row(artifact: &Artifact, here: Option<&Here<'_>>) -> Row {
    let entry =
        here.and_then(|here| here.manifest.as_ref()).and_then(|known| known.entries.get(&artifact.key));
    let is_there = |here: &Here<'_>| match disk::look(here.dir, artifact.path.as_str()) {
        Some(LocalFile::File { size, .. }) => entry.is_some_and(|entry| entry.size == size),
        _ => false,
    };
    let local = here.map(|here| match entry.map(|entry| entry.state) {
        Some(EntryState::Pruned) => "pruned",
        Some(EntryState::Present) if is_there(here) => "here",
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
        peek: None,
    }
}

fn words(document: &Document, room: Option<Room>) -> String {
    let mut text = match &document.artifacts[..] {
        [] => "nothing yet\n".to_owned(),
        _ if document.with_peek => peek_table(document, room),
        _ => plain_table(document, room),
    };
    for message in &document.unusable {
        text += &format!("not usable: {}\n", shown(message));
    }
    if let Some(error) = &document.error {
        text += &format!("error: {}\n", shown(error));
    }
    text
}

fn step_of(step: Option<u64>) -> String {
    step.map_or_else(String::new, |step| step.to_string())
}

fn plain_table(document: &Document, room: Option<Room>) -> String {
    let mut columns = vec![Column::left("kind").goes(2), Column::right("step"), Column::left("name")];
    if document.with_dir {
        columns.splice(2..2, [Column::left("local"), Column::left("evidence").goes(1)]);
    }
    let cells = |row: &Row| {
        let mut cells = vec![row.kind.to_owned(), step_of(row.step)];
        if document.with_dir {
            cells.push(row.local.unwrap_or_default().to_owned());
            cells.push(row.evidence.unwrap_or_default().to_owned());
        }
        cells.push(shown(&row.path));
        cells
    };
    table(&columns, document.artifacts.iter().map(cells).collect(), room)
}

/// The checkpoints alone, as their headers describe them; what could not be read is listed below.
fn peek_table(document: &Document, room: Option<Room>) -> String {
    let mut columns = vec![
        Column::right("step"),
        Column::right("size"),
        Column::right("rank"),
        Column::left("dtype").goes(1),
        Column::left("kind"),
        Column::left("base model").goes(2),
        Column::left("trigger words").goes(3),
        Column::left("name"),
    ];
    if document.with_dir {
        columns.insert(7, Column::left("local"));
    }
    let (mut rows, mut unread) = (Vec::new(), String::new());
    for row in &document.artifacts {
        match &row.peek {
            Some(Peek::Read { kind, step, size, hosted, rank, dtype, base_model, trigger_words }) => {
                let mut cells = vec![
                    step_of(row.step.or(*step)),
                    ByteCount(*size).to_string(),
                    rank.map_or_else(String::new, |rank| rank.to_string()),
                    dtype.unwrap_or_default().to_owned(),
                    kind.unwrap_or_default().to_owned(),
                    base_model.as_deref().map(shown).unwrap_or_default(),
                    shown(&trigger_words.join(", ")),
                    shown(&row.path),
                ];
                if document.with_dir {
                    cells.insert(7, row.local.unwrap_or_default().to_owned());
                }
                rows.push(cells);
                if let Some(hosted) = hosted.filter(|hosted| hosted < size) {
                    unread += &format!(
                        "still being written: {}, {} are there\n",
                        shown(&row.path),
                        ByteCount(hosted)
                    );
                }
            }
            Some(Peek::Unread { error }) => {
                unread += &format!("not read: {}: {}\n", shown(&row.path), shown(error))
            }
            None => {}
        }
    }
    // Not every training has a trigger word, and not every file names its base model.
    for at in (0..columns.len()).rev() {
        if rows.iter().all(|row: &Vec<String>| row.get(at).is_none_or(String::is_empty)) {
            columns.remove(at);
            rows.iter_mut().filter(|row| at < row.len()).for_each(|row| drop(row.remove(at)));
        }
    }
    let others = document.artifacts.iter().filter(|row| row.peek.is_none()).count() as u64;
    let mut text = if rows.is_empty() { String::new() } else { table(&columns, rows, room) };
    text += &unread;
    if others > 0 {
        text += &format!("{} without such a header; without `--peek` they are listed\n", files(others));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::reporters::samples::job;
    use crate::model::artifact::ArtifactKind;
    use crate::model::job::{JobTimes, ListedArtifact};
    use crate::model::source_url::SourceUrl;
    use crate::model::unusable::UnusableRow;

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
            unreachable: Vec::new(),
            unusable: vec![UnusableRow::NoPath { place: "samples[3]".to_owned() }],
            error: None,
            times: JobTimes::default(),
        }
    }

    fn listed(here: Option<&Here<'_>>) -> Document {
        let listing = sorted(backend::listing(&answer(), None));
        document(&job(), &answer(), &listing, here, None)
    }

    #[test]
    fn one_row_an_artifact_in_natural_order() {
        assert_eq!(
            words(&listed(None), None),
            "\
kind        step  name
checkpoint   250  dog_000000250.safetensors
checkpoint        dog.safetensors
sample       250  samples/1__000000250_9.jpg
sample       250  samples/1__000000250_10.jpg
not usable: `samples[3]` has no `path`
"
        );
    }

    #[test]
    fn a_folder_without_anything_has_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let here = here(folder.path(), &job()).unwrap();
        let document = listed(Some(&here));
        assert!(document.artifacts.iter().all(|row| row.local == Some("missing")));
        assert!(words(&document, None).starts_with("kind        step  local    evidence  name\n"));
    }
}
