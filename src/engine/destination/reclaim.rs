//! Files that the plan does not handle and whose record is lost: what `job.json` and `SHA256SUMS` vouch for becomes known again,
//! the rest stays as it is and is reported.

use std::collections::{BTreeMap, HashMap};
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
use crate::edge::system::disk;
use crate::engine::event::Reporter;
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::artifact::ArtifactKey;
use crate::model::digest::Sha256Digest;
use crate::model::evidence::Evidence;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, Older, Record};
use crate::model::names::rel_path::RelPath;
use crate::model::revision::Revision;

use super::read_ahead::{Digests, Unread, read_ahead};

/// What became of the candidates.
#[derive(Debug, Default)]
pub(crate) struct Reclaimed {
    /// Whether all of them were read; `false` where the run was stopped meanwhile. What was read by then is recorded.
    pub(crate) is_whole: bool,
    /// Files that the system does not let be read. What is recorded of them is kept for the next run.
    pub(crate) unreadable: Vec<RelPath>,
    /// What `job.json` records of them.
    pub(crate) unread: HashMap<ArtifactKey, Entry>,
    /// Files that are not what was recorded.
    pub(crate) differing: Vec<RelPath>,
    /// Files of which nothing records that they are this job's.
    pub(crate) unrecorded: Vec<RelPath>,
}

/// A candidate that is in DIR.
struct Here {
    candidate: Candidate,
    /// Length and change time; `None` where the system does not let the file be looked at.
    seen: Option<(u64, Option<i64>)>,
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
    let unread = here.iter().filter_map(|Here { candidate, seen }| {
        let (size, _) = seen.filter(|(size, _)| candidate.may_be(*size))?;
        Some(Unread { path: candidate.path.to_path(dir), size })
    });
    let (digests, is_whole) = read_ahead(unread.collect(), reporter, stop).await;
    let stop = stop.clone();
    let settling = blocking(move || {
        let judged = judge_all(&folder, here, job_name.as_deref(), &digests, is_whole, &stop);
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        record(&mut store, judged)
    });
    settling.await.map_err(lost("read", dir))?
}

fn look(dir: &Path, candidates: Vec<Candidate>) -> Vec<Here> {
    let paths: Vec<RelPath> = candidates.iter().map(|candidate| candidate.path.clone()).collect();
    let found: BTreeMap<RelPath, LocalFile> = look_at_each(dir, paths).collect();
    let here = |candidate: Candidate| match found.get(&candidate.path) {
        Some(LocalFile::File { size, modified }) => Some(Here { candidate, seen: Some((*size, *modified)) }),
        None if disk::is_out_of_reach(&candidate.path.to_path(dir)) => Some(Here { candidate, seen: None }),
        Some(LocalFile::Other) | None => None,
    };
    candidates.into_iter().filter_map(here).collect()
}

/// What was found out of the candidates.
#[derive(Debug, Default)]
struct Judged {
    /// Whether all of them were read.
    is_whole: bool,
    entries: Vec<(ArtifactKey, Entry)>,
    older: Vec<(ArtifactKey, Older)>,
    /// With the lines that stay.
    unreadable: Vec<(RelPath, Option<Sha256Digest>)>,
    unread: HashMap<ArtifactKey, Entry>,
    differing: Vec<RelPath>,
    unrecorded: Vec<RelPath>,
}

impl Judged {
    /// Keeps what is recorded of a file for the next run.
    fn leave_unread(&mut self, candidate: Candidate) {
        let line = candidate.line_while_unread();
        let Candidate { path, role, memory, .. } = candidate;
        if let (Role::Entry { key, .. }, Some(memory)) = (role, memory) {
            self.unread.insert(key, memory.adopted(memory.step));
        }
        self.unreadable.push((path, line));
    }
}

