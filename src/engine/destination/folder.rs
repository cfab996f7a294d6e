//! DIR, open for one run: its lock, its manifest, its parts, and its files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinError;

use crate::decide::mirror::awaited::Awaited;
use crate::decide::mirror::plan::Recollection;
use crate::decide::mirror::remembered::Remembered;
use crate::decide::mirror::snapshot::{JobSnapshot, Resumes};
use crate::decide::transfer::portions::Portions;
use crate::edge::folder::local_files::look_at_each;
use crate::edge::folder::lock::FolderLock;
use crate::edge::folder::manifest_store::{PRIVATE, Store, ensure_fit, ensure_no_other_job};
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::folder::reports;
use crate::edge::folder::reports::{Latest, Ledger};
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::edge::system::disk::fault;
use crate::engine::destination::{prune, recover};
use crate::engine::event::{Event, Notice, Reporter};
use crate::engine::stop::Stop;
use crate::error::Error;
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::digest::Sha256Digest;
use crate::model::job::{JobId, JobStatus};
use crate::model::job_file::{JobArtifact, JobHead};
use crate::model::listing::Listing;
use crate::model::local::{Local, LocalFile};
use crate::model::manifest::{Entry, Manifest, Record};
use crate::model::names::rel_path::RelPath;

mod upkeep;

use super::read_ahead::{Digests, Unread, read_ahead};
use super::recover::{Which, recover};

/// What an older `job.json` remembers, by file.
pub(crate) type Recollections = HashMap<ArtifactKey, Recollection>;

/// Which files paths are, by the rows of `job.json`, with their steps.
pub(crate) type RowsByPath = HashMap<RelPath, (ArtifactKey, Option<u64>)>;

/// DIR, open for one run. Dropping it gives the lock back.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) parts: PartFolder,
    pub(crate) recollections: Recollections,
    /// What `job.json` has as offered and missing.
    pub(crate) awaited: Awaited,
    /// Of the lines of `SHA256SUMS` whose paths the manifest does not have.
    pub(crate) rows_of_lines: RowsByPath,
    /// Whether these lines are of this job: `job.json` is not another job's.
    pub(crate) lines_are_ours: bool,
    /// The manifest began anew when this was opened.
    pub(crate) is_new: bool,
    /// There was a `SHA256SUMS` after this was opened.
    has_list: bool,
    pub(crate) resumes: Resumes,
    /// The end that an earlier run saw, and for how long nothing has changed since.
    pub(crate) known_end: Option<KnownEnd>,
    before: Arc<Mutex<Before>>,
    /// What `job.json` was last written from.
    pub(crate) latest: Arc<Latest>,
    pub(crate) place: Arc<FolderLock>,
}

/// An end of the job that an earlier run saw.
#[derive(Debug, Clone)]
pub(crate) struct KnownEnd {
    status: JobStatus,
    run: String,
    quiet_for: Duration,
}

impl KnownEnd {
    /// Returns for how long nothing has changed, where this look sees the same end.
    pub(crate) fn quiet_for(&self, looked: &JobSnapshot) -> Option<Duration> {
        (self.status == looked.status.status && self.run == looked.run()).then_some(self.quiet_for)
    }
}

/// What is known of a folder that is not open.
#[derive(Debug)]
pub(crate) struct Peeked {
    pub(crate) manifest: Manifest,
    pub(crate) recollections: Recollections,
    /// What earlier runs saw of the job's resumptions.
    pub(crate) resumes: Resumes,
}

impl Peeked {
    fn read(dir: &Path, job: &JobId, origin: &str) -> Result<Self, Error> {
        let mut manifest = match Store::peek(dir) {
            Ok(manifest) => {
                ensure_fit(dir, &manifest, job, origin)?;
                manifest
            }
            // A run begins anew then, and adopts what is here.
            Err(Error::NoInput(_) | Error::NoMirror { .. }) => {
                ensure_no_other_job(dir, job, recorded_job(dir))?;
                Manifest::new(job.clone(), origin.to_owned())
            }
            Err(error) => return Err(error),
        };
        let mut remembered = Remembered::default();
        let read = reports::read_job_keeping(dir, job, |row| {
            remembered.take(row, &manifest);
            false
        });
        let Some(read) = read else {
            // What was read is damaged, or of another job.
            return Ok(Self { manifest, recollections: Recollections::new(), resumes: Resumes::default() });
        };
        for record in remembered.pruned {
            manifest.apply(record);
        }
        Ok(Self { manifest, recollections: remembered.present, resumes: read.job.resumes() })
    }
}

