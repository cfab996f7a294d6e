//! The manifest on disk: a sealed snapshot and an append-only journal of sealed lines beside it.
//!
//! Appending is O(1) for a batch; a torn last line is dropped; a damaged snapshot is put aside, never believed, and
//! never overwritten. Records carry a running number, so replaying a journal that was not cut yet changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::edge::folder::checksummed;
use crate::edge::folder::journal::{self, Journal};
use crate::edge::folder::unflushed::Unflushed;
use crate::edge::system::disk;
use crate::edge::system::disk::{Durability, fault};
use crate::error::{Error, NoMirror, Unfit};
use crate::model::digest::Sha256Digest;
use crate::model::job::JobId;
use crate::model::manifest::{Manifest, Record};
use crate::model::names::rel_path::RelPath;

/// The layout of snapshot and journal. A newer one is refused, so that an old rcsync never damages it.
const FORMAT: u32 = 1;

/// A journal longer than this (and than the manifest) is folded into the snapshot.
const COMPACT_FROM: u64 = 512;

/// A snapshot is written once in hundreds of records: one that changes under this many readings in a row is on a disk
/// that does not know a file again.
const MOST_PEEKS: u32 = 10;

/// The private folder below DIR.
pub const PRIVATE: &str = ".rcsync";

/// A snapshot larger than this is not ours: 50,000 entries take about 30 MB.
const SNAPSHOT_BOUND: u64 = 1 << 30;

/// A journal line longer than this is not ours.
const LINE_BOUND: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Snapshot<M> {
    format: u32,
    sequence: u64,
    manifest: M,
}

#[derive(Serialize, Deserialize)]
struct Line<R> {
    sequence: u64,
    record: R,
}

/// The manifest of one folder, open for writing. Its owner holds the folder's lock.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Shared with readers that need it for longer than the lock is held; a change then makes a copy first.
    manifest: Arc<Manifest>,
    sequence: u64,
    journal: Option<Journal>,
    lines: u64,
    /// The disk refused a part of the journal: it is unknown what of it is there, so nothing may be added to it.
    is_spoilt: bool,
    /// Lines of `SHA256SUMS` whose files the manifest does not know: they stay in the list until it is settled what they
    /// are.
    unsettled: BTreeMap<RelPath, Sha256Digest>,
    /// Files of the manifest that were not in the folder when it was last looked at, if it was.
    gone: Option<BTreeSet<RelPath>>,
    /// Names that are to be durable before the next record is.
    unflushed: Arc<Unflushed>,
}

/// What loading found besides the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// There was no snapshot.
    pub is_new: bool,
    /// The snapshot could not be read and was put aside.
    pub snapshot: bool,
    /// Journal lines that could not be read and were dropped.
    pub lines: u64,
}

impl Store {
    fn new(folder: PathBuf, manifest: Manifest, sequence: u64) -> Self {
        Self {
            folder,
            manifest: Arc::new(manifest),
            sequence,
            journal: None,
            lines: 0,
            is_spoilt: false,
            unsettled: BTreeMap::new(),
            gone: None,
            unflushed: Arc::default(),
        }
    }

    /// Loads what is known of a folder, or begins anew. `recorded`: the job that its `job.json` is of, which decides where there
    /// is no manifest.
    ///
    /// # Errors
    /// When the disk refuses, or the folder belongs to another job, another API or a newer rcsync.
    pub fn load(
        dir: &Path,
        job: &JobId,
        origin: &str,
        recorded: impl FnOnce() -> Option<JobId>,
    ) -> Result<(Self, Damage), Error> {
        let folder = dir.join(PRIVATE);
        let mut damage = Damage::default();
        let (manifest, sequence) = match read_snapshot(&folder)? {
            Loaded::Nothing => {
                ensure_no_other_job(dir, job, recorded())?;
                damage.is_new = true;
                (Manifest::new(job.clone(), origin.to_owned()), 0)
            }
            Loaded::Damaged => {
                ensure_no_other_job(dir, job, recorded())?;
                damage.snapshot = true;
                let aside = disk::private_name(&folder, "manifest", "damaged");
                let path = folder.join("manifest.json");
                disk::rename(&path, &aside).map_err(fault("put aside", &path))?;
                (Manifest::new(job.clone(), origin.to_owned()), 0)
            }
            Loaded::Snapshot(snapshot) => (snapshot.manifest, snapshot.sequence),
        };
        ensure_fit(dir, &manifest, job, origin)?;
        let mut store = Self::new(folder, manifest, sequence);
        damage.lines = store.replay()?;
        Ok((store, damage))
    }

