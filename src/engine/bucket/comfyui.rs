//! LoRAs from a bucket into a ComfyUI of this machine, whichever machine mirrored the job.
//!
//! What is wanted and not placed yet is fetched into a folder of this user, proven by the head's hash, placed from there as
//! from a mirror, and removed again. A fetch that broke continues with the next look: under a name are the same bytes for
//! ever. The record of what was placed is in that folder too, so the bucket is only read.

use std::collections::{BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::decide::bucket::head::{HEAD, Known};
use crate::decide::comfyui::loras::{Kinds, candidates};
use crate::decide::formats::safetensors_header::{LENGTH_BYTES, MAX_HEADER_BYTES, SafetensorsHeader};
use crate::decide::mirror::reported::is_news;
use crate::edge::bucket::Tag;
use crate::edge::folder::hashing::{feed_file, is_as_published};
use crate::edge::folder::manifest_store::PRIVATE;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk::{self, Durability, fault};
use crate::engine::event::{ComfyNotice, Event, Notice, Reporter};
use crate::engine::outputs::comfyui::lacking::{Lacking, Other};
use crate::engine::outputs::comfyui::{ComfyUi, Outcome, Patience};
use crate::engine::retry::Persistence;
use crate::engine::stop::Stop;
use crate::error::{BucketError, Error, ExitStatus};
use crate::model::destination::BucketUrl;
use crate::model::digest::{Sha256Digest, hex};
use crate::model::job::JobId;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, Manifest};
use crate::model::weights_kind::{WeightsKind, of_pickle};

use super::head_read::Found;
use super::options::{BucketOptions, connect};
use super::records::{JOB, JOB_BOUND};
use super::store::Store;

/// How often the head is looked at: one request.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// However quiet it is, what was removed from ComfyUI, or a disk that is there again, is found within this time.
const LOOK_ALL_EVERY: u32 = 6;

/// Bytes that are fetched at once.
const AT_ONCE: u64 = 8 << 20;

/// Enough for the header of most LoRAs, and for the list of a pickle's parts.
const FIRST: u64 = 1 << 20;

/// The folder of parts in the private folder.
const PARTS: &str = "parts";

/// One bucket that is followed for ComfyUI.
pub(crate) struct FromBucket {
    store: Store,
    comfy: Arc<ComfyUi>,
    /// A folder of this user for this bucket: files on their way, and the record of what was placed.
    shadow: PathBuf,
    /// What weights hold; `None` where their header cannot be read.
    kinds: HashMap<Sha256Digest, Option<WeightsKind>>,
    reported: Vec<ComfyNotice>,
    reporter: Arc<dyn Reporter>,
}

