//! `rcsync verify`: read every mirrored byte again and compare; with `--repair`, fetch what is bad or missing.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::{files, shown};
use crate::cli::reporters::words as sentences;
use crate::edge::folder::check::{BadFile, Checked, Problem, check};
use crate::edge::folder::known::known;
use crate::edge::system::blocking::{blocking, lost};
#[cfg(feature = "buckets")]
use crate::engine;
use crate::engine::event::{Event, Reporter};
use crate::engine::mirror::Mirror;
use crate::engine::mirror::run::repair::{Left, Repair, Why};
use crate::error::ExitStatus;
use crate::model::units::ByteCount;

use super::super::config::{Settings, Talk};
use super::super::exit::Signals;
use super::super::options::SyncArgs;
use super::super::render::{THE_SAME_COMMAND, Telling};
use super::super::values::Format;
use super::super::{backend, bucket};
use super::{Context, wait_for};

pub(super) fn run(context: &Context<'_>, dir: &Path, listed: bool) -> Result<ExitStatus, CommandError> {
    #[cfg(feature = "buckets")]
    if let Some(url) = bucket::bucket(dir)? {
        let options = bucket::options(&context.settings);
        let checking = engine::bucket::read::check(&url, &options, listed, context.outages());
        let (manifest, checked) = match super::until_signal(context.world, checking)? {
            Ok(checked) => checked,
            Err(status) => return Ok(status),
        };
        let document = Document::of_check(manifest.job.to_string(), &checked);
        let way_out = "the next run of its job fetches what is missing";
        context.answer(&document, || words(&document, context.settings.talk).replace(REPAIR, way_out));
        return Ok(if document.bad.is_empty() { ExitStatus::Complete } else { ExitStatus::Negative });
    }
    #[cfg(not(feature = "buckets"))]
    bucket::bucket(dir)?;
    if listed {
        let why = "`--listed` is for buckets: reading a folder costs nothing";
        return Err(CommandError::misused(why, "leave it out"));
    }
    let manifest = known(dir)?;
    wait_for(context.world, |signals: Signals| async move {
        let (folder, known) = (dir.to_path_buf(), manifest.clone());
        let reading = blocking({
            let signals = signals.clone();
            move || check(&folder, &known, || signals.is_ended())
        });
        let checked = reading.await.map_err(lost("read", dir))?;
        let Some(checked) = checked else { return Ok(signals.status()) };
        let document = Document::of_check(manifest.job.to_string(), &checked);
        context.answer(&document, || words(&document, context.settings.talk));
        Ok(if document.bad.is_empty() { ExitStatus::Complete } else { ExitStatus::Negative })
    })
}

pub(super) fn repair(context: &Context<'_>, dir: &Path) -> Result<ExitStatus, CommandError> {
    if bucket::bucket(dir)?.is_some() {
        let next = "`rcsync <JOB_ID> s3://… --once` fetches what is missing in a bucket";
        return Err(CommandError::misused("`--repair` is for folders", next));
    }
    let options = context.settings.sync_options()?;
    let base = backend::api_base(context.world)?;
    let job = known(dir)?.job;
    let api = backend::client(context.world, &context.settings, &base)?;
    wait_for(context.world, |signals: Signals| async move {
        // One document is the answer; progress goes to standard error.
        // The metrics are the mirror's: a repair knows nothing of the job's progress.
        let sync = SyncArgs { metrics_file: None, ..context.settings.sync.clone() };
        let settings = Settings { format: Format::Pretty, sync, ..context.settings.clone() };
        let telling = Telling::new(context.world, &settings, &job, &signals, THE_SAME_COMMAND);
        let teller = Arc::new(OnTheWay(telling.clone()));
        let mirror = Mirror {
            api,
            job: job.clone(),
            dir: dir.to_path_buf(),
            options,
            followers: Vec::new(),
            fleet: None,
        };
        let repaired = mirror.repair(teller, signals.stop.clone()).await;
        telling.end();
        let repaired = repaired?;
        let document = Document::of_repair(job.to_string(), &repaired);
        context.answer(&document, || words(&document, context.settings.talk));
        repaired.trouble.map_or(Ok(repaired.exit), |error| Err(error.into()))
    })
}

/// Reports progress on standard error; the answer has the rest.
struct OnTheWay(Arc<Telling>);

