//! `rcsync gallery`: write a folder's index.html, and show it.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::format::shown;
use crate::edge::api::token::SECRET_VARIABLES;
use crate::engine;
use crate::engine::outputs::gallery;
use crate::error::{Error, ExitStatus};

use super::super::bucket;
use super::super::config::Talk;
use super::Context;

#[derive(Serialize)]
struct Document {
    path: String,
    changed: bool,
    samples: u64,
    checkpoints: u64,
}

pub(super) fn run(context: &Context<'_>, dir: &Path, open: bool) -> Result<ExitStatus, Error> {
    #[cfg(feature = "buckets")]
    if let Some(url) = bucket::bucket(dir)? {
        if open {
            let why = "`--open` is for folders: a bucket's page has to be served by its store, or copied, to be shown";
            return Err(Error::Usage(why.to_owned()));
        }
        let options = bucket::options(&context.settings);
        let drawing = engine::bucket::read::gallery(&url, &options);
        let drawn = match super::wait_for_bucket(context.world, drawing)? {
            Ok(drawn) => drawn,
            Err(status) => return Ok(status),
        };
        let document = Document {
            path: drawn.page,
            changed: drawn.changed,
            samples: drawn.samples,
            checkpoints: drawn.checkpoints,
        };
        context.answer(&document, || format!("{}\n", shown(&document.path)));
        return Ok(ExitStatus::Complete);
    }
    #[cfg(not(feature = "buckets"))]
    bucket::bucket(dir)?;
    let done = gallery::refresh(dir, &engine::destination::folder::known(dir)?)?;
    let path = done.path.display().to_string();
    let document =
        Document { path, changed: done.changed, samples: done.samples, checkpoints: done.checkpoints };
    context.answer(&document, || format!("{}\n", shown(&document.path)));
    if open && !show(&done.path) && context.settings.talk > Talk::Quiet {
        let place = shown(&document.path);
        context.world.err.line(&format!("no browser could be started from here; open `{place}` yourself"));
    }
    Ok(ExitStatus::Complete)
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