    /// Reads what is known of a folder without changing anything: for `ls` and `verify`, beside a running rcsync too.
    ///
    /// # Errors
    /// When the disk refuses, there is no manifest, or it cannot be read by this version.
    pub fn peek(dir: &Path) -> Result<Manifest, Error> {
        Self::peek_while(dir, || ())
    }

    /// The same; `meanwhile` is what others do between the look at the snapshot and the one at the journal.
    fn peek_while(dir: &Path, mut meanwhile: impl FnMut()) -> Result<Manifest, Error> {
        let folder = dir.join(PRIVATE);
        let path = folder.join("manifest.json");
        let mut tries = 0;
        loop {
            let before = stamp(&path);
            let (manifest, sequence) = match read_snapshot(&folder)? {
                Loaded::Snapshot(snapshot) => (snapshot.manifest, snapshot.sequence),
                Loaded::Nothing => return Err(Error::NoInput(path)),
                Loaded::Damaged => {
                    let (path, why) = (dir.to_path_buf(), NoMirror::Damaged);
                    return Err(Error::NoMirror { path, why, job: None });
                }
            };
            meanwhile();
            let mut store = Self::new(folder.clone(), manifest, sequence);
            store.replay()?;
            // Had the journal been folded into a new snapshot meanwhile, its records would be in neither of the two.
            tries += 1;
            if stamp(&path) == before || tries == MOST_PEEKS {
                return Ok(Arc::unwrap_or_clone(store.manifest));
            }
        }
    }

    /// Returns what is known. A clone of it costs nothing and stays as it is.
    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Returns the lines of `SHA256SUMS` that no entry has yet.
    #[must_use]
    pub const fn unsettled(&self) -> &BTreeMap<RelPath, Sha256Digest> {
        &self.unsettled
    }

    /// Replaces them.
    pub fn set_unsettled(&mut self, lines: BTreeMap<RelPath, Sha256Digest>) {
        self.unsettled = lines;
    }

    /// Whether a file of the manifest may be gone from the folder: the last look did not find it, or there was none.
    #[must_use]
    pub(crate) fn may_be_gone(&self, path: &RelPath) -> bool {
        self.gone.as_ref().is_none_or(|gone| gone.contains(path))
    }

    /// Takes in which files of the manifest a look at the folder did not find.
    pub(crate) fn set_gone(&mut self, paths: BTreeSet<RelPath>) {
        self.gone = Some(paths);
    }

    /// Returns the folders whose names are not durable yet.
    #[must_use]
    pub(crate) const fn unflushed(&self) -> &Arc<Unflushed> {
        &self.unflushed
    }

