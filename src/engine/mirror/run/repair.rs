//! Repair: read everything again, and fetch what is bad or missing, by the same way as everything else.
//!
//! The good blocks of a damaged file become a part, as if an earlier run had left it; so a repair fetches what is bad,
//! notices a new revision, proves the whole and publishes it by a rename, with no rule of its own. A file is never
//! patched in place: a ComfyUI may have it mapped.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use crate::decide::mirror::pass::Pass;
use crate::decide::mirror::plan::{Action, FetchReason, Step};
use crate::decide::mirror::snapshot::JobSnapshot;
use crate::decide::transfer::disk_space::floor;
use crate::decide::transfer::task::{FailureCause, Missing};
use crate::edge::folder::blocks::BlockFolder;
use crate::edge::folder::check::{BadFile, Checked, Problem, check, problem};
use crate::edge::folder::part_folder::PartFolder;
use crate::edge::net::http::ArtifactClient;
use crate::edge::system::blocking::{blocking, lost};
use crate::edge::system::disk;
use crate::engine::event::{Event, Reporter};
use crate::engine::mirror::Mirror;
use crate::engine::options::SyncOptions;
use crate::engine::poll::{Patience, look};
use crate::engine::stop::Stop;
use crate::error::{Error, ExitStatus};
use crate::model::artifact::{Artifact, ArtifactKey};
use crate::model::listing::Listing;
use crate::model::manifest::Manifest;
use crate::model::names::rel_path::RelPath;

use super::Run;
use super::orders::Offer;

/// What became of a repair.
#[derive(Debug)]
pub(crate) struct Repair {
    /// What was found before it.
    pub(crate) found: Checked,
    /// What is as it should be now: its path, and how many bytes it has.
    pub(crate) repaired: Vec<(RelPath, u64)>,
    /// What is still bad after it.
    pub(crate) left: Vec<Left>,
    /// Bytes that were fetched for it.
    pub(crate) fetched: u64,
    /// The code that it should end with.
    pub(crate) exit: ExitStatus,
    /// Why nothing could be fetched at all.
    pub(crate) trouble: Option<Error>,
}

/// A file that could not be repaired.
#[derive(Debug)]
pub(crate) struct Left {
    /// The file.
    pub(crate) file: BadFile,
    /// Why it is still bad.
    pub(crate) why: Why,
}

/// Why a file is still bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The job no longer offers it; what is here was left as it is.
    NotHosted,
    /// The training is still writing it.
    Settling,
    /// It could not be fetched.
    Failed(FailureCause),
    /// There was no time to try, or the API did not answer.
    NotTried,
}

pub(crate) async fn repair(
    mut mirror: Mirror,
    hosts: ArtifactClient,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
) -> Result<Repair, Error> {
    let began = Instant::now();
    mirror.options.once = true;
    let Some(folder) = mirror.open_folder(&reporter, &stop).await? else {
        return Ok(Repair::nothing_done(Checked::default(), stop.status()));
    };
    let manifest = folder.lock().manifest().clone();
    let ended = stop.clone();
    let checking = beside(&mirror.dir, {
        let (dir, manifest) = (mirror.dir.clone(), manifest.clone());
        move || check(&dir, &manifest, || ended.is_stopped())
    });
    let Some(found) = checking.await? else {
        return Ok(Repair::nothing_done(Checked::default(), stop.status()));
    };
    if found.bad.is_empty() {
        return Ok(Repair::nothing_done(found, ExitStatus::Complete));
    }
    let looked = look(&mirror.api, &mirror.job, Patience::Short, reporter.as_ref(), stop.token()).await;
    let looked = match looked {
        Ok(Some(looked)) => looked,
        Ok(None) => return Ok(Repair::nothing_done(found, stop.status())),
        Err(error) => {
            let exit = error.exit_status();
            return Ok(Repair { trouble: Some(error), ..Repair::nothing_done(found, exit) });
        }
    };
    let seeding = beside(&mirror.dir, {
        let (dir, options) = (mirror.dir.clone(), mirror.options.clone());
        let (parts, listing, bad) = (folder.parts.clone(), folder.listing(&looked), found.bad.clone());
        move || seed_all(&dir, &manifest, &parts, &listing, bad, &options)
    });
    seeding.await??;
    Run::begin(mirror, hosts, folder, reporter, stop, began).await?.fix(&looked, found).await
}

