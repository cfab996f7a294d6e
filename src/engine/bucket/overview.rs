//! What is mirrored below the root of a fleet's DEST in a bucket.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::edge::folder::reports;
use crate::error::{BucketError, Error, explain_briefly};
use crate::model::destination::BucketUrl;
use crate::model::job_file::JobHead;
use crate::model::manifest::Manifest;

use super::fleet_root::FleetRoot;
use super::head_read::Found;
use super::records::{JOB, JOB_BOUND};

/// Mirrors that are looked at a time.
const AT_ONCE: usize = 16;

/// One mirror: where it is, what is known there, and what its `job.json` has of the job.
pub(crate) type Mirrored = (BucketUrl, Manifest, Option<JobHead>);

/// What is below a root.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// In the order of their places.
    pub(crate) mirrors: Vec<Mirrored>,
    /// Mirrors that cannot be read, each with the reason.
    pub(crate) left_out: Vec<String>,
}

/// What one folder is.
enum Look {
    Mirror(Box<Mirrored>),
    Unreadable(String),
    NoMirror,
}

/// Returns all mirrors below a root. `levels` names the folders between, where they are the same for all jobs.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn overview(root: &FleetRoot, levels: &[Option<&str>]) -> Result<Overview, Error> {
    let store = root.all();
    let mut folders = vec![String::new()];
    for level in levels {
        let mut below = Vec::new();
        for folder in folders {
            let prefix = if folder.is_empty() { folder } else { format!("{folder}/") };
            match level {
                Some(name) => below.push(format!("{prefix}{name}")),
                None => below.extend(store.ask("list", &prefix, || store.bucket.folders(&prefix)).await?),
            }
        }
        folders = below;
    }
    folders.sort();
    let looks: Vec<Look> = stream::iter(folders)
        .map(|folder| look(root, store.url.object(&folder)))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut overview = Overview::default();
    for look in looks {
        match look {
            Look::Mirror(mirror) => overview.mirrors.push(*mirror),
            Look::Unreadable(why) => overview.left_out.push(why),
            Look::NoMirror => {}
        }
    }
    Ok(overview)
}

async fn look(root: &FleetRoot, url: String) -> Result<Look, Error> {
    let Some(Ok(url)) = BucketUrl::parse(&url) else { return Ok(Look::NoMirror) };
    let store = root.store(&url)?;
    let manifest = match Found::peek(&store).await {
        Ok(found) => found.known.manifest,
        Err(Error::Bucket(fault)) => match *fault {
            BucketError::NoMirror { .. } => return Ok(Look::NoMirror),
            BucketError::Unfit { .. } => return Ok(Look::Unreadable(explain_briefly(&Error::Bucket(fault)))),
            _ => return Err(Error::Bucket(fault)),
        },
        Err(error) => return Err(error),
    };
    let job = store.small_of_ours(JOB, JOB_BOUND).await?;
    let job = job.and_then(|bytes| reports::parse_job(&bytes, &manifest.job)).map(|read| read.job);
    Ok(Look::Mirror(Box::new((url, manifest, job))))
}