    /// Writes a snapshot where there is none, so that the next run knows this folder.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn establish(&self) -> Result<(), Error> {
        if self.folder.join("manifest.json").exists() {
            return Ok(());
        }
        self.snapshot()?;
        self.unflushed.flush()
    }

    /// Returns the number of the last record: while it stays, so does the manifest.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Takes records in and makes them durable, all with one flush.
    ///
    /// # Errors
    /// When the disk refuses; the records then count as not written.
    pub fn append(&mut self, records: Vec<Record>) -> Result<(), Error> {
        self.write(records, Durability::Durable)
    }

    /// Takes records in; a crash may forget them. Fit for what the next run finds out by itself.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note(&mut self, records: Vec<Record>) -> Result<(), Error> {
        self.write(records, Durability::Hopeful)
    }

    fn write(&mut self, records: Vec<Record>, durability: Durability) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let path = self.folder.join("journal.jsonl");
        if self.is_spoilt {
            // What was refused may be in it all the same, under numbers that count as free, and what was flushed
            // in vain may be lost: the manifest is written anew, from what is known to be true.
            self.fold()?;
        }
        let is_durable = durability == Durability::Durable;
        if is_durable && self.journal.is_none() && !self.folder.join("manifest.json").exists() {
            return self.begin(records);
        }
        let before = self.sequence;
        let sequence = before + records.len() as u64;
        let unflushed = self.unflushed.clone();
        let journal = self.open_journal(&path)?;
        // What a durable record is about, and the journal itself, must not be lost with a name. Where there is a record, the
        // folders that the first one depends on are durable.
        if is_durable || before == 0 {
            unflushed.flush()?;
        }
        let written =
            journal.append((before + 1..).zip(&records).map(|(sequence, record)| Line { sequence, record }));
        let flushed = if is_durable { written.and_then(|()| journal.flush()) } else { written };
        if let Err(error) = flushed {
            self.is_spoilt = true;
            // Their numbers are used up, so that they do not come back from a journal that was not removed yet.
            self.sequence = sequence;
            return Err(error);
        }
        self.sequence = sequence;
        self.lines += records.len() as u64;
        let manifest = Arc::make_mut(&mut self.manifest);
        for record in records {
            manifest.apply(record);
        }
        Ok(())
    }

    /// Writes the first records as a part of the first snapshot: a new journal would take a flush of its own.
    fn begin(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let before = self.manifest.clone();
        self.sequence += records.len() as u64;
        let manifest = Arc::make_mut(&mut self.manifest);
        for record in records {
            manifest.apply(record);
        }
        let begun = self.snapshot().and_then(|()| {
            // With a name that is flushed together with the snapshot's.
            self.open_journal(&self.folder.join("journal.jsonl"))?;
            self.unflushed.flush()
        });
        if begun.is_err() {
            // What was refused may be on the disk all the same: the numbers are used up.
            self.manifest = before;
            self.is_spoilt = true;
        }
        begun
    }

    /// Folds the journal into the snapshot where that is worth it. The first snapshot of a folder is always written.
    ///
    /// # Errors
    /// When the disk refuses; nothing is lost then.
    pub fn compact(&mut self) -> Result<(), Error> {
        let entries = self.manifest.entries.len() as u64;
        let path = self.folder.join("manifest.json");
        if !self.is_spoilt && (self.lines == 0 || path.exists() && self.lines < COMPACT_FROM.max(entries)) {
            return Ok(());
        }
        self.fold()
    }

    fn fold(&mut self) -> Result<(), Error> {
        self.snapshot()?;
        self.unflushed.flush()?;
        let journal = self.folder.join("journal.jsonl");
        self.journal = None;
        disk::remove(&journal)?;
        self.lines = 0;
        self.is_spoilt = false;
        Ok(())
    }

    /// Writes the snapshot; its name is durable when the folder is flushed next.
    fn snapshot(&self) -> Result<(), Error> {
        let path = self.folder.join("manifest.json");
        let snapshot = Snapshot { format: FORMAT, sequence: self.sequence, manifest: self.manifest.as_ref() };
        let mut text = checksummed::seal(&snapshot).map_err(|error| fault("write", &path)(error.into()))?;
        text.push('\n');
        disk::replace(&path, &self.folder, text.as_bytes(), Durability::Whole)?;
        self.unflushed.add(&self.folder);
        Ok(())
    }

    fn open_journal(&mut self, path: &Path) -> Result<&mut Journal, Error> {
        let journal = match self.journal.take() {
            Some(open) => open,
            None => {
                // A journal needs a snapshot to name its job, so that `.rcsync` never speaks of an unknown one.
                if !self.folder.join("manifest.json").exists() {
                    self.snapshot()?;
                }
                let fresh = !path.exists();
                // Another process may have torn the last line since it was read.
                let journal = Journal::open(path, !fresh)?;
                if fresh {
                    self.unflushed.add(&self.folder);
                }
                journal
            }
        };
        Ok(self.journal.insert(journal))
    }

    /// Replays the journal; returns how many lines could not be read.
    fn replay(&mut self) -> Result<u64, Error> {
        // Two that both got the lock number their lines each on their own: the order in the file is what counts.
        let folded = self.sequence;
        let (sequence, manifest) = (&mut self.sequence, &mut self.manifest);
        let path = self.folder.join("journal.jsonl");
        let found = journal::read(&path, LINE_BOUND, |line: Line<Record>| {
            // What has a number up to this is in the snapshot: the journal was not cut after it was folded in.
            if line.sequence > folded {
                *sequence = (*sequence).max(line.sequence);
                Arc::make_mut(manifest).apply(line.record);
            }
        })?;
        self.lines += found.lines;
        Ok(found.damaged)
    }
}

