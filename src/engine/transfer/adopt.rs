//! Takes over files that are in DIR already, where the host's first bytes and their own prove that they are the listed ones.

use std::io::Read as _;
use std::path::Path;

use crate::decide::formats::{Checker, Format};
use crate::decide::transfer::adopt::{MOST, adopted, fits, probe};
use crate::decide::transfer::task::Task;
use crate::decide::transfer::verify::{Expectation, Reading, judge};
use crate::edge::folder::hashing::feed_file;
use crate::edge::net::http::{Body, RangeRequest};
use crate::edge::system::blocking::blocking;
use crate::edge::system::disk;
use crate::engine::transfer::Context;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState};
use crate::model::revision::Revision;

/// The beginning of a local file.
struct Local {
    size: u64,
    modified: Option<i64>,
    first: Vec<u8>,
}

/// Proves that what is here under a file's name is that file; `None` when it is not, or when something goes wrong on the
/// way: the file is fetched then, and meets the same trouble or none. `plain`: the host refuses ranges.
pub(crate) async fn adopt(context: &Context, dir: &Path, task: &Task, plain: bool) -> Option<Entry> {
    let path = task.artifact.path.clone();
    let format = Format::of(path.file_name());
    let begun = blocking({
        let (dir, path) = (dir.to_path_buf(), path.clone());
        move || begin(&dir, path.as_str(), format)
    });
    let local = begun.await.ok()??;
    let count = local.first.len() as u64;
    let ask = RangeRequest { end: Some(count), plain, ..RangeRequest::default() };
    let (head, body) = context.get(&task.artifact.url, &ask, || ()).await.ok()??;
    if !fits(local.size, count, &head) || !is_same(context, body, &local.first).await {
        return None;
    }
    let proving = blocking({
        let (dir, path, claims) = (dir.to_path_buf(), path.clone(), head.claims.clone());
        let unchanged = LocalFile::File { size: local.size, modified: local.modified };
        move || {
            let mut reading = Reading::new(format, &claims);
            feed_file(&path.to_path(&dir), |bytes| reading.feed(bytes)).ok()?;
            // What was written meanwhile was not read as a whole.
            (disk::look(&dir, path.as_str()) == Some(unchanged)).then(|| reading.finish())
        }
    });
    let received = proving.await.ok()??;
    let expected = Expectation {
        length: Some(local.size),
        claims: &head.claims,
        half_of_pair: task.half_of_pair,
        ..Expectation::default()
    };
    let verified =
        adopted(judge(&received, &expected), count, task.run_may_write || context.may_run_write())?;
    let revision = Revision { length: Some(local.size), ..head.revision };
    Some(Entry {
        path,
        step: task.artifact.step,
        size: verified.size(),
        sha256: verified.sha256(),
        evidence: verified.evidence(),
        revision,
        run: task.run.clone(),
        modified: local.modified,
        state: EntryState::Present,
        older: Vec::new(),
    })
}

/// Whether a body begins with these bytes.
async fn is_same(context: &Context, mut body: Body, mut expected: &[u8]) -> bool {
    while !expected.is_empty() {
        let chunk = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return false,
            chunk = body.chunk() => chunk,
        };
        let Ok(Some(chunk)) = chunk else { return false };
        context.count_received(chunk.len() as u64);
        context.pace(chunk.len()).await;
        let (now, later) = expected.split_at(chunk.len().min(expected.len()));
        if chunk[..now.len()] != *now {
            return false;
        }
        expected = later;
    }
    true
}

/// Reads as much of a local file's beginning as is to be compared.
fn begin(dir: &Path, path: &str, format: Format) -> Option<Local> {
    let Some(LocalFile::File { size, modified }) = disk::look(dir, path) else { return None };
    let file = disk::open_regular(&dir.join(path)).ok()?;
    let mut first = Vec::new();
    file.take(MOST).read_to_end(&mut first).ok()?;
    let mut checker = Checker::new(format);
    checker.feed(&first);
    let count = probe(size, checker.header());
    first.truncate(usize::try_from(count).ok()?);
    (first.len() as u64 == count && count > 0).then_some(Local { size, modified, first })
}