/// What `job.json` has of files that are no longer offered, and what was offered last.
#[derive(Debug, Default)]
struct Before {
    rows: Arc<[JobArtifact]>,
    /// Hashes of their keys: they are many.
    offered: HashSet<u64>,
    /// Files that cannot be read, which no other record has.
    unread: Arc<HashMap<ArtifactKey, Entry>>,
}

impl Before {
    /// Keeps what is known of files that are no longer offered, and nothing else: the others are in the listing.
    fn update(&mut self, dir: &Path, job: &JobId, listed: &[Arc<Artifact>]) {
        let offered: HashSet<u64> = listed.iter().map(|artifact| hash(&artifact.key)).collect();
        let is_gone = |row: &JobArtifact| !offered.contains(&hash(&row.key()));
        if self.offered.is_subset(&offered) {
            if !self.rows.iter().all(is_gone) {
                self.rows = self.rows.iter().filter(|row| is_gone(row)).cloned().collect();
            }
        } else {
            let read = reports::read_job_keeping(dir, job, is_gone);
            self.rows = read.map(|read| read.artifacts.into()).unwrap_or_default();
        }
        self.offered = offered;
    }
}

/// Distinguishes keys. Of two with the same hash, which has never been seen, one could lose the words of its prompt.
fn hash(key: &ArtifactKey) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

/// Returns the job that `job.json` is of, where there is one.
fn recorded_job(dir: &Path) -> Option<JobId> {
    reports::read_any_head(dir).map(|head| head.job_id)
}

/// DIR with its lock taken and its manifest loaded. What a crash left is not settled yet.
struct Opening {
    dir: PathBuf,
    store: Store,
    parts: PartFolder,
    place: Arc<FolderLock>,
    /// The manifest begins anew.
    is_new: bool,
}

impl Opening {
    /// Creates what is missing, takes the lock and loads the manifest.
    fn begin(
        dir: &Path,
        job: &JobId,
        origin: &str,
        block: u64,
        reporter: &dyn Reporter,
    ) -> Result<Self, Error> {
        let is_made = disk::create_with_parents_unflushed(dir)?;
        let private = dir.join(PRIVATE);
        if !private.exists() {
            // Before anything is written there.
            ensure_no_other_job(dir, job, recorded_job(dir))?;
        }
        create_private(&private)?;
        let lock = Arc::new(FolderLock::take(dir)?);
        let parts = private.join("parts");
        create_private(&parts)?;
        if !lock.others().may_be_here() {
            remove_staged(&private)?;
            remove_staged(&parts)?;
        }
        let (store, damage) = Store::load(dir, job, origin, || recorded_job(dir))?;
        if store.sequence() == 0 {
            // Folders are durable before the first record in them; until then there is nothing to lose. A run that was killed
            // may have created them.
            if is_made {
                store.unflushed().add(disk::parent(dir));
            } else {
                // A folder above one that was there may be closed to this user.
                let _ = disk::flush_folder(disk::parent(dir));
            }
            store.unflushed().add(dir);
            store.unflushed().add(&private);
        } else if !store.manifest().prepared.is_empty() {
            // It was killed while files got their names: that of `.rcsync` may be no more durable than theirs.
            store.unflushed().add(dir);
        }
        if damage.snapshot {
            reporter.report(&Event::Notice { notice: Notice::ManifestDamaged });
        }
        let parts = PartFolder::beside(parts, lock.others(), block);
        let is_new = damage.is_new || damage.snapshot;
        Ok(Self { dir: dir.to_path_buf(), store, parts, place: lock, is_new })
    }

    /// The files whose bytes decide about what a crash left.
    fn unread(&self) -> Result<Vec<Unread>, Error> {
        let mut files = recover::unread(&self.dir, self.store.manifest(), &self.parts);
        files.extend(prune::unread(&self.dir, self.store.manifest())?);
        Ok(files)
    }

