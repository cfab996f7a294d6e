//! `rcsync gallery`: writes the page of a mirror, or the page that compares the mirrors below a folder or a prefix, and opens it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
#[cfg(feature = "buckets")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::edge::api::token::SECRET_VARIABLES;
use crate::edge::folder::known::known;
#[cfg(feature = "buckets")]
use crate::engine::bucket::{compare as in_buckets, options::BucketOptions, read};
#[cfg(feature = "buckets")]
use crate::engine::event::Reporter;
use crate::engine::outputs::gallery::{self, compare};
#[cfg(feature = "buckets")]
use crate::error::BucketError;
use crate::error::{Error, ExitStatus};
#[cfg(feature = "buckets")]
use crate::model::destination::BucketUrl;
use crate::model::manifest::Manifest;

use super::super::bucket;
use super::super::config::Talk;
use super::Context;

#[derive(Serialize)]
struct Document {
    path: String,
    changed: bool,
    /// How many mirrors are compared; absent for the page of one mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<u64>,
    samples: u64,
    checkpoints: u64,
}

pub(super) fn run(context: &Context<'_>, dir: &Path, open: bool) -> Result<ExitStatus, CommandError> {
    #[cfg(feature = "buckets")]
    if let Some(url) = bucket::bucket(dir)? {
        if open {
            let next =
                "leave it out; the bucket's page has to be served by its store, or copied, to be shown";
            return Err(CommandError::misused("`--open` is for folders", next));
        }
        let options = bucket::options(&context.settings);
        let drawing = in_bucket(&url, &options, context.outages());
        let (document, left_out) = match super::until_signal(context.world, drawing)? {
            Ok(drawn) => drawn,
            Err(status) => return Ok(status),
        };
        report(context, &left_out);
        context.answer(&document, || format!("{}\n", shown(&document.path)));
        return Ok(ExitStatus::Complete);
    }
    #[cfg(not(feature = "buckets"))]
    bucket::bucket(dir)?;
    let (path, document) = match known(dir) {
        Ok(manifest) => one_mirror(dir, &manifest)?,
        Err(Error::NoMirror { .. }) if !compare::mirrors(dir).is_empty() => several(context, dir)?,
        Err(error) => return Err(error.into()),
    };
    context.answer(&document, || format!("{}\n", shown(&document.path)));
    if open && !show(&path) && context.settings.talk > Talk::Quiet {
        let place = shown(&document.path);
        context.world.err.line(&format!("no browser could be started from here; open `{place}` yourself"));
    }
    Ok(ExitStatus::Complete)
}

fn one_mirror(dir: &Path, manifest: &Manifest) -> Result<(PathBuf, Document), CommandError> {
    let done = gallery::refresh(dir, manifest)?;
    let document = Document {
        path: done.path.display().to_string(),
        changed: done.changed,
        runs: None,
        samples: done.samples,
        checkpoints: done.checkpoints,
    };
    Ok((done.path, document))
}

fn several(context: &Context<'_>, root: &Path) -> Result<(PathBuf, Document), CommandError> {
    let done = compare::refresh(root)?;
    report(context, &done.left_out);
    let document = Document {
        path: done.path.display().to_string(),
        changed: done.changed,
        runs: Some(done.runs),
        samples: done.samples,
        checkpoints: done.checkpoints,
    };
    Ok((done.path, document))
}

fn report(context: &Context<'_>, left_out: &[String]) {
    for why in left_out {
        context.world.err.line(&shown(&format!("not on the page: {why}")));
    }
}

/// Draws the page of a mirror, or of the mirrors below a prefix.
#[cfg(feature = "buckets")]
async fn in_bucket(
    url: &BucketUrl,
    options: &BucketOptions,
    outages: Arc<dyn Reporter>,
) -> Result<(Document, Vec<String>), Error> {
    let none = match read::gallery(url, options, outages.clone()).await {
        Ok(drawn) => {
            let document = Document {
                path: drawn.page,
                changed: drawn.changed,
                runs: None,
                samples: drawn.samples,
                checkpoints: drawn.checkpoints,
            };
            return Ok((document, Vec::new()));
        }
        Err(Error::Bucket(fault)) if matches!(*fault, BucketError::NoMirror { .. }) => Error::Bucket(fault),
        Err(error) => return Err(error),
    };
    let done = in_buckets::refresh(url, options, outages).await?.ok_or(none)?;
    let document = Document {
        path: done.page,
        changed: done.changed,
        runs: Some(done.runs),
        samples: done.samples,
        checkpoints: done.checkpoints,
    };
    Ok((document, done.left_out))
}

/// A program that has not failed after this long has found its browser (or is it, and runs until it is closed).
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts the first program of the system that shows pages; `false` where there is none.
fn show(path: &Path) -> bool {
    // A path that is not absolute could be taken for an option or an address.
    let Ok(path) = std::path::absolute(path) else { return false };
    open::commands(path).into_iter().any(|mut command| {
        for name in SECRET_VARIABLES {
            command.env_remove(name);
        }
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().is_ok_and(works)
    })
}

fn works(mut child: Child) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return false,
        }
    }
    true
}
