//! ROOT/index.html in a bucket: the page that compares the mirrors below a prefix.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::decide::bucket::head::Publish;
use crate::edge::bucket::{Put, StoreFault, When};
use crate::edge::folder::reports;
use crate::engine::event::Reporter;
use crate::engine::outputs::gallery::compare::{
    CONFIG_BOUND, DEPTH, Drawn, MOST_RUNS, Mirrored, newest_config, surplus,
};
use crate::engine::retry::Persistence;
use crate::error::{BucketError, Error, Unanswered, explain_briefly};
use crate::model::destination::BucketUrl;
use crate::model::manifest::Manifest;
use crate::model::signed_page::is_own;

use super::fleet_root::FleetRoot;
use super::head_read::Found;
use super::options::BucketOptions;
use super::records::{JOB, JOB_BOUND, PAGE};
use super::store::{Store, about, fresh_token};

/// Prefixes that are looked at a time.
const AT_ONCE: usize = 16;

/// Prefixes that are looked at, so that a ROOT named by mistake (a whole bucket) ends soon: each is a request.
const MOST_LOOKS: usize = 10_000;

/// What drawing the comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The page's address.
    pub(crate) page: String,
    /// Whether its bytes changed.
    pub(crate) changed: bool,
    /// Mirrors on it.
    pub(crate) runs: u64,
    /// Samples on it.
    pub(crate) samples: u64,
    /// Checkpoints on it.
    pub(crate) checkpoints: u64,
    /// Mirrors that are not on it, each with the reason.
    pub(crate) left_out: Vec<String>,
}

