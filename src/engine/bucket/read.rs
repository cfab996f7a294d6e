//! What other commands do with a bucket: list, verify, prune, draw the gallery, and ask the store step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::bucket::head::{FoldAt, Known, Publish};
use crate::decide::mirror::retention::Pruned;
use crate::decide::mirror::retention::{Retention, surplus};
use crate::edge::bucket::Listed;
use crate::edge::bucket::connect::Described;
use crate::edge::folder::check::{BadFile, Checked, Problem};
use crate::engine::event::Reporter;
use crate::engine::retry::Persistence;
use crate::error::{BucketError, Error, explain_briefly};
use crate::model::artifact::{ArtifactKey, ArtifactKind};
use crate::model::destination::BucketUrl;
use crate::model::digest::Sha256Digest;
use crate::model::manifest::{Entry, EntryState, Manifest};
use crate::model::names::rel_path::RelPath;
use crate::model::signed_page::is_own;

use super::head_read::Found;
use super::head_store::{HeadStore, Wish};
use super::options::{BucketOptions, connect};
use super::records::{self, JOB_BOUND, PAGE};
use super::store::{Small, Store};
use super::{probe, prune};

/// Reads what is known of a destination. Changes nothing. A store that does not answer is reported, here and below.
///
/// # Errors
/// When nothing was mirrored there, or the store refuses.
pub(crate) async fn known(
    url: &BucketUrl,
    options: &BucketOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<Manifest, Error> {
    let store = connect(url, options, Persistence::Short)?.0.reporting(reporter);
    Ok(Found::peek(&store).await?.known.manifest)
}

/// Reads every byte again and compares; with `listed`, compares lengths and tags alone.
///
/// # Errors
/// As [`known`].
pub(crate) async fn check(
    url: &BucketUrl,
    options: &BucketOptions,
    listed: bool,
    reporter: Arc<dyn Reporter>,
) -> Result<(Manifest, Checked), Error> {
    let store = connect(url, options, Persistence::Short)?.0.reporting(reporter);
    check_over(&store, listed).await
}

pub(super) async fn check_over(store: &Store, listed: bool) -> Result<(Manifest, Checked), Error> {
    let known = Found::peek(store).await?.known;
    let store = &store.as_in_a_pass();
    let objects = if listed { store.ask("list", "", || store.bucket.list("")).await? } else { Vec::new() };
    let objects: BTreeMap<&str, &Listed> =
        objects.iter().map(|object| (object.key.as_str(), object)).collect();
    let mut checked = Checked::default();
    for (key, path, size, sha256, is_older) in files(&known) {
        let problem = if listed {
            match objects.get(path.as_str()) {
                None => Some(Problem::Missing),
                Some(object) if object.size != size => {
                    Some(Problem::Length { found: object.size, expected: size, ranges: None })
                }
                Some(object) if known.tags.get(path).is_some_and(|tag| tag != object.tag.as_str()) => {
                    let why = "its tag is not the one that it was published with";
                    Some(Problem::Unreadable(why.to_owned()))
                }
                Some(_) => None,
            }
        } else {
            compare(store, path, size, sha256).await
        };
        match problem {
            None => {
                checked.good += 1;
                checked.bytes = checked.bytes.saturating_add(size);
            }
            Some(problem) => {
                checked.bad.push(BadFile { key: key.clone(), path: path.clone(), is_older, problem });
            }
        }
    }
    Ok((known.manifest, checked))
}

type ClaimedFile<'a> = (&'a ArtifactKey, &'a RelPath, u64, Sha256Digest, bool);

/// Every object that should be there, older versions too, in order of path.
fn files(known: &Known) -> Vec<ClaimedFile<'_>> {
    let mut files: Vec<ClaimedFile<'_>> = Vec::new();
    for (key, entry) in &known.manifest.entries {
        if entry.state == EntryState::Present {
            files.push((key, &entry.path, entry.size, entry.sha256, false));
        }
        files.extend(entry.older.iter().map(|older| (key, &older.path, older.size, older.sha256, true)));
    }
    files.sort_by_key(|(_, path, ..)| *path);
    files
}

async fn compare(store: &Store, path: &RelPath, size: u64, sha256: Sha256Digest) -> Option<Problem> {
    match store.hash(path.as_str()).await {
        Ok(None) => Some(Problem::Missing),
        Ok(Some((_, meta))) if meta.size != size => {
            Some(Problem::Length { found: meta.size, expected: size, ranges: None })
        }
        Ok(Some((found, _))) if found == sha256 => None,
        Ok(Some((found, _))) => Some(Problem::Bytes { found, expected: sha256, ranges: None }),
        Err(error) => Some(Problem::Unreadable(explain_briefly(&error))),
    }
}