    /// Settles what was read, so that the next run need not read it again.
    fn keep(mut self, digests: &Digests) -> Result<(), Error> {
        recover(&self.dir, &mut self.store, &self.parts, digests, Which::Read).map(drop)
    }

    /// Settles what a crash left, and takes over what `job.json` remembers.
    fn finish(self, reporter: &dyn Reporter, digests: &Digests) -> Result<Folder, Error> {
        let Self { dir, mut store, parts, place, is_new } = self;
        let (dir, job) = (dir.as_path(), store.manifest().job.clone());
        // Before anything is written: what the list has beside the manifest's files stays in it until that is settled.
        store.set_unsettled(lines_without_entry(dir, store.manifest())?);
        recover(dir, &mut store, &parts, digests, Which::All)?;
        prune::finish(dir, &store, digests)?;
        prune::drop_old_optimizers(dir, &mut store, digests)?;
        forget_gone_versions(dir, &mut store, reporter)?;
        let (mut remembered, mut by_path) = (Remembered::default(), RowsByPath::new());
        let (mut offered, mut awaited) = (HashSet::new(), Awaited::default());
        let read = reports::read_job_keeping(dir, &job, |row| {
            if row.is_listed() {
                offered.insert(hash(&row.key()));
            }
            awaited.add(row);
            if store.unsettled().contains_key(row.path()) {
                by_path.insert(row.path().clone(), (row.key(), row.step()));
            }
            remembered.take(row, store.manifest());
            !row.is_listed()
        });
        if read.is_none() {
            // What was read is damaged, or of another job.
            remembered = Remembered::default();
            by_path.clear();
            offered.clear();
            awaited = Awaited::default();
        }
        let Remembered { present: recollections, pruned } = remembered;
        store.append(pruned)?;
        let has_list = dir.join("SHA256SUMS").exists();
        let lines_are_ours = recorded_job(dir).is_none_or(|recorded| recorded == job);
        let resumes = read.as_ref().map(|read| read.job.resumes()).unwrap_or_default();
        let known_end = read.as_ref().and_then(|read| read.job.end()).map(|(status, run)| {
            // A clock that was set back makes it new, which costs two looks.
            let changed = fs::metadata(dir.join("job.json")).and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|changed| changed.elapsed().ok());
            KnownEnd { status, run, quiet_for: age.unwrap_or_default() }
        });
        let rows = read.map(|read| read.artifacts).unwrap_or_default();
        let before = Arc::new(Mutex::new(Before { rows: rows.into(), offered, unread: Arc::default() }));
        let store = Arc::new(Mutex::new(store));
        Ok(Folder {
            dir: dir.to_path_buf(),
            store,
            parts,
            recollections,
            awaited,
            rows_of_lines: by_path,
            lines_are_ours,
            is_new,
            has_list,
            resumes,
            known_end,
            before,
            latest: Arc::default(),
            place,
        })
    }
}

impl Folder {
    /// Opens DIR: creates what is missing, takes the lock, loads the manifest and settles what a crash left, for which it may
    /// have to read many gigabytes. `None` where `stop` was used meanwhile: what was read by then is settled, and nothing is
    /// lost. `block`: bytes in one block of a part.
    pub(crate) async fn open(
        dir: &Path,
        job: &JobId,
        origin: &str,
        block: u64,
        reporter: &Arc<dyn Reporter>,
        stop: &Stop,
    ) -> Result<Option<Self>, Error> {
        let beginning = blocking({
            let (dir, job, origin, reporter) =
                (dir.to_path_buf(), job.clone(), origin.to_owned(), reporter.clone());
            move || {
                let opening = Opening::begin(&dir, &job, &origin, block, reporter.as_ref())?;
                let unread = opening.unread()?;
                Ok::<_, Error>((opening, unread))
            }
        });
        let (opening, unread) = beginning.await.map_err(lost("open", dir))??;
        let (digests, all) = read_ahead(unread, reporter.as_ref(), stop).await;
        let reporter = reporter.clone();
        let finishing = blocking(move || match all {
            true => opening.finish(reporter.as_ref(), &digests).map(Some),
            false => opening.keep(&digests).map(|()| None),
        });
        finishing.await.map_err(lost("open", dir))?
    }