/// What distinguishes a snapshot from the one that takes its place.
fn stamp(path: &Path) -> Option<(u64, u64, Option<i64>)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    #[cfg(unix)]
    let node = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let node = 0;
    Some((node, metadata.len(), disk::modified(&metadata)))
}

enum Loaded {
    Nothing,
    Damaged,
    Snapshot(Box<Snapshot<Manifest>>),
}

/// Finds out whether a folder without a manifest that can be read is another job's, by its `job.json`: this job's files among
/// the other one's would be under one list, and the other job's record would be lost.
///
/// # Errors
/// When it is.
pub(crate) fn ensure_no_other_job(dir: &Path, job: &JobId, recorded: Option<JobId>) -> Result<(), Error> {
    match recorded {
        Some(other) if other != *job => {
            Err(Error::FolderUnfit { path: dir.to_path_buf(), why: Unfit::OtherJob(other) })
        }
        _ => Ok(()),
    }
}

/// Finds out whether a folder mirrors this job, from there.
///
/// # Errors
/// When it does not.
pub(crate) fn ensure_fit(dir: &Path, manifest: &Manifest, job: &JobId, origin: &str) -> Result<(), Error> {
    let unfit = |why| Err(Error::FolderUnfit { path: dir.to_path_buf(), why });
    if manifest.job != *job {
        return unfit(Unfit::OtherJob(manifest.job.clone()));
    }
    if manifest.origin != origin {
        return unfit(Unfit::OtherOrigin(manifest.origin.clone()));
    }
    Ok(())
}