impl FromBucket {
    /// Gets ready; sends nothing. `state` is where this user's programs keep what they remember.
    ///
    /// # Errors
    /// When the environment's settings cannot be used.
    pub(crate) fn connect(
        url: &BucketUrl,
        options: &BucketOptions,
        comfy: Arc<ComfyUi>,
        state: &Path,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, Error> {
        let store = connect(url, options, Persistence::Pass)?.0.reporting(reporter.clone());
        Ok(Self::over(store, comfy, state, reporter))
    }

    /// The same over a store of the caller's.
    pub(super) fn over(store: Store, comfy: Arc<ComfyUi>, state: &Path, reporter: Arc<dyn Reporter>) -> Self {
        let name = hex(&Sha256::digest(store.url.to_string().as_bytes())[..8]);
        let shadow = state.join("buckets").join(name);
        Self { store, comfy, shadow, kinds: HashMap::new(), reported: Vec::new(), reporter }
    }

    /// Where files are on their way.
    #[cfg(test)]
    pub(super) fn shadow(&self) -> &Path {
        &self.shadow
    }

    /// Places what is there, and continues as files come, until `stop` is used. Trouble is reported and waited out.
    pub(crate) async fn watch(mut self, stop: Stop) -> ExitStatus {
        let mut seen: Option<Tag> = None;
        let mut looks = 0_u32;
        loop {
            let looked = tokio::select! {
                biased;
                () = stop.token().cancelled() => return stop.status(),
                looked = self.store.stat(HEAD) => looked,
            };
            let now = match looked {
                Ok(found) => found.map(|meta| meta.tag),
                Err(error) => {
                    self.report_trouble(&error);
                    None
                }
            };
            if now.is_some() && (now != seen || looks.is_multiple_of(LOOK_ALL_EVERY)) {
                let placing = self.once(Patience::Wait);
                let placed = tokio::select! {
                    biased;
                    () = stop.token().cancelled() => return stop.status(),
                    placed = placing => placed,
                };
                // A look that failed, or was in the middle of something, is no look: the next one tries again.
                let is_done = placed.as_ref().is_ok_and(|outcome| outcome.unsettled == 0);
                if let Err(error) = placed {
                    self.report_trouble(&error);
                }
                seen = now.filter(|_| is_done);
            }
            looks = looks.wrapping_add(1);
            tokio::select! {
                biased;
                () = stop.token().cancelled() => return stop.status(),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn report_trouble(&mut self, error: &Error) {
        let notice = ComfyNotice::Incomplete { error: error.clone(), again: true };
        self.report_once(notice, |notice| Event::Trouble { notice });
    }

    fn report_once(&mut self, notice: ComfyNotice, event: impl FnOnce(Notice) -> Event) {
        if is_news(&mut self.reported, &notice) {
            self.reporter.report(&event(Notice::ComfyUi(notice)));
        }
    }

    /// Fetches and places what is not placed yet, and removes what has to go.
    ///
    /// # Errors
    /// When the store or a disk refuses. What was placed until then stays and is recorded.
    pub(crate) async fn once(&mut self, patience: Patience) -> Result<Outcome, Error> {
        let known = Found::peek(&self.store).await?.known;
        self.prepare().await?;
        let kinds = self.kinds_of(&known.manifest).await?;
        let name = self.name(&known.manifest.job).await;
        let lacking = self.comfy.lacking(&self.shadow, &known.manifest, name.as_deref(), &kinds);
        for (path, other) in &lacking.others {
            let notice = match other {
                Other::Kind(kind) => ComfyNotice::NotALora { path: path.clone(), kind: *kind },
                Other::NoFolder => ComfyNotice::NoFolderForEmbedding(path.clone()),
            };
            self.report_once(notice, |notice| Event::Notice { notice });
        }
        let mut unsettled = lacking.unread.clone();
        for entry in &lacking.files {
            if !self.fetch(entry).await? {
                unsettled.push(entry.path.clone());
            }
        }
        for path in &unsettled {
            let notice = ComfyNotice::ChangedInBucket(path.clone());
            self.report_once(notice, |notice| Event::Notice { notice });
        }
        let mut outcome = self.place(&known, &lacking, patience).await?;
        outcome.unsettled += unsettled.len() as u64;
        outcome.halves = lacking.halves;
        self.tidy(&known.manifest, name.as_deref(), &kinds).await;
        Ok(outcome)
    }

    /// Makes the folder, and writes what the bucket has of the job, from which its name is read.
    async fn prepare(&self) -> Result<(), Error> {
        let job = self.store.small_of_ours(JOB, JOB_BOUND).await?;
        let shadow = self.shadow.clone();
        let preparing = blocking(move || {
            let parts = shadow.join(PRIVATE).join(PARTS);
            disk::create_with_parents(&parts)?;
            if let Some(job) = job {
                let (path, staging) = (shadow.join(JOB), shadow.join(PRIVATE));
                disk::replace_if_changed(&path, &staging, Durability::Durable, |text| text.write_all(&job))?;
            }
            Ok(())
        });
        preparing.await.map_err(lost("prepare", &self.shadow))?
    }

    async fn name(&self, job: &JobId) -> Option<String> {
        let (comfy, shadow, job) = (self.comfy.clone(), self.shadow.clone(), job.clone());
        blocking(move || comfy.name_in(&shadow, &job)).await.ok().flatten()
    }

    /// Finds out what all candidates hold. What was placed is known; of others the first bytes are read.
    async fn kinds_of(&mut self, manifest: &Manifest) -> Result<Kinds, Error> {
        let mut kinds = self.comfy.placed_kinds(&self.shadow);
        let wanted: Vec<Entry> =
            candidates(manifest, self.comfy.weights()).map(|(_, entry)| entry.clone()).collect();
        for entry in wanted {
            if kinds.contains_key(&entry.sha256) {
                continue;
            }
            let kind = match self.kinds.get(&entry.sha256) {
                Some(kind) => *kind,
                None => self.read_kind(&entry).await?,
            };
            self.kinds.insert(entry.sha256, kind);
            kinds.extend(kind.map(|kind| (entry.sha256, kind)));
        }
        Ok(kinds)
    }

    async fn read_kind(&self, entry: &Entry) -> Result<Option<WeightsKind>, Error> {
        let is_safetensors = entry.path.stem_and_extension().1.eq_ignore_ascii_case(".safetensors");
        let Some(first) = self.read(entry, 0..FIRST.min(entry.size)).await? else { return Ok(None) };
        if !is_safetensors {
            return Ok(of_pickle(&first));
        }
        let Some(length) = first.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return Ok(None);
        };
        let end = length.saturating_add(LENGTH_BYTES);
        if length > MAX_HEADER_BYTES || end > entry.size {
            return Ok(None);
        }
        let whole = if end <= first.len() as u64 { Some(first) } else { self.read(entry, 0..end).await? };
        let header = whole.and_then(|bytes| {
            let end = usize::try_from(end).ok()?;
            SafetensorsHeader::parse(bytes.get(usize::try_from(LENGTH_BYTES).ok()?..end)?).ok()
        });
        Ok(header.map(|header| header.kind.unwrap_or(WeightsKind::FullModel)))
    }

    async fn read(&self, entry: &Entry, range: std::ops::Range<u64>) -> Result<Option<bytes::Bytes>, Error> {
        let key = entry.path.as_str();
        let read = || self.store.bucket.get(key, Some(range.clone()));
        Ok(self.store.ask("read", key, read).await?.map(|object| object.bytes))
    }

    /// Fetches a file, or the rest of it; `false` where what is there is not what was published.
    async fn fetch(&self, entry: &Entry) -> Result<bool, Error> {
        let to = entry.path.to_path(&self.shadow);
        let (root, path) = (self.shadow.clone(), entry.path.clone());
        let looking = blocking(move || disk::look(&root, path.as_str()));
        let here = looking.await.map_err(lost("read", &to))?;
        if matches!(here, Some(LocalFile::File { size, .. }) if size == entry.size) {
            return Ok(true);
        }
        let part = self.shadow.join(PRIVATE).join(PARTS).join(entry.sha256.to_string());
        let mut have = begin_part(&part, entry.size).await?;
        let (mut hash, mut at) = (have.hash.take(), have.length);
        while at < entry.size {
            let Some(bytes) = self.read(entry, at..(at + AT_ONCE).min(entry.size)).await? else {
                break;
            };
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            let (path, hashed) = (part.clone(), hash.take().unwrap_or_default());
            let writing = blocking(move || append(&path, &bytes, hashed));
            hash = Some(writing.await.map_err(lost("write", &part))??);
            self.reporter.report(&Event::Received {
                path: entry.path.clone(),
                have: at,
                size: Some(entry.size),
            });
        }
        let found = Sha256Digest::new(hash.unwrap_or_default().finalize().into());
        let is_it = at == entry.size && found == entry.sha256;
        let (root, from) = (self.shadow.clone(), part.clone());
        let naming = blocking(move || {
            if !is_it {
                return disk::remove(&from);
            }
            disk::create_folders(&root, disk::parent(&to))?;
            disk::rename(&from, &to).map_err(fault("rename", &to))
        });
        naming.await.map_err(lost("rename", &part))??;
        Ok(is_it)
    }

    /// Places what is in the folder.
    async fn place(&self, known: &Known, lacking: &Lacking, patience: Patience) -> Result<Outcome, Error> {
        let (comfy, shadow, reporter) = (self.comfy.clone(), self.shadow.clone(), self.reporter.clone());
        let mut manifest = known.manifest.clone();
        let weights: BTreeSet<Sha256Digest> =
            candidates(&manifest, comfy.weights()).map(|(_, entry)| entry.sha256).collect();
        let (fetched, placed) = (lacking.files.clone(), lacking.placed.clone());
        let placing = blocking(move || {
            manifest.entries.retain(|_, entry| {
                let is_fetched = fetched.iter().any(|file| file.sha256 == entry.sha256);
                if is_fetched {
                    let found = disk::look(&shadow, entry.path.as_str());
                    entry.modified = match found {
                        Some(LocalFile::File { modified, .. }) => modified,
                        _ => None,
                    };
                    return found.is_some() && is_as_published(&shadow, entry);
                }
                // Other weights are not here, and nothing is asked of them.
                !weights.contains(&entry.sha256) || placed.contains(&entry.sha256)
            });
            comfy.place(&shadow, &manifest.job, &manifest, patience, reporter.as_ref())
        });
        placing.await.map_err(lost("look into", &self.shadow))?
    }

    /// Removes files that are placed, and parts of files that are wanted no more. What could not be placed stays, so that it
    /// is not fetched at every look.
    async fn tidy(&self, manifest: &Manifest, name: Option<&str>, kinds: &Kinds) {
        let left = self.comfy.lacking(&self.shadow, manifest, name, kinds);
        let wanted: BTreeSet<Sha256Digest> = left.files.iter().map(|entry| entry.sha256).collect();
        let going: Vec<PathBuf> = manifest
            .entries
            .values()
            .filter(|entry| !wanted.contains(&entry.sha256) && !is_pickle(entry))
            .map(|entry| entry.path.to_path(&self.shadow))
            .collect();
        let parts = self.shadow.join(PRIVATE).join(PARTS);
        let tidying = blocking(move || {
            for path in going {
                // One that stays costs room, and the next look tries again.
                let _ = disk::remove(&path);
            }
            for part in std::fs::read_dir(&parts).into_iter().flatten().flatten() {
                let name = part.file_name();
                if !wanted.iter().any(|sha256| name.to_str() == Some(&*sha256.to_string())) {
                    // The same holds for a part.
                    let _ = disk::remove(&part.path());
                }
            }
        });
        // What is left costs room alone, and the next look tries again.
        let _ = tidying.await;
    }
}

/// A pickle's list of parts is read at every look, so it stays.
fn is_pickle(entry: &Entry) -> bool {
    let (_, extension) = entry.path.stem_and_extension();
    [".pt", ".pth", ".bin", ".ckpt"].iter().any(|pickle| extension.eq_ignore_ascii_case(pickle))
}

/// What an earlier look left of a file.
struct Begun {
    length: u64,
    hash: Option<Sha256>,
}

/// Hashes what is there of a part; one that is too long is no part.
async fn begin_part(part: &Path, size: u64) -> Result<Begun, Error> {
    let path = part.to_path_buf();
    let reading = blocking(move || {
        let mut hash = Sha256::new();
        let length = match path.is_file() {
            true => feed_file(&path, |bytes| hash.update(bytes))?,
            false => 0,
        };
        if length > size {
            disk::remove(&path)?;
            return Ok(Begun { length: 0, hash: None });
        }
        Ok(Begun { length, hash: Some(hash) })
    });
    reading.await.map_err(lost("read", part))?
}

fn append(path: &Path, bytes: &[u8], mut hash: Sha256) -> Result<Sha256, Error> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let file = disk::open(path, &options).map_err(fault("write", path))?;
    disk::append(&file, bytes).map_err(fault("write", path))?;
    hash.update(bytes);
    Ok(hash)
}

/// Returns the job that was mirrored to a bucket. A store that does not answer is reported.
///
/// # Errors
/// When nothing was, or the store refuses.
pub(crate) async fn job(
    url: &BucketUrl,
    options: &BucketOptions,
    persistence: Persistence,
    reporter: Arc<dyn Reporter>,
) -> Result<JobId, Error> {
    let store = connect(url, options, persistence)?.0.reporting(reporter);
    Ok(Found::peek(&store).await?.known.manifest.job)
}

/// Whether nothing was mirrored there yet.
pub(crate) fn is_empty(error: &Error) -> bool {
    matches!(error, Error::Bucket(fault) if matches!(**fault, BucketError::NoMirror { .. }))
}