/// Draws the comparison of all mirrors below a prefix where it differs from what is there; `None` where no mirror is.
///
/// # Errors
/// When the store refuses, and when a page that rcsync did not write is there; that page is left as it is.
pub(crate) async fn refresh(
    url: &BucketUrl,
    options: &BucketOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<Option<Compared>, Error> {
    let root = FleetRoot::connect(url, options, Persistence::Pass, Some(reporter.clone()))?;
    let Some(found) = look_below(&root).await? else { return Ok(None) };
    // Such a store ignores the condition of the write.
    if found.has_sole && !options.sole_writer {
        let options = BucketOptions { sole_writer: true, ..options.clone() };
        let root = FleetRoot::connect(url, &options, Persistence::Pass, Some(reporter))?;
        return draw(root.all(), found).await.map(Some);
    }
    draw(root.all(), found).await.map(Some)
}

/// The same over a store of the caller's.
#[cfg(test)]
pub(crate) async fn refresh_over(root: &FleetRoot) -> Result<Option<Compared>, Error> {
    match look_below(root).await? {
        Some(found) => draw(root.all(), found).await.map(Some),
        None => Ok(None),
    }
}

/// What is below a prefix.
#[derive(Debug, Default)]
struct Below {
    read: Vec<Mirrored>,
    left_out: Vec<String>,
    /// One of them is in a store that ignores conditions.
    has_sole: bool,
}

/// What one prefix is.
enum Look {
    Mirror(Box<Manifest>, Publish),
    Unreadable(String),
    NoMirror,
}

async fn look_below(root: &FleetRoot) -> Result<Option<Below>, Error> {
    let store = root.all();
    let mut below = Below::default();
    let mut looks = 0;
    let mut parents = vec![String::new()];
    let mut mirrors = BTreeMap::new();
    let mut count = 0;
    for _ in 0..DEPTH {
        let listing = stream::iter(parents).map(|parent| folders(store, parent)).buffered(AT_ONCE);
        let mut folders: Vec<String> = listing.try_concat().await?;
        folders.sort();
        folders.truncate(MOST_LOOKS - looks);
        looks += folders.len();
        let seen = stream::iter(folders).map(|folder| async move {
            let seen = look(root, &folder).await?;
            Ok::<_, Error>((folder, seen))
        });
        let mut seen = pin!(seen.buffered(AT_ONCE));
        parents = Vec::new();
        while let Some((folder, seen)) = seen.try_next().await? {
            match seen {
                Look::Mirror(manifest, publish) => {
                    below.has_sole |= publish == Publish::Sole;
                    count += 1;
                    mirrors.insert(folder, manifest);
                    // What the page does not show is neither held nor read.
                    if mirrors.len() > MOST_RUNS {
                        mirrors.pop_last();
                    }
                }
                Look::Unreadable(why) => below.left_out.push(why),
                Look::NoMirror => parents.push(folder),
            }
        }
    }
    if mirrors.is_empty() && below.left_out.is_empty() {
        return Ok(None);
    }
    below.left_out.extend(surplus(count));
    let reading = stream::iter(mirrors).map(|(folder, manifest)| read(root, folder, *manifest));
    below.read = reading.buffered(AT_ONCE).try_collect().await?;
    Ok(Some(below))
}

/// Lists what may be a mirror: `.rcsync` and `.rcsync-fleet` are none.
async fn folders(store: &Store, parent: String) -> Result<Vec<String>, Error> {
    let prefix = if parent.is_empty() { parent } else { format!("{parent}/") };
    let mut folders = store.ask("list", &prefix, || store.bucket.folders(&prefix)).await?;
    folders.retain(|folder| folder.rsplit('/').next().is_some_and(|name| !name.starts_with('.')));
    Ok(folders)
}

/// Returns the store of one folder; `None` where no destination can have that name.
fn store_of(root: &FleetRoot, folder: &str) -> Result<Option<Store>, Error> {
    let Some(Ok(url)) = BucketUrl::parse(&root.all().url.object(folder)) else { return Ok(None) };
    root.store(&url).map(Some)
}

async fn look(root: &FleetRoot, folder: &str) -> Result<Look, Error> {
    let Some(store) = store_of(root, folder)? else { return Ok(Look::NoMirror) };
    let found = match Found::peek(&store).await {
        Ok(found) => found,
        Err(Error::Bucket(fault)) if matches!(*fault, BucketError::NoMirror { .. }) => {
            return Ok(Look::NoMirror);
        }
        Err(error) if is_unfit(&error) => {
            return Ok(Look::Unreadable(explain_briefly(&error)));
        }
        Err(error) => return Err(error),
    };
    let publish = found.head.as_ref().map_or(Publish::Complete, |head| head.publish);
    Ok(Look::Mirror(Box::new(found.known.manifest), publish))
}

/// Reads what the page shows of one mirror beside its files.
async fn read(root: &FleetRoot, folder: String, manifest: Manifest) -> Result<Mirrored, Error> {
    let Some(store) = store_of(root, &folder)? else {
        return Ok(Mirrored::in_bucket(folder, manifest, None, None, false));
    };
    let job = store.small_of_ours(JOB, JOB_BOUND).await?;
    let job = job.and_then(|bytes| reports::parse_job(&bytes, &manifest.job));
    let config = match newest_config(&manifest) {
        Some(path) => store.small_of_ours(path.as_str(), CONFIG_BOUND).await?,
        None => None,
    };
    let config = config.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let has_page = store.stat(PAGE).await?.is_some();
    Ok(Mirrored::in_bucket(folder, manifest, job, config.as_deref(), has_page))
}

fn is_unfit(error: &Error) -> bool {
    matches!(error, Error::Bucket(fault) if matches!(**fault, BucketError::Unfit { .. }))
}

async fn draw(store: &Store, below: Below) -> Result<Compared, Error> {
    let title = match store.url.prefix().rsplit('/').next() {
        None | Some("") => store.url.bucket(),
        Some(name) => name,
    };
    let drawn = Drawn::new(title, &below.read);
    Ok(Compared {
        page: store.url.object(PAGE),
        changed: write(store, Bytes::from(drawn.signed())).await?,
        runs: drawn.runs,
        samples: drawn.samples,
        checkpoints: drawn.checkpoints,
        left_out: below.left_out,
    })
}

/// Writes the page on the tag that was read; `false` where it is there already. No lease guards it: it is a view, and
/// between two that are drawn at once the later one stays.
async fn write(store: &Store, page: Bytes) -> Result<bool, Error> {
    let foreign = || Error::ForeignPage(store.url.object(PAGE).into());
    let (mut patience, token, mut has_sent) = (store.patience(), fresh_token(), false);
    loop {
        let when = match store.stat(PAGE).await? {
            None => When::New,
            Some(meta) if meta.size > JOB_BOUND => return Err(foreign()),
            Some(_) => match store.small(PAGE, JOB_BOUND).await? {
                // It went meanwhile.
                None => When::New,
                Some((there, _)) if there == page => return Ok(has_sent),
                Some((there, _)) if !is_own(&there) => return Err(foreign()),
                Some((_, meta)) => When::Unchanged(meta.tag),
            },
        };
        has_sent = true;
        let fault = match store.bucket.put(PAGE, page.clone(), when, about(PAGE, &token)).await {
            Ok(Put::Done(_)) => return Ok(true),
            // Another rcsync drew it, or this request was carried out and its answer was lost: the next look shows which.
            Ok(Put::Refused) => StoreFault::Unknown { cause: Unanswered::WrittenMeanwhile },
            Err(fault) => fault,
        };
        store.wait(&mut patience, "write", PAGE, fault).await?;
    }
}