/// Compares files with what is recorded of them. Reads those that were not read ahead, and once more those that only a line
/// vouches for, until `stop` is used.
fn judge_all(
    dir: &Path,
    here: Vec<Here>,
    job_name: Option<&str>,
    digests: &Digests,
    is_whole: bool,
    stop: &Stop,
) -> Judged {
    let mut judged = Judged { is_whole, ..Judged::default() };
    for Here { candidate, seen } in here {
        let path = candidate.path.to_path(dir);
        let Some((size, modified)) = seen else {
            judged.leave_unread(candidate);
            continue;
        };
        if candidate.role == Role::Foreign {
            judged.unrecorded.push(candidate.path);
            continue;
        }
        if !candidate.may_be(size) {
            judged.differing.push(candidate.path);
            continue;
        }
        if !digests.has(&path) && (!is_whole || stop.is_stopped()) {
            judged.is_whole = false;
            continue;
        }
        let Ok(sha256) = digests.sha256_of(&path) else {
            let is_gone = disk::look(dir, candidate.path.as_str()).is_none() && !disk::is_out_of_reach(&path);
            // Removed just now, or kept as it is recorded.
            if !is_gone {
                judged.leave_unread(candidate);
            }
            continue;
        };
        let Some(voucher) = candidate.voucher(sha256) else {
            judged.differing.push(candidate.path);
            continue;
        };
        let Candidate { path: name, role, memory, line } = candidate;
        match role {
            Role::Entry { key, step } => {
                let memory = match memory.filter(|_| voucher == Voucher::Row) {
                    Some(memory) => memory,
                    None if stop.is_stopped() => {
                        judged.is_whole = false;
                        continue;
                    }
                    None => {
                        let Ok(evidence) = proven_again(&path, &key, job_name, size, sha256) else {
                            judged.unreadable.push((name, line));
                            continue;
                        };
                        let (revision, run) = (Revision::default(), String::new());
                        Recollection { path: name, step, size, sha256, evidence, revision, run }
                    }
                };
                judged.entries.push((key, Entry { modified, ..memory.adopted(memory.step) }));
            }
            Role::Older { of } => judged.older.push((of, Older { path: name, size, sha256 })),
            Role::Foreign => {}
        }
    }
    judged
}

/// Records what was found out, entries before the older versions of them.
fn record(store: &mut Store, judged: Judged) -> Result<Reclaimed, Error> {
    let Judged { is_whole, entries, older, unreadable, unread, differing, unrecorded } = judged;
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
    for (path, line) in &unreadable {
        waiting.extend(line.map(|sha256| (path.clone(), sha256)));
    }
    if is_whole {
        store.set_unsettled(waiting);
    }
    let unreadable = unreadable.into_iter().map(|(path, _)| path).collect();
    Ok(Reclaimed { is_whole, unreadable, unread, differing, unrecorded })
}

/// Finds out how a file of which only the digest is recorded is proven, by itself.
fn proven_again(
    path: &Path,
    key: &ArtifactKey,
    job_name: Option<&str>,
    size: u64,
    sha256: Sha256Digest,
) -> Result<Evidence, Error> {
    let format = Format::of(&key.trainer_name());
    let mut reading = Reading::new(format, &[]);
    feed_file(path, |bytes| reading.feed(bytes))?;
    let received = reading.finish();
    let half_of_pair = key.pair_half(job_name).is_some();
    // What contradicts its own header was published since the user accepted it.
    let expected =
        Expectation { length: Some(size), half_of_pair, accept_unproven: true, ..Expectation::default() };
    Ok(match judge(&received, &expected) {
        Judgement::Proven(verified) if verified.sha256() == sha256 => verified.evidence(),
        _ => Evidence::Length,
    })
}

#[cfg(test)]
mod tests {
    use crate::edge::folder::manifest_store::PRIVATE;
    use crate::engine::event::Event;
    use crate::error::ExitStatus;
    use crate::model::artifact::ArtifactKind;
    use crate::model::manifest::examples;

    use super::*;

    fn silent(_: &Event) {}

    fn store(dir: &Path) -> Arc<Mutex<Store>> {
        std::fs::create_dir_all(dir.join(PRIVATE)).unwrap();
        let (store, _) = Store::load(dir, &"job".parse().unwrap(), "https://api.example", || None).unwrap();
        Arc::new(Mutex::new(store))
    }

    /// A file of the job whose bytes are its name, which its line or its row vouches for.
    fn vouched(dir: &Path, name: &str, voucher: Voucher) -> Candidate {
        let file = dir.join(name);
        std::fs::write(&file, name).unwrap();
        let sha256 = crate::edge::folder::hashing::sha256_of(&file).unwrap();
        let path = RelPath::parse(name).unwrap();
        let memory = || Recollection {
            path: path.clone(),
            step: None,
            size: name.len() as u64,
            sha256,
            evidence: Evidence::Length,
            revision: Revision::default(),
            run: String::new(),
        };
        Candidate {
            path: path.clone(),
            role: Role::Entry { key: examples::key(ArtifactKind::Checkpoint, name), step: None },
            memory: (voucher == Voucher::Row).then(memory),
            line: (voucher == Voucher::Line).then_some(sha256),
        }
    }