impl Repair {
    fn nothing_done(found: Checked, exit: ExitStatus) -> Self {
        let left = found.bad.iter().map(|file| Left { file: file.clone(), why: Why::NotTried }).collect();
        Self { found, repaired: Vec::new(), left, fetched: 0, exit, trouble: None }
    }
}

/// Makes parts of the good blocks of damaged files. What is hosted no more, or has a part already, needs none.
fn seed_all(
    dir: &Path,
    manifest: &Manifest,
    parts: &PartFolder,
    listing: &Listing,
    bad: Vec<BadFile>,
    options: &SyncOptions,
) -> Result<(), Error> {
    let left = parts.fingerprints()?;
    let hosted: HashSet<&ArtifactKey> = listing.artifacts.iter().map(|artifact| &artifact.key).collect();
    for file in bad {
        if hosted.contains(&file.key) && !left.contains(&file.key.fingerprint()) {
            // Only ever a saving: a file without a seed is fetched whole.
            let _ = seed(dir, manifest, parts, &file, options);
        }
    }
    Ok(())
}

/// Makes a part of the good blocks of a damaged file, where they are known and there is room for both.
fn seed(
    dir: &Path,
    manifest: &Manifest,
    parts: &PartFolder,
    bad: &BadFile,
    options: &SyncOptions,
) -> Result<(), Error> {
    let damaged = matches!(bad.problem, Problem::Bytes { .. } | Problem::Length { .. });
    let entry = manifest.entries.get(&bad.key).filter(|_| damaged && !bad.is_older);
    let Some(entry) = entry else { return Ok(()) };
    let Some(sums) = BlockFolder::new(dir).read(&bad.key, entry.sha256) else { return Ok(()) };
    // Unknown is not full.
    let has_room = disk::free_space(dir)?
        .is_none_or(|space| space.free >= entry.size.saturating_add(floor(options.min_free, space.total)));
    if sums.identity().revision.is_comparable() && has_room {
        sums.seed(&bad.path.to_path(dir), parts)?;
    }
    Ok(())
}

impl Run {
    /// Fetches what is bad, and reads it again.
    async fn fix(&mut self, looked: &JobSnapshot, found: Checked) -> Result<Repair, Error> {
        let looked = &{
            let mut looked = looked.clone();
            self.life.count(&mut looked);
            looked
        };
        let listing = self.folder.listing(looked);
        let generation = self.transfers.learn(&listing).await;
        let state = looked.state(&listing.artifacts);
        let offer = Offer { snapshot: looked, listing: &listing, state, generation };
        let bad: HashMap<&ArtifactKey, &Problem> =
            found.bad.iter().filter(|file| !file.is_older).map(|file| (&file.key, &file.problem)).collect();
        let action = |artifact: &Arc<Artifact>| {
            let reason = match bad.get(&artifact.key)? {
                Problem::Missing => FetchReason::Missing,
                _ => FetchReason::Damaged,
            };
            Some(Action { artifact: artifact.clone(), step: Step::Fetch(reason) })
        };
        let actions: Vec<Action> = listing.artifacts.iter().filter_map(action).collect();
        let transfers = self.tasks(&offer, &actions);
        let wanted: Vec<ArtifactKey> = actions.iter().map(|action| action.artifact.key.clone()).collect();
        let fetch = transfers.len() as u64;
        self.reporter.report(&Event::Plan { fetch, ask: 0, bytes: None, present: found.good });
        self.transfers.order(transfers).await;
        self.wait_until_quiet().await;
        let hosted: HashSet<ArtifactKey> = wanted.iter().cloned().collect();
        let interrupted = self.stop.is_stopped().then(|| self.stop.status());
        // Without a state of the job nothing is swept: parts of other files are no business of a repair.
        self.conclude(looked, &Pass { wanted, ..Pass::default() }).await?;
        let manifest = self.folder.lock().manifest().clone();
        let dir = self.mirror.dir.clone();
        let again = found.bad.clone();
        let (repaired, still) = beside(&self.mirror.dir, move || look_again(&dir, &manifest, again)).await?;
        let left: Vec<Left> =
            still.into_iter().map(|file| Left { why: self.why(&file, &hosted), file }).collect();
        let exit = match interrupted {
            Some(status) if !left.is_empty() => status,
            _ => self.exit(&left),
        };
        let fetched = self.transfers.received();
        Ok(Repair { found, repaired, left, fetched, exit, trouble: None })
    }

