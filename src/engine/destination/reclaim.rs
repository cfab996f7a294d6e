//! Files that the plan does not handle and whose record is lost: what `job.json` and `SHA256SUMS` vouch for becomes known again,
//! the rest stays as it is and is reported.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::formats::Format;
use crate::decide::mirror::plan::Recollection;
use crate::decide::mirror::unlisted::{Candidate, Role, Voucher};
use crate::decide::transfer::verify::{Expectation, Judgement, Reading, judge};
use crate::edge::folder::hashing::feed_file;
use crate::edge::folder::local_files::look_at_each;
use crate::edge::folder::manifest_store::Store;
use crate::edge::system::blocking::{blocking, lost};
use crate::engine::event::Reporter;
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState, Older, Record};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::read_ahead::{Digests, Unread, read_ahead};

/// What became of the candidates.
#[derive(Debug, Default)]
pub(crate) struct Reclaimed {
    /// Whether all of them were read; `false` where the run was stopped meanwhile. What was read by then is recorded.
    pub(crate) is_whole: bool,
    /// Files that are not what was recorded.
    pub(crate) differing: Vec<RelPath>,
    /// Files of which nothing records that they are this job's.
    pub(crate) unrecorded: Vec<RelPath>,
}

/// A candidate that is in DIR.
struct Here {
    candidate: Candidate,
    size: u64,
    modified: Option<i64>,
}

/// Reads what is in DIR of these, and records what is vouched for.
pub(crate) async fn reclaim(
    dir: &Path,
    store: &Arc<Mutex<Store>>,
    candidates: Vec<Candidate>,
    job_name: Option<&str>,
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Reclaimed, Error> {
    let (folder, store, job_name) = (dir.to_path_buf(), store.clone(), job_name.map(str::to_owned));
    let looking = blocking({
        let folder = folder.clone();
        move || look(&folder, candidates)
    });
    let here = looking.await.map_err(lost("look into", dir))?;
    let unread = here.iter().filter(|here| here.candidate.may_be(here.size));
    let unread = unread.map(|here| Unread { path: here.candidate.path.to_path(dir), size: here.size });
    let (digests, is_whole) = read_ahead(unread.collect(), reporter, stop).await;
    let settling = blocking(move || {
        let judged = judge_all(&folder, here, job_name.as_deref(), &digests, is_whole);
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        record(&mut store, judged, is_whole)
    });
    settling.await.map_err(lost("read", dir))?
}

fn look(dir: &Path, candidates: Vec<Candidate>) -> Vec<Here> {
    let paths: Vec<RelPath> = candidates.iter().map(|candidate| candidate.path.clone()).collect();
    let found: BTreeMap<RelPath, LocalFile> = look_at_each(dir, paths).collect();
    let here = |candidate: Candidate| match found.get(&candidate.path) {
        Some(LocalFile::File { size, modified }) => {
            Some(Here { candidate, size: *size, modified: *modified })
        }
        Some(LocalFile::Other) | None => None,
    };
    candidates.into_iter().filter_map(here).collect()
}

/// What was found out of the candidates.
#[derive(Debug, Default)]
struct Judged {
    entries: Vec<(ArtifactKey, Entry)>,
    older: Vec<(ArtifactKey, Older)>,
    differing: Vec<RelPath>,
    unrecorded: Vec<RelPath>,
}

/// Compares files with what is recorded of them. Reads those that were not read ahead, unless the reading was stopped.
fn judge_all(
    dir: &Path,
    here: Vec<Here>,
    job_name: Option<&str>,
    digests: &Digests,
    is_whole: bool,
) -> Judged {
    let mut judged = Judged::default();
    for Here { candidate, size, modified } in here {
        let path = candidate.path.to_path(dir);
        if candidate.role == Role::Foreign {
            judged.unrecorded.push(candidate.path);
            continue;
        }
        if !is_whole && !digests.has(&path) {
            continue;
        }
        let sha256 = if candidate.may_be(size) { digests.sha256_of(&path).ok() } else { None };
        let Some((sha256, voucher)) = sha256.and_then(|sha256| Some((sha256, candidate.voucher(sha256)?)))
        else {
            judged.differing.push(candidate.path);
            continue;
        };
        let Candidate { path: name, role, memory, .. } = candidate;
        match role {
            Role::Entry { key, step } => {
                let memory = memory.filter(|_| voucher == Voucher::Row).unwrap_or_else(|| Recollection {
                    path: name,
                    step,
                    size,
                    sha256,
                    evidence: proven_again(&path, &key, job_name, size, sha256),
                    revision: Revision::default(),
                    run: String::new(),
                });
                judged.entries.push((key, known_again(memory, modified)));
            }
            Role::Older { of } => judged.older.push((of, Older { path: name, size, sha256 })),
            Role::Foreign => {}
        }
    }
    judged
}

/// Records what was found out, entries before the older versions of them.
fn record(store: &mut Store, judged: Judged, is_whole: bool) -> Result<Reclaimed, Error> {
    let Judged { entries, older, differing, unrecorded } = judged;
    store.append(entries.into_iter().map(|(key, entry)| Record::Know { key, entry }).collect())?;
    let (mut with_older, mut waiting) = (BTreeMap::<ArtifactKey, Entry>::new(), BTreeMap::new());
    for (of, older) in older {
        let known = with_older.remove(&of).or_else(|| store.manifest().entries.get(&of).cloned());
        match known {
            Some(mut entry) => {
                entry.older.push(older);
                with_older.insert(of, entry);
            }
            // The file that it is a version of is still to be fetched: the next run records it.
            None => drop(waiting.insert(older.path, older.sha256)),
        }
    }
    store.append(with_older.into_iter().map(|(key, entry)| Record::Know { key, entry }).collect())?;
    if is_whole {
        store.set_unsettled(waiting);
    }
    Ok(Reclaimed { is_whole, differing, unrecorded })
}

fn known_again(memory: Recollection, modified: Option<i64>) -> Entry {
    let Recollection { path, step, size, sha256, evidence, revision, run } = memory;
    let (state, older) = (EntryState::Present, Vec::new());
    Entry { path, step, size, sha256, evidence, revision, run, modified, state, older }
}

/// Finds out how a file of which only the digest is recorded is proven, by itself.
fn proven_again(
    path: &Path,
    key: &ArtifactKey,
    job_name: Option<&str>,
    size: u64,
    sha256: Sha256Digest,
) -> Evidence {
    let format = Format::of(&key.trainer_name());
    let mut reading = Reading::new(format, &[]);
    if feed_file(path, |bytes| reading.feed(bytes)).is_err() {
        return Evidence::Length;
    }
    let received = reading.finish();
    let half_of_pair = key.pair_half(job_name).is_some();
    // What contradicts its own header was published since the user accepted it.
    let expected =
        Expectation { length: Some(size), half_of_pair, accept_unproven: true, ..Expectation::default() };
    match judge(&received, &expected) {
        Judgement::Proven(verified) if verified.sha256() == sha256 => verified.evidence(),
        _ => Evidence::Length,
    }
}
