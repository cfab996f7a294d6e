//! `rcsync verify`: read every mirrored byte again and compare.

use std::path::Path;

use serde::Serialize;

use super::super::backend;
use super::super::config::Talk;
use super::super::exit::Signals;
use super::super::words::{files, shown};
use super::{Context, wait_for};
use crate::edge::disk;
use crate::engine::hashing::sha256_of;
use crate::error::{Error, ExitStatus, explain_briefly};
use crate::model::digest::Sha256Digest;
use crate::model::local::LocalFile;
use crate::model::manifest::Manifest;
use crate::model::rel_path::RelPath;
use crate::model::units::ByteCount;

pub(super) fn run(context: &Context<'_>, dir: &Path) -> Result<ExitStatus, Error> {
    let manifest = backend::manifest(dir)?;
    wait_for(context.world, |signals: Signals| async move {
        let (folder, known) = (dir.to_path_buf(), manifest.clone());
        let reading = tokio::task::spawn_blocking({
            let signals = signals.clone();
            move || check(&folder, &known, &signals)
        });
        let checked = reading.await.map_err(|lost| Error::Disk {
            verb: "read",
            path: dir.to_path_buf(),
            source: std::io::Error::other(lost),
        })?;
        let Some(document) = checked else { return Ok(signals.status()) };
        context.answer(&document, || words(&document, context.settings.talk));
        Ok(if document.bad.is_empty() { ExitStatus::Complete } else { ExitStatus::Negative })
    })
}

#[derive(Debug, Serialize)]
struct Document {
    job_id: String,
    verified: u64,
    bytes: u64,
    bad: Vec<Bad>,
}

#[derive(Debug, Serialize)]
struct Bad {
    path: String,
    /// `missing`, `differs` or `unreadable`.
    problem: &'static str,
    detail: Option<String>,
}

/// Reads every file; `None` when a signal came in between.
fn check(dir: &Path, manifest: &Manifest, signals: &Signals) -> Option<Document> {
    let mut document = Document { job_id: manifest.job.to_string(), verified: 0, bytes: 0, bad: Vec::new() };
    for (_, entry) in manifest.present() {
        let older = entry.older.iter().map(|older| (&older.path, older.size, older.sha256));
        for (path, size, sha256) in std::iter::once((&entry.path, entry.size, entry.sha256)).chain(older) {
            if signals.is_ended() {
                return None;
            }
            match problem(dir, path, size, sha256) {
                None => {
                    document.verified += 1;
                    document.bytes = document.bytes.saturating_add(size);
                }
                Some((problem, detail)) => {
                    document.bad.push(Bad { path: path.as_str().to_owned(), problem, detail });
                }
            }
        }
    }
    Some(document)
}

fn problem(
    dir: &Path,
    path: &RelPath,
    size: u64,
    sha256: Sha256Digest,
) -> Option<(&'static str, Option<String>)> {
    match disk::look(dir, path.as_str()) {
        None => Some(("missing", None)),
        Some(LocalFile::Other) => Some(("differs", Some("it is no regular file any more".to_owned()))),
        Some(LocalFile::File { size: found, .. }) if found != size => {
            Some(("differs", Some(format!("it has {found} bytes instead of {size}"))))
        }
        Some(LocalFile::File { .. }) => match sha256_of(&path.to_path(dir)) {
            Ok(found) if found == sha256 => None,
            Ok(found) => Some(("differs", Some(format!("its SHA-256 is {found} instead of {sha256}")))),
            Err(error) => Some(("unreadable", Some(explain_briefly(&error)))),
        },
    }
}

fn words(document: &Document, talk: Talk) -> String {
    let mut text = String::new();
    for Bad { path, problem, detail } in &document.bad {
        let detail = detail.as_deref().map_or_else(String::new, |detail| format!("  {}", shown(detail)));
        text += &format!("{problem:<10}  {}{detail}\n", shown(path));
    }
    if document.bad.is_empty() && talk == Talk::Quiet {
        return text;
    }
    let good = format!("{} verified ({})", files(document.verified), ByteCount(document.bytes));
    text += &match document.bad.len() {
        0 => format!("{good}\n"),
        bad => format!(
            "{good}, {bad} not; type `rcsync {} <DIR>` to fetch what is missing\n",
            shown(&document.job_id)
        ),
    };
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::cli::samples::{job, path};
    use crate::model::artifact::{ArtifactKey, ArtifactKind};
    use crate::model::evidence::Evidence;
    use crate::model::manifest::{Entry, EntryState};
    use crate::model::revision::Revision;

    /// A folder with these files, and a manifest that knows them.
    pub(in super::super) fn folder(contents: &[(&str, Option<u64>, &str)]) -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new(job(), "https://h".to_owned());
        for (name, step, text) in contents {
            fs::write(folder.path().join(name), text).unwrap();
            let key = ArtifactKey { kind: ArtifactKind::Checkpoint, path: format!("/o/{name}").into() };
            let entry = Entry {
                path: path(name),
                step: *step,
                size: text.len() as u64,
                sha256: Sha256Digest::new(Sha256::digest(text).into()),
                evidence: Evidence::TrainerHash,
                revision: Revision::default(),
                run: String::new(),
                modified: None,
                state: EntryState::Present,
                older: Vec::new(),
            };
            manifest.entries.insert(key, entry);
        }
        (folder, manifest)
    }

    #[test]
    fn what_is_as_it_was_is_verified() {
        let (folder, manifest) = folder(&[("a.safetensors", None, "abc"), ("b.safetensors", None, "de")]);
        let document = check(folder.path(), &manifest, &Signals::default()).unwrap();
        assert_eq!(words(&document, Talk::Normal), "2 files verified (5 B)\n");
        assert_eq!(words(&document, Talk::Quiet), "");
    }

    #[test]
    fn what_is_not_is_named() {
        let names = ["a.safetensors", "b.safetensors", "c.safetensors", "d.safetensors"];
        let (folder, manifest) = folder(&names.map(|name| (name, None, "abc")));
        fs::write(folder.path().join(names[0]), "abd").unwrap();
        fs::write(folder.path().join(names[1]), "abcd").unwrap();
        fs::remove_file(folder.path().join(names[2])).unwrap();
        let document = check(folder.path(), &manifest, &Signals::default()).unwrap();
        let text = words(&document, Talk::Normal);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("differs     a.safetensors  its SHA-256 is a52d159f"), "{text}");
        assert_eq!(lines[1], "differs     b.safetensors  it has 4 bytes instead of 3");
        assert_eq!(lines[2], "missing     c.safetensors");
        assert_eq!(
            lines[3],
            "1 file verified (3 B), 3 not; type `rcsync abc-1 <DIR>` to fetch what is missing"
        );
    }

    #[test]
    fn a_signal_ends_it() {
        let (folder, manifest) = folder(&[("a.safetensors", None, "abc")]);
        let signals = Signals::default();
        signals.end(ExitStatus::Interrupted);
        assert!(check(folder.path(), &manifest, &signals).is_none());
    }
}