/// Takes the lease of a destination that has a head.
async fn hold(
    url: &BucketUrl,
    options: &BucketOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<(Store, Arc<HeadStore>), Error> {
    let store = connect(url, options, Persistence::Short)?.0.reporting(reporter.clone());
    let found = Found::peek(&store).await?;
    let publish = found.head.as_ref().map_or(Publish::Complete, |head| head.publish);
    let store = if publish == Publish::Sole {
        let options = BucketOptions { sole_writer: true, ..options.clone() };
        connect(url, &options, Persistence::Short)?.0.reporting(reporter)
    } else {
        store
    };
    let store = store.as_in_a_pass();
    let wish = Wish { lease: options.lease, waits: false, fold_at: FoldAt::default() };
    let head = HeadStore::take(store.clone(), found, wish, publish, |_| {}).await?;
    Ok((store, Arc::new(head)))
}

/// Removes checkpoints by rule, or lists what would be removed.
///
/// # Errors
/// As [`known`], and when another rcsync holds the destination.
pub(crate) async fn prune(
    url: &BucketUrl,
    options: &BucketOptions,
    retention: Retention,
    dry_run: bool,
    reporter: Arc<dyn Reporter>,
) -> Result<Pruned, Error> {
    if dry_run {
        return Ok(judged(&known(url, options, reporter).await?, retention).1);
    }
    let (store, head) = hold(url, options, reporter).await?;
    let (going, pruned) = judged(&head.known().manifest, retention);
    let work = async {
        prune::remove(&store, &head, &going).await?;
        if !going.is_empty() {
            records::refresh(&store, &head).await?;
        }
        Ok::<(), Error>(())
    };
    let worked = tokio::select! {
        kept = head.keep() => kept,
        worked = work => worked,
    };
    let released = head.release().await;
    worked.and(released)?;
    Ok(pruned)
}

fn judged(manifest: &Manifest, retention: Retention) -> (Vec<(ArtifactKey, Entry)>, Pruned) {
    let going: Vec<(ArtifactKey, Entry)> =
        surplus(manifest, retention).into_iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
    let numbered = manifest
        .present()
        .into_iter()
        .filter(|(kind, entry)| *kind == ArtifactKind::Checkpoint && entry.step.is_some());
    let kept = numbered.count().saturating_sub(going.len()) as u64;
    let removed = going.iter().map(|(_, entry)| entry.clone()).collect();
    (going, Pruned { removed, edited: Vec::new(), kept })
}

/// What drawing the gallery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// The page's address.
    pub(crate) page: String,
    /// Whether its bytes changed.
    pub(crate) changed: bool,
    /// Samples and checkpoints that are there.
    pub(crate) samples: u64,
    pub(crate) checkpoints: u64,
}

/// Draws the gallery where it differs from what is there.
///
/// # Errors
/// As `prune`, and when a page that rcsync did not write is there.
pub(crate) async fn gallery(
    url: &BucketUrl,
    options: &BucketOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<Drawn, Error> {
    let store = connect(url, options, Persistence::Short)?.0.reporting(reporter.clone());
    let manifest = Found::peek(&store).await?.known.manifest;
    let store = store.as_in_a_pass();
    let page = url.object(PAGE);
    let there = match store.look(PAGE, JOB_BOUND).await? {
        Small::Nothing => None,
        Small::Whole(there, _) if is_own(&there) => Some(there),
        Small::Whole(..) | Small::TooLarge { .. } => return Err(Error::ForeignPage(page.into())),
    };
    let drawn = records::draw(&store, &manifest).await?;
    let changed = there.as_deref() != Some(drawn.text().as_bytes());
    if changed {
        let (store, head) = hold(url, options, reporter).await?;
        let worked = records::write(&store, &head, PAGE, |_| drawn.clone()).await;
        let released = head.release().await;
        worked.and(released)?;
    }
    let count =
        |wanted: ArtifactKind| manifest.present().iter().filter(|(kind, _)| *kind == wanted).count() as u64;
    Ok(Drawn {
        page,
        changed,
        samples: count(ArtifactKind::Sample),
        checkpoints: count(ArtifactKind::Checkpoint),
    })
}

/// One step of an examination.
#[derive(Debug)]
pub(crate) struct Step {
    /// What was looked at.
    pub(crate) about: &'static str,
    /// What was found.
    pub(crate) found: Result<String, Error>,
}

/// Asks a store step by step: credentials, listing, the head and its owner, and whether the store keeps its word. Leaves
/// nothing behind where it may delete.
pub(crate) async fn examine(url: &BucketUrl, options: &BucketOptions) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut note = |about, found: Result<String, Error>| {
        let is_good = found.is_ok();
        steps.push(Step { about, found });
        is_good
    };
    let (store, Described { credentials, endpoint }) = match connect(url, options, Persistence::Short) {
        Ok(connected) => connected,
        Err(error) => {
            note("bucket", Err(error));
            return steps;
        }
    };
    note("bucket", Ok(format!("{url} at {endpoint}, with credentials from {credentials}")));
    let listed = store.ask("list", "", || store.bucket.list("")).await;
    if !note("listing", listed.map(|listed| format!("{} objects below it", listed.len()))) {
        return steps;
    }
    let found = Found::peek(&store).await;
    let head = match &found {
        Ok(found) => {
            let files = found.known.claimed().len();
            let head = found.head.as_ref();
            let held = match head.is_none_or(|head| head.free) {
                true => "free".to_owned(),
                false => format!("held by {}", found.holder()),
            };
            let age =
                found.age().map_or_else(String::new, |age| format!(", written {} s ago", age.as_secs()));
            Ok(format!("job {}, {files} files, lease {held}{age}", found.known.manifest.job))
        }
        Err(Error::Bucket(fault)) if matches!(**fault, BucketError::NoMirror { .. }) => {
            Ok("nothing was mirrored there yet".to_owned())
        }
        Err(error) => Ok(explain_briefly(error)),
    };
    note("head", head);
    let asked = probe::ask(&store).await.map(|asked| match asked.publish {
        Publish::Complete => "creates, swaps and completes under conditions".to_owned(),
        Publish::Copy => "creates, swaps and copies under conditions".to_owned(),
        Publish::Sole => "used by one writer".to_owned(),
    });
    note("conditions", asked);
    steps
}