    fn paths(store: &Mutex<Store>) -> Vec<String> {
        let store = store.lock().unwrap();
        store.manifest().paths().map(ToString::to_string).collect()
    }

    /// The length is known, and the bytes cannot be read: what is recorded is kept until they can.
    #[cfg(unix)]
    #[tokio::test]
    async fn what_cannot_be_read_is_kept_for_the_next_run() {
        use std::os::unix::fs::symlink;

        let root = tempfile::tempdir().unwrap();
        let (dir, store) = (root.path(), store(root.path()));
        let candidates = vec![
            vouched(dir, "line", Voucher::Line),
            vouched(dir, "row", Voucher::Row),
            vouched(dir, "good", Voucher::Line),
            vouched(dir, "other", Voucher::Line),
        ];
        std::fs::write(dir.join("other"), "OTHER").unwrap();
        let lines = candidates.iter().filter_map(|candidate| Some((candidate.path.clone(), candidate.line?)));
        store.lock().unwrap().set_unsettled(lines.collect());
        let expected = BTreeMap::from([(candidates[0].path.clone(), candidates[0].line.unwrap())]);
        let row = candidates[1].memory.clone().unwrap();
        let here = look(dir, candidates);
        // A link to itself: no user may read it, root included.
        for name in ["line", "row"] {
            std::fs::remove_file(dir.join(name)).unwrap();
            symlink(name, dir.join(name)).unwrap();
        }
        let judged = judge_all(dir, here, None, &Digests::default(), true, &Stop::new());
        let reclaimed = record(&mut store.lock().unwrap(), judged).unwrap();
        let names = |paths: &[RelPath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(reclaimed.is_whole);
        assert_eq!(names(&reclaimed.unreadable), ["line", "row"]);
        assert_eq!(names(&reclaimed.differing), ["other"]);
        assert_eq!(paths(&store), ["good"]);
        assert_eq!(*store.lock().unwrap().unsettled(), expected, "no line is added");
        let key = examples::key(ArtifactKind::Checkpoint, "row");
        assert_eq!(
            reclaimed.unread,
            HashMap::from([(key, row.adopted(None))]),
            "what has a row stays in its row"
        );
    }

    #[tokio::test]
    async fn a_stop_ends_the_second_reading_between_two_files() {
        let root = tempfile::tempdir().unwrap();
        let (dir, store) = (root.path(), store(root.path()));
        let candidates = || {
            let of = |(name, voucher)| vouched(dir, name, voucher);
            [("a", Voucher::Line), ("b", Voucher::Row), ("c", Voucher::Line)].map(of).to_vec()
        };
        let lines: BTreeMap<RelPath, Sha256Digest> = candidates()
            .iter()
            .filter_map(|candidate| Some((candidate.path.clone(), candidate.line?)))
            .collect();
        store.lock().unwrap().set_unsettled(lines.clone());
        let here = look(dir, candidates());
        let unread = here.iter().map(|here| Unread { path: here.candidate.path.to_path(dir), size: 1 });
        let (digests, is_whole) = read_ahead(unread.collect(), &silent, &Stop::new()).await;
        assert!(is_whole);
        let stop = Stop::new();
        stop.stop(ExitStatus::Interrupted);
        let judged = judge_all(dir, here, None, &digests, true, &stop);
        let reclaimed = record(&mut store.lock().unwrap(), judged).unwrap();
        assert!(!reclaimed.is_whole, "two files are left");
        assert_eq!(paths(&store), ["b"], "its row has how it was proven");
        assert_eq!(*store.lock().unwrap().unsettled(), lines, "the list keeps them");
        // The next run continues.
        let reclaimed = reclaim(dir, &store, candidates(), None, &silent, &Stop::new()).await.unwrap();
        assert!(reclaimed.is_whole && store.lock().unwrap().unsettled().is_empty());
        assert_eq!(paths(&store).len(), 3);
    }
}