impl Reporter for OnTheWay {
    fn report(&self, event: &Event) {
        if !matches!(event, Event::Job { .. } | Event::Plan { .. } | Event::Done { .. }) {
            self.0.report(event);
        }
    }
}

#[derive(Debug, Serialize)]
struct Document {
    job_id: String,
    verified: u64,
    bytes: u64,
    /// What was repaired; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched_bytes: Option<u64>,
    bad: Vec<Bad>,
}

#[derive(Debug, Serialize)]
struct Bad {
    path: String,
    /// `missing`, `differs` or `unreadable`.
    problem: &'static str,
    detail: Option<String>,
    /// First byte and one past the last one of what differs, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranges: Option<Vec<[u64; 2]>>,
    /// Why it was not repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Document {
    fn of_check(job_id: String, checked: &Checked) -> Self {
        Self {
            job_id,
            verified: checked.good,
            bytes: checked.bytes,
            repaired: None,
            fetched_bytes: None,
            bad: checked.bad.iter().map(|file| Bad::new(file, None)).collect(),
        }
    }

    fn of_repair(job_id: String, repair: &Repair) -> Self {
        let Repair { found, repaired, left, fetched, .. } = repair;
        Self {
            job_id,
            verified: found.good + repaired.len() as u64,
            bytes: repaired.iter().fold(found.bytes, |sum, (_, size)| sum.saturating_add(*size)),
            repaired: Some(repaired.iter().map(|(path, _)| path.as_str().to_owned()).collect()),
            fetched_bytes: Some(*fetched),
            bad: left.iter().map(|Left { file, why }| Bad::new(file, Some(why))).collect(),
        }
    }
}

impl Bad {
    fn new(file: &BadFile, why: Option<&Why>) -> Self {
        let (problem, detail, ranges) = match &file.problem {
            Problem::Missing => ("missing", None, None),
            Problem::NoFile => ("differs", Some("it is no regular file any more".to_owned()), None),
            Problem::Length { found, expected, ranges } => {
                ("differs", Some(format!("it has {found} bytes instead of {expected}")), ranges.as_ref())
            }
            Problem::Bytes { found, expected, ranges } => {
                ("differs", Some(format!("its SHA-256 is {found} instead of {expected}")), ranges.as_ref())
            }
            Problem::Unreadable(why) => ("unreadable", Some(why.clone()), None),
        };
        let why = why.map(|why| match why {
            Why::NotHosted => "the job offers it no more; what is here was left as it is".to_owned(),
            Why::Settling => "the trainer is still writing it".to_owned(),
            Why::Failed(cause) => sentences::failure(cause),
            Why::NotTried => "it could not be tried".to_owned(),
        });
        let ranges = ranges.map(|ranges| ranges.iter().map(|Range { start, end }| [*start, *end]).collect());
        Self { path: file.path.as_str().to_owned(), problem, detail, ranges, why }
    }

    fn words(&self) -> String {
        let mut text = format!("{:<10}  {}", self.problem, shown(&self.path));
        if let Some(detail) = &self.detail {
            text += &format!("  {}", shown(detail));
        }
        if let Some([first, rest @ ..]) = self.ranges.as_deref() {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            text += &format!("; bytes {} to {}{more}", first[0], first[1].saturating_sub(1));
        }
        if let Some(why) = &self.why {
            text += &format!("; not repaired: {}", shown(why));
        }
        text + "\n"
    }
}

/// The way out for a folder.
const REPAIR: &str = "type `rcsync verify <DIR> --repair` to fetch what is bad or missing";