fn read_snapshot(folder: &Path) -> Result<Loaded, Error> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let path = folder.join("manifest.json");
    let file = match disk::open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
        Err(error) => return Err(fault("read", &path)(error)),
    };
    let text = match disk::text_of(&file, SNAPSHOT_BOUND) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Ok(Loaded::Damaged),
        Err(error) => return Err(fault("read", &path)(error)),
    };
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if let Some(FormatOnly { format }) = checksummed::unseal(text)
        && format > FORMAT
    {
        let why = Unfit::NewerFormat { found: format, known: FORMAT };
        return Err(Error::FolderUnfit { path: disk::parent(folder).to_path_buf(), why });
    }
    Ok(checksummed::unseal(text).map_or(Loaded::Damaged, |snapshot| Loaded::Snapshot(Box::new(snapshot))))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::fs;
    use std::rc::Rc;

    use super::*;
    use crate::edge::system::trace::{Change, Witness, call, dismiss};
    use crate::model::artifact::{ArtifactKey, ArtifactKind};
    use crate::model::digest::Sha256Digest;
    use crate::model::evidence::Evidence;
    use crate::model::manifest::{Doubt, Entry, EntryState, Older, Prepared};
    use crate::model::names::rel_path::RelPath;
    use crate::model::revision::{Etag, LastModified, Revision};

    fn key(number: u32) -> ArtifactKey {
        ArtifactKey { kind: ArtifactKind::Sample, path: format!("/output/x/samples/{number}.jpg").into() }
    }

    fn entry(number: u32) -> Entry {
        let path = |name: String| RelPath::parse(&name).unwrap();
        Entry {
            path: path(format!("samples/{number}.jpg")),
            step: Some(u64::from(number)),
            size: 7,
            sha256: Sha256Digest::new([7; 32]),
            evidence: Evidence::TrainerHash,
            revision: Revision {
                etag: Some(Etag::parse("\"a\"").unwrap()),
                last_modified: Some(LastModified { seconds: 5, strong: true }),
                length: Some(7),
            },
            run: "2026-01-31T12:00:00/2026-01-31T13:00:00".into(),
            modified: Some(1_790_000_000_123_456_789),
            state: EntryState::Pruned,
            older: vec![Older {
                path: path(format!("samples/{number}~07070707.jpg")),
                size: 3,
                sha256: Sha256Digest::new([3; 32]),
            }],
        }
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(PRIVATE)).unwrap();
        dir
    }

    fn load(dir: &Path) -> (Store, Damage) {
        Store::load(dir, &"job".parse().unwrap(), "https://api.example", || None).unwrap()
    }

    fn records() -> Vec<Record> {
        let doubt = Doubt {
            sha256: Sha256Digest::new([1; 32]),
            revision: Revision::default(),
            after_end: true,
            read_twice: false,
            first_look: None,
        };
        vec![
            Record::Know { key: key(1), entry: entry(1) },
            Record::Prepare {
                key: key(2),
                prepared: Prepared { part: "x.part".to_owned(), entry: entry(2) },
            },
            Record::Doubt { key: key(3), doubt },
            Record::Know { key: key(2), entry: entry(2) },
            Record::Prepare {
                key: key(4),
                prepared: Prepared { part: "y.part".to_owned(), entry: entry(4) },
            },
        ]
    }

    #[test]
    fn a_reader_beside_a_compaction_sees_all_that_was_written() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        store.append(records()).unwrap();
        let known = store.manifest().clone();
        let mut compactions = 0;
        let seen = Store::peek_while(dir.path(), || {
            if compactions == 0 {
                compactions += 1;
                store.fold().unwrap();
            }
        });
        assert_eq!(seen.unwrap(), *known);
        assert_eq!(compactions, 1);
    }

    #[test]
    fn what_is_written_is_read_from_journal_and_from_snapshot() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        store.append(records()).unwrap();
        let known = store.manifest().clone();
        assert_eq!((known.entries.len(), known.prepared.len(), known.doubts.len()), (2, 1, 1));
        let (mut again, damage) = load(dir.path());
        assert_eq!((again.manifest(), damage), (&known, Damage::default()));
        again.lines = COMPACT_FROM;
        again.compact().unwrap();
        assert!(!dir.path().join(PRIVATE).join("journal.jsonl").exists());
        let (last, damage) = load(dir.path());
        assert_eq!((last.manifest(), damage), (&known, Damage::default()));
        assert_eq!(Store::peek(dir.path()).unwrap(), *known);
    }

    /// J2: on a disk that grants every lock two write, each with numbers of its own.
    #[test]
    fn of_two_writers_the_later_line_counts() {
        let dir = folder();
        let (mut one, _) = load(dir.path());
        one.append(vec![Record::Know { key: key(9), entry: entry(9) }]).unwrap();
        let (mut other, _) = load(dir.path());
        one.append(vec![Record::Know { key: key(1), entry: entry(1) }]).unwrap();
        let later = Entry { sha256: Sha256Digest::new([8; 32]), ..entry(1) };
        other.append(vec![Record::Know { key: key(1), entry: later.clone() }]).unwrap();
        assert_eq!(load(dir.path()).0.manifest().entries[&key(1)], later);
    }

    #[test]
    fn a_journal_cut_at_every_byte_claims_a_prefix() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        let mut prefixes = vec![store.manifest().clone()];
        for record in records() {
            store.append(vec![record]).unwrap();
            prefixes.push(store.manifest().clone());
        }
        let path = dir.path().join(PRIVATE).join("journal.jsonl");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (cut, _) = load(dir.path());
            assert!(prefixes.contains(cut.manifest()), "cut at {length}");
        }
        // Whatever a torn line looks like, the next record survives it.
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let (mut cut, _) = load(dir.path());
        cut.append(vec![Record::Know { key: key(9), entry: entry(9) }]).unwrap();
        assert!(load(dir.path()).0.manifest().entries.contains_key(&key(9)));
    }

    #[test]
    fn a_journal_that_was_not_cut_changes_nothing() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        store.append(records()).unwrap();
        let path = dir.path().join(PRIVATE).join("journal.jsonl");
        let journal = fs::read(&path).unwrap();
        store.append(vec![Record::Abandon { key: key(4) }]).unwrap();
        store.fold().unwrap();
        fs::write(&path, journal).unwrap();
        assert_eq!(load(dir.path()).0.manifest(), store.manifest());
    }

    #[test]
    fn a_record_that_the_disk_refused_takes_no_later_one_with_it() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        store.append(vec![Record::Know { key: key(1), entry: entry(1) }]).unwrap();
        let path = dir.path().join(PRIVATE).join("journal.jsonl");
        // What a full disk leaves: the first of three records whole, the second torn; none of them counts as written.
        let refused = Line { sequence: store.sequence + 1, record: &Record::Abandon { key: key(1) } };
        let mut torn = fs::read(&path).unwrap();
        torn.extend(checksummed::seal(&refused).unwrap().bytes());
        torn.extend(b"\n{\"crc32\":");
        store.journal = Some(Journal::read_only(&path));
        assert!(store.append(vec![Record::Know { key: key(2), entry: entry(2) }]).is_err(), "read-only");
        fs::write(&path, torn).unwrap();
        assert!(!store.manifest().entries.contains_key(&key(2)));
        store.append(vec![Record::Know { key: key(3), entry: entry(3) }]).unwrap();
        let (again, damage) = load(dir.path());
        assert_eq!((again.manifest(), damage), (store.manifest(), Damage::default()));
        assert!(again.manifest().entries.contains_key(&key(3)));
    }

    /// Refuses the change of this number, and each later one.
    struct Refusing(Cell<u32>);

    impl Witness for Refusing {
        fn allow(&self) -> std::io::Result<()> {
            self.0.set(self.0.get().saturating_sub(1));
            if self.0.get() == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn saw(&self, _: Change) {}
    }

    #[test]
    fn first_records_that_the_disk_refused_are_not_claimed_and_take_no_later_one_with_them() {
        let mut refused = 0;
        for at in 1.. {
            let dir = folder();
            let (mut store, _) = load(dir.path());
            store.unflushed().add(dir.path());
            call(Rc::new(Refusing(Cell::new(at))));
            let first = store.append(vec![Record::Know { key: key(1), entry: entry(1) }]);
            dismiss();
            assert_eq!(
                store.manifest().entries.contains_key(&key(1)),
                first.is_ok(),
                "refused at change {at}"
            );
            store.append(vec![Record::Know { key: key(2), entry: entry(2) }]).unwrap();
            let (again, damage) = load(dir.path());
            assert_eq!(
                (again.manifest(), damage),
                (store.manifest(), Damage::default()),
                "refused at change {at}"
            );
            if first.is_ok() {
                break;
            }
            refused += 1;
        }
        // Created, written, flushed, renamed; the journal created; two folders flushed.
        assert_eq!(refused, 7);
    }

    /// Keeps what was done to the disk.
    struct Watching(RefCell<Vec<Change>>);

    impl Witness for Watching {
        fn allow(&self) -> std::io::Result<()> {
            Ok(())
        }

        fn saw(&self, change: Change) {
            self.0.borrow_mut().push(change);
        }
    }

    #[test]
    fn what_a_record_is_about_is_durable_before_it() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        store.append(vec![Record::Know { key: key(1), entry: entry(1) }]).unwrap();
        let samples = dir.path().join("samples");
        fs::create_dir(&samples).unwrap();
        store.unflushed().add(&samples);
        let seen = Rc::new(Watching(RefCell::default()));
        call(seen.clone());
        let appended = store.append(vec![Record::Know { key: key(2), entry: entry(2) }]);
        dismiss();
        appended.unwrap();
        let seen = seen.0.borrow();
        let at = |wanted: fn(&Change) -> bool| seen.iter().position(wanted).unwrap();
        let flushed =
            at(|change| matches!(change, Change::FolderFlushed { path } if path.ends_with("samples")));
        assert!(flushed < at(|change| matches!(change, Change::Written { .. })), "{seen:?}");
    }

    #[test]
    fn a_damaged_snapshot_is_put_aside_and_a_foreign_one_is_refused() {
        let dir = folder();
        let (mut store, _) = load(dir.path());
        store.append(records()).unwrap();
        let other = Store::load(dir.path(), &"other".parse().unwrap(), "https://api.example", || None);
        assert!(matches!(other, Err(Error::FolderUnfit { .. })));
        let elsewhere =
            Store::load(dir.path(), &"job".parse().unwrap(), "https://elsewhere.example", || None);
        assert!(matches!(elsewhere, Err(Error::FolderUnfit { .. })));
        let path = dir.path().join(PRIVATE).join("manifest.json");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(load(dir.path()).1.snapshot);
        let newer = Snapshot { format: FORMAT + 1, sequence: 0, manifest: 5 };
        fs::write(&path, checksummed::seal(&newer).unwrap()).unwrap();
        let refused = Store::load(dir.path(), &"job".parse().unwrap(), "https://api.example", || None);
        assert!(matches!(refused, Err(Error::FolderUnfit { .. })));
        assert!(path.exists(), "a newer manifest is left alone");
    }
}