    fn why(&self, file: &BadFile, hosted: &HashSet<ArtifactKey>) -> Why {
        match self.transfers.missing().get(&file.key) {
            _ if file.is_older || !hosted.contains(&file.key) => Why::NotHosted,
            Some(Missing::Vanished) => Why::NotHosted,
            Some(Missing::Settling) => Why::Settling,
            Some(Missing::Failed(cause)) => Why::Failed(cause.clone()),
            None => Why::NotTried,
        }
    }

    fn exit(&self, left: &[Left]) -> ExitStatus {
        let why = self.transfers.missing();
        let of_disk =
            |left: &&Left| matches!(why.get(&left.file.key), Some(Missing::Failed(cause)) if cause.is_disk());
        match () {
            () if left.is_empty() => ExitStatus::Complete,
            () if left.iter().any(|left| of_disk(&left)) => ExitStatus::Disk,
            () if left.iter().any(|left| left.why != Why::NotHosted) => ExitStatus::TryAgain,
            () => ExitStatus::Negative,
        }
    }
}

/// Reads what was bad again: what is good now, and what is not.
fn look_again(dir: &Path, manifest: &Manifest, bad: Vec<BadFile>) -> (Vec<(RelPath, u64)>, Vec<BadFile>) {
    let (mut good, mut still) = (Vec::new(), Vec::new());
    for file in bad {
        // Known by its row of `job.json` alone, and not fetched.
        let Some(entry) = manifest.entries.get(&file.key) else {
            still.push(file);
            continue;
        };
        let (path, size, sha256) = match entry.older.iter().find(|older| older.path == file.path) {
            Some(older) if file.is_older => (&older.path, older.size, older.sha256),
            _ => (&entry.path, entry.size, entry.sha256),
        };
        match problem(dir, &file.key, path, size, sha256) {
            None => good.push((path.clone(), size)),
            Some(problem) => still.push(BadFile { problem, ..file }),
        }
    }
    (good, still)
}

/// Does work that reads much, beside the connections.
async fn beside<T: Send + 'static>(
    dir: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = blocking(work).await;
    done.map_err(lost("read", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::ArtifactKind;

    /// The manifest was lost, and the file could not be read since: its row of `job.json` alone knows it.
    #[test]
    fn a_bad_file_that_the_manifest_does_not_know_stays_bad() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::new("job-1".parse().unwrap(), "https://h".to_owned());
        let bad = BadFile {
            key: ArtifactKey { kind: ArtifactKind::Checkpoint, path: "/o/a.safetensors".into() },
            path: "a.safetensors".parse().unwrap(),
            is_older: false,
            problem: Problem::Unreadable("I/O error".to_owned()),
        };
        assert_eq!(look_again(folder.path(), &manifest, vec![bad.clone()]), (Vec::new(), vec![bad]));
    }
}