fn words(document: &Document, talk: Talk) -> String {
    let mut text = String::new();
    for path in document.repaired.iter().flatten() {
        if talk > Talk::Quiet {
            text += &format!("{:<10}  {}\n", "repaired", shown(path));
        }
    }
    document.bad.iter().for_each(|bad| text += &bad.words());
    if document.bad.is_empty() && talk == Talk::Quiet {
        return text;
    }
    let mut counts = format!("{} verified ({})", files(document.verified), ByteCount(document.bytes));
    if let Some(repaired) = document.repaired.as_ref().filter(|repaired| !repaired.is_empty()) {
        let fetched = ByteCount(document.fetched_bytes.unwrap_or_default());
        counts += &format!(", {} of them repaired ({fetched} fetched)", repaired.len());
    }
    text += &match (document.bad.len(), &document.repaired) {
        (0, _) => format!("{counts}\n"),
        (bad, Some(_)) => format!("{counts}, {bad} not\n"),
        (bad, None) => {
            format!("{counts}, {bad} not; {REPAIR}\n")
        }
    };
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::cli::reporters::samples::job;
    use crate::model::artifact::{ArtifactKey, ArtifactKind};
    use crate::model::digest::Sha256Digest;
    use crate::model::evidence::Evidence;
    use crate::model::manifest::{Entry, Manifest, examples};

    /// A folder with these files, and a manifest that knows them.
    pub(in super::super) fn folder(contents: &[(&str, Option<u64>, &str)]) -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new(job(), "https://h".to_owned());
        for (name, step, text) in contents {
            fs::write(folder.path().join(name), text).unwrap();
            let key = ArtifactKey { kind: ArtifactKind::Checkpoint, path: format!("/o/{name}").into() };
            let entry = Entry {
                size: text.len() as u64,
                sha256: Sha256Digest::new(Sha256::digest(text).into()),
                evidence: Evidence::TrainerHash,
                modified: None,
                ..examples::entry(name, *step)
            };
            manifest.entries.insert(key, entry);
        }
        (folder, manifest)
    }

    fn document(dir: &Path, manifest: &Manifest) -> Document {
        Document::of_check(manifest.job.to_string(), &check(dir, manifest, || false).unwrap())
    }

    #[test]
    fn what_is_as_it_was_is_verified() {
        let (folder, manifest) = folder(&[("a.safetensors", None, "abc"), ("b.safetensors", None, "de")]);
        let document = document(folder.path(), &manifest);
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
        let document = document(folder.path(), &manifest);
        let text = words(&document, Talk::Normal);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("differs     a.safetensors  its SHA-256 is a52d159f"), "{text}");
        assert_eq!(lines[1], "differs     b.safetensors  it has 4 bytes instead of 3");
        assert_eq!(lines[2], "missing     c.safetensors");
        assert_eq!(
            lines[3],
            "1 file verified (3 B), 3 not; type `rcsync verify <DIR> --repair` to fetch what is bad or missing"
        );
    }

    /// Its row is all that is recorded of it, and the next mirror reads it again.
    #[test]
    fn a_file_that_could_not_be_read_when_the_manifest_was_lost_is_checked_by_its_row() {
        let (folder, manifest) = folder(&[("a.safetensors", None, "abc")]);
        let sha256 = Sha256Digest::new(Sha256::digest("abc").into()).to_string();
        let row = |name: &str, state: &str| {
            serde_json::json!({ "path": name, "kind": "checkpoint", "key": format!("/o/{name}"), "listed": false,
                "state": state, "size": 3, "sha256": sha256, "evidence": "trainer-hash" })
        };
        let rows = [
            row("a.safetensors", "unread"),
            row("b.safetensors", "unread"),
            row("c.safetensors", "missing"),
            row("d.safetensors", "unread"),
        ];
        let progress = serde_json::json!({ "current_step": null, "total_steps": null, "percent": null });
        let job = serde_json::json!({ "job_id": job().as_str(), "name": null, "status": "STOPPED",
            "progress": progress, "error": null, "artifacts": rows });
        fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
        for name in ["b.safetensors", "d.safetensors"] {
            fs::write(folder.path().join(name), "abc").unwrap();
        }
        assert_eq!(words(&document(folder.path(), &manifest), Talk::Normal), "3 files verified (9 B)\n");
        fs::write(folder.path().join("b.safetensors"), "abd").unwrap();
        fs::remove_file(folder.path().join("d.safetensors")).unwrap();
        let text = words(&document(folder.path(), &manifest), Talk::Normal);
        assert!(text.starts_with("differs     b.safetensors  its SHA-256 is "), "{text}");
        assert!(text.contains("missing     d.safetensors\n1 file verified"), "{text}");
    }

    #[test]
    fn a_signal_ends_it() {
        let (folder, manifest) = folder(&[("a.safetensors", None, "abc")]);
        let signals = Signals::default();
        signals.end(ExitStatus::Interrupted);
        assert!(check(folder.path(), &manifest, || signals.is_ended()).is_none());
    }
}
