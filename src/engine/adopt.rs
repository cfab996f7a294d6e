//! Takes over files that are in DIR already, where the host's first bytes and their own prove that they are the listed ones.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::decide::adopt::{MOST, adopted, fits, probe};
use crate::decide::formats::{Checker, Format};
use crate::decide::plain::Habit;
use crate::decide::transfer::verify::{Expectation, Inspection, Received, Verified, judge};
use crate::edge::net::http::{Body, RangeRequest};
use crate::edge::system::blocking::blocking;
use crate::edge::system::disk;
use crate::engine::destination::commit::ToCommit;
use crate::engine::destination::hashing::feed_file;
use crate::engine::transfer::task::Transfer;
use crate::engine::transfer::workshop::Workshop;
use crate::error::Error;
use crate::model::claim::Claim;
use crate::model::fault::Fault;
use crate::model::local::LocalFile;
use crate::model::manifest::{Entry, EntryState};
use crate::model::response_head::Head;

/// The beginning of a local file.
struct Local {
    size: u64,
    modified: Option<i64>,
    first: Vec<u8>,
}

impl Workshop {
    /// Takes over what is here under a file's name, if it is proven to be that file; whether it was. What goes wrong on
    /// the way decides nothing: the file is fetched then, and meets the same trouble or none.
    pub(super) async fn adopt(&self, transfer: &Arc<Transfer>) -> bool {
        let Some((entry, verified)) = self.prove(transfer).await else { return false };
        self.board.end(transfer);
        let key = transfer.order.artifact.key.clone();
        let entry = Entry { size: verified.size(), sha256: verified.sha256(), ..entry };
        self.commit(ToCommit::Adopt(key, Box::new(entry))).await;
        true
    }

    async fn prove(&self, transfer: &Arc<Transfer>) -> Option<(Entry, Verified)> {
        let order = &transfer.order;
        let path = order.artifact.path.clone();
        let format = Format::of(path.file_name());
        let begun = blocking({
            let (dir, path) = (self.dir.clone(), path.clone());
            move || begin(&dir, path.as_str(), format)
        });
        let local = begun.await.ok()??;
        let (head, body) = self.first_bytes(transfer, local.first.len() as u64).await.ok()??;
        if !fits(local.size, local.first.len() as u64, &head) || !self.is_same(body, &local.first).await {
            return None;
        }
        let (full, claims) = (path.to_path(&self.dir), head.claims.clone());
        let received = blocking(move || inspect(&full, format, &claims)).await.ok()?.ok()?;
        let still = disk::look(&self.dir, path.as_str());
        if still != Some(LocalFile::File { size: local.size, modified: local.modified }) {
            return None;
        }
        let expected = Expectation {
            length: Some(local.size),
            claims: &head.claims,
            half_of_pair: order.half_of_pair,
            ..Expectation::default()
        };
        let judgement = judge(&received, &expected);
        let verified = adopted(judgement, local.first.len() as u64, self.may_write(transfer))?;
        let mut revision = head.revision;
        revision.length = Some(local.size);
        let entry = Entry {
            path,
            step: order.artifact.step,
            size: verified.size(),
            sha256: verified.sha256(),
            evidence: verified.evidence(),
            revision,
            run: order.run.clone(),
            modified: local.modified,
            state: EntryState::Present,
            older: Vec::new(),
        };
        Some((entry, verified))
    }

    async fn first_bytes(&self, transfer: &Transfer, count: u64) -> Result<Option<(Head, Body)>, Fault> {
        let url = transfer.state().url.clone();
        let plain = self.habits.of(url.host()) == Habit::Refuses;
        self.get(&url, &RangeRequest { end: Some(count), plain, ..RangeRequest::default() }).await
    }

    /// Whether a body begins with these bytes.
    async fn is_same(&self, mut body: Body, mut expected: &[u8]) -> bool {
        while !expected.is_empty() {
            let chunk = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return false,
                chunk = body.chunk() => chunk,
            };
            let Ok(Some(chunk)) = chunk else { return false };
            self.count_received(chunk.len() as u64);
            self.pace(chunk.len()).await;
            let (now, later) = expected.split_at(chunk.len().min(expected.len()));
            if chunk[..now.len()] != *now {
                return false;
            }
            expected = later;
        }
        true
    }
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

/// Looks at a local file as if its bytes were just coming in.
fn inspect(path: &Path, format: Format, claims: &[Claim]) -> Result<Received, Error> {
    let mut inspection = Inspection::new(format, claims);
    let mut body = None;
    feed_file(path, |bytes| {
        let start = inspection.position();
        inspection.feed(bytes);
        if body.is_none() {
            body = inspection.body();
        }
        if let Some(body) = &mut body {
            let skip = usize::try_from(body.position().saturating_sub(start)).unwrap_or(usize::MAX);
            body.feed(bytes.get(skip..).unwrap_or_default());
        }
    })?;
    Ok(inspection.finish(body))
}