    /// The same for a command that has nothing else to do: blocks until all is read.
    pub(crate) fn open_at_once(
        dir: &Path,
        job: &JobId,
        origin: &str,
        reporter: &dyn Reporter,
    ) -> Result<Self, Error> {
        let block = Portions::default().block;
        Opening::begin(dir, job, origin, block, reporter)?.finish(reporter, &Digests::default())
    }

    /// Reads what is known of a folder for `job`, without changing anything.
    pub(crate) async fn peek(dir: &Path, job: &JobId, origin: &str) -> Result<Peeked, Error> {
        let reading = blocking({
            let (dir, job, origin) = (dir.to_path_buf(), job.clone(), origin.to_owned());
            move || Peeked::read(&dir, &job, &origin)
        });
        reading.await.map_err(lost("read", dir))?
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the listed files their local names.
    pub(crate) fn listing(&self, looked: &JobSnapshot) -> Listing {
        Self::listing_for(self.lock().manifest(), &self.recollections, looked)
    }

    /// Gives the listed files their local names: those that they had before, where they had any.
    pub(crate) fn listing_for(
        manifest: &Manifest,
        recollections: &Recollections,
        looked: &JobSnapshot,
    ) -> Listing {
        let known = |key: &ArtifactKey| {
            let entry = manifest.entries.get(key).map(|entry| entry.path.clone());
            entry.or_else(|| recollections.get(key).map(|memory| memory.path.clone()))
        };
        let taken: Vec<&RelPath> = manifest
            .entries
            .values()
            .flat_map(|entry| std::iter::once(&entry.path).chain(entry.older.iter().map(|older| &older.path)))
            .collect();
        Listing::build(looked.name(), &looked.result.artifacts, &known, taken)
    }

    /// Reads what is at every listed and known path, and remembers which known files are gone.
    pub(crate) async fn look_around(&self, listing: &Listing) -> Result<Local, Error> {
        let manifest_paths = paths(self.lock().manifest(), listing);
        let local = look_at_all(self.dir.clone(), manifest_paths).await?;
        let mut store = self.lock();
        let known = store.manifest().entries.values().map(|entry| &entry.path);
        let is_here = |path: &RelPath| matches!(local.get(path), Some(LocalFile::File { .. }));
        let gone = known.filter(|path| !is_here(path)).cloned().collect();
        store.set_gone(gone);
        Ok(local)
    }

    /// The same, without a folder that is open.
    pub(crate) async fn look_at(dir: &Path, manifest: &Manifest, listing: &Listing) -> Result<Local, Error> {
        look_at_all(dir.to_path_buf(), paths(manifest, listing)).await
    }

    /// Rewrites `SHA256SUMS` and `job.json` where they differ, and folds a journal that has grown long: a run may last for
    /// weeks, and each reader of the folder reads all of it. They are written beside each other. Their names are durable
    /// when the folder is flushed next: by [`Self::flush`], or before the next record.
    pub(crate) async fn write_ledger(
        &self,
        looked: &JobSnapshot,
        listed: &[Arc<Artifact>],
        job: &JobId,
    ) -> Result<(), Error> {
        let manifest = self.lock().manifest().clone();
        let (dir, store) = (self.dir.clone(), self.store.clone());
        let folding = blocking(move || {
            // With the lock: what a commit is about to replace has left the list, and must not come back to it.
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            let listed = reports::write_sums(&dir, &store, |_| true);
            let folded = store.compact();
            listed.and(folded)
        });
        let (dir, before, latest) = (self.dir.clone(), self.before.clone(), self.latest.clone());
        let unflushed = self.lock().unflushed().clone();
        let (job, listed) = (JobHead::of(looked, job), listed.to_vec());
        let write_job = || async {
            let writing = blocking(move || {
                let (before, unread) = {
                    let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
                    before.update(&dir, &job.job_id, &listed);
                    (before.rows.clone(), before.unread.clone())
                };
                let ledger = Ledger { job, listed, before, unread };
                if ledger.write(&dir, &manifest)? {
                    unflushed.add(&dir);
                }
                latest.keep(&dir, ledger);
                Ok(())
            });
            writing.await.map_err(lost("write", &self.dir.join("job.json"))).unwrap_or_else(Err)
        };
        let folded = |folded: Result<Result<(), Error>, JoinError>| {
            folded.map_err(lost("write", &self.dir.join("SHA256SUMS"))).unwrap_or_else(Err)
        };
        if !self.lines_are_ours {
            // With this job's `job.json` beside them, the other job's lines would be taken for this job's after a kill.
            folded(folding.await)?;
            return write_job().await;
        }
        let (listed, written) = tokio::join!(folding, write_job());
        folded(listed).and(written)
    }
}

/// Forgets older versions of files that were deleted here: they are hosted nowhere, so they would be missing for ever. A
/// file that is still hosted is missing until it is here.
fn forget_gone_versions(dir: &Path, store: &mut Store, reporter: &dyn Reporter) -> Result<(), Error> {
    let mut gone = Vec::new();
    let mut records = Vec::new();
    for (key, entry) in &store.manifest().entries {
        let (kept, lost): (Vec<_>, Vec<_>) =
            entry.older.iter().cloned().partition(|older| disk::look(dir, older.path.as_str()).is_some());
        if !lost.is_empty() {
            gone.extend(lost.into_iter().map(|older| older.path));
            records.push(Record::Know { key: key.clone(), entry: Entry { older: kept, ..entry.clone() } });
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    store.append(records)?;
    for path in gone {
        reporter.report(&Event::Notice { notice: Notice::VersionGone(path) });
    }
    reports::write_sums(dir, store, |_| true)?;
    store.unflushed().flush()
}

/// Returns the lines of `SHA256SUMS` whose files are in DIR, and whose paths the manifest does not have. What is being pruned
/// is left out: the list must not have it any more before it is removed.
fn lines_without_entry(dir: &Path, manifest: &Manifest) -> Result<BTreeMap<RelPath, Sha256Digest>, Error> {
    let prepared = manifest.prepared.values().map(|prepared| &prepared.entry.path);
    let going = prune::read_list(dir)?.unwrap_or_default();
    let known: HashSet<&str> = manifest.paths().chain(prepared).chain(&going).map(RelPath::as_str).collect();
    let mut lines = reports::read_sums(dir, |path| !known.contains(path));
    let here: HashSet<RelPath> = look_at_each(dir, lines.keys().cloned())
        .filter(|(_, found)| matches!(found, LocalFile::File { .. }))
        .map(|(path, _)| path)
        .collect();
    lines.retain(|path, _| here.contains(path) || disk::is_out_of_reach(&path.to_path(dir)));
    Ok(lines)
}

/// Every listed and known path, once, in order.
fn paths(manifest: &Manifest, listing: &Listing) -> BTreeSet<RelPath> {
    let listed = listing.artifacts.iter().map(|artifact| &artifact.path);
    listed.chain(manifest.entries.values().map(|entry| &entry.path)).cloned().collect()
}

async fn look_at_all(dir: PathBuf, paths: BTreeSet<RelPath>) -> Result<Local, Error> {
    let looking = blocking({
        let dir = dir.clone();
        move || look_at_each(&dir, paths).collect()
    });
    looking.await.map_err(lost("look into", &dir))
}

/// Creates DIR, so that its name lasts as long as what is mirrored into it.
pub(crate) fn create(dir: &Path) -> Result<(), Error> {
    disk::create_with_parents(dir)
}

/// Creates a private folder; its name is durable when the folder above is flushed next.
fn create_private(folder: &Path) -> Result<(), Error> {
    match disk::make_folder(folder, &for_this_user_alone()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(folder).map_err(fault("read", folder))?;
            if metadata.is_dir() {
                return Ok(());
            }
            Err(fault("create", folder)(std::io::Error::from(std::io::ErrorKind::NotADirectory)))
        }
        Err(error) => Err(fault("create", folder)(error)),
    }
}

#[cfg(unix)]
fn for_this_user_alone() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Elsewhere a folder has the permissions of the one that it is in.
#[cfg(not(unix))]
fn for_this_user_alone() -> fs::DirBuilder {
    fs::DirBuilder::new()
}

/// Removes what replacing a file left when it was cut off.
fn remove_staged(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(fault("read", folder))? {
        let path = entry.map_err(fault("read", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("replace-") && name.ends_with(".tmp") {
            disk::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
